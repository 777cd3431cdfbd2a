//! What is done about what traffic says ([`super::traffic`]): nothing, unless another server is fit to do better.
//!
//! ```text
//! Active   once a second: read traffic ─▶ a ailment ─ somebody is fit ─▶ a lower priority, or Fault; for a while
//! others   after that while as before; found once more, twice as long
//! ```
//! A ailment is no proof. So it costs no redundancy: with a lower priority this node still serves if nobody else does, and it is
//! in Fault only while somebody else is fit. And it needs evidence that all was well here before, under the same lease: whoever
//! takes over from us does not find the same of itself because clients have gone.

use std::time::Duration;

use wgha_common::Timestamp;

use super::{
    Action, HealthRules, Machine, Remedy, State,
    machine::Life,
    timers::Timer,
    traffic::{Ailment, Facts, Sample, Watch},
};

/// Between two looks at the counts, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two questions to WireGuard, at least: what makes us doubt may be forged.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The hold-off is doubled so many times at most.
const DOUBLINGS: u32 = 6;
/// So long after the end of the last one it begins anew.
const FORGET: Duration = Duration::from_secs(3600);

/// What is suspected of WireGuard on this node.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspicion {
    watch: Watch,
    facts: Facts,
    looked: Timestamp,
    asked: Timestamp,
    /// What the last look has found, while we are Active.
    found: Option<Ailment>,
    /// What follows from a ailment.
    held: Option<Held>,
    /// When the last remedy was to end, and how often in a row there was one.
    last: Timestamp,
    times: u32,
    /// What the other servers were told of us.
    told: Option<(u8, bool)>,
}

/// A remedy that stands.
#[derive(Debug, Clone, Copy)]
struct Held {
    ailment: Ailment,
    remedy: Remedy,
    until: Timestamp,
}

impl Suspicion {
    /// Once more: how long the remedy is to stand.
    fn hold_off(&mut self, rules: &HealthRules, now: Timestamp) -> Duration {
        if now.since(self.last) > FORGET {
            self.times = 0;
        }
        let wait = rules.hold_off * 2_u32.pow(self.times.min(DOUBLINGS));
        self.times = self.times.saturating_add(1);
        self.last = now + wait;
        wait
    }

    /// Nothing is known against this node but what is a fault anyway.
    const fn is_clear(&self) -> bool {
        self.found.is_none() && self.held.is_none() && !self.facts.silent
    }

    /// What was found is still so, as far as can be seen.
    fn persists(&self, held: &Held) -> bool {
        self.found.is_some() || held.ailment == Ailment::WireguardStuck && self.facts.silent
    }
}

// What others ask.
impl Machine {
    /// The priority that we say: the configured one, unless we had better not serve.
    #[must_use]
    pub fn priority(&self) -> u8 {
        let configured = self.settings.priority.number();
        match (&self.settings.health, &self.suspicion.held) {
            (Some(rules), Some(Held { remedy: Remedy::Priority, .. })) => {
                configured.saturating_sub(rules.weight).max(1)
            }
            _ => configured,
        }
    }

    /// Whether this node would be better than another one that serves.
    pub(super) const fn may_preempt(&self) -> bool {
        self.suspicion.is_clear()
    }

    /// In Fault mode: what is wrong, as long as somebody else is fit.
    pub(super) fn suspected_fault(&self) -> Option<String> {
        let fault = self.suspicion.held.filter(|held| held.remedy == Remedy::Fault)?;
        self.acquaintances.anybody_fit().then(|| fault.ailment.to_string())
    }

    /// What keeps this node from being healthy, beside faults.
    pub(super) fn suspicion_problem(&self) -> Option<String> {
        match (&self.suspicion.held, self.suspicion.found) {
            (Some(Held { ailment, remedy: Remedy::Priority, .. }), _) => Some(format!(
                "{ailment}: the priority is {} instead of {} for now",
                self.priority(),
                self.settings.priority.number()
            )),
            (None, Some(ailment)) => Some(format!("{ailment}; no other server is fit to take over")),
            _ => None,
        }
    }
}

impl Machine {
    /// At a moment that has woken us anyway.
    pub(super) fn look_at_traffic(&mut self, now: Timestamp) {
        let due = now >= self.suspicion.looked + LOOK_EVERY;
        let watched = self.settings.health.as_ref().is_some_and(HealthRules::watches);
        if due && watched && self.state == State::Active && self.group.serves() {
            self.suspicion.looked = now;
            self.push(Action::ReadTraffic);
        }
    }

    pub(super) fn traffic_read(&mut self, sample: Sample, now: Timestamp) {
        let (State::Active, Some(rules)) = (self.state, self.settings.health) else { return };
        let (epoch, facts) = (self.lease.epoch(), self.suspicion.facts);
        self.suspicion.watch.take(sample, epoch, now);
        let ailment = self.suspicion.watch.ailment(facts, rules.silence, now);
        let ailment = ailment.filter(|ailment| rules.remedy(*ailment) != Remedy::Ignore);
        let before = std::mem::replace(&mut self.suspicion.found, ailment);
        self.ask_wireguard(now);
        match (ailment, &self.suspicion.held) {
            (Some(ailment), None) if self.acquaintances.anybody_fit() => self.hold(ailment, &rules, now),
            (Some(ailment), None) if before.is_none() => {
                let detail = format!("{ailment}; no other server is fit to take over");
                self.push(Action::ReportHealth { ailment: Some(ailment), detail });
            }
            _ => self.release(now),
        }
    }

    fn ask_wireguard(&mut self, now: Timestamp) {
        let due = now >= self.suspicion.asked + ASK_EVERY;
        if due && !self.suspicion.facts.silent && self.suspicion.watch.doubts(now) {
            self.suspicion.asked = now;
            self.push(Action::AskWireguard);
        }
    }

    pub(super) fn wireguard_asked(&mut self, silent: bool, now: Timestamp) {
        self.suspicion.facts.silent = silent;
        self.release(now);
    }

    pub(super) fn clients_unanswered(&mut self, since: Option<Timestamp>) {
        self.suspicion.facts.unanswered = since;
    }

    /// Somebody else is to serve.
    fn hold(&mut self, ailment: Ailment, rules: &HealthRules, now: Timestamp) {
        let remedy = rules.remedy(ailment);
        let wait = self.suspicion.hold_off(rules, now);
        self.suspicion.held = Some(Held { ailment, remedy, until: now + wait });
        self.timers.arm(Timer::Suspicion, now + wait);
        let (said, configured) = (self.priority(), self.settings.priority);
        let what = match remedy {
            Remedy::Fault => "resigning".to_owned(),
            _ => format!("the priority goes from {} to {said}", configured.number()),
        };
        let detail = format!("{ailment}; {what}, for {} s", wait.as_secs());
        self.push(Action::ReportHealth { ailment: Some(ailment), detail });
        self.say_priority(now);
    }

    pub(super) fn suspicion_due(&mut self, now: Timestamp) {
        self.release(now);
    }

    /// The remedy has stood long enough, and what it is for cannot be seen any more.
    fn release(&mut self, now: Timestamp) {
        let Some(held) = self.suspicion.held else { return };
        if now < held.until || self.suspicion.persists(&held) {
            return;
        }
        self.suspicion.held = None;
        let detail = format!("the priority is {} again", self.priority());
        self.push(Action::ReportHealth { ailment: None, detail });
        self.say_priority(now);
    }

    /// At once, if we say anything.
    fn say_priority(&mut self, now: Timestamp) {
        let in_fault = self.suspected_fault().is_some();
        if matches!(self.state, State::Active | State::Claiming) && !in_fault {
            self.stamp(self.priority());
            self.advertise(now);
        }
    }

    /// After everything that may change it: whether we are in Fault, and what the other servers know of us.
    pub(super) fn weigh_health(&mut self, now: Timestamp) {
        if self.life != Life::Running || self.settings.health.is_none() {
            return;
        }
        if self.state != State::Active {
            self.suspicion.found = None; // nothing passes that could tell
        }
        let held = self.suspicion.held.is_some_and(|held| held.remedy == Remedy::Fault);
        if held || self.state == State::Fault {
            self.health_changed(now);
        }
        let able = matches!(self.state, State::Backup | State::Claiming | State::Active);
        let tell = (self.priority(), able && self.suspicion.is_clear());
        if self.suspicion.told.replace(tell) != Some(tell) {
            self.push(Action::TellHealth { priority: tell.0, fit: tell.1 });
        }
    }
}
