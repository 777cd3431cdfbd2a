//! What WireGuard itself says of the interface.

use std::io;

use tokio::sync::Semaphore;

use super::{ANSWER_TIMEOUT, device::Device};

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
    /// It does not do what it is asked.
    #[error("{name}: {what}")]
    Failed {
        /// The interface.
        name: String,
        /// What was asked, and did not work.
        what: &'static str,
        /// Why.
        source: io::Error,
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
    let silent = || WireguardError::Silent(name.to_owned());
    let turn = ASKING.try_acquire().map_err(|_| silent())?;
    let interface = name.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read(&interface)
    });
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(silent()),
    }
}

fn read(name: &str) -> Result<Facts, WireguardError> {
    let mut device = Device::open(name)?;
    let implementation = device.implementation();
    let reading = device.read()?;
    let endpoints = reading.peers.iter().filter(|peer| peer.endpoint.is_some()).count();
    Ok(Facts { listen_port: reading.listen_port, implementation, peers: reading.peers.len(), endpoints })
}
