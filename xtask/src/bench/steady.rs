//! What the daemons use while nothing happens.

use anyhow::Result;

use super::{Plan, report::Report};

/// Measures.
///
/// # Errors
/// The system's.
pub fn run(_plan: &Plan) -> Result<Report> {
    anyhow::bail!("later")
}
