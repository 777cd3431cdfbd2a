use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::{super::Event, super::Snapshot, EVENTS, FOLLOW, RELOAD, Refusal, Reloading, STATUS};

/// How long the daemon may be silent while it owes an answer. Longer than it gives itself.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long it may take to make way for a successor. Longer than it gives itself.
const RELOADING: Duration = Duration::from_secs(30);
/// Bytes of an answer's line.
const LINE_MAX: u64 = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody is there, or we may not ask.
    #[error("{}: no daemon answers{}", path.display(), hint(source))]
    NoDaemon {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was there, and then?
    #[error("{}: the daemon has ended the connection", .0.display())]
    Ended(PathBuf),
    /// It is there but does not answer.
    #[error("{}: the daemon accepts but does not answer", path.display())]
    Silent {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said why it does not answer.
    #[error("{}: {why}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// In the daemon's words.
        why: String,
    },
    /// It answered something else.
    #[error("{}: not an answer of wgha {}", path.display(), env!("CARGO_PKG_VERSION"))]
    Garbled {
        /// Where.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => " (is `wgha run` running?)",
        io::ErrorKind::PermissionDenied => " you (be root or in the group wgha)",
        io::ErrorKind::WouldBlock => " (it is there, but hangs)",
        _ => "",
    }
}

/// The side of the control socket of who asks.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

/// An answer as it came, and as it is understood.
#[derive(Debug)]
pub struct Answer<T> {
    /// The line of JSON, which may hold more than this version understands.
    pub json: String,
    /// What it says.
    pub value: T,
}

impl Client {
    /// Connects to the daemon at `path`.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`]
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_with(path, PATIENCE)
    }

    pub(super) fn connect_with(path: &Path, patience: Duration) -> Result<Self, ClientError> {
        let stream = connect(path, patience)
            .map_err(|source| ClientError::NoDaemon { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(stream) })
    }

    /// Asks how it is.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn status(&mut self) -> Result<Answer<Snapshot>, ClientError> {
        self.request(STATUS)?;
        self.answer()?.ok_or_else(|| ClientError::Ended(self.path.clone()))
    }

    /// Asks what has happened, and gives each event to `each` until it has had enough. With `follow` there is no end.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn events(
        &mut self,
        follow: bool,
        mut each: impl FnMut(Answer<Event>) -> bool,
    ) -> Result<(), ClientError> {
        self.request(if follow { FOLLOW } else { EVENTS })?;
        while let Some(event) = self.answer()? {
            if !each(event) {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        self.reader.get_ref().set_read_timeout(None).map_err(|source| self.silent(source))?;
        while let Some(event) = self.answer()? {
            if !each(event) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks the daemon to make way for a successor. It has done so when this returns without an error, or is about to.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: it goes on, and why; and the others.
    pub fn reload(&mut self) -> Result<(), ClientError> {
        self.reader.get_ref().set_read_timeout(Some(RELOADING)).map_err(|source| self.silent(source))?;
        self.request(RELOAD)?;
        match self.answer::<Reloading>() {
            // Its last words may be lost.
            Ok(_) | Err(ClientError::Ended(_)) => Ok(()),
            Err(ClientError::Silent { source, .. }) if source.kind() == io::ErrorKind::ConnectionReset => {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn request(&mut self, request: &str) -> Result<(), ClientError> {
        let line = format!("{request}\n");
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|source| self.silent(source))
    }

    /// The next object; none for an empty line.
    fn answer<T: DeserializeOwned>(&mut self) -> Result<Option<Answer<T>>, ClientError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_MAX);
        limited.read_until(b'\n', &mut line).map_err(|source| self.silent(source))?;
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(ClientError::Ended(self.path.clone()));
        };
        if line.is_empty() {
            return Ok(None);
        }
        if let Ok(Refusal { error: why }) = serde_json::from_slice(line) {
            return Err(ClientError::Refused { path: self.path.clone(), why });
        }
        match serde_json::from_slice(line) {
            Ok(value) => Ok(Some(Answer { json: String::from_utf8_lossy(line).into_owned(), value })),
            Err(source) => Err(ClientError::Garbled { path: self.path.clone(), source }),
        }
    }

    fn silent(&self, source: io::Error) -> ClientError {
        ClientError::Silent { path: self.path.clone(), source }
    }
}

/// Without waiting: std's connect would, as long as the queue of a daemon that hangs is full.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    let stream = UnixStream::from(OwnedFd::from(socket));
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}
