//! Why there is no exchange with a server, or no more of it.

use std::io;
use std::time::Duration;

use rping_engine::{Reason, Refusal};
use rping_net::errqueue::send_refusal;
use rping_wire::latency::{Farewell, ServerHello, Status};

/// What keeps one target from being measured, in words for the person who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The connection could not be made.
    #[error("{}", connect_words(.source, *.port, *.patience))]
    Connect {
        /// What the system said.
        source: rping_net::Error,
        /// The port that was asked for.
        port: u16,
        /// How long an answer was waited for.
        patience: Duration,
    },
    /// It was made, and then nothing was said.
    #[error("it takes the connection and says nothing for {0:?}: what listens there is no rping server, or it is stuck")]
    Silent(Duration),
    /// It was made and ended before the server's hello.
    #[error("it ends the connection without a hello: what listens there is no rping server, or an older one, or one that wants a key (--key-file)")]
    NoHello,
    /// Something else answered.
    #[error("{}", other_words(.0))]
    Other(Vec<u8>),
    /// The server's hello says no.
    #[error("{}", refusal_words(*.0))]
    Refused(ServerHello),
    /// The server does not prove that it has the key, or does not take ours.
    #[error("the server does not have the same key: start it with --key-file and the same file ({0})")]
    Key(io::Error),
    /// The server ended the exchange and said why.
    #[error("{}", farewell_words(*.0))]
    Farewell(Farewell),
    /// The connection ended in the middle of it.
    #[error("the server ended the connection in the middle of the test: it was stopped, or died")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broke(io::Error),
    /// What came in is no response to anything.
    #[error("the server sent what is no response to any request: nothing more from it is believed")]
    Nonsense,
}

impl Fault {
    /// What this means for a probe in flight.
    pub fn refusal(&self) -> Refusal {
        match self {
            Fault::Connect { source, .. } if source.is_refused() => {
                Refusal::of(Reason::PortClosed).errno(libc_refused(source))
            }
            Fault::Connect { source, .. } => match source.errno() {
                Some(errno) => send_refusal(errno, None),
                None => Refusal::of(Reason::Other),
            },
            Fault::Broke(error) => {
                let refusal = Refusal::of(Reason::Other);
                error.raw_os_error().map_or(refusal, |errno| refusal.errno(errno))
            }
            _ => Refusal::of(Reason::Other),
        }
    }

    /// Whether nobody answered at all: then what was sent is lost, not refused.
    pub fn is_silence(&self) -> bool {
        matches!(self, Fault::Connect { source, .. } if source.is_timeout())
            || matches!(self, Fault::Silent(_))
    }

    /// Whether it was this host that could not.
    pub fn is_local(&self) -> bool {
        let Fault::Connect { source, .. } = self else {
            return false;
        };
        !source.is_refused() && !source.is_timeout() && self.refusal().reason != Reason::Other
    }
}

fn libc_refused(error: &rping_net::Error) -> i32 {
    error.errno().unwrap_or_default()
}

fn connect_words(source: &rping_net::Error, port: u16, patience: Duration) -> String {
    if source.is_refused() {
        format!("nothing listens on TCP port {port} there: start rping server on that host")
    } else if source.is_timeout() {
        format!("no answer to the connect within {patience:?}: filtered or down; rping tcp HOST:{port} tells more")
    } else {
        source.to_string()
    }
}

/// What answered instead, by its first octets.
fn other_words(first: &[u8]) -> String {
    let what = match first {
        [9 | 0xff | 0xfe, ..] => "an iperf3 server answers there, which has no latency exchange",
        [b'R', b'P', b'I', b'N', b'G', ..] => {
            "it sends back what it is sent, or speaks another version: an echo service or another rping"
        }
        [b'H', b'T', b'T', b'P', ..] | [b'<', ..] => "a web server answers there",
        [b'S', b'S', b'H', b'-', ..] => "an SSH server answers there",
        _ => {
            let shown: String = first
                .iter()
                .take(16)
                .flat_map(|octet| octet.escape_ascii())
                .map(char::from)
                .collect();
            return format!(
                "something else answers there (it begins with \"{shown}\"): start rping server on that host"
            );
        }
    };
    format!("{what}: start rping server on that host")
}

fn refusal_words(hello: ServerHello) -> String {
    match hello.status {
        Status::Busy => "the server is busy: as many tests run there as it allows (--max-tests)".to_owned(),
        Status::Size => format!("the server takes messages of 16 to {} bytes", hello.largest),
        Status::Version => {
            "the server speaks another version of the latency exchange: use the same rping at both ends"
                .to_owned()
        }
        Status::Ready => "the server's answer makes no sense here".to_owned(),
    }
}

fn farewell_words(why: Farewell) -> String {
    match why {
        Farewell::TooLong => "the server ended the test: it lasted as long as it allows (--max-duration)",
        Farewell::Idle => "the server ended the test: it got no request for longer than was announced",
        Farewell::Nonsense => "the server ended the test: what it received is no request",
        Farewell::Stopping => "the server ended the test: it is being stopped itself",
    }
    .to_owned()
}
