//! Latency beside a load: a paced STAMP session (RFC 8762) that runs while a throughput test does, so that what the load
//! does to round trips, and in which direction, shows.
//!
//! Round trips come from this end's own table of what it sent. One-way delays take the reflector's time stamps and an
//! offset between the two clocks that is estimated afresh four times a second, see `clocks`; by how much it may be off is told
//! with them.

mod clocks;

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
use rping_wire::stamp::auth::AUTH_LEN;
use rping_wire::stamp::{ErrorEstimate, NtpTimestamp, ReflectorPacket, SenderPacket, BASE_LEN};

use self::clocks::{Clocks, Raw, WINDOW_NS};
use crate::{Error, Key};

/// An answer that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long answers that are under way are waited for at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Slots missed by more than this are left out.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The most samples that are kept until the offset of their stretch of time is known.
const SAMPLES_MOST: usize = 100_000;

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
    /// By how much those two may be off at most, nanoseconds, the one as much more as the other less: half of the shortest round
    /// trip, which may all lie on one way, and what the clocks may have drifted apart unseen. `None` without them.
    pub clock_error: Option<u64>,
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
    /// Starts to probe `reflector`, once each `interval`, in authenticated mode where there is a key; the phase is [`Phase::Idle`].
    ///
    /// # Errors
    /// When the socket or the thread cannot be had.
    pub fn start(
        reflector: SocketAddr,
        options: &Options,
        interval: Duration,
        key: Option<Key>,
    ) -> Result<Beside, Error> {
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
            key,
            raw: Vec::new(),
            raw_of: Phase::Idle,
            raw_since: Clock.now(),
            clocks: Clocks::default(),
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
    key: Option<Key>,
    /// One-way times of one phase as they came, since then.
    raw: Vec<Raw>,
    raw_of: Phase,
    raw_since: Timestamp,
    clocks: Clocks,
    found: Findings,
}

impl Session {
    fn run(mut self, mut waiter: Waiter, phase: &AtomicU8) -> Findings {
        let key = self.key.clone();
        let mut due = Clock.now();
        let mut over = None;
        loop {
            let now = Clock.now();
            let phase = of(phase.load(Ordering::Acquire));
            if now.nanos_since(self.raw_since) >= WINDOW_NS {
                self.one_way(now);
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
                        let answer = match &key {
                            Some(key) => ReflectorPacket::open(key, received.payload),
                            None => ReflectorPacket::parse(received.payload),
                        };
                        if let Ok(answer) = answer {
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
        self.one_way(Clock.now());
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
        let mut bytes = [0; AUTH_LEN];
        // Either has room.
        let length = match &self.key {
            Some(key) => packet.write_sealed(key, &mut bytes).map(|()| AUTH_LEN),
            None => packet.write(&mut bytes[..BASE_LEN]).map(|()| BASE_LEN),
        };
        let all = Packet {
            bytes: 0..length.unwrap_or(BASE_LEN),
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
        if flight.phase != self.raw_of {
            self.one_way(Clock.now());
            self.raw_of = flight.phase;
        }
        if self.raw.len() < SAMPLES_MOST {
            self.raw.push(Raw { forward, reverse });
        }
    }

    /// A stretch of time is over: what it brought, and what was known before, say how far the clocks are apart.
    fn one_way(&mut self, now: Timestamp) {
        self.raw_since = now;
        let raw = std::mem::take(&mut self.raw);
        let seconds = now.as_nanos() as f64 / 1e9;
        let estimate = self.clocks.estimate(&raw, seconds, self.raw_of == Phase::Idle);
        let (Some(estimate), Some(latency)) = (estimate, self.of(self.raw_of)) else {
            return;
        };
        let whole = |ns: i128| u64::try_from(ns).unwrap_or(0);
        for Raw { forward, reverse } in raw {
            latency.forward.record(whole(forward - estimate.offset));
            latency.reverse.record(whole(reverse + estimate.offset));
            latency.clock_error = latency.clock_error.max(Some(estimate.error));
        }
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
    use crate::{Limits, Reflector, Service};

    fn probes(service: Service, key: Option<Key>) {
        let at = "127.0.0.1:0".parse().unwrap();
        let mut reflector = Reflector::open(at, service, &Limits::default()).unwrap();
        let (handle, at) = (reflector.handle(), reflector.local_addr().unwrap());
        let serving = std::thread::spawn(move || reflector.run().unwrap());
        let beside = Beside::start(at, &Options::default(), Duration::from_millis(2), key).unwrap();
        for phase in [Phase::Idle, Phase::Between, Phase::Loaded] {
            beside.enter(phase);
            let before = handle.answered();
            // At most one of these was on its way before.
            while handle.answered() < before + 5 {
                rping_net::wait::sleep(Duration::from_millis(1));
            }
        }
        let found = beside.finish().unwrap();
        handle.stop();
        serving.join().unwrap();
        for latency in [&found.idle, &found.loaded] {
            assert!(
                latency.received >= 3 && latency.received <= latency.sent,
                "{latency:?}"
            );
            let counts = [&latency.round_trip, &latency.forward, &latency.reverse].map(|d| d.moments.count());
            assert_eq!(counts, [latency.received; 3]);
            assert!(latency.round_trips_per_minute().is_some() && latency.clock_error.is_some());
        }
    }

    #[test]
    fn probes_are_counted_under_the_phase_in_which_they_were_sent() {
        probes(Service::Stamp, None);
    }

    #[test]
    fn a_reflector_with_a_key_is_asked_with_it() {
        let key = Key::new(b"sixteen octets!!").unwrap();
        probes(Service::Sealed(key.clone()), Some(key));
    }

    #[test]
    fn silence_is_loss() {
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = nobody.local_addr().unwrap();
        let beside = Beside::start(at, &Options::default(), Duration::from_millis(5), None).unwrap();
        // Each is there before its phase is over.
        let heard = || {
            for _ in 0..3 {
                nobody.recv(&mut [0; 64]).unwrap();
            }
        };
        heard();
        beside.enter(Phase::Loaded);
        heard();
        let found = beside.finish().unwrap();
        assert!(found.idle.sent > 0 && found.loaded.sent > 0);
        assert_eq!((found.idle.received, found.loaded.received), (0, 0));
        assert_eq!(found.loaded.round_trips_per_minute(), None);
    }
}
