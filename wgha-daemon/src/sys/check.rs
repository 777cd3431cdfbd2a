//! Can this system do what the configuration asks for? Looks, and touches nothing, unless it is to try the hooks.

mod hooks;

use std::{
    fs,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability};
use nix::unistd::{AccessFlags, access};

use super::{
    address::{self, InterfaceAddress, same_prefix},
    bpf::{BpfError, Programs, attach},
    clock, link, netlink, realtime,
    report::Report,
    wireguard::{self, Facts},
};
use crate::config::{Config, VirtualAddress};

/// Without these nothing works; each with what it is for.
const CAPABILITIES: [(Capability, &str); 3] = [
    (Capability::CAP_BPF, "load the kernel half"),
    (Capability::CAP_NET_ADMIN, "attach it, set links up and down, add the VIP"),
    (Capability::CAP_NET_RAW, "send adverts and neighbour advertisements"),
];

/// How much is done to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Nothing is touched.
    Look,
    /// Programs that pass everything are attached to the uplink for a moment.
    Try,
}

/// The same as [`system`], for callers without a runtime.
pub fn look(config: &Config, depth: Depth) -> Report {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let report = runtime.block_on(system(config, depth));
            // A WireGuard process that does not answer is not waited for.
            runtime.shutdown_background();
            report
        }
        Err(e) => {
            let mut report = Report::default();
            report.problem("runtime", e.to_string());
            report
        }
    }
}

/// Looks at everything that `run` will need.
pub async fn system(config: &Config, depth: Depth) -> Report {
    let mut report = Report::default();
    capabilities(&mut report);
    hooks::kernel(&mut report);
    let programs = kernel_half(&mut report);
    others(config, &mut report).await;
    hooks::uplink(config, programs, depth, &mut report).await;
    report
}

/// The same without the kernel half, for a daemon that is about to load it.
pub async fn surroundings(config: &Config) -> Report {
    let mut report = Report::default();
    capabilities(&mut report);
    others(config, &mut report).await;
    report
}

async fn others(config: &Config, report: &mut Report) {
    interfaces(config, report).await;
    bpffs(&config.paths.bpffs, report);
    socket(&config.paths.socket, report);
    conduct(config, report);
    time(report);
}

/// The kernel half's clock must be ours.
fn time(report: &mut Report) {
    let what = "clock";
    match clock::shift() {
        Ok(0) => report.ok(what, "the same for the daemon and the kernel half"),
        Ok(seconds) => report.problem(
            what,
            format!("this time namespace shifts CLOCK_BOOTTIME by {seconds} s, which the kernel half does not see; run wgha outside of it"),
        ),
        Err(e) => report.problem(what, format!("/proc/self/timens_offsets: {e}")),
    }
}

/// Whether the programs may be loaded and attached.
///
/// # Errors
/// The capabilities that are missing, in a sentence.
pub fn capable() -> Result<(), String> {
    let mut report = Report::default();
    capabilities(&mut report);
    let missing: Vec<_> = report.problems().map(|p| format!("{}: {}", p.what, p.detail)).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

/// What is to be said of a name that no interface has.
#[must_use]
pub fn no_interface(name: &str) -> String {
    format!("there is no interface {name}; `ip link` lists those that there are")
}

/// What is to be said when WireGuard has another port than the configuration says.
#[must_use]
pub fn other_port(name: &str, port: u16, written: u16) -> String {
    format!(
        "{name} listens on port {port}, but listen_port = {written}: `wgha fence` would guard that at the next boot"
    )
}

fn capabilities(report: &mut Report) {
    for (capability, purpose) in CAPABILITIES {
        let what = capability.to_string();
        match caps::has_cap(None, CapSet::Effective, capability) {
            Ok(true) => report.ok(what, "there"),
            Ok(false) => report.problem(
                what,
                format!("missing: needed to {purpose}; give it with AmbientCapabilities={capability} (systemd) or run as root"),
            ),
            Err(e) => report.problem(what, format!("cannot be looked up: {e}")),
        }
    }
}

/// Has the kernel's verifier take the programs. Nothing is pinned: a daemon may be running.
fn kernel_half(report: &mut Report) -> Option<Programs> {
    let what = "kernel half";
    if report.has_problem() {
        report.note(what, "not tried without what is missing above");
        return None;
    }
    match Programs::load() {
        Ok(loaded) => {
            report.ok(what, "the kernel takes the programs");
            Some(loaded.programs)
        }
        Err(e) => {
            report.problem(what, why_not_loaded(e));
            None
        }
    }
}

/// Why the kernel does not take the programs, in few words.
#[must_use]
pub fn why_not_loaded(error: BpfError) -> String {
    let mut why = brief(&format!("{:#}", anyhow::Error::new(error)));
    if !matches!(caps::has_cap(None, CapSet::Effective, Capability::CAP_PERFMON), Ok(true)) {
        why +=
            "\nThe verifier of older kernels, 6.1 for one, takes the programs only with CAP_PERFMON as well.";
    }
    why
}

/// The beginning and the end of what the verifier says; between them it tells of every instruction.
fn brief(error: &str) -> String {
    const ENDS: usize = 4;
    let lines: Vec<_> = error.lines().collect();
    if lines.len() <= 2 * ENDS {
        return error.to_owned();
    }
    [&lines[..ENDS], &["…"], &lines[lines.len() - ENDS..]].concat().join("\n")
}

async fn interfaces(config: &Config, report: &mut Report) {
    let handle = match netlink::connect() {
        Ok(handle) => handle,
        Err(e) => return report.problem("rtnetlink", e.to_string()),
    };
    let name = &config.uplink.interface;
    let what = format!("uplink {name}");
    match link::read(&handle, name).await {
        Ok(Some(link)) => match address::list(&handle, link.index).await {
            Ok(addresses) => uplink(config, &link, &addresses, report),
            Err(e) => report.problem(what, e.to_string()),
        },
        Ok(None) => report.problem(what, no_interface(name)),
        Err(e) => report.problem(what, e.to_string()),
    }
    tunnel(&config.wireguard, config.listen_port, report).await;
}

fn uplink(config: &Config, link: &link::Link, addresses: &[InterfaceAddress], report: &mut Report) {
    let what = format!("uplink {}", config.uplink.interface);
    if link.mac == [0; 6] {
        return report.problem(what, "has no Ethernet address: VRRP needs a link with neighbours");
    }
    let vrrp = &config.vrrp;
    match address::advert_source(addresses, vrrp.family, &vrrp.virtual_addresses) {
        Some(source) => report.ok(&what, format!("adverts will come from {source}")),
        None => report.note(&what, format!("has no {} address to send adverts from yet", vrrp.family)),
    }
    if !link.running {
        report.note(&what, "is down or has no carrier");
    }
    for vip in &vrrp.virtual_addresses {
        virtual_address(*vip, &what, addresses, report);
    }
    for peer in config.peers.iter().filter(|peer| addresses.iter().any(|own| own.address == **peer)) {
        let why = "an address of this server; use the other server's own address";
        report.problem(format!("peer {peer}"), why);
    }
}

fn virtual_address(vip: VirtualAddress, uplink: &str, addresses: &[InterfaceAddress], report: &mut Report) {
    let what = format!("VIP {}", vip.address);
    let same_family = |a: &&InterfaceAddress| a.address.is_ipv4() == vip.address.is_ipv4();
    let own: Vec<_> = addresses.iter().filter(same_family).filter(|a| a.address != vip.address).collect();
    if own.is_empty() {
        return report.note(what, format!("{uplink} has no address of its own yet"));
    }
    if own.iter().any(|a| same_prefix(a.address, vip.address, a.prefix_len)) {
        return report.ok(what, format!("in a prefix of {uplink}"));
    }
    let prefixes: Vec<_> = own.iter().map(|a| format!("{}/{}", a.address, a.prefix_len)).collect();
    report.problem(what, format!("outside the prefixes of {uplink}: it has {}", prefixes.join(", ")));
}

async fn tunnel(name: &str, written: Option<u16>, report: &mut Report) {
    let what = format!("WireGuard {name}");
    match wireguard::facts(name).await {
        Ok(Facts { listen_port: Some(port), implementation, peers, .. }) => {
            report.ok(&what, format!("{}, listen port {port}, {peers} peer(s)", implementation.name()));
            if let Some(written) = written.filter(|written| *written != port) {
                report.note(what, other_port(name, port, written));
            }
        }
        Ok(Facts { listen_port: None, .. }) => report.note(what, "has no listen port yet"),
        // One that does not answer is a problem too: without its port the fence would not know what to guard.
        Err(e) => report.problem(what, e.to_string()),
    }
}

fn bpffs(path: &Path, report: &mut Report) {
    let what = format!("bpffs {}", path.display());
    let there = existing(path);
    let why = match attach::on_bpffs(&there) {
        Ok(()) if writable(&there) => {
            return report.ok(what, "maps and links are pinned there: the fence outlives the daemon");
        }
        Ok(()) => format!("{} is not writable", there.display()),
        Err(e) => e.to_string(),
    };
    report.note(what, format!("{why}: the fence ends with the daemon's process"));
}

fn socket(path: &Path, report: &mut Report) {
    let what = format!("socket {}", path.display());
    let there = path.parent().map(existing).unwrap_or_default();
    if writable(&there) {
        return report.ok(what, "can be made");
    }
    let mend = "RuntimeDirectory=wgha (systemd) makes one that is";
    report.problem(what, format!("{} is not writable; {mend}", there.display()));
}

fn conduct(config: &Config, report: &mut Report) {
    let conduct = realtime::probe();
    match &conduct.not_scheduled {
        None => report.ok("real time", "the loop will run under SCHED_FIFO"),
        Some(why) => report.note("real time", format!("{why}; a busy machine may keep the loop waiting")),
    }
    if let Some(why) = &conduct.not_locked {
        report.note("memory", format!("not locked, {why}"));
    }
    report.note("detection", config.detection_note(conduct.not_scheduled.is_none()));
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
    use super::{super::report::Level, *};

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
            let mut report = Report::default();
            virtual_address(vip, "eno1", &addresses, &mut report);
            assert_eq!(report.findings[0].level, level, "{addresses:?}");
        }
    }

    #[test]
    fn of_a_long_error_the_ends_are_kept() {
        assert_eq!(brief("one\ntwo"), "one\ntwo");
        let long: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(brief(&long.join("\n")), "0\n1\n2\n3\n…\n996\n997\n998\n999");
    }

    #[test]
    fn the_nearest_folder_that_exists_is_found() {
        assert_eq!(existing(Path::new("/proc/self/none/of/this")), Path::new("/proc/self"));
    }
}
