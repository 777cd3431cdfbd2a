//! Can this system do what the configuration asks for? Looks, and touches nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability};
use nix::unistd::{AccessFlags, access};

use super::{
    address::{self, InterfaceAddress, same_prefix},
    bpf::{Programs, attach},
    link, netlink,
    wireguard::{self, WireguardError},
};
use crate::config::{Config, VirtualAddress};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but someone should know.
    Note,
    /// It cannot work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at.
    pub what: String,
    /// What was found, and for a problem what would be right.
    pub detail: String,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level, what: what.into(), detail: detail.into() }
    }
}

/// Without these nothing works; each with what it is for.
const CAPABILITIES: [(Capability, &str); 3] = [
    (Capability::CAP_BPF, "load the kernel half"),
    (Capability::CAP_NET_ADMIN, "attach it, set links up and down, add the VIP"),
    (Capability::CAP_NET_RAW, "send adverts and neighbour advertisements"),
];

/// Looks at everything that `run` will need.
pub async fn system(config: &Config) -> Vec<Finding> {
    let mut findings = capabilities();
    findings.push(kernel_half(&findings));
    findings.extend(interfaces(config).await);
    findings.push(bpffs(&config.paths.bpffs));
    findings.push(socket(&config.paths.socket));
    findings
}

fn capabilities() -> Vec<Finding> {
    let finding = |(capability, purpose): (Capability, &str)| {
        let what = capability.to_string();
        match caps::has_cap(None, CapSet::Effective, capability) {
            Ok(true) => Finding::new(Level::Ok, what, "there"),
            Ok(false) => {
                let detail = format!(
                    "missing: needed to {purpose}; give it with AmbientCapabilities={capability} (systemd) or run as root"
                );
                Finding::new(Level::Problem, what, detail)
            }
            Err(e) => Finding::new(Level::Problem, what, format!("cannot be looked up: {e}")),
        }
    };
    CAPABILITIES.into_iter().map(finding).collect()
}

/// Has the kernel's verifier take the programs, and lets go of them again.
fn kernel_half(so_far: &[Finding]) -> Finding {
    let what = "kernel half";
    if so_far.iter().any(|f| f.level == Level::Problem) {
        return Finding::new(Level::Note, what, "not tried without the capabilities above");
    }
    match Programs::load() {
        Ok(_) => Finding::new(Level::Ok, what, "the kernel takes the programs"),
        Err(e) => Finding::new(Level::Problem, what, format!("{:#}", anyhow::Error::new(e))),
    }
}

async fn interfaces(config: &Config) -> Vec<Finding> {
    let handle = match netlink::connect() {
        Ok(handle) => handle,
        Err(e) => return vec![Finding::new(Level::Problem, "rtnetlink", e.to_string())],
    };
    let name = &config.uplink.interface;
    let what = format!("uplink {name}");
    let mut findings = match link::read(&handle, name).await {
        Ok(Some(link)) => match address::list(&handle, link.index).await {
            Ok(addresses) => uplink(config, &link, &addresses),
            Err(e) => vec![Finding::new(Level::Problem, what, e.to_string())],
        },
        Ok(None) => {
            let detail = format!("there is no interface {name}; `ip link` lists those that there are");
            vec![Finding::new(Level::Problem, what, detail)]
        }
        Err(e) => vec![Finding::new(Level::Problem, what, e.to_string())],
    };
    findings.push(tunnel(&config.wireguard).await);
    findings
}

fn uplink(config: &Config, link: &link::Link, addresses: &[InterfaceAddress]) -> Vec<Finding> {
    let what = format!("uplink {}", config.uplink.interface);
    if link.mac == [0; 6] {
        let detail = "has no Ethernet address: VRRP needs a link with neighbours";
        return vec![Finding::new(Level::Problem, what, detail)];
    }
    let vrrp = &config.vrrp;
    let mut findings = vec![match address::advert_source(addresses, vrrp.family, &vrrp.virtual_addresses) {
        Some(source) => Finding::new(Level::Ok, &what, format!("adverts will come from {source}")),
        None => Finding::new(Level::Note, &what, format!("has no {} address to send adverts from yet", vrrp.family)),
    }];
    if !link.running {
        findings.push(Finding::new(Level::Note, &what, "is down or has no carrier"));
    }
    findings.extend(vrrp.virtual_addresses.iter().map(|vip| virtual_address(*vip, &what, addresses)));
    findings
}

fn virtual_address(vip: VirtualAddress, uplink: &str, addresses: &[InterfaceAddress]) -> Finding {
    let what = format!("VIP {}", vip.address);
    let own: Vec<_> = addresses
        .iter()
        .filter(|a| a.address.is_ipv4() == vip.address.is_ipv4() && a.address != vip.address)
        .collect();
    if own.is_empty() {
        return Finding::new(Level::Note, what, format!("{uplink} has no address of its own yet"));
    }
    if own.iter().any(|a| same_prefix(a.address, vip.address, a.prefix_len)) {
        return Finding::new(Level::Ok, what, format!("in a prefix of {uplink}"));
    }
    let prefixes: Vec<_> = own.iter().map(|a| format!("{}/{}", a.address, a.prefix_len)).collect();
    let detail = format!("outside the prefixes of {uplink}: it has {}", prefixes.join(", "));
    Finding::new(Level::Problem, what, detail)
}

async fn tunnel(name: &str) -> Finding {
    let what = format!("WireGuard {name}");
    match wireguard::facts(name).await {
        Ok(facts) => {
            let port = facts.listen_port.map_or("none yet".to_owned(), |p| p.to_string());
            let (who, peers) = (facts.implementation.name(), facts.peers);
            let level = if facts.listen_port.is_some() { Level::Ok } else { Level::Note };
            Finding::new(level, what, format!("{who}, listen port {port}, {peers} peer(s)"))
        }
        Err(e @ WireguardError::Silent(_)) => Finding::new(Level::Note, what, e.to_string()),
        Err(e) => Finding::new(Level::Problem, what, e.to_string()),
    }
}

fn bpffs(path: &Path) -> Finding {
    let what = format!("bpffs {}", path.display());
    let there = existing(path);
    match attach::on_bpffs(&there) {
        Ok(()) if writable(&there) => Finding::new(Level::Ok, what, "the fence outlives the daemon"),
        Ok(()) => Finding::new(
            Level::Note,
            what,
            format!("{} is not writable: the fence ends with the daemon's process", there.display()),
        ),
        Err(e) => Finding::new(Level::Note, what, format!("{e}: the fence ends with the daemon's process")),
    }
}

fn socket(path: &Path) -> Finding {
    let what = format!("socket {}", path.display());
    let there = path.parent().map(existing).unwrap_or_default();
    if writable(&there) {
        Finding::new(Level::Ok, what, "can be made")
    } else {
        let detail = format!("{} is not writable; RuntimeDirectory=wgha (systemd) makes one that is", there.display());
        Finding::new(Level::Problem, what, detail)
    }
}

/// The path, or the nearest folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| fs::metadata(p).is_ok()).unwrap_or(Path::new("/")).to_owned()
}

fn writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str, prefix_len: u8) -> InterfaceAddress {
        InterfaceAddress { address: address.parse().unwrap(), prefix_len, unusable: false }
    }

    #[test]
    fn a_vip_outside_the_prefixes_is_a_problem() {
        let vip = VirtualAddress { address: "2001:db8:1::2".parse().unwrap(), prefix_len: 64 };
        for (addresses, level) in [
            (vec![on("2001:db8:1::3", 64), on("fe80::3", 64)], Level::Ok),
            (vec![on("2001:db8:7::3", 64)], Level::Problem),
            (vec![on("2001:db8:1::2", 64)], Level::Note),
            (vec![on("192.0.2.3", 24)], Level::Note),
        ] {
            assert_eq!(virtual_address(vip, "eno1", &addresses).level, level, "{addresses:?}");
        }
    }

    #[test]
    fn the_nearest_folder_that_exists_is_found() {
        assert_eq!(existing(Path::new("/proc/self/none/of/this")), Path::new("/proc/self"));
    }
}
