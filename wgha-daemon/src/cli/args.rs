use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{DEFAULT_FILE, DEFAULT_SOCKET};

/// Fast failover for highly available WireGuard servers.
///
/// Two or more servers share a WireGuard key and a virtual address. One is Active, the others take over when it
/// dies, hangs or is stopped. On the wire it is VRRPv3.
#[derive(Debug, Parser)]
#[command(name = "wgha", version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon in the foreground.
    ///
    /// Checks the configuration and the system first, and touches nothing before both are right. Ends on SIGTERM
    /// or SIGINT, after the role is resigned, the tunnel is down and the virtual address is gone. On SIGHUP it does
    /// what `wgha reload` asks for.
    ///
    /// WGHA_LOG sets what is logged, as in WGHA_LOG=debug or WGHA_LOG=info,wgha::driver=trace.
    ///
    /// Exit status: 0 stopped as asked, 1 ended with an error, 2 the configuration is wrong.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
    },
    /// Check the configuration and this system, and change nothing.
    ///
    /// A problem in the file is told with its line, its key, its value and what would be right; all of them at
    /// once. Then come the interfaces, the kernel and the permissions, what the kernel has of all that wgha can use,
    /// and what wgha will use.
    ///
    /// Exit status: 0 nothing is in the way, 2 something is.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
        /// Attach a program that passes everything to the uplink for a moment, at each place that is asked for,
        /// instead of trusting what the driver says. A card may set its queues up anew for that, and lose packets.
        #[arg(long)]
        attach: bool,
    },
    /// Put the closed fence on the uplink, before a daemon and before the tunnel.
    ///
    /// Loads and attaches the programs, pinned, and ends: whatever brings WireGuard up afterwards is silent until a
    /// daemon has been elected, which takes the programs over without a gap. From then on the fence stays when a
    /// daemon is stopped, too; `wgha detach` takes it off. Where the WireGuard interface does not exist yet, its port
    /// is taken from `[wireguard] listen_port`.
    ///
    /// Exit status: 0 the fence is there, 1 it cannot be, 2 the configuration is wrong, 3 a daemon guards the uplink
    /// already.
    Fence {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
    },
    /// Take everything off that a daemon has left, after a crash or a stop.
    ///
    /// Removes the virtual address, sets the tunnel down and takes the programs off the uplink. A stop does all
    /// that itself, but leaves the programs where `wgha fence` has put them, and where a userspace WireGuard would go on
    /// talking without them.
    ///
    /// Exit status: 0 nothing is left, 1 something could not be removed or a daemon is running, 2 the
    /// configuration is wrong.
    Detach {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
    },
    /// Show who is Active, since when and why, and what is wrong.
    ///
    /// Exit status: 0 healthy, 1 degraded, 2 no answer.
    Status {
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// The daemon's control socket.
        #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
        socket: PathBuf,
    },
    /// Have the daemon execute itself anew, and go on as what it is.
    ///
    /// It takes the program that is at its path by then, after an upgrade a newer one, and the configuration as it
    /// is by then. Both are tried out first, with `check`. The Active serves all the time, loses no packet and keeps
    /// its role, unless the VRID, the virtual addresses or the WireGuard port are other ones: then it is elected anew.
    ///
    /// Exit status: 0 the new one answers, 1 the old one goes on, 2 no answer.
    Reload {
        /// The daemon's control socket.
        #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
        socket: PathBuf,
    },
    /// Show what happened, when and why; failovers with their timeline.
    ///
    /// Columns: wall clock (UTC), time since the first evidence of a failure, kind, what, why.
    ///
    /// Exit status: 0 shown, 2 no answer.
    Events {
        /// One JSON object a line instead of text.
        #[arg(long)]
        json: bool,
        /// Go on with what happens from now on, until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// The daemon's control socket.
        #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
        socket: PathBuf,
    },
}
