//! Packet formats: checked reading from fixed-size headers, and emitting.
//!
//! A header is read from an array of exactly its size (`&[u8; N]`), which a caller can only have
//! after a bounds check: a slice in userspace, `Packet::load` in the kernel half. The verifier likes
//! it, and both halves read with the same code.

pub mod arp;
pub mod bfd;
pub mod checksum;
pub mod ethernet;
pub mod ip;
pub mod ndisc;
pub mod udp;
pub mod vrrp;
pub mod wireguard;

/// `bytes[at..at + 2]` in network order.
#[inline(always)]
pub(crate) const fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The buffer is too short for what is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;
