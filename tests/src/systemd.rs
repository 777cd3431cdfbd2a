//! A server whose first process is systemd, the real one, with what packaging/ has installed as the README says.
//!
//! It has processes, mounts, control groups and a name of its own, and the network, /run and bpffs of the [`Namespace`] that
//! it is booted in. It knows no units but those that are given to it, and a few targets.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{Namespace, Process, clock, node, topology::UPLINK};

/// systemd itself.
pub const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Its name for the user of the daemon.
pub const USER: &str = "wgha";
/// Where services write what would go to the journal.
const LOG: &str = "/run/services.log";
/// How long it may take to boot.
const BOOTING: Duration = Duration::from_secs(30);
/// How long one `systemctl` may take.
const ASKING: Duration = Duration::from_secs(60);

/// What of the host is not to be touched: /etc, /usr/local/bin and the temporary folders are its own; /proc/sys is for
/// reading, but for what belongs to the network; there are no devices but the harmless ones.
///
/// $1 is a folder with what is installed, $2 systemd.
const BOOT: &str = r#"set -e
mount --make-rshared /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/host/etc /run/host/bin
cp -a /etc/. /run/host/etc
rm -rf /run/host/etc/systemd /run/host/etc/wgha /run/host/etc/wireguard /run/host/etc/machine-id
cp -a "$1"/etc/. /run/host/etc
tr -d - </proc/sys/kernel/random/uuid >/run/host/etc/machine-id
mount --bind /run/host/etc /etc
cp -a "$1"/bin/. /run/host/bin
mount --bind /run/host/bin /usr/local/bin
systemd-sysusers "$1"/sysusers
mkdir /run/host/dev
mount -t tmpfs -o mode=755 tmpfs /run/host/dev
cd /run/host/dev
mkdir pts shm net mqueue
for node in null zero full random urandom tty net/tun; do
    touch $node
    mount --bind /dev/$node $node
done
ln -s /proc/self/fd fd
ln -s pts/ptmx ptmx
cd /
mount --rbind /run/host/dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
chown wgha:wgha /run/wireguard
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/etc/systemd/targets
for unit in $(cat "$1"/enabled); do
    systemctl --root=/ --quiet enable $unit
done
exec env -i PATH="$PATH" SYSTEMD_UNIT_PATH=$SYSTEMD_UNIT_PATH container=wgha-tests \
    SYSTEMD_GENERATOR_PATH=/etc/systemd/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/etc/systemd/none \
    "$2" --system --unit=multi-user.target --log-target=null --show-status=no --crash-reboot=no
"#;

/// Puts the process that executes it into a control group of its own. $1 is that group's name, the rest is executed.
const GROUPED: &str = r#"set -e
mkdir -p /run/cgroup
mountpoint -q /run/cgroup || mount -t cgroup2 cgroup2 /run/cgroup
here=$(sed -n 's/^0:://p' /proc/self/cgroup)
group="/run/cgroup$here/$1"
mkdir "$group"
echo $$ > "$group/cgroup.procs"
echo "$group"
shift
exec "$@"
"#;

/// Targets that units order themselves by; those of the host bring nothing with them.
const TARGETS: [&str; 13] = [
    "basic",
    "local-fs-pre",
    "local-fs",
    "multi-user",
    "network-online",
    "network-pre",
    "network",
    "nss-lookup",
    "paths",
    "shutdown",
    "sockets",
    "sysinit",
    "timers",
];

/// What is installed before it boots.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// Files below /etc.
    pub etc: Vec<(String, String)>,
    /// Programs and scripts for /usr/local/bin, beside wgha.
    pub bin: Vec<(String, String)>,
    /// Units that are wanted at boot.
    pub enabled: Vec<String>,
}

impl Installed {
    /// The units of packaging/ and this configuration.
    ///
    /// # Errors
    /// The system's.
    pub fn packaged(configuration: &str) -> Result<Self> {
        let mut installed = Self::default();
        for unit in ["wgha.service", "wgha-fence.service", "run-wgha-bpf.mount"] {
            installed.etc.push((format!("systemd/system/{unit}"), packaged(unit)?));
        }
        for unit in ["wgha.service", "wgha-fence.service"] {
            // There is no journal.
            let log = format!("[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n");
            installed.etc.push((format!("systemd/system/{unit}.d/log.conf"), log));
        }
        installed.etc.push(("wgha/wgha.toml".to_owned(), configuration.to_owned()));
        Ok(installed)
    }

    /// Changes a file of /etc.
    ///
    /// # Panics
    /// When it has no such words.
    pub fn change(&mut self, file: &str, from: &str, to: &str) {
        let text = self.etc.iter_mut().find(|(name, _)| name.ends_with(file)).map(|(_, text)| text);
        let text = text.filter(|text| text.contains(from)).unwrap_or_else(|| panic!("{file} has no {from}"));
        *text = text.replace(from, to);
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let put = |path: PathBuf, text: &str| -> Result<()> {
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        let etc = folder.join("etc");
        for (name, text) in &self.etc {
            put(etc.join(name), text)?;
        }
        for target in TARGETS {
            let name = format!("{target}.target");
            put(
                etc.join("systemd/targets").join(&name),
                &fs::read_to_string(format!("/usr/lib/systemd/system/{name}"))?,
            )?;
        }
        for (name, text) in &self.bin {
            put(folder.join("bin").join(name), text)?;
            make_executable(&folder.join("bin").join(name))?;
        }
        fs::create_dir_all(folder.join("bin"))?;
        fs::copy(node::binary()?, folder.join("bin/wgha")).context("copying wgha")?;
        put(folder.join("enabled"), &self.enabled.join(" "))?;
        put(folder.join("sysusers"), &packaged("wgha.sysusers")?)
    }
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// A file of packaging/.
///
/// # Errors
/// There is none of this name.
pub fn packaged(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A server under systemd. Dropping it kills everything in it.
#[derive(Debug)]
pub struct Systemd {
    namespace: Namespace,
    init: Process,
    id: u32,
    group: String,
}

impl Systemd {
    /// Boots to multi-user.target.
    ///
    /// # Errors
    /// What systemd said last, when it does not boot.
    pub fn boot(namespace: &Namespace, installed: &Installed) -> Result<Self> {
        ensure!(Path::new(SYSTEMD).exists(), "there is no {SYSTEMD}");
        let folder = namespace.path("/run/install");
        installed.write(&folder)?;
        do_as_udev(namespace)?;
        let group = format!("wgha-tests-{}-{}", std::process::id(), namespace.id());
        let mut command = namespace.command("sh");
        command.args(["-c", GROUPED, "sh", &group, "unshare"]);
        command.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]);
        command.args(["--propagation", "private", "sh", "-c", BOOT, "sh"]);
        command.args(["/run/install", SYSTEMD]);
        let init = Process::start(&format!("systemd on {}", namespace.name()), &mut command)?;
        let mut booting = Self { namespace: namespace.clone(), init, id: 0, group: String::new() };
        booting.wait_ready()?;
        Ok(booting)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let found = clock::wait_for("systemd to begin", BOOTING, || {
            if let Some(status) = self.init.ended()? {
                bail!("it ended: {status}");
            }
            let first = |id: &u32| is_first_process(*id).unwrap_or(false);
            Ok(self.namespace.processes().into_iter().find(first))
        });
        self.group =
            self.init.log().into_iter().find(|line| line.starts_with("/run/cgroup")).unwrap_or_default();
        self.id = found.with_context(|| self.log())?;
        let is_up = || {
            let output = self.systemctl("is-system-running")?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Ok(["running", "degraded"].contains(&said.as_str()))
        };
        clock::wait_until("systemd to have booted", BOOTING, is_up).with_context(|| self.log())
    }

    /// Where the host sees `path` of this server.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.id))
    }

    /// A command that will run in it.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.namespace.command("nsenter");
        let target = format!("--target={}", self.id);
        command.args([&target, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--", program]).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program in it to its end.
    ///
    /// # Errors
    /// The system's; how the program itself fared is in the output.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Output> {
        self.command(program, args).output().with_context(|| format!("running {program}"))
    }

    /// `systemctl` with these words.
    ///
    /// # Errors
    /// The system's, or that it takes too long; how it fared is in the output.
    pub fn systemctl(&self, words: &str) -> Result<Output> {
        let limit = format!("{}", clock::patience(ASKING).as_secs());
        let args: Vec<_> =
            [limit.as_str(), "systemctl"].into_iter().chain(words.split_whitespace()).collect();
        self.run("timeout", &args)
    }

    /// The same, where it is to succeed.
    ///
    /// # Errors
    /// It has failed; the error has what there is to know.
    pub fn must(&self, words: &str) -> Result<()> {
        let output = self.systemctl(words)?;
        if output.status.success() {
            return Ok(());
        }
        bail!("systemctl {words}: {}\n{}", String::from_utf8_lossy(&output.stderr).trim(), self.log())
    }

    /// A property of a unit.
    ///
    /// # Errors
    /// The system's.
    pub fn property(&self, unit: &str, property: &str) -> Result<String> {
        let output = self.systemctl(&format!("show --value --property={property} {unit}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The main process of a service, as the host numbers it.
    ///
    /// # Errors
    /// It has none.
    pub fn main_process(&self, unit: &str) -> Result<u32> {
        let inside: u32 = self.property(unit, "MainPID")?.parse()?;
        let of = |id: &u32| numbers(*id).is_some_and(|all| all.len() > 1 && all.last() == Some(&inside));
        let found = self.namespace.processes().into_iter().find(of);
        found.with_context(|| format!("{unit} has no process"))
    }

    /// What the services have said.
    #[must_use]
    pub fn log(&self) -> String {
        let services = fs::read_to_string(self.namespace.path(LOG)).unwrap_or_default();
        format!("{}\n{services}", self.init.log().join("\n"))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let units = self.systemctl("--no-pager --lines=0 status wgha* wg-quick* run-wgha-bpf.mount");
            let units = units.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            eprintln!("--- {}\n{}\n---", self.log(), units.unwrap_or_default());
        }
        self.init.kill();
        // With the first process all others of its namespace are killed; they leave their groups when they have ended.
        if !self.group.is_empty() {
            let empty = || {
                let remove = ["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"];
                let args: Vec<_> = [self.group.as_str()].into_iter().chain(remove).collect();
                let _ = self.namespace.run("find", &args);
                Ok(!self.namespace.path(&self.group).exists())
            };
            if let Err(e) = clock::wait_until("the control groups to be empty", BOOTING, empty) {
                eprintln!("{}: {e:#}", self.group);
            }
        }
    }
}

/// As far as the uplink is concerned udev has done its part: systemd has a device unit for it.
fn do_as_udev(namespace: &Namespace) -> Result<()> {
    let index = fs::read_to_string(namespace.path(&format!("/sys/class/net/{UPLINK}/ifindex")))?;
    let alias = format!("E:SYSTEMD_ALIAS=/sys/subsystem/net/devices/{UPLINK}");
    namespace.run("mkdir", &["-p", "/run/udev/data", "/run/udev/tags/systemd"])?;
    namespace.write(&format!("/run/udev/tags/systemd/n{}", index.trim()), "")?;
    namespace.write(
        &format!("/run/udev/data/n{}", index.trim()),
        &format!("I:1\n{alias}\nG:systemd\nQ:systemd\nV:1\n"),
    )
}

/// The numbers of a process, from the outermost namespace to its own.
fn numbers(id: u32) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_whitespace().filter_map(|n| n.parse().ok()).collect())
}

/// Whether this is systemd, in a namespace of its own.
fn is_first_process(id: u32) -> Option<bool> {
    let name = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    let numbers = numbers(id)?;
    Some(name.trim() == "systemd" && numbers.len() > 1 && numbers.last() == Some(&1))
}
