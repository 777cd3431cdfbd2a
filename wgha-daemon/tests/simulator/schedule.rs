//! Who takes part in a run, what goes wrong in it and when: drawn from a seed.

use std::time::Duration;

use wgha::proto::{Authentication, Detect, Settings};
use wgha_common::{Centiseconds, Priority};

use crate::{
    bounds::{MAX_DELAY, MAX_LATENCY, MILLI, STRAY, UNTOLD},
    network::MOST_NODES,
    random::Random,
    trouble::{Incident, Trouble},
};

/// Quartz: a clock is so many millionths too fast or too slow at most.
const MOST_DRIFT: u64 = 200;
/// 2 s until it is begun, 7 s for the successor, and 8 s in which those wait that have been told to.
const LONGEST_RELOAD: u64 = 17_000 * MILLI;
/// Something has failed for the first time.
const HOLD_OFF: u64 = 10_100 * MILLI;

/// After more, nodes stay away for longer than a schedule may last.
const MOST_FAILURES: u32 = 2;

/// One run.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub nodes: Vec<Settings>,
    /// By how many millionths each clock is too fast.
    pub drifts: Vec<i64>,
    /// The longest of the advertisement intervals.
    pub interval: Centiseconds,
    pub starts: Vec<u64>,
    /// There is a gateway that may be asked.
    pub witness: bool,
    /// Which node never finds the others through the peer channel.
    pub stranger: Option<usize>,
    pub incidents: Vec<Incident>,
    /// When it is over; nothing has gone wrong for long enough before.
    pub end: u64,
}

impl Schedule {
    pub fn draw(random: &mut Random) -> Self {
        let mut nodes = nodes(random);
        let interval = nodes.iter().map(|n| n.interval).max().unwrap_or(Centiseconds::MAX);
        let unit = nanos(interval.duration());
        let drifts = drifts(random, nodes.len());
        let stranger = random.one_in(8).then(|| random.below(nodes.len()));
        let starts = nodes.iter().map(|_| random.between(0, 6 * unit)).collect();
        let mut incidents = incidents(random, nodes.len(), unit);
        let delay = nodes.iter().map(|n| nanos(n.preempt_delay)).max().unwrap_or_default();
        let end = settled(&incidents, unit) + delay + 20 * unit + 500 * MILLI;
        let witness = random.one_in(2);
        let end = if witness { end + hearing_again(&incidents) } else { end };
        add_probes(random, &mut nodes, end);
        // Nor is it told where the clients are.
        let untold = stranger.is_some() || nodes.iter().any(|n| n.detect.is_none());
        let end = if untold && nodes.iter().any(|n| n.detect.is_some()) { end + UNTOLD } else { end };
        // Who never meets the others cannot prove anything to them.
        if stranger.is_none() && nodes.iter().all(|n| n.detect.is_some()) && random.one_in(2) {
            let peers = nodes.len() - 1;
            nodes.iter_mut().for_each(|n| n.authentication = Some(Authentication { peers }));
        }
        // The last thing that is drawn: most schedules are what they would be without it.
        let before = settled(&incidents, unit);
        incidents.extend(pauses(random, &nodes, unit).into_iter().flatten());
        let end = end + settled(&incidents, unit) - before;
        Self { nodes, drifts, interval, starts, witness, stranger, incidents, end }
    }

    fn shortest_probing(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|n| n.detect).map(|d| nanos(d.interval)).min()
    }

    /// No node tells others of a longer one, unless it is executed anew.
    pub fn longest_lease(&self) -> u64 {
        self.nodes.iter().filter_map(|n| n.detect).map(|d| nanos(d.lease())).max().unwrap_or_default()
    }

    /// No frame takes longer. Whoever probes every millisecond knows that they do not on his network.
    pub fn max_delay(&self) -> u64 {
        self.shortest_probing().map_or(MAX_DELAY, |interval| (interval / 2).min(MILLI))
    }

    /// No daemon that is awake is scheduled later; whoever renews a short lease has the privilege for it.
    pub fn max_latency(&self) -> u64 {
        self.shortest_probing().map_or(MAX_LATENCY, |interval| (interval / 4).min(MAX_LATENCY))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When what has gone wrong is over, with what it has nodes wait for.
fn settled(incidents: &[Incident], unit: u64) -> u64 {
    let any = |of: &[Trouble]| incidents.iter().any(|i| of.contains(&i.trouble));
    let last = incidents.iter().map(|i| i.at + i.lasts).max().unwrap_or_default();
    // Each failure doubles it.
    let failures = incidents.iter().filter(|i| Trouble::SLOW.contains(&i.trouble)).count();
    let hold_off = ((1 << failures) - 1) * HOLD_OFF;
    let reloads = if any(&Trouble::RELOADS) { LONGEST_RELOAD } else { 0 };
    // At short intervals it would be too many adverts for nothing; the audit knows.
    let touched = any(&[Trouble::TunnelUp, Trouble::TunnelDown]);
    let stray = if unit >= 50 * MILLI && touched { STRAY } else { 0 };
    last.max(8 * unit) + hold_off.max(stray) + reloads
}

/// A node that was deaf stays out for a while, for twice as long each time, and does not preempt at once.
fn hearing_again(incidents: &[Incident]) -> u64 {
    let deaf = incidents.iter().filter(|i| Trouble::DEAFENING.contains(&i.trouble)).count();
    ((1 << deaf) + 3) * 1_000 * MILLI
}

fn nodes(random: &mut Random) -> Vec<Settings> {
    let interval = random.pick(&[1, 2, 5, 10, 10, 10, 20, 100]);
    let alike = !random.one_in(4);
    let count = random.pick(&[2, 2, 2, 3, 3, 4, MOST_NODES]);
    (0..count)
        .map(|_| {
            let times = if alike { 1 } else { random.pick(&[1, 1, 2, 3]) };
            settings(random, times * interval)
        })
        .collect()
}

fn settings(random: &mut Random, interval: u16) -> Settings {
    let interval = Centiseconds::new(interval).unwrap();
    let priority = draw_priority(random);
    let preempt_delay = if random.one_in(4) { 5 * interval.duration() } else { Duration::ZERO };
    let preempt = !random.one_in(4);
    let (peers, detect, authentication, health) = (0, None, None, None);
    Settings { priority, interval, preempt, preempt_delay, peers, detect, authentication, health }
}

pub fn draw_priority(random: &mut Random) -> Priority {
    Priority::new(random.pick(&[1, 99, 100, 100, 101, 200, 254])).unwrap()
}

fn drifts(random: &mut Random, nodes: usize) -> Vec<i64> {
    let mut drift = || i64::try_from(random.between(0, 2 * MOST_DRIFT + 1)).unwrap() - MOST_DRIFT as i64;
    (0..nodes).map(|_| drift()).collect()
}

/// All probe or none do, sometimes all but one, mostly all alike; most so slowly that there are not too many probes until `end`.
fn add_probes(random: &mut Random, nodes: &mut [Settings], end: u64) {
    if !random.one_in(3) {
        return;
    }
    let most = if random.one_in(10) { 600 } else { 100 };
    let draw = |random: &mut Random| {
        let interval = random.pick(&[1, 2, 3, 10, 10, 20, 50, 100]) * MILLI;
        let interval = Duration::from_nanos(interval.max(end / most).min(100 * MILLI));
        Detect { interval, multiplier: random.between(2, 7) as u8 }
    };
    let (alike, common) = (!random.one_in(4), draw(random));
    let without = random.one_in(8).then(|| random.below(nodes.len()));
    for node in nodes.iter_mut() {
        node.detect = Some(if alike { common } else { draw(random) });
    }
    let peers = nodes.len() - 1;
    without.into_iter().for_each(|n| nodes[n].detect = None);
    nodes.iter_mut().filter(|n| n.detect.is_some()).for_each(|n| n.peers = peers);
}

fn incidents(random: &mut Random, nodes: usize, unit: u64) -> Vec<Incident> {
    let slow = unit >= 50 * MILLI && random.one_in(8);
    let count = random.pick(&[1, 1, 2, 2, 3, 4, 6]);
    let reloads = unit >= 50 * MILLI && random.one_in(4);
    let trouble = |random: &mut Random| {
        if slow && random.one_in(2) {
            random.pick(&Trouble::SLOW)
        } else if reloads && random.one_in(2) {
            random.pick(&[Trouble::Reload, Trouble::Reload, Trouble::ReloadDies])
        } else {
            random.pick(&Trouble::QUICK)
        }
    };
    let mut troubles: Vec<_> = (0..count).map(|_| trouble(random)).collect();
    let mut failures = 0;
    troubles.retain(|trouble| {
        failures += u32::from(Trouble::SLOW.contains(trouble));
        failures <= MOST_FAILURES || !Trouble::SLOW.contains(trouble)
    });
    troubles.into_iter().map(|trouble| incident(random, trouble, nodes, unit)).collect()
}

/// Two machines stand still, the second of them for longer: what the first one answers when it goes on waits until it may mean nothing
/// any more.
fn pauses(random: &mut Random, nodes: &[Settings], unit: u64) -> Option<[Incident; 2]> {
    let detects: Option<Vec<Detect>> = nodes.iter().map(|n| n.detect).collect();
    let detects = detects.filter(|_| random.one_in(16))?;
    let mut first = incident(random, Trouble::PauseVm, nodes.len(), unit);
    first.at = random.between(8 * unit, 20 * unit);
    first.lasts = random.between(unit, 8 * unit);
    let Detect { interval, multiplier } = detects[first.other];
    // Later it would have found the first one dead.
    let later = random.between(0, nanos(interval) * u64::from(multiplier)).min(first.lasts);
    let lasts = first.lasts - later + random.between(2 * unit, 12 * unit);
    let second = Incident { node: first.other, other: first.node, at: first.at + later, lasts, ..first };
    Some([first, second])
}

fn incident(random: &mut Random, trouble: Trouble, nodes: usize, unit: u64) -> Incident {
    let node = random.below(nodes);
    Incident {
        trouble,
        node,
        other: (node + 1 + random.below(nodes - 1)) % nodes,
        side: random.next() as u8,
        at: random.between(4 * unit, 40 * unit),
        lasts: match random.below(3) {
            0 => random.between(unit / 10, 2 * unit),
            1 => random.between(2 * unit, 8 * unit),
            _ => random.between(8 * unit, 20 * unit),
        },
    }
}
