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
    assert!(std::env::var_os(SKIP_NOT_ALLOWED).is_none(), "needs root, and {SKIP_NOT_ALLOWED} is set");
    eprintln!("skipped: needs root");
    false
}
