//! ICMP and ICMPv6 echo as a probe: many targets, one socket or two per family.
//!
//! The payload carries the whole sequence number and a keyed nonce ([`rping_wire::probe_payload`]), so a reply is
//! known for certain and a damaged one for what it is. Errors are matched by the packet that they quote.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod fuzzing;
pub mod message;
mod probe;
mod reader;

pub use probe::{IcmpProbe, SocketKind};
pub use rping_net::ProbeOptions as Options;

/// The largest payloads: 65 535 octets less the headers that count into that (RFC 791 section 3.1, RFC 8200 section 3).
pub const MAX_SIZE_V4: usize = 65_507;
/// For IPv6, whose own header does not count.
pub const MAX_SIZE_V6: usize = 65_527;

/// What makes every probe impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local system refused.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// No packet of that size exists.
    #[error("an ICMP payload of {size} bytes is too large: at most {most} fit")]
    TooLarge {
        /// As asked for, bytes.
        size: usize,
        /// The most that fits the family, bytes.
        most: usize,
    },
    /// There is nobody to probe.
    #[error("no targets")]
    NoTargets,
}
