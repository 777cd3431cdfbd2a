//! Ethernet, and what it carries.

use wgha_common::wire::ethernet::{self, HEADER_LEN, SERVICE_VLAN, VLAN, VLAN_LEN};

use crate::packet::Packet;

/// How many priority tags are looked behind.
const MAX_PRIORITY_TAGS: usize = 2;

/// What a frame carries, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Its EtherType.
    pub ethertype: u16,
    /// Where it begins.
    pub at: usize,
}

/// Why a frame's payload is not ours to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It belongs to a VLAN, and so to another interface.
    Vlan,
    /// It is too short.
    Short,
}

/// Looks behind the Ethernet header and behind tags that only give a priority (identifier 0).
#[inline(always)]
pub fn payload<P: Packet>(packet: &P) -> Result<Payload, Foreign> {
    if packet.stripped_vlan().is_some_and(|id| id != 0) {
        return Err(Foreign::Vlan);
    }
    let header = packet.fixed::<0, HEADER_LEN>().ok_or(Foreign::Short)?;
    let mut payload = Payload { ethertype: ethernet::ethertype(&header), at: HEADER_LEN };
    for _ in 0..MAX_PRIORITY_TAGS {
        if !is_tag(payload.ethertype) {
            return Ok(payload);
        }
        let tag = packet.load::<VLAN_LEN>(payload.at).ok_or(Foreign::Short)?;
        let (id, ethertype) = ethernet::vlan(&tag);
        if id != 0 {
            return Err(Foreign::Vlan);
        }
        payload = Payload { ethertype, at: payload.at + VLAN_LEN };
    }
    if is_tag(payload.ethertype) { Err(Foreign::Vlan) } else { Ok(payload) }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN)
}
