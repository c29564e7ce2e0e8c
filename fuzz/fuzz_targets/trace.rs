//! Any bytes as two captures that are compared: the sums hold whatever they hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    for (a, b) in [(a, b), (bytes, a), (bytes, bytes)] {
        if let Ok(report) = rping_evidence::trace::compare(a, b) {
            for flow in &report.flows {
                assert_eq!(flow.left, flow.arrived + flow.lost);
            }
        }
    }
});
