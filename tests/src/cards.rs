//! Network cards for cables, where the machine has some to spare: two that are connected to each other are one cable.
//!
//! A virtual machine has them in pairs (`cargo xtask vm --cards`). One end becomes the server's `eno1`, with a driver that
//! filters multicast and has native XDP of its own, the other one its port of the switch. They come back by themselves
//! when the namespace that they were put into ends, under some name: so they are known by their addresses.

use std::{env, fs, sync::LazyLock, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{Namespace, clock};

/// Lists their Ethernet addresses, with commas: two by two, for server A, for server B, for the gateway.
pub const CARDS: &str = "WGHA_CARDS";

/// How long the kernel may take to end a namespace and give them back.
const COMING_BACK: Duration = Duration::from_secs(20);

/// Two cards that are connected to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cable {
    machine: String,
    port: String,
}

/// Whether servers are connected by cards.
#[must_use]
pub fn are_there() -> bool {
    cable(0).is_some()
}

/// The cable with this number.
pub(crate) fn cable(number: usize) -> Option<Cable> {
    static CABLES: LazyLock<Vec<Cable>> = LazyLock::new(|| listed(&env::var(CARDS).unwrap_or_default()));
    CABLES.get(number).cloned()
}

fn listed(words: &str) -> Vec<Cable> {
    let addresses: Vec<_> = words.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
    let pairs = addresses.chunks_exact(2);
    pairs.map(|pair| Cable { machine: pair[0].clone(), port: pair[1].clone() }).collect()
}

impl Cable {
    /// Plugs one end into the switch and the other one into a machine.
    ///
    /// # Errors
    /// That the cards are not there.
    pub(crate) fn plug(&self, switch: &Namespace, port: &str, machine: &Namespace, name: &str) -> Result<()> {
        hand_over(&self.port, switch, port)?;
        hand_over(&self.machine, machine, name)
    }
}

/// Puts the card with this address into a namespace, under this name.
fn hand_over(address: &str, namespace: &Namespace, name: &str) -> Result<()> {
    let what = format!("the network card {address}");
    let found = clock::wait_for(&what, COMING_BACK, || Ok(found(address)))?;
    let netns = namespace.id().to_string();
    // It comes with what it was when it was given back.
    for words in [vec!["link", "set", &found, "down"], vec!["link", "set", &found, "netns", &netns]] {
        let moved = std::process::Command::new("ip").args(&words).output().context("ip")?;
        if !moved.status.success() {
            bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&moved.stderr).trim());
        }
    }
    if found != name {
        namespace.ip(&format!("link set {found} name {name}"))?;
    }
    Ok(())
}

/// What the card is called now, if it is in our own namespace and nothing is attached to it any more.
fn found(address: &str) -> Option<String> {
    let mut cards = fs::read_dir("/sys/class/net").ok()?.flatten();
    let has = |path: &std::path::Path| {
        fs::read_to_string(path.join("address")).is_ok_and(|found| found.trim() == address)
    };
    let card = cards.find(|card| has(&card.path()))?.file_name().into_string().ok()?;
    let shown = std::process::Command::new("ip").args(["link", "show", "dev", &card]).output().ok()?;
    (!String::from_utf8_lossy(&shown.stdout).contains("xdp")).then_some(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_by_two_they_are_cables() {
        let cable = |machine: &str, port: &str| Cable { machine: machine.into(), port: port.into() };
        assert_eq!(listed("A1,a2,b1, b2,c1"), [cable("a1", "a2"), cable("b1", "b2")]);
        assert_eq!(listed(""), []);
    }
}
