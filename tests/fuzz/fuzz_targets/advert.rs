//! See `wgha::fuzz::advert`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgha::fuzz::advert(bytes);
});
