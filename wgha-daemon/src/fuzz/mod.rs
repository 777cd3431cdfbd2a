//! What must hold of whatever others send us, or write into a file.
//!
//! Each target takes bytes, panics where something does not hold, and says whether it took them for what they claim to be.
//! `cargo test -p wgha fuzz` runs all of them on a stored corpus (`tests/fuzz/corpus`) and on what a mutator makes of it;
//! cargo-fuzz runs the same functions from `tests/fuzz`, which knows what they reach.

mod config;
mod control;
mod neighbour;
mod sbfd;
#[cfg(test)]
mod tests;
mod vrrp;
mod wireguard;

pub use crate::sys::channel::fuzz::{hello, message, session};
pub use config::config;
pub use control::{answer, request};
pub use neighbour::neighbour;
pub use sbfd::sbfd;
pub use vrrp::advert;
pub use wireguard::wireguard;

/// What takes bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Panics where something does not hold. Says whether the bytes are what they claim to be.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "advert", run: advert },
    Target { name: "sbfd", run: sbfd },
    Target { name: "wireguard", run: wireguard },
    Target { name: "neighbour", run: neighbour },
    Target { name: "hello", run: hello },
    Target { name: "message", run: message },
    Target { name: "session", run: session },
    Target { name: "config", run: config },
    Target { name: "request", run: request },
    Target { name: "answer", run: answer },
];
