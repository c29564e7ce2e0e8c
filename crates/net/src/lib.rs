//! Sockets that know when a packet left and arrived; clock, waiting, error queue, batches.
//!
//! The one crate with `unsafe` and the one that reads clocks. Everything above it speaks
//! [`rping_engine::Timestamp`]: nanoseconds on the monotonic clock, onto which kernel stamps are brought here.

pub mod bpf;
pub mod caps;
pub mod clock;
mod error;
pub mod iface;
pub mod netlink;
pub mod netns;
pub mod packet;
mod sys;
pub mod tcp;
pub mod wait;

pub use clock::Clock;
pub use error::Error;
pub use wait::{Pacing, Waiter, Waker, Woken};

/// What this crate's calls return.
pub type Result<T> = std::result::Result<T, Error>;
