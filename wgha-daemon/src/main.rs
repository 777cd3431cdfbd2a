//! The command `wgha`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wgha::sys::memory::be_frugal();
    wgha::cli::main(wgha::driver::run, wgha::driver::fence, wgha::driver::detach, wgha::sys::check::look)
}
