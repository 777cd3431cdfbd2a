//! The thread that decides. It has no runtime, nothing else runs on it, and it has SCHED_FIFO where it may.
//!
//! Whatever may take its time (netlink, WireGuard, the control socket, the log) stays on the main thread; the two
//! talk through channels.

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::node::Node;
use crate::sys::realtime;

/// Runs the loop until the machine has finished, and hands the node back with how it ended. SIGTERM and SIGINT
/// ask it to stop.
///
/// # Errors
/// When the thread cannot be started, or has panicked.
pub async fn run(
    node: Node,
    ring: RingBuf<MapData>,
    stop: mpsc::Sender<()>,
) -> anyhow::Result<(Node, anyhow::Result<()>)> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
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
