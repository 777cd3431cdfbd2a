//! To the terminal, or to whatever stands there.

use std::io::{self, Write};

/// To standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// An error with its causes, to standard error.
pub(super) fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "{error:#}");
}

/// Whether nobody reads any more.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
