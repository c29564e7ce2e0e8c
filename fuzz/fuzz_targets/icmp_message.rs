//! Any bytes as an ICMP or ICMPv6 message.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping_icmp::fuzzing::message(bytes));
