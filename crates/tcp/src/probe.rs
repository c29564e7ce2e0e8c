//! The probe itself: connects started in batches, watched together, settled one by one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::AsFd;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, Reason, Refusal, SeqRef,
    Sequence, Silence, Stamp, StampSource, TargetId, Timestamp, BATCH,
};
use rping_net::tcp::{Connection, Ready, Watch};
use rping_net::{caps, iface, Clock, Waiter, Woken};

use crate::blame::{self, Failure, LocalDrops, RouteAsk};
use crate::gate::{Gate, HostId, FEW};
use crate::{Error, Options};

/// How many settled connects one look at the watch takes, and how many looks one receive pass takes.
const LOOK: usize = 256;
const LOOKS: usize = 4;
/// Descriptors that are left to the rest of the program.
const SPARE: usize = 64;

/// TCP connect as a probe kind, for many targets at once.
#[derive(Debug)]
pub struct TcpProbe {
    targets: Vec<(SocketAddr, HostId)>,
    options: Options,
    watch: Watch,
    waiter: Waiter,
    clock: Clock,
    max_in_flight: usize,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    places: HashMap<(TargetId, Sequence), u32>,
    ready: Vec<Ready>,
    /// What was settled before its connect call returned, to be handed over with the next look.
    early: Vec<(Timestamp, Arrival)>,
    /// What one look found, each with when it is reckoned to have come.
    found: Vec<(Timestamp, Arrival)>,
    gate: Gate,
    instant: blame::Instant,
    local: LocalDrops,
    first_left: Option<Timestamp>,
}

/// A connect under way. One whose error settled nothing is no longer watched.
#[derive(Debug)]
struct Flight {
    connection: Connection,
    target: TargetId,
    seq: Sequence,
    at: Timestamp,
}

impl TcpProbe {
    /// Makes ready to probe these targets. The `waiter` says how waiting is done, and by whom it is ended early.
    ///
    /// Raises the soft limit of open descriptors to the hard one: each connect under way holds one.
    ///
    /// # Errors
    /// When the options cannot be applied: no such interface, a source address that is not this host's or is of
    /// another family, no right to set a mark.
    pub fn open(targets: &[SocketAddr], options: Options, waiter: Waiter) -> Result<TcpProbe, Error> {
        for v6 in [false, true] {
            if targets.iter().any(|target| target.is_ipv6() == v6) {
                options.connect.check(v6)?;
            }
        }
        let limit = caps::raise_nofile().map_or(1024, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let affordable = limit.saturating_sub(SPARE).clamp(1, Options::MOST_IN_FLIGHT);
        let (gate, hosts) = if targets.len() > FEW {
            let interfaces =
                iface::interfaces().map_err(rping_net::Error::os("list the network interfaces"))?;
            Gate::new(targets, &interfaces)
        } else {
            (Gate::default(), vec![None; targets.len()])
        };
        Ok(TcpProbe {
            targets: targets.iter().copied().zip(hosts).collect(),
            max_in_flight: options.max_in_flight.unwrap_or(affordable).max(1),
            options,
            watch: Watch::new(LOOK)?,
            waiter,
            clock: Clock,
            flights: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            ready: Vec::with_capacity(LOOK),
            early: Vec::with_capacity(BATCH),
            found: Vec::with_capacity(BATCH),
            gate,
            instant: blame::Instant::default(),
            local: LocalDrops::default(),
            first_left: None,
        })
    }

    /// How many connects are under way.
    pub fn in_flight(&self) -> usize {
        self.places.len()
    }

    /// How the time until the next send is spent, for the run's report.
    pub fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    fn start(&mut self, due: &Outgoing) -> Left {
        let Some(&(to, host)) = self.targets.get(due.target.index()) else {
            return Left::NotSent(Refusal::of(Reason::Other));
        };
        if self.places.len() >= self.max_in_flight || !self.gate.may_start(host, self.clock.now()) {
            return Left::Held;
        }
        let connection = match Connection::open(to.is_ipv6(), &self.options.connect) {
            Ok(connection) => connection,
            Err(error) => return self.refused(error.raw_os_error().unwrap_or(0), to, self.clock.now()),
        };
        let at = self.clock.now_from(due.due);
        if let Err(error) = connection.connect(to) {
            return self.refused(error.raw_os_error().unwrap_or(0), to, at);
        }
        if !self.gate.started(host, at) {
            return Left::Held;
        }
        let place = self.free.pop().unwrap_or(self.flights.len() as u32);
        // On a short path the answer is there when the call returns, and to watch for it costs more than to ask.
        let error = connection.take_error().ok().flatten();
        let is_done = error.is_some() || connection.info().is_some_and(|info| info.established);
        let ready = is_done.then_some(Ready {
            key: place.into(),
            failed: error.is_some(),
        });
        if ready.is_none() && self.watch.add(&connection, u64::from(place)).is_err() {
            // The host's limit of watches. Nobody would learn of the outcome.
            self.gate.settled(host, false);
            self.recycle(place);
            return Left::Deferred;
        }
        let flight = Some(Flight {
            connection,
            target: due.target,
            seq: due.seq,
            at,
        });
        match self.flights.get_mut(place as usize) {
            Some(slot) => *slot = flight,
            None => self.flights.push(flight),
        }
        self.places.insert((due.target, due.seq), place);
        self.first_left.get_or_insert(at);
        if let Some(ready) = ready {
            let now = self.clock.now();
            let arrival = self.settle(ready, error, now);
            self.early.extend(arrival);
        }
        Left::At(Stamp::user(at))
    }

    /// What an instant error means for the probe.
    fn refused(&mut self, errno: i32, to: SocketAddr, now: Timestamp) -> Left {
        match errno {
            // Room comes back as connects under way are settled; with none under way it never would.
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN
                if !self.places.is_empty() =>
            {
                Left::Deferred
            }
            libc::EADDRINUSE => Left::NotSent(Refusal::of(Reason::NoLocalPort).errno(errno)),
            _ => {
                let ask = route_ask(&self.options);
                Left::NotSent(self.instant.refusal(errno, to.ip(), &ask, now))
            }
        }
    }

    /// Places are used again lowest-first, more or less, so that the table stays as small as the crowd.
    fn recycle(&mut self, place: u32) {
        if (place as usize) < self.flights.len() {
            self.free.push(place);
        }
    }

    fn take(&mut self, place: u32) -> Option<Flight> {
        let flight = self.flights.get_mut(place as usize)?.take()?;
        self.places.remove(&(flight.target, flight.seq));
        self.recycle(place);
        Some(flight)
    }

    /// Settles a connect, and says when its answer is reckoned to have come.
    fn settle(&mut self, ready: Ready, error: Option<i32>, now: Timestamp) -> Option<(Timestamp, Arrival)> {
        let place = u32::try_from(ready.key).ok()?;
        let flight = self.flights.get(place as usize)?.as_ref()?;
        let (to, host) = *self.targets.get(flight.target.index())?;
        let (target, seq) = (flight.target, SeqRef::Full(flight.seq));
        let failure = if ready.failed {
            blame::of_failed(&flight.connection, to, &route_ask(&self.options), error)
        } else {
            Failure::Established
        };
        let (at, event, met) = match failure {
            Failure::Established => {
                let (at, mut answer) = answered(&flight.connection, seq, to, now);
                if self.options.tell_local_port {
                    let local = flight.connection.local_address();
                    answer.local_port = local.and_then(|local| NonZeroU16::new(local.port()));
                }
                (at, Event::Reply(answer), true)
            }
            Failure::Rejected(refusal) => (Stamp::user(now), Event::Rejected(seq, refusal), true),
            Failure::NotSent(refusal) => (Stamp::user(now), Event::NotSent(seq, refusal), false),
            Failure::Nothing => {
                // Level-triggered: what it has to say was heard, and it would say it for ever.
                let _ = self.watch.remove(&flight.connection);
                return None;
            }
        };
        self.gate.settled(host, met);
        let settled = self.take(place);
        let mut came = now;
        if let (Event::Reply(answer), Some(settled)) = (event, settled) {
            came = answer.rtt.map_or(now, |rtt| settled.at.plus(rtt).min(now));
            settled.connection.end(&self.options.connect);
        }
        Some((came, Arrival { target, at, event }))
    }

    /// The retransmissions of all connects under way.
    fn retransmissions(&self) -> u64 {
        self.flights
            .iter()
            .flatten()
            .filter_map(|flight| flight.connection.info())
            .map(|info| u64::from(info.retransmits))
            .sum()
    }

    /// Waits as told, but not past the instant at which the counter of failed retransmissions must be read.
    fn wait(&mut self, until: Timestamp) {
        if let (true, Some(first)) = (self.local.wants_baseline(), self.first_left) {
            let read_at = first.plus(blame::BASELINE_AFTER);
            let woken = self.waiter.wait(&[self.watch.as_fd()], until.min(read_at));
            let now = self.clock.now();
            if now >= read_at {
                self.local.take_baseline();
            }
            if woken != Woken::Due || now >= until {
                return;
            }
        }
        self.waiter.wait(&[self.watch.as_fd()], until);
    }

    /// Takes what the kernel has to tell.
    fn look(&mut self, found: &mut Vec<(Timestamp, Arrival)>) -> Result<Drained, Error> {
        for _ in 0..LOOKS {
            let mut ready = std::mem::take(&mut self.ready);
            ready.clear();
            let count = self
                .watch
                .ready(&mut ready)
                .map_err(rping_net::Error::os("look at the connects"))?;
            let now = self.clock.now();
            found.extend(ready.iter().filter_map(|ready| self.settle(*ready, None, now)));
            self.ready = ready;
            if count < self.watch.batch() {
                return Ok(Drained::All);
            }
        }
        Ok(Drained::More)
    }
}

/// The answer of a connection whose handshake was done.
fn answered(connection: &Connection, seq: SeqRef, to: SocketAddr, now: Timestamp) -> (Stamp, Answer) {
    let mut answer = Answer::new(seq, Origin::Ip(to.ip()));
    let mut at = Stamp::user(now);
    if let Some(info) = connection.info() {
        answer.syn_retransmits = u8::try_from(info.retransmits).unwrap_or(u8::MAX);
        // With a SYN sent again nobody knows which one was answered (Karn's algorithm, RFC 6298 section 3).
        if let (0, Some(rtt)) = (info.retransmits, info.rtt) {
            answer.rtt = Some(rtt);
            at.source = StampSource::TcpInfo;
        }
    }
    (at, answer)
}

fn route_ask(options: &Options) -> RouteAsk<'_> {
    RouteAsk {
        source: options.connect.source.map(|source| source.ip()),
        interface: options.connect.interface.as_deref(),
        mark: options.connect.mark,
    }
}

impl Probe for TcpProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        for outgoing in due {
            let departed = self.start(outgoing);
            left.push(Departure {
                target: outgoing.target,
                seq: outgoing.seq,
                left: departed,
            });
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let mut found = std::mem::take(&mut self.found);
        found.append(&mut self.early);
        if found.is_empty() {
            self.wait(until);
        }
        let drained = match self.places.is_empty() {
            true => Ok(Drained::More),
            false => self.look(&mut found),
        };
        // What was there when the call returned came after what the kernel still had to tell: nobody overtook anybody.
        found.sort_by_key(|(came, _)| *came);
        arrived.extend(found.drain(..).map(|(_, arrival)| arrival));
        self.found = found;
        drained
    }

    fn holds(&self) -> bool {
        self.waiter.may_hold()
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, _stamped: bool) -> Silence {
        let Some(&place) = self.places.get(&(target, seq)) else {
            return Silence::Lost;
        };
        let Some(flight) = self.take(place) else {
            return Silence::Lost;
        };
        let Some(&(to, host)) = self.targets.get(target.index()) else {
            return Silence::Lost;
        };
        self.gate.settled(host, false);
        if let Some(error) = flight.connection.queued_error(to) {
            match blame::of_icmp(&error) {
                Failure::Rejected(refusal) => return Silence::Rejected(refusal),
                Failure::NotSent(refusal) => return Silence::NotSent(refusal),
                Failure::Established | Failure::Nothing => {}
            }
        }
        let waited = self.clock.now().since(flight.at);
        if let Some(refusal) = blame::next_hop(to, &route_ask(&self.options)).refusal(waited) {
            return Silence::NotSent(refusal);
        }
        let retransmits = flight.connection.info().map_or(0, |info| info.retransmits);
        let mut local = std::mem::take(&mut self.local);
        let convicted = local.convict(retransmits, || self.retransmissions());
        self.local = local;
        if convicted {
            return Silence::NotSent(Refusal::of(Reason::LocalFirewall));
        }
        Silence::Lost
    }
}
