//! The thread that decides. It has no runtime, nothing else runs on it, and it has SCHED_FIFO where it may.
//!
//! Whatever may take its time (netlink, WireGuard, the control socket, the log) stays on the main thread; the two
//! talk through channels.

use std::io;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::node::Node;
use crate::sys::realtime;

/// What others may say by signals. To be made early: before that, they end the process.
pub struct Signals {
    /// SIGTERM and SIGINT ask the daemon to stop.
    pub stops: [Signal; 2],
    /// SIGHUP asks it to reload.
    pub hangup: Signal,
}

impl Signals {
    /// From now on.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok(Self { stops, hangup: signal(SignalKind::hangup())? })
    }
}

/// Runs the loop until the machine has finished, and hands the node back with how it ended. Each of `stops` asks it to
/// stop.
///
/// # Errors
/// When the thread cannot be started, or has panicked.
pub async fn run(
    node: Node,
    ring: RingBuf<MapData>,
    stop: mpsc::Sender<()>,
    stops: [Signal; 2],
) -> anyhow::Result<(Node, anyhow::Result<()>)> {
    let [mut term, mut interrupt] = stops;
    let (ended, mut end) = oneshot::channel();
    std::thread::Builder::new().name("decide".to_owned()).spawn(move || {
        // Nobody waits for it any more only if the process is ending.
        let _ = ended.send(decide(node, ring));
    })?;
    loop {
        tokio::select! {
            node = &mut end => return node.context("the thread that decides has panicked"),
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.try_send(()); // full: it was asked already
    }
}

fn decide(mut node: Node, ring: RingBuf<MapData>) -> (Node, anyhow::Result<()>) {
    // What it means that this is refused was said at the start.
    let _ = realtime::schedule(realtime::Thread::Deciding);
    let result = node.run(ring);
    (node, result)
}
