//! Whether the tests that make namespaces can run here.

use crate::sys;

/// Set where skipping a test is a failure.
pub const SKIP_NOT_ALLOWED: &str = "WGHA_SKIP_NOT_ALLOWED";

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    sys::is_root()
}

/// Whether this process may make namespaces. Says so, with the reason, when it may not.
///
/// # Panics
/// When it may not and [`SKIP_NOT_ALLOWED`] is set.
#[must_use]
pub fn may_run() -> bool {
    if is_root() {
        return true;
    }
    skipped("needs root");
    false
}

/// Says why a test, or the rest of it, is skipped.
///
/// # Panics
/// When [`SKIP_NOT_ALLOWED`] is set.
pub fn skipped(why: &str) {
    assert!(std::env::var_os(SKIP_NOT_ALLOWED).is_none(), "{why}, and {SKIP_NOT_ALLOWED} is set");
    eprintln!("skipped: {why}");
}
