//! What the fuzzer calls.

/// Reads any bytes as an ICMP or ICMPv6 message.
pub fn message(bytes: &[u8]) {
    if let Some((_, payload)) = crate::message::Echo::parse(bytes) {
        assert!(payload.len() < bytes.len());
    }
}
