//! The namespace tests on Debian's own kernels, with the WireGuard in them: in virtual machines.
//!
//! | file | holds |
//! |---|---|
//! | `kernel`, `modules` | Debian's packages, unpacked |
//! | `initramfs`, `cpio` | what is in the machine |
//! | `init` | its first process |
//! | `machine`, `accelerator` | QEMU |
//! | `suite`, `matrix` | what runs in it, and how that ended |

mod accelerator;
mod cpio;
mod initramfs;
mod kernel;
mod machine;
mod matrix;
mod modules;
mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::{
    accelerator::Accelerator,
    initramfs::Contents,
    kernel::Kernel,
    machine::{Ended, Machine, Parts},
    matrix::{Matrix, Outcome},
    suite::Binary,
};
use crate::{
    build_ebpf,
    install::{self, Tool},
    run,
};

/// The series that Debian 12 has.
const ALL: [&str; 2] = ["6.1", "6.12"];
/// What a test may take where it is not slowed down.
const LIMIT: Duration = Duration::from_secs(75);

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which of Debian's kernels: a series that apt has, as 6.1 or 6.12, or `all` of these two
    #[arg(long, default_value = "6.12")]
    kernel: String,

    /// Who executes the machine; whoever is found to work unless named
    #[arg(long, value_enum)]
    accelerator: Option<Accelerator>,

    /// Run only tests whose name (file::test) contains this
    #[arg(default_value = "")]
    filter: String,
}

/// Builds, boots, runs, and prints which test ended how.
///
/// # Errors
/// Something is missing or does not build; a machine does not boot; a test has not passed.
pub fn run(args: Args) -> Result<()> {
    install::ensure(Tool::ALL)?;
    install::ensure(Tool::VM)?;
    let object = build_ebpf::build()?;
    build_daemon()?;
    let binaries = suite::build(&args.filter)?;
    let contents = contents(&binaries, object);
    let series = if args.kernel == "all" { ALL.to_vec() } else { vec![args.kernel.as_str()] };
    let mut matrix = Matrix::default();
    for series in series {
        on_kernel(series, &args, &binaries, &contents, &mut matrix)?;
    }
    println!("\n{matrix}");
    fs::write(cache().join("matrix"), matrix.to_string())?;
    ensure!(
        matrix.failures() == 0,
        "{} did not pass: logs are below {}",
        matrix.failures(),
        cache().display()
    );
    Ok(())
}

fn cache() -> PathBuf {
    run::workspace().join("target/vm")
}

fn daemon() -> PathBuf {
    cache().join("build/debug/wgha")
}

/// Optimized a little: the tests start it hundreds of times, and under emulation a plain debug build takes half a second
/// only to begin.
fn build_daemon() -> Result<()> {
    let mut command = run::cargo();
    command.args(["build", "--package", "wgha"]).env("CARGO_TARGET_DIR", cache().join("build"));
    run::shown(command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1"))
}

fn contents(binaries: &[Binary], object: PathBuf) -> Contents {
    let built = binaries.iter().map(|binary| binary.path.clone()).chain([daemon()]).collect();
    // Paths that were compiled in go through the folder of the package.
    let folders = vec![run::workspace().join("tests")];
    let scapy = binaries.iter().any(|binary| ["verdicts", "wire"].contains(&binary.name.as_str()));
    Contents { built, files: vec![object], folders, scapy }
}

fn on_kernel(
    series: &str,
    args: &Args,
    binaries: &[Binary],
    contents: &Contents,
    matrix: &mut Matrix,
) -> Result<()> {
    let kernel = Kernel::take(series, &cache())?;
    let folder = cache().join(&kernel.series);
    // The last run's console and log.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let initramfs = initramfs::write(&kernel, contents, &folder)?;
    let accelerator = match args.accelerator {
        Some(chosen) => chosen,
        None => Accelerator::find(&kernel, &initramfs, &cache())?,
    };
    println!("\n== {} ({}), log and console in {}", kernel.release, accelerator.name(), folder.display());
    matrix.column(format!("{series} {}", accelerator.name()));
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, accelerator, folder: &folder };
    let mut machine = None;
    for binary in binaries {
        for test in &binary.tests {
            let name = format!("{}::{test}", binary.name);
            let outcome = one(&parts, &mut machine, &binary.path, test)?;
            println!("{outcome:<12} {name}");
            matrix.enter(name, outcome);
        }
    }
    machine.map_or(Ok(()), Machine::off)
}

/// One test, in a new machine if there is none. A machine that dies or hangs is the test's fault, and the next one gets a new one.
fn one(parts: &Parts<'_>, machine: &mut Option<Machine>, binary: &Path, test: &str) -> Result<Outcome> {
    if machine.is_none() {
        let started = Instant::now();
        *machine = Some(Machine::boot(parts)?);
        println!("booted in {:.1} s", started.elapsed().as_secs_f64());
    }
    let Some(running) = machine else { return Ok(Outcome::Died) };
    let slowness = parts.accelerator.slowness();
    let (daemon, binary) = (daemon(), binary.display());
    let line = format!(
        "WGHA_SLOW={slowness} WGHA_BIN={} WGHA_SKIP_NOT_ALLOWED=1 RUST_BACKTRACE=0 \
         exec {binary} --exact {test} --nocapture --test-threads=1",
        daemon.display()
    );
    let started = Instant::now();
    let ended = running.run(&line, LIMIT * slowness, &mut |_| {});
    let took = started.elapsed();
    Ok(match ended {
        Ok(Ended::Code(0)) => Outcome::Passed(took),
        Ok(Ended::Code(_)) => Outcome::Failed(took),
        Ok(Ended::Late) => Outcome::Late(took),
        Err(e) => {
            println!("{e:#}");
            *machine = None;
            Outcome::Died
        }
    })
}
