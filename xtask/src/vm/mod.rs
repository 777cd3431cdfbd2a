//! The namespace tests on Debian's own kernels, with the WireGuard in them: in virtual machines.
//!
//! | file | holds |
//! |---|---|
//! | `kernel`, `modules` | Debian's packages, unpacked |
//! | `initramfs`, `cpio` | what is in the machine |
//! | `init` | its first process |
//! | `machine`, `cards`, `accelerator` | QEMU |
//! | `place`, `suite`, `matrix` | what runs in it, and how that ended |

mod accelerator;
mod cards;
mod cpio;
mod initramfs;
mod kernel;
mod machine;
mod matrix;
mod modules;
mod place;
mod suite;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use wgha_tests::node;

use self::{accelerator::Accelerator, initramfs::Contents, matrix::Matrix, place::Place, suite::Binary};
use crate::{
    build_ebpf,
    install::{self, Tool},
    libtest::Counts,
    run,
};

/// The series that Debian 12 has.
const ALL: [&str; 2] = ["6.1", "6.12"];
/// The one that is taken if only one is.
pub const NEWEST: &str = "6.12";
/// Six minutes' worth of tests: handshakes that a server starts, a daemon that is killed, a Backup that must be silent, the
/// kernel's traps.
const CHOSEN: [&str; 5] = [
    "failover::killed_daemon_goes_silent",
    "fence::wireguard_of_a_backup_stays_silent_even_when_it_is_forced_to_speak",
    "handshakes::a_take_over_brings_a_client_back_that_says_nothing",
    "handshakes::anew_reaches_a_peer_in_spite_of_a_session_and_of_an_initiation_just_sent",
    "traps::nobody_is_asked_before_the_vip_is_local",
];
/// With network cards.
const WITH_CARDS: [&str; 6] = ["cards::", "failover::", "fence::", "probes::", "handshakes::", "modes::"];
/// In machines that can be suspended.
const SUSPENDED: &str = "suspend::";
/// What is measured unless something else is named: more would take an hour under emulation.
const BENCH: &str = "failover --runs 5 --cases crash,crash/idle --contestants B,B0,B2,O,W50,W10 --markdown";
/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which of Debian's kernels: a series that apt has, as 6.1 or 6.12, or `all` of these two
    #[arg(long, default_value = NEWEST)]
    kernel: String,

    /// Where the kernel half is attached in tests that leave it to wgha: `auto` (the default), `native`, `generic`, `tc`,
    /// or several
    #[arg(long, value_delimiter = ',')]
    mode: Vec<String>,

    /// Who executes the machine
    #[arg(long, value_enum, default_value = "counted")]
    accelerator: Accelerator,

    /// Instead of the tests, `cargo xtask bench` with these words in each machine
    #[arg(long, value_name = "WORDS", num_args = 0..=1, default_missing_value = BENCH)]
    bench: Option<String>,

    /// Connect the servers by network cards (virtio) instead of veths, with native XDP unless --mode says otherwise: of the
    /// tests, those that show what a real driver changes, unless some are named
    #[arg(long, conflicts_with = "bench")]
    cards: bool,

    /// In machines that can be suspended, the test that does so
    #[arg(long, conflicts_with_all = ["bench", "cards"])]
    suspend: bool,

    /// Run only tests whose name (file::test) contains one of these
    filters: Vec<String>,
}

/// Builds, boots, runs, and prints which test ended how.
///
/// # Errors
/// Something is missing or does not build; a machine does not boot; a test has not passed.
pub fn run(args: Args) -> Result<()> {
    if let Some(words) = &args.bench {
        return bench(&args, words);
    }
    let matrix = test(&args)?;
    let failures = matrix.failures();
    ensure!(failures == 0, "{failures} did not pass: logs are below {}", cache().display());
    Ok(())
}

/// What of the tests runs where not all can: those that have met the kernel's own ways.
///
/// # Errors
/// As [`run()`], but for tests that have not passed: these are counted.
pub fn run_chosen(series: &str) -> Result<(Counts, bool)> {
    let filters = CHOSEN.map(str::to_owned).to_vec();
    println!("Emulation is slow: of the tests, {} run there.", filters.join(", "));
    counted(&test(&Args::of(series, filters))?)
}

/// All tests on all kernels.
///
/// # Errors
/// As [`run_chosen`].
pub fn run_all() -> Result<(Counts, bool)> {
    counted(&test(&Args::of("all", Vec::new()))?)
}

/// The test of a machine that is suspended.
///
/// # Errors
/// As [`run_chosen`].
pub fn run_suspended(series: &str) -> Result<(Counts, bool)> {
    counted(&test(&Args { suspend: true, ..Args::of(series, Vec::new()) })?)
}

impl Args {
    fn of(kernel: &str, filters: Vec<String>) -> Self {
        let kernel = kernel.to_owned();
        Self {
            kernel,
            mode: Vec::new(),
            accelerator: Accelerator::Counted,
            bench: None,
            cards: false,
            suspend: false,
            filters,
        }
    }

    fn modes(&self) -> Vec<&str> {
        match self.mode.as_slice() {
            [] if self.cards => vec!["native"],
            [] => vec!["auto"],
            modes => modes.iter().map(String::as_str).collect(),
        }
    }

    fn filters(&self) -> Vec<String> {
        if self.cards && self.filters.is_empty() {
            return WITH_CARDS.map(str::to_owned).to_vec();
        }
        if self.suspend && self.filters.is_empty() {
            return vec![SUSPENDED.to_owned()];
        }
        self.filters.clone()
    }
}

fn counted(matrix: &Matrix) -> Result<(Counts, bool)> {
    let (passed, failed) = (u32::try_from(matrix.passed())?, u32::try_from(matrix.failures())?);
    if failed > 0 {
        println!("logs are below {}", cache().display());
    }
    Ok((Counts { passed, failed, ignored: 0 }, failed == 0))
}

fn test(args: &Args) -> Result<Matrix> {
    let object = built()?;
    let binaries = suite::build(&args.filters())?;
    let contents = contents(&binaries, object)?;
    let mut matrix = Matrix::default();
    for series in series(&args.kernel) {
        let place = Place::prepare(series, args, &contents)?;
        place.test(&args.modes(), &binaries, &mut matrix)?;
    }
    println!("\n{matrix}");
    Ok(matrix)
}

fn bench(args: &Args, words: &str) -> Result<()> {
    let contents = contents(&[], built()?)?;
    series(&args.kernel)
        .into_iter()
        .try_for_each(|series| Place::prepare(series, args, &contents)?.bench(words))
}

fn series(kernel: &str) -> Vec<&str> {
    if kernel == "all" { ALL.to_vec() } else { vec![kernel] }
}

/// Builds what does not depend on what is to run, as [`crate::test`] does; returns where the kernel half is.
fn built() -> Result<PathBuf> {
    install::ensure(Tool::ALL)?;
    install::ensure(Tool::VM).context("there can be no virtual machine")?;
    let object = build_ebpf::build()?;
    run::shown(run::cargo().args(["build", "--workspace", "--bins"]))?;
    Ok(object)
}

fn cache() -> PathBuf {
    run::workspace().join("target/vm")
}

/// The one that the environment names, as outside, or else the one that was built.
fn daemon() -> PathBuf {
    std::env::var_os(node::BINARY).map_or_else(|| run::workspace().join("target/debug/wgha"), PathBuf::from)
}

/// This program, which may have been built anew since it was started: its path says so then.
fn ourselves() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(env!("CARGO_BIN_NAME")))
}

/// Paths that were compiled into the tests go through the folder of the package.
fn contents(binaries: &[Binary], object: PathBuf) -> Result<Contents> {
    let built = binaries.iter().map(|binary| binary.path.clone()).chain([daemon(), ourselves()?]);
    let scapy = binaries.iter().any(|binary| ["verdicts", "wire"].contains(&binary.name.as_str()));
    let packaged = fs::read_dir(run::workspace().join("packaging"))?.map(|entry| Ok(entry?.path()));
    let files = std::iter::once(Ok(object)).chain(packaged).collect::<Result<_>>()?;
    let folders = vec![run::workspace().join("tests")];
    Ok(Contents { built: built.collect(), files, folders, scapy })
}
