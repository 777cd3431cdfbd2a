//! Noticing that a UDP socket was closed: userspace WireGuard that drops its port tells nobody else.
//!
//! The kernel multicasts destroyed sockets over NETLINK_SOCK_DIAG (`sock_diag_broadcast_destroy`).
//! Kernel WireGuard's own socket is not among them (it holds no reference to its namespace).

use std::io;

use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, Socket, SocketAddr, TokioSocket, protocols::NETLINK_SOCK_DIAG,
};
use tokio::sync::mpsc;

/// SKNLGRP_INET_UDP_DESTROY and SKNLGRP_INET6_UDP_DESTROY (linux/sock_diag.h).
const GROUPS: [u32; 2] = [2, 4];
/// Where `inet_diag_msg.id.idiag_sport` stands in a notification: after nlmsghdr (16) and four single bytes.
const SOURCE_PORT: usize = 20;

/// Sends the port of every UDP socket that is closed in this network namespace; `None`: of some it is not known.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, ENOENT on a kernel without inet_diag.
pub fn watch() -> io::Result<mpsc::UnboundedReceiver<Option<u16>>> {
    let mut socket = TokioSocket::new(NETLINK_SOCK_DIAG)?;
    let raw: &mut Socket = socket.socket_mut();
    raw.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        raw.add_membership(group)?;
    }
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // Ends with the receiver, or with the socket: then only link notifications and the audit are left.
        loop {
            let port = match socket.recv_from_full().await {
                Ok((message, _)) => match message.get(SOURCE_PORT..SOURCE_PORT + 2) {
                    Some(port) => Some(u16::from_be_bytes([port[0], port[1]])),
                    None => continue,
                },
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => None,
                Err(e) => {
                    tracing::warn!("a lost listen port is noticed by looking every 10 s only: {e}");
                    return;
                }
            };
            if tx.send(port).is_err() {
                return;
            }
        }
    });
    Ok(rx)
}
