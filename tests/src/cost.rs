//! What a packet costs in the kernel half, above a program that only passes, by BPF_PROG_TEST_RUN.
//!
//! The kernel tells whole nanoseconds. So both programs run in turn, many times, and what is told is the median of the
//! differences between neighbours in time: what else the machine does falls on both.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap},
    programs::{Program, SchedClassifier, Xdp},
};
use wgha_common::{
    Address, Timestamp,
    abi::{AdvertStamp, Lease, Peer, Role, Sbfd, UplinkConfig},
};

use crate::{
    Plan,
    clock::monotonic_ns,
    packets::{Advert, Datagram, Ip, TCP, UDP, VRRP, wireguard},
    sys,
};

/// Where a program of the kernel half sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Ingress through XDP.
    Xdp,
    /// Ingress through TC.
    Ingress,
    /// Egress through TC.
    Egress,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::Ingress, Self::Egress];

    /// The program's name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Xdp => "wgha_xdp",
            Self::Ingress => "wgha_ingress",
            Self::Egress => "wgha_egress",
        }
    }
}

/// What one kind of packet costs at one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Where.
    pub hook: Hook,
    /// 4 or 6.
    pub ip_version: u8,
    /// Which packet.
    pub packet: &'static str,
    /// Nanoseconds of the program that only passes, median.
    pub passing: i64,
    /// Nanoseconds above it: of each round the difference. In order.
    pub above: Vec<i64>,
}

impl Cost {
    /// The median of the differences, nanoseconds.
    #[must_use]
    pub fn median(&self) -> i64 {
        self.above[self.above.len() / 2]
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How many differences.
    pub rounds: usize,
    /// How many runs in a row make one figure.
    pub repeat: u32,
}

/// Measures every kind of packet at every hook that has it, in both families. `object` is the kernel half.
///
/// # Errors
/// The object does not load, or the kernel's.
pub fn measure(object: &[u8], effort: Effort) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for net in [Net::ipv6(), Net::ipv4()] {
        let mut ebpf = load(object)?;
        net.configure(&mut ebpf)?;
        for hook in Hook::ALL {
            let (subject, passing) = (descriptor(&ebpf, hook)?, passing(hook)?);
            for (packet, frame, alone) in net.samples(hook) {
                let pair = [passing.as_raw_fd(), subject];
                let effort = if alone { effort.alone() } else { effort };
                let (passing, above) = differences(pair, &frame, effort)?;
                costs.push(Cost { hook, ip_version: net.ip_version(), packet, passing, above });
            }
        }
    }
    Ok(costs)
}

impl Effort {
    /// For a packet that is another one after the first run: each run on its own, and so many more.
    const fn alone(self) -> Self {
        Self { rounds: self.rounds * 100, repeat: 1 }
    }
}

/// The median of the first program, and by how much the second is above it, in order.
fn differences([passing, subject]: [RawFd; 2], frame: &[u8], effort: Effort) -> Result<(i64, Vec<i64>)> {
    let run = |program| sys::run_program(program, frame, effort.repeat).map(i64::from);
    let (mut base, mut above) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (of_passing, of_subject) = (run(passing)?, run(subject)?);
        base.push(of_passing);
        above.push(of_subject - of_passing);
    }
    base.sort_unstable();
    above.sort_unstable();
    Ok((base[base.len() / 2], above))
}

pub(crate) fn load(object: &[u8]) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(object)?;
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => anyhow::bail!("{name} is {other:?}"),
        }
        .with_context(|| format!("loading {name}"))?;
    }
    Ok(ebpf)
}

pub(crate) fn descriptor(ebpf: &Ebpf, hook: Hook) -> Result<RawFd> {
    let program = ebpf.program(hook.program()).context("the object lacks a program")?;
    Ok(match hook {
        Hook::Xdp => <&Xdp>::try_from(program)?.fd()?.as_fd().as_raw_fd(),
        _ => <&SchedClassifier>::try_from(program)?.fd()?.as_fd().as_raw_fd(),
    })
}

/// `r0 = <pass>; exit`, in the encoding of the kernel's `struct bpf_insn`.
pub(crate) fn passing(hook: Hook) -> Result<OwnedFd> {
    const MOVE_TO_R0: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const XDP_PASS: u32 = 2;
    const TC_ACT_UNSPEC: u32 = u32::MAX;
    let (kind, verdict) = match hook {
        Hook::Xdp => (BPF_PROG_TYPE_XDP, XDP_PASS),
        Hook::Ingress | Hook::Egress => (BPF_PROG_TYPE_SCHED_CLS, TC_ACT_UNSPEC),
    };
    sys::load_program(kind, &[MOVE_TO_R0 | u64::from(verdict) << 32, EXIT])
        .context("loading two instructions")
}

const VRID: u8 = 52;
const PRIORITY: u8 = 100;
const INTERVAL_CS: u16 = 10;
const WIREGUARD_PORT: u16 = 51_800;
const CLIENT_PORT: u16 = 40_000;
const SBFD_PORT: u16 = 7784;
const REFLECTOR: u32 = 0x5bfd_0001;
/// Longer than any measurement.
const HOUR: Duration = Duration::from_secs(3600);

/// The addresses of one family.
pub(crate) struct Net {
    own: IpAddr,
    peer: IpAddr,
    vip: IpAddr,
    client: IpAddr,
    group: IpAddr,
}

/// A packet's name, its frame, and whether each run must be on its own.
type Sample = (&'static str, Vec<u8>, bool);

impl Net {
    /// Server A's.
    pub(crate) fn of(plan: &Plan) -> Self {
        let Plan { a, b, vip, client, .. } = *plan;
        let group = if plan.is_ipv6() { Self::ipv6().group } else { Self::ipv4().group };
        Self { own: a, peer: b, vip, client, group }
    }

    fn ipv6() -> Self {
        let own = |host| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host).into();
        Self {
            own: own(3),
            peer: own(4),
            vip: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2).into(),
            client: Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9).into(),
            group: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into(),
        }
    }

    fn ipv4() -> Self {
        let on_link = |host| Ipv4Addr::new(192, 0, 2, host).into();
        Self {
            own: on_link(3),
            peer: on_link(4),
            vip: on_link(2),
            client: Ipv4Addr::new(198, 51, 100, 9).into(),
            group: Ipv4Addr::new(224, 0, 0, 18).into(),
        }
    }

    fn ip_version(&self) -> u8 {
        if self.own.is_ipv4() { 4 } else { 6 }
    }

    fn samples(&self, hook: Hook) -> Vec<Sample> {
        let (from, to) = if hook == Hook::Egress { (self.vip, self.client) } else { (self.client, self.vip) };
        let tcp = Ip { hop_limit: 60, ..Ip::new(from, to, TCP) }.frame(&[0; 20]);
        let wireguard = self.wireguard(hook).frame(&Ip { hop_limit: 60, ..Ip::new(from, to, UDP) });
        let sender = if hook == Hook::Egress { self.own } else { self.peer };
        let advert = Advert::new(VRID, PRIORITY - 1, INTERVAL_CS, self.vip);
        let mut samples = vec![
            ("TCP", tcp, false),
            ("WireGuard transport", wireguard, false),
            ("advert", advert.frame(&Ip::new(sender, self.group, VRRP)), false),
        ];
        if hook != Hook::Egress {
            samples.push(("probe, answered", self.question(), true));
        }
        samples
    }

    fn wireguard(&self, hook: Hook) -> Datagram {
        let (from, to) = match hook {
            Hook::Egress => (WIREGUARD_PORT, CLIENT_PORT),
            Hook::Xdp | Hook::Ingress => (CLIENT_PORT, WIREGUARD_PORT),
        };
        Datagram::new(from, to, wireguard(4, 1400))
    }

    /// A control packet with D set, which our reflector answers.
    fn question(&self) -> Vec<u8> {
        let mut control = vec![0x20, 0xc2, 3, 24];
        for word in [0x0102_0304, REFLECTOR, 10_000, 0, 0] {
            control.extend(word.to_be_bytes());
        }
        Datagram::new(CLIENT_PORT, SBFD_PORT, control).frame(&Ip::new(self.peer, self.own, UDP))
    }

    /// As on an Active that is probed.
    pub(crate) fn configure(&self, ebpf: &mut Ebpf) -> Result<()> {
        let uplink = UplinkConfig {
            source: self.own.into(),
            vip: self.vip.into(),
            wireguard_port: WIREGUARD_PORT,
            vrid: VRID,
            family: self.ip_version(),
            flags: 0,
        };
        let until = Timestamp::from_nanos(monotonic_ns()) + HOUR;
        let stamp = AdvertStamp { priority: PRIORITY, interval: INTERVAL_CS, ..AdvertStamp::default() };
        let sbfd = Sbfd { discriminator: REFLECTOR, required_min_rx: 10_000, ..Sbfd::default() };
        set(ebpf, "UPLINK", uplink)?;
        set(ebpf, "LEASE", Lease::new(Role::Active, 1, until))?;
        set(ebpf, "ADVERT", stamp)?;
        set(ebpf, "SBFD", sbfd)?;
        insert(ebpf, "VIPS", self.vip, 64_u8)?;
        insert(ebpf, "PEERS", self.peer, Peer::unknown(0))
    }
}

fn set<T: Pod>(ebpf: &mut Ebpf, name: &str, value: T) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
    Ok(Array::<_, T>::try_from(map)?.set(0, value, 0)?)
}

fn insert<T: Pod>(ebpf: &mut Ebpf, name: &str, address: IpAddr, value: T) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
    Ok(HashMap::<_, Address, T>::try_from(map)?.insert(Address::from(address), value, 0)?)
}
