//! A child process with its output kept, that never outlives its owner.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{clock, sys};

/// A running program. Dropping it kills it; when that happens in a panic, its output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command`, which a [`crate::Namespace`] has made.
    ///
    /// # Errors
    /// The system's.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name} ({:?})", command.get_program()))?;
        let log = Arc::default();
        keep_lines(child.stdout.take(), &log);
        keep_lines(child.stderr.take(), &log);
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines that it has written so far, to both outputs.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        locked(&self.log).clone()
    }

    /// Whether a line that it has written contains `text`.
    #[must_use]
    pub fn has_said(&self, text: &str) -> bool {
        locked(&self.log).iter().any(|line| line.contains(text))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// That it has ended already.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended already: {status}\n{}", self.name, self.log().join("\n"));
        }
        Ok(sys::kill(self.child.id(), signal)?)
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// That it has ended already.
    pub fn interrupt(&mut self) -> Result<()> {
        self.signal(libc::SIGINT)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// That it is still running after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        clock::wait_for(&what, timeout, || self.child.try_wait().map_err(Into::into))
    }

    /// Kills it, if it still runs, and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself; there is nobody to tell anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.name, self.log().join("\n"));
        }
    }
}

fn keep_lines(source: Option<impl Read + Send + 'static>, log: &Arc<Mutex<Vec<String>>>) {
    let Some(source) = source else { return };
    let log = Arc::clone(log);
    // Ends when the last holder of the pipe's other end has.
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            locked(&log).push(line);
        }
    });
}

/// A lock whose holder panicked still guards whole lines.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
