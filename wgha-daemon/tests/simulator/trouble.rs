//! What goes wrong in a schedule, and how a schedule is drawn.

use std::time::Duration;

use wgha::proto::{Authentication, Detect, Settings};
use wgha_common::{Centiseconds, Priority};

use crate::{
    group::MILLI,
    random::Random,
    world::{MAX_DELAY, MAX_LATENCY},
};

/// Something that goes wrong, for a while or once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The machine loses power.
    Crash,
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Stop,
    /// `wgha reload`.
    Reload,
    /// The same, and the successor may take longer than it is waited for.
    ReloadDies,
    /// SIGSTOP: the daemon stands still, the kernel half goes on.
    Freeze,
    /// SIGSTOP between two actions of the next batch.
    FreezeInBatch,
    /// The virtual machine stands still; its clock goes on.
    PauseVm,
    /// The virtual machine stands still, and its clock with it.
    PauseVmAndClock,
    /// The switch falls into two parts.
    Partition,
    /// One in three frames is lost.
    Loss,
    /// This node hears nobody, but is heard.
    Deaf,
    /// Its firewall drops probes and answers to it.
    Filter,
    /// Its adverts are lost on the way, all of them.
    Unheard,
    /// No carrier.
    Carrier,
    /// Somebody sets the tunnel down, and up again.
    TunnelDown,
    /// Somebody sets the tunnel up.
    TunnelUp,
    /// Somebody deletes the tunnel, and makes it anew.
    TunnelGone,
    /// Somebody removes the VIP.
    VipRemoved,
    /// The next effect fails.
    EffectFails,
    /// A lease cannot be written.
    MapFails,
    /// Adverts cannot be sent.
    AdvertsFail,
    /// The ring has no room for the next events.
    RingFull,
}

impl Trouble {
    const QUICK: [Self; 17] = [
        Self::Crash,
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::FreezeInBatch,
        Self::PauseVm,
        Self::PauseVmAndClock,
        Self::Partition,
        Self::Loss,
        Self::Deaf,
        Self::Filter,
        Self::Unheard,
        Self::Carrier,
        Self::TunnelDown,
        Self::TunnelUp,
        Self::VipRemoved,
        Self::RingFull,
    ];
    /// Those after which others wait for longer than usual.
    const RELOADS: [Self; 2] = [Self::Reload, Self::ReloadDies];
    /// Those that may keep a node away for the hold-off of 10 s.
    const SLOW: [Self; 4] = [Self::EffectFails, Self::MapFails, Self::AdvertsFail, Self::TunnelGone];
}

/// A trouble with its time and place.
#[derive(Debug, Clone, Copy)]
pub struct Incident {
    pub trouble: Trouble,
    pub node: usize,
    pub at: u64,
    pub lasts: u64,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub nodes: Vec<Settings>,
    pub interval: Centiseconds,
    pub starts: Vec<u64>,
    /// Which node never finds the others through the peer channel.
    pub stranger: Option<usize>,
    pub incidents: Vec<Incident>,
    /// When it is over; nothing has gone wrong for long enough before.
    pub end: u64,
}

/// A tunnel that somebody has set up on a node that does not serve is lowered by then.
pub const STRAY: u64 = 5_100 * MILLI;

/// 2 s until it is begun, 7 s for the successor, and 8 s in which those wait that have been told to.
const LONGEST_RELOAD: u64 = 17_000 * MILLI;

impl Schedule {
    pub fn draw(random: &mut Random) -> Self {
        let interval = Centiseconds::new(random.pick(&[1, 2, 5, 10, 10, 10, 20, 100])).unwrap();
        let unit = u64::try_from(interval.duration().as_nanos()).unwrap();
        let mut nodes: Vec<_> =
            (0..random.pick(&[2, 2, 2, 3, 3, 4, 5])).map(|_| settings(random, interval)).collect();
        let stranger = random.one_in(8).then(|| random.below(nodes.len()));
        let starts = nodes.iter().map(|_| random.between(0, 6 * unit)).collect();
        let incidents = incidents(random, nodes.len(), unit);
        let last = incidents.iter().map(|i| i.at + i.lasts).max().unwrap_or_default();
        let hold_off =
            if incidents.iter().any(|i| Trouble::SLOW.contains(&i.trouble)) { 10_100 * MILLI } else { 0 };
        let reloads =
            if incidents.iter().any(|i| Trouble::RELOADS.contains(&i.trouble)) { LONGEST_RELOAD } else { 0 };
        // At short intervals it would be too many adverts for nothing; the audit knows.
        let touched = incidents.iter().any(|i| matches!(i.trouble, Trouble::TunnelUp | Trouble::TunnelDown));
        let stray = if unit >= 50 * MILLI && touched { STRAY } else { 0 };
        let delay = nodes.iter().map(|n| n.preempt_delay.as_nanos() as u64).max().unwrap_or_default();
        let end = last.max(8 * unit) + hold_off.max(stray) + reloads + delay + 20 * unit + 500 * MILLI;
        add_probes(random, &mut nodes, end);
        // Who never meets the others cannot prove anything to them.
        if stranger.is_none() && nodes.iter().all(|n| n.detect.is_some()) && random.one_in(2) {
            let peers = nodes.len() - 1;
            nodes.iter_mut().for_each(|n| n.authentication = Some(Authentication { peers }));
        }
        Self { nodes, interval, starts, stranger, incidents, end }
    }

    fn shortest_probing(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|n| n.detect).map(|d| d.interval.as_nanos() as u64).min()
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

fn settings(random: &mut Random, interval: Centiseconds) -> Settings {
    let priority = Priority::new(random.pick(&[1, 99, 100, 100, 101, 200, 254])).unwrap();
    let preempt_delay = if random.one_in(4) { 5 * interval.duration() } else { Duration::ZERO };
    Settings {
        priority,
        interval,
        preempt: !random.one_in(4),
        preempt_delay,
        detect: None,
        authentication: None,
        health: None,
    }
}

/// All probe or none do, mostly all alike; most so slowly that there are not too many probes until `end`.
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
    for node in nodes {
        node.detect = Some(if alike { common } else { draw(random) });
    }
}

fn incidents(random: &mut Random, nodes: usize, unit: u64) -> Vec<Incident> {
    let slow = unit >= 50 * MILLI && random.one_in(8);
    let count = random.pick(&[1, 1, 2, 2, 3, 4, 6]);
    let reloads = unit >= 50 * MILLI && random.one_in(4);
    let incident = |random: &mut Random| Incident {
        trouble: if slow && random.one_in(2) {
            random.pick(&Trouble::SLOW)
        } else if reloads && random.one_in(2) {
            random.pick(&[Trouble::Reload, Trouble::Reload, Trouble::ReloadDies])
        } else {
            random.pick(&Trouble::QUICK)
        },
        node: random.below(nodes),
        at: random.between(4 * unit, 40 * unit),
        lasts: match random.below(3) {
            0 => random.between(unit / 10, 2 * unit),
            1 => random.between(2 * unit, 8 * unit),
            _ => random.between(8 * unit, 20 * unit),
        },
    };
    (0..count).map(|_| incident(random)).collect()
}
