//! What the fuzzer calls.

use crate::{diff, Archive};

/// Reads any bytes as a bundle, and as what is within one.
pub fn bundle(bytes: &[u8]) {
    if let Ok(archive) = Archive::read(bytes) {
        let _ = diff::compare(&archive, &archive);
    }
    // Inside of the compression, where random bytes never get to.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let packed = std::io::Write::write_all(&mut packed, bytes).and_then(|()| packed.finish());
    if let Ok(archive) = packed
        .map_err(|_| ())
        .and_then(|bytes| Archive::read(&bytes[..]).map_err(|_| ()))
    {
        let _ = diff::compare(&archive, &archive);
    }
    let _ = crate::redact::Redactor::with_key([1; 32]).file(crate::Content::Capture, bytes);
    let _ = crate::redact::Redactor::with_key([1; 32]).words(&String::from_utf8_lossy(bytes));
}
