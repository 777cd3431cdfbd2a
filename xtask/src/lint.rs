//! Formatting, clippy and documentation, all without warnings.

use anyhow::Result;

use crate::{
    build_ebpf,
    install::{self, Tool},
    run,
    stages::Stages,
    toolchain::Compiler,
};

/// Checks them.
///
/// # Errors
/// A stage has failed.
pub fn run() -> Result<()> {
    let mut stages = Stages::default();
    stages.step("formatting", || run::shown(run::cargo().args(["fmt", "--all", "--check"])));
    stages.step("clippy, host", || {
        let mut clippy = run::cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
        run::shown(&mut clippy)
    });
    stages.step("clippy, BPF", clippy_bpf);
    stages.step("documentation", || {
        let mut doc = run::cargo();
        doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        run::shown(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    });
    println!("{stages}");
    stages.result()
}

/// The parts that only exist for BPF are seen only by the clippy of the compiler that builds them.
fn clippy_bpf() -> Result<()> {
    let compiler = Compiler::find_or_install()?;
    let mut check =
        build_ebpf::cargo(&compiler, if compiler == Compiler::Debian { "check" } else { "clippy" });
    if compiler == Compiler::Debian {
        install::ensure(&[Tool::BpfClippy])?;
        // What `cargo clippy` does; Debian's has no cargo of its own.
        check.env("RUSTC_WORKSPACE_WRAPPER", "/usr/bin/clippy-driver").env("CLIPPY_ARGS", "-Dwarnings");
    } else {
        check.args(["--", "--deny", "warnings"]);
    }
    run::shown(&mut check)
}
