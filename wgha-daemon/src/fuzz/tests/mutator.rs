//! Inputs made of others.

/// The longest that is made.
const LONGEST: usize = 8 * 1024;

/// Numbers that programs stumble over.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    0x0f,
    0x10,
    0x1f,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
];

/// Makes inputs by a seed.
pub struct Mutator<'c> {
    state: u64,
    corpus: &'c [Vec<u8>],
}

impl<'c> Mutator<'c> {
    pub fn new(seed: u64, corpus: &'c [Vec<u8>]) -> Self {
        Self { state: seed, corpus }
    }

    /// One of the corpus, changed in one place or in a few.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.stored().to_vec();
        let changes = [1, 1, 1, 2, 2, 3, 5, 10][self.below(8)];
        for _ in 0..changes {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn stored(&mut self) -> &'c [u8] {
        &self.corpus[self.below(self.corpus.len())]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let some = (1 << self.below(6)).min(input.len() - at);
        match (self.below(12), input.get_mut(at)) {
            (0 | 1, Some(byte)) => *byte ^= 1 << self.below(8),
            (2, Some(byte)) => *byte = self.next() as u8,
            (3, _) => self.number(input, at),
            (4, _) => drop(input.drain(at..at + some)),
            (5, _) => {
                let twice = input[at..at + some].to_vec();
                drop(input.splice(at..at, twice));
            }
            (6, _) => {
                let len = 1 << self.below(5);
                let noise: Vec<_> = (0..len).map(|_| self.next() as u8).collect();
                drop(input.splice(at..at, noise));
            }
            (7, _) => input.truncate(at),
            (8 | 9, _) => self.figure(input, at),
            _ => self.splice(input, at, some),
        }
    }

    /// A number in either order of bytes, over what is there.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let (number, len) = (NUMBERS[self.below(NUMBERS.len())], 1 << self.below(4));
        let little = number.to_le_bytes();
        let big = (number << (64 - 8 * len)).to_be_bytes();
        let bytes = if self.below(2) == 0 { little } else { big };
        for (to, from) in input.iter_mut().skip(at).zip(&bytes[..len]) {
            *to = *from;
        }
    }

    /// A number in figures in the place of the next one.
    fn figure(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(at) = input.iter().skip(at).position(u8::is_ascii_digit).map(|further| at + further) else {
            return;
        };
        let len = input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS[self.below(NUMBERS.len())];
        let figures = match self.below(8) {
            0 => format!("-{number}"),
            1 => format!("{number}.5"),
            2 => format!("{number}e{}", self.below(400)),
            3 => format!("0x{number:x}"),
            4 => u64::MAX.to_string(),
            _ => number.to_string(),
        };
        drop(input.splice(at..at + len, figures.into_bytes()));
    }

    /// Some of another in the place of some of this.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize, some: usize) {
        let other = self.stored();
        let from = self.below(other.len() + 1);
        let len = (1 << self.below(8)).min(other.len() - from);
        let gone = if self.below(2) == 0 { 0 } else { some };
        drop(input.splice(at..at + gone, other[from..from + len].iter().copied()));
    }

    fn below(&mut self, high: usize) -> usize {
        (self.next() % high as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
