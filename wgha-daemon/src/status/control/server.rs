use std::{path::Path, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, broadcast, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    super::Event,
    EVENTS, FOLLOW, RELOAD, Refusal, ReloadReply, Reloading, Request, STATUS,
    place::{BindError, Place},
};

/// How many clients may be there at once.
const CONNECTIONS: usize = 16;
/// How many of them may follow, so that there is always room for a `status`.
const FOLLOWERS: usize = 8;
/// Bytes of a request.
const LINE_MAX: usize = 128;
/// After an accept that failed (no file descriptor is left), so that it is not tried in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the server waits for others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a client's next request.
    pub idle: Duration,
    /// For a client to read an answer.
    pub write: Duration,
    /// For the driver to answer.
    pub driver: Duration,
    /// For a successor to be tried out, and for the others to say that they wait.
    pub reload: Duration,
}

impl Patience {
    const USUAL: Self = Self {
        idle: Duration::from_secs(10),
        write: Duration::from_secs(2),
        driver: Duration::from_secs(2),
        reload: Duration::from_secs(25),
    };
}

/// The daemon's side of the control socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    patience: Patience,
    _place: Place,
}

impl Server {
    /// Makes the socket. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]: another daemon has it, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let (place, listener) = Place::bind(path)?;
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map_err(|source| BindError::Io { path: path.to_owned(), source })?;
        Ok(Self { listener, patience: Patience::USUAL, _place: place })
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Answers clients until it is dropped: `Status` and `Events` by asking the driver, what follows from `events`; and hands
    /// on to `reloads` who wants a reload.
    pub async fn serve(
        self,
        driver: mpsc::Sender<Request>,
        reloads: mpsc::Sender<ReloadReply>,
        events: broadcast::Sender<Event>,
    ) {
        let followers = Arc::new(Semaphore::new(FOLLOWERS));
        let desk = Desk { driver, reloads, events, followers, patience: self.patience };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() >= CONNECTIONS => turn_away(&stream),
                    Ok((stream, _)) => { connections.spawn(desk.clone().converse(stream)); }
                    Err(e) => {
                        tracing::warn!("control socket: {e}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Why a conversation ends. Nobody is told: the client is gone, or was dropped.
struct Over;

/// What every conversation needs.
#[derive(Clone)]
struct Desk {
    driver: mpsc::Sender<Request>,
    reloads: mpsc::Sender<ReloadReply>,
    events: broadcast::Sender<Event>,
    followers: Arc<Semaphore>,
    patience: Patience,
}

impl Desk {
    async fn converse(self, stream: UnixStream) {
        let mut client = Connection { stream, unread: Vec::new(), patience: self.patience };
        while self.answer_one(&mut client).await.is_ok() {}
    }

    async fn answer_one(&self, client: &mut Connection) -> Result<(), Over> {
        let line = timeout(self.patience.idle, client.read_line()).await.map_err(|_| Over)??;
        match line.as_str() {
            STATUS => match self.ask(Request::Status).await {
                Ok(snapshot) => client.write(&lines([snapshot])).await,
                Err(why) => client.refuse(why).await,
            },
            EVENTS => match self.ask(Request::Events).await {
                Ok(events) => client.write(&(lines(events) + "\n")).await,
                Err(why) => client.refuse(why).await,
            },
            FOLLOW => self.follow(client).await,
            RELOAD => match self.reload().await {
                Ok(()) => client.write(&lines([Reloading { reloading: true }])).await,
                Err(why) => client.refuse(&why).await,
            },
            _ => client.refuse("unknown request; known are: status, events, events follow, reload").await,
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        if self.reloads.try_send(reply).is_err() {
            return Err("a reload is under way already".to_owned());
        }
        match timeout(self.patience.reload, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the daemon is about to end".to_owned()),
            Err(_) => Err("nothing is heard of the reload; it may still come".to_owned()),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, &'static str> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.driver.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(self.patience.driver, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the daemon is about to end"),
            Err(_) => Err("the daemon's loop does not answer"),
        }
    }

    async fn follow(&self, client: &mut Connection) -> Result<(), Over> {
        let Ok(_place) = self.followers.try_acquire() else {
            return client.refuse("too many follow already").await;
        };
        let mut further = self.events.subscribe();
        let past = match self.ask(Request::Events).await {
            Ok(events) => events,
            Err(why) => return client.refuse(why).await,
        };
        let mut last = past.last().map_or(0, |event| event.seq);
        client.write(&(lines(past) + "\n")).await?;
        loop {
            let event = tokio::select! {
                event = further.recv() => event,
                over = client.hung_up() => return Err(over),
            };
            match event {
                Ok(event) if event.seq <= last => {} // it came while the past was asked for
                Ok(event) => {
                    last = event.seq;
                    client.write(&lines([event])).await?;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return client.refuse("too slow to follow").await;
                }
                Err(broadcast::error::RecvError::Closed) => return Err(Over),
            }
        }
    }
}

/// One client.
struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    patience: Patience,
}

impl Connection {
    async fn read_line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.unread.len() >= LINE_MAX {
                self.refuse("no request is that long").await?;
            }
            self.read_some().await?;
        }
    }

    /// Returns when the client has gone, or talks while it should listen.
    async fn hung_up(&mut self) -> Over {
        while self.unread.len() < LINE_MAX && self.read_some().await.is_ok() {}
        Over
    }

    async fn read_some(&mut self) -> Result<(), Over> {
        let mut some = [0; LINE_MAX];
        match self.stream.read(&mut some).await {
            Ok(len @ 1..) => self.unread.extend_from_slice(&some[..len]),
            Ok(0) | Err(_) => return Err(Over),
        }
        Ok(())
    }

    async fn write(&mut self, text: &str) -> Result<(), Over> {
        match timeout(self.patience.write, self.stream.write_all(text.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }

    /// Says why there is no answer, and ends.
    async fn refuse(&mut self, why: &str) -> Result<(), Over> {
        self.write(&refusal(why)).await?;
        Err(Over)
    }
}

fn turn_away(stream: &UnixStream) {
    let _ = stream.try_write(refusal("too many clients already").as_bytes());
}

fn refusal(why: &str) -> String {
    lines([Refusal { error: why.to_owned() }])
}

fn lines(records: impl IntoIterator<Item = impl Serialize>) -> String {
    let mut text = String::new();
    for record in records {
        match serde_json::to_string(&record) {
            Ok(json) => text += &json,
            Err(e) => tracing::error!("control socket: an answer is not JSON: {e}"),
        }
        text.push('\n');
    }
    text
}
