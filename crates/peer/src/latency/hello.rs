//! The client's side of the agreement at the beginning of a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::stream::StreamOptions;
use rping_net::Clock;
use rping_wire::latency::{ClientHello, ServerHello, Status, HELLO_LEN, MAGIC};

use super::Fault;
use crate::{auth, Key};

/// What is to be agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) request: u32,
    pub(super) response: u32,
    pub(super) block: bool,
    /// The longest silence between two requests.
    pub(super) idle: Duration,
}

/// Connects and agrees, each step within `patience`.
pub(super) fn agree(
    to: SocketAddr,
    options: &StreamOptions,
    patience: Duration,
    wanted: &Wanted,
    key: Option<&Key>,
) -> Result<(TcpStream, ServerHello), Fault> {
    let stream = options.connect(to, patience).map_err(|source| Fault::Connect {
        source,
        port: to.port(),
        patience,
    })?;
    if let Some(key) = key {
        let limited = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)));
        limited
            .and_then(|()| auth::prove(&mut &stream, key))
            .map_err(Fault::Key)?;
    }
    let mut step = Step {
        stream: &stream,
        patience,
    };
    let hello = ClientHello {
        block: wanted.block,
        request: wanted.request,
        response: wanted.response,
        idle: u32::try_from(wanted.idle.as_secs().saturating_add(1)).unwrap_or(u32::MAX),
    }
    .to_bytes();
    step.write(&hello)?;
    let mut answer = [0; HELLO_LEN];
    step.hello(&hello, &mut answer)?;
    let server = ServerHello::parse(&answer).map_err(|_| Fault::Other(answer.to_vec()))?;
    if server.status != Status::Ready {
        return Err(Fault::Refused(server));
    }
    stream
        .set_read_timeout(None)
        .and_then(|()| stream.set_write_timeout(None))
        .map_err(Fault::Broke)?;
    Ok((stream, server))
}

/// One step of the agreement: so long and no longer.
struct Step<'a> {
    stream: &'a TcpStream,
    patience: Duration,
}

impl Step<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream
            .set_write_timeout(Some(self.patience))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|error| self.fault(error))
    }

    /// Reads the server's hello, and gives up as soon as what comes cannot be one: many services greet with less than
    /// that many octets and then wait.
    fn hello(&mut self, sent: &[u8; HELLO_LEN], into: &mut [u8; HELLO_LEN]) -> Result<(), Fault> {
        let mut got = 0;
        let until = Clock.now().plus(self.patience);
        while got < HELLO_LEN {
            match self.some(&mut into[got..], until) {
                Ok(0) if got == 0 => return Err(Fault::NoHello),
                Err(Fault::Broke(_)) if got == 0 => return Err(Fault::NoHello),
                Ok(0) => return Err(Fault::Other(into[..got].to_vec())),
                Ok(more) => got += more,
                Err(fault) => return Err(fault),
            }
            let compared = got.min(MAGIC.len());
            if into[..compared] != MAGIC[..compared] {
                return Err(Fault::Other(into[..got].to_vec()));
            }
        }
        if into == sent {
            return Err(Fault::Other(into.to_vec()));
        }
        Ok(())
    }

    fn some(&mut self, into: &mut [u8], until: Timestamp) -> Result<usize, Fault> {
        loop {
            let left = until.since(Clock.now());
            if left.is_zero() {
                return Err(Fault::Silent(self.patience));
            }
            match self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(into))
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| self.fault(error)),
            }
        }
    }

    fn fault(&self, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Silent(self.patience),
            _ => Fault::Broke(error),
        }
    }
}
