//! What a peer, or somebody in its place, says on the channel.

use std::{net::Ipv4Addr, sync::LazyLock, time::Duration};

use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use super::{
    hello::{Hello, VERSION},
    key::ChannelKey,
    message::{Message, RECORDS_MAX},
    session::{self, PAYLOAD_MAX, Side},
};

/// A hello. One that is taken is written again as it was; only our own version and key meet ours.
#[must_use]
pub fn hello(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk() else { return false };
    let Ok(hello) = Hello::parse(*bytes) else { return false };
    assert_eq!(&hello.emit(), bytes);
    let ours = Hello { version: VERSION, key: KEY.fingerprint() };
    assert_eq!(hello.meets(ours).is_ok(), hello == ours);
    true
}

/// A message as it stands in a frame. One that is taken is written again, no longer than it was, and read as the same.
#[must_use]
pub fn message(bytes: &[u8]) -> bool {
    let Ok(Some(message)) = Message::parse(bytes) else { return false };
    if let Message::Records(records) = &message {
        assert!(records.len() <= RECORDS_MAX);
    }
    let written = message.emit().unwrap_or_else(|e| panic!("{message:?}: {e}"));
    // Numbers can be written longer than they need be.
    assert!(written.len() <= bytes.len().min(PAYLOAD_MAX), "{message:?}");
    assert!(matches!(Message::parse(&written), Ok(Some(again)) if again == message), "{message:?}");
    true
}

static KEY: LazyLock<ChannelKey> = LazyLock::new(|| ChannelKey::derive(&[1; 32]));

/// The bytes of a connection, after one that says where they come:
///
/// | | |
/// |---|---|
/// | 0 | from who connects, instead of a handshake |
/// | 1 | from who listens, instead of a handshake |
/// | 2 | after the handshake, from who has no key |
/// | 3 | in a frame, from who has |
///
/// Nobody is believed but who has the key, and what that one sends arrives as it was sent.
#[must_use]
pub fn session(bytes: &[u8]) -> bool {
    thread_local!(static RUNTIME: Runtime =
        Builder::new_current_thread().enable_all().build().unwrap_or_else(|e| panic!("{e}")));
    let Some((where_from, bytes)) = bytes.split_first() else { return false };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            match where_from % 4 {
                0 => stranger(bytes, Side::Listener).await,
                1 => stranger(bytes, Side::Connector).await,
                2 => forged(bytes).await,
                _ => authentic(bytes).await,
            }
        })
    })
}

/// Two ends of a connection.
async fn ends() -> (TcpStream, TcpStream) {
    let fails = |e| -> ! { panic!("loopback: {e}") };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap_or_else(|e| fails(e));
    let address = listener.local_addr().unwrap_or_else(|e| fails(e));
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.unwrap_or_else(|e| fails(e)), far.unwrap_or_else(|e| fails(e)).0);
    // Or every one would keep its port for a minute.
    SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap_or_else(|e| fails(e));
    (near, far)
}

async fn stranger(bytes: &[u8], ours: Side) -> bool {
    let (mut theirs, stream) = ends().await;
    let talk = async {
        // It may be hung up on before it has said all.
        let _ = theirs.write_all(bytes).await;
        let _ = theirs.shutdown().await;
    };
    let (opened, ()) = tokio::join!(session::open(stream, ours, &KEY), talk);
    assert!(opened.is_err(), "opened for {bytes:02x?}");
    false
}

async fn forged(bytes: &[u8]) -> bool {
    let (near, far) = ends().await;
    let fd = std::os::fd::AsFd::as_fd(&near).try_clone_to_owned().unwrap_or_else(|e| panic!("{e}"));
    let (sender, receiver) = handshake(near, far).await;
    let mut raw = TcpStream::from_std(fd.into()).unwrap_or_else(|e| panic!("{e}"));
    let mut receiver = receiver;
    let talk = async {
        let _ = raw.write_all(bytes).await;
        let _ = raw.shutdown().await;
    };
    let (received, ()) = tokio::join!(receiver.receive(), talk);
    assert!(received.is_err(), "believed: {bytes:02x?}");
    drop(sender);
    false
}

async fn authentic(bytes: &[u8]) -> bool {
    let (near, far) = ends().await;
    let (mut sender, mut receiver) = handshake(near, far).await;
    if bytes.len() > PAYLOAD_MAX {
        assert!(sender.send(bytes).await.is_err(), "no frame has room for {} bytes", bytes.len());
        return false;
    }
    let (sent, received) = tokio::join!(sender.send(bytes), receiver.receive());
    sent.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(received.unwrap_or_else(|e| panic!("{e}")), bytes);
    true
}

/// Of two who have the same key: what the one sends, and what the other gets.
async fn handshake(near: TcpStream, far: TcpStream) -> (session::Sender, session::Receiver) {
    let both =
        tokio::join!(session::open(near, Side::Connector, &KEY), session::open(far, Side::Listener, &KEY));
    match both {
        (Ok((sender, _)), Ok((_, receiver))) => (sender, receiver),
        (near, far) => panic!("{:?}, {:?}", near.err(), far.err()),
    }
}
