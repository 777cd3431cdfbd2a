//! The maps, each with its one writer (I9), and the few ways in which they are read and written here.

#![expect(unsafe_code, reason = "the map macro exports by name, and map values are shared memory")]

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use wgha_common::{
    Address,
    abi::{
        AdvertSeen, AdvertStamp, Answer, Arrivals, ClockRead, Counter, EVENTS_BYTES, Event, EventKind, Lease,
        MAPPED, MAX_GATEWAYS, MAX_PEERS, MAX_ROUTERS, MAX_VIPS, Outstanding, Peer, Revoked, Rung,
        SOURCE_SETS, SOURCE_WAYS, Sbfd, TRAFFIC_ENTRIES, Traffic, UplinkConfig,
    },
};

/// Writer: daemon. Reader: here.
#[map]
static UPLINK: Array<UplinkConfig> = Array::with_max_entries(1, 0);

/// Writer: daemon. Reader: here.
#[map]
static VIPS: HashMap<Address, u8> = HashMap::with_max_entries(MAX_VIPS, 0);

/// Writer: daemon. Reader: here.
#[map]
static LEASE: Array<Lease> = Array::with_max_entries(1, MAPPED);

/// Writer: daemon. Reader: here.
#[map]
static ADVERT: Array<AdvertStamp> = Array::with_max_entries(1, 0);

/// Writer: here. Readers: daemon, here.
#[map]
static REVOKED: Array<Revoked> = Array::with_max_entries(1, MAPPED);

/// Writer: here. Reader: daemon.
#[map]
static ROUTERS: LruHashMap<Address, AdvertSeen> = LruHashMap::with_max_entries(MAX_ROUTERS, 0);

/// Writer: daemon. Reader: here.
#[map]
static SBFD: Array<Sbfd> = Array::with_max_entries(1, 0);

/// Writer: daemon. Reader: here.
#[map]
static PEERS: HashMap<Address, Peer> = HashMap::with_max_entries(MAX_PEERS, 0);

/// Writer: daemon. Reader: here.
#[map]
static ADVERTISERS: HashMap<Address, u32> = HashMap::with_max_entries(MAX_PEERS, 0);

/// Writer: daemon. Reader: here.
#[map]
static PROBES: Array<Outstanding> = Array::with_max_entries(MAX_PEERS, MAPPED);

/// Writer: here. Reader: daemon.
#[map]
static ANSWERS: Array<Answer> = Array::with_max_entries(MAX_PEERS, MAPPED);

/// Writer: daemon. Reader: here.
#[map]
static GATEWAYS: HashMap<Address, u8> = HashMap::with_max_entries(MAX_GATEWAYS, 0);

/// Writer: here. Reader: daemon.
#[map]
static ARRIVALS: Array<Arrivals> = Array::with_max_entries(1, MAPPED);

/// Writer: here. Reader: here.
#[map]
static SOURCES: Array<[u64; SOURCE_WAYS]> = Array::with_max_entries(SOURCE_SETS, 0);

/// Writer: here. Reader: here.
#[map]
static CLOCK: PerCpuArray<ClockRead> = PerCpuArray::with_max_entries(1, 0);

/// Writer: here. Reader: daemon.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// Writer: here. Readers: daemon, here.
#[map]
static RUNG: Array<Rung> = Array::with_max_entries(EventKind::COUNT, 0);

/// Writer: here. Reader: daemon.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Writer: here. Reader: daemon.
#[map]
static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(TRAFFIC_ENTRIES, 0);

/// What is ours on this link; `None` until the daemon has said so.
#[inline(always)]
pub fn uplink() -> Option<&'static UplinkConfig> {
    UPLINK.get(0).filter(|uplink| uplink.vrid != 0)
}

/// Whether the fence guards `address`.
#[inline(always)]
pub fn is_vip(address: &Address) -> bool {
    VIPS.get_ptr(address).is_some()
}

/// What the next advert says.
#[inline(always)]
pub fn advert_stamp() -> Option<AdvertStamp> {
    ADVERT.get(0).copied()
}

/// The lease. The daemon may be writing it: it ends one before it writes the next, of which the end is written last.
#[inline(always)]
pub fn lease() -> Option<Lease> {
    // SAFETY: the kernel keeps the element where it is, and every bit pattern is a `Lease`. The end is read first: what is
    // read after it is as old, or newer.
    LEASE.get_ptr(0).map(|lease| unsafe {
        let until = (&raw const (*lease).until).read_volatile();
        let epoch = (&raw const (*lease).epoch).read_volatile();
        let role = (&raw const (*lease).role).read_volatile();
        Lease { until, epoch, role, reserved: 0 }
    })
}

/// The newest epoch that is over.
#[inline(always)]
pub fn revoked_epoch() -> Option<u64> {
    // SAFETY: the kernel keeps the element where it is.
    REVOKED.get_ptr(0).map(|revoked| unsafe { (&raw const (*revoked).epoch).read_volatile() })
}

/// Ends every lease up to this epoch for good.
#[inline(always)]
pub fn revoke(revoked: &Revoked) {
    if let Some(slot) = REVOKED.get_ptr_mut(0) {
        // SAFETY: the kernel keeps the element where it is. The epoch comes last: who sees it also sees the rest.
        unsafe {
            (&raw mut (*slot).at).write_volatile(revoked.at);
            (&raw mut (*slot).by).write_volatile(revoked.by);
            (&raw mut (*slot).epoch).write_volatile(revoked.epoch);
        }
    }
}

/// Notes an advert and returns what was known of its router before: all zeros when it was not known.
#[inline(always)]
pub fn remember(source: &Address, seen: &AdvertSeen) -> AdvertSeen {
    let Some(entry) = ROUTERS.get_ptr_mut(source) else {
        // When the map has no room for it, the next advert finds no entry either, and rings again.
        let _ = ROUTERS.insert(source, seen, 0);
        return AdvertSeen::default();
    };
    // SAFETY: an entry that is evicted meanwhile stays readable and writable until this program ends.
    // Two adverts of one router on two CPUs may mix; both are valid, and the next one mends it.
    unsafe {
        let before = *entry;
        *entry = AdvertSeen { adverts: before.adverts + seen.adverts, ..*seen };
        before
    }
}

/// What our reflector and our initiator go by.
#[inline(always)]
pub fn sbfd() -> Option<&'static Sbfd> {
    SBFD.get(0)
}

/// The peer that has this address.
#[inline(always)]
pub fn peer(address: &Address) -> Option<&'static Peer> {
    // SAFETY: an entry that is removed or replaced meanwhile stays readable until this program ends.
    PEERS.get_ptr(address).map(|peer| unsafe { &*peer })
}

/// Whether a peer has said that its adverts come from there.
#[inline(always)]
pub fn is_advertiser(address: &Address) -> bool {
    ADVERTISERS.get_ptr(address).is_some()
}

/// Whether a probe with this discriminator is under way to a peer.
#[inline(always)]
pub fn is_outstanding(peer: u32, discriminator: u32) -> bool {
    PROBES.get(peer).is_some_and(|probes| probes.discriminators.contains(&discriminator))
}

/// Notes an answer and returns the one before: all zeros when there was none.
#[inline(always)]
pub fn record_answer(peer: u32, answer: &Answer) -> Option<Answer> {
    let slot = ANSWERS.get_ptr_mut(peer)?;
    // SAFETY: the kernel keeps the element where it is; the key is aligned, as the contract's test shows. Two answers of
    // one peer on two CPUs may mix; both are right.
    unsafe {
        let before = *slot;
        let key = slot.cast::<u8>().add(Answer::KEY).cast::<u64>();
        key.write_volatile(0);
        (&raw mut (*slot).at).write_volatile(answer.at);
        (&raw mut (*slot).answers).write_volatile(before.answers + answer.answers);
        key.write_volatile(answer.key());
        Some(before)
    }
}

/// Whether `address` is the next hop of a default route of ours.
#[inline(always)]
pub fn is_gateway(address: &Address) -> bool {
    GATEWAYS.get_ptr(address).is_some()
}

/// Something came in at `at`.
#[inline(always)]
pub fn arrived(at: u64) {
    if let Some(slot) = ARRIVALS.get_ptr_mut(0) {
        // SAFETY: the kernel keeps the element where it is, and this is a word of it. Of two CPUs that write it at once,
        // either is right.
        unsafe {
            let any = &raw mut (*slot).any;
            if at > any.read_volatile().saturating_add(Arrivals::GRAIN) {
                any.write_volatile(at);
            }
        }
    }
}

/// A gateway answered at `at`.
#[inline(always)]
pub fn gateway_answered(at: u64) {
    if let Some(slot) = ARRIVALS.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (&raw mut (*slot).gateway).write_volatile(at) }
    }
}

/// When events of a kind rang.
#[inline(always)]
pub fn rung(kind: EventKind) -> Option<&'static mut Rung> {
    // SAFETY: the kernel keeps the element where it is; a race between CPUs costs one count or one wake-up.
    RUNG.get_ptr_mut(kind as u32).map(|rung| unsafe { &mut *rung })
}

/// Wakes the daemon. `false`: the ring is full.
#[inline(always)]
pub fn ring(event: &Event) -> bool {
    EVENTS.output::<Event>(event, 0).is_ok()
}

/// Counts one. A function of its own: it is called in many places, none of which every packet comes by.
#[inline(never)]
pub fn count(counter: Counter) {
    count_here(counter);
}

/// The same in line: for whoever is at the end of the longest chain of calls.
#[inline(always)]
pub fn count_here(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the element is this CPU's own.
        unsafe { *slot += 1 }
    }
}

/// What is counted of WireGuard traffic of one direction and type on this CPU.
#[inline(always)]
pub fn traffic(index: u32) -> Option<&'static mut Traffic> {
    // SAFETY: the element is this CPU's own, and nothing else here refers to it meanwhile.
    TRAFFIC.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
}

/// When this CPU last read the clock.
#[inline(always)]
pub fn read_clock() -> Option<&'static mut ClockRead> {
    // SAFETY: as above.
    CLOCK.get_ptr_mut(0).map(|read| unsafe { &mut *read })
}

/// The set of `SOURCES` that a session belongs to.
#[inline(always)]
pub fn sources(session: u32) -> Option<&'static mut [u64; SOURCE_WAYS]> {
    // SAFETY: the kernel keeps the element where it is; a race between CPUs costs one tag, whose session then rings again.
    SOURCES.get_ptr_mut(session & (SOURCE_SETS - 1)).map(|set| unsafe { &mut *set })
}
