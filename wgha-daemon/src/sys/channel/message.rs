//! What is said: a number that names the kind, and its body in postcard.
//!
//! A kind that is not known is skipped, and so is what follows a known body: a later wgha may say more.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::session::PAYLOAD_MAX;
use crate::proto::sync::{Fingerprints, Introduction, Record};

/// How many records one message carries at most.
pub(super) const RECORDS_MAX: usize = 256;
/// No lease and no interval is longer: the configuration allows a second, 255 times.
const TIME_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Introduce(Introduction, Fingerprints),
    Records(Vec<Record>),
    /// To be answered at once; the number comes back.
    Ping(u64),
    Pong(Pong),
    /// "Tell me all records again."
    Again,
    /// "That was all, until something changes."
    Whole,
    /// "I wait so long for your answers", as an introduction wants it.
    Waits(Duration),
}

/// The answer to a ping, with the moments that NTP calls T2 and T3: nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct Pong {
    pub(super) number: u64,
    pub(super) received: i64,
    pub(super) sent: i64,
}

/// Authentic, and not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Not what its kind says.
    #[error("it is of kind {kind} and cannot be read as such: {source}")]
    Body {
        /// Its kind.
        kind: u8,
        /// What postcard says.
        source: postcard::Error,
    },
    /// More than anybody needs.
    #[error("it carries {0} records, more than {RECORDS_MAX}")]
    Records(usize),
    /// A time that nothing can take.
    #[error("it tells of {0:?}, more than {TIME_MAX:?}")]
    Time(Duration),
}

/// What an introduction ends with. The first version says nothing of it, and does not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
struct Later {
    fit: bool,
    reaches: Option<bool>,
}

const INTRODUCE: u8 = 1;
const RECORDS: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const AGAIN: u8 = 5;
const WAITS: u8 = 6;
const WHOLE: u8 = 7;

impl Message {
    pub(super) fn emit(&self) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::Introduce(introduction, fingerprints) => introduce(introduction, fingerprints),
            Self::Records(records) => emit(RECORDS, records),
            Self::Ping(number) => emit(PING, number),
            Self::Pong(pong) => emit(PONG, pong),
            Self::Again => emit(AGAIN, &()),
            Self::Whole => emit(WHOLE, &()),
            Self::Waits(lease) => emit(WAITS, lease),
        }
    }

    /// `None`: of a kind that this version does not know.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, MessageError> {
        let (kind, body) = bytes.split_first().ok_or(MessageError::Empty)?;
        Ok(Some(match *kind {
            INTRODUCE => {
                let ((mut introduction, fingerprints), later): ((Introduction, _), _) =
                    part(INTRODUCE, body)?;
                let later = part::<Later>(INTRODUCE, later).map(|(later, _)| later).unwrap_or_default();
                introduction.fit = later.fit;
                introduction.reaches = later.reaches;
                for time in [introduction.lease, introduction.required_min_rx] {
                    if time > TIME_MAX {
                        return Err(MessageError::Time(time));
                    }
                }
                Self::Introduce(introduction, fingerprints)
            }
            RECORDS => {
                let records: Vec<Record> = parse(RECORDS, body)?;
                if records.len() > RECORDS_MAX {
                    return Err(MessageError::Records(records.len()));
                }
                Self::Records(records)
            }
            PING => Self::Ping(parse(PING, body)?),
            PONG => Self::Pong(parse(PONG, body)?),
            AGAIN => Self::Again,
            WHOLE => Self::Whole,
            WAITS => Self::Waits(parse(WAITS, body)?),
            _ => return Ok(None),
        }))
    }
}

fn introduce(introduction: &Introduction, fingerprints: &Fingerprints) -> Result<Vec<u8>, MessageError> {
    let said = emit(INTRODUCE, &(introduction, fingerprints))?;
    let later = Later { fit: introduction.fit, reaches: introduction.reaches };
    // Where there is nothing to say it is as the first version would have it.
    if later == Later::default() { Ok(said) } else { extend(INTRODUCE, &later, said) }
}

fn emit<T: Serialize + ?Sized>(kind: u8, body: &T) -> Result<Vec<u8>, MessageError> {
    extend(kind, body, vec![kind])
}

fn extend<T: Serialize + ?Sized>(kind: u8, body: &T, said: Vec<u8>) -> Result<Vec<u8>, MessageError> {
    postcard::to_extend(body, said).map_err(|source| MessageError::Body { kind, source })
}

fn parse<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, MessageError> {
    part(kind, body).map(|(value, _later)| value)
}

/// What a body begins with, and the rest of it.
fn part<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<(T, &[u8]), MessageError> {
    postcard::take_from_bytes(body).map_err(|source| MessageError::Body { kind, source })
}

/// The longest message fits into a frame: a record is at most 84 bytes.
const _: () = assert!(RECORDS_MAX * 84 + 3 <= PAYLOAD_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{peers::PeerKey, sync::Recency};

    fn longest_record() -> Record {
        Record {
            key: PeerKey([255; 32]),
            endpoint: Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap()),
            last_handshake: Some(Duration::MAX),
            keepalive: Some(u16::MAX),
            recency: Recency::LONG_AGO,
        }
    }

    fn introduction() -> Introduction {
        Introduction {
            source: "fe80::1".parse().unwrap(),
            priority: 100,
            serving: true,
            discriminator: u32::MAX,
            lease: Duration::from_millis(50),
            required_min_rx: Duration::from_millis(10),
            reaches: Some(true),
            fit: true,
        }
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let pong = Pong { number: u64::MAX, received: i64::MIN, sent: i64::MAX };
        for message in [
            Message::Introduce(introduction(), Fingerprints::default()),
            Message::Introduce(Introduction { fit: false, ..introduction() }, Fingerprints::default()),
            Message::Introduce(Introduction { reaches: None, ..introduction() }, Fingerprints::default()),
            Message::Records(vec![longest_record(); RECORDS_MAX]),
            Message::Ping(7),
            Message::Pong(pong),
            Message::Again,
            Message::Whole,
            Message::Waits(Duration::from_millis(3000)),
        ] {
            let bytes = message.emit().unwrap();
            assert_eq!(Message::parse(&bytes).unwrap(), Some(message));
        }
    }

    #[test]
    fn the_longest_record_is_as_long_as_is_asserted() {
        let one = Message::Records(vec![longest_record()]).emit().unwrap().len();
        let two = Message::Records(vec![longest_record(); 2]).emit().unwrap().len();
        assert!(two - one <= 84, "{} bytes", two - one);
    }

    #[test]
    fn what_a_later_version_says_is_skipped() {
        assert_eq!(Message::parse(&[200, 1, 2, 3]).unwrap(), None);
        let mut longer = Message::Ping(300).emit().unwrap();
        longer.extend([9, 9, 9]);
        assert_eq!(Message::parse(&longer).unwrap(), Some(Message::Ping(300)));
    }

    /// As the first version reads and writes them.
    #[test]
    fn an_introduction_is_read_across_versions() {
        let told = (introduction(), Fingerprints { vrrp: [1; 16], wireguard: [2; 16] });
        let ours = Message::Introduce(told.0, told.1).emit().unwrap();
        let by_the_first: (Introduction, Fingerprints) = parse(INTRODUCE, &ours[1..]).unwrap();
        let told_less = Introduction { fit: false, reaches: None, ..told.0 };
        assert_eq!(by_the_first, (told_less, told.1));
        let theirs = emit(INTRODUCE, &told).unwrap();
        let read = Message::parse(&theirs).unwrap();
        assert_eq!(read, Some(Message::Introduce(told_less, told.1)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(matches!(Message::parse(&[]), Err(MessageError::Empty)));
        assert!(matches!(Message::parse(&[RECORDS, 255, 255, 255, 255, 15]), Err(MessageError::Body { .. })));
        let many = emit(RECORDS, &vec![longest_record(); RECORDS_MAX + 1]).unwrap();
        assert!(matches!(Message::parse(&many), Err(MessageError::Records(_))));
        let for_ever = Introduction { lease: Duration::from_secs(601), ..introduction() };
        let for_ever = Message::Introduce(for_ever, Fingerprints::default()).emit().unwrap();
        assert!(matches!(Message::parse(&for_ever), Err(MessageError::Time(_))));
    }

    /// Every prefix of every message, and every message with one byte changed, is read or refused.
    #[test]
    fn nothing_that_is_received_panics() {
        let introduce = emit(INTRODUCE, &(introduction(), Fingerprints::default())).unwrap();
        for bytes in [introduce, Message::Records(vec![longest_record(); 2]).emit().unwrap()] {
            for len in 0..bytes.len() {
                assert!(Message::parse(&bytes[..len]).is_err());
            }
            for at in 0..bytes.len() {
                for value in 0..=255 {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    drop(Message::parse(&changed));
                }
            }
        }
    }
}
