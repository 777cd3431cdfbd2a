//! Another program in this one's place: it is tried out before anything is given up.

use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
};

use crate::{
    config::Config,
    status::control::ReloadReply,
    sys::{program::Program, realtime},
};

/// Whoever has asked for it hears that it is under way, or why not.
pub type Reload = ReloadReply;

/// Tries the program and its configuration out for each who asks, and hands on to the loop those that may be.
pub struct Reloads {
    /// What would be executed.
    pub program: Program,
    /// What this one goes by; that one would read its file.
    pub running: Config,
    /// SIGHUP asks.
    pub hangup: Signal,
    /// The control socket's requests.
    pub asked: mpsc::Receiver<Reload>,
    /// The loop.
    pub to_loop: mpsc::Sender<Reload>,
}

impl Reloads {
    /// Runs until the loop has ended.
    pub async fn run(mut self) {
        loop {
            let reload = tokio::select! {
                Some(reload) = self.asked.recv() => reload,
                Some(()) = self.hangup.recv() => oneshot::channel().0, // what becomes of it is in the log
                else => return,
            };
            match try_out(self.program.clone(), self.running.clone()).await {
                Ok(()) => {
                    if self.to_loop.send(reload).await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    tracing::error!("reload: {why}; this program goes on");
                    let _ = reload.send(Err(why)); // who has asked may be gone
                }
            }
        }
    }
}

/// It takes some hundred milliseconds of a processor, and others are to be answered meanwhile.
async fn try_out(program: Program, running: Config) -> Result<(), String> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        realtime::stand_last();
        let tried = program.try_out(&running.file).and_then(|()| stays(&running));
        let _ = tell.send(tried); // the daemon has ended
    };
    let thread = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
    thread.map_err(|e| e.to_string())?;
    told.await.map_err(|e| e.to_string())?
}

/// Only a stop clears away what is held of an interface, or is pinned. A file that only another version can read is that
/// version's business.
fn stays(running: &Config) -> Result<(), String> {
    let Ok(wanted) = Config::load(&running.file) else { return Ok(()) };
    let moved = [
        ("uplink.interface", running.uplink.interface != wanted.uplink.interface),
        ("wireguard.interface", running.wireguard != wanted.wireguard),
        ("paths.bpffs", running.paths.bpffs != wanted.paths.bpffs),
        ("paths.socket", running.paths.socket != wanted.paths.socket),
    ];
    match moved.iter().find(|(_, moved)| *moved) {
        Some((name, _)) => {
            Err(format!("{}: another {name} takes a stop and a start", running.file.display()))
        }
        None => Ok(()),
    }
}
