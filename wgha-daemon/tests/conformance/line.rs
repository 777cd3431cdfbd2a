//! The words of a line, and what they mean.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr, time::Duration};

use wgha::proto::{Action, Answered, Counts, Detect, HealthRules, Heard, PeerId, Remedy, Sample};
use wgha_common::{Centiseconds, Timestamp};

/// What may go wrong with a line.
pub type Result<T> = std::result::Result<T, String>;

/// The moment from which a case counts.
#[derive(Debug, Clone, Copy)]
pub struct Zero(pub u64);

impl Zero {
    pub fn moment(self, word: &str) -> Result<Timestamp> {
        Ok(Timestamp::from_nanos(self.0.saturating_add_signed(signed_nanos(word)?)))
    }

    pub fn show(self, at: Timestamp) -> String {
        let nanos = at.as_nanos() as i128 - i128::from(self.0);
        let (sign, nanos) = if nanos < 0 { ("-", -nanos) } else { ("", nanos) };
        let millis = format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000);
        format!("{sign}{}ms", millis.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn signed_nanos(word: &str) -> Result<i64> {
    let bad = || format!("`{word}` is not a time");
    let (number, unit) = match (word.strip_suffix("ms"), word.strip_suffix('s')) {
        (Some(number), _) => (number, 1e6),
        (None, Some(number)) => (number, 1e9),
        (None, None) => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Ok((number * unit).round() as i64)
}

pub fn duration(word: &str) -> Result<Duration> {
    u64::try_from(signed_nanos(word)?).map(Duration::from_nanos).map_err(|_| format!("`{word}` is negative"))
}

pub fn interval(word: &str) -> Result<Centiseconds> {
    Centiseconds::from_duration(duration(word)?).map_err(|_| format!("`{word}` is not an interval"))
}

pub fn parse<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("`{word}` cannot be read"))
}

pub fn yes(word: &str) -> Result<bool> {
    match word {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => unknown(word),
    }
}

pub fn unknown<T>(word: &str) -> Result<T> {
    Err(format!("unknown word `{word}`"))
}

/// `key=value` words; each must be asked for.
pub struct Pairs<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Pairs<'a> {
    pub fn of(words: &[&'a str]) -> Result<Self> {
        let pair = |word: &&'a str| word.split_once('=').ok_or_else(|| format!("unknown word `{word}`"));
        words.iter().map(pair).collect::<Result<_>>().map(Self)
    }

    pub fn take<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        self.0.remove(key).map(read).transpose()
    }

    pub fn none_left(self) -> Result<()> {
        self.0.keys().next().map_or(Ok(()), |key| unknown(key))
    }
}

/// `::4 priority=90 interval=100ms at=5ms`
pub fn heard(words: &[&str], zero: Zero, now: Timestamp) -> Result<Heard> {
    let (source, rest) = words.split_first().ok_or("no advert")?;
    let mut pairs = Pairs::of(rest)?;
    let heard = Heard {
        source: parse::<IpAddr>(source)?,
        priority: pairs.take("priority", parse)?.ok_or("no priority")?,
        interval: pairs.take("interval", interval)?.unwrap_or(interval("100ms")?),
        at: pairs.take("at", |word| zero.moment(word))?.unwrap_or(now),
    };
    pairs.none_left()?;
    Ok(heard)
}

/// `0 up number=3 at=5ms`, `0 down number=4`, `0 yielded number=5`
pub fn answered(words: &[&str], zero: Zero, now: Timestamp) -> Result<Answered> {
    let [peer, state, rest @ ..] = words else { return Err("answered: who, up or down?".into()) };
    let mut pairs = Pairs::of(rest)?;
    let answered = Answered {
        peer: PeerId(parse(peer)?),
        number: pairs.take("number", parse)?.ok_or("no number")?,
        at: pairs.take("at", |word| zero.moment(word))?.unwrap_or(now),
        up: match *state {
            "up" => true,
            "down" | "yielded" => false,
            _ => return unknown(state),
        },
        yielded: *state == "yielded",
    };
    pairs.none_left()?;
    Ok(answered)
}

/// `10msx3`
pub fn detect(word: &str) -> Result<Detect> {
    let (interval, multiplier) =
        word.split_once('x').ok_or_else(|| format!("`{word}` is not a detection"))?;
    Ok(Detect { interval: duration(interval)?, multiplier: parse(multiplier)? })
}

/// Whether a node says that it reaches the gateway.
pub fn said(reaches: Option<bool>) -> &'static str {
    match reaches {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

/// `priority`, `fault`: the remedy for everything, with the other defaults.
pub fn health(word: &str) -> Result<HealthRules> {
    let remedy = match word {
        "ignore" => Remedy::Ignore,
        "priority" => Remedy::Priority,
        "fault" => Remedy::Fault,
        _ => return unknown(word),
    };
    Ok(HealthRules { wireguard_stuck: remedy, path_broken: remedy, ..HealthRules::default() })
}

/// `in=3/7 out=1/9`: initiations and transport, each since the beginning; responses count as transport here.
pub fn sample(words: &[&str]) -> Result<Sample> {
    let mut pairs = Pairs::of(words)?;
    let counts = |word: &str| {
        let (initiations, transport) =
            word.split_once('/').ok_or_else(|| format!("`{word}` is no traffic"))?;
        Ok(Counts { initiations: parse(initiations)?, transport: parse(transport)?, ..Counts::default() })
    };
    let sample = Sample {
        received: pairs.take("in", counts)?.unwrap_or_default(),
        sent: pairs.take("out", counts)?.unwrap_or_default(),
    };
    pairs.none_left()?;
    Ok(sample)
}

/// An action in the words of a case: its name, its main value if it has one, its other values.
pub fn words_of(action: &Action, zero: Zero) -> Vec<String> {
    let name = |name: &str| vec![name.to_owned()];
    match action {
        Action::SetLease { epoch, until, .. } if *until == Timestamp::ZERO => {
            vec!["set_lease".into(), "ended".into(), format!("epoch={epoch}")]
        }
        Action::SetLease { role, epoch, until } => {
            let role = format!("{role:?}").to_lowercase();
            vec!["set_lease".into(), role, format!("epoch={epoch}"), format!("until={}", zero.show(*until))]
        }
        Action::StampAdverts { priority, interval } => {
            vec!["stamp".into(), priority.to_string(), format!("interval={interval}")]
        }
        Action::SendAdvert => name("send_advert"),
        Action::LookAgain => name("look_again"),
        Action::Report { role, reason } => {
            vec!["report".into(), role.to_string(), format!("because={reason}")]
        }
        Action::TellLease { lease } => vec!["tell_lease".into(), format!("{}ms", lease.as_millis())],
        Action::HandOver => name("hand_over"),
        Action::KeepOn { why } => vec!["keep_on".into(), format!("because={why}")],
        Action::Finish => name("finish"),
        Action::HoldVip => name("hold_vip"),
        Action::ReleaseVip => name("release_vip"),
        Action::Announce => name("announce"),
        Action::SendProbe { peer, number, up } => {
            let state = if *up { "up" } else { "down" };
            let (peer, number) = (peer.0.to_string(), format!("number={number}"));
            vec!["send_probe".into(), peer, number, format!("state={state}")]
        }
        Action::AskGateway => name("ask_gateway"),
        Action::Listen { closely } => {
            vec!["listen".into(), if *closely { "closely" } else { "loosely" }.into()]
        }
        Action::TellWhetherReached { reaches } => vec!["tell_reached".into(), said(*reaches).into()],
        Action::ReportFinding { finding } => vec!["found".into(), format!("{finding:?}")],
        Action::HoldBack { finding } => vec!["hold_back".into(), format!("{finding:?}")],
        Action::HoldBackUntold => name("hold_back_untold"),
        Action::HoldBackNoLonger => name("hold_back_no_longer"),
        Action::ReadTraffic => name("read_traffic"),
        Action::AskWireguard => name("ask_wireguard"),
        Action::TellHealth { priority, fit } => {
            let fit = if *fit { "fit" } else { "unfit" };
            vec!["tell_health".into(), priority.to_string(), fit.into()]
        }
        Action::ReportHealth { ailment, detail } => {
            let ailment = ailment.map_or("suspicion_over", wgha::proto::Ailment::name);
            vec!["report_health".into(), ailment.into(), format!("because={detail}")]
        }
        Action::StartHandshakes { again: false } => name("start_handshakes"),
        Action::StartHandshakes { again: true } => name("start_handshakes_again"),
        Action::StopHandshakes => name("stop_handshakes"),
        Action::RaiseTunnel => name("raise_tunnel"),
        Action::LowerTunnel => name("lower_tunnel"),
    }
}
