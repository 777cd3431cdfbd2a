//! Handshakes that a new Active starts: with whom, when, and in which way. Pure, like the rest of `proto`.
//!
//! ```text
//! Handshakes::new(candidates) ─▶ poll(now, progress): start these now
//!                                poll_timeout():       when to poll again
//!                                wants_look(now):      then read the device ─▶ seen(peers)
//!                                reached():            50, 90, 99, 100 % of those who talk are back
//! ```
//!
//! WireGuard's rules that this is built on:
//! - A client that talks notices the new server only after 15 s; one that does not, even later. So the server begins.
//! - A receiver with too many handshakes in its queue answers with cookies, which help 5 s later only: 128 in
//!   wireguard-go, 512 in the kernel. So no more than a window is under way.
//! - An initiation or a response that got lost, and two initiations that crossed, cost 5 s (REKEY_TIMEOUT), unless
//!   the peer is made anew.
//! - A client ignores an initiation within 20 ms of the last one that it consumed (HandshakeInitationRate).

mod candidate;
mod percentiles;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use wgha_common::Timestamp;

pub use candidate::Candidate;
pub use percentiles::Reached;
pub use window::Progress;

use super::peers::{PeerKey, WireguardPeer};
use percentiles::Percentiles;
use window::Window;

/// A handshake that is to be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// With which peer.
    pub key: PeerKey,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// In which way.
    pub how: How,
}

/// How WireGuard is made to start a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its persistent keepalive is raised from 0. Works if there is no session, and no initiation was sent within
    /// REKEY_TIMEOUT, 5 s.
    Toggle,
    /// It is removed and added again, which forgets both.
    Anew,
}

/// The pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many handshakes may be under way.
    pub window: usize,
    /// How many are started at a time: with more, news of the first would come too late.
    pub batch: usize,
    /// After how long without any answer a handshake is no longer counted as under way.
    pub patience: Duration,
    /// How long after each start a peer that has not come back is started again.
    pub retries: [Duration; 3],
    /// Whose last packet is younger talks: it is answered within KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, or is gone.
    pub recent: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: 64,
            batch: 16,
            patience: Duration::from_millis(150),
            // After 0.5, 1.5 and 4 s, all in all.
            retries: [500, 1000, 2500].map(Duration::from_millis),
            recent: Duration::from_secs(15),
        }
    }
}

/// No peer is started again sooner: its client would not listen for 20 ms, and a way may be shorter the second time.
const FLOOD: Duration = Duration::from_millis(25);
/// How often the counters are looked at while the window is full.
const TICK: Duration = Duration::from_millis(1);
/// A look that is not older tells whether a peer is back.
const FRESH: Duration = Duration::from_millis(100);
/// How long a client that has just said something is given to complete what it has begun.
const COURTESY: Duration = Duration::from_millis(200);
/// The first look after a start, and the longest time between two.
const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// How long after the last start the end is awaited: WireGuard's own next try is past by then.
const LAST_WAIT: Duration = Duration::from_secs(6);

/// The handshakes of one take-over.
#[derive(Debug)]
pub struct Handshakes {
    pace: Pace,
    begun: Timestamp,
    /// The same moment, since the Unix epoch.
    begun_wall: Duration,
    peers: Vec<Peer>,
    by_key: HashMap<PeerKey, usize>,
    /// Who has not been started yet, in order.
    waiting: VecDeque<usize>,
    /// Who is started again when, unless it is back.
    retries: BTreeSet<(Timestamp, usize)>,
    window: Window,
    percentiles: Percentiles,
    /// How many are not back.
    missing: usize,
    looking: bool,
    no_look_before: Timestamp,
    no_start_before: Timestamp,
    last_look: Option<Timestamp>,
    next_look: Option<Timestamp>,
    look_gap: Duration,
    last_start: Timestamp,
}

#[derive(Debug)]
struct Peer {
    candidate: Candidate,
    talks: bool,
    /// How often it was started.
    starts: usize,
    /// When it is started again.
    due: Option<Timestamp>,
    /// What was received at the last look; after it was made anew, it counts from 0.
    rx_bytes: Option<u64>,
    back: bool,
}

impl Handshakes {
    /// Puts the candidates in order: first those that talk, the last to have talked first, then those whose session
    /// may still live. The next packet of the others will start theirs.
    ///
    /// `wall` is the same moment as `now`, since the Unix epoch: devices tell the time of handshakes so.
    #[must_use]
    pub fn new(pace: Pace, candidates: Vec<Candidate>, now: Timestamp, wall: Duration) -> Self {
        let mut chosen = candidates;
        chosen.retain(|candidate| candidate.may_have_a_session(wall));
        chosen.sort_by_key(Candidate::rank);
        let mut by_key = HashMap::with_capacity(chosen.len());
        let mut peers = Vec::with_capacity(chosen.len());
        for candidate in chosen {
            // Started twice in 20 ms, it would be as good as not at all.
            by_key.entry(candidate.key).or_insert_with(|| {
                peers.push(Peer::new(candidate, &pace));
                peers.len() - 1
            });
        }
        let talkers = peers.iter().filter(|peer| peer.talks).count();
        Self {
            pace,
            begun: now,
            begun_wall: wall,
            waiting: (0..peers.len()).collect(),
            retries: BTreeSet::new(),
            window: Window::new(pace.window, pace.patience),
            percentiles: Percentiles::new(talkers),
            missing: peers.len(),
            peers,
            by_key,
            looking: false,
            no_look_before: Timestamp::ZERO,
            no_start_before: Timestamp::ZERO,
            last_look: None,
            next_look: None,
            look_gap: LOOKS[0],
            last_start: now,
        }
    }

    /// Whom to start now, in this order. `progress` counts from the moment of [`Self::new`].
    pub fn poll(&mut self, now: Timestamp, progress: Progress) -> Vec<Start> {
        self.window.advance(now, progress);
        let mut starts = Vec::new();
        let room = if self.has_room() && now >= self.no_start_before { self.pace.batch } else { 0 };
        while starts.len() < room && self.window.room() > 0 {
            let Some(index) = self.next_retry(now).or_else(|| self.waiting.pop_front()) else { break };
            starts.extend(self.start(index, now));
        }
        if self.percentiles.all_answered(progress) {
            // Probably all are back: no reason to wait for the next look.
            self.look_soon(now, TICK);
        }
        starts
    }

    /// When to poll again although nothing is known to have happened.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let more = match (self.waiting.is_empty(), self.has_room()) {
            (true, _) => None,
            (false, true) => Some(now.max(self.no_start_before)),
            (false, false) => Some(now + TICK),
        };
        let retry = self.retries.first().map(|(due, _)| *due).filter(|due| self.looked_for(*due));
        let retry = retry.map(|due| if due > now { due } else { self.no_start_before.max(now + TICK) });
        let end = self.retries.is_empty().then_some(self.last_start + LAST_WAIT).filter(|end| *end > now);
        [more, retry, self.look_due(), end].into_iter().flatten().min()
    }

    /// Whether there is room for a batch, or for as many as are left: to tell the device costs as much for one.
    fn has_room(&self) -> bool {
        self.window.room() >= self.pace.batch.min(self.pace.window).min(self.waiting.len()).max(1)
    }

    /// Whether the device is to be read now: [`Self::look_begun`], then [`Self::seen`] or [`Self::look_failed`].
    #[must_use]
    pub fn wants_look(&self, now: Timestamp) -> bool {
        self.look_due().is_some_and(|at| at <= now)
    }

    fn look_due(&self) -> Option<Timestamp> {
        let retry = self.retries.first().map(|(due, _)| *due).filter(|due| !self.looked_for(*due));
        let due = [retry, self.next_look].into_iter().flatten().min().filter(|_| !self.looking)?;
        Some(due.max(self.no_look_before))
    }

    /// Reading is dear: not again before `at`.
    pub const fn rest_until(&mut self, at: Timestamp) {
        self.no_look_before = at;
    }

    /// Starting costs the device as much as taking the answers in does: it is given time for both.
    pub const fn pause_until(&mut self, at: Timestamp) {
        self.no_start_before = at;
    }

    /// The device is being read.
    pub const fn look_begun(&mut self) {
        self.looking = true;
        self.next_look = None;
    }

    /// The device could not be read.
    pub fn look_failed(&mut self, now: Timestamp) {
        self.looking = false;
        self.no_look_before = now + LOOKS[1];
        self.next_look = Some(self.no_look_before);
    }

    /// The device was read: not before `at`.
    pub fn seen(&mut self, peers: &[WireguardPeer], at: Timestamp) {
        self.looking = false;
        self.last_look = Some(at);
        let mut back = Vec::new();
        for seen in peers {
            let Some(index) = self.by_key.get(&seen.key).copied() else { continue };
            match seen.last_handshake.and_then(|wall| wall.checked_sub(self.begun_wall)) {
                Some(after) => back.extend(self.has_come_back(index).then(|| self.begun + after)),
                None => self.listen(index, seen.rx_bytes, at),
            }
        }
        self.percentiles.add(back);
        if self.missing > 0 {
            self.look_soon(at, self.look_gap);
            self.look_gap = LOOKS[1].min(self.look_gap * 2);
        }
    }

    /// The next percentile that was reached, each once.
    pub fn reached(&mut self) -> Option<Reached> {
        self.percentiles.poll()
    }

    /// How many candidates are started, in the end.
    #[must_use]
    pub const fn chosen(&self) -> usize {
        self.peers.len()
    }

    /// How many have been started until now.
    #[must_use]
    pub fn started(&self) -> usize {
        self.peers.len() - self.waiting.len()
    }

    /// How many of them talk.
    #[must_use]
    pub const fn talkers(&self) -> usize {
        self.percentiles.of()
    }

    /// How many of those chosen are not known to be back.
    #[must_use]
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// Who is not known to be back, for whoever begins again: our tries have left their marks.
    pub fn not_back(&self) -> impl Iterator<Item = Candidate> {
        let missing = self.peers.iter().filter(|peer| !peer.back);
        missing.map(|peer| Candidate { clean: false, ..peer.candidate.clone() })
    }

    /// Whether there is nothing left to do: all are back, or will not be.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        let tried = self.waiting.is_empty() && self.retries.is_empty();
        self.missing == 0 || (tried && now >= self.last_start + LAST_WAIT)
    }

    /// A peer whose retry is due, and that was looked for.
    fn next_retry(&mut self, now: Timestamp) -> Option<usize> {
        let (due, index) = self.retries.first().copied().filter(|(due, _)| *due <= now)?;
        self.looked_for(due).then(|| {
            self.reschedule(index, None);
            index
        })
    }

    /// Whether the last look tells of a retry that is due at `due`.
    fn looked_for(&self, due: Timestamp) -> bool {
        self.last_look.is_some_and(|at| at + FRESH >= due)
    }

    fn start(&mut self, index: usize, now: Timestamp) -> Option<Start> {
        let peer = &mut self.peers[index];
        if peer.back {
            return None;
        }
        let first = peer.starts == 0;
        let delay = self.pace.retries.get(peer.starts).copied();
        peer.starts += 1;
        let how = if first && peer.candidate.clean { How::Toggle } else { How::Anew };
        if how == How::Anew {
            peer.rx_bytes = Some(0);
        }
        if first && peer.talks {
            self.percentiles.started();
        }
        self.last_start = now;
        self.reschedule(index, delay.map(|delay| now + delay.max(FLOOD)));
        self.look_soon(now, LOOKS[0]);
        let Candidate { key, endpoint, .. } = self.peers[index].candidate;
        if first && self.peers[index].candidate.starts_by_itself() {
            return None;
        }
        self.window.enter(now);
        Some(Start { key, endpoint, how })
    }

    fn reschedule(&mut self, index: usize, due: Option<Timestamp>) {
        if let Some(before) = self.peers[index].due.take() {
            self.retries.remove(&(before, index));
        }
        self.peers[index].due = due;
        self.retries.extend(due.map(|due| (due, index)));
    }

    /// A handshake with it was completed; whether that is news of one that talks.
    fn has_come_back(&mut self, index: usize) -> bool {
        self.reschedule(index, None);
        let peer = &mut self.peers[index];
        let news = !peer.back;
        peer.back = true;
        self.missing -= usize::from(news);
        news && peer.talks
    }

    /// It has not come back. If its client has said something since the last look, it is left alone for a moment:
    /// it may be about to confirm the handshake that it has begun itself. (If the two crossed, it is not.)
    fn listen(&mut self, index: usize, rx_bytes: u64, now: Timestamp) {
        let peer = &mut self.peers[index];
        let spoke = peer.rx_bytes.is_some_and(|before| rx_bytes > before);
        peer.rx_bytes = Some(rx_bytes);
        if let Some(due) = peer.due.filter(|due| spoke && *due < now + COURTESY) {
            self.reschedule(index, Some(due.max(now + COURTESY)));
        }
    }

    fn look_soon(&mut self, now: Timestamp, gap: Duration) {
        let at = now + gap;
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }
}

impl Peer {
    fn new(candidate: Candidate, pace: &Pace) -> Self {
        let talks = candidate.idle.is_some_and(|idle| idle < pace.recent);
        Self { candidate, talks, starts: 0, due: None, rx_bytes: None, back: false }
    }
}
