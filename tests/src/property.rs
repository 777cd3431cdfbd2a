//! What not every kernel or machine has, and some tests need. Nothing here is about permission: whoever asks for what is
//! not there leaves something out, and says so.

use std::{env, path::Path, sync::LazyLock};

use crate::{Namespace, cards, systemd::SYSTEMD};

/// Set where the machine is ours alone: its wall clock may be put back and forth.
pub const OWN_CLOCK: &str = "WGHA_OWN_CLOCK";

/// Set where the machine is ours alone and wakes up again: it may be suspended.
pub const SUSPEND: &str = "WGHA_SUSPEND";

/// Something that a test may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Packets can be held back for a while: netem.
    Delay,
    /// The wall clock is ours.
    OwnClock,
    /// The machine may be suspended.
    Suspend,
    /// The servers are connected by network cards.
    Cards,
    /// A server's uplink loses its carrier with the port of the switch that it is plugged into.
    Carrier,
    /// Programs can be attached to TCX.
    Tcx,
    /// There is a systemd that can be booted in a container. `cargo xtask test` sees to it that there is one.
    Systemd,
    /// There is another processor beside the one that something saturates.
    SecondProcessor,
}

impl Property {
    /// Whether it is there. Says what is left out if it is not.
    #[must_use]
    pub fn is_there(self) -> bool {
        let (there, why) = match self {
            Self::Delay => (has_netem(), "this kernel has no netem, packets cannot be held back"),
            Self::OwnClock => {
                (env::var_os(OWN_CLOCK).is_some(), "the wall clock is not ours: `cargo xtask vm` has one")
            }
            Self::Suspend => {
                let why = "nothing may be suspended here: `cargo xtask vm --suspend` has a machine for it";
                (env::var_os(SUSPEND).is_some(), why)
            }
            Self::Cards => (
                cards::are_there(),
                "there are no network cards to plug in: `cargo xtask vm --cards` has some",
            ),
            Self::Carrier => (!cards::are_there(), "a card of the virtual machine keeps its carrier"),
            Self::Tcx => (kernel() >= TCX, "this kernel has no TCX: that came with Linux 6.6"),
            Self::Systemd => {
                (Path::new(SYSTEMD).exists(), "there is no systemd, as in the machines of `cargo xtask vm`")
            }
            Self::SecondProcessor => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                (
                    processors > 1,
                    "there is one processor, and what saturates it would leave nothing to others",
                )
            }
        };
        if !there {
            eprintln!("{LEFT_OUT}{why}");
        }
        there
    }
}

/// Before the reason for which something is left out.
const LEFT_OUT: &str = "left out: ";

/// That reason, if a line that a test has said holds one.
#[must_use]
pub fn left_out(line: &str) -> Option<&str> {
    Some(line.split_once(LEFT_OUT)?.1)
}

const TCX: [u32; 2] = [6, 6];

/// Its series, as 6.12; none is older than all.
fn kernel() -> [u32; 2] {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    series(&release.unwrap_or_default())
}

/// 6.12.117+deb12-cloud-amd64 is of 6.12.
fn series(release: &str) -> [u32; 2] {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
}

fn has_netem() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        Namespace::new("a trial").is_ok_and(|trial| {
            trial.run("tc", &["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]).is_ok()
        })
    });
    *THERE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_numbers() {
        assert_eq!(series("6.12.117+deb12-cloud-amd64"), [6, 12]);
        assert!(series("6.1.0-57-cloud-amd64") < TCX && TCX < series("6.12.1"));
        assert_eq!(series("of a kind"), [0, 0]);
    }
}
