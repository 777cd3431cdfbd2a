//! An authenticated, encrypted connection: Noise NNpsk0, and frames of one Noise message each.
//!
//! ```text
//! connector            listener
//!   hello ───▶    ◀─── hello            in clear, at once
//!   psk, e ──────────────▶
//!         ◀────────────── e, ee
//!   empty frame ─────────▶              proves that the connector is no replay, before the listener believes it
//! ```
//! A frame is a length (2 bytes, big endian) and so many bytes. Nonces count frames: what is repeated,
//! left out or put in does not decrypt, and ends the connection.

use std::{sync::Arc, time::Duration};

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    error::LinkError,
    hello::{self, Hello},
    key::ChannelKey,
};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// An ephemeral key and a tag: both messages of the handshake.
const HANDSHAKE_LEN: usize = 48;
const TAG_LEN: usize = 16;
/// What a frame is longer than its payload.
pub(super) const OVERHEAD: usize = 2 + TAG_LEN;
/// What a frame can carry.
pub(super) const PAYLOAD_MAX: usize = 65_535 - TAG_LEN;
/// A handshake is two round trips.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// A whole frame must come in this time: a peer that lives pings each 500 ms.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// A whole frame must have gone in this time; before TCP gives up, which could not say why.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who begins the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Connector,
    Listener,
}

/// The writing half.
pub(super) struct Sender {
    half: OwnedWriteHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    frame: Vec<u8>,
}

/// The reading half.
pub(super) struct Receiver {
    half: OwnedReadHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

/// Shakes hands.
pub(super) async fn open(
    stream: TcpStream,
    side: Side,
    key: &ChannelKey,
) -> Result<(Sender, Receiver), LinkError> {
    let opened = timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, side, key)).await;
    opened.unwrap_or(Err(LinkError::Silent(HANDSHAKE_TIMEOUT)))
}

async fn shake_hands(
    mut stream: TcpStream,
    side: Side,
    key: &ChannelKey,
) -> Result<(Sender, Receiver), LinkError> {
    let ours = Hello { version: hello::VERSION, key: key.fingerprint() };
    let theirs = exchange_hellos(&mut stream, ours).await?;
    theirs.meets(ours)?;

    // Both are alike, or we would not be here: one is enough to bind.
    let mut noise = noise(side, key, &ours.emit())?;
    match side {
        Side::Connector => {
            write_handshake(&mut stream, &mut noise).await?;
            read_handshake(&mut stream, &mut noise).await?;
        }
        Side::Listener => {
            read_handshake(&mut stream, &mut noise).await?;
            write_handshake(&mut stream, &mut noise).await?;
        }
    }
    let (mut sender, mut receiver) = split(stream, noise.into_stateless_transport_mode()?);
    match side {
        Side::Connector => drop(sender.send(&[]).await?),
        Side::Listener => drop(receiver.receive().await?),
    }
    Ok((sender, receiver))
}

async fn exchange_hellos(stream: &mut TcpStream, ours: Hello) -> Result<Hello, LinkError> {
    stream.write_all(&ours.emit()).await?;
    let mut theirs = [0; hello::LEN];
    read_exactly(stream, &mut theirs).await?;
    Hello::parse(theirs)
}

fn noise(side: Side, key: &ChannelKey, prologue: &[u8]) -> Result<HandshakeState, LinkError> {
    let builder = Builder::new(PATTERN.parse()?).psk(0, key.psk())?.prologue(prologue)?;
    Ok(match side {
        Side::Connector => builder.build_initiator()?,
        Side::Listener => builder.build_responder()?,
    })
}

async fn write_handshake(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), LinkError> {
    let mut message = [0; HANDSHAKE_LEN];
    let len = noise.write_message(&[], &mut message)?;
    Ok(stream.write_all(&message[..len]).await?)
}

async fn read_handshake(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), LinkError> {
    let mut message = [0; HANDSHAKE_LEN];
    read_exactly(stream, &mut message).await?;
    noise.read_message(&message, &mut [])?;
    Ok(())
}

async fn read_exactly<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut R,
    bytes: &mut [u8],
) -> Result<(), LinkError> {
    match reader.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(LinkError::Closed),
        Err(e) => Err(e.into()),
    }
}

fn split(stream: TcpStream, noise: StatelessTransportState) -> (Sender, Receiver) {
    let noise = Arc::new(noise);
    let (reader, writer) = stream.into_split();
    let sender = Sender { half: writer, noise: Arc::clone(&noise), nonce: 0, frame: Vec::new() };
    let receiver = Receiver { half: reader, noise, nonce: 0, frame: Vec::new(), payload: Vec::new() };
    (sender, receiver)
}

impl Sender {
    /// Sends one frame; how many bytes that were. Not to be called again after an error, or after it was dropped half-way.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<usize, LinkError> {
        let len = u16::try_from(payload.len() + TAG_LEN).map_err(|_| snow::Error::Input)?;
        self.frame.resize(2 + usize::from(len), 0);
        self.frame[..2].copy_from_slice(&len.to_be_bytes());
        self.noise.write_message(self.nonce, payload, &mut self.frame[2..])?;
        self.nonce += 1;
        match timeout(WRITE_TIMEOUT, self.half.write_all(&self.frame)).await {
            Ok(written) => written?,
            Err(_) => return Err(LinkError::NotReading(WRITE_TIMEOUT)),
        }
        Ok(self.frame.len())
    }
}

impl Receiver {
    /// The payload of the next frame. The same holds as for [`Sender::send`].
    pub(super) async fn receive(&mut self) -> Result<&[u8], LinkError> {
        match timeout(READ_TIMEOUT, self.read_frame()).await {
            Ok(read) => read?,
            Err(_) => return Err(LinkError::Silent(READ_TIMEOUT)),
        }
        self.payload.resize(self.frame.len(), 0);
        let len = self.noise.read_message(self.nonce, &self.frame, &mut self.payload)?;
        self.nonce += 1;
        Ok(&self.payload[..len])
    }

    async fn read_frame(&mut self) -> Result<(), LinkError> {
        let mut len = [0; 2];
        read_exactly(&mut self.half, &mut len).await?;
        self.frame.resize(usize::from(u16::from_be_bytes(len)), 0);
        read_exactly(&mut self.half, &mut self.frame).await
    }
}
