use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use wgha_common::Timestamp;

use super::{
    Action, Detect, Inherited, Input, Reason, Settings, State,
    adverts::Adverts,
    clients::Clients,
    detect::Prober,
    election::Election,
    group::Group,
    health::{Health, Needed},
    hearing::Hearing,
    introduced::Acquaintances,
    lease::LeaseKeeper,
    note::Note,
    reload::Reload,
    rivals::Rivals,
    suspicion::Suspicion,
    timers::{Timer, Timers},
    witness::Witness,
};

/// One virtual router's state machine. See the [module](super).
///
/// The owner calls [`Machine::handle`] with each input, then [`Machine::poll_action`] until there is
/// none, then waits for the next input, at most until [`Machine::poll_timeout`].
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) settings: Settings,
    pub(super) life: Life,
    pub(super) state: State,
    since: Timestamp,
    reason: Reason,
    pub(super) actions: VecDeque<Action>,
    pub(super) timers: Timers,
    pub(super) lease: LeaseKeeper,
    pub(super) adverts: Adverts,
    pub(super) election: Election,
    pub(super) prober: Prober,
    pub(super) acquaintances: Acquaintances,
    pub(super) rivals: Rivals,
    pub(super) clients: Clients,
    pub(super) health: Health,
    pub(super) hearing: Hearing,
    pub(super) witness: Witness,
    pub(super) group: Group,
    pub(super) notes: BTreeMap<Note, String>,
    pub(super) reload: Reload,
    pub(super) suspicion: Suspicion,
}

/// What frames the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Before [`Input::Started`].
    New,
    Running,
    /// After [`Action::Finish`] or [`Action::HandOver`].
    Over,
}

impl Machine {
    /// A machine that waits for [`Input::Started`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            life: Life::New,
            state: State::Fault,
            since: Timestamp::ZERO,
            reason: Reason::Started,
            actions: VecDeque::new(),
            timers: Timers::default(),
            lease: LeaseKeeper::new(settings.detect.as_ref().map(Detect::lease)),
            adverts: Adverts::default(),
            election: Election::new(settings.interval),
            prober: Prober::default(),
            acquaintances: Acquaintances::default(),
            rivals: Rivals::default(),
            clients: Clients::default(),
            health: Health::default(),
            hearing: Hearing::default(),
            witness: Witness::default(),
            group: Group::default(),
            notes: BTreeMap::new(),
            reload: Reload::default(),
            suspicion: Suspicion::default(),
        }
    }

    /// Takes note of what happened. `now` is the time of the call, not that of the event.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        if self.life == Life::Over {
            return;
        }
        self.step_down_if_lease_is_over(now);
        match input {
            Input::Started(inherited) => self.started(inherited, now),
            Input::TimerFired => self.timer_fired(now),
            Input::AdvertHeard(heard) => self.advert_heard(heard, now),
            Input::LookedAgain { routers, revoked_epoch, answers } => {
                self.looked_again(&routers, revoked_epoch, &answers, now)
            }
            Input::LeaseRevoked { epoch, by } => self.lease_revoked(epoch, by, now),
            Input::Contested(heard) => self.contested(heard, now),
            Input::Answered(answer) => self.answered(answer, now),
            Input::PeerIntroduced(told) => self.peer_introduced(told, now),
            Input::PeerLeft(peer) => self.peer_left(peer),
            Input::PeerWaits { peer, lease } => self.peer_waits(peer, lease),
            Input::GatewayAnswered(at) => self.gateway_answered(at),
            Input::GatewaysChanged(gateways) => self.gateways_changed(gateways, now),
            Input::Listened(listened) => self.listened(&listened, now),
            Input::PeerReaches { peer, reaches } => self.peer_reaches(peer, reaches, now),
            Input::UplinkChanged(uplink) => {
                self.health.uplink = uplink;
                self.health_changed(now);
            }
            Input::MacChanged => self.mac_changed(now),
            Input::TunnelChanged(tunnel) => self.tunnel_changed(tunnel, now),
            Input::VipHeld(result) => self.vip_held(result, now),
            Input::VipLost(_) => self.vip_lost(),
            Input::VipReleased(result) => self.vip_released(result),
            Input::Announced(result) => self.note(Note::Announce, result),
            Input::AdvertFailed(why) => self.advert_failed(why, now),
            Input::TunnelRaised(result) => self.tunnel_raised(result, now),
            Input::TunnelLowered(result) => self.tunnel_lowered(result, now),
            Input::MapFailed(why) => self.map_failed(why, now),
            Input::TrafficRead(sample) => self.traffic_read(sample, now),
            Input::WireguardAsked { silent } => self.wireguard_asked(silent, now),
            Input::ClientsUnanswered(since) => self.clients_unanswered(since),
            Input::EndpointsKnown => self.endpoints_known(now),
            Input::EndpointsLost => self.endpoints_lost(),
            Input::StopRequested => self.stop_requested(now),
            Input::ReloadRequested => self.reload_requested(),
        }
        self.weigh_health(now);
        self.aim(now);
        self.mind_adverts(now);
        self.tell_whether_reached();
        self.watch_rivals(now);
        self.pursue_reload(now);
        self.finish_if_all_is_undone();
    }

    /// The next thing to do; [`None`]: wait for an input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Machine::handle`] with [`Input::TimerFired`], unless something else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Where it stands, as a word: `active`, `claiming`, `backup`, `fault` or `stopping`.
    #[must_use]
    pub const fn role_name(&self) -> &'static str {
        self.state.name()
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What keeps this node from being healthy, one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let faults = self.faults().into_iter();
        let notes = self.notes.iter().map(|(note, why)| format!("{note}: {why}"));
        faults.chain(self.suspicion_problem()).chain(notes).collect()
    }

    /// Who serves, as far as this node knows: its own address while it is Active itself.
    #[must_use]
    pub fn active_router(&self) -> Option<IpAddr> {
        match self.state {
            State::Active => self.health.uplink.source,
            _ => self.election.active_router(),
        }
    }

    /// Whether every VIP is on this node, as far as it has been told.
    #[must_use]
    pub const fn holds_vip(&self) -> bool {
        self.group.holds_vip()
    }

    /// Which election granted the last lease; 0: none yet.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.lease.epoch()
    }

    /// Between the start and a stop.
    pub(super) fn is_running(&self) -> bool {
        self.life == Life::Running && self.state != State::Stopping
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Enters `state`. What leaving the old one takes has been done.
    pub(super) fn enter(&mut self, state: State, reason: Reason, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.reason = reason.clone();
        self.push(Action::Report { role: state, reason });
    }

    /// Keeps the failure of something that a node can live without for a while, or forgets it.
    pub(super) fn note(&mut self, note: Note, result: Result<(), String>) {
        match result {
            Ok(()) => self.notes.remove(&note),
            Err(why) => self.notes.insert(note, why),
        };
    }

    /// RFC 9568 §6.4.1. We are never the owner of an address, so the way leads to Backup.
    fn started(&mut self, inherited: Inherited, now: Timestamp) {
        if self.life != Life::New || self.state == State::Stopping {
            return;
        }
        self.life = Life::Running;
        self.lease.inherit(inherited.epoch);
        if let Some(until) = inherited.until.filter(|until| *until > now && self.fault().is_none()) {
            return self.go_on(until, now);
        }
        // A predecessor that was killed may have left its lease, its VIP and its tunnel behind.
        let end = self.lease.end();
        self.push(end);
        // Whoever probes is told by the next answer.
        if inherited.ended && self.settings.detect.is_none() {
            self.send_resignation();
        }
        self.undo_group();
        self.start_preempt_delay(now);
        match self.fault() {
            None => self.become_backup(Reason::Started, now),
            Some(fault) => self.enter(State::Fault, fault, now),
        }
    }

    fn timer_fired(&mut self, now: Timestamp) {
        // Each at most once: a clock at its end must not keep us here.
        for _ in 0..Timer::COUNT {
            let Some((timer, due)) = self.timers.take_due(now) else { return };
            match timer {
                Timer::ActiveDown => self.active_down(due, now),
                Timer::Adver => self.advert_due(due, now),
                Timer::Claim => self.claim_due(due, now),
                Timer::Announce => self.announce_due(now),
                Timer::Doubt => self.tunnel_doubted(now),
                Timer::HoldOff => self.hold_off_over(now),
                Timer::Stray => self.stray_due(),
                Timer::Probe => self.probe_due(due, now),
                Timer::Verdict => self.verdict_due(due, now),
                Timer::Renew => self.renewal_due(due, now),
                Timer::Gateway => self.gateway_silent(),
                Timer::Reload => self.reload_due(now),
                Timer::Suspicion => self.suspicion_due(now),
                Timer::Greet => self.greet(now),
                Timer::Hearing => self.hearing_due(due, now),
                Timer::Untold => self.untold_due(now),
            }
        }
    }

    /// Moves between Fault and the other states (RFC 9568's Startup and Shutdown events).
    pub(super) fn health_changed(&mut self, now: Timestamp) {
        if !self.is_running() {
            return;
        }
        match (self.state, self.fault()) {
            (State::Fault, None) => {
                self.start_preempt_delay(now);
                self.become_backup(Reason::FaultCleared, now);
            }
            (State::Fault, Some(fault)) if fault == self.reason => {}
            (_, Some(fault)) => {
                self.resign();
                self.enter(State::Fault, fault, now);
            }
            (_, None) => {}
        }
    }

    fn faults(&self) -> Vec<String> {
        let faults = self.health.faults().into_iter().map(|fault| fault.to_string());
        faults.chain(self.suspected_fault()).collect()
    }

    /// What is wrong, as the reason for the Fault state.
    fn fault(&self) -> Option<Reason> {
        let faults = self.faults();
        (!faults.is_empty()).then(|| Reason::Fault(faults.join("; ")))
    }

    /// Something that a serving node needs has failed. Nothing tells when it would work again, so it
    /// is tried again after a while, and after a longer one each time until a take-over succeeds: it must
    /// not flap.
    pub(super) fn fail(&mut self, what: Needed, why: String, now: Timestamp) {
        self.health.failed = Some((what, why));
        self.timers.arm(Timer::HoldOff, now + self.health.hold_off());
        self.health_changed(now);
    }

    fn hold_off_over(&mut self, now: Timestamp) {
        self.health.failed = None;
        self.health_changed(now);
    }

    /// A map that cannot be written is a fence that cannot be closed or opened: nobody serves like that.
    fn map_failed(&mut self, why: String, now: Timestamp) {
        match self.state {
            State::Active | State::Claiming => self.fail(Needed::Map, why, now),
            State::Fault | State::Backup | State::Stopping => self.note(Note::Map, Err(why)),
        }
    }

    fn stop_requested(&mut self, now: Timestamp) {
        if self.state == State::Stopping {
            return;
        }
        let undone_by_resigning = self.state == State::Active;
        self.resign();
        if !undone_by_resigning {
            self.undo_group();
        }
        self.timers = Timers::default();
        self.enter(State::Stopping, Reason::Stopping, now);
    }

    fn finish_if_all_is_undone(&mut self) {
        if self.state == State::Stopping && self.group.is_idle() {
            self.end_life();
            self.push(Action::Finish);
        }
    }

    /// Nothing is decided any more.
    pub(super) fn end_life(&mut self) {
        self.life = Life::Over;
        self.timers = Timers::default();
    }
}

#[cfg(test)]
mod tests;
