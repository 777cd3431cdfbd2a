//! One node: its kernel half, its daemon with a driver that does what the real one does, its clock.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use wgha::proto::{
    Action, Inherited, Input, Introduced, MAINTENANCE, Machine, PeerId, Settings, State, UplinkState,
};
use wgha_common::{
    Priority, Timestamp,
    abi::{Lease, Role},
};

use crate::{
    bounds::MILLI,
    group::{Group, Worker},
    kernel::{Kernel, Packet, address},
    network::GATEWAY,
};

const MILLION: i64 = 1_000_000;
/// No schedule lasts so long, and times a drift it still fits: 2 h.
const FAR: u64 = 7_200_000 * MILLI;

/// A machine with its clock.
#[derive(Debug)]
pub struct Node {
    pub me: usize,
    pub settings: Settings,
    pub kernel: Kernel,
    pub group: Group,
    pub daemon: Option<Daemon>,
    /// Counts daemons: what was meant for a dead one does not reach the next.
    pub incarnation: u32,
    pub carrier: bool,
    pub powered: bool,
    /// The virtual machine stands still: until when its frames wait.
    pub paused: bool,
    pub held_frames: Vec<Packet>,
    /// Its clock's lead on ours.
    boot: u64,
    /// By how many millionths it is too fast.
    drift: i64,
    /// How long its clock has stood still, and since when it does.
    stood: u64,
    stands_since: Option<u64>,
    pub adverts_fail: bool,
    /// When somebody has set its tunnel up or down last.
    pub touched: u64,
    pub maps_fail: u32,
    /// Since when a successor of its daemon is awaited.
    pub handed_over: Option<u64>,
    /// The successor takes so long, and so its lease may lapse.
    pub successor_takes: u64,
    /// What the successor's configuration says.
    pub next_priority: Option<Priority>,
    /// How many troubles keep its daemon from running in time, and for how long at most.
    pub starved: u32,
    pub starves_for: u64,
    /// It has a gateway to ask.
    pub witness: bool,
    /// Since when its kernel half hears.
    pub hears_since: u64,
}

/// A process.
#[derive(Debug)]
pub struct Daemon {
    pub machine: Machine,
    /// By its own clock.
    pub began: Timestamp,
    pub worker: Worker,
    pub inbox: VecDeque<Input>,
    /// What the last actions led to at once.
    pub follow: VecDeque<Input>,
    pub frozen: bool,
    /// Actions until it freezes.
    pub freeze_in: Option<(u32, u64)>,
    pub wakes_at: Option<u64>,
    /// An effect has ended while it stood still.
    pub effect_waits: bool,
    /// The time given with the last input: decisions are of that time, even if carried out later.
    pub handled_at: Timestamp,
    /// What the daemon last wrote, whether or not the kernel goes by it.
    pub lease: Lease,
    pub last_told: u64,
    /// With which discriminator each peer has introduced itself.
    pub introduced: Vec<Option<u32>>,
    /// It was told last that its WireGuard knows where the clients are.
    pub knows_clients: bool,
    /// How long its lease may last, if it has told so since it runs.
    pub told_lease: Option<Duration>,
    /// Whether it reaches the gateway, by its own word.
    pub reaches: Option<bool>,
}

impl Node {
    pub fn new(me: usize, nodes: usize, settings: Settings, boot: u64, drift: i64) -> Self {
        Self {
            me,
            settings,
            kernel: Kernel::new(me, nodes, settings.interval),
            group: Group::FRESH,
            daemon: None,
            incarnation: 0,
            carrier: true,
            powered: true,
            paused: false,
            held_frames: Vec::new(),
            boot,
            drift,
            stood: 0,
            stands_since: None,
            adverts_fail: false,
            touched: 0,
            maps_fail: 0,
            handed_over: None,
            successor_takes: 0,
            next_priority: None,
            witness: false,
            starved: 0,
            starves_for: 5 * u64::from(settings.interval.number()) * 10 * MILLI,
            hears_since: 0,
        }
    }

    /// This node's CLOCK_BOOTTIME when ours says `now`.
    pub fn clock(&self, now: u64) -> Timestamp {
        let ran = self.stands_since.unwrap_or(now) - self.stood;
        let gained = ran as i64 * self.drift / MILLION;
        Timestamp::from_nanos((self.boot + ran).wrapping_add_signed(gained))
    }

    /// When ours says what its clock will say at `at`, if nothing stops it.
    pub fn world_time(&self, at: Timestamp) -> u64 {
        let runs = at.as_nanos().saturating_sub(self.boot).min(FAR);
        let gained = runs as i64 * self.drift / (MILLION + self.drift);
        self.stood + runs.wrapping_add_signed(-gained)
    }

    pub fn stop_clock(&mut self, now: u64) {
        self.stands_since.get_or_insert(now);
    }

    /// Whether its clock stands still: then nobody can know what its lease is worth.
    pub const fn clock_stands(&self) -> bool {
        self.stands_since.is_some()
    }

    /// Whether it had stood still.
    pub fn resume_clock(&mut self, now: u64) -> bool {
        let since = self.stands_since.take();
        self.stood += since.map_or(0, |since| now - since);
        since.is_some()
    }

    /// Whether packets of the VIP pass.
    pub fn serves(&self, now: u64) -> bool {
        self.powered && !self.paused && self.kernel.serves(self.clock(now))
    }

    /// Whether its daemon runs.
    pub fn is_awake(&self) -> bool {
        self.powered && !self.paused && self.daemon.as_ref().is_some_and(|d| !d.frozen)
    }

    /// Whether its daemon runs when it has to.
    pub fn is_prompt(&self) -> bool {
        self.is_awake() && self.starved == 0
    }

    /// Whether it could serve, as far as can be seen from outside.
    pub fn is_able(&self) -> bool {
        let stands =
            |d: &Daemon| matches!(d.machine.state(), State::Backup | State::Claiming | State::Active);
        self.is_prompt() && self.carrier && self.group.present && self.daemon.as_ref().is_some_and(stands)
    }

    pub fn uplink(&self) -> Input {
        let source: Option<IpAddr> = self.carrier.then(|| address(self.me));
        Input::UplinkChanged(UplinkState { present: true, running: self.carrier, source })
    }

    /// What its daemon says of itself through the peer channel.
    pub fn introduction(&self) -> Option<Introduced> {
        let detect = self.settings.detect?;
        Some(Introduced {
            peer: PeerId(self.me as u8),
            source: address(self.me),
            priority: self.settings.priority.number(),
            serving: self.daemon.as_ref().is_some_and(|d| d.machine.state() == State::Active),
            lease: self.daemon.as_ref().and_then(|d| d.told_lease).unwrap_or(detect.lease()),
            required_min_rx: detect.interval,
            fit: true,
        })
    }

    /// A new process, which finds the maps, the VIP and the link as they are, and goes on with them or closes the fence.
    pub fn start_daemon(&mut self, now: u64) {
        self.incarnation += 1;
        self.handed_over = None;
        self.settings.priority = self.next_priority.take().unwrap_or(self.settings.priority);
        let inherited = self.inherited(now);
        if inherited.until.is_none() {
            self.kernel.lease = Lease::new(Role::Backup, inherited.epoch, Timestamp::ZERO);
            self.kernel.stamp.0 = 0;
        }
        let goes_on = inherited.until.is_some();
        let mut inbox = VecDeque::from([self.uplink(), self.group.tunnel(), Input::Started(inherited)]);
        inbox.push_back(self.kernel.look(true));
        if self.witness {
            inbox.push_back(Input::GatewaysChanged(vec![address(GATEWAY)]));
        }
        self.daemon = Some(Daemon {
            machine: Machine::new(self.settings),
            began: self.clock(now),
            worker: Worker::default(),
            inbox,
            follow: VecDeque::new(),
            frozen: false,
            freeze_in: None,
            wakes_at: None,
            effect_waits: false,
            handled_at: Timestamp::ZERO,
            lease: self.kernel.lease,
            last_told: 0,
            introduced: vec![None; self.kernel.routers.len()],
            knows_clients: false,
            told_lease: goes_on.then_some(MAINTENANCE),
            reaches: None,
        });
        if !goes_on {
            self.kernel.introduced.fill(None);
        }
        self.kernel.authenticated = self.settings.authentication.is_some();
        let known = goes_on || inherited.ended;
        self.kernel.begin(if known { self.kernel.discriminator } else { self.incarnation });
    }

    fn inherited(&self, now: u64) -> Inherited {
        let Lease { epoch, until, .. } = self.kernel.lease;
        let intact = self.carrier && self.group.vip && self.group.present && self.group.up;
        let serves = self.kernel.serves(self.clock(now));
        let goes_on = intact && serves;
        let until = goes_on.then_some(Timestamp::from_nanos(until));
        Inherited { epoch, until, ended: serves && !goes_on }
    }

    pub fn power_on(&mut self, nodes: usize, now: u64) {
        self.powered = true;
        self.hears_since = now;
        self.kernel = Kernel::new(self.me, nodes, self.settings.interval);
        self.group = Group::FRESH;
        self.held_frames.clear();
        self.start_daemon(now);
    }
}

impl Daemon {
    /// The next thing to handle: what follows from the last, then the ring, then the rest, then what is due.
    pub fn next_input(&mut self, kernel: &mut Kernel, now: Timestamp) -> Option<Input> {
        let due = |m: &Machine| m.poll_timeout().is_some_and(|at| at <= now);
        let first = self.follow.pop_front().or_else(|| kernel.read_ring());
        first.or_else(|| self.inbox.pop_front()).or_else(|| due(&self.machine).then_some(Input::TimerFired))
    }

    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.handled_at = now;
        self.machine.handle(input, now);
    }

    /// The next action, unless the process is stopped before it. Says for how long then.
    pub fn next_action(&mut self) -> Result<Option<Action>, u64> {
        if let Some((actions, lasts)) = self.freeze_in {
            if actions == 0 {
                self.freeze_in = None;
                return Err(lasts);
            }
            self.freeze_in = Some((actions - 1, lasts));
        }
        Ok(self.machine.poll_action())
    }
}
