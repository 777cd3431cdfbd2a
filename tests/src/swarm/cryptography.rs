//! What a machine can do at best: handshakes between two ends in one thread, with no socket between them.

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::PublicKey,
};

use super::{client::tunnel, identity};
use crate::sys;

const BUFFER: usize = 512;
/// The number of the one client; any.
const CLIENT: u32 = 1;

/// How fast handshakes are computed: initiation, response and first keepalive, both ends' work.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Of all threads together, beside whatever else the machine does.
    pub per_second: f64,
    /// Time on a core for one handshake.
    pub cpu: Duration,
}

/// Measures it with so many threads.
///
/// # Errors
/// That the two ends do not understand each other.
pub fn speed(threads: NonZero<u32>, during: Duration) -> Result<Speed> {
    let all = thread::scope(|scope| {
        let started: Vec<_> = (0..threads.get()).map(|_| scope.spawn(|| shake_hands(during))).collect();
        let ended = started.into_iter().map(|t| t.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect::<Result<Vec<_>>>()
    })?;
    let done: u32 = all.iter().map(|(done, _)| done).sum();
    let cpu: Duration = all.iter().map(|(_, cpu)| cpu).sum();
    let per_second = f64::from(done) / during.as_secs_f64();
    Ok(Speed { per_second, cpu: cpu.checked_div(done).unwrap_or_default() })
}

/// How many handshakes this thread has done, and its time on a core for them.
fn shake_hands(during: Duration) -> Result<(u32, Duration)> {
    let (server_key, client_key) = (identity::server_private_key(), identity::private_key(CLIENT));
    let client_public = PublicKey::from(&client_key);
    let mut server = tunnel(server_key, client_public, 0);
    let mut client = tunnel(client_key, identity::server_public_key(), 0);
    let (deadline, started_ns) = (Instant::now() + during, on_core_ns());
    let mut done = 0;
    while Instant::now() < deadline {
        shake_hands_once(&mut server, &mut client).context("two ends in one process")?;
        done += 1;
    }
    Ok((done, Duration::from_nanos(on_core_ns() - started_ns)))
}

fn on_core_ns() -> u64 {
    sys::clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn shake_hands_once(server: &mut Tunn, client: &mut Tunn) -> Option<()> {
    let (mut initiation, mut response, mut keepalive) = ([0; BUFFER], [0; BUFFER], [0; BUFFER]);
    let initiation = packet(server.format_handshake_initiation(&mut initiation, true))?;
    let response = packet(client.decapsulate(None, initiation, &mut response))?;
    let keepalive = packet(server.decapsulate(None, response, &mut keepalive))?;
    matches!(client.decapsulate(None, keepalive, &mut [0; BUFFER]), TunnResult::Done).then_some(())
}

fn packet(result: TunnResult<'_>) -> Option<&[u8]> {
    match result {
        TunnResult::WriteToNetwork(packet) => Some(packet),
        _ => None,
    }
}
