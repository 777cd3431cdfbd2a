//! A network and mount namespace of its own, for one machine of the topology.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{Process, sys};

/// What the holder does in its new namespaces before it waits for the end of its input.
///
/// sysfs shows the interfaces of the namespace that it was mounted in. /run is private because WireGuard's UAPI
/// sockets and wgha's own are found by path, the bpffs because pins are.
const PREPARE: &str = "set -e
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
[ -L /var/run ] || mount --bind /run /var/run
mkdir -p /run/wireguard /run/wgha
ip link set lo up
echo ready
exec cat";

/// One machine: its own interfaces, /run, and bpffs; everything else is shared with the host.
///
/// Clones are the same machine. With the last one every process in it is killed, and the kernel
/// removes what was in it. When this process dies otherwise, the holder sees the end of its input and ends too.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    holder: Child,
    net: File,
    mount: File,
}

impl Namespace {
    /// Makes one. The name is for messages only.
    ///
    /// # Errors
    /// When the kernel refuses, or `unshare`, `mount` or `ip` are missing.
    pub fn new(name: &str) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", PREPARE]);
        sys::die_with_parent(&mut command);
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("making the namespace {name}"))?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim() != "ready" {
            let output = holder.wait_with_output()?;
            bail!("making the namespace {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", holder.id()));
        let (net, mount) = (open("net")?, open("mnt")?);
        Ok(Self(Arc::new(Inner { name: name.to_owned(), holder, net, mount })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A process id by which `ip link … netns` finds it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.holder.id()
    }

    /// The inode of its network namespace, as `readlink /proc/*/ns/net` shows it.
    ///
    /// # Errors
    /// The system's.
    pub fn inode(&self) -> Result<u64> {
        Ok(self.0.net.metadata()?.ino())
    }

    /// Where the host sees `path` of this machine.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.id()))
    }

    /// The MAC address of one of its interfaces.
    ///
    /// # Errors
    /// There is no such interface, or it has none.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = fs::read_to_string(self.path(&format!("/sys/class/net/{interface}/address")))?;
        let bytes =
            text.trim().split(':').map(|b| u8::from_str_radix(b, 16)).collect::<Result<Vec<_>, _>>()?;
        bytes.try_into().map_err(|_| anyhow!("not a MAC address: {text}"))
    }

    /// Writes a file of this machine; meant for what is below its private /run.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &str, contents: &str) -> Result<()> {
        fs::write(self.path(path), contents).with_context(|| format!("writing {path} on {}", self.name()))
    }

    /// A command that will run in it, and that is killed when the starting thread ends.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::enter_on_exec(&mut command, self.0.mount.as_raw_fd(), self.0.net.as_raw_fd());
        command
    }

    /// Runs a program to its end and returns its output.
    ///
    /// # Errors
    /// Its stderr, when it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        self.run_with_input(program, args, "")
    }

    /// Runs a program to its end with `input` on its stdin, and returns its output.
    ///
    /// # Errors
    /// Its stderr, when it fails.
    pub fn run_with_input(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {program}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not want its input closes it; what it thinks of it is in its exit status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {program} {}: {}: {}", self.name(), args.join(" "), output.status, complaint.trim())
    }

    /// Runs `ip` with the words of `line`.
    ///
    /// # Errors
    /// As [`Namespace::run`].
    pub fn ip(&self, line: &str) -> Result<String> {
        self.run("ip", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs several lines of `ip` at once.
    ///
    /// # Errors
    /// Those of the first line that fails.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        self.run_with_input("ip", &["-batch", "-"], lines).map(drop)
    }

    /// Starts a program and keeps it.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(&self, program: &str, args: &[&str]) -> Result<Process> {
        Process::start(&format!("{} on {}", program, self.name()), self.command(program).args(args))
    }

    /// Runs `job` on a thread in the network namespace. Sockets that it opens stay there. It must not start programs.
    ///
    /// # Errors
    /// Its own, or that the namespace could not be entered.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::enter_net(&self.0.net)?;
                job()
            });
            thread.join().map_err(|_| anyhow!("a job in {} panicked", self.name()))?
        })
    }

    /// Sets a variable below /proc/sys/net, named with slashes, and checks that it took.
    ///
    /// # Errors
    /// The system's.
    pub fn set_net(&self, variable: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{variable}");
        self.inside(|| {
            fs::write(&path, value).with_context(|| path.clone())?;
            ensure!(fs::read_to_string(&path)?.trim() == value, "{path} did not become {value}");
            Ok(())
        })
    }

    /// Ids of all processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.0.processes()
    }

    /// Whether an interface exists.
    #[must_use]
    pub fn has_link(&self, name: &str) -> bool {
        self.path(&format!("/sys/class/net/{name}")).exists()
    }
}

impl Inner {
    /// Ids of all processes in the network namespace: grandchildren too, whoever started them.
    fn processes(&self) -> Vec<u32> {
        let Ok(ours) = self.net.metadata() else { return Vec::new() };
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| {
            let theirs = fs::metadata(format!("/proc/{id}/ns/net"));
            theirs.is_ok_and(|m| m.ino() == ours.ino() && m.dev() == ours.dev())
        })
        .collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for id in self.processes().into_iter().filter(|&id| id != std::process::id()) {
            // It may just have ended.
            let _ = sys::kill(id, libc::SIGKILL);
        }
        let _ = self.holder.wait();
    }
}
