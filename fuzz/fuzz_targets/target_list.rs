//! Any bytes as a list of targets. Nothing is resolved or opened.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping::fuzzing::target_list(bytes));
