use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Settings,
    clock::WallClock,
    stats::{PeerStats, Stats},
    table::Table,
};
use crate::proto::PeerId;

/// What the channel's owner and all of its connections share.
#[derive(Debug)]
pub(super) struct Shared {
    table: Mutex<Table>,
    /// Rings each connection's writer.
    revised: watch::Sender<()>,
    /// How often each peer was to be asked for a snapshot.
    again: Vec<AtomicU64>,
    /// How long we wait for each peer's answers, since it has introduced itself last, and how often that was said.
    waits: Vec<Mutex<(u64, Duration)>>,
    stats: Mutex<Stats>,
    pub(super) wall_clock: WallClock,
    pub(super) rate: u32,
}

impl Shared {
    pub(super) fn new(settings: &Settings) -> Self {
        let peers = settings.peers.iter().map(|peer| PeerStats::of(peer.ip())).collect();
        Self {
            table: Mutex::default(),
            revised: watch::Sender::new(()),
            again: settings.peers.iter().map(|_| AtomicU64::new(0)).collect(),
            waits: settings.peers.iter().map(|_| Mutex::default()).collect(),
            stats: Mutex::new(Stats { peers, ..Stats::default() }),
            wall_clock: settings.wall_clock,
            rate: settings.rate,
        }
    }

    /// The table. Never held across an await.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is due in the table.
    pub(super) fn ring(&self) {
        self.revised.send_replace(());
    }

    pub(super) fn revised(&self) -> watch::Receiver<()> {
        self.revised.subscribe()
    }

    /// `peer` is to tell all of its records again.
    pub(super) fn ask_again(&self, peer: PeerId) {
        if let Some(again) = self.again.get(usize::from(peer.0)) {
            again.fetch_add(1, Ordering::Relaxed);
            self.ring();
        }
    }

    /// `peer` is to hear that we wait so long for its answers.
    pub(super) fn wait_for(&self, peer: PeerId, lease: Duration) {
        if let Some(waits) = self.waits.get(usize::from(peer.0)) {
            let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            *waits = (waits.0 + 1, lease);
            self.ring();
        }
    }

    /// The number of what was last said so to `peer`, and what.
    pub(super) fn waits(&self, peer: PeerId) -> (u64, Duration) {
        let waits = self.waits.get(usize::from(peer.0));
        waits.map_or_else(Default::default, |waits| *waits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn again(&self, peer: PeerId) -> u64 {
        self.again.get(usize::from(peer.0)).map_or(0, |again| again.load(Ordering::Relaxed))
    }

    pub(super) fn stats(&self) -> Stats {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Stats { published: self.table().len(), ..stats }
    }

    pub(super) fn count_stranger(&self, from: IpAddr) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.strangers += 1;
        stats.last_stranger = Some(from);
    }

    /// Changes what is counted of one peer.
    pub(super) fn count(&self, peer: PeerId, change: impl FnOnce(&mut PeerStats)) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = stats.peers.get_mut(usize::from(peer.0)) {
            change(peer);
        }
    }
}
