//! From one input to every action that follows from it.

use std::{collections::VecDeque, net::IpAddr, sync::mpsc::Sender};

use tokio::sync::{mpsc, watch};
use wgha_common::{
    Centiseconds, Timestamp,
    abi::{AdvertSeen, AdvertStamp, Event, EventKind, Lease},
};

use super::{
    handshakes::Command,
    told::{Order, Told},
    worker::{Done, Effect},
};
use crate::proto::{Action, Answered, Heard, Input, Listened, Machine, PeerId, Sample, State};

/// What is done at once: maps, and frames on the wire. Behind a trait, so that the loop is tested without a kernel.
pub trait Datapath {
    /// The kernel's clock (invariant I2).
    fn now(&self) -> Timestamp;

    /// Writes `LEASE`.
    ///
    /// # Errors
    /// What the kernel said.
    fn set_lease(&mut self, lease: Lease) -> Result<(), String>;

    /// Writes priority and interval into `ADVERT`.
    ///
    /// # Errors
    /// What the kernel said.
    fn stamp_adverts(&mut self, priority: u8, interval: Centiseconds) -> Result<(), String>;

    /// Puts an advert on the wire.
    ///
    /// # Errors
    /// What the kernel said.
    fn send_advert(&mut self) -> Result<(), String>;

    /// Announces every VIP.
    ///
    /// # Errors
    /// What the kernel said.
    fn announce(&mut self) -> Result<(), String>;

    /// Reads the epoch in `REVOKED`, `ANSWERS`, and `ROUTERS` if they matter.
    ///
    /// # Errors
    /// What the kernel said.
    fn look(&mut self, routers: bool) -> Result<Look, String>;

    /// What was counted of WireGuard's packets.
    ///
    /// # Errors
    /// What the kernel said.
    fn traffic(&mut self) -> Result<Sample, String>;

    /// Whether somebody was asked with the announcement, and is to answer.
    fn has_gateway(&self) -> bool;

    /// Asks the gateways whether we hear them. A question that cannot be sent is as good as lost.
    fn ask_gateways(&mut self);

    /// Reads `ARRIVALS`, and with `closely` also how much of WireGuard's data has come in.
    ///
    /// # Errors
    /// What the kernel said.
    fn listen(&mut self, closely: bool) -> Result<Listened, String>;

    /// Sends a probe, in state Up or Down. One that cannot be sent is as good as lost.
    fn send_probe(&mut self, peer: PeerId, number: u64, up: bool);
}

/// What the maps hold that a decision needs.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The last advert of every router.
    pub routers: Vec<(IpAddr, AdvertSeen)>,
    /// The newest epoch that is over.
    pub revoked_epoch: u64,
    /// The last answer of every peer that has answered a probe that is not forgotten.
    pub answers: Vec<Answered>,
}

/// Sees what goes by: the recorder.
pub trait Witness {
    /// An input is about to be handled.
    fn input(&mut self, input: &Input, now: Timestamp);
    /// An action was decided.
    fn action(&mut self, action: &Action, now: Timestamp);
}

/// How a machine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is undone.
    Undone,
    /// Everything is left as it is, to a program that goes on with it.
    HandedOver,
}

/// The machine, with its hands and its witness.
pub struct Carrier<D, W> {
    /// Decides.
    pub machine: Machine,
    /// Does at once.
    pub datapath: D,
    /// Writes down.
    pub witness: W,
    /// Does in order, and reports.
    pub effects: mpsc::UnboundedSender<Effect>,
    /// Tells the main thread.
    pub told: watch::Sender<Told>,
    /// Starts handshakes without asking the main thread, which may have other things to do.
    pub handshakes: Option<Sender<Command>>,
    /// Which of them are under way.
    pub pending: Pending,
    /// The machine has nothing left to do.
    pub ended: Option<End>,
    /// What another program was to take over stays here: why.
    pub kept_on: Option<String>,
    /// WireGuard is to be asked how it is.
    pub doubts: bool,
    /// What is yet to be handled: kept for its memory.
    pub inputs: VecDeque<Input>,
}

/// Which effects are under way, and since when what they change may be judged.
///
/// What is found of an interface while one of our own effects changes it says nothing about what
/// others have done; neither does what was read before the effect's end and arrives after it.
#[derive(Debug, Default)]
pub struct Pending {
    tunnel: u32,
    tunnel_settled: Timestamp,
    vip: u32,
    vip_settled: Timestamp,
    /// The last HoldVip has succeeded and no ReleaseVip has followed.
    held: bool,
    /// Why the last effect on the tunnel, and on the VIP, has failed.
    failures: [Option<String>; 2],
}

impl Pending {
    fn asked(&mut self, effect: Effect) {
        match effect {
            Effect::RaiseTunnel | Effect::LowerTunnel => self.tunnel += 1,
            Effect::HoldVip => self.vip += 1,
            Effect::ReleaseVip => {
                self.vip += 1;
                self.held = false;
            }
            Effect::TendTunnel { .. } => {}
        }
    }

    fn ended(&mut self, done: &Done) {
        match done.effect {
            Effect::RaiseTunnel | Effect::LowerTunnel => {
                self.tunnel = self.tunnel.saturating_sub(1);
                self.tunnel_settled = done.at;
                self.failures[0] = done.result.clone().err();
            }
            Effect::HoldVip | Effect::ReleaseVip => {
                self.vip = self.vip.saturating_sub(1);
                self.vip_settled = done.at;
                self.failures[1] = done.result.clone().err();
                self.held = self.vip == 0 && done.effect == Effect::HoldVip && done.result.is_ok();
            }
            Effect::TendTunnel { .. } => {}
        }
    }

    /// The VIPs are there already.
    pub const fn found_held(&mut self) {
        self.held = true;
    }

    /// What is not as it was last asked for, because it is still under way or has failed.
    #[must_use]
    pub fn undone(&self) -> Vec<String> {
        let under_way = [(self.tunnel, "the tunnel"), (self.vip, "the VIP")];
        let under_way =
            under_way.iter().filter(|(n, _)| *n > 0).map(|(_, what)| format!("{what}: no end yet"));
        under_way.chain(self.failures.iter().flatten().cloned()).collect()
    }

    /// Whether what was read of the tunnel at `at` is others' doing.
    #[must_use]
    pub fn tunnel_settled(&self, at: Timestamp) -> bool {
        self.tunnel == 0 && at >= self.tunnel_settled
    }

    /// Whether the VIPs must be there in what was read at `at`.
    #[must_use]
    pub fn vips_expected(&self, at: Timestamp) -> bool {
        self.held && self.vip == 0 && at >= self.vip_settled
    }
}

impl<D: Datapath, W: Witness> Carrier<D, W> {
    /// Gives `input` to the machine and carries out all that follows, until there is nothing left to do.
    ///
    /// The clock is read for each input: what an action leads to has happened after it, and a look that
    /// took long is seen to have.
    pub fn take(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let now = self.datapath.now();
            self.witness.input(&input, now);
            self.machine.handle(input, now);
            while let Some(action) = self.machine.poll_action() {
                self.witness.action(&action, now);
                let announces = action == Action::Announce;
                let next = self.carry_out(action);
                self.inputs.extend(next);
                if announces && !self.datapath.has_gateway() {
                    // Whoever could not hear us is on our own segment, and has been told.
                    self.inputs.push_back(Input::GatewayAnswered(self.datapath.now()));
                }
            }
        }
    }

    /// Carries out one action; what it leads to at once is the next input.
    fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::SetLease { role, epoch, until } => {
                let written = self.datapath.set_lease(Lease::new(role, epoch, until));
                written.err().map(Input::MapFailed)
            }
            Action::StampAdverts { priority, interval } => {
                self.datapath.stamp_adverts(priority, interval).err().map(Input::MapFailed)
            }
            Action::SendAdvert => self.datapath.send_advert().err().map(Input::AdvertFailed),
            Action::Announce => Some(Input::Announced(self.datapath.announce())),
            Action::LookAgain => Some(self.look()),
            // What cannot be read now is read the next time.
            Action::ReadTraffic => self.datapath.traffic().ok().map(Input::TrafficRead),
            Action::AskWireguard => {
                self.doubts = true;
                None
            }
            Action::TellHealth { priority, fit } => {
                self.tell(|told, _| told.health = (priority, fit));
                None
            }
            Action::ReportHealth { .. } => None,
            Action::SendProbe { peer, number, up } => {
                self.datapath.send_probe(peer, number, up);
                None
            }
            Action::AskGateway => {
                self.datapath.ask_gateways();
                None
            }
            Action::Listen { closely } => {
                Some(self.datapath.listen(closely).map_or_else(Input::MapFailed, Input::Listened))
            }
            Action::TellWhetherReached { reaches } => {
                self.tell(|told, _| told.reaches = reaches);
                None
            }
            Action::ReportFinding { .. } | Action::HoldBack { .. } => None,
            Action::HoldBackUntold | Action::HoldBackNoLonger => None,
            Action::StartHandshakes { again } => {
                let at = self.datapath.now();
                self.command(Command::Go(at));
                self.tell(|told, _| told.handshakes = Some(Order { at, again }));
                None
            }
            Action::StopHandshakes => {
                self.command(Command::Stop(self.datapath.now()));
                self.tell(|told, _| told.handshakes = None);
                None
            }
            Action::Report { role, .. } => {
                self.tell(|told, now| told.serving = (role == State::Active).then_some(now));
                None
            }
            Action::TellLease { lease } => {
                self.tell(|told, _| told.lease = Some(lease));
                None
            }
            Action::Finish => self.end(End::Undone),
            Action::HandOver => self.end(End::HandedOver),
            Action::KeepOn { why } => {
                self.kept_on = Some(why);
                None
            }
            Action::HoldVip => self.ask(Effect::HoldVip),
            Action::ReleaseVip => self.ask(Effect::ReleaseVip),
            Action::RaiseTunnel => self.ask(Effect::RaiseTunnel),
            Action::LowerTunnel => self.ask(Effect::LowerTunnel),
        }
    }

    /// What the maps hold now.
    pub fn look(&mut self) -> Input {
        match self.datapath.look(self.machine.minds_routers()) {
            Ok(Look { routers, revoked_epoch, answers }) => {
                let routers = routers.iter().filter_map(|(source, seen)| heard(*source, seen)).collect();
                Input::LookedAgain { routers, revoked_epoch, answers }
            }
            Err(e) => Input::MapFailed(e),
        }
    }

    fn end(&mut self, end: End) -> Option<Input> {
        self.ended = Some(end);
        None
    }

    fn command(&self, command: Command) {
        // It ends with the main thread, and so does this one.
        let _ = self.handshakes.as_ref().map(|handshakes| handshakes.send(command));
    }

    /// Tells the main thread what has changed.
    pub fn tell(&self, change: impl FnOnce(&mut Told, Timestamp)) {
        let now = self.datapath.now();
        self.told.send_if_modified(|told| {
            let before = *told;
            change(told, now);
            *told != before
        });
    }

    /// An effect has ended.
    pub fn effect_done(&mut self, done: Done) {
        self.pending.ended(&done);
        if let Some(input) = done.into_input() {
            self.take(input);
        }
    }

    /// Has the worker note the tunnel's addresses and routes, or put them back.
    pub fn tend_tunnel(&mut self, went_down: bool) {
        // Were the worker gone, the next effect would say so.
        let _ = self.ask(Effect::TendTunnel { went_down });
    }

    fn ask(&mut self, effect: Effect) -> Option<Input> {
        self.pending.asked(effect);
        let refused = self.effects.send(effect).is_err();
        // The worker only ends with the daemon; were it gone, nothing could be carried out any more.
        refused.then(|| Input::MapFailed("the worker has ended".to_owned()))
    }
}

fn heard(source: IpAddr, seen: &AdvertSeen) -> Option<Heard> {
    let interval = Centiseconds::new(seen.interval).ok()?;
    Some(Heard { at: Timestamp::from_nanos(seen.at), source, priority: seen.priority, interval })
}

/// The input that a record of the ring stands for; `None` for what only people want to know.
#[must_use]
pub fn input_of(event: &Event, revoked_epoch: u64) -> Option<Input> {
    let seen = AdvertSeen {
        at: event.at,
        interval: event.interval,
        priority: event.priority,
        ..AdvertSeen::default()
    };
    let heard = heard(event.source.into(), &seen)?;
    match EventKind::from_number(event.kind)? {
        EventKind::Contested => Some(Input::Contested(heard)),
        EventKind::Outranked => Some(Input::LeaseRevoked { epoch: revoked_epoch, by: heard }),
        EventKind::NewRouter | EventKind::ChangedRouter | EventKind::Resigned | EventKind::Rival => {
            Some(Input::AdvertHeard(heard))
        }
        EventKind::Malformed | EventKind::AdminDown | EventKind::NewSource | EventKind::NeighbourAnswered => {
            None
        }
    }
}

/// The stamp for `ADVERT`.
#[must_use]
pub fn stamp(priority: u8, interval: Centiseconds, checksum: wgha_common::abi::ChecksumStyle) -> AdvertStamp {
    AdvertStamp { priority, checksum: checksum as u8, interval: interval.number(), reserved: 0 }
}

#[cfg(test)]
mod tests;
