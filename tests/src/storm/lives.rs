//! What a daemon takes up, from when it was first well to the last time that it was.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Node, Which, usage::Memory};

/// A daemon's descriptors and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Open descriptors.
    pub descriptors: usize,
    /// Bytes of memory.
    pub memory: u64,
}

/// One program in one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// Where.
    pub which: Which,
    process: u32,
    uptime_s: f64,
    /// How many faults it has lived through.
    pub faults: usize,
    /// When it was first well.
    pub first: Size,
    /// When it was last well.
    pub last: Size,
}

/// All daemons of a run.
#[derive(Debug, Default)]
pub struct Lives(Vec<Life>);

/// So much more is not a leak: a peer channel that is being opened, a client of the control socket.
const MORE_DESCRIPTORS: usize = 6;
/// Events that are remembered, tables that grow to their size once, what the allocator keeps.
const MORE_MEMORY: u64 = 6 << 20;
/// Who has lived through fewer has not shown anything.
const LONG: usize = 3;

impl Lives {
    /// A daemon is well now.
    ///
    /// # Errors
    /// That it has ended.
    pub fn note(&mut self, node: &Node, status: &Value) -> Result<()> {
        let process = node.id();
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).context("its descriptors")?.count();
        let size = Size { descriptors, memory: Memory::of(&[process])?.total() };
        let uptime_s = status["uptime_s"].as_f64().unwrap_or(0.0);
        let same = |life: &&mut Life| life.process == process && life.uptime_s <= uptime_s;
        match self.0.iter_mut().rev().find(|life| life.which == node.which).filter(same) {
            Some(life) => (life.uptime_s, life.last, life.faults) = (uptime_s, size, life.faults + 1),
            None => {
                let life = Life { which: node.which, process, uptime_s, faults: 0, first: size, last: size };
                self.0.push(life);
            }
        }
        Ok(())
    }

    /// The one that has lived through most.
    #[must_use]
    pub fn longest(&self) -> Option<&Life> {
        self.0.iter().max_by_key(|life| life.faults)
    }

    /// Those that have grown, in sentences.
    #[must_use]
    pub fn grown(&self) -> Vec<String> {
        let long = self.0.iter().filter(|life| life.faults >= LONG);
        long.filter(|life| life.has_grown()).map(|life| format!("a daemon has grown: {life:?}")).collect()
    }
}

impl Life {
    const fn has_grown(&self) -> bool {
        self.last.descriptors > self.first.descriptors + MORE_DESCRIPTORS
            || self.last.memory > self.first.memory + MORE_MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found_in_long_lives() {
        let first = Size { descriptors: 20, memory: 10 << 20 };
        let grown = |faults, descriptors, memory| {
            let last = Size { descriptors, memory };
            let life = Life { which: Which::A, process: 1, uptime_s: 1.0, faults, first, last };
            Lives(vec![life]).grown().len()
        };
        assert_eq!(grown(9, 21, 12 << 20), 0);
        assert_eq!((grown(9, 30, 10 << 20), grown(9, 20, 20 << 20)), (1, 1));
        assert_eq!(grown(1, 90, 90 << 20), 0);
    }
}
