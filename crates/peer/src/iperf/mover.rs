//! The threads that move the data of TCP streams, and what all movers have in common.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::usage::CpuTime;
use rping_net::{stream, Clock, Pacing, Waiter};
use rping_stats::Histogram;
use rping_wire::iperf::DatagramHeader;

use super::params::{Parameters, Protocol, LENGTH_MOST};
use super::tally::{Budget, Figures, Tally};
use super::udp::Datagrams;
use super::{udp, Error};

/// How long a thread may block before it looks whether it is to end.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// How long a receiver that was stopped goes on taking what is on its way, as long as there is something.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// A datagram that came before its stream was known to stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    pub(crate) header: DatagramHeader,
    pub(crate) length: usize,
    pub(crate) at: Timestamp,
}

/// What a stream runs over.
#[derive(Debug)]
pub(crate) enum Carrier {
    Tcp(TcpStream),
    Udp(Box<Datagrams>),
}

/// A stream whose data is being moved by a thread of its own.
#[derive(Debug)]
pub(crate) struct Mover {
    pub(crate) tally: Arc<Tally>,
    /// Whether this side sends on it.
    pub(crate) sends: bool,
    /// How it kept its schedule, once it has ended.
    pub(crate) schedule: Option<Schedule>,
    thread: Option<JoinHandle<(CpuTime, Option<Schedule>)>>,
    /// Another handle to the TCP connection, to ask the kernel about it and to end it.
    tcp: Option<TcpStream>,
}

impl Mover {
    /// Starts the thread.
    ///
    /// # Errors
    /// For want of a thread or descriptor.
    pub(crate) fn start(
        carrier: Carrier,
        sends: bool,
        parameters: &Arc<Parameters>,
        budget: &Budget,
    ) -> Result<Mover, Error> {
        let tally = Arc::new(Tally::default());
        let (theirs, parameters, budget) = (Arc::clone(&tally), Arc::clone(parameters), budget.clone());
        let tcp = match &carrier {
            Carrier::Tcp(stream) => Some(stream.try_clone().map_err(local("duplicate a connection"))?),
            Carrier::Udp(_) => None,
        };
        let work = move || {
            let before = CpuTime::of_thread();
            let schedule = match (carrier, sends) {
                (Carrier::Tcp(stream), true) => Some(send(stream, &parameters, &theirs, &budget)),
                (Carrier::Tcp(stream), false) => {
                    receive(stream, &parameters, &theirs);
                    None
                }
                (Carrier::Udp(datagrams), true) => Some(udp::send(*datagrams, &parameters, &theirs, &budget)),
                (Carrier::Udp(datagrams), false) => {
                    udp::receive(*datagrams, &parameters, &theirs);
                    None
                }
            };
            theirs.set_done();
            budget.news.notify_one();
            (CpuTime::of_thread().since(before), schedule)
        };
        Mover::of(tally, sends, tcp, work)
    }

    /// One whose thread does `work`.
    fn of(
        tally: Arc<Tally>,
        sends: bool,
        tcp: Option<TcpStream>,
        work: impl FnOnce() -> (CpuTime, Option<Schedule>) + Send + 'static,
    ) -> Result<Mover, Error> {
        let thread = std::thread::Builder::new()
            .name("rping-stream".into())
            .spawn(work)
            .map_err(local("start a thread for a stream"))?;
        Ok(Mover {
            tally,
            sends,
            schedule: None,
            thread: Some(thread),
            tcp,
        })
    }

    /// What the kernel's TCP knows of it.
    pub(crate) fn tcp_info(&self) -> Option<rping_net::tcp::TcpInfo> {
        use std::os::fd::AsFd;
        rping_net::tcp::info(self.tcp.as_ref()?.as_fd())
    }

    /// The congestion control in use.
    pub(crate) fn congestion(&self) -> Option<String> {
        stream::congestion(self.tcp.as_ref()?)
    }

    /// Ends the thread and returns the processor time it used. Blocks for at most [`DRAIN`] and a little.
    pub(crate) fn end(&mut self) -> CpuTime {
        self.tally.stop();
        if self.sends {
            // Wakes a thread that is blocked in it.
            self.shut();
        }
        // A thread that panicked has told so on standard error; its processor time is lost.
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        self.shut();
        let Some((cpu, schedule)) = ended else {
            return CpuTime::default();
        };
        self.schedule = schedule;
        cpu
    }

    /// Tells the thread to end whatever is still to come, and does not wait for it.
    pub(crate) fn abandon(&self) {
        self.tally.abandon();
        self.shut();
    }

    fn shut(&self) {
        if let Some(tcp) = &self.tcp {
            let _ = tcp.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Mover {
    /// A test that failed may be dropped on an event loop: its threads are told to end, within [`LOOK`], and nobody waits for
    /// them.
    fn drop(&mut self) {
        self.abandon();
    }
}

fn local(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Local { what, source }
}

/// When a sender's bytes are due, and how well it kept to that. The instants are absolute: lateness does not add up.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Timestamp,
    bits_per_second: u64,
    /// By how much each message left after it was due, nanoseconds; empty where nothing paces it.
    pub(crate) lateness: Histogram,
    pub(crate) latest: u64,
    /// By how much the schedule was moved, because this host (or a full network) held the sender up for longer than
    /// is caught up.
    pub(crate) skipped: Duration,
}

/// What was missed by no more than this is caught up; what is beyond is left out: nothing goes in one long burst.
const CATCH_UP: Duration = Duration::from_millis(100);

impl Schedule {
    /// `bits_per_second` from `start` on; 0: nothing is ever due at an instant of its own.
    pub(crate) fn new(bits_per_second: u64, start: Timestamp) -> Schedule {
        Schedule {
            start,
            bits_per_second,
            lateness: Histogram::new(),
            latest: 0,
            skipped: Duration::ZERO,
        }
    }

    /// When the message after `bytes` is due; `None` when nothing paces it.
    pub(crate) fn due(&self, bytes: u64) -> Option<Timestamp> {
        let bits = u128::from(bytes) * 8 * 1_000_000_000;
        let nanos = bits.checked_div(u128::from(self.bits_per_second))?;
        Some(
            self.start
                .plus(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))),
        )
    }

    /// The message after `bytes` leaves now.
    pub(crate) fn left(&mut self, bytes: u64, now: Timestamp) {
        if let Some(due) = self.due(bytes) {
            let late = now.nanos_since(due);
            self.lateness.record(late);
            self.latest = self.latest.max(late);
        }
    }

    /// Moves the schedule where the message after `bytes` is too late to be caught up.
    pub(crate) fn catch_up(&mut self, bytes: u64, now: Timestamp) {
        let late = self.due(bytes).map_or(Duration::ZERO, |due| now.since(due));
        if late > CATCH_UP {
            self.start = self.start.plus(late);
            self.skipped = self.skipped.saturating_add(late);
        }
    }

    /// Both senders' together; of the times skipped the longer.
    #[must_use]
    pub(crate) fn plus(mut self, other: Schedule) -> Schedule {
        self.lateness.merge(&other.lateness);
        self.latest = self.latest.max(other.latest);
        self.skipped = self.skipped.max(other.skipped);
        self
    }
}

/// Bytes handed to the kernel in one call where nothing paces them, taken from it in one, and by which a sleeping
/// reader is woken. Measured together on two cores: 40 Gbit/s on loopback and 35 over a veth pair, against 29 and 21
/// with 128k and a wake-up for every segment.
const WRITE: usize = 512 << 10;
const READ: usize = 512 << 10;
const WAKE: usize = 256 << 10;

/// What is sent, at most [`LENGTH_MOST`] bytes of it: one copy for all streams, so that several have no more to read
/// than one and it stays in the processor's cache.
fn payload(bytes: usize) -> &'static [u8] {
    static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
    let all = PAYLOAD.get_or_init(|| vec![0x5a; LENGTH_MOST]);
    all.get(..bytes).unwrap_or(all)
}

/// A paced sender writes about this long's worth at once, so that a long message is no burst.
const PIECE: Duration = Duration::from_millis(1);
/// And no less than that, unless the message is shorter.
const PIECE_LEAST: usize = 1448;

fn send(mut stream: TcpStream, parameters: &Parameters, tally: &Tally, budget: &Budget) -> Schedule {
    let mut schedule = Schedule::new(parameters.bandwidth, Clock.now());
    if stream.set_write_timeout(Some(LOOK)).is_err() {
        return schedule;
    }
    let (length, bits) = (parameters.length, parameters.bandwidth);
    let (most, piece) = match bits {
        0 => ((WRITE / length).max(1), usize::MAX),
        _ => {
            let worth = u128::from(bits) * PIECE.as_nanos() / 8_000_000_000;
            let worth = usize::try_from(worth).unwrap_or(usize::MAX);
            (1, worth.max(PIECE_LEAST).min(length))
        }
    };
    let messages = payload(most * length);
    let mut figures = Figures::default();
    let mut waiter = Waiter::new(Pacing::choose(bits as f64 / 8.0 / piece.min(length) as f64));
    'messages: while !tally.is_stopped() {
        let count = (0..most).take_while(|_| budget.take(length)).count();
        if count == 0 {
            break;
        }
        let mut rest = &messages[..count * length];
        while !rest.is_empty() {
            if bits > 0 && !wait_for(&mut schedule, figures.bytes, &mut waiter, tally) {
                break 'messages;
            }
            let mut part = &rest[..rest.len().min(piece)];
            while !part.is_empty() {
                match stream.write(part) {
                    Ok(0) => break 'messages,
                    Ok(count) => {
                        (part, rest) = (&part[count..], &rest[count..]);
                        figures.bytes += count as u64;
                        tally.write(&figures, Clock.now());
                    }
                    Err(error) if is_patience(&error) => {
                        if tally.is_stopped() {
                            break 'messages;
                        }
                    }
                    Err(_) => break 'messages,
                }
            }
        }
    }
    schedule
}

/// Waits until the bytes after these are due; `false` when the sender is to end meanwhile.
fn wait_for(schedule: &mut Schedule, bytes: u64, waiter: &mut Waiter, tally: &Tally) -> bool {
    loop {
        let now = Clock.now();
        match schedule.due(bytes) {
            Some(due) if due > now => {
                if tally.is_stopped() {
                    return false;
                }
                waiter.wait(&[], due.min(now.plus(LOOK)));
            }
            _ => {
                schedule.catch_up(bytes, now);
                schedule.left(bytes, now);
                return true;
            }
        }
    }
}

fn receive(mut stream: TcpStream, parameters: &Parameters, tally: &Tally) {
    if stream.set_read_timeout(Some(LOOK)).is_err() {
        return;
    }
    debug_assert_eq!(parameters.protocol, Protocol::Tcp);
    let mut room = vec![0; READ];
    if parameters.bandwidth == 0 {
        stream::wake_at(&stream, WAKE);
    }
    let mut figures = Figures::default();
    let mut stopped_at: Option<Timestamp> = None;
    while !tally.is_abandoned() {
        let got = if parameters.skip_receive_copy {
            stream::discard(&stream, room.len())
        } else {
            stream.read(&mut room)
        };
        match got {
            Ok(0) => return,
            Ok(count) => {
                let now = Clock.now();
                figures.bytes += count as u64;
                tally.write(&figures, now);
                if tally.is_stopped() && now.since(*stopped_at.get_or_insert(now)) > DRAIN {
                    return;
                }
            }
            Err(error) if is_patience(&error) => {
                if tally.is_stopped() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Nothing happened for [`LOOK`], or a signal came by.
fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_absolute_and_survives_every_extreme() {
        let start = Timestamp::from_nanos(5);
        let of = |bits| Schedule::new(bits, start);
        assert_eq!(of(1000).due(125), Some(Timestamp::from_nanos(1_000_000_005)));
        assert_eq!(of(0).due(1), None);
        assert!(of(1).due(u64::MAX).is_some());
    }

    /// One that ends when it is let go, or after a minute, when nobody hears that it is let go.
    pub(crate) fn stuck() -> (Mover, std::sync::mpsc::Sender<()>) {
        let (let_go, held) = std::sync::mpsc::channel();
        let work = move || {
            let _ = held.recv_timeout(Duration::from_secs(60));
            (CpuTime::default(), None)
        };
        (Mover::of(Arc::default(), false, None, work).unwrap(), let_go)
    }

    #[test]
    fn a_mover_that_is_dropped_is_told_to_end_and_not_waited_for() {
        let (mover, let_go) = stuck();
        let tally = Arc::clone(&mover.tally);
        drop(mover);
        assert!(tally.is_abandoned() && tally.is_stopped());
        let_go.send(()).unwrap();
    }

    #[test]
    fn a_short_stall_is_caught_up_and_a_long_one_is_left_out() {
        let mut schedule = Schedule::new(8_000, Timestamp::ZERO);
        let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
        schedule.catch_up(1, at(51));
        assert_eq!(schedule.due(1), Some(at(1)));
        schedule.left(1, at(51));
        schedule.catch_up(2, at(502));
        assert_eq!(schedule.due(2), Some(at(502)));
        assert_eq!(schedule.skipped, Duration::from_millis(500));
        assert_eq!((schedule.lateness.len(), schedule.latest), (1, 50_000_000));
    }
}
