//! How much stack a BPF object's programs need at most, as old verifiers count it.
//!
//! All functions of a chain of calls share 512 bytes (kernel: `check_max_stack_depth`). Linux 6.1 rounds what each of them
//! needs up to 32 bytes, newer ones to 16: a program that loads here may be refused there, and nothing else says so.

use std::collections::BTreeMap;

use crate::elf::{u16_at, u32_at, u64_at};

/// `MAX_BPF_STACK`
pub const LIMIT: u32 = 512;
/// What Linux 6.1 rounds up to.
const STEP: u32 = 32;

const INSTRUCTION: usize = 8;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const RELOCATION: usize = 16;
const SHT_SYMTAB: u32 = 2;
const SHT_REL: u32 = 9;
const STT_FUNC: u8 = 2;
const STT_SECTION: u8 = 3;
/// The frame pointer.
const R10: u8 = 10;
const CALL: u8 = 0x85;
/// In the place of the source register: of a function of this object.
const PSEUDO_CALL: u8 = 1;
const MOVE_REGISTER: u8 = 0xbf;
const ADD_NUMBER: u8 = 0x07;
/// The classes of loads into and stores from registers, and of stores of numbers: BPF_LDX, BPF_ST, BPF_STX.
const MEMORY: std::ops::RangeInclusive<u8> = 1..=3;
const LOAD: u8 = 1;

/// Section and number of an instruction.
type Place = (u16, usize);

/// The chain of calls that needs most, from a program on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What it needs, rounded.
    pub bytes: u32,
    /// Its functions, with what each needs itself.
    pub functions: Vec<(String, u32)>,
}

/// A function: what it needs, and whom it calls.
#[derive(Debug, Default)]
struct Function {
    name: String,
    length: usize,
    depth: u32,
    calls: Vec<Place>,
}

/// The chain that needs most of all; `None` when the object is none.
pub fn deepest(object: &[u8]) -> Option<Chain> {
    let object = Object::read(object)?;
    let functions = object.functions()?;
    functions.keys().map(|place| walk(&functions, *place)).max_by_key(|chain| chain.bytes)
}

/// From this function on. BPF has no recursion.
fn walk(functions: &BTreeMap<Place, Function>, from: Place) -> Chain {
    let Some(function) = functions.get(&from) else { return Chain { bytes: 0, functions: Vec::new() } };
    let below = function.calls.iter().map(|call| walk(functions, *call)).max_by_key(|chain| chain.bytes);
    let mut chain = below.unwrap_or(Chain { bytes: 0, functions: Vec::new() });
    chain.bytes += function.depth.max(1).next_multiple_of(STEP);
    chain.functions.insert(0, (function.name.clone(), function.depth));
    chain
}

struct Object<'a> {
    bytes: &'a [u8],
    /// Their headers.
    sections: Vec<&'a [u8]>,
    symbols: Vec<&'a [u8]>,
    names: &'a [u8],
}

impl<'a> Object<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let table = usize::try_from(u64_at(bytes, 0x28)?).ok()?;
        let headers = bytes.get(table..)?.chunks_exact(SECTION_HEADER);
        let sections = headers.take(u16_at(bytes, 0x3c)?.into()).collect::<Vec<_>>();
        let mut object = Self { bytes, sections, symbols: Vec::new(), names: &[] };
        let table = *object.sections.iter().find(|header| u32_at(header, 4) == Some(SHT_SYMTAB))?;
        object.symbols = object.contents(table)?.chunks_exact(SYMBOL).collect();
        object.names = object.contents(object.sections.get(u32_at(table, 0x28)? as usize)?)?;
        Some(object)
    }

    fn contents(&self, header: &[u8]) -> Option<&'a [u8]> {
        let (offset, size) = (u64_at(header, 0x18)? as usize, u64_at(header, 0x20)? as usize);
        self.bytes.get(offset..offset + size)
    }

    fn functions(&self) -> Option<BTreeMap<Place, Function>> {
        let mut functions = BTreeMap::new();
        for symbol in self.symbols.iter().filter(|symbol| kind(symbol) == STT_FUNC) {
            let name = self.names.get(u32_at(symbol, 0)? as usize..)?.split(|byte| *byte == 0).next()?;
            let length = u64_at(symbol, 16)? as usize / INSTRUCTION;
            let name = String::from_utf8_lossy(name).into_owned();
            functions.insert(place(symbol)?, Function { name, length, ..Function::default() });
        }
        let relocations = self.relocations()?;
        let places = functions.iter().map(|(place, f)| (*place, f.length)).collect::<Vec<_>>();
        for (at, length) in places {
            let (depth, calls) = self.look(at, length, &relocations)?;
            let function = functions.get_mut(&at)?;
            (function.depth, function.calls) = (depth, calls);
        }
        Some(functions)
    }

    /// Which symbol an instruction is about.
    fn relocations(&self) -> Option<BTreeMap<Place, &'a [u8]>> {
        let mut relocations = BTreeMap::new();
        for header in self.sections.iter().filter(|header| u32_at(header, 4) == Some(SHT_REL)) {
            let section = u16::try_from(u32_at(header, 0x2c)?).ok()?;
            for relocation in self.contents(header)?.chunks_exact(RELOCATION) {
                let symbol = self.symbols.get((u64_at(relocation, 8)? >> 32) as usize)?;
                relocations.insert((section, u64_at(relocation, 0)? as usize / INSTRUCTION), *symbol);
            }
        }
        Some(relocations)
    }

    /// How far below the frame pointer a function reaches, and whom it calls.
    fn look(
        &self,
        (section, first): Place,
        length: usize,
        relocations: &BTreeMap<Place, &[u8]>,
    ) -> Option<(u32, Vec<Place>)> {
        let code = self.contents(self.sections.get(usize::from(section))?)?;
        let code = code.get(first * INSTRUCTION..(first + length) * INSTRUCTION)?;
        let (mut depth, mut calls, mut pointers) = (0, Vec::new(), 0_u16);
        for (at, instruction) in (first..).zip(code.chunks_exact(INSTRUCTION)) {
            let (operation, registers) = (instruction[0], instruction[1]);
            let (to, from) = (registers & 15, registers >> 4);
            let (offset, number) =
                (u16_at(instruction, 2)?.cast_signed(), u32_at(instruction, 4)?.cast_signed());
            let base = if operation & 7 == LOAD { from } else { to };
            if MEMORY.contains(&(operation & 7)) && base == R10 {
                depth = depth.max(-i32::from(offset));
            } else if operation == MOVE_REGISTER && from == R10 {
                pointers |= 1 << to;
            } else if operation == ADD_NUMBER && pointers & 1 << to != 0 {
                depth = depth.max(-number);
                pointers &= !(1 << to);
            } else if operation == CALL && from == PSEUDO_CALL {
                calls.push(match relocations.get(&(section, at)) {
                    Some(symbol) => called(symbol, number)?,
                    None => (section, at.checked_add_signed(number as isize + 1)?),
                });
            }
        }
        Some((u32::try_from(depth).ok()?, calls))
    }
}

/// The function of a symbol, or, where that is a section, the one at the number in the instruction.
fn called(symbol: &[u8], number: i32) -> Option<Place> {
    let (section, first) = place(symbol)?;
    let ahead = if kind(symbol) == STT_SECTION { number as isize + 1 } else { 0 };
    Some((section, first.checked_add_signed(ahead)?))
}

fn kind(symbol: &[u8]) -> u8 {
    symbol.get(4).map_or(0, |info| info & 15)
}

fn place(symbol: &[u8]) -> Option<Place> {
    Some((u16_at(symbol, 6)?, u64_at(symbol, 8)? as usize / INSTRUCTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, depth: u32, calls: &[usize]) -> Function {
        let calls = calls.iter().map(|call| (1, *call)).collect();
        Function { name: name.to_owned(), length: 1, depth, calls }
    }

    #[test]
    fn every_call_costs_at_least_a_step() {
        let functions = BTreeMap::from([
            ((1, 0), function("program", 104, &[1, 2])),
            ((1, 1), function("shallow", 120, &[])),
            ((1, 2), function("long", 40, &[3])),
            ((1, 3), function("leaf", 0, &[])),
        ]);
        let chain = walk(&functions, (1, 0));
        assert_eq!(chain.bytes, 128 + 128);
        assert_eq!(chain.functions, [("program".to_owned(), 104), ("shallow".to_owned(), 120)]);
        assert_eq!(walk(&functions, (1, 2)).bytes, 64 + 32);
    }

    #[test]
    fn what_is_no_object_has_no_stack() {
        assert_eq!(deepest(b"#!/bin/sh"), None);
    }
}
