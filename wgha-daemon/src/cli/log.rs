use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    filter::{LevelFilter, ParseError, Targets},
    fmt,
    layer::{Layer as _, SubscriberExt as _},
    registry,
    util::SubscriberInitExt as _,
};

/// Which variable says what is logged.
const VARIABLE: &str = "WGHA_LOG";
/// So many lines wait for whoever reads the log. The room is taken at the start, and the default is 4 MiB of it.
const LINES: usize = 1024;

/// Logs to standard error: with colours on a terminal, without times in the journal, which has its own.
///
/// A thread of its own writes it: whoever reads it may be slow, and the thread that decides must not wait for them. What
/// does not fit is lost. It is written as long as the guard lives.
pub(super) fn init() -> WorkerGuard {
    let asked = env::var(VARIABLE).unwrap_or_default();
    let (filter, wrong) = match targets(&asked) {
        Ok(filter) => (filter, None),
        Err(e) => (Targets::new().with_default(LevelFilter::INFO), Some(e)),
    };
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES).finish(io::stderr());
    let layer = fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    let layer =
        if env::var_os("JOURNAL_STREAM").is_some() { layer.without_time().boxed() } else { layer.boxed() };
    let set = registry().with(layer).with(filter).try_init();
    if let Err(e) = set {
        eprintln!("there is no log: {e}");
    }
    if let Some(e) = wrong {
        tracing::warn!("{VARIABLE}={asked}: {e}; logging as with {VARIABLE}=info");
    }
    guard
}

/// As RUST_LOG is usually written, but for fields of spans, which would need regular expressions: half a megabyte of them.
fn targets(asked: &str) -> Result<Targets, ParseError> {
    if asked.is_empty() { Ok(Targets::new().with_default(LevelFilter::INFO)) } else { asked.parse() }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::targets;

    #[test]
    fn what_is_logged_is_info_unless_something_is_asked_for() {
        let (ours, driver) = ("wgha::proto", "wgha::driver::node");
        let info = targets("").unwrap();
        assert!(info.would_enable(ours, &Level::INFO) && !info.would_enable(ours, &Level::DEBUG));
        let asked = targets("info,wgha::driver=trace").unwrap();
        assert!(asked.would_enable(driver, &Level::TRACE) && !asked.would_enable(ours, &Level::DEBUG));
        assert!(targets("wgha=loud").is_err());
    }
}
