//! Sockets that know when a packet left and arrived; clock, waiting, error queue, batches.
//!
//! The one crate with `unsafe` and the one that reads clocks. Everything above it speaks
//! [`rping_engine::Timestamp`]: nanoseconds on the monotonic clock, onto which kernel stamps are brought here.

mod address;
mod batch;
pub mod bpf;
pub mod bulk;
pub mod caps;
pub mod clock;
mod cmsg;
pub mod datagram;
pub mod discipline;
mod error;
pub mod errqueue;
pub mod ethtool;
mod exchange;
mod fan;
#[doc(hidden)]
pub mod fuzzing;
pub mod hardware;
pub mod iface;
mod incoming;
mod interface_clock;
mod keeper;
mod lane;
pub mod netlink;
pub mod netns;
mod open;
pub mod options;
mod pacing;
pub mod packet;
mod phc;
mod queue;
mod sources;
mod special;
pub mod spin;
mod stamp;
pub mod stream;
mod surroundings;
mod sys;
mod targets;
pub mod tcp;
pub mod usage;
pub mod wait;
pub mod xtables;

pub use clock::Clock;
pub use datagram::{Datagram, Packet};
pub use error::Error;
pub use exchange::{Exchange, ProbeOptions};
pub use fan::{Fan, Role, Slot};
pub use incoming::{internet_checksum, receive_from_any, Incoming, Received};
pub use interface_clock::InterfaceClock;
pub use keeper::StampKeeper;
pub use lane::{Lane, Traffic};
pub use open::{Identifiers, Ports};
pub use options::{Options, SharePort};
pub use pacing::current_cpu;
pub use sources::Sources;
pub use special::open_special;
pub use spin::Wait;
pub use surroundings::Surroundings;
pub use targets::{Target, Targets};
pub use wait::{Pacing, Waiter, Waker, Woken};

/// What this crate's calls return.
pub type Result<T> = std::result::Result<T, Error>;
