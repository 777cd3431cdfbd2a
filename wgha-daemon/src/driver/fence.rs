//! The closed fence before there is a daemon, and before there is a tunnel: what comes up at boot is silent.

use anyhow::{Context as _, bail};
use wgha_common::abi::Lease;

use super::{kernel::Kernel, predecessor::Predecessor, start::connect};
use crate::{
    config::Config,
    sys::{
        bpf::{Loaded, Programs, attach, mark, pins},
        check, clock,
        link::{self, Link},
        lock::UplinkLock,
        packet_socket::PacketSocket,
        wireguard,
    },
};

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// It is there, closed, and stays.
    Closed,
    /// A daemon guards the uplink by itself. Nothing was touched; but when that daemon ends, its fence stays.
    Guarded,
}

/// Attaches the programs with the fence closed, and leaves them there. A daemon that starts takes them over.
///
/// # Errors
/// What is missing, or whatever is in the way, in a sentence.
pub async fn fence(config: &Config) -> anyhow::Result<Fence> {
    check::capable().map_err(anyhow::Error::msg)?;
    let uplink = config.uplink.interface.as_str();
    let link = link::read(&connect()?, uplink).await?;
    let link = link.with_context(|| format!("uplink {uplink}: {}", check::no_interface(uplink)))?;
    let port = port(config).await?;
    // First, so that whatever happens from here on the next daemon leaves the fence when it ends.
    mark::put(&config.paths.bpffs, uplink).context("the fence would end with this process")?;
    if serves(pins::lease(&config.paths.bpffs, uplink)) {
        return Ok(Fence::Guarded); // by a daemon that is just being executed anew, and has let go of the lock
    }
    let Ok(_lock) = UplinkLock::take(link.index) else { return Ok(Fence::Guarded) };
    close(config, link, port)?;
    Ok(Fence::Closed)
}

fn serves(left: Option<(Lease, u64)>) -> bool {
    left.is_some_and(|(lease, revoked)| lease.serves(revoked, clock::now().as_nanos()))
}

/// What is WireGuard's: as the interface has it, or, before there is one, as it is going to have it.
async fn port(config: &Config) -> anyhow::Result<u16> {
    let name = &config.wireguard;
    let found = wireguard::facts(name).await;
    let device = found.as_ref().ok().and_then(|facts| facts.listen_port);
    if let (Some(device), Some(written)) = (device, config.listen_port)
        && device != written
    {
        tracing::warn!("{}", check::other_port(name, device, written));
    }
    if let Some(port) = device.or(config.listen_port) {
        return Ok(port);
    }
    let why = found.err().map_or_else(|| format!("{name} has no listen port yet"), |e| e.to_string());
    bail!(
        "which port is WireGuard's? {why}; write it into {}, as in [wireguard] listen_port = 51820",
        config.file.display()
    )
}

/// The maps say that the fence is closed before a program goes by them, and so does what an earlier daemon has left.
fn close(config: &Config, link: Link, port: u16) -> anyhow::Result<()> {
    let (uplink, bpffs) = (config.uplink.interface.as_str(), config.paths.bpffs.as_path());
    let loaded = Programs::load_pinned(bpffs, uplink);
    let Loaded { mut programs, maps, ring: _ } =
        loaded.map_err(|e| anyhow::Error::msg(check::why_not_loaded(e)).context("the kernel half"))?;
    let predecessor = Predecessor::of(&maps)?;
    let left = predecessor.vips_besides(&config.vrrp.virtual_addresses);
    let socket = PacketSocket::open().context("packet socket")?;
    let mut kernel = Kernel::new(maps, socket, config.vrrp.clone());
    kernel.guard(predecessor.lease.epoch, port, &left).map_err(anyhow::Error::msg)?;
    let place = attach::Place { interface: uplink, link: link.index, veth: link.veth, bpffs };
    let attached = attach::attach(&mut programs, place, config.uplink.attach)?;
    if !attached.is_pinned() {
        bail!("{} takes no pins: the fence would end with this process", bpffs.display());
    }
    let (ingress, egress) = (attached.ingress.name(), attached.egress.name());
    tracing::info!(uplink, ingress, egress, port, "the fence is closed, until a daemon is elected");
    attached.leave();
    programs.leave();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wgha_common::{Timestamp, abi::Role};

    use super::*;

    #[test]
    fn only_a_lease_that_stands_keeps_the_fence_open() {
        let later = clock::now() + Duration::from_secs(60);
        assert!(serves(Some((Lease::new(Role::Active, 2, later), 1))));
        assert!(!serves(Some((Lease::new(Role::Active, 2, later), 2))), "revoked");
        assert!(!serves(Some((Lease::new(Role::Active, 2, Timestamp::from_nanos(1)), 1))), "lapsed");
        assert!(!serves(Some((Lease::new(Role::Backup, 2, Timestamp::ZERO), 1))), "ended");
        assert!(!serves(None), "no maps");
    }
}
