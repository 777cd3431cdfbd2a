//! Keeps one connection to one peer: makes it or takes it, and begins again when it ends.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    News, What,
    error::LinkError,
    key::ChannelKey,
    link,
    retry::Retry,
    session::{self, Receiver, Sender, Side},
    shared::Shared,
    side::Pair,
    socket,
};
use crate::proto::PeerId;

/// How many connections of a peer may be in their handshake. A silent one keeps its place for two seconds.
const ATTEMPTS_MAX: usize = 4;

type Attempt = Pin<Box<dyn Future<Output = Result<(Sender, Receiver), LinkError>> + Send>>;

/// What the task of a peer begins with.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) pair: Pair,
    pub(super) port: u16,
    pub(super) key: watch::Receiver<Option<Arc<ChannelKey>>>,
    pub(super) accepted: mpsc::Receiver<TcpStream>,
    pub(super) shared: Arc<Shared>,
    pub(super) news: mpsc::Sender<News>,
}

/// The connection that counts.
struct Link {
    run: Pin<Box<dyn Future<Output = LinkError> + Send>>,
    since: Instant,
}

/// What there is to react to.
enum Happened {
    KeyChanged,
    Accepted(TcpStream),
    HandshakeEnded(Result<(Sender, Receiver), LinkError>),
    LinkEnded(LinkError),
    RetryDue,
    ChannelEnded,
}

struct Keeper {
    peer: Peer,
    key: Option<Arc<ChannelKey>>,
    attempts: FuturesUnordered<Attempt>,
    link: Option<Link>,
    retry: Retry,
    /// The mismatch that was told last: each is told once.
    refused: Option<String>,
}

/// Ends when the driver listens no more.
pub(super) async fn run(mut peer: Peer) {
    let key = peer.key.borrow_and_update().clone();
    let attempts = FuturesUnordered::new();
    let mut keeper = Keeper { peer, key, attempts, link: None, retry: Retry::now(), refused: None };
    while !keeper.peer.news.is_closed() {
        match keeper.wait().await {
            Happened::KeyChanged => keeper.take_key().await,
            Happened::Accepted(stream) => keeper.accept(stream),
            Happened::HandshakeEnded(Ok(session)) => keeper.connected(session).await,
            Happened::HandshakeEnded(Err(error)) => keeper.failed(&error).await,
            Happened::LinkEnded(error) => keeper.lost(&error).await,
            Happened::RetryDue => keeper.connect(),
            Happened::ChannelEnded => return,
        }
    }
}

impl Keeper {
    async fn wait(&mut self) -> Happened {
        let idle = self.key.is_some() && self.link.is_none() && self.attempts.is_empty();
        let link = &mut self.link;
        let link_ended = async {
            match link {
                Some(link) => link.run.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            // If it cannot change any more, we keep what we have.
            Ok(()) = self.peer.key.changed() => Happened::KeyChanged,
            accepted = self.peer.accepted.recv() => {
                accepted.map_or(Happened::ChannelEnded, Happened::Accepted)
            }
            Some(ended) = self.attempts.next() => Happened::HandshakeEnded(ended),
            error = link_ended => Happened::LinkEnded(error),
            () = sleep_until(self.retry.at()), if idle => Happened::RetryDue,
        }
    }

    async fn take_key(&mut self) {
        let key = self.peer.key.borrow_and_update().clone();
        if key.as_ref().map(|key| key.fingerprint()) == self.key.as_ref().map(|key| key.fingerprint()) {
            return;
        }
        self.key = key;
        self.attempts.clear();
        self.refused = None;
        if self.link.is_some() {
            self.lost(&LinkError::OurKeyChanged).await;
        }
        self.retry = Retry::now();
    }

    fn accept(&mut self, stream: TcpStream) {
        let listens = self.peer.pair.look(self.peer.port).is_ok_and(|(_, side)| side == Side::Listener);
        match &self.key {
            Some(key) if listens && self.attempts.len() < ATTEMPTS_MAX => {
                let key = Arc::clone(key);
                self.attempts
                    .push(Box::pin(async move { session::open(stream, Side::Listener, &key).await }));
            }
            _ => self.peer.shared.count(self.peer.id, |stats| stats.turned_away += 1),
        }
    }

    fn connect(&mut self) {
        let (Some(key), Ok((mut own, Side::Connector))) = (&self.key, self.peer.pair.look(self.peer.port))
        else {
            return self.retry.idle();
        };
        own.set_port(0);
        let (key, peer) = (Arc::clone(key), self.peer.pair.peer);
        self.attempts.push(Box::pin(async move {
            let stream = socket::connect(own, peer).await?;
            session::open(stream, Side::Connector, &key).await
        }));
    }

    async fn connected(&mut self, session: (Sender, Receiver)) {
        if self.link.is_some() {
            self.lost(&LinkError::Replaced).await;
        }
        self.refused = None;
        self.peer.shared.count(self.peer.id, |stats| {
            stats.connected_since = Some(crate::sys::clock::now());
            stats.connections += 1;
            stats.trouble = None;
        });
        self.tell(What::Connected).await;
        let (shared, news) = (Arc::clone(&self.peer.shared), self.peer.news.clone());
        let run = Box::pin(link::run(self.peer.id, session, shared, news));
        self.link = Some(Link { run, since: Instant::now() });
    }

    async fn failed(&mut self, error: &LinkError) {
        tracing::debug!("peer {} {error}", self.peer.pair.peer.ip());
        if self.link.is_some() {
            return; // somebody at the peer's address has tried something
        }
        let text = format!("it {error}");
        self.peer.shared.count(self.peer.id, |stats| stats.trouble = Some(text.clone()));
        if !error.is_mismatch() {
            return self.retry.after(Duration::ZERO);
        }
        self.retry.after_mismatch();
        if self.refused.as_ref() != Some(&text) {
            self.refused = Some(text.clone());
            self.tell(What::Refused(text)).await;
        }
    }

    async fn lost(&mut self, error: &LinkError) {
        let Some(link) = self.link.take() else { return };
        self.retry.after(link.since.elapsed());
        let text = format!("it {error}");
        self.peer.shared.count(self.peer.id, |stats| {
            stats.connected_since = None;
            stats.clock = None;
            stats.trouble = Some(text.clone());
        });
        self.tell(What::Lost(text)).await;
    }

    /// Waits for the driver; if that is gone, so are we, soon.
    async fn tell(&mut self, what: What) {
        drop(self.peer.news.send(News { peer: self.peer.id, what }).await);
    }
}
