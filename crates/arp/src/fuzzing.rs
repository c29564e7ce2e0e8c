//! What the fuzzer calls.

/// Reads any bytes as a frame that came in.
pub fn frame(bytes: &[u8]) {
    let _ = crate::frame::heard(bytes, [2, 0, 0, 0, 0, 1]);
}
