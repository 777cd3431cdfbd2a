use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Which variable says what is logged.
const VARIABLE: &str = "WGHA_LOG";

/// Logs to standard error: with colours on a terminal, without times in the journal, which has its own.
///
/// A thread of its own writes it: whoever reads it may be slow, and the thread that decides must not wait for them. What
/// does not fit is lost. It is written as long as the guard lives.
#[must_use]
pub(super) fn init() -> WorkerGuard {
    let asked = env::var(VARIABLE).unwrap_or_default();
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let (filter, wrong) = match builder.parse(&asked) {
        Ok(filter) => (filter, None),
        Err(e) => (EnvFilter::default().add_directive(LevelFilter::INFO.into()), Some(e)),
    };
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal());
    let set = if env::var_os("JOURNAL_STREAM").is_some() {
        logger.without_time().try_init()
    } else {
        logger.try_init()
    };
    if let Err(e) = set {
        eprintln!("there is no log: {e}");
    }
    if let Some(e) = wrong {
        tracing::warn!("{VARIABLE}={asked}: {e}; logging as with {VARIABLE}=info");
    }
    guard
}
