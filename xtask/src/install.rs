//! Installing what is missing, and saying so.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Once,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use wgha_tests::privilege;

use crate::run;

/// A program that a test or the demonstration needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `ip`
    Ip,
    /// `tc`
    Tc,
    /// `nft`
    Nft,
    /// `ping`
    Ping,
    /// `wg`
    Wg,
    /// WireGuard where the kernel has none.
    WireguardGo,
    /// Another VRRP router to test against.
    Keepalived,
    /// Captures.
    Tcpdump,
    /// Another dissector to test against, for /usr/bin/python3.
    Scapy,
    /// Runs a program with fewer capabilities.
    Setpriv,
    /// Runs the shipped units.
    Systemd,
    /// clippy for the compiler that builds the kernel half.
    BpfClippy,
    /// Machines to try other kernels in.
    Qemu,
    /// Finds out which module needs which.
    Depmod,
    /// Unpacks kernels and modules.
    Xz,
    /// Unpacks kernels: those of 6.12.
    Zstd,
    /// And those of 6.1.
    Lz4,
    /// Leaves out what only debuggers read.
    Strip,
}

impl Tool {
    /// What every test needs.
    pub const ALL: &'static [Self] = &[
        Self::Ip,
        Self::Tc,
        Self::Nft,
        Self::Ping,
        Self::Wg,
        Self::WireguardGo,
        Self::Keepalived,
        Self::Tcpdump,
        Self::Scapy,
        Self::Setpriv,
        Self::Systemd,
    ];

    /// What a virtual machine needs beside what its tests need.
    pub const VM: &'static [Self] = &[Self::Qemu, Self::Depmod, Self::Xz, Self::Zstd, Self::Lz4, Self::Strip];

    const fn command(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Tc => "tc",
            Self::Nft => "nft",
            Self::Ping => "ping",
            Self::Wg => "wg",
            Self::WireguardGo => "wireguard-go",
            Self::Keepalived => "keepalived",
            Self::Tcpdump => "tcpdump",
            Self::Scapy => "scapy",
            Self::Setpriv => "setpriv",
            Self::Systemd => "/usr/lib/systemd/systemd",
            Self::BpfClippy => "/usr/bin/clippy-driver",
            Self::Qemu => "qemu-system-x86_64",
            Self::Depmod => "depmod",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Strip => "strip",
        }
    }

    /// The Debian package that has it.
    const fn package(self) -> &'static str {
        match self {
            Self::Ip | Self::Tc => "iproute2",
            Self::Nft => "nftables",
            Self::Ping => "iputils-ping",
            Self::Wg => "wireguard-tools",
            Self::WireguardGo => "wireguard-go",
            Self::Keepalived => "keepalived",
            Self::Tcpdump => "tcpdump",
            Self::Scapy => "python3-scapy",
            Self::Setpriv => "util-linux",
            Self::Systemd => "systemd",
            Self::BpfClippy => "rust-web-clippy",
            Self::Qemu => "qemu-system-x86",
            Self::Depmod => "kmod",
            Self::Xz => "xz-utils",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Strip => "binutils",
        }
    }

    /// Whether it is there.
    pub fn is_there(self) -> bool {
        match self {
            Self::Scapy => {
                let mut import = Command::new("/usr/bin/python3");
                run::output(
                    import.args([
                        "-c",
                        "import importlib.util as u, sys; sys.exit(u.find_spec('scapy') is None)",
                    ]),
                )
                .is_ok()
            }
            tool => run::find(tool.command()).is_some(),
        }
    }
}

/// Asks, before anything is built, whether we may make network namespaces.
///
/// # Errors
/// We may not.
pub fn ensure_root() -> Result<()> {
    ensure!(
        privilege::is_root(),
        "network namespaces need root: run it as root, or with `sudo -E env PATH=$PATH cargo xtask …`"
    );
    Ok(())
}

/// Installs those of `tools` that are missing.
///
/// # Errors
/// They cannot be installed here; the error has the command to type.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.is_there()).collect();
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package()).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    apt(&packages)?;
    match missing.iter().find(|tool| !tool.is_there()) {
        Some(tool) => bail!("{} is installed, but {} is not to be found", tool.package(), tool.command()),
        None => Ok(()),
    }
}

/// Whether apt knows a package. Its lists may be empty until they are fetched.
///
/// # Errors
/// As [`apt`], when they have to be fetched and cannot be.
pub fn apt_has(package: &str) -> Result<bool> {
    let known = || {
        let policy = run::output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
        policy.is_ok_and(|said| has_candidate(&said))
    };
    if known() {
        return Ok(true);
    }
    if privilege::is_root() {
        update()?;
    }
    Ok(known())
}

/// Reads `apt-cache policy`, which says nothing about what it has never heard of.
fn has_candidate(policy: &str) -> bool {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"));
    candidate.is_some_and(|version| version.trim() != "(none)")
}

/// Installs Debian packages.
///
/// # Errors
/// This is not Debian, we are not root, or apt fails.
pub fn apt(packages: &[&str]) -> Result<()> {
    let install = ["install", "-y", "--no-install-recommends"];
    let mut command = apt_get();
    command.args(install).args(packages);
    if run::find("apt-get").is_none() {
        bail!("missing, and this is not Debian: {}", packages.join(", "));
    }
    if !privilege::is_root() {
        bail!("missing: {}\nTo install, as root: {}", packages.join(", "), run::typed(&command));
    }
    update()?;
    with_progress(&format!("{} (apt-get install)", packages.join(", ")), &mut command)
}

/// Fetches the package lists, the first time that it is called.
///
/// # Errors
/// As [`with_progress`].
pub fn update() -> Result<()> {
    static UPDATE: Once = Once::new();
    let mut updated = Ok(());
    UPDATE.call_once(|| updated = with_progress("package lists (apt-get update)", apt_get().arg("update")));
    updated
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
    command
}

/// Runs an installation and shows what comes and what is done, line by line.
///
/// # Errors
/// It fails; the error has all that it said.
pub fn with_progress(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("Installing {what}");
    let started = Instant::now();
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", run::typed(command)))?;
    // The command has the writing ends too; the reader sees the end only when they are closed.
    let typed = run::typed(command);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut said = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if is_progress(&line) {
            eprintln!("  {:>4} s  {}", started.elapsed().as_secs(), line.trim());
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status} from {typed}\n{said}");
    }
    Ok(())
}

fn is_progress(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    matches!(
        first.trim_end_matches(|c: char| c == ':' || c.is_ascii_digit()),
        "Get" | "Setting" | "Downloaded" | "Compiling" | "Installed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_there_when_it_has_a_candidate() {
        for (said, has) in [
            (
                "rustc-web:\n  Installed: (none)\n  Candidate: 1.78.0+dfsg1-2~deb12u3\n  Version table:\n",
                true,
            ),
            ("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n", false),
            ("", false),
        ] {
            assert_eq!(has_candidate(said), has, "{said}");
        }
    }

    #[test]
    fn progress_is_told_from_chatter() {
        for (line, shown) in [
            ("Get:3 http://deb.debian.org/debian bookworm/main amd64 wireguard-go amd64 0.0.2 [1 B]", true),
            ("Setting up wireguard-go (0.0.2) ...", true),
            ("   Compiling bpf-linker v0.13.0", true),
            ("Reading package lists...", false),
            ("", false),
        ] {
            assert_eq!(is_progress(line), shown, "{line}");
        }
    }
}
