//! What no server can beat on this machine: handshakes with both ends computed here, and nothing else done.

use std::{num::NonZero, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    steal,
    swarm::cryptography::{self, Speed},
};

use super::super::report::Table;

/// How long it is measured at a time.
const DURING: Duration = Duration::from_secs(2);

/// With one thread, and with one on every core.
pub fn measure() -> Result<(Vec<Table>, Value)> {
    let cores = std::thread::available_parallelism()?.try_into()?;
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for threads in [NonZero::<u32>::MIN, cores] {
        let stolen = steal::ticks();
        let Speed { per_second, cpu } = cryptography::speed(threads, DURING)?;
        let stolen = steal::ticks() - stolen;
        let alone = Duration::from_secs_f64(1000.0 / per_second);
        rows.push(vec![
            threads.to_string(),
            format!("{per_second:.0}"),
            format!("{:.0}", cpu.as_secs_f64() * 1e6),
            crate::demo::words::duration(alone),
            stolen.to_string(),
        ]);
        let cpu_ns = cpu.as_nanos() as u64;
        data.push(
            json!({"threads": threads, "per_second": per_second, "cpu_ns": cpu_ns, "steal_ticks": stolen}),
        );
    }
    let head = vec!["threads", "a second", "µs of a core each", "1,000 of them", "steal"];
    let title = "Handshakes, both ends in one process".to_owned();
    Ok((vec![Table { title, head, rows }], data.into()))
}
