//! The maps, each from the side that the contract gives the daemon.

use std::{
    collections::BTreeMap,
    mem::offset_of,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::Ordering::{Relaxed, SeqCst},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use wgha_common::{
    Address,
    abi::{
        AdvertSeen, AdvertStamp, Answer, Arrivals, Counter, Direction, EventKind, Lease, MAX_GATEWAYS,
        MAX_PEERS, OUTSTANDING, Outstanding, Peer, Revoked, Rung, Sbfd, Traffic, UplinkConfig, traffic_index,
    },
    wire::wireguard::MessageType,
};

use super::{load::BpfError, shared::Shared};
use crate::config::VirtualAddress;

/// So often an answer is read that changes meanwhile: some microseconds.
const MAX_TRIES: u32 = 1000;

/// The maps of the kernel half.
pub struct Maps {
    uplink: Array<MapData, UplinkConfig>,
    vips: HashMap<MapData, Address, u8>,
    lease: Shared<Lease>,
    advert: Array<MapData, AdvertStamp>,
    revoked: Shared<Revoked>,
    sbfd: Array<MapData, Sbfd>,
    peers: HashMap<MapData, Address, Peer>,
    advertisers: HashMap<MapData, Address, u32>,
    probes: Shared<Outstanding>,
    answers: Shared<Answer>,
    gateways: HashMap<MapData, Address, u8>,
    arrivals: Shared<Arrivals>,
    routers: HashMap<MapData, Address, AdvertSeen>,
    rung: Array<MapData, Rung>,
    counters: PerCpuArray<MapData, u64>,
    traffic: TrafficReader,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            uplink: take(ebpf, "UPLINK")?,
            vips: take(ebpf, "VIPS")?,
            lease: Shared::take(ebpf, "LEASE", true)?,
            advert: take(ebpf, "ADVERT")?,
            revoked: Shared::take(ebpf, "REVOKED", false)?,
            sbfd: take(ebpf, "SBFD")?,
            peers: take(ebpf, "PEERS")?,
            advertisers: take(ebpf, "ADVERTISERS")?,
            probes: Shared::take(ebpf, "PROBES", true)?,
            answers: Shared::take(ebpf, "ANSWERS", false)?,
            gateways: take(ebpf, "GATEWAYS")?,
            arrivals: Shared::take(ebpf, "ARRIVALS", false)?,
            routers: take(ebpf, "ROUTERS")?,
            rung: take(ebpf, "RUNG")?,
            counters: take(ebpf, "COUNTERS")?,
            traffic: TrafficReader::take(ebpf)?,
        })
    }

    /// Writes `UPLINK`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_uplink(&mut self, config: UplinkConfig) -> Result<(), BpfError> {
        self.uplink.set(0, config, 0).map_err(|e| BpfError::Map("UPLINK", e))
    }

    /// Reads `UPLINK`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn uplink(&self) -> Result<UplinkConfig, BpfError> {
        self.uplink.get(&0, 0).map_err(|e| BpfError::Map("UPLINK", e))
    }

    /// Writes `VIPS`: these, and no others.
    ///
    /// # Errors
    /// [`BpfError::Map`], when it is full among others.
    pub fn set_vips(&mut self, vips: &[VirtualAddress]) -> Result<(), BpfError> {
        let vips: Vec<_> = vips.iter().map(|vip| (Address::from(vip.address), vip.prefix_len)).collect();
        set_all(&mut self.vips, &vips).map_err(|e| BpfError::Map("VIPS", e))
    }

    /// Reads `VIPS`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn vips(&self) -> Result<BTreeMap<IpAddr, u8>, BpfError> {
        let vips = self.vips.iter().map(|vip| vip.map(|(address, prefix_len)| (address.into(), prefix_len)));
        vips.collect::<Result<_, _>>().map_err(|e| BpfError::Map("VIPS", e))
    }

    /// Writes `LEASE`. Who reads `until`, and after it the rest, as the kernel half does, never sees the end of one lease
    /// with the epoch or the role of one before.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_lease(&mut self, lease: Lease) -> Result<(), BpfError> {
        let until = self.lease.word(0, offset_of!(Lease, until))?;
        let epoch = self.lease.word(0, offset_of!(Lease, epoch))?;
        let role = self.lease.half(0, offset_of!(Lease, role))?;
        let is_renewal = (epoch.load(Relaxed), role.load(Relaxed)) == (lease.epoch, lease.role);
        if !is_renewal {
            until.store(0, SeqCst);
            epoch.store(lease.epoch, SeqCst);
            role.store(lease.role, SeqCst);
        }
        until.store(lease.until, SeqCst);
        Ok(())
    }

    /// Writes `ADVERT`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_advert(&mut self, stamp: AdvertStamp) -> Result<(), BpfError> {
        self.advert.set(0, stamp, 0).map_err(|e| BpfError::Map("ADVERT", e))
    }

    /// Reads `ADVERT`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn advert(&self) -> Result<AdvertStamp, BpfError> {
        self.advert.get(&0, 0).map_err(|e| BpfError::Map("ADVERT", e))
    }

    /// Reads `SBFD`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn sbfd(&self) -> Result<Sbfd, BpfError> {
        self.sbfd.get(&0, 0).map_err(|e| BpfError::Map("SBFD", e))
    }

    /// Writes `SBFD`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_sbfd(&mut self, sbfd: Sbfd) -> Result<(), BpfError> {
        self.sbfd.set(0, sbfd, 0).map_err(|e| BpfError::Map("SBFD", e))
    }

    /// Writes `PEERS` and `ADVERTISERS`: these, and no others.
    ///
    /// # Errors
    /// [`BpfError::Map`], when one is full among others.
    pub fn set_peers(&mut self, peers: &[(IpAddr, Peer)]) -> Result<(), BpfError> {
        let all: Vec<_> = peers.iter().map(|(address, peer)| (Address::from(*address), *peer)).collect();
        set_all(&mut self.peers, &all).map_err(|e| BpfError::Map("PEERS", e))?;
        let introduced = all.iter().map(|(_, peer)| peer).filter(|peer| peer.is_introduced());
        let advertisers: Vec<_> = introduced.map(|peer| (peer.source, peer.number)).collect();
        set_all(&mut self.advertisers, &advertisers).map_err(|e| BpfError::Map("ADVERTISERS", e))
    }

    /// Reads `PEERS`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn peers(&self) -> Result<Vec<(IpAddr, Peer)>, BpfError> {
        let peers = self.peers.iter().map(|peer| peer.map(|(address, peer)| (address.into(), peer)));
        peers.collect::<Result<_, _>>().map_err(|e| BpfError::Map("PEERS", e))
    }

    /// What one of `PEERS` has told of itself.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_peer(&mut self, address: IpAddr, peer: Peer) -> Result<(), BpfError> {
        let mut peers = self.peers()?;
        peers.iter_mut().filter(|(known, _)| *known == address).for_each(|(_, known)| *known = peer);
        self.set_peers(&peers)
    }

    /// Empties `PROBES`: nobody waits for answers to those of an earlier daemon.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn forget_probes(&mut self) -> Result<(), BpfError> {
        let all = (0..MAX_PEERS).flat_map(|peer| (0..OUTSTANDING).map(move |place| (peer, place)));
        for (peer, place) in all {
            self.set_outstanding(peer, place, 0)?;
        }
        Ok(())
    }

    /// Writes one discriminator of `PROBES` for one peer.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_outstanding(&mut self, peer: u32, place: usize, discriminator: u32) -> Result<(), BpfError> {
        let at = offset_of!(Outstanding, discriminators) + place * size_of::<u32>();
        self.probes.half(peer, at)?.store(discriminator, SeqCst);
        Ok(())
    }

    /// Reads `ANSWERS` for one peer. One that is being written right now is waited for; if whoever writes it has lost its
    /// processor, there is none yet.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn answer(&self, peer: u32) -> Result<Answer, BpfError> {
        let at = self.answers.word(peer, offset_of!(Answer, at))?;
        let answers = self.answers.word(peer, offset_of!(Answer, answers))?;
        let key = self.answers.word(peer, Answer::KEY)?;
        for _ in 0..MAX_TRIES {
            let before = key.load(SeqCst);
            let (at, answers) = (at.load(SeqCst), answers.load(SeqCst));
            if before == key.load(SeqCst) && (before != 0 || answers == 0) {
                return Ok(Answer::with_key(at, answers, before));
            }
            std::hint::spin_loop();
        }
        Ok(Answer::default())
    }

    /// Writes `GATEWAYS`: these, and no others; the first ones, if they are more than it has room for.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn set_gateways(&mut self, gateways: &[IpAddr]) -> Result<(), BpfError> {
        let gateways: Vec<_> =
            gateways.iter().take(MAX_GATEWAYS as usize).map(|gateway| (Address::from(*gateway), 0)).collect();
        set_all(&mut self.gateways, &gateways).map_err(|e| BpfError::Map("GATEWAYS", e))
    }

    /// Reads `ARRIVALS`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn arrivals(&self) -> Result<Arrivals, BpfError> {
        Ok(Arrivals {
            any: self.arrivals.word(0, offset_of!(Arrivals, any))?.load(SeqCst),
            gateway: self.arrivals.word(0, offset_of!(Arrivals, gateway))?.load(SeqCst),
        })
    }

    /// How much of what `ARRIVALS` does not note has come in, passed or not: WireGuard's data.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn data_in(&self) -> Result<u64, BpfError> {
        let passed = self.traffic(Direction::Ingress, MessageType::Transport)?.packets;
        let fenced = self.counters.get(&(Counter::WireguardInFenced as u32), 0);
        let fenced = fenced.map_err(|e| BpfError::Map("COUNTERS", e))?;
        Ok(fenced.iter().fold(passed, |sum, cpu| sum.wrapping_add(*cpu)))
    }

    /// Reads `LEASE`, as the kernel has it.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn lease(&self) -> Result<Lease, BpfError> {
        Ok(Lease {
            until: self.lease.word(0, offset_of!(Lease, until))?.load(SeqCst),
            epoch: self.lease.word(0, offset_of!(Lease, epoch))?.load(SeqCst),
            role: self.lease.half(0, offset_of!(Lease, role))?.load(SeqCst),
            reserved: 0,
        })
    }

    /// Reads the epoch in `REVOKED`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn revoked_epoch(&self) -> Result<u64, BpfError> {
        Ok(self.revoked.word(0, offset_of!(Revoked, epoch))?.load(SeqCst))
    }

    /// Reads `ROUTERS`.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn routers(&self) -> Result<Vec<(IpAddr, AdvertSeen)>, BpfError> {
        let mut routers = Vec::new();
        for key in self.routers.keys() {
            let key = key.map_err(|e| BpfError::Map("ROUTERS", e))?;
            match self.routers.get(&key, 0) {
                Ok(seen) => routers.push((key.into(), seen)),
                Err(MapError::KeyNotFound) => {} // forgotten between the two calls
                Err(e) => return Err(BpfError::Map("ROUTERS", e)),
            }
        }
        Ok(routers)
    }

    /// The counters that are not zero, by name, and the events that did not ring, unless those are ordinary.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, BpfError> {
        let mut counters = BTreeMap::new();
        for counter in Counter::ALL {
            let values =
                self.counters.get(&(*counter as u32), 0).map_err(|e| BpfError::Map("COUNTERS", e))?;
            counters.insert(counter.name().to_owned(), values.iter().sum());
        }
        let mut suppressed = 0;
        for kind in EventKind::ALL.into_iter().filter(|kind| !kind.is_ordinary()) {
            suppressed += self.rung.get(&(kind as u32), 0).map_err(|e| BpfError::Map("RUNG", e))?.suppressed;
        }
        counters.insert("events_suppressed".to_owned(), suppressed);
        counters.retain(|_, n| *n > 0);
        Ok(counters)
    }

    /// WireGuard packets that passed.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn traffic(&self, direction: Direction, message: MessageType) -> Result<Traffic, BpfError> {
        self.traffic.read(direction, message)
    }

    /// Another reader of `TRAFFIC`, for another thread.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn traffic_reader(&self) -> Result<TrafficReader, BpfError> {
        self.traffic.again()
    }
}

/// Reads `TRAFFIC`.
pub struct TrafficReader {
    map: PerCpuArray<MapData, Traffic>,
    fd: OwnedFd,
}

impl TrafficReader {
    /// The map itself: the programs that are yet to be loaded name it by this very descriptor.
    fn take(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        let map = ebpf.take_map("TRAFFIC").ok_or(BpfError::Missing("TRAFFIC"))?;
        let Map::PerCpuArray(data) = &map else { return Err(BpfError::Missing("TRAFFIC")) };
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError);
        Self::of(fd, map).map_err(|e| BpfError::Map("TRAFFIC", e))
    }

    fn again(&self) -> Result<Self, BpfError> {
        let data = || MapData::from_fd(self.fd.try_clone().map_err(MapError::IoError)?);
        let map = data().and_then(Map::from_map_data);
        map.and_then(|map| Self::of(self.fd.try_clone().map_err(MapError::IoError), map))
            .map_err(|e| BpfError::Map("TRAFFIC", e))
    }

    fn of(fd: Result<OwnedFd, MapError>, map: Map) -> Result<Self, MapError> {
        Ok(Self { fd: fd?, map: PerCpuArray::try_from(map)? })
    }

    /// What passed. `epoch` is the newest lease's under which something did, `first` when it first did under that.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn read(&self, direction: Direction, message: MessageType) -> Result<Traffic, BpfError> {
        let index = traffic_index(direction, message);
        let values = self.map.get(&index, 0).map_err(|e| BpfError::Map("TRAFFIC", e))?;
        let epoch = values.iter().map(|cpu| cpu.epoch).max().unwrap_or(0);
        let firsts = values.iter().filter(|cpu| cpu.epoch == epoch && cpu.first != 0).map(|cpu| cpu.first);
        Ok(Traffic {
            packets: values.iter().map(|cpu| cpu.packets).sum(),
            bytes: values.iter().map(|cpu| cpu.bytes).sum(),
            epoch,
            first: firsts.min().unwrap_or(0),
        })
    }
}

/// Leaves `entries` and no others in a map.
fn set_all<K: Pod + PartialEq, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    entries: &[(K, V)],
) -> Result<(), MapError> {
    let there = map.keys().collect::<Result<Vec<_>, _>>()?;
    for other in there.iter().filter(|key| entries.iter().all(|(wanted, _)| wanted != *key)) {
        map.remove(other)?;
    }
    entries.iter().try_for_each(|(key, value)| map.insert(key, value, 0))
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, BpfError> {
    let map = ebpf.take_map(name).ok_or(BpfError::Missing(name))?;
    T::try_from(map).map_err(|e| BpfError::Map(name, e))
}

/// The bytes of a ring record as the record that they are.
pub(super) fn record<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    #[expect(unsafe_code, reason = "a record of the ring is plain old data")]
    // SAFETY: the length was checked, T is Pod (any bytes are a value), and read_unaligned needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
