//! Sending frames that we have built ourselves.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};
use wgha_common::IfIndex;

/// linux/pkt_sched.h
const CONTROL: u32 = 7;

/// An AF_PACKET socket that only sends: adverts and neighbour advertisements leave through it, by way
/// of TC egress, where they are stamped and fenced.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens it. Protocol 0: nothing is ever received on it.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        // The thread that decides does not wait for a card that does not send.
        socket.set_nonblocking(true)?;
        // TC_PRIO_CONTROL: adverts do not queue behind bulk traffic.
        socket.set_priority(CONTROL)?;
        Ok(Self(socket))
    }

    /// Sends one whole Ethernet frame.
    ///
    /// # Errors
    /// ENXIO when the interface is gone, ENETDOWN when it is down, ENOBUFS or EAGAIN when its queue is full.
    pub fn send(&self, link: IfIndex, frame: &[u8]) -> io::Result<()> {
        self.0.send_to(frame, &address(link, frame)?).map(|_| ())
    }
}

fn address(link: IfIndex, frame: &[u8]) -> io::Result<SockAddr> {
    let ethertype = frame.get(12..14).map_or([0; 2], |b| [b[0], b[1]]);
    let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
    #[expect(unsafe_code, reason = "socket2 has no constructor for sockaddr_ll")]
    // SAFETY: the storage that try_init gives is zeroed, aligned for every sockaddr and larger than
    // sockaddr_ll, which is made of integers; its length is set to that of sockaddr_ll.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let ll = &mut *storage.cast::<libc::sockaddr_ll>();
            ll.sll_family = libc::AF_PACKET as u16;
            ll.sll_protocol = u16::from_ne_bytes(ethertype);
            ll.sll_ifindex = index;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}
