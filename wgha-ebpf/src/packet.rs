//! The bytes of a packet. The only pointer arithmetic of this crate is here.
//!
//! [`Packet`] hides whether a packet is a raw frame (XDP) or a socket buffer (TC), so that everything
//! else is written once. Bytes are copied out by value, as arrays of the size that the codecs of
//! `wgha_common::wire` read: no reference into the packet survives a helper that moves it.
//!
//! There are two ways to the bytes. Where nearly every packet has them, at an offset that is known when
//! this is compiled, they are read directly ([`Packet::fixed`]). Everywhere else a helper copies them
//! ([`Packet::load`]): only with CAP_PERFMON may a program add a variable to a packet pointer (kernel:
//! `sanitize_ptr_alu`, against Spectre v1), and this one is to load without.

#![expect(unsafe_code, reason = "direct packet access, and helpers that are foreign functions")]

use core::{
    ffi::{c_long, c_void},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_REDIRECT},
    helpers::generated::{
        bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_skb_load_bytes,
        bpf_skb_store_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};
use wgha_common::wire::{bfd, checksum::Sum, udp};

use crate::verdict::Verdict;

/// The most bytes that are summed: the payload of an IPv4 packet of 1500 bytes.
const MAX_SUMMED: usize = 1480;
/// How many are summed at a time, as long as there are so many.
const CHUNK: usize = 32;
/// How many are summed at a time after that.
const WORD: usize = 4;

/// A packet that begins with its Ethernet header.
pub trait Packet {
    /// A verdict as the packet's hook wants it.
    fn action(verdict: Verdict) -> u32;

    /// The `N` bytes at `AT`, if the frame holds them.
    fn fixed<const AT: usize, const N: usize>(&self) -> Option<[u8; N]>;

    /// The first `N` bytes, to be read where they are, if the frame holds them in one piece.
    fn head<const N: usize>(&self) -> Option<Head<N>>;

    /// The `N` bytes at `at`, if the frame holds them.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Whether the frame has `len` bytes or more.
    fn holds(&self, len: usize) -> bool;

    /// The VLAN identifier of a tag that has been taken out of the frame.
    fn stripped_vlan(&self) -> Option<u16>;

    /// How many packets this is on the wire, and how many bytes of payload each but the last has, where
    /// it is several in one.
    fn segments(&self) -> (u64, Option<usize>);

    /// Writes `bytes` at `at`, if the frame holds so many.
    fn store<const N: usize>(&self, at: usize, bytes: &[u8; N]) -> Option<()>;

    /// Writes the payload of the datagram at `at`, and has its checksum right when it leaves. `N` bytes at `addresses_at` are
    /// the addresses that it is summed with. Nothing else has changed but that ports and addresses may have been swapped.
    fn store_payload<const N: usize>(
        &self,
        at: usize,
        payload: &[u8; bfd::LEN],
        addresses_at: usize,
    ) -> Option<()>;

    /// Sends it out where it came in, if the verdict says so too.
    fn send_back(&self) -> Option<()>;

    /// The sum over the `len` bytes at `at`, a multiple of four, if the frame holds them.
    #[inline(always)]
    fn sum(&self, at: usize, len: usize) -> Option<Sum> {
        u32::try_from(sum(self, at, len)).ok().map(Sum::of_kernel)
    }
}

/// The kernel's sum; below 0 where the frame does not hold so much. A function of its own, for the stack that it needs.
#[inline(never)]
fn sum<P: Packet + ?Sized>(packet: &P, at: usize, len: usize) -> i64 {
    chunks(packet, at, len).map_or(-1, i64::from)
}

#[inline(always)]
fn chunks<P: Packet + ?Sized>(packet: &P, mut at: usize, mut len: usize) -> Option<u32> {
    let mut sum = 0;
    for _ in 0..MAX_SUMMED / CHUNK {
        if len < CHUNK {
            break;
        }
        sum = add(sum, &packet.load::<CHUNK>(at)?)?;
        (at, len) = (at + CHUNK, len - CHUNK);
    }
    for _ in 0..CHUNK / WORD {
        if len < WORD {
            break;
        }
        sum = add(sum, &packet.load::<WORD>(at)?)?;
        (at, len) = (at + WORD, len - WORD);
    }
    (len == 0).then_some(sum)
}

/// The kernel's sum and the words of `bytes`, whose number is a multiple of four.
#[inline(always)]
fn add<const N: usize>(sum: u32, bytes: &[u8; N]) -> Option<u32> {
    // SAFETY: the helper reads `bytes` and nothing else.
    let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, bytes.as_ptr().cast_mut().cast(), N as u32, sum) };
    (sum >= 0).then_some(sum as u32)
}

/// The `N` bytes at `start + AT`, if they are before `end`.
#[inline(always)]
fn direct<const AT: usize, const N: usize>(start: usize, end: usize) -> Option<[u8; N]> {
    let bytes = advance::<AT>(start);
    if bytes + N > end {
        return None;
    }
    // SAFETY: the bytes lie between the packet's start and end, at an even offset; a frame starts at an even address
    // (kernel: NET_IP_ALIGN is 0 or 2, XDP_PACKET_HEADROOM is 256).
    Some(unsafe { (*(bytes as *const Even<N>)).0 })
}

/// The first `N` bytes of a frame, where they are. Not to be kept when a helper may have moved them.
pub struct Head<const N: usize> {
    start: usize,
}

impl<const N: usize> Head<N> {
    #[inline(always)]
    fn between(start: usize, end: usize) -> Option<Self> {
        (advance::<N>(start) <= end).then_some(Self { start })
    }
}

/// Little-endian words. The compiler would put them together from pairs of bytes, as they lie at odd places;
/// the machines that have a BPF JIT can read them there.
macro_rules! words {
    ($($name:ident: $word:ty = $size:literal),+ $(,)?) => {
        impl<const N: usize> Head<N> {$(
            /// The word at `AT`.
            #[inline(always)]
            pub fn $name<const AT: usize>(&self) -> $word {
                const { assert!(AT + size_of::<$word>() <= N) }
                #[cfg(target_arch = "bpf")]
                // SAFETY: it reads the frame, whose first `N` bytes are there.
                unsafe {
                    let word: u64;
                    core::arch::asm!(
                        concat!("{0} = *(", $size, " *)({1} + {2})"),
                        out(reg) word, in(reg) self.start, const AT, options(readonly, nostack)
                    );
                    (word as $word).to_le()
                }
                #[cfg(not(target_arch = "bpf"))]
                // SAFETY: as above.
                unsafe {
                    ((self.start + AT) as *const $word).read_unaligned().to_le()
                }
            }
        )+}
    };
}

words! { word8: u8 = "u8", word16: u16 = "u16", word32: u32 = "u32", word64: u64 = "u64" }

/// Bytes that are read two at a time.
#[repr(C, align(2))]
struct Even<const N: usize>([u8; N]);

/// Bytes on the stack that a helper fills; what is read of them later is read in words.
#[repr(C, align(8))]
struct Filled<const N: usize>(MaybeUninit<[u8; N]>);

impl<const N: usize> Filled<N> {
    #[inline(always)]
    fn by(fill: impl FnOnce(*mut c_void, u32) -> c_long) -> Option<[u8; N]> {
        let mut bytes = Self(MaybeUninit::uninit());
        let error = fill(bytes.0.as_mut_ptr().cast(), N as u32);
        // SAFETY: the helpers that are used here fill all of it when they do not fail.
        (error == 0).then(|| unsafe { bytes.0.assume_init() })
    }
}

/// `start + AT`, in one instruction that no optimisation merges with that of another offset: the sum of
/// a packet pointer and a register would be refused.
#[inline(always)]
fn advance<const AT: usize>(start: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    // SAFETY: it adds, and touches no memory.
    unsafe {
        let mut at = start;
        core::arch::asm!("{0} += {1}", inout(reg) at, const AT, options(pure, nomem, nostack));
        at
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        start + AT
    }
}

/// A frame as XDP has it. The context is kept by value, as in [`Skb`]: a reference needs stack for both.
pub struct Frame<'a> {
    ctx: XdpContext,
    of: PhantomData<&'a XdpContext>,
}

impl<'a> Frame<'a> {
    /// Of a context.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx: XdpContext::new(ctx.ctx), of: PhantomData }
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn action(verdict: Verdict) -> u32 {
        verdict.xdp()
    }

    #[inline(always)]
    fn fixed<const AT: usize, const N: usize>(&self) -> Option<[u8; N]> {
        direct::<AT, N>(self.ctx.data(), self.ctx.data_end())
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<Head<N>> {
        Head::between(self.ctx.data(), self.ctx.data_end())
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: the helper checks the range in the frame and writes only to `to`.
        Filled::by(|to, len| unsafe { bpf_xdp_load_bytes(self.ctx.ctx, at as u32, to, len) })
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // SAFETY: the helper reads the context only.
        len as u64 <= unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) }
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn segments(&self) -> (u64, Option<usize>) {
        (1, None)
    }

    #[inline(always)]
    fn store<const N: usize>(&self, at: usize, bytes: &[u8; N]) -> Option<()> {
        let from = bytes.as_ptr().cast_mut().cast();
        // SAFETY: the helper checks the range in the frame and reads exactly `bytes`.
        let error = unsafe { bpf_xdp_store_bytes(self.ctx.ctx, at as u32, from, N as u32) };
        (error == 0).then_some(())
    }

    /// The whole sum is computed: the one that is there may have been left to the device, and is none then.
    #[inline(always)]
    fn store_payload<const N: usize>(
        &self,
        at: usize,
        payload: &[u8; bfd::LEN],
        addresses_at: usize,
    ) -> Option<()> {
        let header = udp::Header { checksum: 0, ..udp::Header::parse(&self.load(at)?) };
        let sum = add(add(add(0, &header.bytes())?, payload)?, &self.load::<N>(addresses_at)?)?;
        let checksum = udp::checksum(Sum::of_kernel(sum), header.len);
        self.store(at + udp::CHECKSUM_OFFSET, &checksum.to_be_bytes())?;
        self.store(at + udp::HEADER_LEN, payload)
    }

    #[inline(always)]
    fn send_back(&self) -> Option<()> {
        Some(())
    }
}

/// A socket buffer as TC has it.
pub struct Skb<'a> {
    ctx: TcContext,
    of: PhantomData<&'a TcContext>,
}

impl<'a> Skb<'a> {
    /// Of a context.
    #[inline(always)]
    pub fn new(ctx: &'a TcContext) -> Self {
        Self { ctx: TcContext::new(ctx.skb.skb), of: PhantomData }
    }

    /// Mends an IPv4 header checksum at `at` after `old` became `new`.
    #[inline(always)]
    pub fn mend_ipv4_checksum(&self, at: usize, old: [u8; 4], new: [u8; 4]) -> Option<()> {
        let (old, new) = (u32::from_ne_bytes(old), u32::from_ne_bytes(new));
        // SAFETY: the helper checks the range in the packet.
        let error =
            unsafe { bpf_l3_csum_replace(self.ctx.skb.skb, at as u32, u64::from(old), u64::from(new), 4) };
        (error == 0).then_some(())
    }

    /// Mends a UDP checksum at `at` after `old` became `new` in the pseudo-header.
    #[inline(always)]
    pub fn mend_udp_checksum<const N: usize>(&self, at: usize, old: &[u8; N], new: &[u8; N]) -> Option<()> {
        self.mend_udp(at, old, new, BPF_F_PSEUDO_HDR)
    }

    /// Mends a UDP checksum at `at` after `old` became `new`. One of 0 says that there is none and stays.
    #[inline(always)]
    fn mend_udp<const N: usize>(&self, at: usize, old: &[u8; N], new: &[u8; N], what: u32) -> Option<()> {
        // A size of 0 means that the difference is given in one piece (kernel: bpf_l4_csum_replace).
        let flags = u64::from(what | BPF_F_MARK_MANGLED_0);
        // SAFETY: the helper reads exactly the two arrays, whose length is a multiple of four.
        let difference = unsafe {
            bpf_csum_diff(
                old.as_ptr().cast_mut().cast(),
                N as u32,
                new.as_ptr().cast_mut().cast(),
                N as u32,
                0,
            )
        };
        let difference = u64::try_from(difference).ok()?;
        // SAFETY: the helper checks the range in the packet.
        let error = unsafe { bpf_l4_csum_replace(self.ctx.skb.skb, at as u32, 0, difference, flags) };
        (error == 0).then_some(())
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn action(verdict: Verdict) -> u32 {
        verdict.tc().cast_unsigned()
    }

    #[inline(always)]
    fn fixed<const AT: usize, const N: usize>(&self) -> Option<[u8; N]> {
        // Not linear that far: the helper copies from the pages too. Pulling them in would reallocate
        // a buffer that may be none of our business.
        direct::<AT, N>(self.ctx.data(), self.ctx.data_end()).or_else(|| self.load(AT))
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<Head<N>> {
        Head::between(self.ctx.data(), self.ctx.data_end())
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: the helper checks the range in the packet and writes only to `to`.
        Filled::by(|to, len| unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at as u32, to, len) })
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        len <= self.ctx.len() as usize
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        // SAFETY: the context lives as long as the program runs, and the verifier checks the access.
        let (present, tci) = unsafe { ((*self.ctx.skb.skb).vlan_present, (*self.ctx.skb.skb).vlan_tci) };
        (present != 0).then_some(tci as u16 & 0x0fff)
    }

    #[inline(always)]
    fn segments(&self) -> (u64, Option<usize>) {
        // SAFETY: as above.
        let (count, size) = unsafe { ((*self.ctx.skb.skb).gso_segs, (*self.ctx.skb.skb).gso_size) };
        if size == 0 { (1, None) } else { (u64::from(count.max(1)), Some(size as usize)) }
    }

    #[inline(always)]
    fn store<const N: usize>(&self, at: usize, bytes: &[u8; N]) -> Option<()> {
        // SAFETY: the helper checks the range in the packet and reads exactly `bytes`.
        let error =
            unsafe { bpf_skb_store_bytes(self.ctx.skb.skb, at as u32, bytes.as_ptr().cast(), N as u32, 0) };
        (error == 0).then_some(())
    }

    /// The sum is mended, or left to the device if it was: the kernel knows. What is swapped changes no sum.
    #[inline(always)]
    fn store_payload<const N: usize>(&self, at: usize, payload: &[u8; bfd::LEN], _: usize) -> Option<()> {
        let old = self.load(at + udp::HEADER_LEN)?;
        self.store(at + udp::HEADER_LEN, payload)?;
        self.mend_udp(at + udp::CHECKSUM_OFFSET, &old, payload, 0)
    }

    #[inline(always)]
    fn send_back(&self) -> Option<()> {
        // SAFETY: the context lives as long as the program runs, and the verifier checks the access.
        let interface = unsafe { (*self.ctx.skb.skb).ifindex };
        // SAFETY: the helper notes where the packet goes, and touches nothing else.
        let action = unsafe { bpf_redirect(interface, 0) };
        (action == c_long::from(TC_ACT_REDIRECT)).then_some(())
    }
}
