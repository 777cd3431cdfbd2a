//! What so many peers cost the servers' WireGuard, before anything happens.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    Topology,
    swarm::servers::{self, Directory},
};

use super::machine;

/// Configures B's `wg1` with each number of peers.
pub fn measure(peers: &[u32]) -> Result<Value> {
    println!("\nwireguard-go with many peers:\n   peers   added in  wg show dump   UAPI get   memory");
    peers.iter().map(|&peers| measure_one(peers)).collect()
}

fn measure_one(peers: u32) -> Result<Value> {
    let topology = Topology::ipv6()?;
    let server = &topology.b;
    let ((), added) = timed(|| servers::add_peers(server, peers))?;
    let (_, dump) = timed(|| server.tunnel.wg_show("dump"))?;
    let directory = Directory::of(peers);
    let (_, get) = timed(|| directory.endpoints(server))?;
    let memory = machine::usage_in(&server.namespace, "wireguard-go")?.resident_kib;
    println!("{peers:>8} {added:>10.2?} {dump:>13.2?} {get:>10.2?} {:>5} MiB", memory / 1024);
    Ok(json!({
        "peers": peers,
        "added_us": added.as_micros(),
        "wg_show_dump_us": dump.as_micros(),
        "uapi_get_us": get.as_micros(),
        "resident_kib": memory,
    }))
}

fn timed<T>(job: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((job()?, start.elapsed()))
}
