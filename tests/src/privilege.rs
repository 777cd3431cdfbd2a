//! Whether the tests that need root can run here.

/// Set where skipping a test is a failure.
pub const SKIP_NOT_ALLOWED: &str = "WGHA_SKIP_NOT_ALLOWED";

/// Whether this process is root. Says so when it is not.
///
/// # Panics
/// When it is not and [`SKIP_NOT_ALLOWED`] is set.
#[must_use]
pub fn may_run() -> bool {
    #[expect(unsafe_code, reason = "the standard library does not tell")]
    // SAFETY: it has no precondition.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    assert!(std::env::var_os(SKIP_NOT_ALLOWED).is_none(), "needs root, and {SKIP_NOT_ALLOWED} is set");
    eprintln!("skipped: needs root");
    false
}
