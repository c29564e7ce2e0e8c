//! Any bytes as a histogram out of a file: as the text itself, and as what is inside its wrapping.
#![no_main]

use std::io::Write as _;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use flate2::{write::ZlibEncoder, Compression};
use libfuzzer_sys::fuzz_target;
use rping_stats::Histogram;

fn read(text: &str) {
    if let Ok(mut h) = Histogram::from_v2_base64(text) {
        let again = Histogram::from_v2_base64(&h.to_v2_base64()).expect("what was written is read");
        assert_eq!(again, h);
        let _ = (h.quantile(0.5), h.quantile(0.999));
        h.record(u64::MAX);
        h.merge(&again);
    }
}

/// What a fuzzer would have to guess a checksum for.
fn wrapped(plain: &[u8]) -> Option<String> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::none());
    zlib.write_all(plain).ok()?;
    let zlib = zlib.finish().ok()?;
    let mut bytes = vec![0x1c, 0x84, 0x93, 0x14];
    bytes.extend((zlib.len() as u32).to_be_bytes());
    bytes.extend(zlib);
    Some(STANDARD.encode(bytes))
}

fuzz_target!(|bytes: &[u8]| {
    read(&String::from_utf8_lossy(bytes));
    if let Some(text) = wrapped(bytes) {
        read(&text);
    }
});
