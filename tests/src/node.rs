//! A wgha daemon on a server, driven through its own command line.

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::{
    Namespace, Plan, Process, Topology, Which,
    clock::{self, patience},
    topology::{TUNNEL, UPLINK},
};

/// Names the wgha binary to test.
pub const BINARY: &str = "WGHA_BIN";
/// Names what `[uplink] attach` is to be in tests that leave it to wgha.
pub const ATTACH: &str = "WGHA_ATTACH";
/// Where a node's configuration is, inside its namespace.
pub const CONFIG: &str = "/run/wgha/wgha.toml";

/// Where its control socket is.
const SOCKET: &str = "/run/wgha/wgha.sock";

/// Where the binary is copied to for other users, inside the namespace.
pub const BINARY_OF_OTHERS: &str = "/run/wgha-copy";

/// The default of `[detect] interval`.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// How long a daemon may take to load its programs and answer on its socket.
const STARTING: Duration = Duration::from_secs(20);
/// How long a daemon may take to answer [`Node::ask`].
const ANSWERING: Duration = Duration::from_secs(2);
/// How long a daemon may take to undo everything.
const STOPPING: Duration = Duration::from_secs(10);

/// What a configuration file says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[wireguard] listen_port`
    pub listen_port: Option<u16>,
    /// `[vrrp] priority`
    pub priority: u8,
    /// `[vrrp] advert_interval`
    pub advert_interval: String,
    /// `[vrrp] preempt`
    pub preempt: bool,
    /// `[vrrp] virtual_addresses`, with prefix.
    pub virtual_addresses: Vec<String>,
    /// `[uplink] attach`
    pub attach: &'static str,
    /// Lines to add to `[vrrp]`.
    pub more_vrrp: String,
    /// `[[peer]] address`
    pub peer: Option<String>,
    /// `[detect] interval` and `multiplier`, unless the defaults are meant.
    pub detect: Option<(&'static str, u8)>,
    /// `[detect] witness`, unless the default is meant.
    pub witness: Option<&'static str>,
    /// Lines of `[health]`.
    pub health: String,
}

impl Settings {
    /// The seed's, for one of the servers.
    #[must_use]
    pub fn seed(plan: &Plan, which: Which) -> Self {
        Self {
            listen_port: None,
            priority: which.priority(),
            advert_interval: format!("{}ms", advert_interval().as_millis()),
            preempt: true,
            virtual_addresses: vec![plan.with_prefix(plan.vip)],
            attach: usual_attach(),
            more_vrrp: String::new(),
            peer: Some(plan.server(which.other()).to_string()),
            detect: usual_detect(),
            witness: None,
            health: String::new(),
        }
    }

    /// The configuration file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Self { priority, advert_interval, preempt, attach, more_vrrp, health, .. } = self;
        let vrid = Plan::VRID;
        let peer = self.peer.as_ref().map(|a| format!("[[peer]]\naddress = \"{a}\"\n")).unwrap_or_default();
        let detect = self
            .detect
            .map(|(interval, multiplier)| format!("interval = \"{interval}\"\nmultiplier = {multiplier}\n"));
        let witness = self.witness.map(|witness| format!("witness = \"{witness}\"\n"));
        let detect =
            ["[detect]\n".to_owned(), detect.unwrap_or_default(), witness.unwrap_or_default()].concat();
        let health = if health.is_empty() { String::new() } else { format!("\n[health]\n{health}") };
        let port = self.listen_port.map(|port| format!("listen_port = {port}\n")).unwrap_or_default();
        format!(
            "[uplink]\ninterface = \"{UPLINK}\"\nattach = \"{attach}\"\n\n\
             [wireguard]\ninterface = \"{TUNNEL}\"\n{port}\n\
             [vrrp]\nid = {vrid}\npriority = {priority}\nadvert_interval = \"{advert_interval}\"\n\
             preempt = {preempt}\npreempt_delay = \"0s\"\nvirtual_addresses = {:?}\n{more_vrrp}\n{peer}{detect}{health}",
            self.virtual_addresses
        )
    }
}

/// How often adverts are sent unless a test says otherwise: a lease must outlast the pauses of a slow machine.
#[must_use]
pub fn advert_interval() -> Duration {
    patience(Duration::from_millis(100))
}

/// How often probes are sent unless a test says otherwise.
#[must_use]
pub fn probe_interval() -> Duration {
    patience(PROBE_INTERVAL)
}

/// wgha's own defaults, but where everything is slow.
fn usual_detect() -> Option<(&'static str, u8)> {
    static INTERVAL: LazyLock<String> = LazyLock::new(|| format!("{}ms", probe_interval().as_millis()));
    (probe_interval() > PROBE_INTERVAL).then(|| (INTERVAL.as_str(), 5))
}

/// What [`ATTACH`] says, or else `auto`.
#[must_use]
pub fn usual_attach() -> &'static str {
    static USUAL: LazyLock<String> = LazyLock::new(|| env::var(ATTACH).unwrap_or_else(|_| "auto".to_owned()));
    &USUAL
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    /// Where it runs.
    pub which: Which,
    namespace: Namespace,
    daemon: Process,
    /// Prints events as they happen: the only way to have those of a daemon that has ended.
    follower: Process,
}

impl Node {
    /// Writes the configuration, starts the daemon as root, and waits until it answers.
    ///
    /// # Errors
    /// What the daemon says when it does not start.
    pub fn start(topology: &Topology, which: Which, settings: &Settings) -> Result<Self> {
        Self::start_through(topology, which, settings, &[])
    }

    /// The same, through a program that executes the words after its own, as `setpriv --reuid 1 …`.
    ///
    /// The binary is copied to where every user can reach it.
    ///
    /// # Errors
    /// What the daemon says when it does not start.
    pub fn start_through(
        topology: &Topology,
        which: Which,
        settings: &Settings,
        through: &[&str],
    ) -> Result<Self> {
        let namespace = topology.server(which).namespace.clone();
        let daemon = spawn_daemon(&namespace, settings, through)?;
        Self::started(which, namespace, daemon)
    }

    /// Starts both at once, and waits until both answer.
    ///
    /// # Errors
    /// What a daemon says when it does not start.
    pub fn start_both(topology: &Topology, settings: impl Fn(Which) -> Settings) -> Result<[Self; 2]> {
        let spawn = |which| {
            let namespace = topology.server(which).namespace.clone();
            spawn_daemon(&namespace, &settings(which), &[]).map(|daemon| (which, namespace, daemon))
        };
        let [a, b] = Which::BOTH.map(spawn);
        let (a, b) = (a?, b?);
        Ok([Self::started(a.0, a.1, a.2)?, Self::started(b.0, b.1, b.2)?])
    }

    /// Waits until it answers.
    fn started(which: Which, namespace: Namespace, mut daemon: Process) -> Result<Self> {
        clock::wait_until("an answer from wgha", STARTING, || {
            if let Some(status) = daemon.ended()? {
                bail!("wgha on {which} ended: {status}\n{}", daemon.log().join("\n"));
            }
            Ok(status_of(&namespace)?.is_some())
        })?;
        let mut follow = namespace.command(binary()?);
        let follower = Process::start(
            &format!("wgha events on {which}"),
            follow.args(["events", "--json", "--follow"]),
        )?;
        Ok(Self { which, namespace, daemon, follower })
    }

    /// `wgha status --json`
    ///
    /// # Errors
    /// That it does not answer.
    pub fn status(&self) -> Result<Value> {
        status_of(&self.namespace)?.ok_or_else(|| anyhow!("wgha on {} does not answer", self.which))
    }

    /// The same, from the control socket itself: no program is started for it. None when it does not answer.
    #[must_use]
    pub fn ask(&self) -> Option<Value> {
        let stream = UnixStream::connect(self.namespace.path(SOCKET)).ok()?;
        stream.set_read_timeout(Some(ANSWERING)).ok()?;
        (&stream).write_all(b"status\n").ok()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Its role; none when it does not answer.
    ///
    /// # Errors
    /// The system's.
    pub fn role(&self) -> Result<Option<String>> {
        let status = status_of(&self.namespace)?;
        Ok(status.and_then(|s| s["role"].as_str().map(str::to_owned)))
    }

    /// All its events so far, by `seq`: also those of a daemon that has ended.
    ///
    /// # Errors
    /// The system's.
    pub fn events(&self) -> Result<Vec<Value>> {
        let output = self.wgha(&["events", "--json"])?;
        let recent = String::from_utf8_lossy(&output.stdout).into_owned();
        let followed = self.follower.log();
        let lines = followed.iter().map(String::as_str).chain(recent.lines());
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let by_seq: BTreeMap<u64, Value> = events.filter_map(|e| Some((e["seq"].as_u64()?, e))).collect();
        Ok(by_seq.into_values().collect())
    }

    /// The first event of this kind and name at or after `since_ns`, waited for.
    ///
    /// # Errors
    /// That it has not happened within `timeout`.
    pub fn wait_event(&self, kind: &str, what: &str, since_ns: u64, timeout: Duration) -> Result<Value> {
        clock::wait_for(&format!("{kind} {what} on {}", self.which), timeout, || {
            let mut events = self.events()?.into_iter();
            Ok(events
                .find(|e| e["kind"] == kind && e["what"] == what && e["at_ns"].as_u64() >= Some(since_ns)))
        })
    }

    /// Waits until it has a role.
    ///
    /// # Errors
    /// That it has another one after `timeout`; its status is in the message.
    pub fn wait_role(&self, role: &str, timeout: Duration) -> Result<()> {
        let what = format!("{} to be {role}", self.which);
        let waited = clock::wait_until(&what, timeout, || Ok(self.role()?.as_deref() == Some(role)));
        waited.with_context(|| match self.status() {
            Ok(status) => format!("it is {}: {}", status["role"], status["reason"]),
            Err(e) => e.to_string(),
        })
    }

    /// Runs `wgha` with these arguments where the daemon runs.
    ///
    /// # Errors
    /// The system's; how wgha itself fared is in the output.
    pub fn wgha(&self, args: &[&str]) -> Result<Output> {
        run_wgha(&self.namespace, args)
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.daemon.log()
    }

    /// The daemon's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// SIGKILL: nothing is undone.
    pub fn kill9(&mut self) {
        self.daemon.kill();
    }

    /// SIGSTOP: it hangs.
    ///
    /// # Errors
    /// That it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.signal(libc::SIGSTOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// That it has ended.
    pub fn cont(&mut self) -> Result<()> {
        self.daemon.signal(libc::SIGCONT)
    }

    /// SIGHUP: it is to reload.
    ///
    /// # Errors
    /// That it has ended.
    pub fn hangup(&mut self) -> Result<()> {
        self.daemon.signal(libc::SIGHUP)
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// That it does not end.
    pub fn term(&mut self) -> Result<ExitStatus> {
        self.daemon.signal(libc::SIGTERM)?;
        let status = self.daemon.wait(STOPPING)?;
        // The follower sees the socket close, once it has printed what came before.
        let _ = self.follower.wait(Duration::from_secs(2));
        Ok(status)
    }
}

/// Runs the daemon to its end where it is expected to refuse.
///
/// # Errors
/// That it still runs after some seconds.
pub fn refused(
    topology: &Topology,
    which: Which,
    settings: &Settings,
    through: &[&str],
) -> Result<(ExitStatus, String)> {
    let mut daemon = spawn_daemon(&topology.server(which).namespace, settings, through)?;
    let status = daemon.wait(STARTING)?;
    // Its output may still be on its way through the pipe.
    let _ = clock::wait_until("its last words", Duration::from_secs(2), || Ok(!daemon.log().is_empty()));
    Ok((status, daemon.log().join("\n")))
}

/// Runs `wgha` with these arguments on a server.
///
/// # Errors
/// The system's; how wgha itself fared is in the output.
pub fn run_wgha(namespace: &Namespace, args: &[&str]) -> Result<Output> {
    let output = namespace.command(binary()?).args(args).output();
    output.with_context(|| format!("running wgha {}", args.join(" ")))
}

/// The wgha binary: the one that the environment names, else the one that was chosen, else the newer of the
/// release and debug builds.
///
/// # Errors
/// That it has not been built.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os(BINARY) {
        return Path::new(&named).canonicalize().with_context(|| format!("{BINARY}={}", named.display()));
    }
    if let Some(chosen) = CHOSEN.get() {
        return chosen.canonicalize().with_context(|| chosen.display().to_string());
    }
    let built = [built("release"), built("debug")];
    let newest = built.into_iter().filter_map(|p| Some((modified(&p).ok()?, p))).max();
    let (_, path) = newest.context("wgha has not been built: `cargo build -p wgha`")?;
    Ok(path.canonicalize()?)
}

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Uses the binary of a profile, `release` or `debug`, from now on. Only the first choice counts.
pub fn choose_built(profile: &str) {
    CHOSEN.get_or_init(|| built(profile));
}

/// Where cargo puts the binary of a profile.
fn built(profile: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join(profile).join("wgha")
}

fn modified(path: &Path) -> io::Result<std::time::SystemTime> {
    path.metadata()?.modified()
}

fn spawn_daemon(namespace: &Namespace, settings: &Settings, through: &[&str]) -> Result<Process> {
    namespace.write(CONFIG, &settings.to_toml())?;
    let mut words: Vec<PathBuf> = through.iter().map(PathBuf::from).collect();
    if through.is_empty() {
        words.push(binary()?);
    } else {
        // Not by ourselves: a program that another thread starts meanwhile would have it open for writing (ETXTBSY).
        let copy = "cat \"$1\" >\"$2\" && chmod 755 \"$2\"";
        namespace.run("sh", &["-c", copy, "sh", &binary()?.to_string_lossy(), BINARY_OF_OTHERS])?;
        words.push(BINARY_OF_OTHERS.into());
    }
    words.extend(["run", "--config", CONFIG].map(PathBuf::from));
    let mut command: Command = namespace.command(&words[0]);
    command.args(&words[1..]);
    Process::start(&format!("wgha on {}", namespace.name()), &mut command)
}

/// The snapshot of the daemon in a namespace; none when it does not answer.
fn status_of(namespace: &Namespace) -> Result<Option<Value>> {
    let output = run_wgha(namespace, &["status", "--json"])?;
    Ok(serde_json::from_slice(&output.stdout).ok())
}

/// When an event happened: `CLOCK_BOOTTIME` ns.
#[must_use]
pub fn at(event: &Value) -> u64 {
    event["at_ns"].as_u64().unwrap_or_default()
}

/// The roles that a node has taken since then.
///
/// # Errors
/// The system's.
pub fn roles(node: &Node, since: u64) -> Result<Vec<String>> {
    let taken = node.events()?.into_iter().filter(|e| e["kind"] == "role" && at(e) >= since);
    Ok(taken.filter_map(|e| Some(e["what"].as_str()?.to_owned())).collect())
}
