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

const BUFFER: usize = 512;
/// The number of the one client; any.
const CLIENT: u32 = 1;

/// Whole handshakes (initiation, response, first keepalive; both ends' work) in a second, by this many threads together.
///
/// # Errors
/// That the two ends do not understand each other.
pub fn handshakes_per_second(threads: NonZero<usize>, during: Duration) -> Result<f64> {
    let done = thread::scope(|scope| {
        let started: Vec<_> = (0..threads.get()).map(|_| scope.spawn(|| shake_hands(during))).collect();
        let ended = started.into_iter().map(|t| t.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.sum::<Result<u32>>()
    })?;
    Ok(f64::from(done) / during.as_secs_f64())
}

fn shake_hands(during: Duration) -> Result<u32> {
    let (server_key, client_key) = (identity::server_private_key(), identity::private_key(CLIENT));
    let client_public = PublicKey::from(&client_key);
    let mut server = tunnel(server_key, client_public, 0);
    let mut client = tunnel(client_key, identity::server_public_key(), 0);
    let deadline = Instant::now() + during;
    let mut done = 0;
    while Instant::now() < deadline {
        shake_hands_once(&mut server, &mut client).context("two ends in one process")?;
        done += 1;
    }
    Ok(done)
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
