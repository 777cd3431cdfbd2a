//! Whom handshakes are started with, and what becomes of them.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::mpsc::Sender,
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use wgha_common::{IfIndex, Timestamp, abi::Direction, wire::wireguard::MessageType};

use super::{Device, Heard, firsts::Firsts, until};
use crate::{
    driver::{
        handshakes::{self, Command, Event, Plan},
        witness::ALL_BACK,
    },
    proto::{
        handshakes::{Candidate, Progress},
        peers::WireguardPeer,
        sync::{Recency, Record, Replica},
    },
    sys::{bpf::TrafficReader, clock, wireguard},
};

/// How long the link's raising is waited for. Without it no handshake succeeds; the retries are for that.
const RAISING: Duration = Duration::from_millis(500);

/// No session is older.
const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// After REKEY_ATTEMPT_TIME, 90 s, and REKEY_TIMEOUT, 5 s, no program goes on with what it began when we served.
const GIVEN_UP: Duration = Duration::from_secs(100);

/// The thread that starts handshakes, from the side of who knows the peers.
pub(super) struct Handshakes {
    commands: Sender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    raised: watch::Receiver<Timestamp>,
    /// When the take-over began whose link is waited for, and until when.
    waiting: Option<Waiting>,
    firsts: Firsts,
    /// Steps that are yet to be told.
    steps: VecDeque<Heard>,
}

struct Waiting {
    since: Timestamp,
    candidates: Vec<Candidate>,
}

impl Handshakes {
    /// # Errors
    /// There are no threads left.
    pub fn new(
        wireguard: &str,
        [counted, stamped]: [TrafficReader; 2],
        raised: watch::Receiver<Timestamp>,
    ) -> io::Result<Self> {
        let (tell, events) = mpsc::unbounded_channel();
        let name = wireguard.to_owned();
        let commands =
            handshakes::spawn(move || wireguard::Device::open(&name), move || progress(&counted), tell)?;
        let (firsts, steps) = (Firsts::new(stamped), VecDeque::new());
        Ok(Self { commands, events, raised, waiting: None, firsts, steps })
    }

    fn command(&self, command: Command) {
        // It ends with us.
        let _ = self.commands.send(command);
    }

    /// A take-over has begun: handshakes will be ordered soon.
    pub fn prepare(&mut self) {
        self.command(Command::Prepare);
        self.firsts.watch(clock::now());
    }

    /// For whoever else may command it.
    pub fn commands(&self) -> Sender<Command> {
        self.commands.clone()
    }

    /// Tells whom to start when we take over.
    pub fn plan(&mut self, candidates: Vec<Candidate>, after_link_up: bool) {
        self.command(Command::Ready(Plan { candidates, after_link_up }));
    }

    /// Starts handshakes for the take-over that began at `since`, unless that was planned.
    pub fn order(&mut self, since: Timestamp, candidates: Vec<Candidate>, after_link_up: bool) {
        if after_link_up {
            self.waiting = Some(Waiting { since, candidates });
        } else {
            self.command(Command::Start { candidates, at: since });
        }
    }

    /// Starts no more.
    pub fn stop(&mut self) {
        self.waiting = None;
        self.firsts.stop();
    }

    /// The next step that people should know of. Cancel-safe.
    pub async fn step(&mut self) -> Option<Heard> {
        loop {
            if let Some(waiting) = &self.waiting {
                let since = waiting.since;
                // Gone with the worker: nothing is raised any more.
                let raised = self.raised.wait_for(|raised| *raised >= since);
                let _ = tokio::time::timeout(RAISING.saturating_sub(clock::now().since(since)), raised).await;
                if let Some(Waiting { since, candidates }) = self.waiting.take() {
                    self.command(Command::Start { candidates, at: since });
                }
            }
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            tokio::select! {
                event = self.events.recv() => {
                    let step = told(event?);
                    // What has led to it comes first.
                    self.steps.extend(self.firsts.look());
                    self.steps.extend(step);
                }
                () = until(self.firsts.due()) => self.steps.extend(self.firsts.look()),
            }
        }
    }
}

/// What is known of our device's past.
pub(super) struct Past {
    /// It is the kernel's, and its link is about to be set up, which makes it forget.
    pub link_up_is_to_come: bool,
    /// How long we have not served.
    pub silent: Duration,
    /// The time since the Unix epoch.
    pub wall: Duration,
}

impl Past {
    /// Whether nothing keeps a handshake from being started: the kernel's WireGuard was set up a moment ago and has
    /// forgotten; a program has neither a session with this peer nor a reason to have tried lately.
    fn is_clean(&self, peer: &WireguardPeer) -> bool {
        let session = |at| self.wall.saturating_sub(at) < REJECT_AFTER_TIME;
        let idle = peer.keepalive.is_none() && !peer.last_handshake.is_some_and(session);
        self.link_up_is_to_come || (idle && (peer.tx_bytes == 0 || self.silent > GIVEN_UP))
    }
}

/// The peers of our device, with what the last Active has told of them. Until we serve ourselves it knows better where
/// they are; then, there is no `uplink` for what it has told.
pub(super) fn candidates(
    device: &Device,
    past: &Past,
    replica: &Replica,
    uplink: Option<IfIndex>,
) -> Vec<Candidate> {
    let told = uplink.map(|uplink| replica.endpoints_to_set(&device.peers, uplink)).unwrap_or_default();
    let told: BTreeMap<_, _> = told.into_iter().collect();
    let candidate = |peer: &WireguardPeer| {
        let endpoint = told.get(&peer.key).copied().or(peer.endpoint)?;
        Some(candidate(peer, endpoint, replica.record(&peer.key), past.is_clean(peer)))
    };
    device.peers.iter().filter_map(candidate).collect()
}

fn candidate(peer: &WireguardPeer, endpoint: SocketAddr, told: Option<&Record>, clean: bool) -> Candidate {
    let silent = |Recency(seconds)| (seconds != u32::MAX).then(|| Duration::from_secs(u64::from(seconds)));
    Candidate {
        key: peer.key,
        endpoint,
        last_handshake: told.map_or(peer.last_handshake, |told| told.last_handshake.max(peer.last_handshake)),
        keepalive: peer.keepalive,
        idle: told.and_then(|told| silent(told.recency)),
        clean,
    }
}

/// How far handshakes have come. What cannot be read now is read the next time.
fn progress(traffic: &TrafficReader) -> Progress {
    let count = |direction, message| traffic.read(direction, message).map_or(0, |traffic| traffic.packets);
    Progress {
        initiations: count(Direction::Egress, MessageType::Initiation),
        responses: count(Direction::Ingress, MessageType::Response),
    }
}

fn told(event: Event) -> Option<Heard> {
    let step = |what, detail| Some(Heard::Step { what, detail, at: clock::now() });
    match event {
        Event::Started { started, of, talkers, at } => {
            let detail = format!("{started} of {of}, of whom {talkers} talk");
            (started > 0).then_some(Heard::Step { what: "handshakes_started", detail, at })
        }
        Event::Reached(reached) => {
            let what = match reached.percent {
                50 => "half_back",
                90 => "90_percent_back",
                99 => "99_percent_back",
                _ => "talkers_back",
            };
            Some(Heard::Step { what, detail: String::new(), at: reached.at })
        }
        Event::Failed(why) => step("handshakes_failed", why),
        Event::Done { missing: 0 } => step(ALL_BACK, String::new()),
        Event::Done { missing } => step(ALL_BACK, format!("but {missing}, which WireGuard is left to try")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::peers::PeerKey;

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    fn past(link_up_is_to_come: bool, silent: u64) -> Past {
        Past { link_up_is_to_come, silent: Duration::from_secs(silent), wall: WALL }
    }

    fn peer() -> WireguardPeer {
        WireguardPeer {
            key: PeerKey([1; 32]),
            endpoint: None,
            last_handshake: None,
            keepalive: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    #[test]
    fn a_peer_is_where_the_active_has_told_until_we_have_served() {
        let (told, own) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.9:9".parse().unwrap());
        let mut replica = Replica::default();
        assert!(!replica.set_known([peer().key]));
        let (last_handshake, keepalive, recency) = (None, None, Recency::NOW);
        replica.take([Record { key: peer().key, endpoint: Some(told), last_handshake, keepalive, recency }]);
        let found = |endpoint, uplink| {
            let device = Device { peers: vec![WireguardPeer { endpoint, ..peer() }], ..Device::default() };
            candidates(&device, &past(false, 0), &replica, uplink).first().map(|c| c.endpoint)
        };
        let uplink = Some(IfIndex(3));
        assert_eq!(found(None, uplink), Some(told), "it has not been set yet");
        assert_eq!(found(Some(own), uplink), Some(told));
        assert_eq!(found(Some(own), None), Some(own));
        assert_eq!(found(None, None), None);
    }

    #[test]
    fn a_program_is_clean_where_it_has_said_nothing_lately() {
        let never = past(false, 1);
        assert!(never.is_clean(&peer()));
        assert!(!never.is_clean(&WireguardPeer { keepalive: Some(25), ..peer() }), "it tries all the time");
        let tried = WireguardPeer { tx_bytes: 148, ..peer() };
        assert!(!never.is_clean(&tried) && past(false, 101).is_clean(&tried));
        let session = |ago| WireguardPeer { last_handshake: Some(WALL - Duration::from_secs(ago)), ..peer() };
        assert!(!past(false, 101).is_clean(&session(170)));
        assert!(past(false, 200).is_clean(&session(181)));
        assert!(past(true, 0).is_clean(&session(1)));
    }
}
