//! Any bytes as a capture file, and every packet in it as a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_evidence::capture::{packet, Reader};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = Reader::open(bytes) {
        for record in reader.flatten() {
            assert!(record.bytes.len() <= bytes.len());
            let _ = packet::parse(record.link, &record.bytes);
        }
    }
});
