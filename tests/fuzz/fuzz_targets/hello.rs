//! See `wgha::fuzz::hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgha::fuzz::hello(bytes);
});
