//! The configuration: a serde mirror of the file, turned once into a [`Config`] that, if it exists, is valid.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use wgha_common::{Centiseconds, Family, Priority, Vrid, abi::ChecksumStyle};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[uplink]`
    pub uplink: Uplink,
    /// `[wireguard] interface`
    pub wireguard: String,
    /// `[vrrp]`
    pub vrrp: Vrrp,
    /// `[[peer]] address`: the other servers.
    pub peers: Vec<IpAddr>,
    /// `[detect]`
    pub detect: Detect,
    /// `[paths]`
    pub paths: Paths,
}

/// `[uplink]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The interface that the VIP and the adverts are on.
    pub interface: String,
    /// Where the programs are attached.
    pub attach: Attach,
}

/// `[uplink] attach`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// The first of the others that works.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the stack.
    Generic,
    /// TC ingress.
    Tc,
}

/// `[vrrp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vrrp {
    /// `id`
    pub id: Vrid,
    /// `priority`
    pub priority: Priority,
    /// `advert_interval`
    pub advert_interval: Centiseconds,
    /// `preempt`
    pub preempt: bool,
    /// `preempt_delay`, counted from the start or from the mending of a fault.
    pub preempt_delay: Duration,
    /// `checksum`: of IPv4 adverts.
    pub checksum: ChecksumStyle,
    /// `virtual_addresses`: at least one, all of `family`.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// The family of all of them.
    pub family: Family,
}

/// An address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix_len: u8,
}

/// `[detect]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detect {
    /// Between two probes.
    pub interval: Duration,
    /// How many in a row must go unanswered.
    pub multiplier: u8,
}

/// `[paths]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The folder on a bpffs in which programs and maps are pinned.
    pub bpffs: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
}
