use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Which variable says what is logged.
const VARIABLE: &str = "WGHA_LOG";

/// Logs to standard error: with colours on a terminal, without times in the journal, which has its own.
pub(super) fn init() {
    let asked = env::var(VARIABLE).unwrap_or_default();
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let (filter, wrong) = match builder.parse(&asked) {
        Ok(filter) => (filter, None),
        Err(e) => (EnvFilter::default().add_directive(LevelFilter::INFO.into()), Some(e)),
    };
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
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
}
