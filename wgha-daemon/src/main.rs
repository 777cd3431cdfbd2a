//! The command `wgha`.

use std::process::ExitCode;

use wgha::cli;

fn main() -> ExitCode {
    cli::main(
        |_config| anyhow::bail!("the daemon is not part of this build"),
        |_config| {
            let mut report = cli::Report::default();
            report.problem("system", "the system check is not part of this build");
            report
        },
    )
}
