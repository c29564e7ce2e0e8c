//! Any bytes as an Ethernet frame with an IPv4 packet in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping_net::fuzzing::frame(bytes));
