//! The two ends of throughput tests, and the far end of STAMP: `rping server` and what measures against it.
#![forbid(unsafe_code)]

mod claims;
pub mod iperf;
mod reflector;
mod server;

pub use reflector::{Handle, Reflector};
pub use server::{Limits, Log, Server, ServerHandle};

/// What keeps the far end from running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local system refused.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// It cannot listen there.
    #[error("cannot listen on {address}: {source}")]
    At {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: Box<Error>,
    },
    /// No port number is free for TCP and UDP both.
    #[error("no port is free for TCP and UDP both: name one")]
    NoPort,
    /// A thread failed, and told why on standard error.
    #[error("a thread of the server failed")]
    Thread,
}
