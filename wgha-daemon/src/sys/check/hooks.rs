//! What the kernel has of that which wgha can use, and what wgha will use of it (invariant I13).

use std::fs;

use super::Depth;
use crate::{
    config::{Attach, Config},
    sys::{
        bpf::{
            EgressHook, Programs,
            attach::{Place, candidates, is_left},
            probe,
        },
        link::{self, Link},
        lock::UplinkLock,
        netdev, netlink,
        report::Report,
    },
};

/// As `uname -r` says it.
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// The kernel, whatever the uplink.
pub(super) fn kernel(report: &mut Report) {
    match fs::read_to_string(RELEASE) {
        Ok(release) => report.ok("kernel", format!("Linux {}", release.trim())),
        Err(e) => report.note("kernel", format!("{RELEASE}: {e}")),
    }
    if probe::has_btf() {
        report.ok("BTF", "the kernel tells its types; wgha does without");
    } else {
        report.note("BTF", "the kernel does not tell its types; wgha does without");
    }
    match probe::maps() {
        _ if report.has_problem() => report.note("maps", "not tried without the capabilities above"),
        (there, missing) if missing.is_empty() => {
            report.ok("maps", format!("{}: all there", there.join(", ")))
        }
        (_, missing) => report.problem("maps", format!("this kernel has no {}", missing.join(", no "))),
    }
}

/// The hooks of the uplink.
pub(super) async fn uplink(config: &Config, programs: Option<Programs>, depth: Depth, report: &mut Report) {
    let (Some(programs), Some(link)) = (programs, read(&config.uplink.interface).await) else {
        return report.note("hooks", "not looked at, for what is told above");
    };
    let (interface, bpffs) = (config.uplink.interface.as_str(), config.paths.bpffs.as_path());
    let place = Place { interface, link: link.index, veth: link.veth, bpffs };
    let tc = egress(place, report);
    native(place, report);
    match depth {
        Depth::Look => report.ok("ingress", plan(place, config.uplink.attach, tc)),
        Depth::Try => tried(programs, place, config.uplink.attach, tc, report),
    }
}

async fn read(interface: &str) -> Option<Link> {
    let handle = netlink::connect().ok()?;
    link::read(&handle, interface).await.ok().flatten()
}

fn egress(place: Place<'_>, report: &mut Report) -> Option<EgressHook> {
    let found = probe::tc_hook(place.interface);
    match &found {
        Ok(EgressHook::Tcx) => report.ok("egress", "tcx"),
        Ok(EgressHook::Clsact) => report.ok("egress", "clsact: this kernel has no TCX (Linux 6.6)"),
        Err(e) => report.note("egress", format!("tcx or clsact: {e}")),
    }
    found.ok()
}

/// What the driver says.
fn native(place: Place<'_>, report: &mut Report) {
    let what = format!("driver of {}", place.interface);
    let name = if place.veth { "veth".to_owned() } else { driver(place.interface) };
    match netdev::native_xdp(place.link) {
        Ok(true) if place.veth => {
            let only = "which sends only if the other end has a program, too: used if asked for";
            report.ok(what, format!("{name}, has native XDP, {only}"));
        }
        Ok(true) => report.ok(what, format!("{name}, has native XDP")),
        Ok(false) => report.note(what, format!("{name}, has no native XDP")),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            let why = "this kernel does not tell whether it has native XDP (Linux 6.3)";
            report.note(what, format!("{name}; {why}"));
        }
        Err(e) => report.note(what, format!("{name}; whether it has native XDP: {e}")),
    }
}

/// The name of the driver behind an interface; those that are made of nothing have none.
fn driver(interface: &str) -> String {
    let link = fs::read_link(format!("/sys/class/net/{interface}/device/driver"));
    let name = link.ok().and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "none".to_owned())
}

/// What will be tried, in order.
fn plan(place: Place<'_>, wish: Attach, tc: Option<EgressHook>) -> String {
    let hooks: Vec<_> = candidates(wish, place).into_iter().map(|hook| name(hook, tc)).collect();
    hooks.join(", else ")
}

/// As status calls it.
const fn name(hook: Attach, tc: Option<EgressHook>) -> &'static str {
    match (hook, tc) {
        (Attach::Native, _) => "xdp native",
        (Attach::Generic, _) => "xdp generic",
        (_, Some(EgressHook::Tcx)) => "tc (tcx)",
        (_, Some(EgressHook::Clsact)) => "tc (clsact)",
        (_, None) => "tc",
    }
}

/// What is taken, of that which is asked for: the first one is what wgha will use.
fn tried(
    mut programs: Programs,
    place: Place<'_>,
    wish: Attach,
    tc: Option<EgressHook>,
    report: &mut Report,
) {
    let lock = UplinkLock::take(place.link);
    if lock.is_err() {
        return report.note("ingress", "not tried: a daemon has it, and `wgha status` shows where");
    }
    if is_left(place) {
        return report.note("ingress", "not tried: a daemon that was killed has left its programs there");
    }
    let mut taken = None;
    for hook in candidates(wish, place) {
        match probe::try_hook(&mut programs, place, hook) {
            Ok(()) => {
                report.ok(name(hook, tc), format!("{} takes a program", place.interface));
                taken = taken.or(Some(hook));
            }
            Err(e) => report.note(name(hook, tc), format!("{:#}", anyhow::Error::new(e))),
        }
    }
    match taken {
        Some(hook) => report.ok("ingress", name(hook, tc)),
        None => report.problem("ingress", format!("{} takes no program", place.interface)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wgha_common::IfIndex;

    use super::*;

    #[test]
    fn what_is_tried_is_told_in_order() {
        let place =
            |veth| Place { interface: "eno1", link: IfIndex(2), veth, bpffs: Path::new("/nonexistent") };
        let tcx = Some(EgressHook::Tcx);
        let auto = "xdp native, else tc (tcx), else xdp generic";
        assert_eq!(plan(place(false), Attach::Auto, tcx), auto);
        assert_eq!(
            plan(place(true), Attach::Auto, Some(EgressHook::Clsact)),
            "tc (clsact), else xdp generic"
        );
        assert_eq!(plan(place(true), Attach::Native, tcx), "xdp native");
    }
}
