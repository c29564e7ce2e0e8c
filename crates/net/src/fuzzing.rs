//! What the fuzzer calls.

use std::net::{IpAddr, SocketAddr};

use crate::cmsg::{Control, ExtendedError};
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

/// What the kernel makes of a port unreachable from `offender` that quotes any bytes of a packet to `destination`.
pub fn port_unreachable(destination: SocketAddr, offender: IpAddr, quoted: &[u8]) -> Option<SocketError> {
    let error = ExtendedError {
        errno: libc::ECONNREFUSED.unsigned_abs(),
        origin: libc::SO_EE_ORIGIN_ICMP,
        kind: 3,
        code: 3,
        info: 0,
        offender: Some(offender),
    };
    SocketError::new(error, Some(destination), quoted)
}

/// Reads any bytes as what the kernel answers to questions about routes, neighbours, interfaces and filters.
pub fn netlink(bytes: &[u8]) {
    crate::netlink::read_all(bytes);
    crate::iface::read_all(bytes);
    crate::xtables::read_all(bytes);
}

/// Reads any bytes as an Ethernet frame that holds an IPv4 packet.
pub fn frame(bytes: &[u8]) {
    crate::lane::fuzz(bytes);
}
