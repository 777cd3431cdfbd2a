//! Whether the tests that make namespaces can run here.

use crate::sys;

/// Set where skipping a test is a failure.
pub const SKIP_NOT_ALLOWED: &str = "WGHA_SKIP_NOT_ALLOWED";

/// Whether this process may make namespaces. Says so, with the reason, when it may not.
///
/// # Panics
/// When it may not and [`SKIP_NOT_ALLOWED`] is set.
#[must_use]
pub fn may_run() -> bool {
    if sys::is_root() {
        return true;
    }
    assert!(std::env::var_os(SKIP_NOT_ALLOWED).is_none(), "needs root, and {SKIP_NOT_ALLOWED} is set");
    eprintln!("skipped: needs root");
    false
}
