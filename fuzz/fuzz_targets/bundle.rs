#![no_main]
//! Any bytes as a bundle, as the archive within one, as a capture and as a text to be redacted.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rping_bundle::fuzzing::bundle(bytes));
