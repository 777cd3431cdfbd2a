//! The peers that have introduced themselves, and our rank among them.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use wgha_common::{Address, Timestamp, abi::outranks};

use super::{Heard, Introduced, Machine, PeerId};

/// What is known of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquaintance {
    /// What it has told last.
    pub told: Introduced,
    /// When it did.
    pub told_at: Timestamp,
    /// The channel to it stands.
    pub present: bool,
    /// It has answered a probe of ours, ever, or since claims got no proof of it. If not, its silence means nothing and adverts decide.
    pub answered: bool,
    /// It waits so long for our answers, by its own word since the channel stands.
    pub waits: Duration,
}

/// Everybody who has been introduced, by their places in the configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct Acquaintances(BTreeMap<PeerId, Acquaintance>);

impl Acquaintances {
    fn introduced(&mut self, told: Introduced, now: Timestamp) {
        let known = self.0.get(&told.peer);
        let answered = known.is_some_and(|known| known.answered);
        let waits = known.map_or(Duration::ZERO, |known| known.waits);
        self.0.insert(told.peer, Acquaintance { told, told_at: now, present: true, answered, waits });
    }

    fn left(&mut self, peer: PeerId) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.present = false;
            known.waits = Duration::ZERO;
        }
    }

    fn waits(&mut self, peer: PeerId, lease: Duration) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.waits = lease;
        }
    }

    /// Somebody who does not wait so long for our answers. Who is not there does not count: it has to be introduced anew.
    pub(super) fn impatient(&self, lease: Duration) -> Option<IpAddr> {
        let impatient = self.0.values().find(|known| known.present && known.waits < lease);
        impatient.map(|known| known.told.source)
    }

    /// Somebody is there and says that it can serve as well as anybody.
    pub(super) fn anybody_fit(&self) -> bool {
        self.0.values().any(|known| known.present && known.told.fit)
    }

    pub(super) fn answered(&mut self, peer: PeerId) {
        if let Some(known) = self.0.get_mut(&peer) {
            known.answered = true;
        }
    }

    /// Until whoever's adverts come from there answers anew, its answers are not waited for.
    pub(super) fn proves_nothing(&mut self, source: IpAddr) {
        self.0
            .values_mut()
            .filter(|known| known.told.source == source)
            .for_each(|known| known.answered = false);
    }

    pub(super) fn told(&self, peer: PeerId) -> Option<&Introduced> {
        self.0.get(&peer).map(|known| &known.told)
    }

    /// Whose adverts come from there.
    pub(super) fn at(&self, source: IpAddr) -> Option<&Introduced> {
        self.0.values().map(|known| &known.told).find(|told| told.source == source)
    }

    /// Those that would take over from `active`, as far as we can tell.
    fn candidates(&self, active: Option<IpAddr>) -> impl Iterator<Item = &Introduced> {
        self.0
            .values()
            .filter(|known| known.present)
            .map(|known| &known.told)
            .filter(move |told| Some(told.source) != active)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// When this one has told last who it is.
    pub(super) fn told_at(&self, peer: PeerId) -> Option<Timestamp> {
        self.0.get(&peer).map(|known| known.told_at)
    }

    /// Whether whose adverts come from there has ever answered a probe.
    pub(super) fn has_answered(&self, source: IpAddr) -> bool {
        self.0.values().any(|known| known.answered && known.told.source == source)
    }

    pub(super) fn all(&self) -> Vec<Acquaintance> {
        self.0.values().copied().collect()
    }
}

impl Machine {
    pub(super) fn peer_introduced(&mut self, told: Introduced, now: Timestamp) {
        if self.settings.detect.is_none() {
            return;
        }
        self.acquaintances.introduced(told, now);
        // It may answer to another discriminator now: its silence means nothing until it answers anew.
        self.prober.forget(told.peer);
        self.suspect(told.peer);
        self.claim_outlasts(&told, now);
        self.obey_no_stranger(now);
    }

    pub(super) fn peer_left(&mut self, peer: PeerId) {
        self.acquaintances.left(peer);
        self.hearing.reaching.remove(&peer);
    }

    pub(super) fn peer_waits(&mut self, peer: PeerId, lease: Duration) {
        self.acquaintances.waits(peer, lease);
    }

    /// How long we leave the role of `active` to those that outrank us: Skew_Time, if there are any.
    /// The first in rank does not wait.
    pub(super) fn stagger(&self, active: Option<IpAddr>) -> Duration {
        let outranked = self.acquaintances.candidates(active).any(|told| self.ranks_behind(told));
        if outranked { self.skew_time() } else { Duration::ZERO }
    }

    /// After a resignation. That of a router that has not introduced itself is dealt with as the RFC says.
    pub(super) fn stagger_after(&self, resignation: &Heard) -> Duration {
        match self.acquaintances.at(resignation.source) {
            Some(_) => self.stagger(Some(resignation.source)),
            None => self.skew_time(),
        }
    }

    /// Whether we do.
    pub(super) fn ranks_behind(&self, told: &Introduced) -> bool {
        let ours = self.health.uplink.source.map_or(Address::UNSPECIFIED, Address::from);
        outranks(told.priority, &told.source.into(), self.priority(), &ours)
    }
}
