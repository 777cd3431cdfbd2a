//! What must hold, checked after every event.
//!
//! | rule | bound |
//! |---|---|
//! | Nobody begins to serve while somebody within reach has been serving for a while (I6) | `ESTABLISHED`, after `i + reach` of undisturbed hearing, `4 i + 60 ms` if that one stood still |
//! | Nobody begins to serve within `3 i` after its machine stood still for longer than `4 i + 60 ms`, likewise (I3) | |
//! | Who takes over because of probes does so only after the lease of the router that it has probed is over (I6) | none, if no frames between the two were lost |
//! | Two nodes within reach do not both serve (I7) | `i + reach`; `3 i + reach`, a lease, if one of them stands still |
//! | Where somebody is able to serve, somebody serves | `9 i + 150 ms` after the last disturbance in that part of the network |
//! | In the end one serves, the best if all preempt, with VIP and tunnel; the others have neither | |
//!
//! `i` is the advertisement interval, `reach` the longest that a frame and the daemons at its ends may take.

use wgha::proto::{Action, Reason, State};
use wgha_common::{
    Centiseconds, Timestamp,
    abi::{Lease, Role, outranks},
};

use crate::{
    group::MILLI,
    kernel::address,
    node::{Daemon, Node},
    trouble::STRAY,
    world::{MAX_DELAY, MAX_LATENCY, World},
};

const REACH: u64 = MAX_DELAY + 3 * MAX_LATENCY;
/// Two that are elected within this time cannot have heard of each other. A process may be stopped for
/// 10 ms between its look and its decision, and for 10 ms between that and the map.
const ESTABLISHED: u64 = REACH + 20 * MILLI;
/// How long two that have to prove their claims may take to meet over the channel, and to probe each other.
const MEET: u64 = 350 * MILLI;
const PATIENCE: u64 = 60 * MILLI;
/// How long others may wait for a node that had them wait and is gone then: 2 s until it is
/// gone, three adverts of 2 s, Skew_Time, and what a verdict takes.
const RELOAD: u64 = 10_200 * MILLI;
/// What was lost longer ago does not matter to a verdict any more.
const MEMORY: u64 = 2_000 * MILLI;

/// What has been seen of a world.
pub struct Audit {
    interval: u64,
    records: Vec<Record>,
    network_changed: u64,
    /// Role changes by their reason, for the test that the schedules reach them.
    pub seen: Seen,
}

/// How often what happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub active: u64,
    pub claiming: u64,
    pub fault: u64,
    pub stopping: u64,
    pub lapsed: u64,
    pub outranked: u64,
    pub resigned: u64,
    pub unanswered: u64,
    pub admin_down: u64,
    /// Take-overs by probes that were held against the strict rule.
    pub strict: u64,
    /// Active Routers that have made way for a successor.
    pub made_way: u64,
    /// Successors that went on.
    pub went_on: u64,
    /// Reloads that were given up.
    pub kept_on: u64,
    /// Moments at which two served, each within its bound.
    pub both: u64,
}

impl Seen {
    fn all(&mut self) -> [&mut u64; 14] {
        let Self { active, claiming, fault, stopping, lapsed, outranked, resigned, .. } = self;
        let Self { unanswered, admin_down, strict, both, made_way, went_on, kept_on, .. } = self;
        [
            active, claiming, fault, stopping, lapsed, outranked, resigned, unanswered, admin_down, strict,
            both, made_way, went_on, kept_on,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.all().into_iter().zip(other.all()) {
            *sum += *more;
        }
    }

    /// Schedules in which nothing happens prove nothing.
    pub fn assert_all(mut self) {
        let copy = self;
        assert!(self.all().into_iter().all(|count| *count > 0), "{copy:?}");
    }
}

/// Whose lease was found over, and which: it may have stood still with its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    node: usize,
    lease: Lease,
}

impl Found {
    fn of(node: &Node) -> Self {
        Self { node: node.me, lease: node.kernel.lease }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    serving_since: Option<u64>,
    last_served: u64,
    able_since: Option<u64>,
    /// When something last happened to it that is not its own doing.
    disturbed: u64,
    /// When its machine has stood still last, from and until.
    paused: (u64, u64),
    /// When it could last not hear, or be heard, as usual.
    reach_changed: u64,
    /// When frames from or to it were last lost.
    frames_lost: u64,
    /// Until when others may have been told to wait for it.
    waited_for: u64,
    /// Whom it has taken over from because of probes.
    found_dead: Option<Found>,
}

impl Audit {
    pub fn new(nodes: usize, interval: Centiseconds) -> Self {
        let interval = u64::from(interval.number()) * 10 * MILLI;
        Self { interval, records: vec![Record::default(); nodes], network_changed: 0, seen: Seen::default() }
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
        self.records[node].reach_changed = now;
    }

    pub fn frames_lost(&mut self, node: usize, now: u64) {
        self.records[node].frames_lost = now;
    }

    pub fn network_changed(&mut self, now: u64) {
        self.network_changed = now;
    }

    /// When the two could last not hear each other as usual.
    fn reach_since(&self, a: usize, b: usize) -> u64 {
        self.network_changed.max(self.records[a].reach_changed).max(self.records[b].reach_changed)
    }

    /// # Errors
    /// The rule that is broken.
    pub fn check(world: &mut World) -> Result<(), String> {
        let begin: u32 = (0..world.nodes.len()).map(|me| u32::from(observe(world, me)) << me).sum();
        for me in (0..world.nodes.len()).filter(|me| begin & (1 << me) != 0) {
            check_begin(world, me)?;
        }
        check_found_dead(world)?;
        check_both(world)?;
        check_nobody(world)
    }

    /// # Errors
    /// The rule that is broken.
    pub fn check_end(world: &mut World) -> Result<(), String> {
        Self::check(world)?;
        let serving: Vec<_> = (0..world.nodes.len()).filter(|n| world.nodes[*n].serves(world.now)).collect();
        let [server] = serving[..] else { return Err(format!("in the end {serving:?} serve")) };
        for node in &world.nodes {
            let state = node.daemon.as_ref().map(|d| d.machine.state());
            let (want, has) = if node.me == server { (State::Active, true) } else { (State::Backup, false) };
            let stray = node.group.up && !has && world.now - node.touched < STRAY;
            if state != Some(want) || node.group.vip != has || (node.group.up != has && !stray) {
                return Err(format!("in the end node {} is {state:?} with {:?}", node.me, node.group));
            }
        }
        if world.nodes.iter().all(|n| n.settings.preempt) {
            check_best(&world.nodes, server)?;
        }
        Ok(())
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
            Action::SetLease { role, epoch, until } => self.check_lease(node, daemon, *role, *epoch, *until),
            Action::SendAdvert => node.kernel.stamp.0 == 0 || granted(Role::Claiming),
            Action::HoldVip | Action::RaiseTunnel | Action::Announce | Action::StartHandshakes => {
                granted(Role::Active)
            }
            Action::StampAdverts { interval, .. }
                if u64::from(interval.number()) * 10 * MILLI > self.interval =>
            {
                self.records[node.me].waited_for = now + RELOAD;
                true
            }
            Action::SendProbe { up: true, .. } => granted(Role::Claiming),
            Action::SendProbe { up: false, .. } => daemon.machine.state() == State::Backup,
            Action::Report { role, reason } => {
                self.count(*role, reason);
                true
            }
            _ => true,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{now}: node {} does {action:?} with {:?}", node.me, daemon.lease))
        }
    }

    fn check_lease(&self, node: &Node, daemon: &Daemon, role: Role, epoch: u64, until: Timestamp) -> bool {
        let last = &daemon.lease;
        let renewed =
            last.until != 0 && daemon.handled_at.as_nanos() < last.until && role as u32 >= last.role;
        let right =
            if epoch == last.epoch { renewed } else { epoch > last.epoch && epoch > node.kernel.revoked };
        let said = 3 * node.kernel.stamp.1.duration().as_nanos(); // by its adverts
        let longest = match node.settings.detect {
            Some(detect) if role == Role::Active => {
                daemon.told_lease.unwrap_or(detect.lease()).as_nanos().min(said)
            }
            _ => said,
        };
        right && until.since(daemon.handled_at).as_nanos() <= longest
    }

    fn count(&mut self, role: State, reason: &Reason) {
        let seen = &mut self.seen;
        let one = |counter: &mut u64, is: bool| *counter += u64::from(is);
        one(&mut seen.active, role == State::Active);
        one(&mut seen.claiming, role == State::Claiming);
        one(&mut seen.fault, role == State::Fault);
        one(&mut seen.stopping, role == State::Stopping);
        one(&mut seen.went_on, *reason == Reason::WentOn);
        one(&mut seen.lapsed, *reason == Reason::LeaseLapsed);
        one(&mut seen.outranked, matches!(reason, Reason::Outranked { .. }));
        one(&mut seen.resigned, matches!(reason, Reason::ActiveResigned(_)));
        one(&mut seen.unanswered, matches!(reason, Reason::ProbesUnanswered { .. }));
        one(&mut seen.admin_down, matches!(reason, Reason::AdminDown(_)));
    }
}

/// Whether this node begins to serve.
fn observe(world: &mut World, me: usize) -> bool {
    let (now, serves, able) = (world.now, world.nodes[me].serves(world.now), world.nodes[me].is_able());
    let record = &mut world.audit.records[me];
    record.able_since = able.then(|| record.able_since.unwrap_or(now));
    let begins = serves && record.serving_since.is_none();
    record.serving_since = serves.then(|| record.serving_since.unwrap_or(now));
    if serves {
        record.last_served = now;
    }
    if begins {
        let found_dead = found_dead(world, me);
        world.audit.records[me].found_dead = found_dead;
        world.audit.seen.strict += u64::from(found_dead.is_some());
    }
    begins
}

/// What a node that begins to serve has found dead by probes.
fn found_dead(world: &World, me: usize) -> Option<Found> {
    let machine = &world.nodes[me].daemon.as_ref()?.machine;
    let active = match machine.reason() {
        Reason::ProbesUnanswered { active, .. } | Reason::AdminDown(active) => *active,
        _ => return None,
    };
    let other = (0..world.nodes.len()).find(|n| address(*n) == active)?;
    let records = &world.audit.records;
    let lost = records[me].frames_lost.max(records[other].frames_lost);
    let delivered = frames_pass(world, me, other) && (lost == 0 || world.now - lost > MEMORY);
    let established = records[other].serving_since.is_none_or(|since| world.now - since > ESTABLISHED);
    (delivered && established).then(|| Found::of(&world.nodes[other]))
}

/// The lease that was found over by probes must not serve any more, whatever has become of daemon and machine.
fn check_found_dead(world: &World) -> Result<(), String> {
    for (me, record) in world.audit.records.iter().enumerate().filter(|(_, r)| r.serving_since.is_some()) {
        let Some(found) = record.found_dead else { continue };
        let node = &world.nodes[found.node];
        if node.serves(world.now) && Found::of(node) == found {
            return Err(format!("node {me} has taken over from node {}, which serves", found.node));
        }
    }
    Ok(())
}

/// Whether probes and answers pass between the two.
fn frames_pass(world: &World, a: usize, b: usize) -> bool {
    let net = &world.network;
    let passes = |n: usize| net.deaf[n] == 0 && net.filtered[n] == 0 && world.nodes[n].carrier;
    net.lossy == 0 && net.part[a] == net.part[b] && passes(a) && passes(b)
}

/// Whether frames of either reach the other.
fn hear_each_other(world: &World, a: usize, b: usize) -> bool {
    let net = &world.network;
    let heard = |n: usize| net.unheard[n] == 0 && !world.nodes[n].adverts_fail;
    frames_pass(world, a, b) && heard(a) && heard(b)
}

fn check_begin(world: &World, me: usize) -> Result<(), String> {
    let (audit, now) = (&world.audit, world.now);
    let i = audit.interval;
    for other in (0..world.nodes.len()).filter(|o| *o != me && hear_each_other(world, me, *o)) {
        let record = &audit.records[other];
        let Some(since) = record.serving_since else { continue };
        let still = now - record.disturbed < 4 * i + PATIENCE;
        let hearing = if still { 4 * i + PATIENCE } else { i + REACH };
        let heard_enough = now - audit.reach_since(me, other) > hearing;
        // A machine that stood still for longer than any deadline has to listen anew (I3).
        let (from, until) = audit.records[me].paused;
        let overslept = until > from + 4 * i + PATIENCE && now - until < 3 * i;
        let listened =
            audit.network_changed.max(record.reach_changed).max(record.disturbed).max(since) + i < from;
        // One that was not there, or could not hear, when it was told to wait does not know.
        let could_hear = world.nodes[me].hears_since.max(audit.reach_since(me, other));
        if world.nodes[other].handed_over.is_some_and(|at| could_hear + i > at) {
            continue;
        }
        if now - since > ESTABLISHED && (heard_enough || (overslept && listened)) {
            return Err(format!("node {me} begins to serve while node {other} does"));
        }
    }
    Ok(())
}

fn check_both(world: &mut World) -> Result<(), String> {
    let now = world.now;
    let i = world.audit.interval;
    for a in 0..world.nodes.len() {
        for b in 0..a {
            let (one, two) = (world.audit.records[a], world.audit.records[b]);
            let (Some(since_a), Some(since_b)) = (one.serving_since, two.serving_since) else { continue };
            world.audit.seen.both += 1;
            if !hear_each_other(world, a, b) {
                continue;
            }
            let since = since_a.max(since_b).max(one.disturbed).max(two.disturbed);
            let since = since.max(world.audit.reach_since(a, b));
            let awake = world.nodes[a].is_awake() && world.nodes[b].is_awake();
            let lease =
                [a, b].map(|n| if world.nodes[n].handed_over.is_some() { 6_000 * MILLI } else { 3 * i });
            let proof = if world.nodes[a].settings.authentication.is_some() { MEET } else { 0 };
            if now - since > proof + if awake { i + REACH } else { lease[0].max(lease[1]) + REACH } {
                return Err(format!("nodes {a} and {b} both serve since {since}"));
            }
        }
    }
    Ok(())
}

fn check_nobody(world: &World) -> Result<(), String> {
    let (net, records) = (&world.network, &world.audit.records);
    let cut = |of: &[u32]| of.iter().any(|n| *n > 0);
    if net.lossy > 0 || cut(&net.deaf) || cut(&net.unheard) || world.nodes.iter().any(|n| n.adverts_fail) {
        return Ok(());
    }
    let somebody =
        |part: usize| (0..records.len()).any(|n| net.part[n] == part && records[n].serving_since.is_some());
    for me in (0..world.nodes.len()).filter(|me| !somebody(net.part[*me])) {
        let Some(able) = records[me].able_since else { continue };
        let part = (0..records.len()).filter(|n| net.part[*n] == net.part[me]);
        let last =
            part.map(|n| records[n].last_served.max(records[n].disturbed).max(records[n].reach_changed));
        let since = last.max().unwrap_or_default().max(able).max(world.audit.network_changed);
        let since = since.max(records.iter().map(|r| r.waited_for).max().unwrap_or_default());
        if world.now.saturating_sub(since) > 9 * world.audit.interval + 150 * MILLI {
            return Err(format!("node {me} is able, but nobody serves since {since}"));
        }
    }
    Ok(())
}

fn check_best(nodes: &[Node], server: usize) -> Result<(), String> {
    let rank = |n: &Node| (n.settings.priority.number(), address(n.me).into());
    let (priority, source) = rank(&nodes[server]);
    // A Backup of equal priority and higher address does not preempt (RFC 9568 §6.4.2).
    match nodes.iter().find(|n| outranks(rank(n).0, &rank(n).1, priority, &source) && rank(n).0 != priority) {
        Some(better) => Err(format!("in the end node {server} serves, not node {}", better.me)),
        None => Ok(()),
    }
}
