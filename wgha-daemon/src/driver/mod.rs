//! Carries. One loop: wait for one input, give it to the machine, carry out what follows.
//!
//! | file | holds |
//! |---|---|
//! | [`fence`](mod@fence) | the closed fence before there is a daemon |
//! | [`start`] | from a configuration to a node that is ready |
//! | [`predecessor`] | what the daemon before this one has left, and whether this one goes on with it |
//! | [`reload`] | another program in this one's place |
//! | [`realtime`] | the thread that the loop runs in |
//! | [`wakers`] | what wakes it |
//! | [`node`] | the loop: what can happen, and what is done with it |
//! | [`carrier`] | from one input to every action; the [`carrier::Datapath`] trait |
//! | [`handshakes`] | starts those of a take-over, on its own thread |
//! | [`kernel`] | the real data path: maps and a packet socket |
//! | [`probes`] | S-BFD: from numbers to discriminators and back |
//! | [`worker`] | effects that wait for the kernel, in order |
//! | [`observe`] | looks at the interfaces when the kernel says that something has changed |
//! | [`guard`] | looks whether the programs are still attached |
//! | [`witness`] | writes down what goes by |
//! | [`told`] | what the loop tells the main thread |
//! | [`peers`] | the other servers, and what they must know of WireGuard's peers |
//! | [`snapshot`] | the node, told |

pub mod carrier;
pub mod fence;
pub mod guard;
pub mod handshakes;
pub mod kernel;
pub mod node;
pub mod observe;
pub mod peers;
pub mod predecessor;
pub mod probes;
pub mod realtime;
pub mod reload;
pub mod snapshot;
pub mod start;
pub mod told;
pub mod wakers;
pub mod witness;
pub mod worker;

pub use fence::Fence;
pub use node::Ended;

use crate::{config::Config, sys::program::Program};

/// Runs the daemon until it is asked to stop and has undone everything, or to make way for `program`.
///
/// # Errors
/// What is in the way of starting, or of undoing, in a sentence.
pub fn run(config: Config, program: Program) -> anyhow::Result<Ended> {
    block_on(async {
        let signals = realtime::Signals::new()?;
        let started = start::start(config, program, signals.hangup).await?;
        let (node, result) = realtime::run(started.node, started.ring, started.stop, signals.stops).await?;
        let ended = node.end().await;
        started.serving.abort();
        // Its socket goes with it; that it was aborted is no news.
        let _ = started.serving.await;
        result.and(ended)
    })
}

/// Puts the closed fence there, before anything else.
///
/// # Errors
/// What is missing, or whatever is in the way, in a sentence.
pub fn fence(config: Config) -> anyhow::Result<Fence> {
    block_on(fence::fence(&config))
}

/// Clears away what a daemon has left that was killed, or that had to leave the fence.
///
/// # Errors
/// A daemon is running, or something cannot be removed.
pub fn detach(config: Config) -> anyhow::Result<()> {
    block_on(start::detach(&config))
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A WireGuard process that does not answer must not keep us from ending.
    runtime.shutdown_background();
    result
}
