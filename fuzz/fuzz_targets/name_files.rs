#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rping_diagnose::fuzzing::name_files(text));
