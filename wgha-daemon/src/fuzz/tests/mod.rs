//! Every target on its corpus, and on what a mutator makes of it, for a while.
//!
//! ```sh
//! cargo test -p wgha fuzz                                      # a quarter of a second each
//! WGHA_FUZZ_SECONDS=60 cargo test -p wgha fuzz                 # a minute each
//! WGHA_FUZZ_SEED=0x1234 cargo test -p wgha fuzz                # other inputs, or those of a failure
//! WGHA_FUZZ_INPUT=file cargo test -p wgha fuzz::tests::advert  # only this one
//! ```

mod memory;
mod mutator;

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::mutator::Mutator;
use super::{TARGETS, Target};

/// How long each target is fed, where nothing is said.
const USUALLY: Duration = Duration::from_millis(250);
/// It is fed with this many at least, however slow the machine is.
const INPUTS_MIN: u64 = 200;
/// What an input may have a target hold at a time, whatever it claims.
const HELD_MAX: usize = 3 * 1024 * 1024;
/// And so many bytes more for each of its own.
const HELD_PER_BYTE: usize = 256;

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            feed(stringify!($name));
        })+

        #[test]
        fn every_target_is_fed() {
            let fed = [$(stringify!($name)),+];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), fed);
        }
    };
}

targets!(advert, sbfd, wireguard, neighbour, hello, message, session, config, request, answer);

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort(); // the same seed makes the same inputs
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn feed(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    if let Some(file) = env::var_os("WGHA_FUZZ_INPUT") {
        let bytes = fs::read(&file).unwrap();
        println!("{name}: {}", if (target.run)(&bytes) { "taken" } else { "refused" });
        return;
    }
    let corpus = corpus(name);
    let taken = corpus.iter().filter(|bytes| run(target, bytes)).count();
    assert!(taken > 0 && taken < corpus.len(), "the corpus of {name} needs what is taken and what is not");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = env::var("WGHA_FUZZ_SEED").map_or(now.as_nanos() as u64, |seed| number(&seed));
    let time = env::var("WGHA_FUZZ_SECONDS").map_or(USUALLY, |seconds| Duration::from_secs(number(&seconds)));
    let mut mutator = Mutator::new(seed, &corpus);
    let (began, mut inputs, mut taken) = (Instant::now(), 0, 0);
    while began.elapsed() < time || inputs < INPUTS_MIN {
        let input = mutator.input();
        taken += u64::from(run(target, &input));
        inputs += 1;
    }
    println!(
        "{name}: {inputs} inputs from WGHA_FUZZ_SEED={seed:#x} in {:.1?}, {taken} taken",
        began.elapsed()
    );
    assert!(taken > 0, "nothing that the mutator makes is taken: {name} is fed with noise");
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Runs it. What it fails on is written out.
fn run(target: &Target, bytes: &[u8]) -> bool {
    let before = memory::begin();
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let held = memory::most_since(before);
    let too_much = held > HELD_MAX + HELD_PER_BYTE * bytes.len();
    match ran {
        Ok(taken) if !too_much => taken,
        Ok(_) => panic!("{} holds {held} bytes for {}; {}", target.name, bytes.len(), again(target, bytes)),
        Err(_) => panic!("{} fails; {}", target.name, again(target, bytes)),
    }
}

/// How to see it again.
fn again(target: &Target, bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.canonicalize().unwrap().join(format!("{}-{:016x}", target.name, hasher.finish()));
    fs::write(&file, bytes).unwrap();
    format!("again: WGHA_FUZZ_INPUT={} cargo test -p wgha fuzz::tests::{}", file.display(), target.name)
}
