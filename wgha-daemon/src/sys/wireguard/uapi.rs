//! A userspace implementation: text over a Unix socket (<https://www.wireguard.com/xplatform/>).
//!
//! The connection is kept: wireguard-go answers any number of requests on one. An implementation that closes it after
//! each answer gets a new one for the next.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{
    ANSWER_TIMEOUT,
    configuration::{AllowedIp, Change, Configuration, Peer, Section},
};
use crate::proto::peers::PeerKey;

/// What one read of the socket takes: an answer is 400 bytes a peer.
const BUFFER: usize = 32 * 1024;
/// No line of an answer is nearly as long.
const LONGEST_LINE: u64 = 1024;
/// How long a whole answer may take, that does come.
const WHOLE_ANSWER: Duration = Duration::from_secs(10);

/// A connection to the program that runs a device.
pub(super) struct Connection {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let stream = connect(&path)?;
        Ok(Self { path, stream: Some(stream) })
    }

    /// Reads the device.
    ///
    /// # Errors
    /// No answer in time, or none that can be understood.
    pub fn get(&mut self) -> io::Result<Configuration> {
        self.exchange("get=1\n\n", Reader::new()).map(Reader::finish)
    }

    /// Changes peers, all in one set.
    ///
    /// # Errors
    /// No answer in time, or a refusal; what stood before the refused line is done then.
    pub fn set(&mut self, sections: &[&Section<'_>]) -> io::Result<()> {
        let mut request = String::from("set=1\n");
        for section in sections {
            write_section(&mut request, section);
        }
        request.push('\n');
        self.exchange(&request, ()).map(drop)
    }

    /// A connection that turns out to be closed by the other side was so before it took the request: once more, then.
    fn exchange<A: Answer>(&mut self, request: &str, mut answer: A) -> io::Result<A> {
        if let Some(kept) = self.stream.take().filter(is_open) {
            match self.exchange_on(kept, request, &mut answer) {
                Err(e) if is_closed(&e) => {}
                done => return done.map(|()| answer),
            }
        }
        let fresh = connect(&self.path)?;
        self.exchange_on(fresh, request, &mut answer).map(|()| answer)
    }

    /// Keeps the connection if nothing goes wrong.
    fn exchange_on(
        &mut self,
        mut stream: BufReader<UnixStream>,
        request: &str,
        answer: &mut impl Answer,
    ) -> io::Result<()> {
        stream.get_mut().write_all(request.as_bytes())?;
        if stream.fill_buf()?.is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        receive(&mut stream, answer)?;
        self.stream = Some(stream);
        Ok(())
    }
}

/// Whether there was nobody at the other end any more. (An answer that breaks off is another matter.)
fn is_closed(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Connecting waits for room in the backlog of a program that is stopped: not for ever.
fn connect(path: &PathBuf) -> io::Result<BufReader<UnixStream>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(BufReader::with_capacity(BUFFER, UnixStream::from(std::os::fd::OwnedFd::from(socket))))
}

/// Whether the other side has neither closed it nor said something that was not asked for.
fn is_open(stream: &BufReader<UnixStream>) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked =
        SockRef::from(stream.get_ref()).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    stream.buffer().is_empty() && peeked.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

/// What becomes of the lines before `errno`.
trait Answer {
    fn line(&mut self, key: &str, value: &str) -> io::Result<()>;
}

/// None are expected.
impl Answer for () {
    fn line(&mut self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an answer up to its blank line.
fn receive(stream: &mut BufReader<UnixStream>, answer: &mut impl Answer) -> io::Result<()> {
    let started = Instant::now();
    let mut line = Vec::with_capacity(128);
    let mut errno = None;
    loop {
        line.clear();
        stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if started.elapsed() > WHOLE_ANSWER {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Some(text) = line.strip_suffix(b"\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let text = std::str::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
        match text.split_once('=') {
            Some(("errno", number)) => errno = number.parse::<i32>().ok(),
            Some((key, value)) => answer.line(key, value)?,
            None => break,
        }
    }
    match errno {
        Some(0) => Ok(()),
        // wireguard-go's numbers are negative.
        Some(number) => Err(io::Error::from_raw_os_error(number.wrapping_abs())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

struct Reader {
    device: Configuration,
    peer: Option<Peer>,
}

impl Reader {
    const fn new() -> Self {
        Self { device: Configuration::new(), peer: None }
    }

    fn finish(mut self) -> Configuration {
        self.device.peers.extend(self.peer);
        self.device.settle();
        self.device
    }
}

impl Answer for Reader {
    fn line(&mut self, key: &str, value: &str) -> io::Result<()> {
        if key == "public_key" {
            let next = Peer::new(PeerKey(hex_key(value).ok_or(io::ErrorKind::InvalidData)?));
            self.device.peers.extend(self.peer.replace(next));
            return Ok(());
        }
        match &mut self.peer {
            Some(peer) => peer_line(peer, key, value),
            None => device_line(&mut self.device, key, value),
        }
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn device_line(device: &mut Configuration, key: &str, value: &str) -> Option<()> {
    match key {
        "private_key" => device.private_key = Some(hex_key(value)?),
        "listen_port" => device.listen_port = Some(value.parse().ok()?).filter(|port| *port != 0),
        _ => {}
    }
    Some(())
}

fn peer_line(peer: &mut Peer, key: &str, value: &str) -> Option<()> {
    let handshake = peer.last_handshake.unwrap_or_default();
    match key {
        "preshared_key" => peer.preshared_key = hex_key(value)?,
        // One with the name of an interface as its zone cannot be used here.
        "endpoint" => peer.endpoint = value.parse().ok(),
        "persistent_keepalive_interval" => peer.keepalive = value.parse().ok()?,
        "rx_bytes" => peer.rx_bytes = value.parse().ok()?,
        "tx_bytes" => peer.tx_bytes = value.parse().ok()?,
        "last_handshake_time_sec" => {
            peer.last_handshake = some_time(Duration::new(value.parse().ok()?, handshake.subsec_nanos()));
        }
        "last_handshake_time_nsec" => {
            let nanos = value.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
            peer.last_handshake = some_time(Duration::new(handshake.as_secs(), nanos));
        }
        "allowed_ip" => {
            let (address, length) = value.split_once('/')?;
            let prefix = AllowedIp { address: address.parse().ok()?, length: length.parse().ok()? };
            peer.allowed_ips.push(prefix);
        }
        _ => {}
    }
    Some(())
}

fn some_time(since_epoch: Duration) -> Option<Duration> {
    Some(since_epoch).filter(|time| !time.is_zero())
}

fn hex_key(text: &str) -> Option<[u8; 32]> {
    let digits = <&[u8; 64]>::try_from(text.as_bytes()).ok()?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(key)
}

fn push_hex(text: &mut String, key: &[u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in key {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push('\n');
}

/// A section, in the order in which the lines must come: wireguard-go takes each as it reads it.
fn write_section(text: &mut String, section: &Section<'_>) {
    text.push_str("public_key=");
    push_hex(text, &section.key.0);
    let (endpoint, keepalive, allowed_ips) = match section.change {
        Change::Remove => return text.push_str("remove=true\n"),
        Change::Add { preshared_key, endpoint, keepalive, allowed_ips } => {
            text.push_str("preshared_key=");
            push_hex(text, preshared_key);
            (endpoint, Some(keepalive), allowed_ips)
        }
        Change::Update { endpoint, keepalive, allowed_ips } => {
            text.push_str("update_only=true\n");
            (endpoint, keepalive, allowed_ips)
        }
    };
    // Writing to a String does not fail.
    if let Some(endpoint) = endpoint {
        let _ = writeln!(text, "endpoint={endpoint}");
    }
    for prefix in allowed_ips {
        let _ = writeln!(text, "allowed_ip={}/{}", prefix.address, prefix.length);
    }
    if let Some(seconds) = keepalive {
        let _ = writeln!(text, "persistent_keepalive_interval={seconds}");
    }
}
