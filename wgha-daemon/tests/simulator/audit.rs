//! What is known of each node besides its own state: what has disturbed it, and since when it does what it does.
//!
//! The rules are in [`crate::rules`], their bounds in [`crate::bounds`].

use wgha::proto::{Action, State};
use wgha_common::{
    Timestamp,
    abi::{Lease, Role},
};

use crate::{
    bounds::{Bounds, MILLI, RELOAD},
    node::{Daemon, Node},
    rules,
    schedule::Schedule,
    seen::Seen,
    world::World,
};

/// What has been seen of a world.
pub struct Audit {
    pub bounds: Bounds,
    pub records: Vec<Record>,
    pub network_changed: u64,
    /// Role changes by their reason, for the test that the schedules reach them.
    pub seen: Seen,
}

/// Whose lease was found over, and which: it may have stood still with its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub node: usize,
    lease: Lease,
}

impl Found {
    pub fn of(node: &Node) -> Self {
        Self { node: node.me, lease: node.kernel.lease }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Record {
    pub serving_since: Option<u64>,
    /// When it last heard, or was, somebody who serves.
    pub heard_server: u64,
    pub able_since: Option<u64>,
    /// Its state, as it says itself, and since when.
    pub state: Option<(State, u64)>,
    /// Since when it believes that it serves, and does not.
    pub deluded_since: Option<u64>,
    /// When it last reached the gateway, and since when it hears nothing at all, if that came all at once.
    pub reached: u64,
    pub deaf_since: Option<u64>,
    /// When something last happened to it that is not its own doing.
    pub disturbed: u64,
    /// When its machine has stood still last, from and until.
    pub paused: (u64, u64),
    /// When it could last not hear, or be heard, as usual.
    pub reach_changed: u64,
    /// When probes or answers from or to it were last lost.
    pub probes_lost: u64,
    /// The same of adverts.
    pub adverts_lost: u64,
    /// Until when others may have been told to wait for it.
    pub waited_for: u64,
    /// The epoch under which it has served last.
    pub epoch: u64,
    /// Whom it has taken over from, whose lease must be over.
    pub found_dead: Option<Found>,
}

impl Audit {
    pub fn new(schedule: &Schedule) -> Self {
        let nodes = schedule.nodes.len();
        let bounds =
            Bounds::new(u64::from(schedule.interval.number()) * 10 * MILLI, schedule.longest_lease());
        Self { bounds, records: vec![Record::default(); nodes], network_changed: 0, seen: Seen::default() }
    }

    pub fn disturbed(&mut self, node: usize, now: u64) {
        self.records[node].disturbed = now;
    }

    pub fn hands_over(&mut self, node: usize, serves: bool, now: u64) {
        self.records[node].waited_for = now + RELOAD;
        self.seen.made_way += u64::from(serves);
    }

    pub fn pauses(&mut self, node: usize, now: u64) {
        self.records[node].paused.0 = now;
    }

    pub fn resumes(&mut self, node: usize, now: u64) {
        self.records[node].paused.1 = now;
    }

    pub fn reach_changed(&mut self, node: usize, now: u64) {
        let at = &mut self.records[node].reach_changed;
        *at = now.max(*at);
    }

    pub fn probes_lost(&mut self, node: usize, now: u64) {
        self.reach_changed(node, now);
        self.records[node].probes_lost = now.max(self.records[node].probes_lost);
    }

    pub fn adverts_lost(&mut self, node: usize, now: u64) {
        self.reach_changed(node, now);
        self.records[node].adverts_lost = now.max(self.records[node].adverts_lost);
    }

    pub fn frames_lost(&mut self, node: usize, now: u64) {
        self.probes_lost(node, now);
        self.adverts_lost(node, now);
    }

    pub fn network_changed(&mut self, now: u64) {
        self.network_changed = now.max(self.network_changed);
    }

    /// When the two could last not hear each other as usual.
    pub fn reach_since(&self, a: usize, b: usize) -> u64 {
        self.network_changed.max(self.records[a].reach_changed).max(self.records[b].reach_changed)
    }

    /// When any reach has changed last, or until when all may wait for somebody.
    pub fn everywhere(&self) -> u64 {
        let of = |record: &Record| record.waited_for.max(record.reach_changed);
        self.records.iter().map(of).max().unwrap_or_default().max(self.network_changed)
    }

    /// # Errors
    /// The rule that is broken.
    pub fn check(world: &mut World) -> Result<(), String> {
        let begin: u32 = (0..world.nodes.len()).map(|me| u32::from(rules::observe(world, me)) << me).sum();
        for me in (0..world.nodes.len()).filter(|me| begin & (1 << me) != 0) {
            rules::check_begin(world, me)?;
        }
        rules::check_found_dead(world)?;
        rules::check_both(world)?;
        rules::check_nobody(world)?;
        rules::check_deaf(world)?;
        rules::check_stuck(world)
    }

    /// Of a daemon that has done all that it had to do.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check_settled(world: &mut World, me: usize) -> Result<(), String> {
        if world.nodes[me].is_awake() { rules::check_role(world, me) } else { Ok(()) }
    }

    /// # Errors
    /// The rule that is broken.
    pub fn check_end(world: &mut World) -> Result<(), String> {
        Self::check(world)?;
        rules::check_end(world)
    }

    /// What a node may do by its own word. `node` is as before the action.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn action(&mut self, node: &Node, action: &Action, now: u64) -> Result<(), String> {
        let Some(daemon) = &node.daemon else { return Ok(()) };
        let granted = |role: Role| daemon.lease.until != 0 && daemon.lease.role >= role as u32;
        let right = match action {
            Action::SetLease { until, .. } if *until == Timestamp::ZERO => true,
            Action::SetLease { role, epoch, until } => check_lease(node, daemon, *role, *epoch, *until),
            Action::SendAdvert => node.kernel.stamp.0 == 0 || granted(Role::Claiming),
            Action::HoldVip | Action::RaiseTunnel | Action::Announce | Action::StartHandshakes { .. } => {
                granted(Role::Active)
            }
            Action::StampAdverts { interval, .. }
                if u64::from(interval.number()) * 10 * MILLI > self.bounds.interval() =>
            {
                self.records[node.me].waited_for = now + RELOAD;
                true
            }
            Action::SendProbe { up: true, .. } => granted(Role::Claiming),
            Action::SendProbe { up: false, .. } => daemon.machine.state() == State::Backup,
            Action::Report { role, reason } => {
                self.seen.count(*role, reason);
                *role != State::Claiming || !rules::claims_untold(node, &self.records[node.me], now)
            }
            _ => true,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{now}: node {} does {action:?} with {:?}", node.me, daemon.lease))
        }
    }
}

/// A lease that is over is not renewed (I5), and none lasts longer than others wait (I6).
fn check_lease(node: &Node, daemon: &Daemon, role: Role, epoch: u64, until: Timestamp) -> bool {
    let last = &daemon.lease;
    let renewed = last.until != 0 && daemon.handled_at.as_nanos() < last.until && role as u32 >= last.role;
    let right = if epoch == last.epoch { renewed } else { epoch > last.epoch && epoch > node.kernel.revoked };
    // By its adverts: those that are to leave, or the last that has left.
    let said = 3 * node.kernel.stamp.1.max(node.kernel.said).duration().as_nanos();
    let longest = match node.settings.detect {
        Some(detect) if role == Role::Active => {
            daemon.told_lease.unwrap_or(detect.lease()).as_nanos().min(said)
        }
        _ => said,
    };
    right && until.since(daemon.handled_at).as_nanos() <= longest
}
