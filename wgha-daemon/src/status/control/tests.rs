use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, oneshot};
use wgha_common::Timestamp;

use super::{server::Patience, *};
use crate::status::{Kind, Recorder, example};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);
const PATIENT: Patience = Patience { idle: LONG, write: LONG, driver: LONG, reload: LONG };

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wgha-control-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("wgha.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What the driver does when it is asked.
#[derive(Clone, Copy, PartialEq)]
enum Driver {
    Answers,
    /// And something happens just before it does.
    RecordsThenAnswers,
    Hangs,
    /// As soon as it is to make way for a successor.
    Ends,
}

/// A server with a driver that answers from a recorder, on a thread of its own.
struct Daemon {
    recorder: Arc<Mutex<Recorder>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: Folder,
}

impl Daemon {
    fn start(patience: Patience) -> Self {
        Self::start_with(patience, Driver::Answers)
    }

    fn start_with(patience: Patience, behaviour: Driver) -> Self {
        let folder = Folder::new();
        let recorder = Recorder::new(Timestamp::ZERO, SystemTime::UNIX_EPOCH);
        let (events, recorder) = (recorder.followers(), Arc::new(Mutex::new(recorder)));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (path, remembered) = (folder.socket(), recorder.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&path).unwrap().with_patience(patience);
                ready.send(()).unwrap();
                let (driver, requests) = mpsc::channel(4);
                let (reloads, reloading) = mpsc::channel(1);
                tokio::select! {
                    () = server.serve(driver, reloads, events) => {}
                    () = answer(requests, remembered, behaviour) => {}
                    () = reload(reloading, behaviour) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { recorder, stop: Some(stop), thread: Some(thread), folder }
    }

    fn record(&self, what: &str) {
        let mut recorder = self.recorder.lock().unwrap();
        recorder.record(Kind::Effect, what, "ok", Timestamp::ZERO);
    }

    fn client(&self) -> Client {
        Client::connect_with(&self.folder.socket(), LONG).unwrap()
    }

    /// One that does not keep to the protocol.
    fn stranger(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    fn still_answers(&self) {
        assert_eq!(self.client().status().unwrap().value, example::active());
    }

    /// There is a place for one more, if not at once.
    fn answers_soon(&self) {
        let answered = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            self.client().status().is_ok()
        });
        assert!(answered, "the places of others are not free again");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

async fn answer(mut requests: mpsc::Receiver<Request>, recorder: Arc<Mutex<Recorder>>, behaviour: Driver) {
    let mut unanswered = Vec::new();
    while let Some(request) = requests.recv().await {
        match request {
            request if behaviour == Driver::Hangs => unanswered.push(request),
            Request::Status(reply) => drop(reply.send(example::active())),
            Request::Events(reply) => {
                let mut recorder = recorder.lock().unwrap();
                if behaviour == Driver::RecordsThenAnswers {
                    recorder.record(Kind::Effect, "vip_held", "ok", Timestamp::ZERO);
                }
                drop(reply.send(recorder.events()));
            }
        }
    }
}

/// Makes way for a successor, or says why not, or ends on the way.
async fn reload(mut asked: mpsc::Receiver<ReloadReply>, behaviour: Driver) {
    let mut replies = Vec::new();
    while let Some(reply) = asked.recv().await {
        match behaviour {
            Driver::Answers => drop(reply.send(Ok(()))),
            Driver::RecordsThenAnswers => drop(reply.send(Err("vrrp.id = 0".to_owned()))),
            Driver::Hangs => replies.push(reply),
            Driver::Ends => return,
        }
    }
}

fn rest_of(mut stream: &UnixStream) -> String {
    let mut text = Vec::new();
    if let Err(e) = stream.read_to_end(&mut text) {
        assert_eq!(e.kind(), ErrorKind::ConnectionReset, "the connection goes on");
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn status_is_one_line_of_json() {
    let daemon = Daemon::start(PATIENT);
    let mut client = daemon.client();
    for _ in 0..2 {
        let answer = client.status().unwrap();
        assert_eq!(answer.value, example::active());
        assert_eq!(answer.json, serde_json::to_string(&example::active()).unwrap());
    }
}

#[test]
fn events_come_with_an_end() {
    let daemon = Daemon::start(PATIENT);
    let mut seen = Vec::new();
    daemon.client().events(false, |_| panic!("there is none")).unwrap();
    daemon.record("vip_held");
    daemon.record("announced");
    let mut client = daemon.client();
    client
        .events(false, |event| {
            seen.push(event.value.what);
            true
        })
        .unwrap();
    assert_eq!(seen, ["vip_held", "announced"]);
    assert_eq!(client.status().unwrap().value, example::active(), "the connection goes on");
}

#[test]
fn followers_see_the_past_and_then_every_event_once() {
    for behaviour in [Driver::Answers, Driver::RecordsThenAnswers] {
        let daemon = Daemon::start_with(PATIENT, behaviour);
        (0..3).for_each(|_| daemon.record("announced"));
        let mut seen = Vec::new();
        let follow = |event: Answer<Event>| {
            seen.push(event.value.seq);
            daemon.record("announced");
            seen.len() < 100
        };
        daemon.client().events(true, follow).unwrap();
        assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    }
}

#[test]
fn garbage_is_refused_and_ends_the_connection() {
    let daemon = Daemon::start(PATIENT);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\n", b"\xff\xfe\0\n", b"statusx\n", b"events  follow\n"]
    {
        let mut stranger = daemon.stranger();
        stranger.write_all(garbage).unwrap();
        let said = rest_of(&stranger);
        assert!(said.starts_with("{\"error\":\"unknown request"), "{garbage:?}: {said}");
        assert_eq!(said.lines().count(), 1);
    }
    daemon.still_answers();
}

#[test]
fn a_line_without_end_is_cut_off() {
    let daemon = Daemon::start(PATIENT);
    let mut stranger = daemon.stranger();
    let sent = stranger.write_all(&vec![b'a'; 1024 * 1024]);
    assert!(sent.is_err(), "1 MiB was taken without a word");
    let said = rest_of(&stranger);
    assert_eq!(said, "{\"error\":\"no request is that long\"}\n");
    daemon.still_answers();
}

#[test]
fn who_says_nothing_is_dropped() {
    let daemon = Daemon::start(Patience { idle: SHORT, ..PATIENT });
    assert_eq!(rest_of(&daemon.stranger()), "");
    let mut half = daemon.stranger();
    half.write_all(b"stat").unwrap();
    assert_eq!(rest_of(&half), "");
}

#[test]
fn a_follower_may_be_silent() {
    let daemon = Daemon::start(Patience { idle: SHORT, ..PATIENT });
    let mut follower = daemon.stranger();
    follower.write_all(b"events follow\n").unwrap();
    thread::sleep(4 * SHORT);
    daemon.record("announced");
    let mut lines = BufReader::new(&follower).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "", "the past is empty");
    assert!(lines.next().unwrap().unwrap().contains("announced"));
}

#[test]
fn who_does_not_read_is_dropped_and_nobody_waits_for_it() {
    let daemon = Daemon::start(Patience { write: SHORT, ..PATIENT });
    let mut deaf = daemon.stranger();
    deaf.write_all(b"events follow\n").unwrap();
    let mut first = [0; 1];
    deaf.read_exact(&mut first).unwrap();
    for _ in 0..20_000 {
        daemon.record("announced");
    }
    daemon.still_answers();
    let seen = rest_of(&deaf).lines().count();
    assert!(seen < 20_000, "all {seen} were kept for it");
}

#[test]
fn who_leaves_early_is_forgotten() {
    let daemon = Daemon::start(PATIENT);
    (0..4000).for_each(|_| daemon.record("announced"));
    for request in ["", "stat", "status\n", "events\n", "events follow\n", "status\nstatus\nevents\n"] {
        for _ in 0..20 {
            let mut stranger = daemon.stranger();
            let _ = stranger.write_all(request.as_bytes()); // the 17th may be turned away before it writes
        }
    }
    daemon.answers_soon();
}

#[test]
fn there_is_room_for_sixteen() {
    let daemon = Daemon::start(PATIENT);
    let mut clients: Vec<_> = (0..16).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.status().unwrap()));
    let refused = rest_of(&daemon.stranger());
    assert_eq!(refused, "{\"error\":\"too many clients already\"}\n");
    clients.pop();
    daemon.answers_soon();
}

#[test]
fn followers_leave_room_for_others() {
    let daemon = Daemon::start(PATIENT);
    daemon.record("announced");
    let follow = |daemon: &Daemon| {
        let mut follower = daemon.stranger();
        follower.write_all(b"events follow\n").unwrap();
        let mut first = [0; 9];
        follower.read_exact(&mut first).unwrap();
        (follower, first)
    };
    let followers: Vec<_> = (0..8).map(|_| follow(&daemon)).collect();
    assert!(followers.iter().all(|(_, first)| first == b"{\"seq\":1,"));
    assert_eq!(&follow(&daemon).1, b"{\"error\":");
    daemon.still_answers();
    drop(followers);
    let taken = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        follow(&daemon).1.starts_with(b"{\"seq\"")
    });
    assert!(taken, "followers who left without an event are not forgotten");
}

#[test]
fn a_reload_is_under_way_or_it_is_told_why_not() {
    Daemon::start(PATIENT).client().reload().unwrap();
    let refusing = Daemon::start_with(PATIENT, Driver::RecordsThenAnswers);
    let error = refusing.client().reload().unwrap_err();
    assert!(matches!(&error, ClientError::Refused { why, .. } if why == "vrrp.id = 0"), "{error}");
    refusing.still_answers();
    // The daemon that makes way may end before it has said so.
    Daemon::start_with(PATIENT, Driver::Ends).client().reload().unwrap();
}

#[test]
fn a_reload_of_which_nothing_is_heard_is_told() {
    let daemon = Daemon::start_with(Patience { reload: SHORT, ..PATIENT }, Driver::Hangs);
    let error = daemon.client().reload().unwrap_err().to_string();
    assert!(error.ends_with("nothing is heard of the reload; it may still come"), "{error}");
}

#[test]
fn a_driver_that_hangs_is_told() {
    let daemon = Daemon::start_with(Patience { driver: SHORT, ..PATIENT }, Driver::Hangs);
    let error = daemon.client().status().unwrap_err().to_string();
    assert!(error.ends_with("the daemon's loop does not answer"), "{error}");
}

#[test]
fn the_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
    let folder = Folder::new();
    let path = folder.0.join("made/on/the/way/wgha.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let server = Server::bind(&path).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(Server::bind(&path), Err(BindError::InUse(_))));
    drop(server);
    assert!(!path.exists());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn only_a_socket_that_nobody_answers_on_is_replaced() {
    let folder = Folder::new();
    let path = folder.socket();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Server::bind(&path), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file behind, like a daemon that was killed");
    let server = Server::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists(), "the successor's socket was removed");
    drop(successor);
}

fn ask(path: &Path) -> String {
    let answer = Client::connect_with(path, SHORT).and_then(|mut client| client.status());
    format!("{:#}", anyhow::Error::from(answer.unwrap_err())).replace(&path.display().to_string(), "SOCKET")
}

#[test]
fn what_is_no_daemon_is_told_apart() {
    let folder = Folder::new();
    let path = folder.socket();
    let absent = "SOCKET: no daemon answers (is `wgha run` running?): No such file or directory (os error 2)";
    assert_eq!(ask(&path), absent);
    let listener = UnixListener::bind(&path).unwrap();
    let silent =
        "SOCKET: the daemon accepts but does not answer: Resource temporarily unavailable (os error 11)";
    assert_eq!(ask(&path), silent);
    drop(listener.accept().unwrap());
    for (says, want) in [
        ("", "SOCKET: the daemon has ended the connection"),
        ("\n", "SOCKET: the daemon has ended the connection"),
        ("{\"version\":", "SOCKET: the daemon has ended the connection"),
        ("{\"error\":\"no\"}\n", "SOCKET: no"),
        (
            "{}\n",
            concat!(
                "SOCKET: not an answer of wgha ",
                env!("CARGO_PKG_VERSION"),
                ": missing field `version` at line 1 column 2"
            ),
        ),
    ] {
        let answering = thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(says.as_bytes()).unwrap();
                let mut request = [0; 7];
                stream.read_exact(&mut request).unwrap();
            }
        });
        assert_eq!(ask(&path), want, "{says:?}");
        answering.join().unwrap();
    }
    drop(listener);
    assert!(ask(&path).contains("Connection refused"));
}

#[test]
fn who_does_not_read_does_not_keep_its_place() {
    let daemon = Daemon::start(Patience { write: SHORT, ..PATIENT });
    (0..4000).for_each(|_| daemon.record("announced"));
    let mut deaf: Vec<_> = (0..16).map(|_| daemon.stranger()).collect();
    deaf.iter_mut().for_each(|stranger| stranger.write_all(b"events\n").unwrap());
    daemon.answers_soon();
}

#[test]
fn a_daemon_whose_queue_is_full_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.socket();
    let hung = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    hung.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    hung.listen(0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let full =
        "SOCKET: no daemon answers (it is there, but hangs): Resource temporarily unavailable (os error 11)";
    assert_eq!(ask(&path), full);
}
