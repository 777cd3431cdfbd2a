//! Builds and runs every test.

use anyhow::Result;

use crate::{
    build_ebpf,
    install::{self, Tool},
    libtest, run, simulate,
    stages::Stages,
};

/// The package whose tests need root and the network to themselves.
const PRIVILEGED: &str = "wgha-tests";

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// How many schedules the simulator plays, if there is no filter
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
}

/// Builds and runs them.
///
/// # Errors
/// We are not root, or a stage has failed.
pub fn run(args: Args) -> Result<()> {
    install::ensure_root()?;
    let mut stages = Stages::default();
    stages.step("tools", || install::ensure(Tool::ALL));
    let object = stages.step("kernel half", build_ebpf::build);
    stages.step("daemon", || run::shown(run::cargo().args(["build", "--workspace", "--bins"])));
    if let (Some(object), false) = (object, stages.has_failed()) {
        stages.tests("tests that need no root", || {
            let mut command = run::cargo();
            command
                .args(["test", "--workspace", "--exclude", PRIVILEGED, "--no-fail-fast"])
                .args(&args.filter);
            libtest::run(command.env("WGHA_EBPF_OBJECT", &object))
        });
        if args.filter.is_none() {
            stages.tests("simulator", || simulate::stage(args.schedules));
        }
        stages.tests("tests with namespaces and BPF", || {
            let mut command = run::cargo();
            command.args(["test", "--package", PRIVILEGED, "--no-fail-fast"]).args(&args.filter);
            // They mostly wait, and the harness lets three of them at a time have a network. What they print is the record.
            command.args(["--", "--test-threads=3", "--show-output"]);
            command.env("WGHA_EBPF_OBJECT", &object).env("WGHA_SKIP_NOT_ALLOWED", "1");
            libtest::run(command.env("WGHA_BIN", run::workspace().join("target/debug/wgha")))
        });
    }
    let counts = stages.counts();
    println!("{stages}\n{} passed, {} failed", counts.passed, counts.failed);
    stages.result()
}
