//! Any bytes as a socket's control messages, error queue included.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping_net::fuzzing::control_messages(bytes));
