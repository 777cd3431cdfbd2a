//! The peers of a device: read, given endpoints, made to start handshakes. Blocking, but never for long.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use wireguard_control::InterfaceName;

use super::{
    Implementation, WireguardError,
    configuration::{Change, Configuration, Section},
    netlink, uapi,
};
use crate::proto::{
    handshakes::{How, Start},
    peers::{PeerKey, WireguardPeer},
};

/// How old what was read of the peers may be when they are removed and added again: what somebody has changed
/// since then is lost.
const FRESH: Duration = Duration::from_secs(5);

/// How long one set may be in bytes: an attribute of netlink holds 64 KiB; and a write to a Unix socket that fits into
/// its buffer is not torn when we are killed, between a removal and what follows it.
pub(super) const SET: usize = 60 * 1024;

/// A device that has been found.
pub struct Device {
    name: String,
    backend: Backend,
    known: Option<Known>,
}

enum Backend {
    Kernel(netlink::Connection),
    Userspace(uapi::Connection),
}

/// The last reading.
struct Known {
    device: Configuration,
    at: Instant,
    took: Duration,
}

/// What a device says of itself, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its UDP port; `None` while it has none.
    pub listen_port: Option<u16>,
    /// Its peers, in the order of their keys.
    pub peers: Vec<WireguardPeer>,
}

impl Device {
    /// Looks in the kernel, then for a UAPI socket.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn open(name: &str) -> Result<Self, WireguardError> {
        let interface: InterfaceName = name.parse().map_err(|_| WireguardError::Name(name.to_owned()))?;
        let socket = PathBuf::from(format!("/var/run/wireguard/{name}.sock"));
        let backend = netlink::Connection::open(interface).map(Backend::Kernel).or_else(|kernel| {
            uapi::Connection::open(socket).map(Backend::Userspace).map_err(|userspace| {
                silent(name, &userspace).unwrap_or_else(|| WireguardError::Unknown {
                    name: name.to_owned(),
                    kernel,
                    userspace,
                })
            })
        })?;
        Ok(Self { name: name.to_owned(), backend, known: None })
    }

    /// The device behind a UAPI socket, wherever it is.
    ///
    /// # Errors
    /// [`WireguardError::Failed`] if nobody listens there.
    pub fn at_socket(socket: &Path) -> Result<Self, WireguardError> {
        let name = socket.display().to_string();
        let backend = uapi::Connection::open(socket.to_owned())
            .map_err(|e| failed(&name, "connecting", e))
            .map(Backend::Userspace)?;
        Ok(Self { name, backend, known: None })
    }

    /// Who runs it.
    #[must_use]
    pub const fn implementation(&self) -> Implementation {
        match self.backend {
            Backend::Kernel(_) => Implementation::Kernel,
            Backend::Userspace(_) => Implementation::Userspace,
        }
    }

    /// Reads it. About 4 µs a peer.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn read(&mut self) -> Result<Reading, WireguardError> {
        let device = &self.look()?.device;
        let peers = device.peers.iter().map(super::configuration::Peer::shown).collect();
        Ok(Reading { listen_port: device.listen_port, peers })
    }

    /// Reads what [`Self::start_handshakes`] will need, unless that has just been done.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn prepare(&mut self) -> Result<(), WireguardError> {
        if self.is_fresh() { Ok(()) } else { self.look().map(drop) }
    }

    fn is_fresh(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.at.elapsed() < FRESH)
    }

    /// How long it took to read it last; nothing is known at first.
    #[must_use]
    pub fn reading_takes(&self) -> Duration {
        self.known.as_ref().map_or(Duration::ZERO, |known| known.took)
    }

    /// What `derive` makes of its private key, if it has one: the key itself is not handed out (invariant I12).
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn channel_secret<K>(
        &mut self,
        derive: impl FnOnce(&[u8; 32]) -> K,
    ) -> Result<Option<K>, WireguardError> {
        Ok(self.known()?.private_key.as_ref().map(derive))
    }

    /// What two devices must agree on to serve the same clients: port, keys of the peers, allowed IPs; to be digested.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn fingerprint(&mut self) -> Result<Vec<u8>, WireguardError> {
        Ok(self.known()?.fingerprint())
    }

    /// Tells it where peers are. Of those that it does not have nothing becomes.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn set_endpoints(&mut self, endpoints: &[(PeerKey, SocketAddr)]) -> Result<(), WireguardError> {
        let update = |(key, endpoint): &(PeerKey, SocketAddr)| {
            let change = Change::Update { endpoint: Some(*endpoint), keepalive: None, allowed_ips: &[] };
            vec![Section { key: *key, change }]
        };
        let changes = endpoints.iter().map(update).collect::<Vec<_>>();
        set(&mut self.backend, &changes).map_err(|e| failed(&self.name, "setting endpoints", e))
    }

    /// Has it start handshakes, in this order; peers that it does not have are left out.
    ///
    /// # Errors
    /// [`WireguardError`]. A peer that was removed and could not be added again has been put back then, if that
    /// was possible at all.
    pub fn start_handshakes(&mut self, starts: &[Start]) -> Result<(), WireguardError> {
        if self.known.is_none() || (!self.is_fresh() && starts.iter().any(|start| start.how == How::Anew)) {
            self.look()?;
        }
        let Self { known, backend, .. } = self;
        let Some(Known { device, .. }) = known else { return Ok(()) };
        let kicks = starts.iter().filter_map(|start| Some(device.peer(start.key)?.kick(start)));
        let done = set(backend, &kicks.collect::<Vec<_>>());
        done.map_err(|e| {
            self.put_back(starts);
            failed(&self.name, "starting handshakes", e)
        })
    }

    /// Adds the peers of `starts` that are missing. What cannot be mended here is no worse for having been tried.
    fn put_back(&mut self, starts: &[Start]) {
        let Some(before) = self.known.take() else { return };
        let Ok(now) = self.look() else { return };
        let lost = starts.iter().filter(|start| now.device.peer(start.key).is_none());
        let lost = lost.filter_map(|start| before.device.peer(start.key)).collect::<Vec<_>>();
        for peer in lost {
            if let Err(e) = set(&mut self.backend, &[peer.put_back()]) {
                tracing::error!(peer = %peer.key, "was lost from {} and cannot be added again: {e}", self.name);
            }
        }
        self.known = Some(before);
    }

    fn known(&mut self) -> Result<&Configuration, WireguardError> {
        if self.known.is_none() {
            self.look()?;
        }
        match &self.known {
            Some(known) => Ok(&known.device),
            None => Err(WireguardError::Silent(self.name.clone())),
        }
    }

    fn look(&mut self) -> Result<&Known, WireguardError> {
        let at = Instant::now();
        let device = match &mut self.backend {
            Backend::Kernel(kernel) => kernel.get(),
            Backend::Userspace(userspace) => userspace.get(),
        };
        let device = device.map_err(|e| failed(&self.name, "reading the device", e))?;
        Ok(self.known.insert(Known { device, at, took: at.elapsed() }))
    }
}

/// Changes peers in as few sets as [`SET`] allows, keeping the sections of one peer together.
fn set(backend: &mut Backend, changes: &[Vec<Section<'_>>]) -> io::Result<()> {
    for sections in sets(changes) {
        match backend {
            Backend::Kernel(kernel) => kernel.set(&sections)?,
            Backend::Userspace(userspace) => userspace.set(&sections)?,
        }
    }
    Ok(())
}

pub(super) fn sets<'a, 's>(changes: &'a [Vec<Section<'s>>]) -> Vec<Vec<&'a Section<'s>>> {
    let mut sets: Vec<Vec<&Section<'_>>> = Vec::new();
    let mut room = 0;
    for change in changes {
        let all = change.iter().map(Section::size).sum::<usize>();
        if all > room {
            sets.push(Vec::new());
            room = SET;
        }
        for section in change {
            // Only a peer with more than a thousand allowed IPs does not fit into a set of its own.
            if section.size() > room {
                sets.push(Vec::new());
                room = SET;
            }
            room -= section.size().min(room);
            sets.last_mut().into_iter().for_each(|set| set.push(section));
        }
    }
    sets
}

fn failed(name: &str, what: &'static str, source: io::Error) -> WireguardError {
    silent(name, &source).unwrap_or_else(|| WireguardError::Failed { name: name.to_owned(), what, source })
}

/// Whether it did not answer in time: a timeout of a socket is reported as if it did not block.
fn silent(name: &str, e: &io::Error) -> Option<WireguardError> {
    let late = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    late.then(|| WireguardError::Silent(name.to_owned()))
}
