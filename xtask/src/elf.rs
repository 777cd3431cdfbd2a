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

/// Bytes of the header of the file.
const ELF_HEADER_LEN: usize = 64;
/// A section that has no bytes in the file.
const SHT_NOBITS: u32 = 8;
/// Enough for every section of an object.
const ALIGNMENT: usize = 16;
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

/// The same object without the contents of its `.debug` sections and their relocations. Their headers stay, as those of
/// unused sections: so no other has to be renumbered. `None` when it is none.
pub fn without_debug(object: &[u8]) -> Option<Vec<u8>> {
    let names: Vec<_> = sections(object)?.iter().map(|section| section.name).collect();
    let table = usize::try_from(u64_at(object, 0x28)?).ok()?;
    let mut out = object.get(..ELF_HEADER_LEN)?.to_vec();
    let mut headers = object.get(table..table + names.len() * HEADER_LEN)?.to_vec();
    for (header, name) in headers.chunks_exact_mut(HEADER_LEN).zip(names) {
        if name.starts_with(".debug") || name.starts_with(".rel.debug") {
            header.fill(0); // SHT_NULL
            continue;
        }
        let (offset, size) = (u64_at(header, 0x18)? as usize, u64_at(header, 0x20)? as usize);
        if u32_at(header, 0x04)? != SHT_NOBITS {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            put(header, 0x18, out.len());
            out.extend(object.get(offset..offset + size)?);
        }
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    let table = out.len();
    put(&mut out, 0x28, table);
    out.extend(headers);
    Some(out)
}

fn put(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

/// The number at an offset.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

/// The number at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

/// The number at an offset.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
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
    fn only_what_debuggers_read_is_left_out() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let stripped = without_debug(&program).unwrap();
        let size = |object: &[u8], name| {
            sections(object).unwrap().iter().find(|section| section.name == name).map(|section| section.size)
        };
        assert!(size(&program, ".debug_info").is_some());
        assert_eq!(size(&stripped, ".debug_info"), None);
        assert_eq!(size(&stripped, ".text"), size(&program, ".text"));
        assert!(stripped.len() < program.len());
    }

    #[test]
    fn what_is_no_object_has_none() {
        assert_eq!(sections(b"#!/bin/sh"), None);
        assert_eq!(sections(b"\x7fELF\x02\x01 cut short"), None);
        assert_eq!(without_debug(b"\x7fELF\x02\x01 cut short"), None);
    }
}
