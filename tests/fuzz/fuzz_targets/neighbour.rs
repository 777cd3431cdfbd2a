//! See `wgha::fuzz::neighbour`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgha::fuzz::neighbour(bytes);
});
