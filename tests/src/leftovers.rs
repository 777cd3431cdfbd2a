//! What wgha has put on a server, or has left there.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use aya::{
    maps::{Map, MapData, PerCpuArray},
    programs::{SchedClassifier, tc::TcAttachType},
};
use wgha_common::abi::{ABI_VERSION, Counter};

use crate::{
    Namespace,
    topology::{TUNNEL, UPLINK},
};

/// Where the pins are, unless the configuration says otherwise.
pub const BPFFS: &str = "/sys/fs/bpf/wgha";

/// Whether anything is attached to the uplink: XDP, TCX or a classic filter.
///
/// # Errors
/// The system's.
pub fn has_programs(namespace: &Namespace) -> Result<bool> {
    let xdp = namespace.ip(&format!("-details link show dev {UPLINK}"))?.contains("xdp");
    let clsact = has_clsact(namespace)?;
    let filters =
        ["ingress", "egress"].map(|way| namespace.run("tc", &["filter", "show", "dev", UPLINK, way]));
    let filters = filters.into_iter().any(|shown| !shown.unwrap_or_default().is_empty());
    let tcx = [TcAttachType::Ingress, TcAttachType::Egress].map(|way| {
        let attached = namespace.inside(move || Ok(SchedClassifier::query_tcx(UPLINK, way)?));
        // Before Linux 6.6 there is no TCX to ask for.
        attached.is_ok_and(|(_, programs)| !programs.is_empty())
    });
    Ok(xdp || (clsact && filters) || tcx.contains(&true))
}

/// Whether the uplink has the queueing discipline that classic filters are in.
///
/// # Errors
/// The system's.
pub fn has_clsact(namespace: &Namespace) -> Result<bool> {
    Ok(namespace.run("tc", &["qdisc", "show", "dev", UPLINK])?.contains("clsact"))
}

/// Everything below the bpffs of a server that is not a folder.
#[must_use]
pub fn pins(namespace: &Namespace) -> Vec<String> {
    let mut folders = vec![namespace.path("/sys/fs/bpf")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if !entry.file_name().to_string_lossy().ends_with(".debug") {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

/// What the kernel half has counted, read from the maps that are pinned in `bpffs`: no daemon need run.
///
/// # Errors
/// There are no maps.
pub fn counted(namespace: &Namespace, bpffs: &Path, counter: Counter) -> Result<u64> {
    let pin = bpffs.join(format!("maps{ABI_VERSION}_{}_{UPLINK}/COUNTERS", namespace.inode()?));
    let map = MapData::from_pin(&pin).with_context(|| pin.display().to_string())?;
    let counters: PerCpuArray<_, u64> = Map::from_map_data(map)?.try_into()?;
    Ok(counters.get(&(counter as u32), 0)?.iter().sum())
}

/// A server's addresses, routes and rules, links, filters, files, sockets and processes: what must be the same
/// after wgha as it was before it.
///
/// # Errors
/// The system's.
pub fn picture(namespace: &Namespace) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mut add = |what: &str, shown: &str| {
        let lines = shown.lines().map(str::trim).filter(|line| !line.is_empty());
        seen.extend(lines.map(|line| format!("{what}: {}", words(line))));
    };
    add("address", &namespace.ip(&format!("-brief address show dev {UPLINK}"))?);
    for family in ["-4", "-6"] {
        add("route", &namespace.ip(&format!("{family} route show table all dev {UPLINK}"))?);
        add("rule", &namespace.ip(&format!("{family} rule show"))?);
    }
    add("link", &namespace.ip("-brief link show type veth")?);
    add("qdisc", &filters(namespace));
    add("pin", &pins(namespace).join("\n"));
    add("file", &files(namespace));
    add("socket", &sockets(namespace)?);
    add("programs", if has_programs(namespace)? { "attached" } else { "" });
    Ok(seen)
}

/// Without what a routing table tells of the moment, and with one space between words.
fn words(line: &str) -> String {
    let passing = ["linkdown", "tentative"];
    let words: Vec<_> = line.split_whitespace().filter(|word| !passing.contains(word)).collect();
    words.join(" ")
}

/// An empty clsact does nothing, and may belong to somebody else.
fn filters(namespace: &Namespace) -> String {
    ["ingress", "egress"]
        .map(|way| namespace.run("tc", &["filter", "show", "dev", UPLINK, way]).unwrap_or_default())
        .concat()
}

/// wg1's addresses and routes are remembered for as long as the machine is up: they would be lost with a daemon that is
/// killed.
fn files(namespace: &Namespace) -> String {
    let entries = fs::read_dir(namespace.path("/run/wgha")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name != "wgha.toml" && *name != format!("{TUNNEL}.tunnel"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Packet and raw sockets, the port of probes and of the peer channel, and what has a name with `wgha` in it.
fn sockets(namespace: &Namespace) -> Result<String> {
    let read = |name: &str| {
        namespace
            .inside(|| Ok(fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()))
    };
    let mut found = Vec::new();
    for kind in ["packet", "raw", "raw6"] {
        found.extend(read(kind)?.lines().skip(1).map(|_| kind.to_owned()));
    }
    for kind in ["udp", "udp6", "tcp", "tcp6"] {
        let port = format!(":{:04X} ", crate::frame::SBFD_PORT);
        let open = read(kind)?.lines().filter(|line| line.contains(&port) && !is_closed(line)).count();
        found.extend((0..open).map(|_| format!("{kind} of a probe")));
    }
    let unix = read("unix")?;
    found.extend(
        unix.lines()
            .filter(|line| line.contains("wgha"))
            .map(|line| format!("unix {}", line.split_whitespace().last().unwrap_or_default())),
    );
    Ok(found.join("\n"))
}

/// A connection that waits for stray segments (TCP_TIME_WAIT, or on its way there) has no owner any more.
fn is_closed(line: &str) -> bool {
    const TCP_ESTABLISHED: &str = "01";
    const TCP_CLOSE: &str = "07"; // and every UDP socket that is not connected
    const TCP_LISTEN: &str = "0A";
    let state = line.split_whitespace().nth(3).unwrap_or_default();
    ![TCP_ESTABLISHED, TCP_CLOSE, TCP_LISTEN].contains(&state)
}
