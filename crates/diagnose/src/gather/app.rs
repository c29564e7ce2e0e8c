//! What the program behind the port says: its banner, or its answer to a greeting in the protocol that the port is for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::tcp::Connection;
use rping_net::Clock;

use crate::hello::{self, Greeting, Heard};

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How much of an answer is read.
const MOST: usize = 4096;

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppFacts {
    /// The protocol that was spoken or waited for; `None` where nobody asked.
    pub(crate) greeting: Option<Greeting>,
    pub(crate) heard: Said,
}

/// How the conversation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    #[default]
    NotAsked,
    /// An answer, and what it is.
    Something(Heard, Vec<u8>),
    /// Nothing within the time.
    Silence,
    /// The other side closed the connection without a word.
    Closed,
    /// The other side reset the connection without a word.
    Reset,
}

/// Speaks to the program behind `connection`, which it closes.
pub(crate) fn gather(connection: Connection, port: u16, name: &str) -> AppFacts {
    let until = Clock.now().plus(PATIENCE);
    let stream = TcpStream::from(connection);
    let greeting = hello::greeting(port);
    let heard = converse(&stream, greeting, name, until);
    // Whatever comes after is nobody's business.
    let _ = stream.shutdown(Shutdown::Both);
    AppFacts {
        greeting: Some(greeting),
        heard,
    }
}

fn converse(mut stream: &TcpStream, greeting: Greeting, name: &str, until: Timestamp) -> Said {
    if stream.set_nonblocking(false).is_err() {
        return Said::NotAsked;
    }
    if let Some(bytes) = hello::opening(greeting, name) {
        let left = until.since(Clock.now()).max(Duration::from_millis(1));
        let _ = stream.set_write_timeout(Some(left));
        if let Err(error) = stream.write_all(&bytes) {
            return ended(&error);
        }
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let left = until.since(Clock.now());
        if left.is_zero() || answer.len() >= MOST || hello::is_enough(greeting, &answer) {
            break;
        }
        let _ = stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
        match stream.read(&mut buffer) {
            Ok(0) if answer.is_empty() => return Said::Closed,
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if answer.is_empty() => return ended(&error),
            Err(_) => break,
        }
    }
    if answer.is_empty() {
        return Said::Silence;
    }
    Said::Something(hello::heard(greeting, &answer), answer)
}

fn ended(error: &std::io::Error) -> Said {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Said::Silence,
        _ => Said::Reset,
    }
}

impl AppFacts {
    /// The program answered in its protocol.
    pub(crate) fn is_understood(&self) -> bool {
        matches!(self.heard, Said::Something(Heard::Understood(_), _))
    }
}
