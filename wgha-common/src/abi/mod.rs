//! The maps: their names, capacities and records.
//!
//! | map        | kind                     | writer | reader           | holds |
//! |------------|--------------------------|--------|------------------|-------|
//! | `UPLINK`   | array\[1\]               | daemon | kernel           | [`UplinkConfig`]: what is ours on this link |
//! | `VIPS`     | hash                     | daemon | kernel           | [`crate::Address`] → prefix length: what the fence guards |
//! | `LEASE`    | array\[1\]               | daemon | kernel           | [`Lease`]: may this node serve, and until when |
//! | `ADVERT`   | array\[1\]               | daemon | kernel           | [`AdvertStamp`]: what the next advert says |
//! | `REVOKED`  | array\[1\]               | kernel | daemon, kernel   | [`Revoked`]: the newest epoch that an outranking advert, or time, has ended |
//! | `ROUTERS`  | LRU hash                 | kernel | daemon           | [`crate::Address`] → [`AdvertSeen`]: the last advert of each router |
//! | `SBFD`     | array\[1\]               | daemon | kernel           | [`Sbfd`]: our reflector and our initiator |
//! | `PEERS`    | hash                     | daemon | kernel           | [`crate::Address`] → [`Peer`]: a configured peer, and what it has told of itself |
//! | `ADVERTISERS` | hash                  | daemon | kernel           | [`crate::Address`] → number of the peer whose adverts come from there, by its own authentic word |
//! | `PROBES`   | array\[`MAX_PEERS`\]     | daemon | kernel           | [`Outstanding`]: the probes to each peer that are under way |
//! | `ANSWERS`  | array\[`MAX_PEERS`\]     | kernel | daemon           | [`Answer`]: the last answer of each peer |
//! | `GATEWAYS` | hash                     | daemon | kernel           | [`crate::Address`] → 0: the next hops of our default routes |
//! | `ARRIVALS` | array\[1\]               | kernel | daemon           | [`Arrivals`]: when anything came in last, and when a gateway answered |
//! | `SOURCES`  | array\[`SOURCE_SETS`\]   | kernel | kernel           | tags, each a WireGuard session and where its last packet came from; the daemon is told when that changes |
//! | `CLOCK`    | per-CPU array\[1\]       | kernel | kernel           | [`ClockRead`]: when this CPU last read the clock for WireGuard's packets |
//! | `EVENTS`   | ring buffer              | kernel | daemon           | [`Event`]: only what matters |
//! | `RUNG`     | array\[`EventKind::COUNT`\] | kernel | daemon, kernel | [`Rung`]: keeps a flood from waking the daemon |
//! | `COUNTERS` | per-CPU array            | kernel | daemon           | one `u64` per [`Counter`] |
//! | `TRAFFIC`  | per-CPU array            | kernel | daemon           | one [`Traffic`] per direction and message type |
//!
//! `EVENTS`, `RUNG`, `GATEWAYS` and `ARRIVALS` begin anew with each daemon; the others are pinned ([`PINNED`]) and outlive it.
//!
//! One map has one writer (invariant I9). A lease that the kernel must end is therefore not changed
//! in `LEASE`: the kernel notes its epoch in `REVOKED`, and [`Lease::serves`] needs both.

mod advert;
mod arrivals;
mod clock;
mod counter;
mod event;
mod lease;
mod peer;
mod sbfd;
mod traffic;
mod uplink;

pub use advert::{AdvertSeen, AdvertStamp, ChecksumStyle, outranks};
pub use arrivals::Arrivals;
pub use clock::ClockRead;
pub use counter::Counter;
pub use event::{Event, EventKind, Rung};
pub use lease::{Lease, Revoked, Role};
pub use peer::Peer;
pub use sbfd::{Answer, OUTSTANDING, Outstanding, Sbfd};
pub use traffic::{Direction, Traffic, traffic_index};
pub use uplink::UplinkConfig;

/// Bumped whenever a record or a map changes its shape or its meaning: pinned maps of another version are replaced.
pub const ABI_VERSION: u32 = 4;

/// The maps that outlive a daemon, pinned under their names: what the data path goes by, whom it has heard, and what it
/// counts. The others ring for one daemon.
pub const PINNED: [&str; 15] = [
    "UPLINK",
    "VIPS",
    "LEASE",
    "ADVERT",
    "REVOKED",
    "ROUTERS",
    "SBFD",
    "PEERS",
    "ADVERTISERS",
    "PROBES",
    "ANSWERS",
    "SOURCES",
    "CLOCK",
    "COUNTERS",
    "TRAFFIC",
];

/// Of `LEASE`, `REVOKED`, `PROBES`, `ANSWERS` and `ARRIVALS`, which are used at every tick: the daemon has them in its own memory
/// (linux/bpf.h, `BPF_F_MMAPABLE`).
pub const MAPPED: u32 = 1 << 10;
/// Entries of `VIPS`.
pub const MAX_VIPS: u32 = 64;
/// Entries of `ROUTERS`: one per router that was ever heard with our VRID; the least recently heard is forgotten.
pub const MAX_ROUTERS: u32 = 64;
/// Entries of `PEERS`, `ADVERTISERS`, `PROBES` and `ANSWERS`: how many other servers a node can have.
pub const MAX_PEERS: u32 = 8;
/// Entries of `GATEWAYS`.
pub const MAX_GATEWAYS: u32 = 8;
/// Sets of `SOURCES`, a power of two.
pub const SOURCE_SETS: u32 = 16 * 1024;
/// Bytes of `EVENTS`.
pub const EVENTS_BYTES: u32 = 64 * 1024;
/// Entries of `TRAFFIC`.
pub const TRAFFIC_ENTRIES: u32 = 2 * crate::wire::wireguard::MessageType::COUNT;
/// Tags in each set of `SOURCES`.
pub const SOURCE_WAYS: usize = 4;
/// An event of one kind from one flood wakes the daemon once in this time, or [`RING_BURST`] times; the others are counted.
pub const RING_PAUSE_NANOS: u64 = 100_000_000;
/// The same for what a take-over waits for: new sources, and neighbours that answer.
pub const SHORT_RING_PAUSE_NANOS: u64 = 10_000_000;
/// So often the news of routers wake it in [`RING_PAUSE_NANOS`]: whoever forges adverts has as much news as he likes. What
/// has not rung is in `ROUTERS`, which is read before anything is decided.
pub const RING_BURST: u32 = 16;

macro_rules! plain_old_data {
    ($($record:ty = $size:literal),+ $(,)?) => {$(
        const _: () = assert!(core::mem::size_of::<$record>() == $size);
        // SAFETY: repr(C), made of integers and byte arrays only, without implicit padding (the size
        // above is the sum of the fields), so that every bit pattern is a value.
        #[cfg(feature = "aya")]
        #[expect(unsafe_code, reason = "aya's typed maps want the promise in this form")]
        unsafe impl aya::Pod for $record {}
    )+};
}

plain_old_data! {
    crate::Address = 16,
    UplinkConfig = 40,
    Lease = 24,
    Revoked = 32,
    AdvertStamp = 8,
    AdvertSeen = 24,
    Event = 40,
    Rung = 24,
    Traffic = 32,
    Sbfd = 16,
    Peer = 24,
    Outstanding = 32,
    Answer = 24,
    ClockRead = 16,
    Arrivals = 16,
}
