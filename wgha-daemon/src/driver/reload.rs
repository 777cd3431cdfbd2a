//! Another program in this one's place: it is tried out before anything is given up.

use std::path::PathBuf;

use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
};

use crate::{
    status::control::ReloadReply,
    sys::{program::Program, realtime},
};

/// Whoever has asked for it hears that it is under way, or why not.
pub type Reload = ReloadReply;

/// Tries the program and its configuration out for each who asks, and hands on to the loop those that may be.
pub struct Reloads {
    /// What would be executed.
    pub program: Program,
    /// The configuration that it would read.
    pub config: PathBuf,
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
            let (program, config) = (self.program.clone(), self.config.clone());
            match try_out(program, config).await {
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
async fn try_out(program: Program, config: PathBuf) -> Result<(), String> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        realtime::stand_last();
        let _ = tell.send(program.try_out(&config)); // the daemon has ended
    };
    let thread = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
    thread.map_err(|e| e.to_string())?;
    told.await.map_err(|e| e.to_string())?
}
