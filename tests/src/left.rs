//! What of wgha is in the kernel, whether a daemon runs or not.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use aya::{
    maps::{Map, MapData, PerCpuArray},
    programs::{SchedClassifier, tc::TcAttachType},
};
use wgha_common::abi::{ABI_VERSION, Counter};

use crate::{Namespace, topology::UPLINK};

/// Where the pins are, unless the configuration says otherwise.
pub const BPFFS: &str = "/sys/fs/bpf/wgha";

/// Whether anything is attached to the uplink: XDP, TCX or a classic filter.
#[must_use]
pub fn has_programs(namespace: &Namespace) -> bool {
    let shown = |program: &str, args: &str| {
        namespace.run(program, &args.split(' ').collect::<Vec<_>>()).unwrap_or_default()
    };
    let xdp = shown("ip", &format!("-details link show dev {UPLINK}")).contains("xdp");
    let filters = ["ingress", "egress"]
        .iter()
        .any(|way| !shown("tc", &format!("filter show dev {UPLINK} {way}")).is_empty());
    let tcx = [TcAttachType::Ingress, TcAttachType::Egress].map(|way| {
        let attached = namespace.inside(move || Ok(SchedClassifier::query_tcx(UPLINK, way)?));
        // Before Linux 6.6 there is no TCX to ask for.
        attached.is_ok_and(|(_, programs)| !programs.is_empty())
    });
    xdp || filters || tcx.contains(&true)
}

/// Whether the uplink has the queueing discipline that classic filters are in.
#[must_use]
pub fn has_clsact(namespace: &Namespace) -> bool {
    let shown = namespace.run("tc", &["qdisc", "show", "dev", UPLINK]);
    shown.is_ok_and(|shown| shown.contains("clsact"))
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
