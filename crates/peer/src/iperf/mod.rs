//! iperf3's throughput tests, both roles (versions 3.12 to 3.21 on the other side; docs/protocols.md).
//!
//! The control connection is tokio's; data moves in plain threads, one a stream, which share nothing with it but a few
//! counters.

pub(crate) mod client;
mod control;
mod counting;
mod mover;
mod params;
mod results;
pub(crate) mod server;
mod spare;
mod tally;
mod udp;
mod watch;

pub use client::{Client, End, Interval, Lateness, Observer, Outcome, Prepared, Side};
pub use params::{Parameters, Protocol};
pub use results::{Results, StreamResult};
pub use tally::Figures;

use rping_wire::iperf::{errors, State};

/// What ended a test before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local system refused.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// A connection failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The other side took longer than it may.
    #[error("no answer within {seconds} s while {what}")]
    Silent {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The other side closed the control connection.
    #[error("the other side closed the connection while {0}")]
    Closed(&'static str),
    /// The other side does not speak the protocol.
    #[error("the other side does not speak iperf3: {0}")]
    Nonsense(&'static str),
    /// The server has no room for another test, as older ones never have while one runs.
    #[error("the server is busy with another test: try again when it is done")]
    Busy,
    /// The server refused or failed.
    #[error("the server gave up: {}", refusal(*.0))]
    Server(i32),
    /// The other side was ended.
    #[error("the other side was stopped")]
    Terminated,
    /// The person had enough before any data flowed.
    #[error("interrupted before any data flowed")]
    Stopped,
    /// There is no thread, descriptor or the like to be had.
    #[error("{what}: {source}")]
    Local {
        /// What could not be had.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn refusal(number: i32) -> String {
    match errors::describe(number) {
        Some(words) => format!("{words} (iperf3 error {number})"),
        None => format!("iperf3 error {number}"),
    }
}

impl Error {
    /// Whether it is this host's own doing: an option that it does not know, an address that is not its own, nothing
    /// left of something. The server was not reached then.
    pub fn is_local(&self) -> bool {
        match self {
            Error::Local { .. } => true,
            Error::Net(rping_net::Error::Os { operation, .. }) => *operation != "connect",
            Error::Net(_) => true,
            _ => false,
        }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::BrokenPipe => Error::Closed(what),
            _ => Error::Io { what, source },
        }
    }

    /// What a state that was not expected means.
    pub(crate) fn unexpected(state: State) -> Error {
        match state {
            State::AccessDenied => Error::Busy,
            State::ServerTerminate | State::ClientTerminate => Error::Terminated,
            _ => Error::Nonsense("a state out of turn"),
        }
    }
}

/// The number that the stream with this place (from 0) bears in results: 1, 3, 4, 5, …; iperf3 never uses 2.
pub(crate) const fn stream_id(place: usize) -> u64 {
    match place {
        0 => 1,
        later => later as u64 + 2,
    }
}
