//! Writes down what goes by, for `wgha events`, for the log and for systemd.

use std::time::{Duration, SystemTime};

use tracing::{debug, info, warn};
use wgha_common::{
    Timestamp,
    abi::{Counter, Event as RingEvent},
};

use super::carrier::Witness;
use crate::{
    proto::{Action, Ailment, Finding, Heard, Input, Reason, State},
    status::{Event, Kind, Notifier, Recorder},
    sys::clock,
};

/// The step that ends a failover.
pub const ALL_BACK: &str = "all_back";

const UNTOLD: &str = "the role is not taken back yet: this node has not been told where the clients are";
const IN_VAIN: &str = "the role is taken back without knowing where the clients are: nobody has told for 5 s; they may be dark for 15 s";

/// How long after a look at the wall clock, which may be set meanwhile, ticks need none.
const CLOCKS: Duration = Duration::from_secs(1);

/// Records inputs and role changes as events.
pub struct Recording {
    recorder: Recorder,
    notifier: Option<Notifier>,
    state: State,
    /// When the evidence arrived that the machine is deciding on.
    evidence: Timestamp,
    /// The evidence of the failover that has made this node Active.
    failover: Option<Timestamp>,
    /// Everybody was back after it.
    back: bool,
    /// The tunnel's raising has ended after it.
    raised: bool,
    /// When the wall clock was last read.
    clocks_set: Timestamp,
    /// This node is Active since then, and the gateway has not answered yet.
    gateway_since: Option<Timestamp>,
}

impl Recording {
    /// Into `recorder`, and to systemd if it wants to know.
    #[must_use]
    pub fn new(recorder: Recorder, notifier: Option<Notifier>) -> Self {
        Self {
            recorder,
            notifier,
            state: State::Fault,
            evidence: Timestamp::ZERO,
            failover: None,
            back: false,
            raised: false,
            clocks_set: Timestamp::ZERO,
            gateway_since: None,
        }
    }

    /// Everything that is remembered.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.recorder.events()
    }

    /// The node is ready.
    pub fn ready(&self) {
        if let Some(notifier) = &self.notifier {
            notifier.ready(self.state.name());
        }
    }

    /// A malformed advert with our VRID. The kernel half lets a flood of them ring ten times a second at most.
    pub fn malformed(&mut self, event: &RingEvent) {
        let why = Counter::ALL.get(event.counter as usize).map_or("unknown", |c| c.name());
        let detail = format!("from {}: {why}", event.source);
        warn!("malformed advert {detail}");
        self.recorder.record(Kind::Input, "malformed", detail, Timestamp::from_nanos(event.at));
    }

    /// A step of a failover that the main thread has seen. What follows `all_back` and the raised tunnel has other
    /// causes, but for the steps that are told later.
    pub fn step(&mut self, what: &str, detail: String, at: Timestamp) {
        if let Some(evidence) = self.failover {
            self.recorder.evidence(evidence);
        }
        self.recorder.record(Kind::Effect, what, detail, at);
        self.back |= what == ALL_BACK;
        self.settle();
    }

    /// Clients may be back before the link is said to be up: a program does not wait for it.
    fn settle(&mut self) {
        if self.back && self.raised {
            self.recorder.settled();
        }
    }

    /// The gateway answers whenever it is asked; the first time tells that it has learnt us.
    fn gateway_answered(&mut self, at: Timestamp) {
        if self.gateway_since.is_some_and(|since| since <= at) {
            self.gateway_since = None;
            self.recorder.record(Kind::Input, "gateway_answered", "", at);
        }
    }

    fn found(&mut self, finding: Finding, now: Timestamp) {
        match finding {
            Finding::GatewaySilent | Finding::Deaf => warn!("witness: {finding}"),
            _ => info!("witness: {finding}"),
        }
        self.recorder.record(Kind::Input, "witness", finding.to_string(), now);
    }

    fn held_back(&mut self, finding: Finding, now: Timestamp) {
        let why = format!("the role is not taken on silence: {finding}");
        warn!("{why}");
        self.recorder.record(Kind::Effect, "held_back", why, now);
    }

    fn untold(&mut self, what: &str, why: &str, now: Timestamp) {
        warn!("{why}");
        self.recorder.record(Kind::Effect, what, why, now);
    }

    fn handed_over(&mut self, now: Timestamp) {
        self.recorder.record(Kind::Effect, "handed_over", "", now);
        if let Some(notifier) = &self.notifier {
            notifier.reloading(clock::monotonic());
        }
    }

    fn health_changed(&mut self, ailment: Option<Ailment>, detail: &str, now: Timestamp) {
        match ailment {
            Some(_) => warn!("{detail}"),
            None => info!("nothing is known against this node's WireGuard any more: {detail}"),
        }
        let what = ailment.map_or("suspicion_over", Ailment::name);
        self.recorder.record(Kind::Input, what, detail, now);
    }

    fn role_changed(&mut self, state: State, reason: &Reason, now: Timestamp) {
        let takes_over = matches!(state, State::Active | State::Claiming) && *reason != Reason::WentOn;
        if takes_over && self.state != State::Claiming {
            self.recorder.settled();
            let silent_since = match reason {
                Reason::ProbesUnanswered { since, .. } => Some(*since),
                _ => None,
            };
            let evidence = silent_since.unwrap_or(self.evidence);
            self.recorder.evidence(evidence);
            self.failover = Some(evidence);
            (self.back, self.raised) = (false, false);
        }
        if !matches!(state, State::Active | State::Claiming) {
            self.recorder.settled();
            self.failover = None;
        }
        self.gateway_since = (state == State::Active && *reason != Reason::WentOn).then_some(now);
        match state {
            State::Fault => warn!(old = self.state.name(), new = state.name(), "{reason}"),
            _ => info!(old = self.state.name(), new = state.name(), "{reason}"),
        }
        self.state = state;
        // Nothing has changed but the program.
        let (kind, what) = match reason {
            Reason::WentOn => (Kind::Effect, "went_on"),
            _ => (Kind::Role, state.name()),
        };
        self.recorder.record(kind, what, reason.to_string(), now);
        if let Some(notifier) = &self.notifier {
            notifier.status(&format!("{state}: {reason}"));
            if state == State::Stopping {
                notifier.stopping();
            }
        }
    }
}

impl Witness for Recording {
    fn input(&mut self, input: &Input, now: Timestamp) {
        if now.since(self.clocks_set) >= CLOCKS || !is_tick(input) {
            self.clocks_set = now;
            self.recorder.set_clocks(now, SystemTime::now());
        }
        let at = arrival(input).unwrap_or(now);
        self.evidence = at;
        if let Input::GatewayAnswered(at) = input {
            self.gateway_answered(*at);
        }
        if self.state == State::Active && *input == Input::EndpointsLost {
            return; // as always: it knows better itself
        }
        let Some((kind, what, detail)) = told(input) else { return };
        debug!("{what}: {detail}");
        self.recorder.record(kind, what, detail, at);
        if matches!(input, Input::TunnelRaised(_)) {
            self.raised = true;
            self.settle();
        }
    }

    fn action(&mut self, action: &Action, now: Timestamp) {
        match action {
            Action::Report { role, reason } => self.role_changed(*role, reason, now),
            Action::ReportHealth { ailment, detail } => self.health_changed(*ailment, detail, now),
            Action::HandOver => self.handed_over(now),
            Action::ReportFinding { finding } => self.found(*finding, now),
            Action::HoldBack { finding } => self.held_back(*finding, now),
            Action::HoldBackUntold => self.untold("held_back", UNTOLD, now),
            Action::HoldBackNoLonger => self.untold("held_back_in_vain", IN_VAIN, now),
            Action::KeepOn { why } => self.recorder.record(Kind::Effect, "reload_refused", why.clone(), now),
            _ => {}
        }
    }
}

/// What happens all the time.
const fn is_tick(input: &Input) -> bool {
    matches!(
        input,
        Input::TimerFired | Input::LookedAgain { .. } | Input::Listened(_) | Input::TrafficRead(_)
    )
}

/// When the packet arrived that the input is about.
fn arrival(input: &Input) -> Option<Timestamp> {
    match input {
        Input::AdvertHeard(heard) | Input::Contested(heard) | Input::LeaseRevoked { by: heard, .. } => {
            Some(heard.at)
        }
        Input::GatewayAnswered(at) => Some(*at),
        Input::Answered(answer) => Some(answer.at),
        _ => None,
    }
}

/// What people should know of an input; `None` for what happens all the time.
fn told(input: &Input) -> Option<(Kind, &'static str, String)> {
    let told = match input {
        Input::TimerFired | Input::LookedAgain { .. } | Input::GatewayAnswered(_) => return None,
        Input::Answered(_) | Input::PeerIntroduced(_) | Input::PeerLeft(_) => return None,
        Input::PeerWaits { .. } | Input::PeerReaches { .. } | Input::Listened(_) => return None,
        Input::TrafficRead(_) | Input::ClientsUnanswered(_) => return None,
        Input::EndpointsKnown => (Kind::Input, "endpoints_known", String::new()),
        Input::EndpointsLost => (Kind::Input, "endpoints_lost", String::new()),
        Input::GatewaysChanged(gateways) => {
            let list: Vec<_> = gateways.iter().map(ToString::to_string).collect();
            let list = if list.is_empty() { "no default route".to_owned() } else { list.join(", ") };
            (Kind::Input, "gateways_changed", list)
        }
        Input::WireguardAsked { silent } => {
            let how = if *silent { "it does not answer" } else { "it answers again" };
            (Kind::Input, "wireguard_asked", how.to_owned())
        }
        Input::Started(_) => (Kind::Input, "started", String::new()),
        Input::ReloadRequested => (Kind::Input, "reload_requested", String::new()),
        Input::AdvertHeard(heard) => (Kind::Input, "advert_heard", advert(heard)),
        Input::Contested(by) => (Kind::Input, "contested", format!("by a probe {}", advert(by))),
        Input::LeaseRevoked { by, .. } => {
            (Kind::Input, "lease_revoked", format!("by a claim {}", advert(by)))
        }
        Input::UplinkChanged(u) => {
            let source = u.source.map_or("no address".to_owned(), |s| s.to_string());
            let state = if !u.present {
                "gone"
            } else if u.running {
                "running"
            } else {
                "no carrier"
            };
            (Kind::Input, "uplink_changed", format!("{state}, {source}"))
        }
        Input::MacChanged => (Kind::Input, "mac_changed", String::new()),
        Input::TunnelChanged(t) => {
            let port = t.listen_port.map_or("no listen port".to_owned(), |p| format!("listen port {p}"));
            let state = if !t.present {
                "gone"
            } else if t.up {
                "up"
            } else {
                "down"
            };
            (Kind::Input, "tunnel_changed", format!("{state}, {port}"))
        }
        Input::VipLost(vip) => (Kind::Input, "vip_lost", format!("{vip} was removed by somebody else")),
        Input::StopRequested => (Kind::Input, "stop_requested", String::new()),
        Input::AdvertFailed(why) => (Kind::Input, "advert_failed", why.clone()),
        Input::MapFailed(why) => (Kind::Input, "map_failed", why.clone()),
        Input::VipHeld(r) => (Kind::Effect, "vip_held", ended(r)),
        Input::VipReleased(r) => (Kind::Effect, "vip_released", ended(r)),
        Input::Announced(r) => (Kind::Effect, "announced", ended(r)),
        Input::TunnelRaised(r) => (Kind::Effect, "tunnel_raised", ended(r)),
        Input::TunnelLowered(r) => (Kind::Effect, "tunnel_lowered", ended(r)),
    };
    Some(told)
}

fn advert(heard: &Heard) -> String {
    format!("from {}, priority {}, every {}", heard.source, heard.priority, heard.interval)
}

fn ended(result: &Result<(), String>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn active() -> Recording {
        let recorder = Recorder::new(at(0), SystemTime::UNIX_EPOCH);
        let mut recording = Recording::new(recorder, None);
        recording.input(&Input::TimerFired, at(10));
        let reason = Reason::ActiveDown { last: None };
        recording.action(&Action::Report { role: State::Active, reason }, at(11));
        recording
    }

    fn counted(recording: &Recording) -> Vec<(String, Option<u64>)> {
        recording.events().into_iter().map(|e| (e.what, e.since_evidence_us)).skip(1).collect()
    }

    #[test]
    fn only_the_first_answer_of_the_gateway_to_the_new_active_is_told() {
        let mut recording = active();
        for ms in [9, 13, 14] {
            recording.input(&Input::GatewayAnswered(at(ms)), at(15));
        }
        assert_eq!(counted(&recording), [("gateway_answered".to_owned(), Some(3000))]);
    }

    #[test]
    fn after_all_are_back_late_steps_are_counted_and_other_events_are_not() {
        let mut recording = active();
        recording.step(ALL_BACK, String::new(), at(20));
        recording.input(&Input::TunnelRaised(Ok(())), at(25));
        recording.input(&Input::VipReleased(Ok(())), at(30));
        recording.step("first_transport_in", String::new(), at(40));
        recording.input(&Input::VipReleased(Ok(())), at(50));
        let counts: Vec<_> = counted(&recording).into_iter().map(|(_, since)| since).collect();
        assert_eq!(counts, [Some(10_000), Some(15_000), None, Some(30_000), None]);
    }
}
