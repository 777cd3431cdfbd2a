//! A keepalived on a server: the router that wgha must get on with.

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use anyhow::Result;

use crate::{Namespace, Plan, Process, Topology, Which, clock, node, sys, topology::UPLINK};

/// Where its configuration is, inside its namespace.
const CONFIG: &str = "/run/keepalived.conf";
/// How long it may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// What a configuration file says.
#[derive(Debug, Clone)]
pub struct KeepalivedSettings {
    /// `priority`
    pub priority: u8,
    /// `advert_int`, in seconds.
    pub advert_interval: &'static str,
    /// `virtual_ipaddress`
    pub virtual_address: String,
    /// Lines to add to the instance.
    pub more: String,
    /// Lines to add to `global_defs`.
    pub more_globals: String,
}

fn usual_interval() -> &'static str {
    static SECONDS: LazyLock<String> = LazyLock::new(|| node::advert_interval().as_secs_f64().to_string());
    &SECONDS
}

impl KeepalivedSettings {
    /// The seed's, at the same interval as [`crate::Settings::seed`].
    #[must_use]
    pub fn seed(plan: &Plan, which: Which) -> Self {
        Self {
            priority: which.priority(),
            advert_interval: usual_interval(),
            virtual_address: plan.with_prefix(plan.vip),
            more: String::new(),
            more_globals: String::new(),
        }
    }

    /// The recipe's: a script sets the tunnel's link up and down.
    #[must_use]
    pub fn with_notify_script(mut self, interface: &str) -> Self {
        self.notify(
            &format!("/sbin/ip link set {interface} up"),
            &format!("/sbin/ip link set {interface} down"),
        );
        self
    }

    /// With commands for when it becomes Active, and for when it is not, or no longer.
    pub fn notify(&mut self, active: &str, inactive: &str) {
        self.more += &format!("    notify_master \"{active}\"\n");
        for when in ["backup", "fault", "stop"] {
            self.more += &format!("    notify_{when} \"{inactive}\"\n");
        }
    }

    fn to_conf(&self) -> String {
        let Self { priority, advert_interval, virtual_address, more, more_globals } = self;
        let vrid = Plan::VRID;
        let no_dad = if virtual_address.contains(':') { "no_dad" } else { "" };
        format!(
            "global_defs {{\n    vrrp_version 3\n    enable_script_security\n    script_user root\n\
             {more_globals}}}\n\
             vrrp_instance wg {{\n    state BACKUP\n    interface {UPLINK}\n    virtual_router_id {vrid}\n    \
             priority {priority}\n    advert_int {advert_interval}\n    \
             virtual_ipaddress {{\n        {virtual_address} dev {UPLINK} {no_dad}\n    }}\n{more}}}\n"
        )
    }
}

/// A running keepalived. Dropping it kills it, and with its namespace its children.
#[derive(Debug)]
pub struct Keepalived {
    which: Which,
    process: Process,
    namespace: Namespace,
    vip: IpAddr,
}

impl Keepalived {
    /// Starts it and waits until its instance has a state.
    ///
    /// # Errors
    /// That it does not start.
    pub fn start(topology: &Topology, which: Which, settings: &KeepalivedSettings) -> Result<Self> {
        let namespace = topology.server(which).namespace.clone();
        namespace.write(CONFIG, &settings.to_conf())?;
        let process = namespace.spawn(
            "keepalived",
            &["--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", CONFIG],
        )?;
        let keepalived = Self { which, process, namespace, vip: topology.plan.vip };
        clock::wait_until("keepalived's first state", STARTING, || Ok(keepalived.process.has_said("STATE")))?;
        Ok(keepalived)
    }

    /// Whether it is Active: what it said last, and whether it holds the VIP.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let said = self.process.log().into_iter().rev().find(|line| line.contains(" STATE"));
        said.is_some_and(|line| line.contains("MASTER STATE"))
            && crate::wireguard::has_address(&self.namespace, UPLINK, self.vip)
    }

    /// Waits until it is Active, or is not.
    ///
    /// # Errors
    /// That it still is not, or is, after `timeout`.
    pub fn wait_active(&self, active: bool, timeout: Duration) -> Result<()> {
        let what = format!("keepalived on {} to be {}", self.which, if active { "Active" } else { "Backup" });
        clock::wait_until(&what, timeout, || Ok(self.is_active() == active))
    }

    /// Its processes: the one that watches, and those that it has started.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let children = self.namespace.processes().into_iter();
        let children = children.filter(|id| parent_of(*id) == Some(self.process.id()));
        [self.process.id()].into_iter().chain(children).collect()
    }

    /// SIGKILL for all of it: nothing is undone.
    ///
    /// # Errors
    /// That it has ended.
    pub fn kill9(&mut self) -> Result<()> {
        let processes = self.processes();
        // Or the first one starts the others again, or they end in order when they see it die.
        self.stop()?;
        processes.into_iter().try_for_each(|id| Ok(sys::kill(id, libc::SIGKILL)?))
    }

    /// SIGSTOP for all of it: it hangs.
    ///
    /// # Errors
    /// That it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.processes().into_iter().try_for_each(|id| Ok(sys::kill(id, libc::SIGSTOP)?))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// SIGTERM, and waits for its end: it resigns.
    ///
    /// # Errors
    /// That it does not end.
    pub fn term(&mut self) -> Result<()> {
        self.process.signal(libc::SIGTERM)?;
        self.process.wait(STARTING).map(drop)
    }
}

/// The fourth field of /proc/ID/stat, counted after the name, which may have spaces.
fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
