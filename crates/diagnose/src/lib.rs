//! The troubleshooting ladder: from the name to the program behind the port, which layer fails, and why that is believed.
//!
//! [`diagnose`] gathers facts first (of this host's tables, by probes that cost the target little, by a look at the packets
//! themselves where privileges allow) and judges them afterwards. The first failing layer wins; a later success cancels an
//! earlier suspicion; a verdict of high confidence rests on two independent observations at least; and where something
//! fails and nothing shows what, the verdict is [`Layer::Inconclusive`].
//!
//! It takes less than 10 s: what does not depend on each other is asked at the same time, everything has an instant at
//! which it is given up, and what is known when the time is up is judged. [`Walk`] can be ended before. No program is run and no file is needed: what cannot be read is said.
#![forbid(unsafe_code)]

mod check;
mod far;
mod finding;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
pub mod hello;
mod names;
mod verdict;
mod walk;

use std::net::SocketAddr;

pub use check::describe_rule;
pub use far::{FarEnd, FarView, Loss, Peer};
pub use finding::{Confidence, Diagnosis, Finding, Layer, Outcome, Verdict};
pub use walk::{Stop, Walk};

/// What is to be diagnosed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The target as it was written.
    pub text: String,
    /// Whom.
    pub host: Host,
    /// Its TCP port; without one the host itself.
    pub port: Option<u16>,
    /// IPv6 alone (`true`) or IPv4 alone.
    pub v6: Option<bool>,
    /// An agent at the far end that is asked what it sees of it.
    pub peer: Option<Peer>,
}

/// A name or an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// An address, port 0, with its scope.
    Address(SocketAddr),
    /// A name, to be looked up.
    Name(String),
}

/// Walks the ladder.
///
/// Sends DNS queries to this host's servers, and to the target ARP or neighbour solicitations, echo requests, UDP
/// datagrams to unused ports, and connects to the port (and to usual ones where that is silent). Privileges are used where
/// they are there: `CAP_NET_RAW` and `CAP_NET_ADMIN`.
pub fn diagnose(question: &Question) -> Diagnosis {
    Walk::begin(question).end()
}
