//! Whom handshakes are started with, and what becomes of them.

use std::{collections::VecDeque, io, sync::mpsc::Sender, time::Duration};

use tokio::sync::{mpsc, watch};
use wgha_common::Timestamp;

use super::{Heard, firsts::Firsts, until};
use crate::{
    driver::{
        handshakes::{self, Command, Event},
        witness::ALL_BACK,
    },
    proto::{
        handshakes::{Candidate, Progress},
        peers::WireguardPeer,
        sync::{Recency, Record, Replica},
    },
    sys::{bpf::TrafficReader, clock, wireguard::Device},
};

/// How long the link's raising is waited for. Without it no handshake succeeds; the retries are for that.
const RAISING: Duration = Duration::from_millis(500);

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
        counters: impl FnMut() -> Progress + Send + 'static,
        traffic: TrafficReader,
        raised: watch::Receiver<Timestamp>,
    ) -> io::Result<Self> {
        let (tell, events) = mpsc::unbounded_channel();
        let name = wireguard.to_owned();
        let commands = handshakes::spawn(move || Device::open(&name), counters, tell)?;
        let (firsts, steps) = (Firsts::new(traffic), VecDeque::new());
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

    /// Starts handshakes for the take-over that began at `since`, or no more.
    ///
    /// The kernel's WireGuard starts none while its link is down, and forgets at link-up what would keep it from
    /// starting one: that is waited for. A program does not know its link.
    pub fn order(
        &mut self,
        since: Option<Timestamp>,
        device: &[WireguardPeer],
        link_up_is_to_come: bool,
        replica: &Replica,
    ) {
        let Some(since) = since else {
            self.waiting = None;
            self.firsts.stop();
            return self.command(Command::Stop);
        };
        let candidates = device
            .iter()
            .filter_map(|peer| candidate(peer, replica.record(&peer.key), link_up_is_to_come))
            .collect();
        if link_up_is_to_come {
            self.waiting = Some(Waiting { since, candidates });
        } else {
            self.command(Command::Start { candidates, at: since });
        }
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

/// A peer of our device, with what the last Active has told of it.
fn candidate(peer: &WireguardPeer, told: Option<&Record>, clean: bool) -> Option<Candidate> {
    let silent = |Recency(seconds)| (seconds != u32::MAX).then(|| Duration::from_secs(u64::from(seconds)));
    Some(Candidate {
        key: peer.key,
        endpoint: peer.endpoint?,
        last_handshake: told.map_or(peer.last_handshake, |told| told.last_handshake.max(peer.last_handshake)),
        keepalive: peer.keepalive,
        idle: told.and_then(|told| silent(told.recency)),
        clean,
    })
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
