//! As much of ELF as is needed to say what an object has: section names and sizes, 64 bits, little endian.

use std::fmt;

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes.
    pub size: u64,
}

impl fmt::Display for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            // One BPF instruction has eight bytes.
            "xdp" | "classifier" => write!(f, "{} ({} instructions)", self.name, self.size / 8),
            name => write!(f, "{name} ({} bytes)", self.size),
        }
    }
}

/// Bytes of one section header.
const HEADER_LEN: usize = 64;

/// The sections of an object; `None` when it is none.
pub fn sections(object: &[u8]) -> Option<Vec<Section<'_>>> {
    if object.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64_at(object, 0x28)?).ok()?;
    let (count, names) = (u16_at(object, 0x3c)?, u16_at(object, 0x3e)?);
    let header = |index: u16| object.get(table + usize::from(index) * HEADER_LEN..);
    let names = usize::try_from(u64_at(header(names)?, 0x18)?).ok()?;
    (0..count)
        .map(|index| {
            let header = header(index)?;
            let name = object.get(names + u32_at(header, 0)? as usize..)?;
            let name = std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()?;
            Some(Section { name, size: u64_at(header, 0x20)? })
        })
        .collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_program_has_sections() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let sections = sections(&program).unwrap();
        let text = sections.iter().find(|section| section.name == ".text").unwrap();
        assert!(text.size > 1000, "{text}");
    }

    #[test]
    fn what_is_no_object_has_none() {
        assert_eq!(sections(b"#!/bin/sh"), None);
        assert_eq!(sections(b"\x7fELF\x02\x01 cut short"), None);
    }
}
