//! The servers' side of a swarm: `wg1` with a peer for every client.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result};

use super::identity;
use crate::{Plan, Server, topology::TUNNEL};

/// How many peers are given to `wg` at a time.
const CHUNK: usize = 1000;
/// wireguard-go's control socket.
const CONTROL: &str = "/run/wireguard/wg1.sock";

/// A peer of `wg1`.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's number.
    pub number: u32,
    /// Where it is, if that is to be set.
    pub endpoint: Option<SocketAddr>,
    /// Its persistent keepalive in seconds; 0: none.
    pub keepalive: u16,
}

impl Peer {
    /// Clients of which nothing is known.
    pub fn unknown(clients: u32) -> impl Iterator<Item = Self> {
        (0..clients).map(|number| Self { number, endpoint: None, keepalive: 0 })
    }

    fn write_to(self, text: &mut String) {
        let key = identity::to_base64(&identity::public_key(self.number));
        let address = identity::tunnel_address(self.number);
        // Writing to a String does not fail.
        let _ = write!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\n");
        if let Some(endpoint) = self.endpoint {
            let _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if self.keepalive != 0 {
            let _ = writeln!(text, "PersistentKeepalive = {}", self.keepalive);
        }
    }
}

/// Gives a server's `wg1` the address of the swarm's tunnel, and its clients as peers beside those that it has.
///
/// # Errors
/// What `wg` or `ip` complain of.
pub fn add_peers(server: &Server, clients: u32) -> Result<()> {
    let (address, len) = (identity::SERVER, identity::PREFIX_LEN);
    server.namespace.ip(&format!("address replace {address}/{len} dev {TUNNEL}"))?;
    let peers = Peer::unknown(clients).collect::<Vec<_>>();
    for chunk in peers.chunks(CHUNK) {
        let mut text = String::new();
        chunk.iter().for_each(|peer| peer.write_to(&mut text));
        server.namespace.run_with_input("wg", &["addconf", TUNNEL, "/dev/stdin"], &text)?;
    }
    Ok(())
}

/// A whole configuration of `wg1`, as `wg setconf` reads it: it replaces all peers.
#[must_use]
pub fn configuration(peers: impl IntoIterator<Item = Peer>) -> String {
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = {}\n", Plan::SERVER_KEY, Plan::PORT);
    peers.into_iter().for_each(|peer| peer.write_to(&mut text));
    text
}

/// Which client has which public key, in hexadecimal digits and in base64.
#[derive(Debug)]
pub struct Directory(HashMap<String, u32>);

impl Directory {
    /// Of the clients with numbers below `clients`.
    #[must_use]
    pub fn of(clients: u32) -> Self {
        let hex = |key: [u8; 32]| key.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let both = |key| [hex(key), identity::to_base64(&key)];
        let names = (0..clients).flat_map(|n| both(identity::public_key(n)).map(|name| (name, n)));
        Self(names.collect())
    }

    /// The endpoints that a server's WireGuard knows, by client's number: where it is a program without a process for it.
    ///
    /// # Errors
    /// That it does not answer.
    pub fn endpoints(&self, server: &Server) -> Result<Vec<(u32, SocketAddr)>> {
        let path = server.namespace.path(CONTROL);
        if path.exists() {
            return Ok(self.of_program(&ask(&path)?));
        }
        let shown = server.tunnel.wg_show("endpoints")?;
        let known = shown.lines().filter_map(|line| {
            let (key, endpoint) = line.split_once('\t')?;
            Some((*self.0.get(key)?, endpoint.parse().ok()?))
        });
        Ok(known.collect())
    }

    fn of_program(&self, answer: &str) -> Vec<(u32, SocketAddr)> {
        let mut peer = None;
        let mut endpoints = Vec::new();
        for line in answer.lines() {
            match line.split_once('=') {
                Some(("public_key", key)) => peer = self.0.get(key).copied(),
                Some(("endpoint", endpoint)) => {
                    endpoints.extend(peer.and_then(|number| Some((number, endpoint.parse().ok()?))));
                }
                _ => {}
            }
        }
        endpoints
    }
}

fn ask(socket: &Path) -> Result<String> {
    let mut control = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    control.write_all(b"get=1\n\n")?;
    let mut answer = String::new();
    // It keeps the connection for more requests, and ends when we do.
    control.shutdown(std::net::Shutdown::Write)?;
    control.read_to_string(&mut answer)?;
    Ok(answer)
}
