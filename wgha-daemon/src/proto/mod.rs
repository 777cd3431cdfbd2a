//! Decides. The state machine of one virtual router (RFC 9568 §6), without socket, clock or async.
//!
//! ```text
//! handle(Input, now) ─▶ Machine ─▶ poll_action() until None
//!                          └────▶ poll_timeout(): when to call handle(Input::TimerFired, now) next
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `machine` | dispatch, start, stop, faults |
//! | `election` | who serves: Backup, Active, and what both make of an advert |
//! | `claim`, `clients` | preemption: tell first, then serve; but not before we know whom |
//! | `detect`, `prober`, `introduced` | probes to the Active Router, and our rank among those that would follow it |
//! | `rivals` | probes of a node that holds the role: who may serve beside us |
//! | `trust` | what an advert is worth where claims have to be proven |
//! | `adverts`, `lease` | what we say, and what it allows us to do |
//! | `reload` | another program takes this one's place, under the same lease |
//! | `takeover`, `gateway`, `group` | the order of effects, and which of their ends count |
//! | `hearing`, `witness` | whether we hear anything, with the gateway as a witness; and what follows from that |
//! | `health`, `note` | what keeps a node from serving, and what does not |
//! | `traffic`, `suspicion` | what WireGuard's packets say of its health, and what is done about it |
//! | `timers` | moments as data |
//!
//! # Architecture invariants
//! - Same inputs and times, same actions (I1). Nothing here reads a clock or draws a random number.
//! - No take-over on a deadline before [`Action::LookAgain`] was answered (I3).
//! - A lapsed or revoked lease is never renewed: the node steps down and is elected again (I5).
//! - A lease never lasts longer than the last advert that has left has others wait (I6).
//! - Whatever an action leads to comes back as an [`Input`] (I10).
//!
//! # What the owner must keep to
//! - `now` is read anew for each call: after a look, it is not before the moment of the look. That is
//!   how a process that was stopped in between finds out.
//! - Effects of the second group of [`Action`] are carried out one after the other and reported in
//!   that order. A release that is asked for behind a hold that is still under way wins.

mod action;
mod adverts;
mod claim;
mod clients;
mod detect;
mod election;
mod gateway;
mod group;
pub mod handshakes;
mod health;
mod hearing;
mod input;
mod introduced;
mod lease;
mod machine;
mod note;
pub mod peers;
mod prober;
mod reload;
mod rivals;
mod settings;
mod state;
mod suspicion;
pub mod sync;
mod takeover;
mod timers;
mod traffic;
mod trust;
mod witness;

pub use action::{Action, Reason};
pub use detect::{Detection, WhyAdverts};
pub use hearing::{Finding, Listened};
pub use input::{Answered, Heard, Inherited, Input, Introduced, PeerId, TunnelState, UplinkState};
pub use introduced::Acquaintance;
pub use machine::Machine;
pub use reload::MAINTENANCE;
pub use settings::{Detect, HealthRules, Remedy, Settings};
pub use state::State;
pub use traffic::{Ailment, Counts, Sample};
pub use trust::Authentication;
