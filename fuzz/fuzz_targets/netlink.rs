//! Any bytes as the kernel's answers about routes, neighbours and interfaces.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rping_net::fuzzing::netlink(bytes));
