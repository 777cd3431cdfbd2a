//! A virtual machine: booted, told what to run, listened to.
//!
//! Its first serial line is the kernel's console, kept in a file; the second one is ours (`init` is at its other end).

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{accelerator::Accelerator, cards, kernel::Kernel};
use crate::run;

/// What the machine has: three daemons and a WireGuard each are small.
const MEMORY_MIB: &str = "2048";
/// Begins a line of `init` itself.
const MARK: &str = "@@ ";
/// How long it may take to boot, by its own clock.
const BOOTING: Duration = Duration::from_secs(30);
/// How long it may take to switch itself off.
const OFF: Duration = Duration::from_secs(20);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// With this code; `None`: it was killed, as it took too long.
    pub code: Option<i32>,
    /// After so long, by the machine's clock.
    pub took: Duration,
}

/// What is needed to boot one.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What it runs.
    pub kernel: &'a Kernel,
    /// What is in it.
    pub initramfs: &'a Path,
    /// Who executes it.
    pub accelerator: Accelerator,
    /// Where console and log are kept.
    pub folder: &'a Path,
    /// Whether it has network cards.
    pub cards: bool,
    /// Whether it can be suspended: its clock does not go on then, and its RTC has to wake it up.
    pub sleeps: bool,
}

/// A running machine. Dropping it ends it, and so does the end of the thread that has booted it.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    to: ChildStdin,
    from: Receiver<String>,
    log: File,
    booted: Instant,
    accelerator: Accelerator,
}

impl Machine {
    /// Boots, a second time if it does not come to the line with which `init` begins. Consoles are kept, numbered.
    ///
    /// # Errors
    /// It does not come to that line.
    pub fn boot(parts: &Parts<'_>) -> Result<Self> {
        Self::boot_once(parts).or_else(|failed| {
            println!("  {failed:#}: once more");
            Self::boot_once(parts)
        })
    }

    /// The same, tried only once.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn boot_once(parts: &Parts<'_>) -> Result<Self> {
        let console = unused(parts.folder, "console");
        let mut qemu = command(parts, &console);
        // However we end: a machine that nobody talks to would be busy for ever.
        wgha_tests::die_with_parent(&mut qemu);
        let mut qemu = qemu.spawn().with_context(|| run::typed(&qemu))?;
        let log = File::options().create(true).append(true).open(parts.folder.join("log"))?;
        let (to, from) = (qemu.stdin.take().context("stdin")?, qemu.stdout.take().context("stdout")?);
        let (sender, receiver) = channel();
        // Ends with QEMU, or with us.
        std::thread::spawn(move || {
            let mut lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
            lines.try_for_each(|line| sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()))
        });
        let (booted, accelerator) = (Instant::now(), parts.accelerator);
        let mut machine = Self { qemu, to, from: receiver, log, booted, accelerator };
        let release = machine.wait_for("ready ", accelerator.patience(BOOTING), &mut |_| {});
        let release = release.with_context(|| format!("no machine: see {}", console.display()))?;
        if release != parts.kernel.release {
            bail!("the kernel is {release} instead of {}", parts.kernel.release);
        }
        Ok(machine)
    }

    /// Runs a line of shell with a limit, by the machine's clock; `said` sees each line that it prints.
    ///
    /// # Errors
    /// The machine is no more.
    pub fn run(&mut self, line: &str, limit: Duration, said: &mut dyn FnMut(&str)) -> Result<Ended> {
        self.note(&format!("$ {line}"))?;
        writeln!(self.to, "{} {line}", limit.as_secs())?;
        let end = self.wait_for("end ", self.accelerator.patience(limit), said)?;
        ended(&end).with_context(|| format!("what init says of an end: {end}"))
    }

    /// Switches it off.
    ///
    /// # Errors
    /// It does not obey.
    pub fn off(mut self) -> Result<()> {
        writeln!(self.to, "off")?;
        let end = Instant::now() + OFF;
        while Instant::now() < end {
            if self.qemu.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the machine did not switch itself off within {OFF:?}")
    }

    /// Writes a line to the log, with the seconds since it was started.
    fn note(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.log, "{:7.2} {line}", self.booted.elapsed().as_secs_f64())
    }

    /// The rest of the line of `init` that begins so; all other lines are logged and shown to `said`.
    fn wait_for(&mut self, start: &str, limit: Duration, said: &mut dyn FnMut(&str)) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            match self.from.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.note(&line)?;
                    match line.strip_prefix(MARK).and_then(|line| line.strip_prefix(start)) {
                        Some(rest) => return Ok(rest.to_owned()),
                        None => said(&line),
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("the machine has said nothing for {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the machine has ended"),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn command(parts: &Parts<'_>, console: &Path) -> Command {
    let append =
        "console=ttyS0 loglevel=5 panic=-1 reboot=t mitigations=off nokaslr random.trust_cpu=on tsc=reliable";
    // Whoever types this has a machine to share with others.
    let mut command = Command::new("nice");
    command.args(["-n", "10", "qemu-system-x86_64", "-M", "q35"]).args(parts.accelerator.options());
    command.args(["-m", MEMORY_MIB, "-nodefaults", "-no-user-config", "-display", "none"]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args([
        "-serial",
        "stdio",
        "-no-reboot",
    ]);
    let (kernel, rtc) = match parts.sleeps {
        true => (&parts.kernel.packed, "clock=rt"),
        false => (&parts.kernel.image, "clock=vm"),
    };
    command.args(["-rtc", rtc]).arg("-kernel").arg(kernel).arg("-initrd").arg(parts.initramfs);
    if parts.cards {
        cards::plug(&mut command);
    }
    command.arg("-append").arg(format!("{append}{}", if parts.cards { " cards=yes" } else { "" }));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Reads code, begin and end.
fn ended(said: &str) -> Option<Ended> {
    let mut words = said.split(' ');
    let code = words.next()?.parse().ok()?;
    let [begun, end] = [words.next()?.parse::<f64>().ok()?, words.next()?.parse().ok()?];
    // As timeout(1) says it, or the signal with which it has made an end.
    let code = Some(code).filter(|code| ![124, 137].contains(code));
    Some(Ended { code, took: Duration::try_from_secs_f64(end - begun).ok()? })
}

/// A path that nothing has yet.
fn unused(folder: &Path, name: &str) -> PathBuf {
    let mut numbers = 1..;
    let mut path = folder.join(name);
    while path.exists() {
        path = folder.join(format!("{name}.{}", numbers.next().unwrap_or(u32::MAX)));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_code_and_a_time_of_the_machines_own() {
        let took = Duration::from_secs_f64(2.5);
        assert_eq!(ended("0 3.00 5.50"), Some(Ended { code: Some(0), took }));
        assert_eq!(ended("124 3.00 5.50"), Some(Ended { code: None, took }));
        assert_eq!(ended("0 5.50"), None);
        assert_eq!(ended("0 5.50 3.00"), None);
    }
}
