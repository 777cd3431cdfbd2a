//! Requests to rtnetlink that lie on the way of every failover: several in one message, without a runtime.
//!
//! The kernel carries out what one datagram holds before `send` returns, one request after the other, and goes on
//! past those that it refuses. So many changes cost as little as one does.

use std::{io, iter, time::Duration};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

/// Answers are there when `send` returns: this is for what cannot be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The answers to so many fit into the socket's buffer.
const AT_ONCE: usize = 32;
/// No answer to what is asked here is longer.
const ANSWER: usize = 32 * 1024;

/// What is asked for, and the flags that it needs besides NLM_F_REQUEST and NLM_F_ACK.
pub type Request = (RouteNetlinkMessage, u16);
/// What the kernel answers: what was to be read, if anything was, or why it refuses.
pub type Answer = io::Result<Option<RouteNetlinkMessage>>;

/// A socket that is kept.
#[derive(Debug)]
pub struct Requests {
    socket: Socket,
    last: u32,
}

impl Requests {
    /// Connects.
    ///
    /// # Errors
    /// When no netlink socket can be made.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        // A refusal does not repeat what was asked for.
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, last: 0 })
    }

    /// Has `requests` carried out in this order, and returns one answer for each.
    ///
    /// # Errors
    /// When the way to the kernel is broken; what was carried out is not known then.
    pub fn ask(&mut self, requests: Vec<Request>) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            answers.extend(self.exchange(requests.by_ref().take(AT_ONCE))?);
        }
        Ok(answers)
    }

    fn exchange(&mut self, requests: impl Iterator<Item = Request>) -> io::Result<Vec<Answer>> {
        let first = self.last.wrapping_add(1);
        let mut datagram = Vec::new();
        for (message, flags) in requests {
            self.last = self.last.wrapping_add(1);
            append(&mut datagram, message, flags, self.last);
        }
        self.socket.send(&datagram, 0)?;
        let mut answers: Vec<Option<Answer>> = (first..=self.last).map(|_| None).collect();
        let mut read: Vec<_> = answers.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let mut buffer = Vec::with_capacity(ANSWER);
            self.socket.recv(&mut buffer, 0)?;
            for message in messages(&buffer) {
                let NetlinkMessage { header, payload, .. } = message?;
                let at = header.sequence_number.wrapping_sub(first) as usize;
                // What was asked before, and is answered too late, is passed over.
                let Some(answer) = answers.get_mut(at) else { continue };
                match payload {
                    NetlinkPayload::InnerMessage(message) => read[at] = Some(message),
                    NetlinkPayload::Error(e) if e.code.is_some() => *answer = Some(Err(e.to_io())),
                    NetlinkPayload::Error(_) => *answer = Some(Ok(read[at].take())),
                    _ => {}
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

fn append(datagram: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, number: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let start = datagram.len();
    datagram.resize((start + message.buffer_len()).next_multiple_of(4), 0);
    message.serialize(&mut datagram[start..]);
}

/// The messages in a datagram; after one that cannot be understood no more are looked for.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = NetlinkMessage::deserialize(datagram).map_err(io::Error::other);
        let length = message.as_ref().map_or(datagram.len(), |message| message.header.length as usize);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NLM_F_DUMP;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link(name: &str) -> Request {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        (RouteNetlinkMessage::GetLink(message), 0)
    }

    #[test]
    fn a_refusal_is_the_answer_to_its_request_and_no_other() {
        let asked = [vec![link("lo"), link("no-such-link"), link("lo")], vec![link("lo"); AT_ONCE]].concat();
        let answers = Requests::open().unwrap().ask(asked).unwrap();
        assert_eq!(answers.len(), 3 + AT_ONCE);
        for (at, answer) in answers.iter().enumerate() {
            match answer {
                Ok(Some(RouteNetlinkMessage::NewLink(link))) => assert!(at != 1 && link.header.index == 1),
                Err(e) => assert!(at == 1 && e.raw_os_error() == Some(libc::ENODEV), "{at}: {e}"),
                other => panic!("{at}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_breaks_off_is_an_error_and_not_the_end() {
        let mut datagram = Vec::new();
        append(&mut datagram, link("lo").0, NLM_F_DUMP, 7);
        let whole = messages(&datagram).collect::<io::Result<Vec<_>>>().unwrap();
        assert_eq!(whole.iter().map(|m| m.header.sequence_number).collect::<Vec<_>>(), [7]);
        assert!(messages(&datagram[..datagram.len() - 5]).any(|message| message.is_err()));
    }
}
