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

/// What is measured unless something else is named: more would take an hour under emulation.
const BENCH: &str = "failover --runs 3 --contestants B,B0,B2,W50,W10 --markdown";
/// What a bench may take.
const BENCH_LIMIT: Duration = Duration::from_secs(3600);

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which of Debian's kernels: a series that apt has, as 6.1 or 6.12, or `all` of these two
    #[arg(long, default_value = "6.12")]
    kernel: String,

    /// Where the kernel half is attached in tests that leave it to wgha: `auto`, `native`, `generic`, `tc`, or several
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    mode: Vec<String>,

    /// Who executes the machine; whoever is found to work unless named
    #[arg(long, value_enum)]
    accelerator: Option<Accelerator>,

    /// Instead of the tests, `cargo xtask bench` with these words in each machine
    #[arg(long, value_name = "WORDS", num_args = 0..=1, default_missing_value = BENCH)]
    bench: Option<String>,

    /// Run only tests whose name (file::test) contains one of these
    filters: Vec<String>,
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
    let binaries = if args.bench.is_some() { Vec::new() } else { suite::build(&args.filters)? };
    let contents = contents(&binaries, object)?;
    let series = if args.kernel == "all" { ALL.to_vec() } else { vec![args.kernel.as_str()] };
    let mut matrix = Matrix::default();
    for series in series {
        let place = Place::prepare(series, args.accelerator, &contents)?;
        match &args.bench {
            Some(words) => place.bench(words)?,
            None => place.test(series, &args.mode, &binaries, &mut matrix)?,
        }
    }
    if args.bench.is_none() {
        println!("\n{matrix}");
        fs::write(cache().join("matrix"), matrix.to_string())?;
    }
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

/// Paths that were compiled into the tests go through the folder of the package.
fn contents(binaries: &[Binary], object: PathBuf) -> Result<Contents> {
    let built = binaries.iter().map(|binary| binary.path.clone()).chain([daemon(), std::env::current_exe()?]);
    let scapy = binaries.iter().any(|binary| ["verdicts", "wire"].contains(&binary.name.as_str()));
    let folders = vec![run::workspace().join("tests")];
    Ok(Contents { built: built.collect(), files: vec![object], folders, scapy })
}

/// A kernel, and all that is needed to boot it as often as is needed.
struct Place {
    kernel: Kernel,
    folder: PathBuf,
    initramfs: PathBuf,
    accelerator: Accelerator,
}

impl Place {
    fn prepare(series: &str, accelerator: Option<Accelerator>, contents: &Contents) -> Result<Self> {
        let kernel = Kernel::take(series, &cache())?;
        let folder = cache().join(&kernel.series);
        // The last run's console and log.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let initramfs = initramfs::write(&kernel, contents, &folder)?;
        let accelerator = accelerator.map_or_else(|| Accelerator::find(&kernel, &initramfs, &cache()), Ok)?;
        println!("\n== {} ({}), log and console in {}", kernel.release, accelerator.name(), folder.display());
        Ok(Self { kernel, folder, initramfs, accelerator })
    }

    fn boot(&self) -> Result<Machine> {
        let Self { kernel, folder, initramfs, accelerator } = self;
        let started = Instant::now();
        let machine = Machine::boot(&Parts { kernel, initramfs, accelerator: *accelerator, folder })?;
        println!("booted in {:.1} s", started.elapsed().as_secs_f64());
        Ok(machine)
    }

    /// What the harness goes by.
    fn environment(&self, mode: &str) -> String {
        let (slowness, daemon) = (self.accelerator.slowness(), daemon());
        format!(
            "WGHA_SLOW={slowness} WGHA_ATTACH={mode} WGHA_SKIP_NOT_ALLOWED=1 WGHA_BIN={}",
            daemon.display()
        )
    }

    /// Every test in every mode.
    fn test(&self, series: &str, modes: &[String], binaries: &[Binary], matrix: &mut Matrix) -> Result<()> {
        let mut machine = None;
        for mode in modes {
            matrix.column(format!("{series} {mode}"));
            for (binary, test) in binaries.iter().flat_map(|b| b.tests.iter().map(move |test| (b, test))) {
                let name = format!("{}::{test}", binary.name);
                let outcome = self.one(&mut machine, mode, &binary.path, test)?;
                println!("{outcome:<12} {name} ({mode})");
                matrix.enter(name, outcome);
            }
        }
        machine.map_or(Ok(()), Machine::off)
    }

    /// One test, in a new machine if there is none. A machine that dies or hangs is the test's fault, and the next one
    /// gets a new one.
    fn one(&self, machine: &mut Option<Machine>, mode: &str, binary: &Path, test: &str) -> Result<Outcome> {
        let mut running = match machine.take() {
            Some(running) => running,
            None => self.boot()?,
        };
        let (environment, binary) = (self.environment(mode), binary.display());
        let line = format!("{environment} exec {binary} --exact {test} --nocapture --test-threads=1");
        let started = Instant::now();
        let ended = running.run(&line, LIMIT * self.accelerator.slowness(), &mut |_| {});
        let took = started.elapsed();
        if let Err(e) = &ended {
            println!("{e:#}");
            return Ok(Outcome::Died);
        }
        *machine = Some(running);
        Ok(match ended {
            Ok(Ended::Code(0)) => Outcome::Passed(took),
            Ok(Ended::Late) => Outcome::Late(took),
            _ => Outcome::Failed(took),
        })
    }

    /// The benches, with what they print shown.
    fn bench(&self, words: &str) -> Result<()> {
        let mut machine = self.boot()?;
        let xtask = std::env::current_exe()?;
        let line =
            format!("{} exec {} bench {words} --out /tmp/bench", self.environment("auto"), xtask.display());
        let ended = machine.run(&line, BENCH_LIMIT, &mut |said| println!("{said}"))?;
        machine.run("cat /tmp/bench/*.json", LIMIT, &mut |_| {})?;
        machine.off()?;
        ensure!(ended == Ended::Code(0), "the bench has not ended well: {ended:?}");
        Ok(())
    }
}
