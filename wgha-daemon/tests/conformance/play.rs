//! Plays one case.

use std::{net::IpAddr, time::Duration};

use wgha::proto::{
    Acquaintance, Action, Answered, Authentication, Detection, Heard, Inherited, Input, Introduced, Listened,
    Machine, PeerId, Settings, TunnelState, UplinkState, WhyAdverts,
};
use wgha_common::{Priority, Timestamp};

use crate::line::{self, Pairs, Result, Zero, parse, unknown};

/// Long after boot, so that a case may speak of what was before it.
const BOOT: Zero = Zero(1_000_000_000_000);

/// # Errors
/// The number of the first line that does not hold, and why.
pub fn play(text: &str) -> Result<()> {
    let first = text.lines().next().unwrap_or_default();
    if !["# RFC 9568 §", "# ARCHITECTURE, ", "# I"].iter().any(|rule| first.starts_with(rule)) {
        return Err("1: the first line names no rule".into());
    }
    let mut stage = Stage::new();
    let mut last = None;
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        stage.line(line).map_err(|why| format!("{number}: {why}"))?;
        last = Some(number);
    }
    let last = last.ok_or("1: nothing is played")?;
    stage.nothing_left().map_err(|why| format!("{last}: {why}"))
}

struct Stage {
    settings: Settings,
    machine: Machine,
    zero: Zero,
    now: Timestamp,
}

impl Stage {
    fn new() -> Self {
        let settings = Settings {
            priority: Priority::new(100).unwrap(),
            interval: line::interval("100ms").unwrap(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            peers: 0,
            detect: None,
            authentication: None,
            health: None,
        };
        Self { settings, machine: Machine::new(settings), zero: BOOT, now: Timestamp::from_nanos(BOOT.0) }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["settings", pairs @ ..] => self.set(pairs),
            ["given", place] => self.given(place),
            ["at", at, event @ ..] => self.at(at, event),
            ["expect", want @ ..] => self.expect(want, line),
            [fact, rest @ ..] => self.check(fact, &rest.join(" ")),
            [] => Ok(()),
        }
    }

    fn set(&mut self, words: &[&str]) -> Result<()> {
        let mut pairs = Pairs::of(words)?;
        let settings = &mut self.settings;
        let priority = |w: &str| Priority::new(parse(w)?).map_err(|_| format!("`{w}` is not a priority"));
        settings.priority = pairs.take("priority", priority)?.unwrap_or(settings.priority);
        settings.interval = pairs.take("interval", line::interval)?.unwrap_or(settings.interval);
        settings.preempt = pairs.take("preempt", line::yes)?.unwrap_or(settings.preempt);
        settings.preempt_delay =
            pairs.take("preempt_delay", line::duration)?.unwrap_or(settings.preempt_delay);
        settings.peers = pairs.take("peers", parse)?.unwrap_or(settings.peers);
        settings.detect = pairs.take("detect", line::detect)?.or(settings.detect);
        let peers = pairs.take("authentication", parse)?.map(|peers| Authentication { peers });
        settings.authentication = peers.or(settings.authentication);
        settings.health = pairs.take("health", line::health)?.or(settings.health);
        pairs.none_left()
    }

    fn at(&mut self, at: &str, event: &[&str]) -> Result<()> {
        self.nothing_left()?;
        self.now = self.zero.moment(at)?;
        let input = self.input(event)?;
        if input == Input::TimerFired && self.machine.poll_timeout().is_none_or(|due| due > self.now) {
            let due = self.machine.poll_timeout().map_or("the end".into(), |due| self.zero.show(due));
            return Err(format!("no timer is due before {due}"));
        }
        self.machine.handle(input, self.now);
        Ok(())
    }

    fn input(&self, event: &[&str]) -> Result<Input> {
        Ok(match event {
            ["started", words @ ..] => Input::Started(self.inherited(words)?),
            ["reload"] => Input::ReloadRequested,
            ["waits", peer, lease] => {
                Input::PeerWaits { peer: PeerId(parse(peer)?), lease: line::duration(lease)? }
            }
            ["timer"] => Input::TimerFired,
            ["stop"] => Input::StopRequested,
            ["advert", words @ ..] => Input::AdvertHeard(self.heard(words)?),
            ["revoked", epoch, words @ ..] => {
                Input::LeaseRevoked { epoch: parse(epoch)?, by: self.heard(words)? }
            }
            ["contested", words @ ..] => Input::Contested(self.heard(words)?),
            ["looked", words @ ..] => self.looked(words)?,
            ["answered", words @ ..] => Input::Answered(self.answer(words)?),
            ["introduced", peer, words @ ..] => Input::PeerIntroduced(introduced(peer, words)?),
            ["left", peer] => Input::PeerLeft(PeerId(parse(peer)?)),
            ["gateway"] => Input::GatewayAnswered(self.now),
            ["gateway", at] => Input::GatewayAnswered(self.zero.moment(at)?),
            ["gateways", gateways @ ..] => {
                Input::GatewaysChanged(gateways.iter().map(|word| parse(word)).collect::<Result<_>>()?)
            }
            ["listened", words @ ..] => Input::Listened(self.listened(words)?),
            ["reaches", peer, word] => {
                let reaches = if *word == "unknown" { None } else { Some(line::yes(word)?) };
                Input::PeerReaches { peer: PeerId(parse(peer)?), reaches }
            }
            ["traffic", words @ ..] => Input::TrafficRead(line::sample(words)?),
            ["wireguard", "silent"] => Input::WireguardAsked { silent: true },
            ["wireguard", "answers"] => Input::WireguardAsked { silent: false },
            ["endpoints", "known"] => Input::EndpointsKnown,
            ["endpoints", "lost"] => Input::EndpointsLost,
            ["unanswered", since] => Input::ClientsUnanswered(Some(self.zero.moment(since)?)),
            ["uplink", words @ ..] => Input::UplinkChanged(uplink(words)?),
            ["tunnel", word] => Input::TunnelChanged(tunnel(word)?),
            ["mac_changed"] => Input::MacChanged,
            ["vip_lost", who] => Input::VipLost(parse(who)?),
            ["advert_failed", why @ ..] => Input::AdvertFailed(why.join(" ")),
            ["map_failed", why @ ..] => Input::MapFailed(why.join(" ")),
            [effect, end @ ..] => ended(effect, end)?,
            [] => return Err("nothing happens".into()),
        })
    }

    fn heard(&self, words: &[&str]) -> Result<Heard> {
        line::heard(words, self.zero, self.now)
    }

    fn answer(&self, words: &[&str]) -> Result<Answered> {
        line::answered(words, self.zero, self.now)
    }

    /// `listened heard=5ms answered=3ms`; what is not said is nothing, or as long ago as the boot.
    fn listened(&self, words: &[&str]) -> Result<Listened> {
        let mut pairs = Pairs::of(words)?;
        let heard = pairs.take("heard", |word| self.zero.moment(word))?.unwrap_or_default();
        let answered = pairs.take("answered", |word| self.zero.moment(word))?.unwrap_or_default();
        pairs.none_left()?;
        Ok(Listened { heard, answered })
    }

    /// `started`, `started epoch=7`, `started epoch=7 until=2000ms`, `started epoch=7 ended=true`
    fn inherited(&self, words: &[&str]) -> Result<Inherited> {
        let mut pairs = Pairs::of(words)?;
        let epoch = pairs.take("epoch", parse)?.unwrap_or(0);
        let until = pairs.take("until", |word| self.zero.moment(word))?;
        let ended = pairs.take("ended", parse)?.unwrap_or(false);
        pairs.none_left()?;
        Ok(Inherited { epoch, until, ended })
    }

    /// `looked [revoked=1] nobody`, `looked ::4 priority=90 at=5ms , ::5 priority=0 at=6ms , answered 0 up number=3`
    fn looked(&self, words: &[&str]) -> Result<Input> {
        let (revoked_epoch, words) = match words.split_first() {
            Some((word, rest)) if word.starts_with("revoked=") => (parse(&word["revoked=".len()..])?, rest),
            _ => (0, words),
        };
        let (mut routers, mut answers) = (Vec::new(), Vec::new());
        for words in words.split(|w| *w == ",") {
            match words {
                ["nobody"] => {}
                ["answered", words @ ..] => answers.push(self.answer(words)?),
                words => routers.push(self.heard(words)?),
            }
        }
        Ok(Input::LookedAgain { routers, revoked_epoch, answers })
    }

    fn expect(&mut self, want: &[&str], line: &str) -> Result<()> {
        let want_line = line.trim_start_matches("expect").trim();
        let Some(action) = self.machine.poll_action() else {
            return Err(format!("expected {want_line}, but nothing is done"));
        };
        let got = line::words_of(&action, self.zero);
        let fail = || Err(format!("expected {want_line}, but {}", got.join(" ")));
        let reason = want_line.split_once(" because ").map(|(_, reason)| format!("because={reason}"));
        for (i, word) in want.iter().enumerate() {
            let key = word.split_once('=').map(|(key, _)| format!("{key}="));
            match key {
                None if *word == "because" => {
                    return if got.contains(&reason.unwrap_or_default()) { Ok(()) } else { fail() };
                }
                None if got.get(i).is_some_and(|g| g == word) => {}
                Some(_) if got.iter().any(|g| g == word) => {}
                Some(key) if !got.iter().any(|g| g.starts_with(&key)) => {
                    return unknown(key.trim_end_matches('='));
                }
                _ => return fail(),
            }
        }
        Ok(())
    }

    fn nothing_left(&mut self) -> Result<()> {
        match self.machine.poll_action() {
            Some(action) => Err(format!("not expected: {}", line::words_of(&action, self.zero).join(" "))),
            None => Ok(()),
        }
    }

    fn check(&self, fact: &str, want: &str) -> Result<()> {
        let machine = &self.machine;
        let is =
            |what: &str, got: String| if got == want { Ok(()) } else { Err(format!("the {what} is {got}")) };
        let none = || "none".to_owned();
        match fact {
            "state" => is("state", machine.role_name().into()),
            "reason" => is("reason", machine.reason().to_string()),
            "since" => is("moment", self.zero.show(machine.since())),
            "timeout" => is("timeout", machine.poll_timeout().map_or_else(none, |at| self.zero.show(at))),
            "active_router" => {
                is("Active Router", machine.active_router().map_or_else(none, |a| a.to_string()))
            }
            "detection" => is("detection", detection(machine.detection())),
            "stalls" => is("count of stalls", machine.suppressed_stalls().to_string()),
            "peers" => is("list of peers", peers(machine)),
            "finding" => is("finding", format!("{:?}", machine.finding())),
            "held_back" => is("waiting", if machine.is_held_back() { "yes" } else { "no" }.into()),
            "holds_vip" => is("VIP", if machine.holds_vip() { "yes" } else { "no" }.into()),
            "problems" if machine.problems().is_empty() => is("list of problems", none()),
            "problems" => is("list of problems", machine.problems().join("; ")),
            _ => unknown(fact),
        }
    }
}

// Where a play begins. The way there is not what it is about, so nothing is expected on it.
impl Stage {
    fn given(&mut self, place: &str) -> Result<()> {
        self.machine = Machine::new(self.settings);
        match place {
            "new" => {}
            "ready" => self.make_ready(),
            "backup" => self.make_backup(),
            "claiming" => self.make_claiming()?,
            "active" => self.make_active(),
            "fault" => {
                self.make_backup();
                self.silently(Input::UplinkChanged(UplinkState::default()));
            }
            _ => return unknown(place),
        }
        self.zero = Zero(self.now.as_nanos());
        Ok(())
    }

    fn make_ready(&mut self) {
        self.silently(Input::UplinkChanged(uplink(&["::3"]).unwrap()));
        self.silently(Input::TunnelChanged(tunnel("down").unwrap()));
    }

    fn make_backup(&mut self) {
        self.make_ready();
        self.silently(Input::Started(Inherited::default()));
        self.silently(Input::TunnelLowered(Ok(())));
        self.silently(Input::VipReleased(Ok(())));
    }

    /// Against `::4` of priority 90, heard 50 ms ago.
    fn make_claiming(&mut self) -> Result<()> {
        self.make_backup();
        self.fire();
        let rival = line::heard(&["::4", "priority=90", "at=-50ms"], Zero(self.now.as_nanos()), self.now)?;
        for _ in 0..2 {
            self.silently(Input::LookedAgain { routers: vec![rival], revoked_epoch: 0, answers: Vec::new() });
        }
        Ok(())
    }

    /// Just after an advert, with the last announcement long gone.
    fn make_active(&mut self) {
        self.make_backup();
        self.fire();
        self.nobody_looked();
        self.silently(Input::VipHeld(Ok(())));
        self.silently(Input::GatewayAnswered(self.now));
        self.silently(Input::TunnelRaised(Ok(())));
        self.silently(Input::TunnelChanged(tunnel("up").unwrap()));
        let announced = self.now + Duration::from_secs(15);
        loop {
            let advertised = self.fire().contains(&Action::SendAdvert);
            self.nobody_looked();
            if advertised && self.now > announced {
                return;
            }
        }
    }

    fn nobody_looked(&mut self) {
        self.silently(Input::LookedAgain { routers: Vec::new(), revoked_epoch: 0, answers: Vec::new() });
    }

    fn fire(&mut self) -> Vec<Action> {
        self.now = self.machine.poll_timeout().unwrap_or(self.now);
        self.silently(Input::TimerFired)
    }

    fn silently(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(input, self.now);
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }
}

fn detection(detection: Detection) -> String {
    match detection {
        Detection::Adverts(WhyAdverts::NoPeers) => "adverts, no peers".into(),
        Detection::Adverts(WhyAdverts::NobodyObeyed) => "adverts, nobody obeyed".into(),
        Detection::Adverts(WhyAdverts::NotIntroduced(who)) => format!("adverts, {who} not introduced"),
        Detection::Adverts(WhyAdverts::NotAnswered(peer)) => format!("adverts, {} has not answered", peer.0),
        Detection::Probes { peer, interval, probes, unanswered, last_rtt } => {
            let rtt = last_rtt.map_or_else(|| "none".into(), |rtt| format!("{rtt:?}"));
            format!("probes to {} every {interval:?}, {unanswered} of {probes} unanswered, rtt {rtt}", peer.0)
        }
    }
}

/// `0 present answers, 1 gone never_answered`
fn peers(machine: &Machine) -> String {
    let words = |known: &Acquaintance| {
        let present = if known.present { "present" } else { "gone" };
        let answers = if known.answered { "answers" } else { "never_answered" };
        format!("{} {present} {answers}", known.told.peer.0)
    };
    machine.acquaintances().iter().map(words).collect::<Vec<_>>().join(", ")
}

/// `introduced 0 ::4 priority=200 lease=20ms required_min_rx=10ms`
fn introduced(peer: &str, words: &[&str]) -> Result<Introduced> {
    let (source, rest) = words.split_first().ok_or("nobody is introduced")?;
    let mut pairs = Pairs::of(rest)?;
    let told = Introduced {
        peer: PeerId(parse(peer)?),
        source: parse(source)?,
        priority: pairs.take("priority", parse)?.ok_or("no priority")?,
        serving: pairs.take("serving", line::yes)?.unwrap_or(false),
        lease: pairs.take("lease", line::duration)?.unwrap_or(Duration::from_millis(20)),
        required_min_rx: pairs.take("required_min_rx", line::duration)?.unwrap_or(Duration::from_millis(10)),
        fit: pairs.take("fit", line::yes)?.unwrap_or(true),
    };
    pairs.none_left()?;
    Ok(told)
}

fn uplink(words: &[&str]) -> Result<UplinkState> {
    let up = UplinkState { present: true, running: true, source: None };
    match words {
        ["missing"] => Ok(UplinkState::default()),
        ["down"] => Ok(UplinkState { running: false, ..up }),
        ["no_source"] => Ok(up),
        [source] => Ok(UplinkState { source: Some(parse::<IpAddr>(source)?), ..up }),
        _ => Err("uplink: missing, down, no_source or an address".into()),
    }
}

fn tunnel(word: &str) -> Result<TunnelState> {
    let down = TunnelState { present: true, up: false, listen_port: Some(51800) };
    match word {
        "missing" => Ok(TunnelState::default()),
        "down" => Ok(down),
        "up" => Ok(TunnelState { up: true, ..down }),
        "no_port" => Ok(TunnelState { listen_port: None, ..down }),
        "up_no_port" => Ok(TunnelState { up: true, listen_port: None, ..down }),
        _ => unknown(word),
    }
}

fn ended(effect: &str, end: &[&str]) -> Result<Input> {
    let input = match effect {
        "vip_held" => Input::VipHeld,
        "vip_released" => Input::VipReleased,
        "announced" => Input::Announced,
        "tunnel_raised" => Input::TunnelRaised,
        "tunnel_lowered" => Input::TunnelLowered,
        _ => return unknown(effect),
    };
    match end {
        ["ok"] => Ok(input(Ok(()))),
        ["failed", why @ ..] => Ok(input(Err(why.join(" ")))),
        _ => Err(format!("{effect} ok or failed?")),
    }
}
