//! Everything a person types: `cargo xtask build-ebpf`, `test`, `simulate`, `lint`, `demo`, `bench`, `vm`.

mod bench;
mod build_ebpf;
mod demo;
mod elf;
mod install;
mod libtest;
mod lint;
mod run;
mod simulate;
mod stack;
mod stages;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, tests and shows wgha, and installs what that needs.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the kernel half to target/bpf/wgha-ebpf
    BuildEbpf(build_ebpf::Args),
    /// Build and run every test
    Test(test::Args),
    /// Play schedules of faults against the state machine, a million if not told otherwise
    Simulate(simulate::Args),
    /// Check formatting, clippy (host and BPF) and documentation
    Lint,
    /// Show a failover, end to end, in network namespaces
    Demo(demo::Args),
    /// Measure failovers and costs, beside what can be built without wgha
    Bench(bench::Args),
    /// Run the namespace tests on Debian's kernels, in virtual machines
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(task: Task) -> Result<()> {
    match task {
        Task::BuildEbpf(args) => build_ebpf::run(args),
        Task::Test(args) => test::run(args),
        Task::Simulate(args) => simulate::run(&args),
        Task::Lint => lint::run(),
        Task::Demo(args) => demo::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Vm(args) => vm::run(args),
    }
}
