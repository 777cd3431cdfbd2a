//! What must hold, checked after every event.
//!
//! | rule | bound |
//! |---|---|
//! | Who takes over from a router does so only after that router's lease is over, or on its word (I6) | none, if no frame between the two was lost that matters |
//! | Nobody begins to serve while somebody within reach has been serving for a while (I6) | [`ESTABLISHED`], after [`Bounds::hearing`] of undisturbed hearing, [`Bounds::deadline`] if that one stood still |
//! | Nobody begins to serve soon after its machine stood still for longer than [`Bounds::deadline`], likewise (I3) | [`Bounds::listening`] |
//! | Two nodes within reach do not both serve (I7) | [`Bounds::both`]; [`Bounds::both_asleep`] if one of them stands still; [`MEET`] more where claims have to be proven |
//! | A node whose daemon has done what it had to do serves only as Active, and lets adverts out only as Claiming or Active (I4) | none |
//! | Who is able to serve, and hears nobody who does, serves | [`Bounds::nobody`] after the last disturbance of anybody that it hears or is heard by; [`PROOF`] more where claims have to be proven |
//! | No daemon goes by what the gateway has answered to the one before it | none |
//! | Who may be told where the clients are does not claim the role before it has been | it waits [`UNTOLD`] at most |
//! | Who suddenly hears nothing, not even the gateway that had answered it, does not go on to serve | [`DEAF`] |
//! | Every state is left again: a claim is decided, a stop ends, and an Active Router without a lease notices (I5) | [`Bounds::claiming`], [`STOPPING`], [`Bounds::deluded`] |
//! | A daemon that wakes up comes to an end | 10,000 inputs |
//! | In the end one serves, the best if all preempt, with VIP and tunnel; the others have neither, and stand by | |
//!
//! Within reach are two that hear each other's adverts and probes. What an action may be is in [`crate::audit`].
//!
//! [`Bounds::hearing`]: crate::bounds::Bounds::hearing
//! [`Bounds::deadline`]: crate::bounds::Bounds::deadline
//! [`Bounds::listening`]: crate::bounds::Bounds::listening
//! [`Bounds::both`]: crate::bounds::Bounds::both
//! [`Bounds::both_asleep`]: crate::bounds::Bounds::both_asleep
//! [`Bounds::nobody`]: crate::bounds::Bounds::nobody
//! [`Bounds::claiming`]: crate::bounds::Bounds::claiming
//! [`Bounds::deluded`]: crate::bounds::Bounds::deluded

use std::net::IpAddr;

use wgha::proto::{Machine, Reason, State};
use wgha_common::abi::{Role, outranks};

use crate::{
    audit::{Found, Record},
    bounds::{
        DEAF, ESTABLISHED, HANDED_OVER, LATELY, MEET, MEMORY, MILLI, PROOF, REACH, RELOAD, STOPPING, STRAY,
        UNTOLD,
    },
    kernel::address,
    node::Node,
    world::World,
};

/// Takes note of how a node stands. Whether it begins to serve.
pub fn observe(world: &mut World, me: usize) -> bool {
    let now = world.now;
    let node = &world.nodes[me];
    let (serves, able, starved) = (node.serves(now), node.is_able(), node.starved > 0);
    let epoch = node.kernel.lease.epoch;
    let (reaches, deaf) = (world.reaches_gateway(me), world.is_deaf(me));
    let state = node.daemon.as_ref().map(|d| d.machine.state());
    let record = &mut world.audit.records[me];
    record.state = state.map(|is| record.state.filter(|(was, _)| *was == is).unwrap_or((is, now)));
    record.able_since = able.then(|| record.able_since.unwrap_or(now));
    let begins = serves && record.serving_since.is_none();
    record.serving_since = serves.then(|| record.serving_since.unwrap_or(now));
    record.reached = if reaches { now } else { record.reached };
    let sudden = |since: &u64| *since < record.reached + 1_000 * MILLI;
    record.deaf_since = deaf.then(|| record.deaf_since.unwrap_or(now)).filter(sudden);
    if starved {
        record.disturbed = now;
    }
    // A machine that goes on after a pause has not been elected anew.
    if begins && record.epoch != epoch {
        record.epoch = epoch;
        let found_dead = found_dead(world, me);
        world.audit.records[me].found_dead = found_dead;
        world.audit.seen.strict += u64::from(found_dead.is_some());
    }
    begins
}

/// Whose lease must be over, now that this node begins to serve.
fn found_dead(world: &World, me: usize) -> Option<Found> {
    let machine = &world.nodes[me].daemon.as_ref()?.machine;
    let (active, delivered): (_, fn(&World, usize, usize) -> bool) = match machine.reason() {
        Reason::ProbesUnanswered { active, .. } | Reason::AdminDown(active) => (*active, probes_delivered),
        Reason::ActiveResigned(active) | Reason::ActiveDown { last: Some(active) } => {
            (*active, adverts_delivered)
        }
        // Whoever has told nobody how long its lease lasts may go on after a pause.
        Reason::Preempted(active) if has_told(machine, *active) => (*active, probes_delivered),
        _ => return None,
    };
    let other = (0..world.nodes.len()).find(|n| address(*n) == active)?;
    let since = world.audit.records[other].serving_since;
    let established = since.is_none_or(|since| world.now - since > ESTABLISHED);
    let timely = established && !world.nodes[other].clock_stands();
    (timely && delivered(world, me, other)).then(|| Found::of(&world.nodes[other]))
}

fn has_told(machine: &Machine, who: IpAddr) -> bool {
    machine.acquaintances().iter().any(|known| known.told.source == who)
}

/// Whether probes and answers between the two arrive, and have done so for long enough.
fn probes_delivered(world: &World, me: usize, other: usize) -> bool {
    let records = &world.audit.records;
    let lost = records[me].probes_lost.max(records[other].probes_lost);
    frames_pass(world, me, other) && is_past(world, lost, MEMORY)
}

/// The same of adverts.
fn adverts_delivered(world: &World, me: usize, other: usize) -> bool {
    let audit = &world.audit;
    let [mine, others] = [me, other].map(|n| &audit.records[n]);
    let lost = mine.adverts_lost.max(others.adverts_lost);
    // Who was not there, or could not hear, when it was told to wait for a successor does not know.
    let knows = world.nodes[other].handed_over.is_none_or(|at| lost + audit.bounds.interval() < at);
    hear_each_other(world, me, other) && is_past(world, lost, audit.bounds.deadline()) && knows
}

fn is_past(world: &World, at: u64, by: u64) -> bool {
    at == 0 || at + by < world.now
}

/// The lease that was found over must not serve any more, whatever has become of daemon and machine.
pub fn check_found_dead(world: &World) -> Result<(), String> {
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
    let passes = |n: usize| net.filtered[n] == 0 && world.nodes[n].carrier;
    net.is_orderly() && net.joins(a, b) && net.joins(b, a) && passes(a) && passes(b)
}

/// Whether frames of either reach the other.
fn hear_each_other(world: &World, a: usize, b: usize) -> bool {
    let heard = |n: usize| world.network.unheard[n] == 0 && !world.nodes[n].adverts_fail;
    frames_pass(world, a, b) && heard(a) && heard(b)
}

pub fn check_begin(world: &World, me: usize) -> Result<(), String> {
    let (audit, now, bounds) = (&world.audit, world.now, world.audit.bounds);
    for other in (0..world.nodes.len()).filter(|o| *o != me && hear_each_other(world, me, *o)) {
        let record = &audit.records[other];
        let Some(since) = record.serving_since else { continue };
        let starved = world.nodes[me].starved > 0;
        let still = starved || now - record.disturbed < bounds.deadline();
        let hearing = if still { bounds.deadline() } else { bounds.hearing() } + proof(&world.nodes[me]);
        let heard_enough = now.saturating_sub(audit.reach_since(me, other)) > hearing;
        // A machine that stood still for longer than any deadline has to listen anew (I3).
        let (from, until) = audit.records[me].paused;
        let overslept = now.saturating_sub(until) < bounds.listening(until.saturating_sub(from));
        let listened = audit.network_changed.max(record.reach_changed).max(record.disturbed).max(since)
            + bounds.interval()
            < from;
        // One that was not there, or could not hear, when it was told to wait does not know.
        let could_hear = world.nodes[me].hears_since.max(audit.reach_since(me, other));
        let told = record.waited_for.saturating_sub(RELOAD);
        if has_others_wait(&world.nodes[other]) && could_hear + bounds.interval() > told {
            continue;
        }
        if now - since > ESTABLISHED && (heard_enough || (overslept && listened)) {
            return Err(format!("node {me} begins to serve while node {other} does"));
        }
    }
    Ok(())
}

/// Where claims have to be proven adverts tell nothing: one that says nothing is waited for until its probes tell.
fn proof(node: &Node) -> u64 {
    if node.settings.authentication.is_some() { PROOF } else { 0 }
}

pub fn check_both(world: &mut World) -> Result<(), String> {
    let (now, bounds) = (world.now, world.audit.bounds);
    for a in 0..world.nodes.len() {
        for b in 0..a {
            let (one, two) = (&world.audit.records[a], &world.audit.records[b]);
            let (Some(since_a), Some(since_b)) = (one.serving_since, two.serving_since) else { continue };
            let since = since_a.max(since_b).max(one.disturbed).max(two.disturbed);
            world.audit.seen.both += 1;
            if !hear_each_other(world, a, b) {
                continue;
            }
            let since = since.max(world.audit.reach_since(a, b));
            let most = if [a, b].into_iter().all(|n| world.nodes[n].is_prompt()) {
                bounds.both()
            } else if [a, b].into_iter().any(|n| has_others_wait(&world.nodes[n])) {
                bounds.both_asleep().max(HANDED_OVER + REACH)
            } else {
                bounds.both_asleep()
            };
            let proof = if world.nodes[a].settings.authentication.is_some() { MEET } else { 0 };
            if now.saturating_sub(since) > most + proof {
                return Err(format!("nodes {a} and {b} both serve since {since}"));
            }
        }
    }
    Ok(())
}

/// Whether its lease may last for longer than usual, because others have been told to wait for its successor.
fn has_others_wait(node: &Node) -> bool {
    node.handed_over.is_some() || node.kernel.said > node.settings.interval
}

pub fn check_nobody(world: &mut World) -> Result<(), String> {
    // A network that loses whatever it likes may keep everybody from everything.
    if !world.network.is_orderly() {
        return Ok(());
    }
    for me in 0..world.nodes.len() {
        let records = &world.audit.records;
        let heard = |n: usize| n == me || world.carries(n, me);
        let Some(able) = records[me].able_since else { continue };
        if (0..records.len()).any(|n| records[n].serving_since.is_some() && heard(n)) {
            world.audit.records[me].heard_server = world.now;
            continue;
        }
        // One that does not reach the gateway may be deaf itself.
        if world.nodes[me].witness && !world.reaches_gateway(me) {
            continue;
        }
        let near = |n: &usize| heard(*n) || world.carries(me, *n);
        let disturbed = (0..records.len()).filter(near).map(|n| records[n].disturbed).max();
        let since = able.max(records[me].heard_server).max(disturbed.unwrap_or_default());
        let since = since.max(world.audit.everywhere());
        if world.now.saturating_sub(since) > world.audit.bounds.nobody() + proof(&world.nodes[me]) {
            return Err(format!("node {me} is able, but nobody that it hears serves since {since}"));
        }
    }
    Ok(())
}

/// Who hears nothing cannot serve, whatever it says: its witness tells it.
pub fn check_deaf(world: &World) -> Result<(), String> {
    for (me, record) in world.audit.records.iter().enumerate() {
        let node = &world.nodes[me];
        let at = node.daemon.as_ref().and_then(|d| d.machine.gateway_answered_at());
        if at.is_some_and(|at| node.daemon.as_ref().is_some_and(|d| at < d.began)) {
            return Err(format!("node {me} goes by what the gateway has answered to the daemon before"));
        }
        let (Some(deaf), Some(serving)) = (record.deaf_since, record.serving_since) else { continue };
        // One whose gateway had not answered lately takes it for silent: what else is silent says nothing then.
        let since = deaf.max(serving).max(record.disturbed);
        if node.is_prompt()
            && at.is_some_and(|at| node.world_time(at) + LATELY > deaf)
            && world.now - since > DEAF
        {
            return Err(format!("node {me} serves although it hears nothing since {deaf}"));
        }
    }
    Ok(())
}

/// Who has not been told where the clients are claims nothing, unless it has waited for long enough. `node` is as before.
pub fn claims_untold(node: &Node, record: &Record, now: u64) -> bool {
    let untold = node.settings.peers > 0 && node.daemon.as_ref().is_some_and(|d| !d.knows_clients);
    let waits = |(state, since): (State, u64)| state == State::Backup && now - since < UNTOLD - 2 * MILLI;
    untold && record.state.is_some_and(waits)
}

/// A state that is never left.
pub fn check_stuck(world: &World) -> Result<(), String> {
    let audit = &world.audit;
    for (me, record) in audit.records.iter().enumerate().filter(|(me, _)| world.nodes[*me].is_prompt()) {
        let (state, most) = match record.state {
            Some((state @ State::Claiming, since)) => ((state, since), audit.bounds.claiming()),
            Some((state @ State::Stopping, since)) => ((state, since), STOPPING),
            _ => continue,
        };
        let since = state.1.max(record.disturbed).max(audit.everywhere());
        let proof = proof(&world.nodes[me]);
        if world.network.is_orderly() && world.now.saturating_sub(since) > most + proof {
            return Err(format!("node {me} is {:?} since {}", state.0, state.1));
        }
    }
    Ok(())
}

/// What the fence of a node that has nothing left to do lets pass, and what its daemon believes.
pub fn check_role(world: &mut World, me: usize) -> Result<(), String> {
    let (now, node) = (world.now, &world.nodes[me]);
    let Some(state) = node.daemon.as_ref().map(|d| d.machine.state()) else { return Ok(()) };
    let clock = node.clock(now).as_nanos();
    let gives = |role| node.kernel.lease.gives(role, node.kernel.revoked, clock);
    let right = match state {
        State::Active => true,
        State::Claiming => !gives(Role::Active),
        State::Backup | State::Fault | State::Stopping => !gives(Role::Claiming),
    };
    if !right {
        return Err(format!("node {me} is {state:?} with {:?}", node.kernel.lease));
    }
    let deluded = state == State::Active && !gives(Role::Active);
    let record = &mut world.audit.records[me];
    record.deluded_since = deluded.then(|| record.deluded_since.unwrap_or(now));
    let since = record.deluded_since.map_or(now, |since| since.max(record.disturbed));
    if now - since > world.audit.bounds.deluded() {
        return Err(format!("node {me} is {state:?} without a lease since {since}"));
    }
    Ok(())
}

/// How it must stand when nothing has gone wrong for long.
pub fn check_end(world: &World) -> Result<(), String> {
    let serving: Vec<_> = (0..world.nodes.len()).filter(|n| world.nodes[*n].serves(world.now)).collect();
    let [server] = serving[..] else { return Err(format!("in the end {serving:?} serve")) };
    for node in &world.nodes {
        let state = node.daemon.as_ref().map(|d| d.machine.state());
        let (want, has) = if node.me == server { (State::Active, true) } else { (State::Backup, false) };
        let touched = node.touched.max(world.audit.records[node.me].disturbed);
        let stray = node.group.up && !has && world.now - touched < STRAY;
        if state != Some(want) || node.group.vip != has || (node.group.up != has && !stray) {
            return Err(format!("in the end node {} is {state:?} with {:?}", node.me, node.group));
        }
    }
    if world.nodes.iter().all(|n| n.settings.preempt) {
        check_best(&world.nodes, server)?;
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
