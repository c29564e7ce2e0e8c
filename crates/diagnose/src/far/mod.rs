//! The far end's side of the ladder: an agent there (`rping server --agent`) says what it sees of the flow, and that
//! tells which way packets are lost, or what at the far end takes them.

pub(crate) mod ask;
pub(crate) mod judge;
mod look;
mod watch;
pub(crate) mod words;

use std::time::Duration;

use rping_peer::agent::message::{Begun, View};
use rping_peer::Key;
use serde::Serialize;

use crate::Host;

pub use look::FarEnd;

/// Where an agent is to be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// As it was written.
    pub text: String,
    /// Whom.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// What both ends share.
    pub key: Key,
}

/// What came of asking the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FarView {
    /// The agent as it was asked for.
    pub server: String,
    /// Why it told nothing, or not everything; `null` where it did.
    pub error: Option<String>,
    /// Which way packets are lost, where that can be told.
    pub loss: Option<Loss>,
    /// What was seen, a line each. May hold text from outside: escape it where it is shown.
    pub evidence: Vec<String>,
    /// What it sees of the flow, as it told it.
    pub seen: Option<View>,
    /// How long it took to ask.
    #[serde(rename = "duration_ns", serialize_with = "crate::finding::nanos")]
    pub duration: Duration,
}

/// Where packets end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// They left here and did not arrive there.
    Forward,
    /// They arrived there, and the answers that left there did not arrive here.
    Reverse,
    /// They arrived there, and no answer left.
    FarEnd,
}

/// What is known of the agent before it is judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerFacts {
    pub(crate) server: String,
    pub(crate) error: Option<String>,
    pub(crate) begun: Option<Begun>,
    pub(crate) view: Option<View>,
    pub(crate) took: Duration,
}
