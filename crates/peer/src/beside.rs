//! Latency beside a load: a paced STAMP session (RFC 8762) that runs while a throughput test does, so that what the load
//! does to round trips, and in which direction, shows.
//!
//! Round trips come from this end's own table of what it sent. One-way delays take the reflector's time stamps and an
//! offset between the two clocks that is estimated from the quickest of the idle round trips' halves: it makes the idle
//! path symmetric by definition, and is exact about what a load adds to each direction.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rping_engine::{Left, Timestamp};
use rping_net::{
    receive_from_any, Clock, Datagram, Incoming, Options, Pacing, Packet, StampKeeper, Waiter, Waker,
};
use rping_stats::{Histogram, Moments};
use rping_wire::stamp::{ErrorEstimate, NtpTimestamp, ReflectorPacket, SenderPacket, BASE_LEN};

use crate::Error;

/// An answer that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long answers that are under way are waited for at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Slots missed by more than this are left out.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The most idle samples that are kept until the offset is known.
const IDLE_MOST: usize = 100_000;

/// What goes on beside the probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Nothing yet.
    Idle = 0,
    /// The load begins or ends: probes count for nothing.
    Between = 1,
    /// The load runs.
    Loaded = 2,
    /// The end: no more probes.
    Over = 3,
}

/// The round trips of one phase, or one direction of them: nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    /// Smallest, largest, mean, count.
    pub moments: Moments,
    /// Quantiles.
    pub histogram: Histogram,
}

impl Delays {
    fn record(&mut self, ns: u64) {
        self.moments.record(ns);
        self.histogram.record(ns);
    }
}

/// What one phase came to.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub received: u64,
    /// Round trips by this end's stamps, the reflector's residence included.
    pub round_trip: Delays,
    /// From here to there, by the estimated offset; empty where the reflector's stamps are of no use.
    pub forward: Delays,
    /// From there to here.
    pub reverse: Delays,
}

impl Latency {
    /// Round trips that one after the other make a minute: 60 s by the mean one.
    pub fn round_trips_per_minute(&self) -> Option<f64> {
        self.round_trip
            .moments
            .mean()
            .filter(|&mean| mean > 0.0)
            .map(|mean| 60e9 / mean)
    }
}

/// What the probes found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Who was asked.
    pub reflector: SocketAddr,
    /// The time between two probes.
    pub interval: Duration,
    /// Before the load.
    pub idle: Latency,
    /// Under it.
    pub loaded: Latency,
}

/// A probe that is under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    timestamp: u64,
    sent_at: Timestamp,
    phase: Phase,
    answered: bool,
}

/// A session that runs in a thread of its own.
#[derive(Debug)]
pub struct Beside {
    phase: Arc<AtomicU8>,
    waker: Waker,
    thread: JoinHandle<Findings>,
}

impl Beside {
    /// Starts to probe `reflector`, once each `interval`; the phase is [`Phase::Idle`].
    ///
    /// # Errors
    /// When the socket or the thread cannot be had.
    pub fn start(reflector: SocketAddr, options: &Options, interval: Duration) -> Result<Beside, Error> {
        let keeper = StampKeeper::start()?;
        let options = Options {
            transmit_stamps: true,
            ..options.clone()
        };
        let socket = Datagram::udp(reflector.is_ipv6(), Some(reflector), &options)?;
        let waker = Waker::new()?;
        let phase = Arc::new(AtomicU8::new(Phase::Idle as u8));
        let waiter = Waiter::new(Pacing::Precise).with_waker(waker.clone());
        let session = Session {
            socket,
            _keeper: keeper,
            flights: VecDeque::new(),
            first: 0,
            ssid: ssid(),
            estimate: ErrorEstimate::new(false, 1_000),
            wall: Clock.wall_nanos(Timestamp::ZERO),
            raw: Vec::new(),
            offset: None,
            found: Findings {
                reflector,
                interval,
                idle: Latency::default(),
                loaded: Latency::default(),
            },
        };
        let theirs = Arc::clone(&phase);
        let thread = std::thread::Builder::new()
            .name("rping-beside".into())
            .spawn(move || session.run(waiter, &theirs))
            .map_err(rping_net::Error::os("start a thread"))?;
        Ok(Beside { phase, waker, thread })
    }

    /// From now on probes belong to this phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Over {
            self.waker.wake();
        }
    }

    /// Ends it; `None` where the thread failed, and told so on standard error.
    pub fn finish(self) -> Option<Findings> {
        self.enter(Phase::Over);
        self.thread.join().ok()
    }
}

fn ssid() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0u8) as u16).max(1)
}

struct Session {
    socket: Datagram,
    _keeper: StampKeeper,
    /// Those under way, oldest first; the first one's number beside them.
    flights: VecDeque<Flight>,
    first: u64,
    ssid: u16,
    estimate: ErrorEstimate,
    /// Wall clock less monotonic clock when it began: what the reflector's stamps are compared with.
    wall: i128,
    /// Idle one-way times as they came, until the offset is known.
    raw: Vec<(i128, i128)>,
    offset: Option<i128>,
    found: Findings,
}

impl Session {
    fn run(mut self, mut waiter: Waiter, phase: &AtomicU8) -> Findings {
        let mut due = Clock.now();
        let mut over = None;
        loop {
            let now = Clock.now();
            let phase = of(phase.load(Ordering::Acquire));
            if phase != Phase::Idle && self.offset.is_none() {
                self.settle_offset();
            }
            match over {
                None if phase == Phase::Over => over = Some(now.plus(FAREWELL)),
                None => {}
                Some(end) if now >= end || self.flights.iter().all(|flight| flight.answered) => break,
                Some(_) => {}
            }
            self.expire(now);
            if over.is_none() && now >= due {
                if now.since(due) > CATCH_UP {
                    due = now;
                }
                self.send(phase);
                due = due.plus(self.found.interval);
            }
            let until = over.unwrap_or(due);
            let mut heard = Vec::new();
            let got = receive_from_any(
                std::slice::from_mut(&mut self.socket),
                &mut waiter,
                until,
                |_, incoming| match incoming {
                    Incoming::Left { tag, at } => heard.push(Heard::Left(tag, at.at)),
                    Incoming::Packet(received) => {
                        if let Ok(answer) = ReflectorPacket::parse(received.payload) {
                            heard.push(Heard::Answer(answer, received.at.at));
                        }
                    }
                    Incoming::Error { .. } => {}
                },
            );
            heard.iter().for_each(|heard| self.hear(heard));
            if got.is_err() {
                break;
            }
        }
        self.found
    }

    fn send(&mut self, phase: Phase) {
        let seq = self.first + self.flights.len() as u64;
        let now = Clock.now();
        let unix = u64::try_from(self.wall + i128::from(now.as_nanos())).unwrap_or(0);
        let packet = SenderPacket {
            seq: seq as u32,
            timestamp: NtpTimestamp::from_unix_nanos(unix).0,
            error_estimate: self.estimate,
            ssid: self.ssid,
        };
        let mut bytes = [0; BASE_LEN];
        // It has room.
        let _ = packet.write(&mut bytes);
        let all = Packet {
            bytes: 0..BASE_LEN,
            to: None,
            from: None,
            tag: seq,
        };
        let mut sent_at = None;
        self.socket.send(&bytes, &[all], |_, left| {
            if let Left::At(stamp) = left {
                sent_at = Some(stamp.at);
            }
        });
        // What this host did not take was never sent, and its number is free.
        if let Some(sent_at) = sent_at {
            self.flights.push_back(Flight {
                timestamp: packet.timestamp,
                sent_at,
                phase,
                answered: false,
            });
            if let Some(latency) = self.of(phase) {
                latency.sent += 1;
            }
        }
    }

    fn of(&mut self, phase: Phase) -> Option<&mut Latency> {
        match phase {
            Phase::Idle => Some(&mut self.found.idle),
            Phase::Loaded => Some(&mut self.found.loaded),
            Phase::Between | Phase::Over => None,
        }
    }

    /// Forgets those whose time is up.
    fn expire(&mut self, now: Timestamp) {
        while let Some(flight) = self.flights.front() {
            if !flight.answered && now.since(flight.sent_at) <= TIMEOUT {
                return;
            }
            self.flights.pop_front();
            self.first += 1;
        }
    }

    fn flight(&mut self, seq: u64) -> Option<&mut Flight> {
        let place = seq.checked_sub(self.first)?;
        self.flights.get_mut(usize::try_from(place).ok()?)
    }

    fn hear(&mut self, heard: &Heard) {
        let (answer, at) = match heard {
            Heard::Left(tag, at) => {
                if let Some(flight) = self.flight(*tag) {
                    flight.sent_at = *at;
                }
                return;
            }
            Heard::Answer(answer, at) => (answer, *at),
        };
        // The low bits of its number; those under way are few.
        let behind = answer.sender_seq.wrapping_sub(self.first as u32);
        let seq = self.first + u64::from(behind);
        let (ssid, estimate) = (self.ssid, self.estimate);
        let Some(flight) = self.flight(seq) else { return };
        let is_ours = answer.sender_timestamp == flight.timestamp
            && (answer.ssid == ssid || answer.ssid == 0)
            && answer.sender_error_estimate == estimate;
        if !is_ours || std::mem::replace(&mut flight.answered, true) {
            return;
        }
        let flight = *flight;
        let Some(latency) = self.of(flight.phase) else {
            return;
        };
        latency.received += 1;
        latency.round_trip.record(at.nanos_since(flight.sent_at));
        let (Some(there), Some(back)) = (answer.received_unix_nanos(), answer.sent_unix_nanos()) else {
            return;
        };
        let here = |at: Timestamp| self.wall + i128::from(at.as_nanos());
        let forward = i128::from(there) - here(flight.sent_at);
        let reverse = here(at) - i128::from(back);
        match self.offset {
            None if self.raw.len() < IDLE_MOST => self.raw.push((forward, reverse)),
            _ => self.one_way(flight.phase, forward, reverse),
        }
    }

    /// The idle phase is over: what it found says how far the clocks are apart.
    fn settle_offset(&mut self) {
        let least = |part: fn(&(i128, i128)) -> i128, raw: &[(i128, i128)]| raw.iter().map(part).min();
        let forward = least(|raw| raw.0, &self.raw);
        let reverse = least(|raw| raw.1, &self.raw);
        let Some((forward, reverse)) = forward.zip(reverse) else {
            return;
        };
        self.offset = Some((forward - reverse) / 2);
        for (forward, reverse) in std::mem::take(&mut self.raw) {
            self.one_way(Phase::Idle, forward, reverse);
        }
    }

    fn one_way(&mut self, phase: Phase, forward: i128, reverse: i128) {
        let Some(offset) = self.offset else { return };
        let Some(latency) = self.of(phase) else { return };
        let whole = |ns: i128| u64::try_from(ns).unwrap_or(0);
        latency.forward.record(whole(forward - offset));
        latency.reverse.record(whole(reverse + offset));
    }
}

enum Heard {
    Left(u64, Timestamp),
    Answer(ReflectorPacket, Timestamp),
}

fn of(phase: u8) -> Phase {
    match phase {
        0 => Phase::Idle,
        1 => Phase::Between,
        2 => Phase::Loaded,
        _ => Phase::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reflector;

    #[test]
    fn probes_are_counted_under_the_phase_in_which_they_were_sent() {
        let mut reflector = Reflector::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (handle, at) = (reflector.handle(), reflector.local_addr().unwrap());
        let serving = std::thread::spawn(move || reflector.run().unwrap());
        let beside = Beside::start(at, &Options::default(), Duration::from_millis(2)).unwrap();
        for phase in [Phase::Idle, Phase::Between, Phase::Loaded] {
            beside.enter(phase);
            rping_net::wait::sleep(Duration::from_millis(100));
        }
        let found = beside.finish().unwrap();
        handle.stop();
        serving.join().unwrap();
        for latency in [&found.idle, &found.loaded] {
            assert!(latency.sent > 3, "{latency:?}");
            assert_eq!(latency.received, latency.sent);
            let counts = [&latency.round_trip, &latency.forward, &latency.reverse].map(|d| d.moments.count());
            assert_eq!(counts, [latency.received; 3]);
            assert!(latency.round_trips_per_minute().unwrap() > 60.0);
        }
        // One clock at both ends: the halves of a round trip are no longer than it.
        let most = |delays: &Delays| delays.moments.max().unwrap();
        assert!(most(&found.idle.forward) <= most(&found.idle.round_trip) + 1_000_000);
    }

    #[test]
    fn silence_is_loss() {
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = nobody.local_addr().unwrap();
        let beside = Beside::start(at, &Options::default(), Duration::from_millis(5)).unwrap();
        rping_net::wait::sleep(Duration::from_millis(40));
        beside.enter(Phase::Loaded);
        rping_net::wait::sleep(Duration::from_millis(40));
        let found = beside.finish().unwrap();
        assert!(found.idle.sent > 0 && found.loaded.sent > 0);
        assert_eq!((found.idle.received, found.loaded.received), (0, 0));
        assert_eq!(found.loaded.round_trips_per_minute(), None);
    }
}
