//! What `wgha` prints and how it exits, word for word.
//!
//! The transcripts in tests/cli hold a command line, what it printed (`! ` before lines on standard error) and its
//! exit status. After a change of words: `UPDATE_GOLDEN=1 cargo test -p wgha --test cli`, then read the difference.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::SystemTime,
};

use tokio::sync::{mpsc, oneshot};
use wgha::status::{
    DetectionStatus, Kind, LeaseStatus, PeerStatus, Recorder, RouterStatus, Snapshot, TrafficStatus,
    UplinkStatus, VrrpStatus, Wakeups, WireguardStatus, WitnessStatus,
    control::{ReloadReply, Request, Server},
};
use wgha_common::Timestamp;

#[path = "../src/status/example.rs"]
mod example;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wgha-cli-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn wgha(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgha"));
    command.args(arguments.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    for variable in ["COLUMNS", "WGHA_LOG", "JOURNAL_STREAM", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn transcript(arguments: &str, output: &Output) -> String {
    let mut words = format!("$ {arguments}\n{}", text(&output.stdout));
    text(&output.stderr).lines().for_each(|line| words += &format!("! {line}\n"));
    words + &format!("[exit {}]\n", output.status.code().unwrap())
}

/// Runs every command of a transcript again.
fn same_as_golden(name: &str, folder: &Path) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    let golden = fs::read_to_string(&file).unwrap();
    let commands: Vec<_> = golden.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let got: Vec<_> = commands
        .iter()
        .map(|line| transcript(line, &wgha(folder, line.strip_prefix("wgha").unwrap()).output().unwrap()))
        .collect();
    let got = got.join("\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &got).unwrap();
    }
    assert!(!commands.is_empty());
    assert_eq!(fs::read_to_string(&file).unwrap(), got, "{name}");
}

#[test]
fn help_is_as_agreed() {
    same_as_golden("help.txt", &Folder::new("help").0);
}

#[test]
fn errors_are_as_agreed() {
    let folder = Folder::new("errors");
    let wrong =
        include_str!("config/base.toml").replace("priority = 100", "priority = 255").replace("eno1", "");
    fs::write(folder.0.join("wrong.toml"), wrong).unwrap();
    drop(UnixListener::bind(folder.0.join("abandoned.sock")).unwrap());
    same_as_golden("errors.txt", &folder.0);
}

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = include_str!("../../README.md");
    for golden in [
        include_str!("cli/status-active.txt"),
        include_str!("cli/status-backup.txt"),
        include_str!("cli/status-fault.txt"),
    ] {
        assert!(readme.contains(&format!("```text\n{golden}```\n")), "not in the README:\n{golden}");
    }
    let problems = include_str!("cli/errors.txt").lines().filter_map(|line| line.strip_prefix("! "));
    for problem in problems.filter(|line| line.contains(" = ")) {
        assert!(readme.contains(&format!("\n{problem}\n")), "not in the README: {problem}");
    }
}

/// Serves `snapshot`, and `events` events with one more for each time that it is asked for them, until `during` is over.
fn with_daemon(name: &str, snapshot: Snapshot, events: u64, during: impl FnOnce(&Path)) {
    let folder = Folder::new(name);
    let socket = folder.0.join("wgha.sock");
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let daemon = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(&socket).unwrap();
            let mut recorder = Recorder::new(Timestamp::ZERO, SystemTime::UNIX_EPOCH);
            (0..events).for_each(|_| recorder.record(Kind::Effect, "announced", "ok", Timestamp::ZERO));
            ready.send(()).unwrap();
            let (driver, mut requests) = mpsc::channel(1);
            let (reloads, mut reloading) = mpsc::channel::<ReloadReply>(1);
            let followers = recorder.followers();
            let answer = async {
                while let Some(request) = requests.recv().await {
                    match request {
                        Request::Status(reply) => drop(reply.send(snapshot.clone())),
                        Request::Events(reply) => {
                            drop(reply.send(recorder.events()));
                            recorder.record(Kind::Role, "active", "just now", Timestamp::ZERO);
                        }
                    }
                }
            };
            let refuse = async {
                while let Some(reply) = reloading.recv().await {
                    drop(reply.send(Err("/usr/local/bin/wgha check: it is broken".to_owned())));
                }
            };
            tokio::select! {
                () = server.serve(driver, reloads, followers) => {}
                () = answer => {}
                () = refuse => {}
                _ = stopped => {}
            }
        });
    });
    is_ready.recv().unwrap();
    during(&folder.0);
    drop(stop);
    daemon.join().unwrap();
}

#[test]
fn status_exits_with_the_health_of_the_node() {
    let troubled =
        Snapshot { problems: vec!["the VIP could not be announced: no".into()], ..example::active() };
    for (name, snapshot, code, second_line) in [
        ("active", example::active(), 0, "because: preempted fe80::4, which has a lower priority"),
        ("backup", example::backup(), 0, "because: fe80::3 claims the role with priority 100"),
        (
            "fault",
            example::fault(),
            1,
            "because: the uplink is down or has no carrier; the WireGuard interface does not exist",
        ),
        ("troubled", troubled, 1, "because: preempted fe80::4, which has a lower priority"),
    ] {
        with_daemon(name, snapshot.clone(), 0, |folder| {
            let table = wgha(folder, "status --socket wgha.sock").output().unwrap();
            assert_eq!(table.status.code(), Some(code), "{name}");
            assert_eq!(text(&table.stdout).lines().nth(1), Some(second_line));
            let json = wgha(folder, "status --json --socket wgha.sock").output().unwrap();
            assert_eq!(json.status.code(), Some(code), "{name}");
            assert_eq!(serde_json::from_slice::<Snapshot>(&json.stdout).unwrap(), snapshot);
            assert_eq!((text(&json.stdout).lines().count(), text(&json.stderr)), (1, ""));
        });
    }
}

#[test]
fn a_reload_that_is_refused_says_why() {
    with_daemon("reload", example::active(), 0, |folder| {
        let output = wgha(folder, "reload --socket wgha.sock").output().unwrap();
        let why = "wgha.sock: /usr/local/bin/wgha check: it is broken\n";
        assert_eq!((text(&output.stderr), output.status.code()), (why, Some(1)));
    });
    let nobody = wgha(&Folder::new("reload-nobody").0, "reload --socket wgha.sock").output().unwrap();
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[test]
fn events_are_printed_one_a_line() {
    with_daemon("events", example::active(), 2, |folder| {
        let events = wgha(folder, "events --socket wgha.sock").output().unwrap();
        let line = "1970-01-01T00:00:00.000000Z                  effect  announced       ok\n";
        assert_eq!((text(&events.stdout), events.status.code()), (line.repeat(2).as_str(), Some(0)));
        let json = wgha(folder, "events --json --socket wgha.sock").output().unwrap();
        assert!(text(&json.stdout).starts_with(
            r#"{"seq":1,"at_ns":0,"time":"1970-01-01T00:00:00.000000Z","kind":"effect","what":"announced","detail":"ok","since_evidence_us":null}"#
        ));
        assert_eq!((text(&json.stdout).lines().count(), json.status.code()), (3, Some(0)));
    });
}

#[test]
fn follow_goes_on_until_the_daemon_ends() {
    let mut wgha_events = None;
    with_daemon("follow", example::active(), 1, |folder| {
        let command = "events --json --follow --socket wgha.sock";
        let mut child = wgha(folder, command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("announced"));
        assert!(lines.next().unwrap().unwrap().contains("just now"));
        wgha_events = Some(child);
    });
    let ended = wgha_events.unwrap().wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(text(&ended.stderr), "wgha.sock: the daemon has ended the connection\n");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    with_daemon("pipe", example::fault(), 4000, |folder| {
        for (command, code) in [("events", 0), ("events --follow", 0), ("status", 1)] {
            let command = format!("{command} --socket wgha.sock");
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = wgha(folder, &command).stdout(writer).stderr(Stdio::piped()).output().unwrap();
            assert_eq!((text(&output.stderr), output.status.code()), ("", Some(code)), "{command}");
        }
    });
}
