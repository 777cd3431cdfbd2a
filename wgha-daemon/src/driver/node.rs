//! The loop.

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use tokio::sync::{broadcast, mpsc, watch};
use wgha_common::{
    Timestamp,
    abi::{EVENTS_BYTES, Event, EventKind},
};

use super::{
    carrier::{Carrier, End, input_of},
    guard::Attached,
    kernel::{Kernel, Origin},
    observe::{Look, Seen, TunnelSeen, UplinkSeen},
    peers::{Heard, Report},
    reload::Reload,
    snapshot,
    wakers::Wakers,
    witness::Recording,
    worker::{Done, Effect},
};
use crate::{
    config::{self, Config},
    proto::{Inherited, Input, TunnelState, UplinkState},
    status::{Wakeups, control::Request},
    sys::{
        address,
        bpf::{Attachment, Programs, attach, events::Events, mark},
        clock,
        link::Link,
        lock::UplinkLock,
        membership::Membership,
        realtime::Conduct,
        wireguard::{self, Implementation, WireguardError},
    },
};

/// How long a teardown may take before the daemon gives up on it.
const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// So many records are read at a time, more than the ring holds: who fills it as fast as it is read must
/// not keep the deadlines waiting. They read what is left.
const MAX_DRAINED: u32 = EVENTS_BYTES / size_of::<Event>() as u32;

/// Everything that the loop holds.
pub struct Node {
    /// The valid configuration.
    pub config: Config,
    /// The machine and its hands.
    pub carrier: Carrier<Kernel, Recording>,
    /// The programs, to be attached anew when the uplink comes back as another interface.
    pub programs: Programs,
    /// What is attached.
    pub attachment: Option<Attachment>,
    /// The same, for whoever looks whether it still is.
    pub attached: watch::Sender<Option<Arc<Attached>>>,
    /// No other daemon has this uplink.
    pub lock: Option<UplinkLock>,
    /// Held for the group's multicast.
    pub membership: Option<Membership>,
    /// Ends of effects.
    pub done: mpsc::UnboundedReceiver<Done>,
    /// What the watchers have found.
    pub seen: mpsc::UnboundedReceiver<Seen>,
    /// Asks the watchers to look.
    pub looks: broadcast::Sender<Look>,
    /// What the main thread tells.
    pub heard: mpsc::Receiver<Heard>,
    /// What it has told last of the other servers.
    pub report: Report,
    /// Somebody asks us to stop.
    pub stops: mpsc::Receiver<()>,
    /// Somebody asks us to make way for another program, which has been tried out.
    pub reloads: mpsc::Receiver<Reload>,
    /// Who is to hear what becomes of that.
    pub reload: Option<Reload>,
    /// The control socket's questions.
    pub requests: mpsc::Receiver<Request>,
    /// What the daemon before this one has left.
    pub inherited: Inherited,
    /// The uplink, as it was last found.
    pub uplink: UplinkSeen,
    /// The WireGuard interface, as it was last found.
    pub tunnel: TunnelSeen,
    /// It was said to have gone down in what was found and not judged.
    pub tunnel_went_down: bool,
    /// An effect on the tunnel has ended and the machine has not heard since how it stands.
    pub tunnel_untold: bool,
    /// The machine was told that WireGuard does not answer.
    pub tunnel_silent: bool,
    /// How often the loop woke up.
    pub wakeups: Wakeups,
    /// How the loop is scheduled.
    pub conduct: Conduct,
    /// When the daemon started.
    pub started: Timestamp,
}

/// What has become of a daemon that has ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything is undone.
    Stopped,
    /// Everything is left as it is, and another program is to be executed in this one's place.
    MadeWay,
}

/// What the other threads say.
enum Message {
    Done(Done),
    Seen(Seen),
    Heard(Heard),
    Request(Request),
    Reload(Reload),
    Stop,
}

impl Node {
    /// Runs until the machine has finished.
    ///
    /// # Errors
    /// When nothing can be waited for.
    pub fn run(&mut self, ring: RingBuf<MapData>) -> anyhow::Result<()> {
        let mut wakers = Wakers::new(ring)?;
        let waker = wakers.waker();
        let mut give_up: Option<Timestamp> = None;
        let mut messages = true; // before the first look nobody has promised to ring
        self.carrier.take(Input::Started(self.inherited));
        // The kernel half may have heard others before this daemon was there, and does not ring for them again.
        let look = self.carrier.look();
        self.carrier.take(look);
        self.carrier.witness.ready();
        while self.carrier.ended.is_none() && give_up.is_none_or(|at| clock::now() < at) {
            let due = [self.carrier.machine.poll_timeout(), give_up].into_iter().flatten().min();
            let woken = wakers.wait(due, messages)?;
            // The deadline first: a flood of anything else must not starve it.
            if woken.timer {
                self.deadline(&mut wakers.events);
            } else if woken.ring {
                self.ring(&mut wakers.events);
            }
            if messages || woken.bell {
                let next = self.next_message(&mut Context::from_waker(&waker));
                messages = next.is_some();
                if next.is_some_and(|message| self.deal_with(message)) {
                    give_up.get_or_insert_with(|| clock::now() + TEARDOWN_TIMEOUT);
                    self.carrier.take(Input::StopRequested);
                }
            }
            self.answer_reload();
            if std::mem::take(&mut self.carrier.doubts) {
                let _ = self.looks.send(Look::Now); // nobody listening is no loss
            }
        }
        Ok(()) // what is undone is told in the end
    }

    /// Takes the programs off, unless they are left to another one, or `wgha fence` wants the fence to stay, or they are all
    /// that keeps this node silent: something could not be undone, or a userspace WireGuard goes on talking, to every endpoint
    /// it knows, while its link is down.
    ///
    /// # Errors
    /// What could not be undone.
    pub async fn end(mut self) -> anyhow::Result<Ended> {
        if self.carrier.ended == Some(End::HandedOver) {
            self.leave();
            return Ok(Ended::MadeWay);
        }
        let undone = self.carrier.pending.undone();
        let uplink = self.config.uplink.interface.clone();
        let wanted = mark::is_there(&self.config.paths.bpffs, &uplink);
        let needed = !undone.is_empty() || (!wanted && talks_when_down(&self.config.wireguard).await);
        if (wanted || needed) && self.attachment.as_ref().is_some_and(Attachment::is_pinned) {
            if needed {
                tracing::warn!(
                    "the programs stay on {uplink}: without them this node might speak; `wgha detach` takes them off"
                );
            } else {
                tracing::info!("the closed fence stays on {uplink}, as `wgha fence` wants it");
            }
            self.leave();
        }
        anyhow::ensure!(undone.is_empty(), "not everything could be undone: {}", undone.join("; "));
        Ok(Ended::Stopped)
    }

    /// The programs and their maps stay where they are.
    pub fn leave(&mut self) {
        self.attachment.take().into_iter().for_each(Attachment::leave);
        self.programs.leave();
    }

    /// Somebody waits to hear what becomes of a reload: it is under way, or it is not.
    fn answer_reload(&mut self) {
        let answer = match (self.carrier.ended, self.carrier.kept_on.take()) {
            (Some(End::HandedOver), _) => Ok(()),
            (_, Some(why)) => Err(why),
            _ => return,
        };
        if let Err(why) = &answer {
            tracing::error!("reload: {why}; this program goes on");
        }
        // Who has asked and gone away does not need the answer.
        self.reload.take().into_iter().for_each(|reload| drop(reload.send(answer.clone())));
    }

    /// The next message of any channel; `None`: there is none, and the first to come will ring.
    fn next_message(&mut self, context: &mut Context<'_>) -> Option<Message> {
        fn ready<T>(polled: Poll<Option<T>>) -> Option<T> {
            match polled {
                Poll::Ready(message) => message, // none, if nobody is left who could send one
                Poll::Pending => None,
            }
        }
        ready(self.done.poll_recv(context))
            .map(Message::Done)
            .or_else(|| ready(self.seen.poll_recv(context)).map(Message::Seen))
            .or_else(|| ready(self.heard.poll_recv(context)).map(Message::Heard))
            .or_else(|| ready(self.requests.poll_recv(context)).map(Message::Request))
            .or_else(|| ready(self.reloads.poll_recv(context)).map(Message::Reload))
            .or_else(|| ready(self.stops.poll_recv(context)).map(|()| Message::Stop))
    }

    /// True: a stop was asked for.
    fn deal_with(&mut self, message: Message) -> bool {
        match message {
            Message::Done(done) => self.effect_done(done),
            Message::Seen(seen) => self.found(seen),
            Message::Heard(heard) => self.heard(heard),
            Message::Request(request) => self.answer(request),
            Message::Reload(reload) => {
                self.reload = Some(reload);
                self.carrier.take(Input::ReloadRequested);
            }
            Message::Stop => return true,
        }
        false
    }

    /// Nothing is decided on a deadline before the ring is drained (invariant I3).
    fn deadline(&mut self, events: &mut Events) {
        self.wakeups.timer += 1;
        self.drain_ring(events);
        let now = clock::now();
        if self.carrier.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.carrier.take(Input::TimerFired);
        }
    }

    fn ring(&mut self, events: &mut Events) {
        self.wakeups.ring += 1;
        self.drain_ring(events);
    }

    fn drain_ring(&mut self, events: &mut Events) {
        for _ in 0..MAX_DRAINED {
            let Some(event) = events.next() else { return };
            self.rung(&event);
        }
    }

    fn rung(&mut self, event: &Event) {
        let input = match EventKind::from_number(event.kind) {
            Some(EventKind::Malformed) => return self.carrier.witness.malformed(event),
            Some(EventKind::NewSource) => return self.carrier.tell(|told, _| told.sources += 1),
            Some(EventKind::AdminDown) => {
                self.carrier.datapath.answer_from(event.source.into()).map(Input::Answered)
            }
            Some(EventKind::NeighbourAnswered) => self
                .carrier
                .datapath
                .is_gateway(event.source.into())
                .then(|| Input::GatewayAnswered(Timestamp::from_nanos(event.at))),
            _ => {
                let revoked = self.carrier.datapath.maps.revoked_epoch().unwrap_or(0);
                input_of(event, revoked)
            }
        };
        if let Some(input) = input {
            self.carrier.take(input);
        }
    }

    fn effect_done(&mut self, done: Done) {
        self.wakeups.effects += 1;
        let on_tunnel = matches!(done.effect, Effect::RaiseTunnel | Effect::LowerTunnel);
        let look = on_tunnel || done.effect == Effect::HoldVip;
        self.tunnel_untold |= on_tunnel;
        self.carrier.effect_done(done);
        if look {
            // What was found while the effect ran was not judged; now it counts. Nobody listening is no loss.
            let _ = self.looks.send(Look::Now);
        }
    }

    fn found(&mut self, seen: Seen) {
        self.wakeups.netlink += 1;
        match seen {
            Seen::Uplink(seen) => self.uplink_found(seen),
            Seen::Tunnel(seen) => self.tunnel_found(seen),
        }
    }

    /// What was found of the uplink, before and after the start.
    pub fn uplink_found(&mut self, seen: UplinkSeen) {
        let before = self.uplink_state();
        let macs = self.uplink.link.zip(seen.link).filter(|(old, new)| old.index == new.index);
        let moved = macs.is_some_and(|(old, new)| old.mac != new.mac);
        self.uplink = seen;
        self.carrier.datapath.set_gateways(&self.uplink.gateways.all);
        if let Some(probes) = self.carrier.datapath.probes() {
            probes.lose_way();
        }
        if let Err(e) = self.settle_on_uplink() {
            tracing::error!(uplink = self.config.uplink.interface, "{e:#}");
        }
        let state = self.uplink_state();
        let link = self.uplink.link.map(|link| link.index);
        self.carrier.tell(|told, _| (told.source, told.link) = (state.source, link));
        if state != before {
            self.carrier.take(Input::UplinkChanged(state));
        }
        self.take_witnesses();
        if self.carrier.pending.vips_expected(self.uplink.at)
            && let Some(lost) = self.missing_vip()
        {
            self.carrier.take(Input::VipLost(lost));
        }
        if moved {
            // The kernel tells no neighbour: neither where the VIP is, nor where those are whom the others probe.
            let own = self.uplink.addresses.iter().filter(|a| !a.unusable && !self.is_vip(a.address));
            self.carrier.datapath.announce_own(own.map(|a| a.address));
            self.carrier.take(Input::MacChanged);
        }
    }

    fn is_vip(&self, address: IpAddr) -> bool {
        self.config.vrrp.virtual_addresses.iter().any(|vip| vip.address == address)
    }

    /// The next hops of the default routes, unless they are not to be asked, or are VIPs.
    fn take_witnesses(&mut self) {
        let asked = self.config.witness == config::Witness::Gateway && !self.config.peers.is_empty();
        let gateways = self.uplink.gateways.default.iter().filter(|a| asked && !self.is_vip(**a));
        let gateways: Vec<_> = gateways.copied().collect();
        if gateways == self.carrier.machine.gateways() {
            return;
        }
        let taken = match self.carrier.datapath.set_witnesses(&gateways) {
            Ok(()) => Input::GatewaysChanged(gateways),
            Err(e) => Input::MapFailed(e),
        };
        self.carrier.take(taken);
    }

    fn missing_vip(&self) -> Option<IpAddr> {
        let there = |a| self.uplink.addresses.iter().any(|i| i.address == a);
        self.config.vrrp.virtual_addresses.iter().map(|v| v.address).find(|a| !there(*a))
    }

    /// Programs, membership and the origin of frames follow the interface, which may have come back as another one.
    fn settle_on_uplink(&mut self) -> anyhow::Result<()> {
        let Some(link) = self.uplink.link else {
            // It may only have another name, and still hold the VIP: the fence stays. With the interface it would go by itself.
            self.membership = None;
            self.attached.send_replace(None);
            return self.carrier.datapath.set_origin(None).map_err(anyhow::Error::msg);
        };
        let vrrp = &self.config.vrrp;
        let source = address::advert_source(&self.uplink.addresses, vrrp.family, &vrrp.virtual_addresses);
        let origin = Origin { link: link.index, mac: link.mac, source };
        self.carrier.datapath.set_origin(Some(origin)).map_err(anyhow::Error::msg)?;
        let filters_gone = self.attached.borrow().as_ref().is_some_and(|attached| attached.filters_gone());
        if self.attachment.as_ref().is_none_or(|a| a.link != link.index) {
            self.attachment = None;
            let uplink = &self.config.uplink;
            if self.lock.as_ref().is_none_or(|lock| !lock.is_of(link.index)) {
                self.lock = None;
                let in_use = || format!("another daemon guards {}; stop it first", uplink.interface);
                self.lock = Some(UplinkLock::take(link.index).with_context(in_use)?);
            }
            let attached = attach::attach(&mut self.programs, place(&self.config, &link), uplink.attach)?;
            tracing::info!(
                uplink = uplink.interface,
                ingress = attached.ingress.name(),
                egress = attached.egress.name(),
                pinned = attached.is_pinned(),
                "attached"
            );
            self.carrier.datapath.probe_through(&self.config.uplink.interface)?;
            self.attachment = Some(attached);
            self.membership = None;
        } else if let Some(attached) = self.attachment.take_if(|a| filters_gone || !a.is_in_place()) {
            tracing::warn!(
                uplink = self.config.uplink.interface,
                "somebody has taken off programs or pins: they are put back"
            );
            let place = place(&self.config, &link);
            self.attachment = Some(attached.mend(&mut self.programs, place, self.config.uplink.attach)?);
        }
        self.attached.send_replace(self.attachment.as_ref().map(Attached::of));
        if self.membership.is_none() {
            self.membership = Some(Membership::join(vrrp.family, link.index)?);
        }
        Ok(())
    }

    fn uplink_state(&self) -> UplinkState {
        let link = self.uplink.link.filter(|_| self.attachment.is_some());
        let vrrp = &self.config.vrrp;
        UplinkState {
            present: link.is_some(),
            running: link.is_some_and(|l| l.running),
            source: address::advert_source(&self.uplink.addresses, vrrp.family, &vrrp.virtual_addresses),
        }
    }

    /// What was found of the WireGuard interface, before and after the start.
    pub fn tunnel_found(&mut self, mut seen: TunnelSeen) {
        seen.went_down |= std::mem::take(&mut self.tunnel_went_down);
        if !self.carrier.pending.tunnel_settled(seen.at) {
            self.tunnel_went_down = seen.went_down;
            return; // found in the middle of our own effect; looked at again after it
        }
        let (before, index) = (tunnel_state(&self.tunnel), self.tunnel.link.map(|l| l.index));
        let known = std::mem::replace(&mut self.tunnel, seen);
        if self.tunnel.silent && known.facts.is_some() {
            // Busy, or stopped: it is believed to be as it was until it answers or its link is gone.
            self.tunnel.facts = known.facts;
        }
        let state = tunnel_state(&self.tunnel);
        if let Err(e) = self.carrier.datapath.set_wireguard_port(state.listen_port) {
            self.carrier.take(Input::MapFailed(e));
        }
        self.carrier.tend_tunnel(self.tunnel.went_down);
        if std::mem::replace(&mut self.tunnel_silent, self.tunnel.silent) != self.tunnel.silent {
            self.carrier.take(Input::WireguardAsked { silent: self.tunnel.silent });
        }
        // After an effect of ours the machine waits to hear how it stands, changed or not.
        let untold = std::mem::take(&mut self.tunnel_untold);
        if (state.present, self.tunnel.link.map(|l| l.index)) != (before.present, index) {
            self.carrier.tell(|told, _| told.devices += 1);
        }
        if untold || state != before {
            self.carrier.tell(|told, _| told.tunnels += 1);
            self.carrier.take(Input::TunnelChanged(state));
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Introduced { who, discriminator, taken } => {
                // The kernel half first: the machine may probe it at once.
                if let Err(e) = self.carrier.datapath.introduced(&who, discriminator) {
                    self.carrier.take(Input::MapFailed(e));
                }
                self.carrier.take(Input::PeerIntroduced(who));
                let _ = taken.send(()); // nobody is told then
            }
            Heard::Input(input) => self.carrier.take(input),
            Heard::Step { what, detail, at } => self.carrier.witness.step(what, detail, at),
            Heard::Report(report) => {
                let before = std::mem::replace(&mut self.report, *report).unanswered_since;
                if self.report.unanswered_since != before {
                    self.carrier.take(Input::ClientsUnanswered(self.report.unanswered_since));
                }
            }
        }
    }

    fn answer(&mut self, request: Request) {
        self.wakeups.control += 1;
        match request {
            // Who has asked and gone away does not need the answer.
            Request::Status(reply) => drop(reply.send(snapshot::of(self))),
            Request::Events(reply) => drop(reply.send(self.carrier.witness.events())),
        }
    }
}

fn place<'a>(config: &'a Config, link: &Link) -> attach::Place<'a> {
    let (interface, bpffs) = (config.uplink.interface.as_str(), config.paths.bpffs.as_path());
    attach::Place { interface, link: link.index, veth: link.veth, bpffs }
}

async fn talks_when_down(wireguard: &str) -> bool {
    match wireguard::facts(wireguard).await {
        Ok(facts) => facts.implementation == Implementation::Userspace && facts.endpoints > 0,
        Err(WireguardError::Silent(_)) => true,
        Err(_) => false,
    }
}

/// What the machine is told of it.
pub(super) fn tunnel_state(seen: &TunnelSeen) -> TunnelState {
    let facts = seen.facts.as_ref().and_then(|f| f.as_ref().ok());
    TunnelState {
        present: facts.is_some(),
        up: seen.link.is_some_and(|l| l.up),
        listen_port: facts.and_then(|f| f.listen_port),
    }
}
