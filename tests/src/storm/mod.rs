//! Faults at random, one after the other and sometimes two at once, while somebody reads the wire all the time.
//!
//! After each of them everything must be well again within a bound; what the wire has shown is judged in the end, when
//! both servers have been stopped and nothing of wgha may be left.

mod asker;
mod judge;
mod kind;
mod lives;
mod report;
mod wire;

pub use asker::Asker;
pub use judge::{Finding, Rules, Silence, judge};
pub use kind::{Kind, Strike};
pub use report::{Record, Report};
pub use wire::{Sighting, View, What, Wire};

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::{
    judge::{Healing, Unfenced, doubly_answered, longest_overlap},
    lives::Lives,
};
use crate::{
    AFTER_WIREGUARD, Namespace, Pair, Pinger, Plan, Settings, Topology,
    Which::{self, A, B},
    clock::{self, patience},
    leftovers, monotonic_ns,
    node::{CONFIG, advert_interval, run_wgha},
    pinger,
    random::Random,
};

/// A dead daemon's lease has ended after this, however slow the machine: a lease lasts 40 ms by default.
const LAPSED: Duration = Duration::from_millis(150);
/// How long two may be heard at once. In truth it is a tick of the kernel's coarse clock.
const OVERLAP: Duration = Duration::from_millis(100);
/// So long after the end of a cut both may still answer. In truth until the first advert gets through, 100 ms at most.
const HEALED: Duration = Duration::from_millis(500);
/// How long a new wg1 and its port may take to be known.
const PORT_KNOWN: Duration = Duration::from_secs(1);
/// How long two may be heard to claim the role: while one of them does not hear the other.
const ADVERT_OVERLAP: Duration = Duration::from_secs(5);
/// After a fault everything is well again within this. It is a second, unless WireGuard has to wait for its own timers.
const WELL_AGAIN: Duration = Duration::from_secs(60);
/// Between two looks that must agree: longer than a Backup takes to take over, and two that serve to hear each other.
const STEADY: Duration = Duration::from_millis(150);
/// If the tunnel does not answer for so long, the roles may have changed meanwhile.
const ANSWERED: Duration = Duration::from_millis(300);
/// What takes longer is told.
const LONG: Duration = Duration::from_secs(5);
/// One of so many has company.
const TWO_AT_ONCE: u64 = 8;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// For the report.
    pub name: &'static str,
    /// What chance begins with.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// `[vrrp] preempt`: else whoever serves goes on to do so.
    pub preempt: bool,
    /// Which faults.
    pub kinds: Vec<Kind>,
}

/// A run under way.
#[derive(Debug)]
pub struct Storm {
    setup: Setup,
    random: Random,
    pair: Pair,
    ping: Pinger,
    asker: Asker,
    wire: Wire,
    rules: Rules,
    lives: Lives,
    records: Vec<Record>,
    /// What there was before wgha, on A and on B.
    before: [BTreeSet<String>; 2],
    /// Who serves, and since when everything has been well.
    calm: (Which, u64),
    began_ns: u64,
    _asking: Namespace,
}

impl Storm {
    /// Starts both servers, and waits until all is well.
    ///
    /// # Errors
    /// That it does not become so.
    pub fn begin(topology: Topology, setup: Setup) -> Result<Self> {
        for which in Which::BOTH {
            // As systemd sets it: an address does not go with the first one of its network.
            topology.server(which).namespace.set_net("ipv4/conf/all/promote_secondaries", "1")?;
        }
        let before = [leftovers::picture(&topology.a.namespace)?, leftovers::picture(&topology.b.namespace)?];
        let began_ns = monotonic_ns();
        let preempt = setup.preempt;
        let pair = Pair::start(topology, |plan, which| settings(plan, which, preempt))?;
        let ping = Pinger::start(&pair.topology.client, pair.topology.plan.tunnel_server, pinger::INTERVAL)?;
        ping.wait_answer(0, None, AFTER_WIREGUARD)?;
        let asking = pair.topology.observer()?;
        let wire = Wire::watch(&pair.topology, &asking)?;
        let asker = Asker::start(&asking, &pair.topology.plan)?;
        let rules = Rules {
            overlap: patience(OVERLAP),
            advert_overlap: patience(ADVERT_OVERLAP),
            advert_pause: advert_interval() * 7 / 2,
            ..Rules::default()
        };
        let mut storm = Self {
            random: Random::new(setup.seed),
            setup,
            pair,
            ping,
            asker,
            wire,
            rules,
            lives: Lives::default(),
            records: Vec::new(),
            before,
            calm: (A, monotonic_ns()),
            began_ns,
            _asking: asking,
        };
        storm.wait_well(began_ns)?;
        Ok(storm)
    }

    /// Has them all happen.
    ///
    /// # Errors
    /// That something is not well again in time after one, with what is needed to repeat it.
    pub fn rage(&mut self) -> Result<()> {
        for number in 1..=self.setup.faults {
            let strikes = self.choose();
            let told = strikes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ");
            let struck = self.strike(&strikes);
            struck.with_context(|| {
                format!(
                    "fault {number} of {}, seed {}: {told}\n{}",
                    self.setup.name,
                    self.setup.seed,
                    self.scene()
                )
            })?;
        }
        Ok(())
    }

    fn choose(&mut self) -> Vec<Strike> {
        let one = self.choose_one();
        if !self.random.once_in(TWO_AT_ONCE) {
            return vec![one];
        }
        let other = (0..20).map(|_| self.choose_one()).find(|other| one.goes_with(other));
        std::iter::once(one).chain(other).collect()
    }

    fn choose_one(&mut self) -> Strike {
        let kind = self.random.pick(&self.setup.kinds);
        let which = kind.target(self.calm.0, &mut self.random);
        Strike { kind, which }
    }

    /// One fault or two, until all is well again.
    fn strike(&mut self, strikes: &[Strike]) -> Result<()> {
        let began_ns = monotonic_ns();
        let (active, well_ns) = self.calm;
        let because = "is the Backup of a healthy Active";
        self.rules.silences.push(Silence { who: active.other(), from_ns: well_ns, to_ns: began_ns, because });
        let preempt = self.setup.preempt;
        let settings = move |plan: &Plan, which| settings(plan, which, preempt);
        let mut under_way = Vec::new();
        for strike in strikes {
            let kept = strike.begin(&mut self.pair, &mut self.random, strikes.len() > 1);
            under_way.push((*strike, monotonic_ns(), kept.with_context(|| strike.to_string())?));
            self.pause();
        }
        if self.random.once_in(2) {
            under_way.reverse();
        }
        for (strike, since_ns, kept) in under_way {
            self.expect_silence(strike, since_ns);
            let from_ns = monotonic_ns();
            strike.end(&mut self.pair, &settings, kept).with_context(|| format!("the end of {strike}"))?;
            if strike.kind.renews_tunnel() {
                // Until its port is set it has another one, which is what the daemon may have read.
                let to_ns = from_ns + nanos(patience(PORT_KNOWN));
                self.rules.unfenced.push(Unfenced { who: strike.which, from_ns, to_ns });
            }
            if strike.kind.parts() {
                let to_ns = monotonic_ns() + nanos(patience(HEALED));
                self.rules.healing.push(Healing { from_ns, to_ns });
            }
        }
        let over_ns = monotonic_ns();
        self.wait_well(over_ns)?;
        for strike in strikes.iter().filter(|strike| strike.kind.takes_fence()) {
            self.rules.unfenced.push(Unfenced { who: strike.which, from_ns: began_ns, to_ns: self.calm.1 });
        }
        self.record(strikes, began_ns, over_ns);
        if self.calm.1 > over_ns + nanos(patience(LONG)) {
            println!("{}", self.story(strikes, began_ns)?);
        }
        self.wire.read();
        // For a while nothing happens, and a Backup is looked at.
        sleep(self.random.millis(60..160));
        Ok(())
    }

    /// Mostly short, so that one thing happens in the middle of what the other has set off; sometimes for longer.
    fn pause(&mut self) {
        let longest = if self.random.once_in(10) { 1500 } else { 350 };
        sleep(self.random.millis(5..longest));
    }

    /// A daemon that renews no lease, until now.
    fn expect_silence(&mut self, strike: Strike, since_ns: u64) {
        let lapsed_ns = since_ns + nanos(patience(LAPSED));
        let now_ns = monotonic_ns();
        let who = if strike.kind == Kind::BothAtOnce {
            &Which::BOTH[..]
        } else {
            std::slice::from_ref(&strike.which)
        };
        if strike.kind.silences() && lapsed_ns < now_ns {
            let silence = |who: &Which| Silence {
                who: *who,
                from_ns: lapsed_ns,
                to_ns: now_ns,
                because: "has a daemon that was killed or stopped",
            };
            self.rules.silences.extend(who.iter().map(silence));
        }
    }

    fn record(&mut self, strikes: &[Strike], began_ns: u64, over_ns: u64) {
        self.records.push(Record {
            began_ns,
            over_ns,
            strikes: strikes.to_vec(),
            outage: None,
            outage_after: Duration::ZERO,
            healthy_after: Duration::from_nanos(self.calm.1.saturating_sub(over_ns)),
        });
    }

    /// What the tunnel has seen of each fault. Pings of the last moment are not counted as lost yet.
    fn count_outages(&mut self) -> Result<()> {
        clock::observe_for(Duration::from_millis(500))?;
        let Some(first) = self.records.first() else { return Ok(()) };
        for outage in self.ping.outages(first.began_ns) {
            let (Some(length), Some(to_ns)) = (outage.length(), outage.to_ns) else { continue };
            let Some(record) = self.records.iter_mut().rfind(|record| record.began_ns < to_ns) else {
                continue;
            };
            record.outage = record.outage.max(Some(length));
            let after = Duration::from_nanos(to_ns.saturating_sub(record.over_ns));
            record.outage_after = record.outage_after.max(after.min(length));
        }
        Ok(())
    }

    /// Waits until one serves, the other is its Backup and knows everything that it needs, and the tunnel answers.
    fn wait_well(&mut self, since_ns: u64) -> Result<()> {
        let mut lacking = String::new();
        let looked = clock::wait_for("all to be well", WELL_AGAIN, || {
            let found = well(&self.pair, self.setup.preempt).and_then(|found| {
                self.ping.wait_answer(since_ns, Some(found.0), ANSWERED)?;
                // Somebody may have been about to take over.
                sleep(patience(STEADY));
                let again = well(&self.pair, self.setup.preempt)?;
                ensure!(again.0 == found.0, "{} serves, and now {}", found.0, again.0);
                Ok(again)
            });
            Ok(found.inspect_err(|e| lacking = format!("{e:#}")).ok())
        });
        let (active, statuses) = looked.with_context(|| lacking)?;
        for (which, status) in Which::BOTH.into_iter().zip(&statuses) {
            self.lives.note(self.pair.node(which), status)?;
        }
        self.calm = (active, monotonic_ns());
        Ok(())
    }

    /// What both servers have done since a fault began.
    fn story(&self, strikes: &[Strike], began_ns: u64) -> Result<String> {
        let mut told = Vec::new();
        for which in Which::BOTH {
            for event in self.pair.node(which).events()? {
                let at_ns = event["at_ns"].as_u64().unwrap_or(0);
                if at_ns >= began_ns {
                    let ms = (at_ns - began_ns) / 1_000_000;
                    told.push((
                        at_ns,
                        format!(
                            "{ms:>7} ms {which} {} {}: {}",
                            event["kind"], event["what"], event["detail"]
                        ),
                    ));
                }
            }
        }
        told.sort();
        let lines: Vec<_> = told.into_iter().map(|(_, line)| line).collect();
        Ok(format!(
            "{} has taken long:\n{}",
            strikes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            lines.join("\n")
        ))
    }

    /// For messages: what both servers say, and what has happened last.
    fn scene(&self) -> String {
        let of = |which| {
            let node = self.pair.node(which);
            let status = node.ask().map_or_else(|| "no answer".to_owned(), |status| format!("{status:#}"));
            let log = node.log();
            let last = log[log.len().saturating_sub(60)..].join("\n");
            format!("--- {which}: {status}\n{last}\n")
        };
        let strikes = self.records.iter().rev().take(5).map(|record| format!("{:?}", record.strikes));
        format!("before: {}\n{}{}", strikes.collect::<Vec<_>>().join(" <- "), of(A), of(B))
    }

    /// Stops both, takes off what stays, and judges everything.
    ///
    /// # Errors
    /// That something cannot be stopped. What is wrong is in the report.
    pub fn end(mut self) -> Result<Report> {
        self.count_outages()?;
        let first = self.random.pick(&Which::BOTH);
        let mut wrong = Vec::new();
        for which in [first, first.other()] {
            let status = self.pair.node_mut(which).term()?;
            ensure!(
                status.success(),
                "{which} ended with {status}\n{}",
                self.pair.node(which).log().join("\n")
            );
        }
        let took = Duration::from_nanos(monotonic_ns() - self.began_ns);
        for (which, before) in Which::BOTH.into_iter().zip(&self.before) {
            wrong.extend(self.left(which, before)?);
        }
        let asked = self.asker.asked();
        let seen = self.wire.take_sightings();
        wrong.extend(judge(&seen, &self.rules).iter().map(|finding| self.tell(finding)));
        wrong.extend(self.lives.grown());
        let is_answer = |s: &&Sighting| s.view == View::Asker && matches!(s.what, What::Answer { .. });
        Ok(Report {
            name: self.setup.name.to_owned(),
            seed: self.setup.seed,
            records: self.records,
            wrong,
            questions: (asked, seen.iter().filter(is_answer).count()),
            sightings: seen.len(),
            doubly: doubly_answered(&seen),
            overlap: longest_overlap(&seen),
            lives: self.lives,
            took,
        })
    }

    /// With the fault during which it was.
    fn tell(&self, finding: &Finding) -> String {
        let during = self.records.iter().enumerate().rfind(|(_, record)| record.began_ns <= finding.at_ns);
        let during = during.map_or_else(
            || "before the first fault".to_owned(),
            |(i, record)| {
                let since = Duration::from_nanos(finding.at_ns - record.began_ns);
                format!("{since:?} after the beginning of fault {}, {:?}", i + 1, record.strikes)
            },
        );
        format!("{} ({during})", finding.what)
    }

    /// What `wgha detach` leaves that was not there before, and what is missing.
    fn left(&self, which: Which, before: &BTreeSet<String>) -> Result<Vec<String>> {
        let server = self.pair.topology.server(which);
        let detached = run_wgha(&server.namespace, &["detach", "--config", CONFIG])?;
        ensure!(detached.status.success(), "detach on {which}: {detached:?}");
        let after = leftovers::picture(&server.namespace)?;
        let left = after.difference(before).map(|what| format!("left on {which}: {what}"));
        let missing = before.difference(&after).map(|what| format!("missing on {which}: {what}"));
        let mut wrong: Vec<_> = left.chain(missing).collect();
        if server.tunnel.is_up() {
            wrong.push(format!("wg1 is up on {which}"));
        }
        Ok(wrong)
    }
}

fn settings(plan: &Plan, which: Which, preempt: bool) -> Settings {
    Settings { preempt, ..Settings::seed(plan, which) }
}

/// Who serves, if all is well; else what is not.
fn well(pair: &Pair, preempt: bool) -> Result<(Which, [Value; 2])> {
    let ask = |which| pair.node(which).ask().with_context(|| format!("{which} does not answer"));
    let statuses = [ask(A)?, ask(B)?];
    let roles = statuses.each_ref().map(|status| status["role"].as_str().unwrap_or_default());
    let active = match roles {
        ["active", "backup"] => A,
        ["backup", "active"] if !preempt => B,
        _ => bail!("A is {}, B is {}", roles[0], roles[1]),
    };
    let [of_active, of_backup] = if active == A { [0, 1] } else { [1, 0] }.map(|i| &statuses[i]);
    for (which, status) in Which::BOTH.into_iter().zip(&statuses) {
        let problems = status["problems"].as_array().map_or(0, Vec::len);
        ensure!(problems == 0, "{which} has problems: {}", status["problems"]);
        ensure!(status["peers"][0]["connected_s"].is_number(), "{which} has no peer");
    }
    let usual = patience(Duration::from_secs(1)).as_secs_f64() * 1000.0;
    let lease = &of_active["lease"];
    let remaining = lease["remaining_ms"].as_f64().unwrap_or(f64::MAX);
    ensure!(lease["serving"] == true && remaining < usual, "the lease: {lease}");
    ensure!(
        of_active["vrrp"]["held"] == true && of_active["wireguard"]["up"] == true,
        "{active} holds nothing"
    );
    ensure!(of_backup["vrrp"]["held"] == false, "the Backup holds the VIP");
    ensure!(of_backup["vrrp"]["active_router"].is_string(), "the Backup obeys nobody");
    ensure!(of_backup["detection"]["by"] == "probes", "detection: {}", of_backup["detection"]);
    let server = pair.topology.server(active.other());
    ensure!(!server.has_address(pair.topology.plan.vip), "the Backup has the VIP");
    let (known, client) = (server.tunnel.wg_show("endpoints")?, client(&pair.topology)?);
    ensure!(
        known.contains(&client),
        "the Backup does not know that the client is at {client}, but {}",
        known.trim()
    );
    Ok((active, statuses))
}

/// Where the client is, as `wg show` says it.
fn client(topology: &Topology) -> Result<String> {
    let port = topology.client_tunnel.wg_show("listen-port")?;
    let port: u16 = port.trim().parse().context("the client's port")?;
    Ok(std::net::SocketAddr::new(topology.plan.client, port).to_string())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
