//! Bytes to values and back, where the packet library has no type for them.
//!
//! A leaf without an operating system: one file per protocol, its offsets beside the RFC that fixes them. Parsers take
//! bytes from strangers: they never panic, never allocate, and believe no length that they were not given.
//!
//! - [`stamp`]: RFC 8762's test packets, both modes and both ends, and RFC 8972's TLVs;
//! - [`probe_payload`]: what ICMP and UDP echo probes carry, and what became of it on the way;
//! - [`iperf`]: the bytes around iperf3's JSON;
//! - [`latency`]: the request/response exchange over TCP;
//! - [`quoted`]: the packet that an ICMP error quotes;
//! - [`syn`]: a TCP handshake's first segment and the two that answer it.
#![forbid(unsafe_code)]

pub mod iperf;
pub mod latency;
pub mod probe_payload;
pub mod quoted;
pub mod stamp;
pub mod syn;

/// Why bytes are not what they were taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// They end too early.
    #[error("{what} needs {needed} bytes, there are {got}")]
    Truncated {
        /// What was read or written.
        what: &'static str,
        /// Bytes it takes at least.
        needed: usize,
        /// Bytes there are.
        got: usize,
    },
    /// A field contradicts the format.
    #[error("{what}")]
    Malformed {
        /// What contradicts it.
        what: &'static str,
    },
}

/// `N` bytes at `offset`; the error names `what` was to be read.
fn take<const N: usize>(bytes: &[u8], offset: usize, what: &'static str) -> Result<[u8; N], Error> {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Error::Truncated {
            what,
            needed: offset.saturating_add(N),
            got: bytes.len(),
        })
}
