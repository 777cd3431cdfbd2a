//! Builds and runs every test.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf,
    install::{self, Tool},
    libtest, run, simulate,
    stages::Stages,
    vm,
};

/// The package whose tests need root and the network to themselves.
const PRIVILEGED: &str = "wgha-tests";
/// Where a userspace WireGuard gets its interface from.
const TUN: &str = "/dev/net/tun";

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,

    /// Which of the tests run on Debian's kernels as well, in virtual machines, if there is no filter
    #[arg(long, value_enum, default_value = "one")]
    kernels: Kernels,

    /// How many schedules the simulator plays, if there is no filter
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
}

/// What runs on other kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kernels {
    /// Nothing
    None,
    /// Some of the tests, on the newest: a few minutes
    One,
    /// All of them, on each: hours
    All,
}

/// Builds and runs them.
///
/// # Errors
/// We are not root, or a stage has failed.
pub fn run(args: Args) -> Result<()> {
    install::ensure_root()?;
    let mut stages = Stages::default();
    stages.step("tools", || install::ensure(Tool::ALL).and_then(|()| open_tun()));
    let object = stages.step("kernel half", build_ebpf::build);
    stages.step("daemon", || run::shown(run::cargo().args(["build", "--workspace", "--bins"])));
    if let (Some(object), false) = (object, stages.has_failed()) {
        on_this_kernel(&mut stages, &object, &args);
        if args.filter.is_none() {
            on_other_kernels(&mut stages, args.kernels);
        }
    }
    let counts = stages.counts();
    println!("{stages}\n{} passed, {} failed", counts.passed, counts.failed);
    stages.result()
}

/// As udev has it, which not every machine runs: some tests have a WireGuard that is not root's.
fn open_tun() -> Result<()> {
    fs::set_permissions(TUN, fs::Permissions::from_mode(0o666)).context(TUN)
}

fn on_this_kernel(stages: &mut Stages, object: &Path, args: &Args) {
    let filter = args.filter.as_deref();
    stages.tests("tests that need no root", || {
        let mut command = run::cargo();
        command.args(["test", "--workspace", "--exclude", PRIVILEGED, "--no-fail-fast"]).args(filter);
        libtest::run(command.env("WGHA_EBPF_OBJECT", object))
    });
    if filter.is_none() {
        stages.tests("simulator", || simulate::stage(args.schedules));
    }
    stages.tests("tests with namespaces and BPF", || {
        let mut command = run::cargo();
        command.args(["test", "--package", PRIVILEGED, "--no-fail-fast"]).args(filter);
        // They mostly wait, and the harness lets three of them at a time have a network. What they print is the record.
        command.args(["--", "--test-threads=3", "--show-output"]);
        command.env("WGHA_EBPF_OBJECT", object).env("WGHA_SKIP_NOT_ALLOWED", "1");
        libtest::run(command.env("WGHA_BIN", run::workspace().join("target/debug/wgha")))
    });
}

/// Where there can be no virtual machine that is a failure, not something to pass over in silence.
fn on_other_kernels(stages: &mut Stages, kernels: Kernels) {
    match kernels {
        Kernels::None => println!("\nNo other kernel was tried, as was asked for."),
        Kernels::One => stages.tests("Debian's kernel, its WireGuard", || vm::run_chosen(vm::NEWEST)),
        Kernels::All => {
            stages.tests("Debian's kernels, their WireGuard", vm::run_all);
            stages.tests("a machine that is suspended", || vm::run_suspended(vm::NEWEST));
        }
    }
}
