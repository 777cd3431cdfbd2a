//! See `wgha::fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgha::fuzz::message(bytes);
});
