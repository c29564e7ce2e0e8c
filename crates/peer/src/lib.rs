//! The two ends of throughput and latency tests, and the far end of STAMP: `rping server` and what measures against it.
#![forbid(unsafe_code)]

pub mod agent;
mod answers;
pub mod auth;
pub mod beside;
mod claims;
mod crowd;
mod echo;
pub mod iperf;
pub mod latency;
mod prefix;
mod reflector;
mod repeats;
mod server;
mod sessions;

pub use answers::Service;
pub use reflector::{Handle, Reflector};
pub use rping_wire::stamp::auth::Key;
pub use server::{Limits, Listen, Log, Server, ServerHandle};

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
    /// An echo cannot authenticate anybody.
    #[error("a plain echo answers everybody: it cannot be had beside a key")]
    OpenEcho,
    /// Nobody unknown is told about this host.
    #[error("an agent tells about this host: it cannot be had without a key")]
    OpenAgent,
    /// A thread failed, and told why on standard error.
    #[error("a thread of the server failed")]
    Thread,
}
