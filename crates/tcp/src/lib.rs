//! TCP connect as a probe: the handshake is the probe, and nothing is sent on the connection.
//!
//! [`TcpProbe`] starts non-blocking connects, many at once, and tells what became of each: an open port with the
//! kernel's own round-trip time, a reset, an ICMP message with its sender, silence, or a reason why nothing left this
//! host. One errno stands for several layers on Linux; the socket's error queue, and whose address stands in it, tell
//! them apart.
#![forbid(unsafe_code)]

mod blame;
mod gate;
mod probe;
mod syn;

pub use probe::TcpProbe;
pub use rping_net::tcp::Close;
pub use syn::SynProbe;

/// What ends a run of TCP probes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sockets could not be opened as asked, or watched.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
}

/// How the connects are made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Where they leave from, their header fields, how they are closed.
    pub connect: rping_net::tcp::Options,
    /// How many may be under way at once; more are deferred. Each holds a descriptor. `None`: what the descriptor
    /// limit allows, up to [`Options::MOST_IN_FLIGHT`].
    pub max_in_flight: Option<usize>,
    /// Tell the local port of each connection that was established.
    pub tell_local_port: bool,
}

impl Options {
    /// The default bound of connects under way: enough for 1 300 silent targets per second at the default timeout of
    /// 3 s, in some 8 MB of kernel memory.
    pub const MOST_IN_FLIGHT: usize = 4096;
}
