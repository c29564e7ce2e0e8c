//! The client's side, on a thread that may block: everything has one instant at which it is given up.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rping_engine::Timestamp;
use rping_net::stream::StreamOptions;
use rping_net::Clock;
use rping_wire::stamp::auth::Key;

use super::frame::{Seal, Side, HEAD};
use super::message::{Begun, Flow, Request, Response, View};
use super::{LONGEST_REQUEST, LONGEST_RESPONSE, MAGIC, NONCE};
use crate::auth::{prove, random};

/// Why an agent tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection.
    #[error("{0}")]
    Connect(rping_net::Error),
    /// Another key there, or none.
    #[error("it does not have this key")]
    Key,
    /// It hung up where a server without a key does, or one that refuses ours.
    #[error("it hung up instead of proving that it has the key: a server without a key, or no rping server")]
    Unproven,
    /// It hung up where a server without an agent does.
    #[error("it has the key and runs no agent (start it with rping server --agent)")]
    NoAgent,
    /// Nothing came in time.
    #[error("it did not answer in time")]
    Late,
    /// It said no.
    #[error("it refused: {0}")]
    Refused(String),
    /// Something else came.
    #[error("it does not speak the agent's protocol: {0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("the connection to it broke: {0}")]
    Broke(io::Error),
}

impl Fault {
    /// Of an error on the connection; `hung_up` is what an end of it means here.
    fn of(error: io::Error, hung_up: Fault) -> Fault {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, PermissionDenied, TimedOut,
            UnexpectedEof, WouldBlock,
        };
        match error.kind() {
            TimedOut | WouldBlock => Fault::Late,
            PermissionDenied => Fault::Key,
            InvalidData => Fault::Nonsense(error.to_string()),
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => hung_up,
            _ => Fault::Broke(error),
        }
    }
}

/// A connection to an agent that has proven itself.
#[derive(Debug)]
pub struct Client {
    line: Line,
    seal: Seal,
}

impl Client {
    /// Connects, and has both sides prove that they have the key, until `until` at the latest.
    ///
    /// # Errors
    /// Why there is nothing to be asked.
    pub fn connect(to: SocketAddr, key: &Key, until: Timestamp) -> Result<Client, Fault> {
        let left = until.since(Clock.now());
        if left.is_zero() {
            return Err(Fault::Late);
        }
        let stream = StreamOptions::default()
            .connect(to, left)
            .map_err(Fault::Connect)?;
        let mut line = Line { stream, until };
        prove(&mut line, key).map_err(|error| Fault::of(error, Fault::Unproven))?;
        let no_agent = |error| Fault::of(error, Fault::NoAgent);
        let own: [u8; NONCE] = random().map_err(Fault::Broke)?;
        let mut hello = MAGIC.to_vec();
        hello.extend_from_slice(&own);
        line.write_all(&hello).map_err(no_agent)?;
        let mut answer = [0; MAGIC.len() + NONCE];
        line.read_exact(&mut answer).map_err(no_agent)?;
        let (magic, theirs) = answer.split_at(MAGIC.len());
        let theirs: Result<[u8; NONCE], _> = theirs.try_into();
        match theirs {
            Ok(theirs) if magic == MAGIC => Ok(Client {
                line,
                seal: Seal::new(key.clone(), Side::Client, own, theirs),
            }),
            _ => Err(Fault::Nonsense(
                "it answers the hello with something else".to_owned(),
            )),
        }
    }

    /// Has it watch a flow, until `until` at the latest.
    ///
    /// # Errors
    /// Why it does not.
    pub fn watch(&mut self, flow: Flow, until: Timestamp) -> Result<Begun, Fault> {
        match self.ask(&Request::Watch(flow), until)? {
            Response::Watching(begun) => Ok(begun),
            Response::Refused { why } => Err(Fault::Refused(why)),
            Response::Seen(_) => Err(Fault::Nonsense("an answer to another question".to_owned())),
        }
    }

    /// What it saw, until `until` at the latest.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn seen(mut self, until: Timestamp) -> Result<View, Fault> {
        match self.ask(&Request::Seen, until)? {
            Response::Seen(view) => Ok(*view),
            Response::Refused { why } => Err(Fault::Refused(why)),
            Response::Watching(_) => Err(Fault::Nonsense("an answer to another question".to_owned())),
        }
    }

    fn ask(&mut self, request: &Request, until: Timestamp) -> Result<Response, Fault> {
        self.line.until = until;
        let nonsense = |what: &dyn std::fmt::Display| Fault::Nonsense(what.to_string());
        let sealed = self
            .seal
            .seal(&request.to_bytes(), LONGEST_REQUEST)
            .ok_or_else(|| nonsense(&"a question that is too long"))?;
        let broke = |error| Fault::of(error, Fault::Broke(io::ErrorKind::UnexpectedEof.into()));
        self.line.write_all(&sealed).map_err(broke)?;
        let mut head = [0; HEAD];
        self.line.read_exact(&mut head).map_err(broke)?;
        let length = Seal::rest(head, LONGEST_RESPONSE).map_err(broke)?;
        let mut rest = Vec::new();
        // Memory grows with what comes, not with what was announced.
        (&mut self.line)
            .take(length as u64)
            .read_to_end(&mut rest)
            .map_err(broke)?;
        if rest.len() != length {
            return Err(Fault::Broke(io::ErrorKind::UnexpectedEof.into()));
        }
        let message = self.seal.open(rest).map_err(broke)?;
        Response::parse(&message).map_err(|error| nonsense(&error))
    }
}

/// A connection whose every call ends by one instant: an agent that sends an octet now and then holds nobody.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    until: Timestamp,
}

impl Line {
    fn left(&self) -> io::Result<Option<std::time::Duration>> {
        let left = self.until.since(Clock.now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(into)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
