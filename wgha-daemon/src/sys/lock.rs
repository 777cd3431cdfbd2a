//! One daemon for one uplink.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use wgha_common::IfIndex;

/// Held as long as this lives: an abstract socket, which goes with the process and is known in its
/// network namespace only, as the uplink is.
#[derive(Debug)]
pub struct UplinkLock {
    link: IfIndex,
    _socket: UnixDatagram,
}

impl UplinkLock {
    /// Takes the uplink.
    ///
    /// # Errors
    /// EADDRINUSE: another daemon has it.
    pub fn take(link: IfIndex) -> io::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("wgha-uplink-{link}"))?;
        Ok(Self { link, _socket: UnixDatagram::bind_addr(&name)? })
    }

    /// Whether it is of this uplink.
    #[must_use]
    pub fn is_of(&self, link: IfIndex) -> bool {
        self.link == link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_until_it_is_dropped() {
        let link = IfIndex(u32::MAX - std::process::id());
        let first = UplinkLock::take(link).unwrap();
        assert_eq!(UplinkLock::take(link).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        UplinkLock::take(link).unwrap();
    }
}
