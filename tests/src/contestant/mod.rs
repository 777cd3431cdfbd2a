//! Who is measured beside whom: a recipe that keeps one of two WireGuard servers serving.

mod keepalived;
mod wgha;

use std::{ops::Range, time::Duration};

use anyhow::{Result, bail};

use crate::{Plan, SOON, Server, Topology, Which, clock, fault::Resignation};

pub use self::{
    keepalived::{REAL_TIME, Recipe, WithKeepalived},
    wgha::WithWgha,
};

/// A recipe.
pub trait Contestant {
    /// In tables: `B0`, `W10`.
    fn name(&self) -> &'static str;

    /// In a sentence.
    fn about(&self) -> &'static str;

    /// What it allows for noticing that the Active is silent.
    fn detection_budget(&self) -> Duration;

    /// How often the Active says that it is there.
    fn advert_interval(&self) -> Duration;

    /// What it wants of the servers before it starts.
    ///
    /// # Errors
    /// The system's.
    fn prepare(&self, topology: &Topology) -> Result<()>;

    /// Starts it on a server.
    ///
    /// # Errors
    /// That it does not start.
    fn start(&self, topology: &Topology, which: Which, preempt: bool) -> Result<Box<dyn Daemon>>;

    /// What an operator has to do by hand on whoever has begun to serve, or there is nothing that could fail.
    ///
    /// # Errors
    /// The system's.
    fn serving(&self, _topology: &Topology, _active: Which) -> Result<()> {
        Ok(())
    }

    /// What an operator has arranged to happen all the time, done once, just before `active` fails.
    ///
    /// # Errors
    /// The system's.
    fn before_fault(&self, _topology: &Topology, _active: Which) -> Result<()> {
        Ok(())
    }

    /// What it is told at the very instant at which `active` falls silent.
    ///
    /// # Errors
    /// The system's.
    fn told(&self, _topology: &Topology, _active: Which) -> Result<Option<Resignation>> {
        Ok(None)
    }

    /// Removes what it leaves on a server when it is killed and the machine does not reboot, as a reboot does.
    ///
    /// # Errors
    /// The system's.
    fn forget(&self, topology: &Topology, which: Which) -> Result<()>;
}

/// A recipe at work on a server. Dropping it kills it.
pub trait Daemon {
    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// That it does not end.
    fn term(&mut self) -> Result<()>;

    /// SIGKILL for every process of it.
    ///
    /// # Errors
    /// That it has ended.
    fn kill9(&mut self) -> Result<()>;

    /// SIGSTOP for every process of it.
    ///
    /// # Errors
    /// That it has ended.
    fn hang(&mut self) -> Result<()>;

    /// All its processes.
    fn processes(&self) -> Vec<u32>;

    /// What it has logged.
    fn log(&self) -> Vec<String>;

    /// From when until when it was Active (CLOCK_BOOTTIME, ns), if it tells.
    ///
    /// # Errors
    /// That it cannot be asked.
    fn terms(&self) -> Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }
}

/// All of them, in the order of tables.
#[must_use]
pub fn all() -> Vec<Box<dyn Contestant>> {
    let keepalived = [Recipe::Letter, Recipe::Seed, Recipe::RealTime, Recipe::Pushed];
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    all.extend(keepalived.map(|recipe| Box::new(WithKeepalived(recipe)) as Box<dyn Contestant>));
    all.extend(WithWgha::ALL.map(|wgha| Box::new(wgha) as Box<dyn Contestant>));
    all
}

/// Those with these names.
///
/// # Errors
/// A name that nobody has.
pub fn named(names: &[String]) -> Result<Vec<Box<dyn Contestant>>> {
    let known = all().iter().map(|c| c.name()).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| !all().iter().any(|c| c.name() == **name)) {
        bail!("{name} is none of {known}");
    }
    Ok(all().into_iter().filter(|c| names.iter().any(|name| name == c.name())).collect())
}

/// Waits until `which` has the VIP and its tunnel is up, and on the other one neither.
///
/// # Errors
/// That it is not so.
pub fn wait_serving(topology: &Topology, which: Which) -> Result<()> {
    let (here, there) = (topology.server(which), topology.server(which.other()));
    let serves = |server: &Server| (server.has_address(topology.plan.vip), server.tunnel.is_up());
    clock::wait_until(&format!("VIP and tunnel on {which} alone"), SOON, || {
        Ok(serves(here) == (true, true) && serves(there) == (false, false))
    })
}

/// Makes the client shake hands anew with its next packet, as after a restart of its tunnel.
///
/// # Errors
/// What `wg` complains of.
pub fn restart_client(topology: &Topology) -> Result<()> {
    let (peer, plan) = (Plan::SERVER_PUBLIC, &topology.plan);
    let endpoint = std::net::SocketAddr::new(plan.vip, Plan::PORT);
    let allowed = Plan::alone(plan.tunnel_server);
    topology.client_tunnel.wg_set(&format!("peer {peer} remove"))?;
    topology.client_tunnel.wg_set(&format!("peer {peer} endpoint {endpoint} allowed-ips {allowed}"))
}
