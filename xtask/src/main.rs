//! stand-in
use clap::Parser;

mod build_ebpf;
mod demo;
mod install;

#[derive(Parser)]
enum Command {
    Demo(demo::Args),
}

fn main() -> anyhow::Result<()> {
    let Command::Demo(args) = Command::parse();
    demo::run(args)
}
