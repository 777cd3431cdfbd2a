//! Tells. One [`Snapshot`] of the node, as a table, as JSON, and over the control socket.

pub mod control;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod example;
mod human;
mod notify;
mod recorder;
mod table;

pub use notify::Notifier;
pub use recorder::{Kind, Recorder};
pub use table::{event_line, table};

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

/// Everything that `wgha status` knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// wgha's version.
    pub version: String,
    /// The configuration file.
    pub config: String,
    /// Seconds since the daemon started.
    pub uptime_s: f64,
    /// `active`, `claiming`, `backup`, `fault` or `stopping`.
    pub role: String,
    /// Seconds since it has that role.
    pub role_since_s: f64,
    /// Why it has that role, in a sentence.
    pub reason: String,
    /// What keeps it from being healthy; empty when it is.
    pub problems: Vec<String>,
    /// The virtual router.
    pub vrrp: VrrpStatus,
    /// How this node would notice that the Active Router has failed.
    pub detection: DetectionStatus,
    /// Whether this node hears anything.
    pub witness: WitnessStatus,
    /// The other servers, in the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// The uplink and what is attached to it.
    pub uplink: UplinkStatus,
    /// The WireGuard interface.
    pub wireguard: WireguardStatus,
    /// The lease, as the kernel has it.
    pub lease: LeaseStatus,
    /// Every other router heard with our VRID, the last heard first.
    pub routers: Vec<RouterStatus>,
    /// The kernel half's counters that are not zero, by name.
    pub counters: BTreeMap<String, u64>,
    /// How often the daemon woke up, by cause.
    pub wakeups: Wakeups,
}

/// The virtual router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// VRID.
    pub id: u8,
    /// Our priority, as it is said: lower than the configured one while this node's health is in doubt.
    pub priority: u8,
    /// Our Advertisement_Interval, milliseconds.
    pub advert_interval_ms: u32,
    /// Whether a higher priority takes the role back.
    pub preempt: bool,
    /// Why it would take the role back now and does not yet; none when nothing holds it back.
    pub held_back: Option<String>,
    /// The VIPs.
    pub virtual_addresses: Vec<String>,
    /// Whether this node holds them.
    pub held: bool,
    /// Who is Active, as far as this node knows: an address, or `self`; none when nobody is heard.
    pub active_router: Option<String>,
}

/// How a failure of the Active Router would be noticed now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionStatus {
    /// `probes` or `adverts`.
    pub by: String,
    /// Why by adverts, in a sentence; none when it is by probes.
    pub why: Option<String>,
    /// Who is probed.
    pub peer: Option<IpAddr>,
    /// `[detect] interval`, milliseconds; none without other servers.
    pub interval_ms: Option<f64>,
    /// How many probes in a row must go unanswered.
    pub probes: Option<u32>,
    /// How many have.
    pub unanswered: u32,
    /// How long the last answer took, microseconds.
    pub rtt_us: Option<f64>,
    /// How often this node was late itself and did not count it against the other.
    pub stalls: u64,
    /// Why the loop does not run in real time; none when it does.
    pub not_real_time: Option<String>,
}

/// Whether this node hears anything, as the gateway tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// `reached`, `gateway_silent`, `deaf`, `never_answered` or `none`.
    pub finding: String,
    /// Why there is none, in a sentence.
    pub why_none: Option<String>,
    /// Who is asked: the next hops of the default routes over the uplink.
    pub gateways: Vec<IpAddr>,
    /// Milliseconds since one of them has answered.
    pub answered_ms_ago: Option<f64>,
}

/// Another server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address in the configuration.
    pub address: IpAddr,
    /// Seconds since the peer channel is open; none when it is not.
    pub connected_s: Option<f64>,
    /// Why it is not.
    pub why_not: Option<String>,
    /// Where its adverts come from.
    pub source: Option<IpAddr>,
    /// Its priority.
    pub priority: Option<u8>,
    /// It says that it serves.
    pub serving: Option<bool>,
    /// Whether it says that it reaches the gateway and could serve; none when it cannot tell.
    pub reaches_gateway: Option<bool>,
    /// It says that it could serve, and that nothing speaks against it.
    pub fit: Option<bool>,
    /// Its clock minus ours, milliseconds.
    pub clock_offset_ms: Option<f64>,
}

/// The uplink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// Its name.
    pub interface: String,
    /// Set up and with carrier.
    pub running: bool,
    /// Where our adverts come from.
    pub source: Option<IpAddr>,
    /// `xdp native`, `xdp generic` or `tc` (with `tcx` or `clsact`): what ingress got.
    pub ingress: String,
    /// `tcx` or `clsact`: what egress got.
    pub egress: String,
    /// Whether the programs outlive the daemon.
    pub pinned: bool,
}

/// The WireGuard interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireguardStatus {
    /// Its name.
    pub interface: String,
    /// It exists.
    pub present: bool,
    /// It is set up.
    pub up: bool,
    /// Its UDP port.
    pub listen_port: Option<u16>,
    /// `kernel` or `userspace`.
    pub implementation: Option<String>,
    /// How many peers it has.
    pub peers: usize,
    /// What passed: `ingress` and `egress` → message type → packets and bytes.
    pub traffic: BTreeMap<String, BTreeMap<String, TrafficStatus>>,
}

/// WireGuard packets of one direction and type that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Which election granted it; 0: none yet.
    pub epoch: u64,
    /// Whether packets of the VIP pass now.
    pub serving: bool,
    /// Milliseconds until it ends, if it stands.
    pub remaining_ms: Option<f64>,
}

/// Another router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Its address.
    pub address: IpAddr,
    /// Milliseconds since its last advert.
    pub heard_ms_ago: f64,
    /// The priority in its last advert.
    pub priority: u8,
    /// The interval in its last advert, milliseconds.
    pub advert_interval_ms: u32,
    /// How many adverts have come from it.
    pub adverts: u64,
    /// `rfc9568` or `pseudo-header`.
    pub checksum: String,
}

/// How often the daemon woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wakeups {
    /// Its own timers.
    pub timer: u64,
    /// The `EVENTS` ring.
    pub ring: u64,
    /// Netlink notifications.
    pub netlink: u64,
    /// Ends of effects.
    pub effects: u64,
    /// Control socket and signals.
    pub control: u64,
}

/// One line of `wgha events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event.
    pub seq: u64,
    /// `CLOCK_BOOTTIME`, nanoseconds: comparable between daemons on one machine.
    pub at_ns: u64,
    /// Wall clock, RFC 3339 with microseconds, UTC.
    pub time: String,
    /// `role`, `input` or `effect`.
    pub kind: String,
    /// What happened: `active`, `vip_held`, `tunnel_raised`, `uplink_changed`, …
    pub what: String,
    /// Why or how, for people.
    pub detail: String,
    /// Microseconds since the evidence that started the failover that this belongs to.
    pub since_evidence_us: Option<u64>,
}
