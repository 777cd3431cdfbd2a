//! TCP, such that a dead peer is noticed within three seconds and a missing address can come later.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::error::LinkError;

/// How long what was sent may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What the kernel may hold of one connection, each way: a peer that does not read is found out soon,
/// and a slow driver has little to catch up with.
const BUFFER: usize = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// The address that the kernel would talk to `peer` from.
///
/// # Errors
/// ENETUNREACH and the like: not from any, now.
pub(super) fn own_address(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?; // sends nothing
    Ok(socket.local_addr()?.ip())
}

/// Connects from `own` to `peer`.
pub(super) async fn connect(own: SocketAddr, peer: SocketAddr) -> Result<TcpStream, LinkError> {
    let socket = bound(own).map_err(LinkError::Connect)?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let connected = timeout(CONNECT_TIMEOUT, socket.connect(peer)).await;
    let no_answer = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
    let stream = connected.unwrap_or_else(|_| Err(no_answer())).map_err(LinkError::Connect)?;
    configure(&stream)?;
    Ok(stream)
}

/// Listens on `own`, which need not be there yet.
///
/// # Errors
/// EADDRINUSE and the like.
pub(super) fn listen(own: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(own)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what both ends need.
pub(super) fn configure(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let second = Duration::from_secs(1);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2))
}

fn bound(own: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(own), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(BUFFER)?; // what is accepted inherits both
    socket.set_send_buffer_size(BUFFER)?;
    match own {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&own.into())?;
    Ok(socket)
}
