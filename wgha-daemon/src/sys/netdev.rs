//! What a driver says of itself: the generic netlink family `netdev` (Linux 6.3; include/uapi/linux/netdev.h).

use std::{io, time::Duration};

use netlink_packet_core::{DefaultNla, Emitable as _, NLM_F_REQUEST, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use socket2::SockRef;
use wgha_common::IfIndex;

/// Answers are there when `send` returns: this is for what cannot be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// No answer to what is asked here is longer.
const ANSWER: usize = 8 * 1024;
/// nlmsghdr, and with genlmsghdr.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
const NLMSG_ERROR: u16 = 2;

/// The family that tells of families, and what it is asked (linux/genetlink.h).
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const FAMILY: &[u8] = b"netdev\0";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// The driver runs programs and obeys their verdicts, XDP_TX among them.
const NETDEV_XDP_ACT_BASIC: u64 = 1;

/// Whether the interface's driver has native XDP; it may still refuse a program, for how the card is set up.
///
/// # Errors
/// ENOENT where the kernel is older than the question; else the kernel's.
pub fn native_xdp(link: IfIndex) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = DefaultNla::new(CTRL_ATTR_FAMILY_NAME, FAMILY.to_vec());
    let answer = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = attribute(&answer, CTRL_ATTR_FAMILY_ID)?;
    let family = u16::from_ne_bytes(family.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
    let index = DefaultNla::new(NETDEV_A_DEV_IFINDEX, link.0.to_ne_bytes().to_vec());
    let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, &index)?;
    let features = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES)?;
    let features = u64::from_ne_bytes(features.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
    Ok(features & NETDEV_XDP_ACT_BASIC != 0)
}

/// Asks with one attribute; returns those of the answer.
fn ask(socket: &Socket, family: u16, command: u8, attribute: &DefaultNla) -> io::Result<Vec<u8>> {
    socket.send(&question(family, command, attribute), 0)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, 0)?;
    let field = |at: usize| answer.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    if field(4).map(u16::from_ne_bytes) == Some(NLMSG_ERROR) {
        let code = answer.get(HEADER..HEADERS).and_then(|bytes| bytes.try_into().ok());
        return Err(io::Error::from_raw_os_error(-code.map_or(-libc::EBADMSG, i32::from_ne_bytes)));
    }
    Ok(answer.get(HEADERS..).unwrap_or_default().to_vec())
}

/// ```text
/// | nlmsghdr: length u32, family u16, flags u16, sequence u32, port u32 | genlmsghdr: command u8, version u8, 0 u16 | attribute |
/// ```
fn question(family: u16, command: u8, attribute: &DefaultNla) -> Vec<u8> {
    let length = HEADERS + attribute.buffer_len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
    message.extend([family, NLM_F_REQUEST].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.resize(length, 0);
    attribute.emit(&mut message[HEADERS..]);
    message
}

/// The value of one attribute.
fn attribute(attributes: &[u8], kind: u16) -> io::Result<Vec<u8>> {
    let mut found = NlasIterator::new(attributes).map_while(Result::ok).filter(|nla| nla.kind() == kind);
    let found = found.next().ok_or(io::ErrorKind::InvalidData)?;
    Ok(found.value().to_vec())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Nla as _;

    use super::*;

    #[test]
    fn a_question_is_as_long_as_it_says() {
        let index = DefaultNla::new(NETDEV_A_DEV_IFINDEX, 7_u32.to_ne_bytes().to_vec());
        assert_eq!((index.kind(), index.value_len()), (1, 4));
        let message = question(0x1d, NETDEV_CMD_DEV_GET, &index);
        assert_eq!(message.len(), 28);
        assert_eq!(message[..4], 28_u32.to_ne_bytes());
        assert_eq!(attribute(&message[HEADERS..], NETDEV_A_DEV_IFINDEX).unwrap(), 7_u32.to_ne_bytes());
        assert!(attribute(&message[HEADERS..], NETDEV_A_DEV_XDP_FEATURES).is_err());
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused_by_the_kernel() {
        let refused = native_xdp(IfIndex(i32::MAX as u32)).unwrap_err().raw_os_error();
        assert!([Some(libc::ENODEV), Some(libc::ENOENT)].contains(&refused), "{refused:?}");
    }

    #[test]
    fn the_loopback_has_no_driver() {
        match native_xdp(IfIndex(1)) {
            Ok(native) => assert!(!native),
            Err(e) => assert_eq!(e.raw_os_error(), Some(libc::ENOENT)),
        }
    }
}
