//! The harness of the namespace tests, which `cargo xtask demo` shares: a small network in which
//! two servers, a gateway and a client run the real programs, and eyes on its wires.
//!
//! ```text
//!  client ── gateway ──┐            wg0 on the client, wg1 on A and B (one key)
//!                      │ switch     eno1 on A and B is what wgha guards
//!            A ────────┤
//!            B ────────┘
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use wgha_tests::{Node, Settings, Topology, Which::{A, B}};
//! # fn main() -> anyhow::Result<()> {
//! let topology = Topology::ipv6()?;
//! let a = Node::start(&topology, A, &Settings::seed(&topology.plan, A))?;
//! let b = Node::start(&topology, B, &Settings::seed(&topology.plan, B))?;
//! a.wait_role("active", Duration::from_secs(20))?;
//! topology.cut(A)?;
//! b.wait_role("active", Duration::from_secs(20))?;
//! println!("{}", topology.server(B).namespace.ip("-6 addr show dev eno1")?);
//! # Ok(()) }
//! ```
//!
//! Everything lives in unnamed namespaces of child processes that die with this one, however it
//! ends; what is dropped is ended at once. Three [`Topology`]s exist at a time: others wait.

pub mod capture;
pub mod cards;
pub mod clock;
pub mod contestant;
pub mod cost;
pub mod echo;
pub mod fault;
pub mod flood;
pub mod frame;
pub mod hogs;
pub mod interrupt;
pub mod keepalived;
pub mod leftovers;
pub mod namespace;
pub mod node;
pub mod packets;
pub mod pair;
pub mod pinger;
pub mod plan;
pub mod privilege;
pub mod prober;
pub mod process;
pub mod property;
pub mod random;
pub mod steal;
pub mod storm;
mod stranger;
pub mod suspend;
pub mod swarm;
mod sys;
pub mod systemd;
pub mod throughput;
pub mod topology;
mod turn;
pub mod usage;
pub mod wireguard;

pub use capture::{Capture, Packet};
pub use clock::{monotonic_ns, wait_for, wait_until};
pub use frame::Frame;
pub use keepalived::{Keepalived, KeepalivedSettings};
pub use namespace::Namespace;
pub use node::{Node, Settings};
pub use pair::{AFTER_WIREGUARD, Pair, SOON};
pub use pinger::{Outage, Pinger, Probe};
pub use plan::{Plan, Which};
pub use privilege::may_run;
pub use process::Process;
pub use property::Property;
pub use stranger::Stranger;
pub use sys::{die_with_parent, pin_this_thread};
pub use topology::{Server, Topology};
pub use wireguard::Tunnel;
