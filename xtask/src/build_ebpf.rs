//! Builds the kernel half.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    elf, run, stack,
    toolchain::{Compiler, Linker, TARGET},
};

/// What the linker is told: types for the kernel, and plain stores instead of calls of memset, whose
/// pointer arithmetic on the stack the verifier refuses without CAP_PERFMON.
const RUSTFLAGS: &[&str] =
    &["-Cdebuginfo=2", "-Clink-arg=--btf", "-Clink-arg=--disable-expand-memcpy-in-order"];

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only check that it compiles
    #[arg(long)]
    check: bool,
}

/// Builds it and says with what.
///
/// # Errors
/// There is no compiler or linker and they cannot be installed, or it does not build.
pub fn run(args: Args) -> Result<()> {
    if args.check {
        let compiler = Compiler::find_or_install()?;
        return run::shown(&mut cargo(&compiler, "check"));
    }
    build().map(drop)
}

/// Builds it, says with what, and returns where it is.
///
/// # Errors
/// As [`run()`].
pub fn build() -> Result<PathBuf> {
    let started = Instant::now();
    let compiler = Compiler::find_or_install()?;
    let linker = Linker::find_or_install(&compiler)?;
    run::shown(&mut cargo(&compiler, "build"))?;
    let built = target().join(TARGET).join("release/wgha-ebpf");
    ensure_shallow(&built)?;
    let object = run::workspace().join("target/bpf/wgha-ebpf");
    let changed = copy(&built, &object)?;
    let said = describe(&object)?;
    println!(
        "{} is {}: {said}. Compiled by rustc {} ({}), linked by {}, in {:.1} s.",
        object.strip_prefix(run::workspace()).unwrap_or(&object).display(),
        if changed { "new" } else { "as it was" },
        compiler.version()?,
        compiler.name(),
        linker.version()?,
        started.elapsed().as_secs_f64(),
    );
    Ok(object)
}

fn target() -> PathBuf {
    run::workspace().join("target/bpf-build")
}

/// `cargo build` or `check` of the kernel half. Its own target directory: another compiler would have cargo build all anew each time.
pub fn cargo(compiler: &Compiler, task: &str) -> std::process::Command {
    let mut command = compiler.cargo();
    command.args([task, "--package", "wgha-ebpf", "--release", "--target", TARGET]).args(compiler.flags());
    command.env("CARGO_TARGET_DIR", target());
    command.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"));
    command
}

/// Copies it if it differs: whoever embeds it is rebuilt only then. Without what debuggers read, which the linker has made
/// .BTF of: it would be nine tenths of what the daemon embeds.
fn copy(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let bytes = elf::without_debug(&bytes).with_context(|| format!("{} is not an object", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

/// Refuses what the verifier of Debian 12's kernel would refuse for its stack.
fn ensure_shallow(object: &Path) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let chain = stack::deepest(&bytes).with_context(|| format!("{} is not an object", object.display()))?;
    let functions =
        chain.functions.iter().map(|(name, bytes)| format!("{name}: {bytes}")).collect::<Vec<_>>();
    ensure!(
        chain.bytes <= stack::LIMIT,
        "a chain of calls needs {} bytes of stack as Linux 6.1 counts them, of {}: {}",
        chain.bytes,
        stack::LIMIT,
        functions.join(", ")
    );
    Ok(())
}

/// Its size and its sections. Without types the kernel can neither print its maps nor name its programs.
fn describe(object: &Path) -> Result<String> {
    let bytes = fs::read(object)?;
    let sections = elf::sections(&bytes).with_context(|| format!("{} is not an object", object.display()))?;
    ensure!(sections.iter().any(|section| section.name == ".BTF"), "{} has no .BTF", object.display());
    let named =
        |section: &&elf::Section| matches!(section.name, "xdp" | "classifier" | "maps" | ".BTF" | ".BTF.ext");
    let list: Vec<_> = sections.iter().filter(named).map(ToString::to_string).collect();
    Ok(format!("{} KiB with {}", bytes.len() / 1024, list.join(", ")))
}
