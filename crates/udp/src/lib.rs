//! UDP echo as a probe: RFC 862's echo service, or a STAMP reflector (RFC 8762, either mode), whose answers also tell on
//! which way what happened.
#![forbid(unsafe_code)]

mod closing;
mod course;
mod delay;
mod echo;
mod owners;
mod placement;
mod probe;
mod stamp;
mod trail;

pub use course::Point;
pub use delay::{Delay, Span};
pub use placement::Memory;
pub use probe::{Protocol, Terms, UdpProbe};
pub use rping_net::ProbeOptions as Options;
pub use rping_wire::stamp::auth::Key;
pub use rping_wire::stamp::tlv::ClassSeen;
pub use trail::{Directions, Way};

/// The largest payloads of UDP: 65 535 octets less its header, and less IPv4's, which counts into that.
pub const MAX_SIZE_V4: usize = 65_507;
/// For IPv6, whose own header does not count.
pub const MAX_SIZE_V6: usize = 65_527;
/// The smallest echo payload: sequence number and nonce. STAMP packets are never smaller than 44 octets, authenticated ones
/// than 112.
pub const MIN_SIZE: usize = rping_wire::probe_payload::HEADER_LEN;

/// What makes every probe impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local system refused.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// No datagram of that size exists.
    #[error("a UDP payload of {size} bytes is too large: at most {most} fit")]
    TooLarge {
        /// As asked for, bytes.
        size: usize,
        /// The most that fits the family, bytes.
        most: usize,
    },
    /// An echo payload without room for its header.
    #[error("a UDP echo needs a payload of at least {MIN_SIZE} bytes, not {size}")]
    TooSmall {
        /// As asked for, bytes.
        size: usize,
    },
    /// There is nobody to probe.
    #[error("no targets")]
    NoTargets,
}
