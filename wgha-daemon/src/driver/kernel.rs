//! The real data path: maps of the kernel half, and a packet socket.

use std::{net::IpAddr, num::NonZeroU32};

use anyhow::Context as _;
use bytes::BytesMut;
use wgha_common::{
    Address, Centiseconds, IfIndex, Priority, Timestamp,
    abi::{AdvertSeen, ChecksumStyle, Direction, Lease, MAX_VIPS, Role, UplinkConfig},
    wire::{NoRoom, ethernet::Mac, vrrp, wireguard::MessageType},
};

use super::{
    carrier::{Datapath, Look, stamp},
    predecessor::Predecessor,
    probes::{Pace, Probes},
};
use crate::{
    config::{VirtualAddress, Vrrp},
    proto::{Answered, Counts, Introduced, Listened, PeerId, Sample},
    sys::{announce, bpf::Maps, clock, packet_socket::PacketSocket, probe_socket::ProbeSocket},
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
    /// Who is asked whether we hear them.
    witnesses: Vec<IpAddr>,
    /// How much of WireGuard's data had come in when that was last looked at closely.
    data_in: Option<u64>,
    wireguard_port: u16,
    probes: Option<Probes>,
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
            witnesses: Vec::new(),
            data_in: None,
            wireguard_port: 0,
            probes: None,
            stamped,
            style,
        }
    }

    /// Closes the fence and tells the kernel half what to guard. The lease of the daemon before it, of `epoch`, is over.
    /// What that has left attached goes by these maps too: it must not take WireGuard for something else in between, nor
    /// the VIPs that it has `left` for addresses of others: they are guarded until [`Self::guard_own`].
    ///
    /// # Errors
    /// What the kernel said.
    pub fn guard(&mut self, epoch: u64, wireguard_port: u16, left: &[VirtualAddress]) -> Result<(), String> {
        self.wireguard_port = wireguard_port;
        self.set_lease(Lease::new(Role::Backup, epoch, Timestamp::ZERO))?;
        let mut vips = self.vrrp.virtual_addresses.clone();
        vips.extend_from_slice(left);
        vips.truncate(MAX_VIPS as usize);
        self.maps.set_vips(&vips).map_err(chain)?;
        self.stamp_adverts(Priority::RESIGNED, self.vrrp.advert_interval)?;
        self.write_uplink()
    }

    /// What the daemon before it has left is cleared away.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn guard_own(&mut self) -> Result<(), String> {
        self.maps.set_vips(&self.vrrp.virtual_addresses).map_err(chain)
    }

    /// Goes on with what the daemon before it has told the kernel half, which serves by it.
    pub fn go_on(&mut self, found: &Predecessor) {
        self.wireguard_port = found.uplink.wireguard_port;
        if self.vrrp.checksum.is_none() {
            // Whoever waits in silence must be able to read our next advert.
            self.style = ChecksumStyle::from_number(found.advert.checksum);
        }
    }

    /// Begins to answer the probes of these servers, to `discriminator` if they know one of ours.
    ///
    /// # Errors
    /// What the kernel said; no random numbers.
    pub fn start_probes(
        &mut self,
        pace: Pace,
        peers: &[IpAddr],
        discriminator: Option<NonZeroU32>,
    ) -> anyhow::Result<()> {
        self.probes = Some(Probes::start(pace, peers, discriminator, &mut self.maps)?);
        Ok(())
    }

    /// Probes leave through this interface from now on.
    ///
    /// # Errors
    /// No socket, or what the kernel said.
    pub fn probe_through(&mut self, uplink: &str) -> anyhow::Result<()> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        let socket = ProbeSocket::open(self.vrrp.family, uplink).context("socket for probes")?;
        Ok(probes.probe_through(Some(socket), &mut self.maps)?)
    }

    /// A peer has told who it is, and what its reflector answers to.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn introduced(&mut self, who: &Introduced, discriminator: u32) -> Result<(), String> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        probes.introduced(who, discriminator, &mut self.maps).map_err(chain)?;
        self.write_uplink()
    }

    /// What has to be proven, and whether strangers are known to be that.
    fn flags(&self) -> u32 {
        let acquainted = self.probes.as_ref().is_some_and(Probes::knows_all);
        let authenticated = if self.vrrp.authentication { UplinkConfig::AUTHENTICATED } else { 0 };
        authenticated | if acquainted { UplinkConfig::ACQUAINTED } else { 0 }
    }

    /// Probes, if there are other servers.
    pub const fn probes(&mut self) -> Option<&mut Probes> {
        self.probes.as_mut()
    }

    /// The answer that the kernel half has rung for, if it is from `address`.
    #[must_use]
    pub fn answer_from(&self, address: IpAddr) -> Option<Answered> {
        let probes = self.probes.as_ref()?;
        // One that cannot be read now is read at the next look.
        probes.answer(&self.maps, probes.peer_at(address)?).ok()?
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

    /// Says where these are: the uplink has another MAC address.
    pub fn announce_own(&self, addresses: impl Iterator<Item = IpAddr>) {
        let Some(Origin { link, mac, .. }) = self.origin else { return };
        for address in addresses {
            let Ok(frame) = announce::announcement(address, mac) else { continue };
            if let Err(e) = self.socket.send(link, &frame) {
                tracing::debug!(%address, "announcing: {e}"); // neighbours find out, later
            }
        }
    }

    /// Who is asked, from the VIP, whenever that is announced.
    pub fn set_gateways(&mut self, gateways: &[IpAddr]) {
        gateways.clone_into(&mut self.gateways);
    }

    /// Who is asked, from our own address, whether we hear them.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_witnesses(&mut self, witnesses: &[IpAddr]) -> Result<(), String> {
        witnesses.clone_into(&mut self.witnesses);
        self.maps.set_gateways(witnesses).map_err(chain)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateways.contains(&address)
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
            flags: self.flags(),
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

    fn look(&mut self, routers: bool) -> Result<Look, String> {
        let routers = if routers { self.maps.routers().map_err(chain)? } else { Vec::new() };
        let revoked_epoch = self.maps.revoked_epoch().map_err(chain)?;
        self.speak_as(&routers)?;
        let answers =
            self.probes.as_ref().map_or(Ok(Vec::new()), |p| p.answers(&self.maps)).map_err(chain)?;
        Ok(Look { routers, revoked_epoch, answers })
    }

    fn traffic(&mut self) -> Result<Sample, String> {
        let read = |direction, message| self.maps.traffic(direction, message).map_err(chain);
        let counts = |direction| {
            let of = |message| read(direction, message).map(|seen| seen.packets);
            let transport = read(direction, MessageType::Transport)?;
            Ok::<_, String>(Counts {
                initiations: of(MessageType::Initiation)?,
                responses: of(MessageType::Response)?,
                transport: transport.packets,
                transport_bytes: transport.bytes,
                others: of(MessageType::Cookie)? + of(MessageType::Malformed)?,
            })
        };
        Ok(Sample { received: counts(Direction::Ingress)?, sent: counts(Direction::Egress)? })
    }

    fn has_gateway(&self) -> bool {
        !self.gateways.is_empty()
    }

    fn ask_gateways(&mut self) {
        let Some(Origin { link, mac, source: Some(source) }) = self.origin else { return };
        for gateway in &self.witnesses {
            let Ok(frame) = announce::solicitation(source, mac, *gateway) else { continue };
            if let Err(e) = self.socket.send(link, &frame) {
                tracing::debug!(%gateway, "question: {e}"); // as good as lost
            }
        }
    }

    fn listen(&mut self, closely: bool) -> Result<Listened, String> {
        let arrivals = self.maps.arrivals().map_err(chain)?;
        let answered = Timestamp::from_nanos(arrivals.gateway);
        let before = self.data_in.take();
        if closely {
            self.data_in = Some(self.maps.data_in().map_err(chain)?);
        }
        let more = closely && before.is_some() && before != self.data_in;
        let heard = if more { clock::now() } else { Timestamp::from_nanos(arrivals.any) };
        Ok(Listened { heard, answered })
    }

    fn send_probe(&mut self, peer: PeerId, number: u64, up: bool) {
        let Some(probes) = &mut self.probes else { return };
        if let Err(e) = probes.send(&mut self.maps, peer, number, up) {
            tracing::debug!(peer = peer.0, "probe: {e:#}"); // as good as lost
        }
    }
}

/// An error with its sources, in one line.
pub(super) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
