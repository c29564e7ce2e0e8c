//! What the fuzzer calls.

use crate::cmsg::Control;
use crate::errqueue::SocketError;

/// Reads any bytes as control messages, and as the packet that an error among them quotes.
pub fn control_messages(bytes: &[u8]) {
    if let Some(error) = Control::read(bytes).error {
        if let Some(error) = SocketError::new(error, None, bytes) {
            assert!(error.quoted().len() <= bytes.len());
            let _ = error.verdict(|address| address.is_loopback());
        }
    }
}

/// Reads any bytes as what the kernel answers to questions about routes, neighbours and interfaces.
pub fn netlink(bytes: &[u8]) {
    crate::netlink::read_all(bytes);
    crate::iface::read_all(bytes);
}

/// Reads any bytes as an Ethernet frame that holds an IPv4 packet.
pub fn frame(bytes: &[u8]) {
    crate::lane::fuzz(bytes);
}
