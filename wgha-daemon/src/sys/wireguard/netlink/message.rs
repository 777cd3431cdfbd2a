//! Generic netlink as far as it is needed: requests with attributes, and what answers consist of.

use std::io;

use netlink_sys::Socket;

/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;
/// What one answer needs at most: the kernel fills no more of a message than it has seen asked for, and 32 KiB.
const ANSWER: usize = 32 * 1024;
/// The bits of an attribute's type that are not flags (NLA_TYPE_MASK).
const TYPE: u16 = 0x3fff;

/// A message without attributes; its length is filled in when it is sent.
pub fn request(family: u16, command: u8) -> Vec<u8> {
    let mut message = vec![0; HEADERS];
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[16] = command;
    message[17] = 1; // the version of both families
    message
}

/// Adds an attribute.
pub fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    with_header(message, kind, |message| message.extend_from_slice(value));
}

/// Adds an attribute that consists of attributes.
pub fn nested(message: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    with_header(message, kind | u16::try_from(libc::NLA_F_NESTED).unwrap_or(0), value);
}

/// `struct nlattr`, the value, and zeros up to a multiple of four. Callers keep values below 64 KiB.
fn with_header(message: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = message.len();
    message.extend([0; 2]);
    message.extend(kind.to_ne_bytes());
    value(message);
    let length = u16::try_from(message.len() - start).unwrap_or(u16::MAX);
    message[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Sends a request; returns the attributes of the answer, if it has any.
///
/// # Errors
/// The kernel's.
pub fn exchange(socket: &Socket, message: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut attributes = Vec::new();
    converse(socket, message, 0, |part| attributes = part.to_vec())?;
    Ok(attributes)
}

/// Sends a request to which there are many answers; `part` sees the attributes of each. Whether they are of one state.
///
/// # Errors
/// The kernel's.
pub fn dump(socket: &Socket, message: Vec<u8>, part: impl FnMut(&[u8])) -> io::Result<bool> {
    let flags = converse(socket, message, libc::NLM_F_DUMP, part)?;
    Ok(flags & u16::try_from(libc::NLM_F_DUMP_INTR).unwrap_or(0) == 0)
}

/// Sends a request and hears answers up to the last one; returns the flags that any of them had.
fn converse(
    socket: &Socket,
    mut message: Vec<u8>,
    flags: libc::c_int,
    mut part: impl FnMut(&[u8]),
) -> io::Result<u16> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    let wanted = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
    message[6..8].copy_from_slice(&u16::try_from(wanted).unwrap_or(0).to_ne_bytes());
    socket.send(&message, 0)?;
    let mut seen = 0;
    loop {
        let mut buffer = Vec::with_capacity(ANSWER);
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while let Some(message) = split_message(rest) {
            seen |= message.flags;
            match i32::from(message.kind) {
                libc::NLMSG_ERROR | libc::NLMSG_DONE => return acknowledged(message.body).map(|()| seen),
                _ => part(message.body.get(4..).unwrap_or_default()),
            }
            rest = message.next;
        }
    }
}

/// A message, and what follows it.
struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
    next: &'a [u8],
}

fn split_message(bytes: &[u8]) -> Option<Message<'_>> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let flags = u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?);
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Message { kind, flags, body: bytes.get(16..length)?, next })
}

/// An acknowledgement, as the end of a dump, begins with a negative errno or with zero.
fn acknowledged(body: &[u8]) -> io::Result<()> {
    match number(body, i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The attributes that these bytes consist of: type and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(number(bytes, u16::from_ne_bytes)?);
        let kind = number(bytes.get(2..)?, u16::from_ne_bytes)? & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The number at the beginning of a value.
pub fn number<const N: usize, T>(value: &[u8], from: fn([u8; N]) -> T) -> Option<T> {
    value.first_chunk().copied().map(from)
}
