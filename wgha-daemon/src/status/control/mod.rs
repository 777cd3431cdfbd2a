//! The control socket.
//!
//! A client sends one request a line: `status`, `events`, `events follow` or `reload`. Answers are JSON, one object a line:
//!
//! | request | answer |
//! |---|---|
//! | `status` | one [`Snapshot`] |
//! | `events` | every remembered [`Event`], then an empty line |
//! | `events follow` | the same, then every further [`Event`] as it comes |
//! | `reload` | `{"reloading": true}` once the daemon makes way for its successor, and the connection ends |
//! | anything else | `{"error": "…"}`, and the connection ends |
//!
//! The daemon must not suffer from whoever is on the other side: connections are few, lines are short, and who
//! neither asks nor reads is dropped.

mod client;
mod place;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Answer, Client, ClientError};
pub use place::BindError;
pub use server::Server;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Event, Snapshot};

/// What the control socket asks of the driver.
#[derive(Debug)]
pub enum Request {
    /// How is it now?
    Status(oneshot::Sender<Snapshot>),
    /// What has happened?
    Events(oneshot::Sender<Vec<Event>>),
}

/// Whoever asks for a reload hears that the daemon makes way, or why it does not.
pub type ReloadReply = oneshot::Sender<Result<(), String>>;

/// That it makes way.
#[derive(Debug, Serialize, Deserialize)]
struct Reloading {
    reloading: bool,
}

/// What is answered instead, when it cannot be.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    error: String,
}

const STATUS: &str = "status";
const EVENTS: &str = "events";
const FOLLOW: &str = "events follow";
const RELOAD: &str = "reload";
