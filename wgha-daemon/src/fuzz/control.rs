use std::{
    io::Write,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use wgha_common::Timestamp;

use crate::status::{
    Event, Kind, Recorder, Snapshot,
    control::{Client, ClientError, Request, Server},
    event_line, example, table,
};

/// Nobody sends more at once: it fits into a socket's buffer, and nobody needs to be read for it.
const SENT_MAX: usize = 16 * 1024;
/// Bytes of a request, as the daemon takes them.
const LINE_MAX: usize = 128;

/// What a client sends to the daemon, to the end. Every line of what it gets is an answer; it gets one for each line that
/// it has sent; and after a refusal there is nothing more.
#[must_use]
pub fn request(bytes: &[u8]) -> bool {
    thread_local!(static DAEMON: Daemon = Daemon::start());
    let sent = &bytes[..bytes.len().min(SENT_MAX)];
    DAEMON.with(|daemon| {
        let got = daemon.ask(sent);
        let asked = sent.iter().filter(|&&byte| byte == b'\n').count();
        are_answers(&got, asked, sent.len())
    })
}

fn are_answers(got: &[u8], asked: usize, sent: usize) -> bool {
    let got = std::str::from_utf8(got).unwrap_or_else(|e| panic!("{e}: {got:?}"));
    assert!(got.is_empty() || got.ends_with('\n'), "{got:?}");
    let (mut answers, mut refused) = (0, false);
    for line in got.lines() {
        assert!(!refused, "{line} after a refusal");
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(json) if json.get("error").is_some() => refused = true,
            Ok(json) if serde_json::from_value::<Event>(json.clone()).is_ok() => continue, // an empty line ends them
            Ok(json) => assert!(serde_json::from_value::<Snapshot>(json).is_ok(), "{line}"),
            Err(_) => assert_eq!(line, ""),
        }
        answers += 1;
    }
    // One that is too long needs no end to be refused.
    assert!(answers <= asked + usize::from(sent >= LINE_MAX), "{answers} answers to {asked} lines");
    answers > 0 && !refused
}

/// The daemon's side, with a driver that answers.
struct Daemon {
    runtime: Runtime,
    folder: Folder,
}

impl Daemon {
    fn start() -> Self {
        let folder = Folder::new();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap_or_else(|e| panic!("{e}"));
        let mut recorder = Recorder::new(Timestamp::ZERO, SystemTime::UNIX_EPOCH);
        recorder.record(Kind::Role, "active", "nobody else is heard", Timestamp::ZERO);
        let (driver, mut requests) = mpsc::channel(4);
        let (reloads, mut wishes) = mpsc::channel(4);
        let server = {
            let _within = runtime.enter();
            Server::bind(&folder.socket()).unwrap_or_else(|e| panic!("{e}"))
        };
        runtime.spawn(server.serve(driver, reloads, recorder.followers()));
        runtime.spawn(async move {
            while let Some(wish) = wishes.recv().await {
                drop(wish.send(Err("not now".to_owned())));
            }
        });
        runtime.spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Status(reply) => drop(reply.send(example::active())),
                    Request::Events(reply) => drop(reply.send(recorder.events())),
                }
            }
        });
        Self { runtime, folder }
    }

    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let mut got = Vec::new();
            let mut stream =
                UnixStream::connect(self.folder.socket()).await.unwrap_or_else(|e| panic!("{e}"));
            // The daemon hangs up on who asks for nonsense: then neither is wrong.
            if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
                let _ = stream.read_to_end(&mut got).await;
            }
            got
        })
    }
}

/// What a daemon, or who claims to be one, answers. What is understood of it can be shown.
#[must_use]
pub fn answer(bytes: &[u8]) -> bool {
    thread_local!(static STRANGER: Stranger = Stranger::new());
    let sent = &bytes[..bytes.len().min(SENT_MAX)];
    STRANGER.with(|stranger| {
        let status = stranger.answers(sent, Client::status);
        if let Ok(answer) = &status {
            let shown = table(&answer.value, SystemTime::now());
            assert!(!shown.is_empty());
        }
        let mut events = 0;
        let told = stranger.answers(sent, |client| {
            client.events(false, |event| {
                events += 1;
                assert!(!event_line(&event.value).is_empty());
                true
            })
        });
        status.is_ok() || (told.is_ok() && events > 0)
    })
}

/// It answers everybody with the same.
struct Stranger {
    listener: UnixListener,
    folder: Folder,
}

impl Stranger {
    fn new() -> Self {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).unwrap_or_else(|e| panic!("{e}"));
        Self { listener, folder }
    }

    fn answers<T>(
        &self,
        bytes: &[u8],
        ask: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut client = Client::connect(&self.folder.socket())?;
        let (mut stream, _) = self.listener.accept().unwrap_or_else(|e| panic!("{e}"));
        stream.write_all(bytes).unwrap_or_else(|e| panic!("{e}"));
        // It has said all, but still listens.
        stream.shutdown(std::net::Shutdown::Write).unwrap_or_else(|e| panic!("{e}"));
        ask(&mut client)
    }
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wgha-fuzz-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        Path::new(&self.0).join("wgha.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
