//! The real data path: maps of the kernel half, and a packet socket.

use std::net::IpAddr;

use bytes::BytesMut;
use wgha_common::{
    Address, Centiseconds, IfIndex, Priority, Timestamp,
    abi::{AdvertSeen, ChecksumStyle, Lease, UplinkConfig},
    wire::{NoRoom, ethernet::Mac, vrrp},
};

use super::carrier::{Datapath, Look, stamp};
use crate::proto::PeerId;
use crate::{
    config::Vrrp,
    sys::{announce, bpf::Maps, clock, packet_socket::PacketSocket},
};

/// Where frames are sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Through which interface.
    pub link: IfIndex,
    /// From which MAC address.
    pub mac: Mac,
    /// Adverts: from which IP address.
    pub source: Option<IpAddr>,
}

/// The data path of one virtual router.
pub struct Kernel {
    /// The maps.
    pub maps: Maps,
    socket: PacketSocket,
    vrrp: Vrrp,
    addresses: Vec<Address>,
    origin: Option<Origin>,
    gateways: Vec<IpAddr>,
    wireguard_port: u16,
    stamped: (u8, Centiseconds),
    style: ChecksumStyle,
}

impl Kernel {
    /// Nothing is configured yet: everything passes.
    #[must_use]
    pub fn new(maps: Maps, socket: PacketSocket, vrrp: Vrrp) -> Self {
        let addresses = vrrp.virtual_addresses.iter().map(|v| v.address.into()).collect();
        let stamped = (Priority::RESIGNED, vrrp.advert_interval);
        let style = vrrp.checksum.unwrap_or(ChecksumStyle::Rfc9568);
        Self {
            maps,
            socket,
            vrrp,
            addresses,
            origin: None,
            gateways: Vec::new(),
            wireguard_port: 0,
            stamped,
            style,
        }
    }

    /// Tells the kernel half what to guard.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn guard(&mut self) -> Result<(), String> {
        self.maps.set_vips(&self.vrrp.virtual_addresses).map_err(chain)?;
        self.set_lease(Lease::default())?;
        self.stamp_adverts(Priority::RESIGNED, self.vrrp.advert_interval)?;
        self.write_uplink()
    }

    /// Where frames are sent from, from now on; `None`: nowhere.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_origin(&mut self, origin: Option<Origin>) -> Result<(), String> {
        if self.origin == origin {
            return Ok(());
        }
        self.origin = origin;
        self.write_uplink()
    }

    /// Who is asked, from the VIP, whenever that is announced.
    pub fn set_gateways(&mut self, gateways: &[IpAddr]) {
        gateways.clone_into(&mut self.gateways);
    }

    /// WireGuard's port. One that has gone is guarded until there is another: what still sits on it stays silent.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_wireguard_port(&mut self, port: Option<u16>) -> Result<(), String> {
        match port {
            Some(port) if port != self.wireguard_port => {
                self.wireguard_port = port;
                self.write_uplink()
            }
            _ => Ok(()),
        }
    }

    fn write_uplink(&mut self) -> Result<(), String> {
        let source = self.origin.and_then(|o| o.source);
        let config = UplinkConfig {
            source: source.map_or(Address::UNSPECIFIED, Address::from),
            vip: self.speaks_from(),
            wireguard_port: self.wireguard_port,
            vrid: self.vrrp.id.number(),
            family: self.vrrp.family.version(),
            reserved: 0,
        };
        self.maps.set_uplink(config).map_err(chain)
    }

    /// Unless it is configured, the checksum of our adverts is that of the router that was heard last:
    /// one that cannot read ours would serve beside us.
    fn speak_as(&mut self, routers: &[(IpAddr, AdvertSeen)]) -> Result<(), String> {
        let newest = routers.iter().max_by_key(|(_, seen)| seen.at).map(|(_, seen)| seen);
        match (self.vrrp.checksum, newest.map(|seen| ChecksumStyle::from_number(seen.checksum))) {
            (None, Some(heard)) if heard != self.style => {
                self.style = heard;
                self.stamp_adverts(self.stamped.0, self.stamped.1)
            }
            _ => Ok(()),
        }
    }

    fn origin(&self) -> Result<Origin, String> {
        self.origin.ok_or_else(|| "the uplink is gone".to_owned())
    }

    /// Which VIP WireGuard speaks from: the first that clients beyond the segment can answer to.
    fn speaks_from(&self) -> Address {
        let link_local =
            |a: &&Address| matches!(IpAddr::from(**a), IpAddr::V6(a) if a.is_unicast_link_local());
        let global = self.addresses.iter().find(|a| !link_local(a));
        global.or(self.addresses.first()).copied().unwrap_or_default()
    }

    /// Where adverts come from.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.origin.and_then(|o| o.source)
    }
}

impl Datapath for Kernel {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn set_lease(&mut self, lease: Lease) -> Result<(), String> {
        self.maps.set_lease(lease).map_err(chain)
    }

    fn stamp_adverts(&mut self, priority: u8, interval: Centiseconds) -> Result<(), String> {
        self.stamped = (priority, interval);
        self.maps.set_advert(stamp(priority, interval, self.style)).map_err(chain)
    }

    fn send_advert(&mut self) -> Result<(), String> {
        let origin = self.origin()?;
        let source = origin.source.ok_or("the uplink has no address to send adverts from")?;
        let (priority, interval) = self.stamped;
        let advert = vrrp::Advert {
            vrid: self.vrrp.id,
            priority,
            interval,
            style: ChecksumStyle::Rfc9568,
            source: source.into(),
            addresses: &self.addresses,
        };
        let frame = announce::advert(&advert, origin.mac).map_err(|_| "too many addresses for one advert")?;
        self.socket.send(origin.link, &frame).map_err(|e| format!("sending an advert: {e}"))
    }

    fn announce(&mut self) -> Result<(), String> {
        let origin = self.origin()?;
        let send = |vip: IpAddr, frame: Result<BytesMut, NoRoom>| {
            let frame = frame.map_err(|_| "frame too short")?;
            self.socket.send(origin.link, &frame).map_err(|e| format!("announcing {vip}: {e}"))
        };
        let vips = || self.vrrp.virtual_addresses.iter().map(|vip| vip.address);
        for vip in vips() {
            send(vip, announce::announcement(vip, origin.mac))?;
        }
        for vip in vips() {
            for gateway in &self.gateways {
                send(vip, announce::solicitation(vip, origin.mac, *gateway))?;
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Look, String> {
        let routers = self.maps.routers().map_err(chain)?;
        let revoked = self.maps.revoked().map_err(chain)?;
        self.speak_as(&routers)?;
        Ok(Look { routers, revoked_epoch: revoked.epoch, answers: Vec::new() })
    }

    fn send_probe(&mut self, _peer: PeerId, _number: u64) {}
}

/// An error with its sources, in one line.
pub(super) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
