//! What the daemon before this one has left in the maps, and whether this one goes on with it (invariant I11).

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32};

use wgha_common::{
    Timestamp,
    abi::{AdvertStamp, Lease, Role, UplinkConfig},
};

use super::observe::{TunnelSeen, UplinkSeen};
use crate::{
    config::{VirtualAddress, Vrrp},
    proto::Inherited,
    sys::bpf::{BpfError, Maps},
};

/// What the maps held when they were found. Looking changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Predecessor {
    /// Its last lease.
    pub lease: Lease,
    /// The newest epoch that is over.
    pub revoked: u64,
    /// What was its own.
    pub uplink: UplinkConfig,
    /// What its adverts said.
    pub advert: AdvertStamp,
    /// Its VIPs, with the lengths of their prefixes.
    pub vips: BTreeMap<IpAddr, u8>,
    /// What its reflector answered to.
    pub discriminator: Option<NonZeroU32>,
}

impl Predecessor {
    /// Reads the maps.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn of(maps: &Maps) -> Result<Self, BpfError> {
        Ok(Self {
            lease: maps.lease()?,
            revoked: maps.revoked_epoch()?,
            uplink: maps.uplink()?,
            advert: maps.advert()?,
            vips: maps.vips()?,
            discriminator: NonZeroU32::new(maps.sbfd()?.discriminator),
        })
    }

    /// Its VIPs that may not be where ours are looked for: if it was killed, they are still held.
    #[must_use]
    pub fn vips_besides(&self, ours: &[VirtualAddress]) -> Vec<VirtualAddress> {
        let left = self.vips.iter().map(|(&address, &prefix_len)| VirtualAddress { address, prefix_len });
        left.filter(|vip| ours.iter().all(|own| own.address != vip.address)).collect()
    }

    /// What a machine that starts now inherits of it; and if it had served, but its lease is not gone on with, why.
    #[must_use]
    pub fn inherited(
        &self,
        vrrp: &Vrrp,
        uplink: &UplinkSeen,
        tunnel: &TunnelSeen,
        now: Timestamp,
    ) -> (Inherited, Option<&'static str>) {
        let epoch = self.lease.epoch;
        if self.lease.role != Role::Active as u32 {
            return (Inherited { epoch, ..Inherited::default() }, None);
        }
        let ended = self.lease.serves(self.revoked, now.as_nanos());
        match self.why_not(vrrp, uplink, tunnel, now) {
            Some(why) => (Inherited { epoch, until: None, ended }, Some(why)),
            None => {
                let until = Some(Timestamp::from_nanos(self.lease.until));
                (Inherited { epoch, until, ended: false }, None)
            }
        }
    }

    fn why_not(
        &self,
        vrrp: &Vrrp,
        uplink: &UplinkSeen,
        tunnel: &TunnelSeen,
        now: Timestamp,
    ) -> Option<&'static str> {
        let wanted: BTreeMap<_, _> =
            vrrp.virtual_addresses.iter().map(|vip| (vip.address, vip.prefix_len)).collect();
        let held = |vip: &IpAddr| uplink.addresses.iter().any(|a| a.address == *vip && !a.unusable);
        let port = tunnel.facts.as_ref().and_then(|f| f.as_ref().ok()).and_then(|f| f.listen_port);
        let same_router = self.uplink.vrid == vrrp.id.number() && self.uplink.family == vrrp.family.version();
        let reasons = [
            (!self.lease.stands(self.revoked), "it was revoked"),
            (now.as_nanos() >= self.lease.until, "it has lapsed"),
            (!same_router, "it was of another virtual router"),
            (self.vips != wanted, "it was for other virtual addresses"),
            (!uplink.link.is_some_and(|link| link.running), "the uplink is down or has no carrier"),
            (!wanted.keys().all(held), "a virtual address is gone"),
            (!tunnel.link.is_some_and(|link| link.up), "the WireGuard interface is down"),
            (port != Some(self.uplink.wireguard_port), "WireGuard has another port"),
        ];
        reasons.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why)
    }
}

#[cfg(test)]
mod tests;
