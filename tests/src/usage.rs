//! What processes cost: time on a core, how often they were woken, and memory.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// What some processes have used since they started, all their threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Nanoseconds on a core, by the scheduler's own count.
    pub cpu_ns: u64,
    /// How often they waited for something: each time they were woken afterwards.
    pub waits: u64,
    /// How often a core was taken from them.
    pub preemptions: u64,
}

impl Usage {
    /// Reads it.
    ///
    /// # Errors
    /// That one of them has ended.
    pub fn of(processes: &[u32]) -> Result<Self> {
        let mut usage = Self::default();
        for process in processes {
            let tasks = format!("/proc/{process}/task");
            for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
                usage.add_task(&task?.path())?;
            }
        }
        Ok(usage)
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            waits: self.waits.saturating_sub(before.waits),
            preemptions: self.preemptions.saturating_sub(before.preemptions),
        }
    }

    fn add_task(&mut self, task: &Path) -> Result<()> {
        let status = read(&task.join("status"))?;
        let schedstat = read(&task.join("schedstat"))?;
        let on_core = schedstat.split_whitespace().next().context("an empty schedstat")?;
        self.cpu_ns += on_core.parse::<u64>()?;
        self.waits += field(&status, "voluntary_ctxt_switches").context("no voluntary_ctxt_switches")?;
        self.preemptions +=
            field(&status, "nonvoluntary_ctxt_switches").context("no nonvoluntary_ctxt_switches")?;
        Ok(())
    }
}

/// Bytes of memory that some processes take up; what they share with others counts in part (PSS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Of programs and libraries.
    pub files: u64,
    /// Of the main thread's allocator.
    pub heap: u64,
    /// Of everything else: stacks, the other threads' allocators, what is shared with the kernel.
    pub other: u64,
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    /// That one of them has ended.
    pub fn of(processes: &[u32]) -> Result<Self> {
        let mut memory = Self::default();
        for process in processes {
            memory.add(&read(Path::new(&format!("/proc/{process}/smaps")))?);
        }
        Ok(memory)
    }

    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.files + self.heap + self.other
    }

    /// A mapping is a line that ends in its name, and lines of figures after it.
    fn add(&mut self, smaps: &str) {
        let mut kind = &mut self.other;
        for line in smaps.lines() {
            if let Some(bytes) = field(line, "Pss") {
                *kind += bytes * 1024;
            } else if line.split_whitespace().next().is_some_and(|word| !word.ends_with(':')) {
                kind = match line.split_whitespace().nth(5) {
                    Some(name) if name.starts_with('/') => &mut self.files,
                    Some("[heap]") => &mut self.heap,
                    _ => &mut self.other,
                };
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The figure behind `name:` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "voluntary_ctxt_switches"), Some(12));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), Some(3));
        assert_eq!(field(status, "ctxt_switches"), None);
    }

    #[test]
    fn processes_use_something() {
        // Not this one: its other tests' threads end meanwhile, and take their counts with them.
        let mut sleeper = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        let usage = Usage::of(&[sleeper.id()]);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let usage = usage.unwrap();
        assert!(usage.waits >= 1 && usage.cpu_ns > 0, "{usage:?}");
        let memory = Memory::of(&[std::process::id()]).unwrap();
        assert!(memory.files > 100_000 && memory.other > 0, "{memory:?}");
    }

    #[test]
    fn memory_is_split_by_mapping() {
        let mut memory = Memory::default();
        memory.add(
            "55e0-55f0 r-xp 00001000 fe:00 7 /usr/bin/x\nRss: 8 kB\nPss: 4 kB\nPss_Dirty: 1 kB\n\
             5600-5700 rw-p 00000000 00:00 0 [heap]\nPss: 8 kB\n\
             7f00-7f10 rw-p 00000000 00:00 0\nPss: 16 kB\nVmFlags: rd wr\n\
             7f20-7f30 rw-s 00000000 00:0e 9 anon_inode:bpf-map\nPss: 32 kB\n",
        );
        assert_eq!(memory, Memory { files: 4 << 10, heap: 8 << 10, other: 48 << 10 });
        assert_eq!(memory.total(), 60 << 10);
    }
}
