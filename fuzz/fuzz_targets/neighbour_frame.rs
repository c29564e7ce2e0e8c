//! Any bytes as an Ethernet frame with ARP or NDP in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping_arp::fuzzing::frame(bytes));
