//! The far end: agrees with a client, then answers each request on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::spin::{SpinTurn, SPIN};
use rping_net::stream::read_now;
use rping_net::{Clock, Wait};
use rping_wire::latency::{
    ClientHello, Farewell, Request, Response, ServerHello, Status, HEADER_LEN, HELLO_LEN, LARGEST,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Cutter, READ};

/// How long each step of the agreement may take, a request that has begun may take to be whole, and a response to be
/// taken.
const STEP: Duration = Duration::from_secs(10);
/// How long the thread sleeps at most before it looks at its limits.
const LOOK: Duration = Duration::from_millis(500);
/// How much longer than it said a client may be silent.
const GRACE: Duration = Duration::from_secs(10);
/// How long the other side may take to close at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// A thread needs no more: what is large is on the heap.
const STACK: usize = 128 << 10;

/// What all exchanges of one server share.
#[derive(Debug)]
pub(crate) struct Exchanges {
    wait: Wait,
    longest: Duration,
    stop: AtomicBool,
    finished: AtomicU64,
}

/// How one exchange went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    pub(crate) answered: u64,
    pub(crate) request: u32,
    pub(crate) response: u32,
    pub(crate) took: Duration,
    /// Why it was the server that ended it.
    pub(crate) farewell: Option<Farewell>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary {
            answered,
            request,
            response,
            took,
            farewell,
        } = self;
        write!(
            f,
            "latency test, {answered} requests of {request} bytes answered with {response}, {:.1} s",
            took.as_secs_f64()
        )?;
        match farewell {
            None => Ok(()),
            Some(Farewell::TooLong) => write!(f, "; ended: as long as is allowed"),
            Some(Farewell::Idle) => write!(f, "; ended: silent for longer than announced"),
            Some(Farewell::Nonsense) => write!(f, "; ended: what came in is no request"),
            Some(Farewell::Stopping) => write!(f, "; ended: the server stops"),
        }
    }
}

/// What a client's hello came to.
pub(crate) struct Agreed {
    stream: tokio::net::TcpStream,
    hello: ClientHello,
    spins: bool,
}

/// Why there is no exchange.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no hello of the latency exchange")]
    NoHello,
    #[error("too many tests run already")]
    Busy,
    #[error("it asked for messages out of bounds")]
    Size,
    #[error("the connection broke before the exchange stood")]
    Broke,
}

impl Exchanges {
    /// Exchanges of at most `longest`.
    pub(crate) fn new(wait: Wait, longest: Duration) -> Exchanges {
        Exchanges {
            wait: wait.here(),
            longest,
            stop: AtomicBool::new(false),
            finished: AtomicU64::new(0),
        }
    }

    /// Ends all of them, within half a second.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How many came to their end so far.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// Reads the rest of a hello that began with `first`, and agrees. `seat` is asked for a place once the client is
    /// known to be entitled to one.
    pub(crate) async fn agree<S>(
        &self,
        first: u8,
        mut stream: tokio::net::TcpStream,
        seat: impl FnOnce() -> Option<S>,
    ) -> Result<(Agreed, S), Denied> {
        let mut client = [first; HELLO_LEN];
        read(&mut stream, &mut client[1..]).await?;
        let hello = match ClientHello::parse(&client) {
            Ok(hello) => hello,
            Err(_) if client.starts_with(&rping_wire::latency::MAGIC) => {
                self.say(&mut stream, Status::Version, false).await?;
                return Err(Denied::NoHello);
            }
            Err(_) => return Err(Denied::NoHello),
        };
        let spins = !hello.block && self.wait != Wait::Block;
        let seat = self.admit(&mut stream, &hello, spins, seat).await?;
        Ok((Agreed { stream, hello, spins }, seat))
    }

    async fn admit<S>(
        &self,
        stream: &mut tokio::net::TcpStream,
        hello: &ClientHello,
        spins: bool,
        seat: impl FnOnce() -> Option<S>,
    ) -> Result<S, Denied> {
        if !hello.is_within_bounds() {
            self.say(stream, Status::Size, spins).await?;
            return Err(Denied::Size);
        }
        let Some(seat) = seat() else {
            self.say(stream, Status::Busy, spins).await?;
            return Err(Denied::Busy);
        };
        self.say(stream, Status::Ready, spins).await?;
        Ok(seat)
    }

    async fn say(
        &self,
        stream: &mut tokio::net::TcpStream,
        status: Status,
        spins: bool,
    ) -> Result<(), Denied> {
        let hello = ServerHello {
            status,
            spins,
            largest: LARGEST,
            longest: u32::try_from(self.longest.as_secs()).unwrap_or(u32::MAX),
        }
        .to_bytes();
        write(stream, &hello).await
    }

    /// Hands the connection to a thread of its own, which calls `done` at the end.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(crate) fn start(
        self: &Arc<Self>,
        agreed: Agreed,
        done: impl FnOnce(&Summary) + Send + 'static,
    ) -> io::Result<()> {
        let exchanges = Arc::clone(self);
        let Agreed { stream, hello, spins } = agreed;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(STEP))?;
        std::thread::Builder::new()
            .name("rping-latency".into())
            .stack_size(STACK)
            .spawn(move || {
                let summary = exchanges.serve(&stream, &hello, spins);
                exchanges.finished.fetch_add(1, Ordering::Relaxed);
                done(&summary);
            })
            .map(drop)
    }

    fn serve(&self, stream: &TcpStream, hello: &ClientHello, spins: bool) -> Summary {
        let began = Clock.now();
        let mut answered = 0;
        let farewell = self.answer(stream, hello, spins, began, &mut answered).err();
        if let Some(why) = farewell {
            take_leave(stream, why);
        }
        Summary {
            answered,
            request: hello.request,
            response: hello.response,
            took: Clock.now().since(began),
            farewell,
        }
    }

    /// Answers until the client closes; the error is what made the server end it.
    fn answer(
        &self,
        mut stream: &TcpStream,
        hello: &ClientHello,
        spins: bool,
        began: Timestamp,
        answered: &mut u64,
    ) -> Result<(), Farewell> {
        let mut room = vec![0; READ].into_boxed_slice();
        // Nothing is kept of a message but its header, and a response beyond it is zeros: memory does not depend on sizes.
        let mut out = vec![0; (hello.response as usize).min(READ)].into_boxed_slice();
        let mut cutter = Cutter::new(hello.request);
        let mut listener = Listener {
            spins,
            idle: Duration::from_secs(hello.idle.into()).saturating_add(GRACE),
            end: began.plus(self.longest),
            heard: began,
            exchanges: self,
        };
        loop {
            let Some(got) = listener.wait(stream, &mut room, cutter.is_inside())? else {
                return Ok(());
            };
            let received = Clock.now();
            listener.heard = received;
            let mut bytes = &room[..got];
            while let Some((header, _)) = cutter.next(&mut bytes) {
                let request = Request::parse(&header, hello.request).map_err(|_| Farewell::Nonsense)?;
                let response = Response::Answer {
                    seq: request.seq,
                    residence: Clock.now().nanos_since(received),
                };
                out[..HEADER_LEN].copy_from_slice(&response.to_bytes());
                let until = received.plus(STEP);
                if write_response(&mut stream, &mut out, hello.response as usize, until).is_err() {
                    return Ok(());
                }
                *answered += 1;
            }
        }
    }
}

/// Writes a response of `size` octets whose beginning is in `out`. A client that takes it a little at a time has until then.
fn write_response(stream: &mut impl Write, out: &mut [u8], size: usize, until: Timestamp) -> io::Result<()> {
    let mut left = size;
    let mut at = 0;
    while left > 0 {
        let part = out.get(at..out.len().min(at + left)).unwrap_or_default();
        let length = part.len();
        match stream.write(part) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                at += taken;
                left -= taken;
                // The common case looks at no clock: it was all taken at once.
                if taken < length && Clock.now() >= until {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if at == out.len() && left > 0 {
            out[..HEADER_LEN].fill(0);
            at = 0;
        }
    }
    Ok(())
}

/// Says why, and gives the client the time to read it: what is closed with something unread is reset.
fn take_leave(mut stream: &TcpStream, why: Farewell) {
    let until = Clock.now().plus(FAREWELL);
    let mut rest = [0; 1024];
    // However it ends, there is nothing left to be told.
    let _ = stream
        .write_all(&Response::Farewell(why).to_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.set_read_timeout(Some(FAREWELL));
    while Clock.now() < until && matches!(stream.read(&mut rest), Ok(1..)) {}
}

/// Waits for what the client sends, within the limits.
struct Listener<'a> {
    spins: bool,
    idle: Duration,
    end: Timestamp,
    heard: Timestamp,
    exchanges: &'a Exchanges,
}

impl Listener<'_> {
    /// The number of octets that came; `None` at the end of the connection.
    fn wait(&self, mut stream: &TcpStream, room: &mut [u8], inside: bool) -> Result<Option<usize>, Farewell> {
        if self.spins {
            if let Some(turn) = SpinTurn::take(SpinTurn::most()) {
                let until = Clock.now().plus(SPIN);
                loop {
                    match read_now(stream, room) {
                        Ok(0) => return Ok(None),
                        Ok(got) => return self.within(got).map(Some),
                        Err(error) if is_empty(&error) => {}
                        Err(_) => return Ok(None),
                    }
                    if Clock.now() >= until {
                        break;
                    }
                }
                drop(turn);
            }
        }
        let patience = if inside { STEP } else { self.idle };
        loop {
            match stream.read(room) {
                Ok(0) => return Ok(None),
                Ok(got) => return self.within(got).map(Some),
                Err(error) if is_empty(&error) => {}
                Err(_) => return Ok(None),
            }
            self.within(0)?;
            if Clock.now().since(self.heard) > patience {
                return Err(Farewell::Idle);
            }
        }
    }

    /// Judges the limits that hold whatever comes in.
    fn within(&self, got: usize) -> Result<usize, Farewell> {
        if self.exchanges.stop.load(Ordering::Relaxed) {
            return Err(Farewell::Stopping);
        }
        if Clock.now() >= self.end {
            return Err(Farewell::TooLong);
        }
        Ok(got)
    }
}

fn is_empty(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

async fn read(stream: &mut tokio::net::TcpStream, into: &mut [u8]) -> Result<(), Denied> {
    match timeout(STEP, stream.read_exact(into)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Denied::Broke),
    }
}

async fn write(stream: &mut tokio::net::TcpStream, bytes: &[u8]) -> Result<(), Denied> {
    match timeout(STEP, stream.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Denied::Broke),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so much at a time.
    struct Slow(usize, Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.1.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_response_is_whole_however_it_is_taken_and_not_written_for_ever() {
        for (room, size) in [(64, 64), (64, 1000), (16, 17), (64, 16)] {
            for at_a_time in [1, 7, 64, 4096] {
                let mut out = vec![0; room.min(size)];
                out[..HEADER_LEN].fill(9);
                let mut slow = Slow(at_a_time, Vec::new());
                write_response(&mut slow, &mut out, size, Timestamp::NEVER).unwrap();
                let mut whole = vec![0; size];
                whole[..HEADER_LEN].fill(9);
                assert_eq!(slow.1, whole, "{room} {size} {at_a_time}");
            }
        }
        let mut slow = Slow(1, Vec::new());
        let ended = write_response(&mut slow, &mut [0; 64], 1000, Timestamp::ZERO);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(slow.1.len(), 1);
    }
}
