//! A UDP echo that says who has answered.

use std::{
    net::{Ipv6Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;

use crate::{Namespace, sys};

/// Where it listens: RFC 862's.
pub const PORT: u16 = 7;

/// How often it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Answers every datagram with the same bytes and one more, its name. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens at every address of the namespace: those of a tunnel come and go with its link.
    ///
    /// # Errors
    /// The system's.
    pub fn start(namespace: &Namespace, name: u8) -> Result<Self> {
        let socket = namespace.inside(|| Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT))?))?;
        socket.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("echo".into()).spawn(move || {
            sys::prefer_this_thread();
            while !stopped.load(Ordering::Relaxed) {
                // An interface that went down reports it once.
                let _ = sys::wait_readable(&socket, LOOK_EVERY);
                while answer(&socket, name) {}
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, probes remain without answer, and that is what is told.
            let _ = thread.join();
        }
    }
}

/// Whether there was something to answer.
fn answer(socket: &UdpSocket, name: u8) -> bool {
    let mut buffer = [0; 512];
    let Ok((len, from)) = socket.recv_from(&mut buffer[..511]) else { return false };
    buffer[len] = name;
    // No way back: the probe was not answered, which is what counts.
    let _ = socket.send_to(&buffer[..=len], from);
    true
}
