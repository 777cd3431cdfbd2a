//! What wgha's two halves agree on.
//!
//! The kernel half (`wgha-ebpf`) and the userspace half (`wgha-daemon`) meet in eBPF maps and on the
//! wire. [`abi`] holds the records of the maps, [`wire`] the packet formats; both are plain data
//! without I/O, so that either half, and every test, reads them the same way.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod address;
pub mod id;
pub mod time;
pub mod wire;

pub use address::{Address, Family};
pub use id::{IfIndex, InvalidPriority, InvalidVrid, Priority, Vrid};
pub use time::{Centiseconds, InvalidInterval, Timestamp};
