//! What WireGuard itself says of the interface.
//!
//! Keys never leave this file (invariant I12): the Debug of wireguard-control's types prints the
//! private key, so none of them is passed on.

use std::{io, time::Duration};

use tokio::sync::Semaphore;
use wireguard_control::{Backend, Device, InterfaceName};

/// How long an implementation may take to answer. A stopped wireguard-go never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How many questions may be waiting for an answer: one that never comes holds a thread.
static ASKING: Semaphore = Semaphore::const_new(2);

/// What is known of a WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its UDP port; `None` while it has none.
    pub listen_port: Option<u16>,
    /// Who runs it.
    pub implementation: Implementation,
    /// How many peers it has.
    pub peers: usize,
    /// How many of them have an endpoint, to which it could talk.
    pub endpoints: usize,
}

/// Who runs the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// The kernel's.
    Kernel,
    /// A process with a UAPI socket.
    Userspace,
}

impl Implementation {
    /// Its name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        }
    }
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum WireguardError {
    /// Not a name that an interface can have.
    #[error("{0} cannot be the name of an interface")]
    Name(String),
    /// Neither the kernel nor a UAPI socket knows it.
    #[error(
        "{name} is no WireGuard interface: the kernel says \"{kernel}\", /var/run/wireguard/{name}.sock says \"{userspace}\""
    )]
    Unknown {
        /// The interface.
        name: String,
        /// The kernel's answer.
        kernel: io::Error,
        /// The UAPI socket's.
        userspace: io::Error,
    },
    /// It does not answer.
    #[error("{0} does not answer within {ANSWER_TIMEOUT:?}: is its process stopped?")]
    Silent(String),
}

/// Asks the kernel, then the UAPI socket.
///
/// # Errors
/// [`WireguardError`].
pub async fn facts(name: &str) -> Result<Facts, WireguardError> {
    let interface: InterfaceName = name.parse().map_err(|_| WireguardError::Name(name.to_owned()))?;
    let Ok(turn) = ASKING.try_acquire() else { return Err(WireguardError::Silent(name.to_owned())) };
    let asked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read(&interface)
    });
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(Ok(facts))) => Ok(facts),
        Ok(Ok(Err((kernel, userspace)))) => {
            Err(WireguardError::Unknown { name: name.to_owned(), kernel, userspace })
        }
        Ok(Err(_)) | Err(_) => Err(WireguardError::Silent(name.to_owned())),
    }
}

fn read(name: &InterfaceName) -> Result<Facts, (io::Error, io::Error)> {
    let device = Device::get(name, Backend::Kernel)
        .or_else(|kernel| Device::get(name, Backend::Userspace).map_err(|userspace| (kernel, userspace)))?;
    Ok(Facts {
        listen_port: device.listen_port.filter(|port| *port != 0),
        implementation: match device.backend {
            Backend::Kernel => Implementation::Kernel,
            Backend::Userspace => Implementation::Userspace,
        },
        peers: device.peers.len(),
        endpoints: device.peers.iter().filter(|p| p.config.endpoint.is_some()).count(),
    })
}
