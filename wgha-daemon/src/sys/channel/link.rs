//! One connection, from the end of the handshake to its own.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    News, What,
    budget::Budget,
    clock::Clock,
    error::LinkError,
    message::{Message, Pong},
    session::{OVERHEAD, Receiver, Sender},
    shared::Shared,
    table::Cursor,
};
use crate::proto::PeerId;

/// A peer hears from us at least so often.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A peer that asks for everything again gets it at most so often.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);

/// Runs until one of both ways ends.
pub(super) async fn run(
    peer: PeerId,
    (sender, receiver): (Sender, Receiver),
    shared: Arc<Shared>,
    news: mpsc::Sender<News>,
) -> LinkError {
    let due = Due::default();
    let writer = Writer {
        peer,
        sender,
        due: &due,
        shared: &shared,
        revised: shared.revised(),
        again: shared.again(peer),
        waits: shared.waits(peer).0,
        cursor: Cursor::default(),
        began_again: None,
    };
    let budget = Budget::new(shared.rate);
    let reader = Reader { peer, receiver, due: &due, shared: &shared, news, budget };
    let ended = tokio::select! {
        ended = writer.run() => ended,
        ended = reader.run() => ended,
    };
    let Err(error) = ended;
    error
}

/// What the reader has the writer do. Holds one of each: a peer that asks for more gets no more.
#[derive(Default)]
struct Due {
    asked: Mutex<Asked>,
    ring: Notify,
}

#[derive(Default)]
struct Asked {
    /// Number and T2 of the latest ping.
    pong: Option<(u64, i64)>,
    snapshot: bool,
    clock: Clock,
}

impl Due {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<'a> {
    peer: PeerId,
    sender: Sender,
    due: &'a Due,
    shared: &'a Shared,
    revised: watch::Receiver<()>,
    /// How often the driver had asked for a snapshot when we last looked.
    again: u64,
    /// The number of what we have last said of how long we wait.
    waits: u64,
    cursor: Cursor,
    /// When it was last begun again.
    began_again: Option<Instant>,
}

impl Writer<'_> {
    async fn run(mut self) -> Result<Infallible, LinkError> {
        let mut ping_at = Instant::now();
        loop {
            self.begin_again_if_asked();
            let again = self.shared.again(self.peer);
            if again != self.again {
                self.again = again;
                self.send(&Message::Again).await?;
            } else if let Some(waits) = self.waits() {
                self.send(&waits).await?;
            } else if let Some(pong) = self.pong() {
                self.send(&pong).await?;
            } else if Instant::now() >= ping_at {
                ping_at = Instant::now() + PING_EVERY;
                let number =
                    self.due.asked().clock.ping((self.shared.wall_clock)(), Instant::now().into_std());
                self.send(&Message::Ping(number)).await?;
            } else if let Some(message) = self.next() {
                self.send(&message).await?;
            } else {
                self.wait(ping_at).await?;
            }
        }
    }

    fn pong(&self) -> Option<Message> {
        let (number, received) = self.due.asked().pong.take()?;
        Some(Message::Pong(Pong { number, received, sent: (self.shared.wall_clock)() }))
    }

    fn waits(&mut self) -> Option<Message> {
        let (number, lease) = self.shared.waits(self.peer);
        let news = number != self.waits;
        self.waits = number;
        news.then_some(Message::Waits(lease))
    }

    fn next(&mut self) -> Option<Message> {
        self.shared.table().next(&mut self.cursor)
    }

    /// Begins again with the records. If it is too early, the next ping comes past here again.
    fn begin_again_if_asked(&mut self) {
        let mut asked = self.due.asked();
        let early = self.began_again.is_some_and(|at| at.elapsed() < SNAPSHOT_EVERY);
        if asked.snapshot && !early {
            asked.snapshot = false;
            self.began_again = Some(Instant::now());
            self.cursor.begin_again();
        }
    }

    async fn wait(&mut self, ping_at: Instant) -> Result<(), LinkError> {
        tokio::select! {
            () = sleep_until(ping_at) => {}
            () = self.due.ring.notified() => {}
            changed = self.revised.changed() => return changed.map_err(|_| LinkError::Unheard),
        }
        Ok(())
    }

    async fn send(&mut self, message: &Message) -> Result<(), LinkError> {
        let records = if let Message::Records(records) = message { records.len() as u64 } else { 0 };
        let bytes = self.sender.send(&message.emit()?).await? as u64;
        self.shared.count(self.peer, |stats| {
            stats.bytes_out += bytes;
            stats.records_out += records;
        });
        yield_now().await; // and so would a snapshot that fits into the socket's buffer
        Ok(())
    }
}

struct Reader<'a> {
    peer: PeerId,
    receiver: Receiver,
    due: &'a Due,
    shared: &'a Shared,
    news: mpsc::Sender<News>,
    budget: Budget,
}

impl Reader<'_> {
    async fn run(mut self) -> Result<Infallible, LinkError> {
        loop {
            let payload = self.receiver.receive().await?;
            let bytes = payload.len() + OVERHEAD;
            let message = Message::parse(payload)?;
            self.shared.count(self.peer, |stats| stats.bytes_in += bytes as u64);
            self.take(message).await?;
            self.budget.pay(bytes).await;
            yield_now().await; // a socket that always has more would keep the runtime to itself
        }
    }

    async fn take(&mut self, message: Option<Message>) -> Result<(), LinkError> {
        match message {
            None => self.shared.count(self.peer, |stats| stats.skipped += 1),
            Some(Message::Introduce(introduction, fingerprints)) => {
                self.tell(What::Introduced(introduction, fingerprints)).await?;
            }
            Some(Message::Records(records)) => {
                self.shared.count(self.peer, |stats| stats.records_in += records.len() as u64);
                self.tell(What::Records(records)).await?;
            }
            Some(Message::Whole) => self.tell(What::Whole).await?,
            Some(Message::Ping(number)) => {
                self.due.asked().pong = Some((number, (self.shared.wall_clock)()));
                self.due.ring.notify_one();
            }
            Some(Message::Pong(pong)) => self.measured(pong).await?,
            Some(Message::Waits(lease)) => self.tell(What::Waits(lease)).await?,
            Some(Message::Again) => {
                self.due.asked().snapshot = true;
                self.due.ring.notify_one();
            }
        }
        Ok(())
    }

    async fn measured(&mut self, pong: Pong) -> Result<(), LinkError> {
        let now = Instant::now().into_std();
        let (offset, news) = {
            let clock = &mut self.due.asked().clock;
            clock.pong(pong, now);
            (clock.offset(), clock.news(now))
        };
        self.shared.count(self.peer, |stats| stats.clock = offset);
        if let Some(offset) = news {
            self.tell(What::Clock { offset_ns: offset.offset_ns, uncertainty_ns: offset.uncertainty_ns })
                .await?;
        }
        Ok(())
    }

    /// Waits while the driver has enough to do: then this peer is not read, and no other is kept waiting by it.
    async fn tell(&self, what: What) -> Result<(), LinkError> {
        let news = News { peer: self.peer, what };
        self.news.send(news).await.map_err(|_| LinkError::Unheard)
    }
}
