//! wgha's kernel half: sees, checks, reports, fences. It never decides.
//!
//! Three programs sit on the uplink. `wgha_xdp`, or `wgha_ingress` where XDP is not to be had, looks at
//! what comes in; `wgha_egress` at what goes out. All that they know and all that they tell is in
//! [`maps`]. Who writes which map is said there and in `wgha_common::abi`.
//!
//! The crate also compiles for the host, so that its plain parts are tested and all of it is linted there.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod advert;
mod chain;
mod clock;
mod egress;
mod fence;
mod frame;
mod ingress;
mod maps;
mod neighbour;
mod packet;
mod reflect;
mod report;
mod transport;
mod verdict;
mod wireguard;

/// The entry points: nothing but the way from a context to a packet, and from what becomes of it to the kernel.
mod programs {
    use aya_ebpf::{
        macros::{classifier, xdp},
        programs::{TcContext, XdpContext},
    };

    use crate::{
        egress, ingress,
        packet::{Frame, Skb},
    };

    #[xdp]
    pub fn wgha_xdp(ctx: XdpContext) -> u32 {
        ingress::action(&Frame::new(&ctx))
    }

    #[classifier]
    pub fn wgha_ingress(ctx: TcContext) -> i32 {
        ingress::action(&Skb::new(&ctx)).cast_signed()
    }

    #[classifier]
    pub fn wgha_egress(ctx: TcContext) -> i32 {
        egress::action(&Skb::new(&ctx)).cast_signed()
    }
}

/// aya-ebpf's programs are GPL where a helper wants it; this makes the whole object usable under either.
#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "the kernel finds the licence by its section")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The host has nothing to run: this crate is checked and tested there.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
