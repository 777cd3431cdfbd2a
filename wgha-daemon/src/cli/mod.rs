//! What a person types, and what a person reads.
//!
//! `run` and `check` are given by `main`, so that everything here works, and is tested, without the kernel.

mod args;
mod events;
mod log;
mod output;
mod reload;
mod status;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    config::Config,
    driver::{Ended, Fence},
    sys::{check::Depth, program::Program, report::Report},
};
use args::{Args, Command};

/// Everything is as it should be.
const HEALTHY: u8 = 0;
/// The daemon answers, and says that something is wrong; or it ended with an error.
const DEGRADED: u8 = 1;
/// A daemon does already what was asked for.
const GUARDED: u8 = 3;
/// The configuration or the system is wrong, or no daemon answers. clap's own, too, for a wrong command line.
const NO_ANSWER: u8 = 2;

/// Does what the command line says. `run` is the daemon, `fence` closes the fence before there is one, `detach` clears away
/// what it has left, `check` looks at the system.
pub fn main(
    run: impl FnOnce(Config, Program) -> anyhow::Result<Ended>,
    fence: impl FnOnce(Config) -> anyhow::Result<Fence>,
    detach: impl FnOnce(Config) -> anyhow::Result<()>,
    check: impl FnOnce(&Config, Depth) -> Report,
) -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Run { config } => load(&config).map(|config| daemon(|| run_or_make_way(config, run))),
        Command::Fence { config } => load(&config).map(|config| fenced(config, fence)),
        Command::Detach { config } => load(&config).map(|config| daemon(|| detach(config).map(|()| None))),
        Command::Check { config, attach } => {
            let depth = if attach { Depth::Try } else { Depth::Look };
            load(&config).and_then(|config| checked(&config, |config| check(config, depth)))
        }
        Command::Status { json, socket } => status::status(&socket, json),
        Command::Reload { socket } => reload::reload(&socket),
        Command::Events { json, follow, socket } => events::events(&socket, json, follow),
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        if output::is_broken_pipe(&error) {
            return HEALTHY; // whoever read has had enough, as in `wgha events | head`
        }
        output::complain(&error);
        NO_ANSWER
    }))
}

fn load(file: &std::path::Path) -> anyhow::Result<Config> {
    Ok(Config::load(file)?)
}

/// Executes the program that `run` makes way for, if it does.
fn daemon(run: impl FnOnce() -> anyhow::Result<Option<Program>>) -> u8 {
    let log = log::init();
    let ended = run();
    drop(log); // what is not written by now would be lost
    match ended.and_then(|successor| successor.map_or(Ok(()), |program| Err(program.execute().into()))) {
        Ok(()) => HEALTHY,
        Err(error) => {
            output::complain(&error);
            DEGRADED
        }
    }
}

fn run_or_make_way(
    config: Config,
    run: impl FnOnce(Config, Program) -> anyhow::Result<Ended>,
) -> anyhow::Result<Option<Program>> {
    let program = Program::this()?;
    let ended = run(config, program.clone())?;
    Ok((ended == Ended::MadeWay).then_some(program))
}

fn fenced(config: Config, fence: impl FnOnce(Config) -> anyhow::Result<Fence>) -> u8 {
    let uplink = config.uplink.interface.clone();
    let mut result = HEALTHY;
    let failed = daemon(|| {
        if fence(config)? == Fence::Guarded {
            output::complain(&anyhow::anyhow!(
                "a daemon guards {uplink} already, or did a moment ago; nothing was touched, and its fence stays"
            ));
            result = GUARDED;
        }
        Ok(None)
    });
    result.max(failed)
}

fn checked(config: &Config, check: impl FnOnce(&Config) -> Report) -> anyhow::Result<u8> {
    let mut report = Report::default();
    report.ok("configuration", format!("{} is valid", config.file.display()));
    report.findings.extend(check(config).findings);
    output::print(&report.to_string())?;
    Ok(if report.has_problem() { NO_ANSWER } else { HEALTHY })
}
