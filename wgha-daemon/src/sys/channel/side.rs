//! Which of two servers connects: the one with the higher address. The other listens.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use super::{session::Side, socket};

/// A peer, and where we talk to it from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) peer: SocketAddr,
    /// Our address, if it is configured.
    pub(super) own: Option<IpAddr>,
}

impl Pair {
    /// Our address towards the peer, with `port`, and what that makes us. It may change.
    ///
    /// # Errors
    /// The kernel knows no way to the peer, now.
    pub(super) fn look(self, port: u16) -> io::Result<(SocketAddr, Side)> {
        let own = match self.own {
            Some(own) => own,
            None => socket::own_address(self.peer)?,
        };
        let mut address = self.peer; // a link-local address of ours has the scope of the peer's
        address.set_ip(own);
        address.set_port(port);
        let side = if own > self.peer.ip() { Side::Connector } else { Side::Listener };
        Ok((address, side))
    }
}
