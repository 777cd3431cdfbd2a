//! The other servers, and what they and this one must know of WireGuard's peers. Runs on the main thread.
//!
//! ```text
//! Active   the kernel half rings, or it is time ─▶ read the device ─▶ Publisher ─▶ what has changed ─▶ peer channel
//! Backup   peer channel ─▶ Replica ─▶ endpoints that differ ─▶ the device
//!          it takes over ─▶ candidates ─▶ handshakes
//! ```

mod device;
mod firsts;
mod handshakes;
mod reads;
mod ready;
mod report;
mod work;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, mpsc::Sender},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, oneshot, watch};
use wgha_common::{IfIndex, Timestamp};

pub use report::{Peer as PeerReport, Report};

use self::{
    device::Device,
    handshakes::{Handshakes, Past, candidates},
    reads::Reads,
    ready::Ready,
    work::{Done, Job, Outcome, Reading, Work},
};
use super::{
    handshakes::Command,
    told::{Order, Told},
};
use crate::{
    proto::{
        Input, Introduced, PeerId,
        peers::PeerKey,
        sync::{Fingerprints, Introduction, Publisher, Replica},
    },
    sys::{
        bpf::TrafficReader,
        channel::{Channel, ChannelKey, News, What},
        clock,
        wireguard::Implementation,
    },
};

/// While clients move all the time, this many times as long as a plan takes lies between two: it takes milliseconds with
/// 10,000 peers. Without one, a take-over asks here.
const PLAN_SHARE: u32 = 50;

/// What the main thread tells the loop.
#[derive(Debug)]
pub enum Heard {
    /// A peer has introduced itself.
    Introduced {
        /// Who it is.
        who: Introduced,
        /// What its reflector answers to.
        discriminator: u32,
        /// Is told once the loop goes by it.
        taken: oneshot::Sender<()>,
    },
    /// What else the machine is to know.
    Input(Input),
    /// A step of a failover that the main thread sees.
    Step {
        /// Which.
        what: &'static str,
        /// How it went.
        detail: String,
        /// When.
        at: Timestamp,
    },
    /// What status shows of the peers.
    Report(Box<Report>),
}

/// What of ourselves does not change.
#[derive(Debug, Clone, Copy)]
pub struct Ourselves {
    /// What our reflector answers to.
    pub discriminator: u32,
    /// How long our lease may last after its last renewal.
    pub lease: Duration,
    /// How often we can be probed.
    pub required_min_rx: Duration,
    /// VRID, VIPs, advert interval.
    pub vrrp: crate::proto::sync::Fingerprint,
}

/// The task.
pub struct Peers {
    ourselves: Ourselves,
    told: watch::Receiver<Told>,
    heard: mpsc::Sender<Heard>,
    channel: Channel,
    news: mpsc::Receiver<News>,
    key: watch::Sender<Option<Arc<ChannelKey>>>,
    work: Work,
    reads: Reads,
    ready: Ready,
    device: Device,
    publisher: Publisher,
    replica: Replica,
    handshakes: Handshakes,
    /// Who the peers are that are connected, as they have last said.
    known: BTreeMap<PeerId, Introduction>,
    report: Report,
    /// What was told when it was last looked at.
    before: Told,
    /// What the uplink sends adverts from, or did when it had an address.
    source: Option<IpAddr>,
    /// When we last ceased to serve, or began to know of it.
    silent_since: Timestamp,
    /// When to plan a take-over anew; `None`: what is planned holds.
    plan_due: Option<Timestamp>,
    /// Not before.
    plan_next: Timestamp,
}

/// What the task is made of.
pub struct Parts {
    /// What of ourselves does not change.
    pub ourselves: Ourselves,
    /// WireGuard's interface.
    pub wireguard: String,
    /// The other servers.
    pub addresses: Vec<IpAddr>,
    /// What the loop tells.
    pub told: watch::Receiver<Told>,
    /// Where to tell the loop.
    pub heard: mpsc::Sender<Heard>,
    /// The channel to the other servers.
    pub channel: (Channel, mpsc::Receiver<News>),
    /// The channel's key.
    pub key: watch::Sender<Option<Arc<ChannelKey>>>,
    /// When wg1 was raised last.
    pub raised: watch::Receiver<Timestamp>,
    /// Counts WireGuard's packets, and stamps the first ones: for the thread that starts handshakes, and for this one.
    pub traffic: [TrafficReader; 2],
}

impl Peers {
    /// Makes it ready.
    ///
    /// # Errors
    /// There are no threads left.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let Parts {
            ourselves,
            wireguard,
            addresses,
            told,
            heard,
            channel: (channel, news),
            key,
            raised,
            traffic,
        } = parts;
        let handshakes = Handshakes::new(&wireguard, traffic, raised)?;
        Ok(Self {
            ourselves,
            told,
            heard,
            channel,
            news,
            key,
            work: Work::on(&wireguard),
            reads: Reads::default(),
            ready: Ready::default(),
            device: Device::default(),
            publisher: Publisher::default(),
            replica: Replica::default(),
            handshakes,
            known: BTreeMap::new(),
            report: Report::of(&addresses),
            before: Told::default(),
            source: None,
            silent_since: clock::now(),
            plan_due: None,
            plan_next: Timestamp::ZERO,
        })
    }

    /// Runs until the loop has ended.
    pub async fn run(mut self) {
        loop {
            let due = self.work.is_idle().then(|| self.reads.due());
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => self.told_anew().await,
                    Err(_) => return,
                },
                Some(step) = self.handshakes.step() => self.tell(step).await,
                Some(news) = self.news.recv() => self.take(news).await,
                Some(done) = self.work.done() => self.done(done).await,
                () = until(self.plan_due) => self.plan(),
                () = until(due) => self.work.begin(Job::Read),
            }
        }
    }

    async fn tell(&self, heard: Heard) {
        // The loop has ended: so will we.
        let _ = self.heard.send(heard).await;
    }

    /// The loop has told something.
    async fn told_anew(&mut self) {
        let told = *self.told.borrow_and_update();
        self.source = told.source.or(self.source);
        let before = std::mem::replace(&mut self.before, told);
        // It may have stepped down and taken over again since we have looked.
        let again = told.serving != before.serving;
        if again && told.is_serving() {
            self.handshakes.prepare();
        }
        if told.handshakes != before.handshakes {
            match told.handshakes {
                Some(order) => self.order(order, told.link),
                // Whoever has decided it has said so to the thread.
                None => self.handshakes.stop(),
            }
        }
        if told.link != before.link {
            self.given(&[]);
            self.apply();
        }
        if told.sources != before.sources {
            self.reads.ring(clock::now());
        }
        if told.devices != before.devices {
            self.ready.doubt(clock::now());
        }
        if (told.devices, told.tunnels) != (before.devices, before.tunnels) {
            self.reads.hurry();
        }
        if again && before.is_serving() {
            self.served(false);
        }
        if again && told.is_serving() {
            self.served(true);
        }
        let changed = told.reaches != before.reaches
            || (told.source, told.lease, told.health) != (before.source, before.lease, before.health);
        if again || changed {
            self.introduce();
        }
        self.tell_ready().await;
    }

    fn order(&mut self, order: Order, link: Option<IfIndex>) {
        let past = self.past(!order.again);
        let link = link.filter(|_| !order.again);
        let candidates = candidates(&self.device, &past, &self.replica, link);
        self.handshakes.order(order.at, candidates, past.link_up_is_to_come);
    }

    /// What is known of the device's past at a take-over, or, if it has been up all the time, while it serves.
    fn past(&self, taking_over: bool) -> Past {
        let link_up_is_to_come = self.device.implementation == Some(Implementation::Kernel) && taking_over;
        let silent = if taking_over { clock::now().since(self.silent_since) } else { Duration::ZERO };
        Past { link_up_is_to_come, silent, wall: wall() }
    }

    /// Something has changed of what a take-over would start from: what was planned does not hold any more.
    fn replan(&mut self) {
        if self.before.is_serving() || self.plan_due.is_some() {
            return;
        }
        if self.plan_next > clock::now() {
            self.handshakes.plan(Vec::new(), false);
            self.plan_due = Some(self.plan_next);
        } else {
            self.plan();
        }
    }

    /// Says whom a take-over would start, so that nobody needs to ask then.
    fn plan(&mut self) {
        let begun = clock::now();
        self.plan_due = None;
        if !self.before.is_serving() {
            let past = self.past(true);
            let candidates = candidates(&self.device, &past, &self.replica, self.before.link);
            self.handshakes.plan(candidates, past.link_up_is_to_come);
        }
        let now = clock::now();
        self.plan_next = now + now.since(begun) * PLAN_SHARE;
    }

    /// For whoever else may command the handshakes.
    #[must_use]
    pub fn commands(&self) -> Sender<Command> {
        self.handshakes.commands()
    }

    /// Only the Active tells where clients are: a Backup would tell what it was told.
    fn served(&mut self, serving: bool) {
        self.publisher = Publisher::default();
        if serving {
            self.reads.begin_to_serve(clock::now());
        } else {
            self.silent_since = clock::now();
            self.channel.forget_records();
            // What was told before we served is older than what we have seen; what was told since was not listened to.
            self.replica.forget();
            self.ask_again();
            self.replan();
        }
    }

    fn ask_again(&self) {
        (0..=u8::MAX).map(PeerId).zip(&self.report.peers).for_each(|(id, _)| self.channel.ask_again(id));
    }

    fn introduce(&self) {
        // One that has lost its address says with the last one that it is not fit.
        let Some(source) = self.source else { return };
        let Ourselves { discriminator, lease, required_min_rx, vrrp } = self.ourselves;
        let (priority, fit) = self.before.health;
        let serving = self.before.is_serving();
        let lease = self.before.lease.unwrap_or(lease);
        let reaches = self.before.reaches;
        let introduction =
            Introduction { source, priority, serving, discriminator, lease, required_min_rx, reaches, fit };
        let wireguard = self.device.fingerprint.unwrap_or_default();
        self.channel.introduce(introduction, Fingerprints { vrrp, wireguard });
    }

    async fn done(&mut self, done: Done) {
        let now = clock::now();
        match done.result {
            Ok(Outcome::Read(reading)) => {
                self.reads.done(done.begun, now);
                if !self.ready.read(done.begun) {
                    self.reads.hurry();
                }
                self.read(reading, now);
            }
            Ok(Outcome::Set(endpoints)) => self.given(&endpoints),
            Err(e) => {
                self.reads.done(done.begun, now);
                self.ready.failed();
                tracing::debug!("WireGuard's peers: {e}"); // the tunnel's watcher says it aloud
            }
        }
        self.apply();
        self.replan();
        self.tell_ready().await;
        self.tell_report().await;
    }

    /// The device was read.
    fn read(&mut self, reading: Reading, now: Timestamp) {
        let Reading { peers, implementation, fingerprint, key } = reading;
        self.key.send_if_modified(|known| {
            let same = known.as_ref().map(|k| k.fingerprint()) == key.as_ref().map(ChannelKey::fingerprint);
            if !same {
                *known = key.map(Arc::new);
            }
            !same
        });
        if self.replica.set_known(peers.iter().map(|peer| peer.key)) {
            self.ask_again();
        }
        let changed = self.device.fingerprint.replace(fingerprint) != Some(fingerprint);
        if changed {
            self.introduce();
        }
        if self.before.is_serving() {
            let changes = self.publisher.read(&peers, now, wall());
            self.channel.publish(changes.records);
            self.channel.withdraw(&changes.gone);
            self.channel.that_is_all();
        }
        if let Some(link) = self.before.link {
            self.replica.device_read(&peers, link);
        }
        self.device.peers = peers;
        self.device.implementation = Some(implementation);
    }

    /// A Backup's device has the endpoints that the Active has told.
    fn apply(&mut self) {
        // What has failed is tried again when it has been read anew: not without end.
        if self.before.is_serving() || !self.ready.is_fresh() || !self.work.is_idle() {
            return;
        }
        let Some(link) = self.before.link else { return };
        let endpoints = self.replica.endpoints_to_set(&self.device.peers, link);
        if !endpoints.is_empty() {
            self.work.begin(Job::Set(endpoints));
        }
    }

    fn learns_from(&self, peer: PeerId) -> bool {
        !self.before.is_serving() && self.report.says_it_serves(peer)
    }

    /// The device has been given these.
    fn given(&mut self, endpoints: &[(PeerKey, SocketAddr)]) {
        self.device.set(endpoints);
        if let Some(link) = self.before.link {
            self.replica.device_set(&self.device.peers, link);
        }
    }

    /// Tells the loop whether our device knows where the clients are; while we serve it matters to nobody.
    async fn tell_ready(&mut self) {
        let complete = !self.before.is_serving() && self.replica.is_complete();
        if let Some(input) = self.ready.news(complete) {
            self.tell(Heard::Input(input)).await;
        }
    }

    /// The channel has news.
    async fn take(&mut self, News { peer, what }: News) {
        self.report.take(peer, &what);
        match what {
            What::Introduced(introduction, _) => self.introduced(peer, introduction).await,
            // One that serves knows better than whoever served before.
            What::Records(_) | What::Whole if !self.learns_from(peer) => return,
            What::Records(records) => {
                self.replica.take(records);
                self.apply();
                return self.replan();
            }
            What::Whole => {
                self.replica.told_all();
                self.given(&[]);
                return self.tell_ready().await;
            }
            What::Lost(why) => {
                tracing::info!(peer = %self.report.address(peer), "peer channel lost: {why}");
                self.known.remove(&peer);
                self.tell(Heard::Input(Input::PeerLeft(peer))).await;
            }
            What::Refused(why) => {
                tracing::error!(peer = %self.report.address(peer), "peer channel refused: {why}")
            }
            What::Waits(lease) => {
                return self.tell(Heard::Input(Input::PeerWaits { peer, lease })).await;
            }
            What::Connected => tracing::info!(peer = %self.report.address(peer), "peer channel open"),
            What::Clock { .. } => {}
        }
        self.tell_report().await;
    }

    async fn introduced(&mut self, peer: PeerId, introduction: Introduction) {
        let Introduction { source, priority, serving, discriminator, lease, required_min_rx, reaches, fit } =
            introduction;
        // What it reaches changes nothing of who it is: its probes need not be answered anew.
        let reached = Heard::Input(Input::PeerReaches { peer, reaches });
        let same = self.known.insert(peer, introduction).is_some_and(|known| known.is_of(&introduction));
        if same {
            return self.tell(reached).await;
        }
        let who = Introduced { peer, source, priority, serving, lease, required_min_rx, fit };
        let (taken, is_taken) = oneshot::channel();
        self.tell(Heard::Introduced { who, discriminator, taken }).await;
        self.tell(reached).await;
        let answer = self.channel.answer();
        tokio::spawn(async move {
            if is_taken.await.is_ok() {
                answer.wait_for(peer, lease);
            }
        });
    }

    async fn tell_report(&mut self) {
        self.report.records = self.replica.len();
        self.report.stranger = self.channel.stats().last_stranger;
        self.report.own = Fingerprints {
            vrrp: self.ourselves.vrrp,
            wireguard: self.device.fingerprint.unwrap_or_default(),
        };
        self.report.serving = self.before.is_serving();
        self.report.unanswered_since = self.publisher.unanswered_since();
        // Full: the next one says it, too.
        let _ = self.heard.try_send(Heard::Report(Box::new(self.report.clone())));
    }
}

/// The time since the Unix epoch, in which WireGuard tells handshakes.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

async fn until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
