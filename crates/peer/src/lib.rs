//! The far end of two-ended tests: the STAMP reflector.
#![forbid(unsafe_code)]

mod reflector;

pub use reflector::{Handle, Reflector};

/// What keeps the far end from running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local system refused.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
}
