//! Nodes, and what is not one, over loopback: no root needed.

mod exchange;
mod hostile;
mod tampered;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    Channel, ChannelKey, News, RATE, Settings, What, open,
    session::{self, Receiver, Sender, Side},
    socket, wall_clock,
};
use crate::proto::{
    PeerId,
    peers::PeerKey,
    sync::{Fingerprints, Introduction, Recency, Record},
};

const PORT: u16 = 17784;
/// Nothing here takes nearly so long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    channel: Channel,
    news: mpsc::Receiver<News>,
    key: watch::Sender<Option<Arc<ChannelKey>>>,
}

/// The address of host `n` in the network of one test; other processes have other networks.
fn host(test: u8, n: u8) -> IpAddr {
    let pid = std::process::id();
    let [.., high, low] = (pid % 60_000).to_be_bytes();
    assert!(n < 8 && test < 32);
    IpAddr::from([127, high.wrapping_add(1), low, test * 8 + n])
}

fn address(test: u8, n: u8) -> SocketAddr {
    (host(test, n), PORT).into()
}

fn key(n: u8) -> Arc<ChannelKey> {
    Arc::new(ChannelKey::derive(&[n; 32]))
}

fn settings(test: u8, n: u8, peers: &[u8]) -> Settings {
    let peers = peers.iter().map(|peer| address(test, *peer)).collect();
    Settings { peers, port: PORT, own: Some(host(test, n)), wall_clock, rate: RATE }
}

fn node(test: u8, n: u8, peers: &[u8]) -> Node {
    node_with(settings(test, n, peers), key(1))
}

fn node_with(settings: Settings, key: Arc<ChannelKey>) -> Node {
    let (key, key_receiver) = watch::channel(Some(key));
    let (channel, news) = open(settings, key_receiver);
    Node { channel, news, key }
}

impl Node {
    async fn next(&mut self) -> What {
        self.next_from().await.what
    }

    /// Clocks are measured all the time.
    async fn next_from(&mut self) -> News {
        loop {
            let news =
                timeout(PATIENCE, self.news.recv()).await.expect("no news").expect("the channel ended");
            if !matches!(news.what, What::Clock { .. }) {
                return news;
            }
        }
    }

    async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                What::Records(records) => all.extend(records),
                other => panic!("{other:?} after {} of {count} records", all.len()),
            }
        }
        all
    }

    async fn lost(&mut self) -> String {
        match self.next().await {
            What::Lost(why) => why,
            other => panic!("{other:?}"),
        }
    }

    async fn nothing_more(&mut self, during: Duration) {
        let more = timeout(during, self.next_from()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

/// Waits until `happened`.
async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it never happened");
}

fn record(n: u16, port: u16) -> Record {
    let mut key = [0xa5; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    Record {
        key: PeerKey(key),
        endpoint: Some(([192, 0, 2, 1], port).into()),
        last_handshake: Some(Duration::new(1_700_000_000, 123_456_789)),
        keepalive: Some(25),
        recency: Recency::NOW,
    }
}

fn introduction(test: u8, n: u8) -> Introduction {
    Introduction {
        source: host(test, n),
        priority: 100 + n,
        serving: n == 1,
        discriminator: u32::from(n),
        lease: Duration::from_millis(50),
        required_min_rx: Duration::from_millis(10),
        reaches: Some(n == 1),
        fit: n == 2,
    }
}

fn fingerprints() -> Fingerprints {
    Fingerprints { vrrp: [1; 16], wireguard: [2; 16] }
}

/// A connection from host `n` to the node that is host 1, which may still be about to listen.
async fn raw(test: u8, n: u8) -> TcpStream {
    for _ in 0..100 {
        if let Ok(stream) = socket::connect((host(test, n), 0).into(), address(test, 1)).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens");
}

/// The same, authenticated.
async fn authentic(test: u8, n: u8) -> (Sender, Receiver) {
    session::open(raw(test, n).await, Side::Connector, &key(1)).await.unwrap()
}
