//! S-BFD probes: from the number that the machine gives each to the discriminator on the wire, and back.

use std::{io, net::IpAddr, num::NonZeroU32, time::Duration};

use wgha_common::{
    Timestamp,
    abi::{Answer, OUTSTANDING, Peer as PeerRecord, Sbfd},
    wire::bfd,
};

use crate::{
    proto::{Answered, Introduced, PeerId},
    sys::{
        bpf::{BpfError, Maps},
        probe_socket::ProbeSocket,
    },
};

/// How we probe, as our packets say it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Desired Min TX Interval.
    pub interval: Duration,
    /// Detect Mult.
    pub multiplier: u8,
}

/// The initiator's and the reflector's side of S-BFD that is not decided: numbers and maps.
pub struct Probes {
    socket: Option<ProbeSocket>,
    pace: Pace,
    /// What our reflector answers to.
    discriminator: u32,
    peers: Vec<Peer>,
    random: Randomness,
}

struct Peer {
    address: IpAddr,
    /// What its reflector answers to, once it has told.
    discriminator: Option<u32>,
    /// It has told who it is, this daemon or the one whose lease it goes on with.
    introduced: bool,
    /// Discriminator and number of the last probes; a discriminator of 0 is none.
    under_way: [(u32, u64); OUTSTANDING],
    /// Where the next one is put: over the oldest.
    next: usize,
}

impl Probes {
    /// Tells the kernel half whom to answer, and how: to `discriminator`, if others go by one of ours already, so that their
    /// probes are answered all the time. What they have told of themselves holds then, too.
    ///
    /// # Errors
    /// [`BpfError::Map`]; no random numbers.
    pub fn start(
        pace: Pace,
        peers: &[IpAddr],
        discriminator: Option<NonZeroU32>,
        maps: &mut Maps,
    ) -> anyhow::Result<Self> {
        let mut random = Randomness::default();
        let known = if discriminator.is_some() { maps.peers()? } else { Vec::new() };
        let discriminator = discriminator.map_or_else(|| random.draw(), |known| Ok(known.get()))?;
        let records = records(peers, &known);
        maps.set_peers(&records)?;
        maps.forget_probes()?;
        let peer = |(address, record): &(IpAddr, PeerRecord)| Peer {
            address: *address,
            discriminator: None,
            introduced: record.is_introduced(),
            under_way: [(0, 0); OUTSTANDING],
            next: 0,
        };
        let peers = records.iter().map(peer).collect();
        let mut probes = Self { socket: None, pace, discriminator, peers, random };
        probes.probe_through(None, maps)?;
        Ok(probes)
    }

    /// Probes leave through this socket from now on: the uplink may have come back as another interface.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn probe_through(&mut self, socket: Option<ProbeSocket>, maps: &mut Maps) -> Result<(), BpfError> {
        let port = socket.as_ref().map_or(0, ProbeSocket::port);
        self.socket = socket;
        let required_min_rx = micros(self.pace.interval);
        maps.set_sbfd(Sbfd { discriminator: self.discriminator, required_min_rx, port, ..Sbfd::default() })
    }

    /// The way to the peers, or our address, may have changed.
    pub const fn lose_way(&mut self) {
        if let Some(socket) = &mut self.socket {
            socket.lose_way();
        }
    }

    /// What our reflector answers to.
    #[must_use]
    pub const fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// A peer has told who it is, and what its reflector answers to.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn introduced(
        &mut self,
        who: &Introduced,
        discriminator: u32,
        maps: &mut Maps,
    ) -> Result<(), BpfError> {
        let Some(peer) = self.peers.get_mut(usize::from(who.peer.0)) else { return Ok(()) };
        peer.discriminator = Some(discriminator);
        peer.introduced = true;
        let unknown = PeerRecord::unknown(u32::from(who.peer.0));
        let record = PeerRecord { source: who.source.into(), priority: who.priority, ..unknown };
        maps.set_peer(peer.address, record)
    }

    /// Whether every peer has told who it is.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.peers.iter().all(|peer| peer.introduced)
    }

    /// Which peer has this address.
    #[must_use]
    pub fn peer_at(&self, address: IpAddr) -> Option<PeerId> {
        let place = self.peers.iter().position(|peer| peer.address == address)?;
        u8::try_from(place).ok().map(PeerId)
    }

    /// Sends probe `number`, which says whether we serve.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&mut self, maps: &mut Maps, peer: PeerId, number: u64, up: bool) -> anyhow::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let Some(to) = self.peers.get_mut(usize::from(peer.0)) else { return Ok(()) };
        let Some(your_discriminator) = to.discriminator else { return Ok(()) };
        let my_discriminator = self.random.draw()?;
        to.under_way[to.next] = (my_discriminator, number);
        // Before it leaves: an answer that is not expected is not heard.
        maps.set_outstanding(u32::from(peer.0), to.next, my_discriminator)?;
        to.next = (to.next + 1) % OUTSTANDING;
        let probe = bfd::Packet {
            sender: bfd::Sender::Initiator,
            state: if up { bfd::State::Up } else { bfd::State::Down },
            diagnostic: 0,
            poll: false,
            is_final: false,
            detect_mult: self.pace.multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: micros(self.pace.interval),
            required_min_rx: 0,
        };
        Ok(socket.send(to.address, &probe.bytes())?)
    }

    /// The last answer of each peer, if the probe that it answers is not forgotten.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn answers(&self, maps: &Maps) -> Result<Vec<Answered>, BpfError> {
        let mut answers = Vec::new();
        for (id, peer) in (0..).map(PeerId).zip(&self.peers) {
            if peer.has_probes() {
                answers.extend(peer.answered(id, &maps.answer(u32::from(id.0))?));
            }
        }
        Ok(answers)
    }

    /// The last answer of one peer.
    ///
    /// # Errors
    /// [`BpfError::Map`].
    pub fn answer(&self, maps: &Maps, id: PeerId) -> Result<Option<Answered>, BpfError> {
        let Some(peer) = self.peers.get(usize::from(id.0)) else { return Ok(None) };
        Ok(peer.answered(id, &maps.answer(u32::from(id.0))?))
    }
}

impl Peer {
    fn has_probes(&self) -> bool {
        self.under_way.iter().any(|(discriminator, _)| *discriminator != 0)
    }

    fn answered(&self, peer: PeerId, answer: &Answer) -> Option<Answered> {
        if answer.discriminator == 0 {
            return None;
        }
        let (_, number) = self.under_way.iter().find(|(d, _)| *d == answer.discriminator)?;
        let up = bfd::State::from_number(answer.state) == Some(bfd::State::Up);
        let yielded = !up && answer.diagnostic == bfd::DIAGNOSTIC_NEIGHBOR;
        Some(Answered { peer, number: *number, at: Timestamp::from_nanos(answer.at), up, yielded })
    }
}

/// The records of `peers`: as they were `known`, or that they have told nothing yet.
fn records(peers: &[IpAddr], known: &[(IpAddr, PeerRecord)]) -> Vec<(IpAddr, PeerRecord)> {
    let record = |(number, address): (u32, &IpAddr)| {
        let told = known.iter().find(|(known, _)| known == address).map(|(_, record)| *record);
        (*address, PeerRecord { number, ..told.unwrap_or(PeerRecord::unknown(number)) })
    };
    (0..).zip(peers).map(record).collect()
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

/// Random numbers, of which the kernel is asked for many at a time.
#[derive(Default)]
struct Randomness {
    numbers: [[u8; 4]; 32],
    left: usize,
}

impl Randomness {
    /// Not 0, which is no discriminator (RFC 5880 §6.8.1).
    fn draw(&mut self) -> io::Result<u32> {
        if self.left == 0 {
            getrandom::fill(self.numbers.as_flattened_mut()).map_err(io::Error::other)?;
            self.left = self.numbers.len();
        }
        self.left -= 1;
        Ok(u32::from_ne_bytes(self.numbers[self.left]).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_have_told_is_kept_and_their_numbers_are_ours() {
        let [a, b, gone] = ["192.0.2.4", "192.0.2.5", "192.0.2.6"].map(|a| a.parse::<IpAddr>().unwrap());
        let told = |number, source: IpAddr| PeerRecord {
            source: source.into(),
            priority: 90,
            ..PeerRecord::unknown(number)
        };
        let known = [(gone, told(0, gone)), (b, told(1, b))];
        let records = records(&[b, a], &known);
        assert_eq!(records, [(b, told(0, b)), (a, PeerRecord::unknown(1))]);
    }
}
