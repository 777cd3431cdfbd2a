use std::{path::Path, time::SystemTime};

use super::{DEGRADED, HEALTHY, output};
use crate::status::{control::Client, table};

pub(super) fn status(socket: &Path, json: bool) -> anyhow::Result<u8> {
    let answer = Client::connect(socket)?.status()?;
    let text = if json { answer.json + "\n" } else { table(&answer.value, SystemTime::now()) };
    let code = if answer.value.is_healthy() { HEALTHY } else { DEGRADED };
    match output::print(&text) {
        // The exit status is an answer by itself, as in `wgha status | head -1` with pipefail.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(code),
        other => Ok(other.map(|()| code)?),
    }
}
