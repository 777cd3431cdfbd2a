use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{DEGRADED, HEALTHY, output};
use crate::status::control::{Client, ClientError};

/// How long a new program may take until it answers.
const STARTING: Duration = Duration::from_secs(20);
/// Between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Returns when the new program answers.
pub(super) fn reload(socket: &Path) -> anyhow::Result<u8> {
    let asked = Instant::now();
    match Client::connect(socket)?.reload() {
        Ok(()) => {}
        Err(e @ ClientError::Refused { .. }) => {
            output::complain(&e.into());
            return Ok(DEGRADED);
        }
        Err(e) => return Err(e.into()),
    }
    let deadline = Instant::now() + STARTING;
    loop {
        match Client::connect(socket).and_then(|mut client| client.status()) {
            // The old one is older than our question.
            Ok(answer) if answer.value.uptime_s < asked.elapsed().as_secs_f64() => return Ok(HEALTHY),
            Err(e) if Instant::now() >= deadline => return Err(e).context("the old program has made way"),
            _ if Instant::now() >= deadline => anyhow::bail!("the old program still answers"),
            _ => thread::sleep(LOOK_EVERY),
        }
    }
}
