//! The kernel half, loaded but attached to nothing: packets go through it by BPF_PROG_TEST_RUN.

use std::{cmp::Ordering, collections::BTreeMap};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{Program, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use wgha_common::{
    Address,
    abi::{
        AdvertSeen, AdvertStamp, Answer, Arrivals, Counter, Direction, Event, EventKind, Lease, MAX_PEERS,
        Outstanding, Peer, Revoked, Rung, SOURCE_SETS, SOURCE_WAYS, Sbfd, Traffic, UplinkConfig,
        traffic_index,
    },
    wire::wireguard::MessageType,
};
pub use wgha_tests::cost::Hook;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Passes,
    Drops,
    /// It leaves where it came in.
    Returns,
}

impl Then {
    fn of(hook: Hook, action: u32) -> Option<Self> {
        let (passes, drops, returns) = match hook {
            Hook::Xdp => (2, 1, 3),
            Hook::Ingress | Hook::Egress => (u32::MAX, 2, 7),
        };
        match action {
            a if a == passes => Some(Self::Passes),
            a if a == drops => Some(Self::Drops),
            a if a == returns => Some(Self::Returns),
            _ => None,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub then: Then,
    pub out: Vec<u8>,
    pub nanos_each: u128,
}

/// The receiver's index in every message, and its set in `SOURCES` that of every other one in a row.
pub const SESSION: u32 = 0xa5a5_a5a5;

pub struct Kernel {
    ebpf: Ebpf,
    uplink: Array<MapData, UplinkConfig>,
    vips: HashMap<MapData, Address, u8>,
    lease: Array<MapData, Lease>,
    advert: Array<MapData, AdvertStamp>,
    revoked: Array<MapData, Revoked>,
    routers: HashMap<MapData, Address, AdvertSeen>,
    sbfd: Array<MapData, Sbfd>,
    peers: HashMap<MapData, Address, Peer>,
    advertisers: HashMap<MapData, Address, u32>,
    probes: Array<MapData, Outstanding>,
    answers: Array<MapData, Answer>,
    gateways: HashMap<MapData, Address, u8>,
    arrivals: Array<MapData, Arrivals>,
    sources: Array<MapData, [u64; SOURCE_WAYS]>,
    events: RingBuf<MapData>,
    rung: Array<MapData, Rung>,
    counters: PerCpuArray<MapData, u64>,
    traffic: PerCpuArray<MapData, Traffic>,
}

/// The object that `cargo xtask build-ebpf` makes.
pub fn object() -> Vec<u8> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/wgha-ebpf");
    let path = std::env::var("WGHA_EBPF_OBJECT").unwrap_or_else(|_| usual.to_owned());
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e} (cargo xtask build-ebpf makes it)"))
}

macro_rules! take {
    ($ebpf:ident, $name:literal) => {
        $ebpf.take_map($name).unwrap_or_else(|| panic!("no map {}", $name)).try_into().unwrap()
    };
}

impl Kernel {
    pub fn load() -> Self {
        let mut ebpf = EbpfLoader::new().load(&object()).unwrap();
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                other => panic!("{name} is {other:?}"),
            };
            loaded.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        }
        Self {
            uplink: take!(ebpf, "UPLINK"),
            vips: take!(ebpf, "VIPS"),
            lease: take!(ebpf, "LEASE"),
            advert: take!(ebpf, "ADVERT"),
            revoked: take!(ebpf, "REVOKED"),
            routers: take!(ebpf, "ROUTERS"),
            sbfd: take!(ebpf, "SBFD"),
            peers: take!(ebpf, "PEERS"),
            advertisers: take!(ebpf, "ADVERTISERS"),
            probes: take!(ebpf, "PROBES"),
            answers: take!(ebpf, "ANSWERS"),
            gateways: take!(ebpf, "GATEWAYS"),
            arrivals: take!(ebpf, "ARRIVALS"),
            sources: take!(ebpf, "SOURCES"),
            events: take!(ebpf, "EVENTS"),
            rung: take!(ebpf, "RUNG"),
            counters: take!(ebpf, "COUNTERS"),
            traffic: take!(ebpf, "TRAFFIC"),
            ebpf,
        }
    }

    /// Instructions of every program: as the kernel runs them, and as the verifier walked through them.
    pub fn sizes(&self) -> BTreeMap<String, (u32, u32)> {
        let size = |program: &Program| {
            let info = program.info().unwrap();
            (info.size_translated().unwrap() / 8, info.verified_instruction_count().unwrap())
        };
        self.ebpf.programs().map(|(name, program)| (name.to_owned(), size(program))).collect()
    }

    /// As it was after loading, but for what the daemon would write.
    pub fn reset(&mut self, uplink: UplinkConfig, vips: &[Address], stamp: AdvertStamp) {
        self.configure(uplink, vips, stamp);
        self.set_lease(Lease::default());
        self.revoked.set(0, Revoked::default(), 0).unwrap();
        for kind in EventKind::ALL {
            self.rung.set(kind as u32, Rung::default(), 0).unwrap();
        }
        self.forget_routers();
        self.set_sbfd(Sbfd::default(), &[]);
        // The other sets are nobody's: no row has a session there.
        self.forget_sources(SESSION & (SOURCE_SETS - 1));
        self.forget_answers();
        self.forget();
    }

    /// What the daemon would write at its start.
    pub fn configure(&mut self, uplink: UplinkConfig, vips: &[Address], stamp: AdvertStamp) {
        self.uplink.set(0, uplink, 0).unwrap();
        self.advert.set(0, stamp, 0).unwrap();
        for vip in self.vips.keys().collect::<Result<Vec<_>, _>>().unwrap() {
            self.vips.remove(&vip).unwrap();
        }
        for vip in vips {
            self.vips.insert(vip, 64, 0).unwrap();
        }
    }

    /// No router was ever heard.
    pub fn forget_routers(&mut self) {
        for router in self.routers().into_keys() {
            self.routers.remove(&router).unwrap();
        }
    }

    /// No peer has ever answered.
    pub fn forget_answers(&mut self) {
        for peer in 0..MAX_PEERS {
            self.answers.set(peer, Answer::default(), 0).unwrap();
        }
    }

    /// No session of this set was seen anywhere.
    pub fn forget_sources(&mut self, set: u32) {
        self.sources.set(set, [0; SOURCE_WAYS], 0).unwrap();
    }

    /// What the reflector and the initiator go by; each peer has a number, and probes under way.
    pub fn set_sbfd(&mut self, sbfd: Sbfd, peers: &[(Address, Peer, Outstanding)]) {
        self.sbfd.set(0, sbfd, 0).unwrap();
        for source in self.advertisers.keys().collect::<Result<Vec<_>, _>>().unwrap() {
            self.advertisers.remove(&source).unwrap();
        }
        for peer in self.peers.keys().collect::<Result<Vec<_>, _>>().unwrap() {
            self.peers.remove(&peer).unwrap();
        }
        for peer in 0..MAX_PEERS {
            self.probes.set(peer, Outstanding::default(), 0).unwrap();
        }
        for (address, peer, outstanding) in peers {
            self.peers.insert(address, peer, 0).unwrap();
            self.probes.set(peer.number, outstanding, 0).unwrap();
            if peer.is_introduced() {
                self.advertisers.insert(peer.source, peer.number, 0).unwrap();
            }
        }
    }

    /// The next hops of our default routes.
    pub fn set_gateways(&mut self, gateways: &[Address]) {
        for gateway in self.gateways.keys().collect::<Result<Vec<_>, _>>().unwrap() {
            self.gateways.remove(&gateway).unwrap();
        }
        for gateway in gateways {
            self.gateways.insert(gateway, 0, 0).unwrap();
        }
    }

    /// What has come in.
    pub fn peek_arrivals(&self) -> Arrivals {
        self.arrivals.get(&0, 0).unwrap()
    }

    /// What has come in since it was last asked.
    pub fn arrivals(&mut self) -> Arrivals {
        let arrivals = self.arrivals.get(&0, 0).unwrap();
        self.arrivals.set(0, Arrivals::default(), 0).unwrap();
        arrivals
    }

    /// The answers of every peer.
    pub fn answers(&self) -> Vec<Answer> {
        (0..MAX_PEERS).map(|peer| self.answers.get(&peer, 0).unwrap()).collect()
    }

    /// Zeroes what is counted and drains the ring.
    pub fn forget(&mut self) {
        let cpus = aya::util::nr_cpus().unwrap();
        for counter in Counter::ALL {
            let zeros = PerCpuValues::try_from(vec![0; cpus]).unwrap();
            self.counters.set(*counter as u32, zeros, 0).unwrap();
        }
        for index in 0..self.traffic.len() {
            let zeros = PerCpuValues::try_from(vec![Traffic::default(); cpus]).unwrap();
            self.traffic.set(index, zeros, 0).unwrap();
        }
        self.events();
    }

    pub fn set_lease(&mut self, lease: Lease) {
        self.lease.set(0, lease, 0).unwrap();
    }

    pub fn lease(&self) -> Lease {
        self.lease.get(&0, 0).unwrap()
    }

    pub fn set_rung(&mut self, kind: EventKind, rung: Rung) {
        self.rung.set(kind as u32, rung, 0).unwrap();
    }

    pub fn rung(&self, kind: EventKind) -> Rung {
        self.rung.get(&(kind as u32), 0).unwrap()
    }

    pub fn set_revoked(&mut self, revoked: Revoked) {
        self.revoked.set(0, revoked, 0).unwrap();
    }

    pub fn revoked(&self) -> Revoked {
        self.revoked.get(&0, 0).unwrap()
    }

    pub fn routers(&self) -> std::collections::HashMap<Address, AdvertSeen> {
        self.routers.iter().collect::<Result<_, _>>().unwrap()
    }

    /// The counters that are not zero.
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        let sum = |counter: Counter| self.counters.get(&(counter as u32), 0).unwrap().iter().sum();
        Counter::ALL
            .iter()
            .map(|counter| (*counter, sum(*counter)))
            .filter(|(_, count)| *count != 0)
            .collect()
    }

    /// The traffic that is not zero.
    pub fn traffic(&self) -> Vec<(Direction, MessageType, Traffic)> {
        let mut seen = Vec::new();
        for direction in Direction::ALL {
            for message in MessageType::ALL {
                let values = self.traffic.get(&traffic_index(direction, message), 0).unwrap();
                let sum = values.iter().fold(Traffic::default(), |sum, cpu| together(&sum, cpu));
                if sum.packets != 0 {
                    seen.push((direction, message, sum));
                }
            }
        }
        seen
    }

    /// What has rung since it was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(record) = self.events.next() {
            assert_eq!(record.len(), size_of::<Event>());
            events.push(parse_event(&record));
        }
        events
    }

    /// Gives a program a name in a bpffs.
    pub fn pin(&mut self, hook: Hook, path: &std::path::Path) {
        let program = self.ebpf.program_mut(hook.program()).unwrap();
        match hook {
            Hook::Xdp => <&mut Xdp>::try_from(program).unwrap().pin(path).unwrap(),
            _ => <&mut SchedClassifier>::try_from(program).unwrap().pin(path).unwrap(),
        }
    }

    pub fn run(&self, hook: Hook, frame: &[u8]) -> Ran {
        self.run_with(hook, frame, None, 1)
    }

    /// `context`: the `__sk_buff` to begin with.
    pub fn run_with(&self, hook: Hook, frame: &[u8], context: Option<&[u8]>, repeat: u32) -> Ran {
        let mut out = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = context;
        options.repeat = repeat;
        let program = self.ebpf.program(hook.program()).unwrap();
        let result = match hook {
            Hook::Xdp => <&Xdp>::try_from(program).unwrap().test_run(options),
            _ => <&SchedClassifier>::try_from(program).unwrap().test_run(options),
        };
        let result = result.unwrap_or_else(|e| {
            panic!("{hook:?}: {e:?}, {} bytes: {:02x?}", frame.len(), &frame[..frame.len().min(120)])
        });
        out.truncate(result.data_size_out as usize);
        let then = Then::of(hook, result.return_value);
        let then = then.unwrap_or_else(|| panic!("{hook:?} returned {}", result.return_value));
        Ran { then, out, nanos_each: result.duration.as_nanos() }
    }
}

/// Of two CPUs: the first packet of the newer epoch counts.
fn together(a: &Traffic, b: &Traffic) -> Traffic {
    let (packets, bytes) = (a.packets + b.packets, a.bytes + b.bytes);
    let (epoch, first) = match a.epoch.cmp(&b.epoch) {
        Ordering::Less => (b.epoch, b.first),
        Ordering::Equal => (a.epoch, a.first.min(b.first)),
        Ordering::Greater => (a.epoch, a.first),
    };
    Traffic { packets, bytes, epoch, first }
}

/// The fields of an [`Event`], at their offsets.
fn parse_event(record: &[u8]) -> Event {
    let (at, rest) = record.split_first_chunk().unwrap();
    let (kind, rest) = rest.split_first_chunk().unwrap();
    let (counter, rest) = rest.split_first_chunk().unwrap();
    let (source, rest) = rest.split_first_chunk().unwrap();
    let (interval, rest) = rest.split_first_chunk().unwrap();
    Event {
        at: u64::from_ne_bytes(*at),
        kind: u32::from_ne_bytes(*kind),
        counter: u32::from_ne_bytes(*counter),
        source: Address(*source),
        interval: u16::from_ne_bytes(*interval),
        priority: rest[0],
        checksum: rest[1],
        port: u16::from_ne_bytes([rest[2], rest[3]]),
        reserved: 0,
    }
}

/// `CLOCK_BOOTTIME`, nanoseconds.
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library's Instant does not tell its nanoseconds")]
    // SAFETY: it fills the struct that it is given.
    let error = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    assert_eq!(error, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
