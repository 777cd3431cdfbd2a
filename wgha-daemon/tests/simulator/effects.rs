//! What becomes of a machine's actions.

use wgha::proto::{Action, Finding, Input, State};
use wgha_common::{
    Timestamp,
    abi::{Lease, Role},
};

use crate::{bounds::MILLI, queue::Event, world::World};

const MICRO: u64 = 1_000;

/// Whether the audit wants to know of it.
fn is_eventful(action: &Action, lease: &Lease) -> bool {
    match action {
        Action::SetLease { role, epoch, until } => {
            *until == Timestamp::ZERO || (*role as u32, *epoch) != (lease.role, lease.epoch)
        }
        Action::LookAgain | Action::SendProbe { .. } => false,
        _ => true,
    }
}

impl World {
    pub fn act(&mut self, me: usize, action: Action) {
        let node = &mut self.nodes[me];
        let Some(daemon) = &mut node.daemon else { return };
        self.eventful |= is_eventful(&action, &daemon.lease);
        match action {
            Action::SetLease { role, epoch, until } => self.set_lease(me, role, epoch, until),
            Action::StampAdverts { priority, interval } => node.kernel.stamp = (priority, interval),
            Action::SendAdvert if node.adverts_fail => {
                daemon.follow.push_back(Input::AdvertFailed("no".into()))
            }
            Action::SendAdvert => self.send_advert(me),
            Action::LookAgain => {
                let look = node.kernel.look(daemon.machine.minds_routers());
                daemon.follow.push_back(look);
            }
            Action::Announce => {
                daemon.follow.push_back(Input::Announced(Ok(())));
                self.solicit_gateway(me);
            }
            Action::SendProbe { peer, number, up } => self.send_probe(me, usize::from(peer.0), number, up),
            Action::TellLease { lease } => {
                daemon.told_lease = Some(lease);
                self.tell_lease(me);
            }
            Action::Report { role, .. } => {
                self.brief_soon(me);
                if role == State::Active {
                    self.brief_others(me);
                }
            }
            Action::StartHandshakes { .. } | Action::StopHandshakes => {}
            // Traffic is not simulated.
            Action::ReadTraffic | Action::AskWireguard => {}
            Action::TellHealth { .. } | Action::ReportHealth { .. } => {}
            Action::AskGateway => self.ask_gateway(me),
            Action::Listen { .. } => daemon.follow.push_back(Input::Listened(node.kernel.arrivals)),
            Action::TellWhetherReached { reaches } => {
                daemon.reaches = reaches;
                self.tell_whether_reached(me);
            }
            Action::HoldBackUntold => self.audit.seen.untold += 1,
            Action::HoldBackNoLonger => self.audit.seen.in_vain += 1,
            Action::ReportFinding { finding } => self.audit.seen.deaf += u64::from(finding == Finding::Deaf),
            Action::HoldBack { .. } => self.audit.seen.held_back += 1,
            Action::KeepOn { .. } => self.audit.seen.kept_on += 1,
            Action::HandOver => self.hand_over(me),
            Action::Finish => self.finished(me),
            effect => {
                if daemon.worker.ask(effect) {
                    self.begin_effect(me);
                }
            }
        }
    }

    fn set_lease(&mut self, me: usize, role: Role, epoch: u64, until: Timestamp) {
        let node = &mut self.nodes[me];
        let Some(daemon) = &mut node.daemon else { return };
        daemon.lease = Lease::new(role, epoch, until);
        if node.maps_fail > 0 && until != Timestamp::ZERO {
            node.maps_fail -= 1;
            daemon.follow.push_back(Input::MapFailed("no".into()));
        } else {
            node.kernel.lease = daemon.lease;
        }
    }

    fn finished(&mut self, me: usize) {
        self.daemon_ends(me);
        let at = self.now + self.random.between(MILLI, 500 * MILLI);
        self.at(at, Event::Start { node: me });
    }

    fn hand_over(&mut self, me: usize) {
        let node = &mut self.nodes[me];
        node.handed_over = Some(self.now);
        let takes = node.successor_takes;
        self.audit.disturbed(me, self.now);
        self.audit.hands_over(me, self.nodes[me].serves(self.now), self.now);
        self.daemon_ends(me);
        self.at(self.now + takes, Event::Start { node: me });
    }

    fn begin_effect(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        if let Some(daemon) = &self.nodes[node].daemon {
            let at = self.now + daemon.worker.takes(&mut self.random);
            self.at(at, Event::EffectEnds { node, incarnation });
        }
    }

    pub fn effect_ends(&mut self, me: usize, incarnation: u32) {
        let asleep = !self.nodes[me].is_awake();
        let node = &mut self.nodes[me];
        let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) else { return };
        if asleep {
            daemon.effect_waits = true;
            return;
        }
        let before = (node.group.present, node.group.up);
        let report = daemon.worker.end(&mut node.group);
        let more = !daemon.worker.is_idle();
        // The notification and the report come by different ways.
        if before != (node.group.present, node.group.up) {
            let tunnel = node.group.tunnel();
            self.notify(me, tunnel);
        }
        if let Some(report) = report {
            let at = self.now + self.random.between(1, 100 * MICRO);
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(report) });
        }
        if more {
            self.begin_effect(me);
        }
    }

    /// A notification of the kernel: later than what it tells of, but never before an earlier one.
    pub fn notify(&mut self, me: usize, input: Input) {
        let incarnation = self.nodes[me].incarnation;
        let at = self.now + self.random.between(1, 3 * MILLI);
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.last_told = at.max(daemon.last_told + 1);
            let at = daemon.last_told;
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(input) });
        }
    }

    pub fn told(&mut self, me: usize, incarnation: u32, input: Input) {
        let node = &mut self.nodes[me];
        if let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) {
            daemon.inbox.push_back(input);
            self.wake_soon(me);
        }
    }
}
