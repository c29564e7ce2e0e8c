//! How a client opens its streams.

use std::net::SocketAddr;
use std::time::Duration;

use rping_net::bulk::Bulk;
use rping_net::stream::StreamOptions;
use rping_net::{Clock, Options};
use rping_wire::iperf::{Cookie, UDP_ACCEPT, UDP_ACCEPT_OLD, UDP_CONNECT};

use super::Client;
use crate::auth;
use crate::iperf::control::{within, STEP};
use crate::iperf::mover::{Carrier, Early, LOOK};
use crate::iperf::params::{Parameters, Protocol};
use crate::iperf::spare::Spare;
use crate::iperf::udp::{self, Datagrams};
use crate::iperf::Error;

/// How often a stream that was not answered is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a server may take to answer for a UDP stream.
const UDP_PATIENCE: Duration = Duration::from_secs(10);

/// How many datagrams of data may come before the answer for their stream was read.
const EARLY_MOST: usize = 4096;

impl Client {
    pub(super) async fn connect(&self) -> Result<tokio::net::TcpStream, Error> {
        let (mut options, server, patience) = (self.stream.clone(), self.server, self.patience);
        // A port that was asked for is the streams'.
        if let Some(source) = &mut options.source {
            source.set_port(0);
        }
        let connected = tokio::task::spawn_blocking(move || options.connect(server, patience)).await;
        let stream = connected.map_err(|_| Error::Terminated)??;
        // A server that vanishes without a word is noticed.
        rping_net::stream::keep_alive(&stream);
        let taken = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream));
        let mut stream = taken.map_err(Error::io("the connection was taken over"))?;
        if let Some(key) = &self.key {
            within(STEP, PROVING, auth::prove_async(&mut stream, key)).await?;
        }
        Ok(stream)
    }

    pub(super) async fn open_stream(
        &self,
        place: usize,
        cookie: &Cookie,
        parameters: &Parameters,
        spare: &Spare,
    ) -> Result<Carrier, Error> {
        let (mut options, server, patience) = (self.stream.clone(), self.server, self.patience);
        options.source = options.source.map(|source| at_place(source, place));
        match parameters.protocol {
            Protocol::Tcp => {
                let (cookie, key) = (*cookie, self.key.clone());
                let opened = tokio::task::spawn_blocking(move || {
                    use std::io::Write;
                    let mut stream = options.connect(server, patience)?;
                    if let Some(key) = &key {
                        prove(&mut stream, key).map_err(Error::io(PROVING))?;
                    }
                    stream
                        .write_all(cookie.as_bytes())
                        .map_err(Error::io("a stream was opened"))?;
                    Ok::<_, Error>(stream)
                });
                Ok(Carrier::Tcp(opened.await.map_err(|_| Error::Terminated)??))
            }
            Protocol::Udp => {
                let (parameters, spare) = (parameters.clone(), spare.clone());
                let opened = tokio::task::spawn_blocking(move || {
                    open_datagrams(server, &options, &parameters, &spare)
                });
                opened.await.map_err(|_| Error::Terminated)?
            }
        }
    }
}

/// Where the stream with this place leaves from: two cannot share one port, so the next has the next.
fn at_place(mut source: SocketAddr, place: usize) -> SocketAddr {
    if source.port() > 0 {
        let next = usize::from(source.port()).saturating_add(place);
        // Beyond the last port is any.
        source.set_port(u16::try_from(next).unwrap_or(0));
    }
    source
}

/// What is done when a connection fails over the key.
const PROVING: &str = "both ends proved that they have the same key: the server has another, or none";

/// Proves the key on a stream that knows no deadline afterwards.
fn prove(stream: &mut std::net::TcpStream, key: &crate::Key) -> std::io::Result<()> {
    stream.set_read_timeout(Some(STEP))?;
    auth::prove(stream, key)?;
    stream.set_read_timeout(None)
}

/// A UDP stream: asked for until it is answered, so that a lost datagram is no failed test.
fn open_datagrams(
    server: SocketAddr,
    stream: &StreamOptions,
    parameters: &Parameters,
    spare: &Spare,
) -> Result<Carrier, Error> {
    let options = Options {
        source: stream.source,
        interface: stream.interface.clone(),
        ttl: stream.ttl,
        dscp: stream.dscp,
        mark: stream.mark,
        ..Options::default()
    };
    let bare = spare.take(server.is_ipv6(), None)?;
    let mut bulk = Bulk::new(bare, server, &options, udp::shape(parameters), LOOK)?;
    let until = Clock.now().plus(UDP_PATIENCE);
    let mut early: Vec<Early> = Vec::new();
    while Clock.now() < until {
        bulk.send_one(&UDP_CONNECT);
        let again = Clock.now().plus(ASK_AGAIN);
        while Clock.now() < again {
            let mut stands = false;
            bulk.receive(true, |part| {
                let is_answer = [UDP_ACCEPT, UDP_ACCEPT_OLD]
                    .iter()
                    .any(|answer| part.bytes == answer);
                if !is_answer {
                    // With -R data may come with the answer, or overtake it: it proves the stream as well.
                    udp::early(&part, parameters.wide_counters, EARLY_MOST, &mut early);
                }
                stands |= is_answer || !early.is_empty();
            })?;
            if stands {
                return Ok(Carrier::Udp(Box::new(Datagrams::new(bulk, early, None))));
            }
        }
    }
    Err(Error::Silent {
        what: "the server was to answer for a UDP stream (is UDP to its port filtered?)",
        seconds: UDP_PATIENCE.as_secs(),
    })
}
