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

const INTRODUCE: u8 = 1;
const RECORDS: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const AGAIN: u8 = 5;
const WAITS: u8 = 6;

impl Message {
    pub(super) fn emit(&self) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::Introduce(introduction, fingerprints) => {
                let bytes = emit(INTRODUCE, &(introduction, fingerprints))?;
                Ok([bytes, introduction.reaches.map(u8::from).into_iter().collect()].concat())
            }
            Self::Records(records) => emit(RECORDS, records),
            Self::Ping(number) => emit(PING, number),
            Self::Pong(pong) => emit(PONG, pong),
            Self::Again => emit(AGAIN, &()),
            Self::Waits(lease) => emit(WAITS, lease),
        }
    }

    /// `None`: of a kind that this version does not know.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, MessageError> {
        let (kind, body) = bytes.split_first().ok_or(MessageError::Empty)?;
        Ok(Some(match *kind {
            INTRODUCE => {
                let ((mut introduction, fingerprints), later): ((Introduction, _), _) =
                    parse_start(INTRODUCE, body)?;
                introduction.reaches = reaches(later);
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
            WAITS => Self::Waits(parse(WAITS, body)?),
            _ => return Ok(None),
        }))
    }
}

fn emit<T: Serialize + ?Sized>(kind: u8, body: &T) -> Result<Vec<u8>, MessageError> {
    postcard::to_extend(body, vec![kind]).map_err(|source| MessageError::Body { kind, source })
}

fn parse<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, MessageError> {
    parse_start(kind, body).map(|(value, _later)| value)
}

/// A body, and what a later version has said after it.
fn parse_start<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<(T, &[u8]), MessageError> {
    postcard::take_from_bytes(body).map_err(|source| MessageError::Body { kind, source })
}

/// What follows an introduction: nothing in the first version.
const fn reaches(later: &[u8]) -> Option<bool> {
    match later {
        [0, ..] => Some(false),
        [1, ..] => Some(true),
        _ => None,
    }
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
            reaches: None,
        }
    }

    fn reaches(reaches: Option<bool>) -> Introduction {
        Introduction { reaches, ..introduction() }
    }

    /// The first version says nothing of the gateway, and skips what is said of it.
    #[test]
    fn what_is_reached_is_said_last_and_need_not_be() {
        let emit = |who| Message::Introduce(who, Fingerprints::default()).emit().unwrap();
        let (without, with) = (emit(introduction()), emit(reaches(Some(true))));
        assert_eq!(with.strip_prefix(without.as_slice()), Some([1].as_slice()));
        for (later, want) in
            [(vec![], None), (vec![0, 9], Some(false)), (vec![1], Some(true)), (vec![7], None)]
        {
            let bytes = [without.clone(), later].concat();
            let Some(Message::Introduce(who, _)) = Message::parse(&bytes).unwrap() else { panic!() };
            assert_eq!(who, reaches(want));
        }
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let pong = Pong { number: u64::MAX, received: i64::MIN, sent: i64::MAX };
        for message in [
            Message::Introduce(introduction(), Fingerprints::default()),
            Message::Introduce(reaches(Some(true)), Fingerprints::default()),
            Message::Introduce(reaches(Some(false)), Fingerprints::default()),
            Message::Records(vec![longest_record(); RECORDS_MAX]),
            Message::Ping(7),
            Message::Pong(pong),
            Message::Again,
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
        let introduce = Message::Introduce(introduction(), Fingerprints::default()).emit().unwrap();
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
