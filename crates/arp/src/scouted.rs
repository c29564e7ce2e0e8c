//! Asks for neighbours before a sweep does: rping's own ARP requests take no room in the kernel's neighbour table.
//!
//! A packet to an on-link host that nobody has waits in the kernel for three seconds, holds a piece of its socket's
//! buffer and one of the 1024 places of the host's neighbour table. A sweep over thousands of addresses of which half
//! are silent fills both, and then the live ones are refused. So in such runs the first probe to an on-link target is
//! held while its neighbour is asked for by a frame of our own; only who answers is handed to the kernel.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use rping_engine::{
    Arrival, Departure, Drained, Event, Left, Outgoing, Probe, Reason, Refusal, Sequence, Silence, TargetId,
    Timestamp,
};
use rping_net::netlink::{self, Forgetter};
use rping_net::{Clock, Pacing, Waiter};

use crate::{locate_each, ArpProbe, Options, Place, Target};

/// How often a neighbour is asked, as the kernel does (`mcast_solicit`).
const TRIES: u8 = 3;

/// How long after one request the next is sent.
const BETWEEN: Duration = Duration::from_millis(300);

/// Places in the kernel's neighbour table that a sweep leaves to whoever else uses the network: the table holds 1024 for
/// the whole machine (`gc_thresh3`), other network namespaces included.
const LEFT_TO_OTHERS: u32 = 256;

/// A kernel that may not be told to forget an entry keeps it for some 30 s after its last use (`base_reachable_time`).
const KEPT_SECONDS: f64 = 30.0;

/// How long a wait for the probes' own answers lasts at most while neighbours are being asked for.
const LOOK: Duration = Duration::from_millis(1);

/// Where one on-link host stands. Its number is that of the ARP probe's target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not asked yet.
    Unknown,
    /// Asked so many times, the last time then.
    Asked { tries: u8, last: Timestamp },
    /// Answered, and waits for a place in the kernel's table.
    Present,
    /// Answered, and has a place in the kernel's table.
    Admitted,
    /// Did not answer for probes with this number; the next one asks again.
    Absent { seq: Sequence },
}

/// An on-link host, which several targets (ports) may share.
#[derive(Clone, Copy, Debug)]
struct Host {
    state: State,
    targets: u32,
}

/// For targets that are not on-link, or not to be asked for: their probes go straight through.
const THROUGH: u32 = u32::MAX;

/// A probe to this target is settled: its host's place in the table is free again, if the kernel may be told so. A host
/// that other targets share keeps it, unless places are short.
fn settled(host_of: &[u32], hosts: &mut [Host], table: &mut Table, target: TargetId) {
    let Some(&number) = host_of.get(target.index()) else {
        return;
    };
    if let Some(host) = hosts.get_mut(number as usize) {
        let is_wanted = host.targets > 1 && !table.is_short();
        if host.state == State::Admitted && !is_wanted && table.give_back(number) {
            host.state = State::Present;
        }
    }
}

/// The places in the kernel's neighbour table.
#[derive(Debug)]
struct Table {
    free: f64,
    most: f64,
    since: Timestamp,
    /// Whose entries are ours to take out: address and interface by the ARP probe's numbers, `None` for those that were
    /// in the table before us.
    entries: Vec<Option<(IpAddr, u32)>>,
    forgetter: Option<Forgetter>,
}

impl Table {
    fn new(near: &[Target], places: &[Place]) -> Table {
        // Both tables are as large by default; the fuller one decides.
        let room = |v6: bool| {
            let fill = netlink::table_fill(v6).ok()?;
            Some(
                fill.most
                    .saturating_sub(fill.entries)
                    .saturating_sub(LEFT_TO_OTHERS)
                    .max(64),
            )
        };
        let most = f64::from(room(false).into_iter().chain(room(true)).min().unwrap_or(512));
        let mut known = HashSet::new();
        let mut links: Vec<u32> = places.iter().map(|place| place.ifindex).collect();
        links.sort_unstable();
        links.dedup();
        for link in links {
            known.extend(
                netlink::neighbours(link)
                    .into_iter()
                    .flatten()
                    .map(|entry| (entry.address, link)),
            );
        }
        let ours = |(target, place): (&Target, &Place)| {
            let entry = (target.address, place.ifindex);
            (!known.contains(&entry)).then_some(entry)
        };
        Table {
            free: most,
            most,
            since: Timestamp::ZERO,
            entries: near.iter().zip(places).map(ours).collect(),
            forgetter: Forgetter::open().ok(),
        }
    }

    fn is_short(&self) -> bool {
        self.free < self.most / 2.0
    }

    fn take(&mut self) -> bool {
        let is_free = self.free >= 1.0;
        self.free -= f64::from(u8::from(is_free));
        is_free
    }

    /// Without the right to take entries out, places become free as the kernel gives them up.
    fn refill(&mut self, now: Timestamp) {
        if self.forgetter.is_none() {
            let more = now.since(self.since).as_secs_f64() * self.most / KEPT_SECONDS;
            self.free = (self.free + more).min(self.most);
        }
        self.since = now;
    }

    /// Whether the place is free again.
    fn give_back(&mut self, number: u32) -> bool {
        let Some(Some((address, link))) = self.entries.get(number as usize) else {
            return false;
        };
        let Some(forgetter) = &mut self.forgetter else {
            return false;
        };
        if forgetter.forget(*address, *link).is_err() {
            self.forgetter = None;
            return false;
        }
        self.free = (self.free + 1.0).min(self.most);
        true
    }
}

/// A probe kind behind a scout that asks for its on-link neighbours first.
#[derive(Debug)]
pub struct Scouted<P> {
    inner: P,
    scout: Option<ArpProbe>,
    /// Each target's host, or [`THROUGH`].
    host_of: Vec<u32>,
    hosts: Vec<Host>,
    asking: usize,
    table: Table,
    clock: Clock,
    pass: Vec<Outgoing>,
    ask: Vec<Outgoing>,
    asked: Vec<Departure>,
    heard: Vec<Arrival>,
}

impl<P: Probe> Scouted<P> {
    /// Puts a scout before `inner`, whose targets are `targets` in order.
    ///
    /// # Errors
    /// Gives `inner` back as it was where no frames of our own can be sent, or fewer than `least` targets are on-link.
    pub fn new(inner: P, targets: &[Target], options: &Options, least: usize) -> Result<Scouted<P>, P> {
        let Ok(located) = locate_each(targets, options) else {
            return Err(inner);
        };
        let mut host_of = Vec::with_capacity(targets.len());
        let mut hosts: Vec<Host> = Vec::new();
        let (mut near, mut links) = (Vec::new(), Vec::new());
        let mut known: HashMap<Target, u32> = HashMap::new();
        for (target, located) in targets.iter().zip(located) {
            let Ok(link) = located else {
                host_of.push(THROUGH);
                continue;
            };
            let number = *known.entry(*target).or_insert_with(|| {
                near.push(*target);
                links.push(link);
                hosts.push(Host {
                    state: State::Unknown,
                    targets: 0,
                });
                hosts.len() as u32 - 1
            });
            host_of.push(number);
            if let Some(host) = hosts.get_mut(number as usize) {
                host.targets += 1;
            }
        }
        if near.len() < least {
            return Err(inner);
        }
        let options = Options {
            transmit_stamps: false,
            ..options.clone()
        };
        let table = Table::new(&near, &links);
        match ArpProbe::open(&near, &options, Waiter::new(Pacing::Eco)) {
            Ok(scout) => Ok(Scouted {
                inner,
                scout: Some(scout),
                host_of,
                hosts,
                asking: 0,
                table,
                clock: Clock::new(),
                pass: Vec::new(),
                ask: Vec::new(),
                asked: Vec::new(),
                heard: Vec::new(),
            }),
            Err(_) => Err(inner),
        }
    }

    /// The probe kind behind it.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// What becomes of one probe: `None` hands it on.
    fn consider(&mut self, out: &Outgoing, now: Timestamp) -> Option<Left> {
        let number = *self.host_of.get(out.target.index())?;
        let host = self.hosts.get_mut(number as usize)?;
        let tries = match host.state {
            State::Admitted => return None,
            State::Present => {
                if !self.table.take() {
                    return Some(Left::Held);
                }
                host.state = State::Admitted;
                return None;
            }
            State::Asked { last, .. } if now.since(last) < BETWEEN => return Some(Left::Held),
            State::Asked { tries: TRIES, .. } => {
                host.state = State::Absent { seq: out.seq };
                self.asking -= 1;
                return Some(Left::NotSent(Refusal::of(Reason::NoNeighbour)));
            }
            State::Absent { seq } if seq == out.seq => {
                return Some(Left::NotSent(Refusal::of(Reason::NoNeighbour)));
            }
            State::Asked { tries, .. } => tries + 1,
            State::Absent { .. } | State::Unknown => {
                self.asking += 1;
                1
            }
        };
        host.state = State::Asked { tries, last: now };
        self.ask.push(Outgoing {
            target: TargetId(number),
            seq: Sequence(u64::from(tries)),
            due: now,
        });
        Some(Left::Held)
    }

    /// Without its socket a scout is no use: everybody goes straight through, as without one.
    fn give_up(&mut self) {
        self.scout = None;
        self.asking = 0;
        self.host_of.fill(THROUGH);
    }

    fn listen(&mut self) {
        let Some(scout) = &mut self.scout else { return };
        loop {
            self.heard.clear();
            let Ok(drained) = scout.recv(Timestamp::ZERO, &mut self.heard) else {
                return self.give_up();
            };
            for arrival in &self.heard {
                let host = self.hosts.get_mut(arrival.target.index());
                if let (Event::Reply(_), Some(host)) = (arrival.event, host) {
                    if let State::Asked { .. } = host.state {
                        self.asking -= 1;
                        host.state = State::Present;
                    }
                }
            }
            if drained == Drained::All {
                return;
            }
        }
    }
}

impl<P: Probe> Probe for Scouted<P> {
    type Error = P::Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), P::Error> {
        if self.asking > 0 {
            self.listen();
        }
        let now = self.clock.now();
        self.table.refill(now);
        self.pass.clear();
        for out in due {
            match self.consider(out, now) {
                None => self.pass.push(*out),
                Some(how) => left.push(Departure {
                    target: out.target,
                    seq: out.seq,
                    left: how,
                }),
            }
        }
        if !self.ask.is_empty() {
            self.asked.clear();
            let sent = self
                .scout
                .as_mut()
                .map(|scout| scout.send(&self.ask, &mut self.asked));
            self.ask.clear();
            if !matches!(sent, Some(Ok(()))) {
                self.give_up();
            }
        }
        if self.pass.is_empty() {
            return Ok(());
        }
        self.inner.send(&self.pass, left)
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, P::Error> {
        let until = if self.asking == 0 {
            until
        } else {
            until.min(self.clock.now().plus(LOOK))
        };
        let before = arrived.len();
        let drained = self.inner.recv(until, arrived)?;
        for arrival in arrived.get(before..).unwrap_or_default() {
            if !matches!(arrival.event, Event::Left(_)) {
                settled(&self.host_of, &mut self.hosts, &mut self.table, arrival.target);
            }
        }
        if self.asking > 0 {
            self.listen();
        }
        Ok(drained)
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, stamped: bool) -> Silence {
        let silence = self.inner.silent(target, seq, stamped);
        settled(&self.host_of, &mut self.hosts, &mut self.table, target);
        silence
    }

    fn local_drops(&self) -> u64 {
        self.inner.local_drops()
    }

    fn clock_steps(&self) -> u64 {
        self.inner.clock_steps()
    }
}
