//! A WireGuard interface, by the kernel where it has it, else by wireguard-go.

use std::{net::IpAddr, os::unix::net::UnixStream, time::Duration};

use anyhow::{Context, Result};

use crate::{Namespace, Process, clock};

/// How long a userspace implementation may take to create its interface.
const STARTING: Duration = Duration::from_secs(10);

/// What a WireGuard interface is to be.
#[derive(Debug, Clone)]
pub struct TunnelSettings {
    /// Its name.
    pub interface: &'static str,
    /// Its configuration, as `wg setconf` reads it.
    pub wireguard: String,
    /// Its address with the length of its prefix.
    pub address: String,
}

/// A WireGuard interface. Dropping it ends the program behind it, if there is one.
#[derive(Debug)]
pub struct Tunnel {
    namespace: Namespace,
    settings: TunnelSettings,
    through: Vec<String>,
    userspace: Option<Process>,
}

impl Tunnel {
    /// Creates, configures and raises it, as `wg-quick up` does.
    ///
    /// # Errors
    /// That there is no WireGuard to be had, or that it does not accept the settings.
    pub fn start(namespace: &Namespace, settings: TunnelSettings) -> Result<Self> {
        let mut tunnel =
            Self { namespace: namespace.clone(), settings, through: Vec::new(), userspace: None };
        tunnel.create()?;
        Ok(tunnel)
    }

    /// Creates it again after [`Tunnel::delete`].
    ///
    /// # Errors
    /// As [`Tunnel::start`].
    pub fn create(&mut self) -> Result<()> {
        let interface = self.settings.interface;
        self.userspace = create_interface(&self.namespace, &self.through, interface)?;
        // Through stdin: the keys are in no file and on no command line.
        let configuration = &self.settings.wireguard;
        self.namespace.run_with_input("wg", &["setconf", interface, "/dev/stdin"], configuration)?;
        self.add_address()?;
        self.namespace.ip(&format!("link set {interface} up"))?;
        Ok(())
    }

    /// Creates it again, a userspace implementation through a program that executes the words after its own: as
    /// another user, who then owns its control socket. The kernel's WireGuard belongs to nobody.
    ///
    /// # Errors
    /// As [`Tunnel::start`].
    pub fn create_through(&mut self, words: &[String]) -> Result<()> {
        words.clone_into(&mut self.through);
        self.delete()?;
        self.create()
    }

    /// Gives it its address, which IPv6 loses whenever the link is set down.
    ///
    /// # Errors
    /// The system's.
    pub fn add_address(&self) -> Result<()> {
        let TunnelSettings { interface, address, .. } = &self.settings;
        let no_dad = if address.contains(':') { "nodad" } else { "" };
        self.namespace.ip(&format!("address replace {address} dev {interface} {no_dad}"))?;
        Ok(())
    }

    /// Deletes the interface; the program behind it ends by that.
    ///
    /// # Errors
    /// That there is none.
    pub fn delete(&mut self) -> Result<()> {
        self.namespace.ip(&format!("link delete {}", self.settings.interface))?;
        if let Some(mut process) = self.userspace.take() {
            process.wait(STARTING)?;
        }
        Ok(())
    }

    /// Stops the program behind it, which goes on to hold its interface and its port; or lets it go on. `false`: there is none,
    /// WireGuard is the kernel's.
    ///
    /// # Errors
    /// That the program has ended.
    pub fn freeze(&mut self, stop: bool) -> Result<bool> {
        let Some(process) = &mut self.userspace else { return Ok(false) };
        process.signal(if stop { libc::SIGSTOP } else { libc::SIGCONT })?;
        Ok(true)
    }

    /// Kills the program behind it, and the interface goes with that. The kernel's WireGuard cannot be killed: it is
    /// deleted.
    ///
    /// # Errors
    /// As [`Tunnel::delete`].
    pub fn crash(&mut self) -> Result<()> {
        let Some(mut process) = self.userspace.take() else { return self.delete() };
        process.kill();
        // Two clean up after it: the next one, and `wg`; one of them would find nothing, and give up.
        let socket = socket_of(self.settings.interface);
        std::fs::remove_file(self.namespace.path(&socket)).with_context(|| socket)
    }

    /// Sets the link up or down by hand.
    ///
    /// # Errors
    /// That there is no such link.
    pub fn set(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.namespace.ip(&format!("link set {} {state}", self.settings.interface))?;
        Ok(())
    }

    /// Whether the link is set up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let shown = self.namespace.ip(&format!("-brief link show dev {} up", self.settings.interface));
        shown.is_ok_and(|line| !line.trim().is_empty())
    }

    /// Whether the link has an address.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        has_address(&self.namespace, self.settings.interface, address)
    }

    /// Runs `wg set INTERFACE` with the words of `line`.
    ///
    /// # Errors
    /// What `wg` complains of.
    pub fn wg_set(&self, line: &str) -> Result<()> {
        let words = ["set", self.settings.interface].into_iter().chain(line.split_whitespace());
        self.namespace.run("wg", &words.collect::<Vec<_>>()).map(drop)
    }

    /// Runs `wg show INTERFACE` with the words of `line`.
    ///
    /// # Errors
    /// What `wg` complains of.
    pub fn wg_show(&self, line: &str) -> Result<String> {
        let words = ["show", self.settings.interface].into_iter().chain(line.split_whitespace());
        self.namespace.run("wg", &words.collect::<Vec<_>>())
    }
}

/// Whether an interface has an address.
#[must_use]
pub fn has_address(namespace: &Namespace, interface: &str, address: IpAddr) -> bool {
    let shown = namespace.ip(&format!("-brief address show dev {interface}"));
    let prefix = format!("{address}/");
    shown.is_ok_and(|line| line.split_whitespace().any(|word| word.starts_with(&prefix)))
}

/// Of a userspace implementation. It says /var/run, which may be a link that leads out of the namespace when it is seen from
/// outside.
fn socket_of(interface: &str) -> String {
    format!("/run/wireguard/{interface}.sock")
}

fn create_interface(namespace: &Namespace, through: &[String], interface: &str) -> Result<Option<Process>> {
    if namespace.ip(&format!("link add {interface} type wireguard")).is_ok() {
        return Ok(None);
    }
    // Once in a thousand starts wireguard-go never makes its interface.
    start_userspace(namespace, through, interface).or_else(|failed| {
        eprintln!("{failed:#}: once more");
        start_userspace(namespace, through, interface)
    })
}

fn start_userspace(namespace: &Namespace, through: &[String], interface: &str) -> Result<Option<Process>> {
    let words =
        through.iter().map(String::as_str).chain(["wireguard-go", "-f", interface]).collect::<Vec<_>>();
    let mut command = namespace.command(words[0]);
    command.args(&words[1..]).env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "error");
    let process = Process::start(&format!("wireguard-go on {}", namespace.name()), &mut command)
        .context("this kernel has no WireGuard, and wireguard-go is needed in its place")?;
    // `wg` must not look before: it removes a socket that was bound and is not listened to yet, as one that was left behind.
    let socket = namespace.path(&socket_of(interface));
    let there = clock::wait_until("wireguard-go's interface", STARTING, || {
        Ok(UnixStream::connect(&socket).is_ok()
            && namespace.run("wg", &["show", interface, "listen-port"]).is_ok())
    });
    there.with_context(|| format!("it said: {}", process.log().join("; ")))?;
    Ok(Some(process))
}
