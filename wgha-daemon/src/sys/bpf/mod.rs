//! The kernel half, seen from userspace: loading it, attaching it, its maps and its ring.

pub mod attach;
mod detach;
pub mod events;
pub mod load;
pub mod maps;
pub mod mark;
pub mod pins;
pub mod probe;
mod shared;

pub use attach::{Attachment, EgressHook, IngressHook};
pub use load::{BpfError, Loaded, Programs};
pub use maps::{Maps, TrafficReader};
