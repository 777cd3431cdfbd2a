//! Decides. The state machine of one virtual router (RFC 9568 §6), without socket, clock or async.
//!
//! ```text
//! handle(Input, now) ─▶ Machine ─▶ poll_action() until None
//!                          └────▶ poll_timeout(): when to call handle(Input::TimerFired, now) next
//! ```
//!
//! # Architecture invariants
//! - Same inputs and times, same actions (I1). Nothing here reads a clock or draws a random number.
//! - No take-over on a deadline before [`Action::LookAgain`] was answered (I3).
//! - A lapsed or revoked lease is never renewed: the node steps down and is elected again (I5).
//! - Whatever an action leads to comes back as an [`Input`] (I10).

mod action;
mod adverts;
mod claim;
mod election;
mod group;
mod health;
mod input;
mod lease;
mod machine;
mod note;
mod settings;
mod state;
mod takeover;
mod timers;

pub use action::{Action, Reason};
pub use input::{Heard, Input, TunnelState, UplinkState};
pub use machine::Machine;
pub use settings::Settings;
pub use state::State;
