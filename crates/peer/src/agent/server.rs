//! The agent's side: one client's flow at a time on each connection, so many connections at once, and whatever asks this
//! host's tables on threads of its own.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rping_wire::stamp::auth::Key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::frame::{Seal, Side, HEAD};
use super::message::{Begun, Flow, Request, Response, View};
use super::{LONGEST, LONGEST_REQUEST, LONGEST_RESPONSE, MAGIC, NONCE, STEP};
use crate::auth::random;
use crate::crowd::{Beyond, Crowd};

/// Clients that are served at once, and of one address (IPv6: of one /64).
const CLIENTS: usize = 16;
const CLIENTS_PER_SOURCE: usize = 4;

/// What looks at this host for clients that have proven themselves. Its calls may take their time: they are made on
/// threads of their own.
pub trait Agent: Send + Sync + std::fmt::Debug {
    /// Begins to watch a flow from `client`.
    fn watch(&self, flow: Flow, client: IpAddr) -> Box<dyn Watching>;
}

/// A flow under watch. Dropping it ends that.
pub trait Watching: Send {
    /// What can be said already.
    fn begun(&self) -> Begun;
    /// Ends the watch: what was seen.
    fn seen(self: Box<Self>) -> View;
}

/// Serves clients of the agent.
#[derive(Debug)]
pub(crate) struct Desk {
    agent: Arc<dyn Agent>,
    key: Key,
    crowd: Arc<Crowd>,
}

impl Desk {
    pub(crate) fn new(agent: Arc<dyn Agent>, key: Key) -> Desk {
        Desk {
            agent,
            key,
            crowd: Crowd::new(CLIENTS, CLIENTS_PER_SOURCE, Beyond::Waits),
        }
    }

    /// Serves a connection whose first octet was read; the flow that it was about.
    ///
    /// # Errors
    /// In words, why it was given up.
    pub(crate) async fn serve(&self, stream: TcpStream, client: IpAddr) -> io::Result<Flow> {
        let Some(_seat) = self.crowd.enter(client) else {
            return Err(io::Error::other(
                "too many clients of the agent are there already",
            ));
        };
        // One bound for everything: a client that does each step in time and never comes to an end is given up, too.
        let served = timeout(LONGEST, self.talk(stream, client)).await;
        served.unwrap_or_else(|_| Err(late()))
    }

    async fn talk(&self, mut stream: TcpStream, client: IpAddr) -> io::Result<Flow> {
        let mut rest = [0; MAGIC.len() - 1 + NONCE];
        step(stream.read_exact(&mut rest)).await?;
        let (magic, theirs) = rest.split_at(MAGIC.len() - 1);
        if magic != &MAGIC[1..] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no hello of the agent's protocol",
            ));
        }
        let own: [u8; NONCE] = random()?;
        let theirs: [u8; NONCE] = theirs.try_into().map_err(io::Error::other)?;
        let mut hello = MAGIC.to_vec();
        hello.extend_from_slice(&own);
        step(stream.write_all(&hello)).await?;
        let mut line = Line {
            stream,
            seal: Seal::new(self.key.clone(), Side::Server, theirs, own),
        };
        let flow = match line.hear(STEP).await? {
            Request::Watch(flow) => flow,
            Request::Seen => {
                line.say(&refused("nothing is watched yet")).await?;
                return Err(io::Error::other(
                    "it asked what was seen before anything was watched",
                ));
            }
        };
        let agent = Arc::clone(&self.agent);
        let watching = spawn_blocking(move || agent.watch(flow, client))
            .await
            .map_err(io::Error::other)?;
        line.say(&Response::Watching(watching.begun())).await?;
        match line.hear(LONGEST).await? {
            Request::Seen => {}
            Request::Watch(_) => {
                line.say(&refused("one flow a connection")).await?;
                return Err(io::Error::other("it asked for a second flow"));
            }
        }
        let view = spawn_blocking(move || watching.seen())
            .await
            .map_err(io::Error::other)?;
        line.say(&Response::Seen(Box::new(view))).await?;
        Ok(flow)
    }
}

fn refused(why: &str) -> Response {
    Response::Refused { why: why.to_owned() }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

async fn step<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STEP, work).await.unwrap_or_else(|_| Err(late()))
}

struct Line {
    stream: TcpStream,
    seal: Seal,
}

impl Line {
    /// The next request, which has so long to begin.
    async fn hear(&mut self, patience: Duration) -> io::Result<Request> {
        let mut head = [0; HEAD];
        let first = timeout(patience, self.stream.read_exact(&mut head)).await;
        first.unwrap_or_else(|_| Err(late()))?;
        let length = Seal::rest(head, LONGEST_REQUEST)?;
        let mut rest = Vec::new();
        // Memory grows with what comes, not with what was announced.
        step((&mut self.stream).take(length as u64).read_to_end(&mut rest)).await?;
        if rest.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = self.seal.open(rest)?;
        Request::parse(&message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    async fn say(&mut self, response: &Response) -> io::Result<()> {
        let sealed = match self.seal.seal(&response.to_bytes(), LONGEST_RESPONSE) {
            Some(sealed) => Some(sealed),
            None => {
                let short = refused("what there is to say is longer than a message may be");
                self.seal.seal(&short.to_bytes(), LONGEST_RESPONSE)
            }
        };
        let sealed = sealed.ok_or(io::ErrorKind::InvalidData)?;
        step(self.stream.write_all(&sealed)).await
    }
}
