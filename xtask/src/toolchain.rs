//! A compiler that makes BPF from Rust, and the linker that goes with it.
//!
//! Two ways lead there. Debian's `rustc-web` has a `core` for BPF in `libstd-rust-web-dev-bpf`: a stable
//! compiler and two packages. Everywhere else it is rustup's nightly, which builds `core` itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    install,
    run::{self, output},
};

/// The BPF target of a little-endian machine, as all of ours are.
pub const TARGET: &str = "bpfel-unknown-none";
/// Debian's compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// What brings it, with its `core` for BPF.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The linker that this is tested with.
const LINKER_VERSION: &str = "0.13.0";
/// The other way, which needs no root and no Debian.
const BY_RUSTUP: &str = "With rustup:
  rustup toolchain install nightly --component rust-src
  cargo install bpf-linker";

/// A compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// `rustc-web`, with a `core` that is already built.
    Debian,
    /// rustup's nightly with `rust-src`.
    Nightly,
}

impl Compiler {
    /// The one that is there.
    pub fn find() -> Option<Self> {
        if debian_has_core() {
            return Some(Self::Debian);
        }
        nightly_has_source().then_some(Self::Nightly)
    }

    /// The one that is there, or else Debian's.
    ///
    /// # Errors
    /// There is none, and it cannot be installed here.
    pub fn find_or_install() -> Result<Self> {
        if let Some(compiler) = Self::find() {
            return Ok(compiler);
        }
        if run::find("apt-get").is_none() || !install::apt_has(DEBIAN_PACKAGES[0])? {
            bail!("no Rust compiler for BPF, and apt has no {} to install. {BY_RUSTUP}", DEBIAN_PACKAGES[0]);
        }
        install::apt(&DEBIAN_PACKAGES)
            .map_err(|e| anyhow!("no Rust compiler for BPF. {e:#}\n{BY_RUSTUP}"))?;
        Self::find()
            .context("rustc-web and libstd-rust-web-dev-bpf are installed, but there is no core for BPF")
    }

    /// `cargo` that builds with it.
    pub fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Debian => {
                let mut command = run::cargo();
                // A target of rustc's second tier is not to be had without; nothing else unstable but inline assembly is used.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]).current_dir(run::workspace());
                // What the cargo that runs us has set for itself would win over `rustup run`.
                for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"] {
                    command.env_remove(name);
                }
                command
            }
        };
        // Optimised as one piece, as the daemon is, functions that are kept apart for the stack's sake (512 bytes) grow together.
        command.env("CARGO_PROFILE_RELEASE_LTO", "false").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command.env("PATH", run::path_with_cargo());
        command
    }

    /// What cargo must be told besides.
    pub fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Debian => &[],
            Self::Nightly => &["-Zbuild-std=core"],
        }
    }

    /// Where it comes from.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Debian => "Debian's rustc-web",
            Self::Nightly => "rustup's nightly",
        }
    }

    /// What it says that it is.
    ///
    /// # Errors
    /// It does not run.
    pub fn version(&self) -> Result<String> {
        self.describe("release: ")
    }

    fn describe(&self, key: &str) -> Result<String> {
        let mut command = match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
        };
        let said = output(command.arg("-vV"))?;
        let value = said.lines().find_map(|line| line.strip_prefix(key));
        value.map(str::to_owned).with_context(|| format!("rustc -vV does not say {key}"))
    }

    /// The major version of its LLVM: the linker's must not be older.
    fn llvm(&self) -> Result<String> {
        let version = self.describe("LLVM version: ")?;
        Ok(version.split('.').next().unwrap_or_default().to_owned())
    }
}

fn debian_has_core() -> bool {
    let Ok(sysroot) = output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])) else {
        return false;
    };
    let directory = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn nightly_has_source() -> bool {
    let mut sysroot = Command::new("rustup");
    sysroot.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    output(&mut sysroot)
        .is_ok_and(|path| Path::new(path.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

/// Where `bpf-linker` is.
pub struct Linker {
    path: PathBuf,
}

impl Linker {
    /// The one that is there, or else one that is built now. With Debian's compiler an older one than
    /// [`LINKER_VERSION`] is replaced: it may have another LLVM, or lack a flag of ours.
    ///
    /// # Errors
    /// It cannot be built here; the error has the command to type.
    pub fn find_or_install(compiler: &Compiler) -> Result<Self> {
        let Some(path) = run::find("bpf-linker") else {
            return Self::install(compiler);
        };
        let linker = Self { path };
        if *compiler == Compiler::Nightly {
            return Ok(linker);
        }
        let said = linker.version()?;
        if !is_older(&said, LINKER_VERSION) {
            return Ok(linker);
        }
        eprintln!("{} is {said}, older than {LINKER_VERSION}: it is replaced", linker.path.display());
        let linker = Self::install(compiler)?;
        let said = linker.version()?;
        if is_older(&said, LINKER_VERSION) {
            let path = linker.path.display();
            bail!("{path} is still {said} and hides bpf-linker {LINKER_VERSION}, just installed: remove it");
        }
        Ok(linker)
    }

    fn install(compiler: &Compiler) -> Result<Self> {
        let mut command = run::cargo();
        // It is built for the host, by the host's compiler. --force: another version may be there.
        command.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"]);
        if *compiler == Compiler::Debian {
            let llvm = compiler.llvm()?;
            let library = format!("llvm-{llvm}-dev");
            install::apt(&[
                &library,
                &format!("libpolly-{llvm}-dev"),
                "libzstd-dev",
                "zlib1g-dev",
                "libxml2-dev",
            ])?;
            command.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
            command.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
        }
        install::with_progress(&format!("bpf-linker {LINKER_VERSION} (cargo install)"), &mut command)?;
        let path = run::find("bpf-linker").context("bpf-linker is installed, but not to be found")?;
        Ok(Self { path })
    }

    /// What it says that it is.
    ///
    /// # Errors
    /// It does not run.
    pub fn version(&self) -> Result<String> {
        output(Command::new(&self.path).arg("--version")).map(|said| said.trim().to_owned())
    }
}

/// Whether a program that says `bpf-linker 0.9.15` is older than `wanted`. One that says something else is not known to be.
fn is_older(said: &str, wanted: &str) -> bool {
    let said = said.split_whitespace().find_map(numbers);
    said.zip(numbers(wanted)).is_some_and(|(said, wanted)| said < wanted)
}

/// `0.13.0` or `0.13.0-rc1`: its three numbers.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let release = version.split(['-', '+']).next()?;
    let parts: Vec<u32> = release.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (said, older) in [
            ("bpf-linker 0.13.0", false),
            ("bpf-linker 0.9.15", true),
            ("bpf-linker 0.12.99", true),
            ("bpf-linker 0.13.1", false),
            ("bpf-linker 0.14.0-rc1", false),
            ("bpf-linker 1.0.0", false),
            ("bpf-linker", false),
            ("bpf-linker of the house", false),
        ] {
            assert_eq!(is_older(said, "0.13.0"), older, "{said}");
        }
    }

    #[test]
    fn the_wanted_version_is_one() {
        assert!(numbers(LINKER_VERSION).is_some());
    }
}
