//! The object loads, also with few capabilities.

use std::process::Command;

use wgha_common::abi::{
    self, AdvertSeen, AdvertStamp, Answer, Arrivals, ClockRead, Counter, Event, EventKind, Lease,
    Outstanding, Peer, Revoked, Rung, Sbfd, Traffic, UplinkConfig,
};
use wgha_tests::may_run;

use crate::kernel::{Kernel, object};

#[test]
fn every_map_is_as_the_contract_says() {
    if !may_run() {
        return;
    }
    let ebpf = aya::EbpfLoader::new().load(&object()).unwrap();
    let address = size_of::<wgha_common::Address>();
    for (name, key, value, entries) in [
        ("UPLINK", 4, size_of::<UplinkConfig>(), 1),
        ("VIPS", address, 1, abi::MAX_VIPS),
        ("LEASE", 4, size_of::<Lease>(), 1),
        ("ADVERT", 4, size_of::<AdvertStamp>(), 1),
        ("REVOKED", 4, size_of::<Revoked>(), 1),
        ("ROUTERS", address, size_of::<AdvertSeen>(), abi::MAX_ROUTERS),
        ("SBFD", 4, size_of::<Sbfd>(), 1),
        ("PEERS", address, size_of::<Peer>(), abi::MAX_PEERS),
        ("ADVERTISERS", address, 4, abi::MAX_PEERS),
        ("PROBES", 4, size_of::<Outstanding>(), abi::MAX_PEERS),
        ("ANSWERS", 4, size_of::<Answer>(), abi::MAX_PEERS),
        ("GATEWAYS", address, 1, abi::MAX_GATEWAYS),
        ("ARRIVALS", 4, size_of::<Arrivals>(), 1),
        ("SOURCES", 4, 8 * abi::SOURCE_WAYS, abi::SOURCE_SETS),
        ("CLOCK", 4, size_of::<ClockRead>(), 1),
        ("EVENTS", 0, 0, abi::EVENTS_BYTES),
        ("RUNG", 4, size_of::<Rung>(), EventKind::COUNT),
        ("COUNTERS", 4, 8, Counter::COUNT),
        ("TRAFFIC", 4, size_of::<Traffic>(), abi::TRAFFIC_ENTRIES),
    ] {
        let map = ebpf.map(name).unwrap_or_else(|| panic!("no map {name}"));
        let info = aya::maps::MapInfo::from_id(map_id(map)).unwrap();
        let got = (info.key_size() as usize, info.value_size() as usize, info.max_entries());
        assert_eq!(got, (key, value, entries), "{name}");
    }
    assert_eq!(size_of::<Event>(), 40);
}

fn map_id(map: &aya::maps::Map) -> u32 {
    use aya::maps::Map;
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::RingBuf(map) => map.info().unwrap().id(),
        other => panic!("{other:?}"),
    }
}

/// Run by the next test, in a process that has few capabilities.
#[test]
fn loads_with_what_it_has() {
    if !may_run() {
        return;
    }
    for (program, (instructions, verified)) in Kernel::load().sizes() {
        println!("{program}: {instructions} instructions, {verified} verified");
        assert!(instructions < 6000 && verified < 300_000, "{program} has grown");
    }
}

/// Without CAP_PERFMON the verifier guards against Spectre and refuses more.
///
/// Older ones (Linux 6.1) also refuse every small store beside a small number on the stack, which no compiler
/// can know: there, and only there, CAP_PERFMON is needed as well.
#[test]
fn loads_with_few_capabilities() {
    if !may_run() {
        return;
    }
    let Err(refusal) = load_with("+bpf,+net_admin") else {
        return;
    };
    assert!(refusal.contains("attempt to corrupt spilled pointer on stack"), "{refusal}");
    println!("this kernel wants CAP_PERFMON too");
    load_with("+bpf,+net_admin,+perfmon").unwrap();
}

/// Runs [`loads_with_what_it_has`] with no other capabilities.
fn load_with(capabilities: &str) -> Result<(), String> {
    let mut child = Command::new("setpriv");
    child.args(["--bounding-set", &format!("-all,{capabilities}"), "--inh-caps", "-all", "--"]);
    child.arg(std::env::current_exe().unwrap());
    child.args(["--exact", "loading::loads_with_what_it_has", "--nocapture"]);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!(
        "with {capabilities}: {}",
        said.lines().filter(|line| line.contains("verified")).collect::<Vec<_>>().join("; ")
    );
    match output.status.success() && said.contains("1 passed") {
        true => Ok(()),
        false => Err(all),
    }
}
