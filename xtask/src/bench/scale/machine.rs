//! What this machine was doing meanwhile.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use anyhow::{Context, Result};
use wgha_tests::Namespace;

/// The kernel counts CPU time and steal in hundredths of a second for everyone outside of it.
const TICK: Duration = Duration::from_millis(10);

/// Ticks that the host has taken from this machine since it was started.
pub fn steal_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().next().and_then(|cpu| cpu.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

/// A process's share of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Time on a core since it was started.
    pub cpu: Duration,
    /// Resident memory in KiB.
    pub resident_kib: u64,
}

/// What a process has used.
///
/// # Errors
/// That there is no such process.
pub fn usage(id: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{id}/{file}");
        fs::read_to_string(&path).context(path)
    };
    let (stat, status) = (read("stat")?, read("status")?);
    // Counted from the end of the name, which may contain anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident_kib = resident.and_then(|kib| kib.trim().split(' ').next()?.parse().ok()).unwrap_or(0);
    Ok(Usage { cpu: TICK * ticks, resident_kib })
}

/// What a program has used in a namespace, where it runs once; nothing where it does not run.
///
/// # Errors
/// The system's.
pub fn usage_in(namespace: &Namespace, program: &str) -> Result<Usage> {
    let inode = namespace.inode()?;
    let ids = fs::read_dir("/proc")?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |id: &u32| {
        let is_there = fs::metadata(format!("/proc/{id}/ns/net")).is_ok_and(|m| m.ino() == inode);
        is_there && fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == program)
    };
    ids.into_iter().find(is_it).map_or(Ok(Usage::default()), usage)
}
