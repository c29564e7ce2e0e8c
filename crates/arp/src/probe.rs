//! Frames out, answers in, over one packet socket per interface and family.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, Reason, Refusal, SeqRef,
    Sequence, Silence, Stamp, TargetId, Timestamp,
};
use rping_net::clock::Realtime;
use rping_net::errqueue::send_refusal;
use rping_net::packet::{self, PacketSocket, Transmitted, RECEIVE_BATCH, SEND_BATCH};
use rping_net::{hardware, iface, Clock, InterfaceClock, StampKeeper, Waiter};

use crate::frame::{self, Frame, Heard};
use crate::locate::{locate, Target};
use crate::{Error, Options};

/// How many batches one receive pass takes.
const PASSES: usize = 8;
/// How many frames may wait for their transmit stamp; the stamps of older ones are dropped. A power of two.
const AWAITED: usize = 4096;
/// For how long a look at an interface is good when many probes are silent at once.
const FRESH: Duration = Duration::from_millis(10);

/// ARP and neighbour solicitation as a probe kind, for many targets at once.
///
/// Neither protocol has a sequence field: an answer is the oldest unanswered probe's ([`SeqRef::Oldest`]). Two hosts
/// that claim the same address both answer; the second answer is a duplicate, from another [`Origin::Mac`].
#[derive(Debug)]
pub struct ArpProbe {
    targets: Vec<Asked>,
    links: Vec<Link>,
    by_address: HashMap<(u32, IpAddr), TargetId>,
    waiter: Waiter,
    clock: Clock,
    realtime: Realtime,
    stamps: Vec<Transmitted>,
    heard: Vec<(Heard, Option<i64>, Option<i64>)>,
    _keeper: Option<StampKeeper>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    link: u32,
    source: IpAddr,
    address: IpAddr,
}

/// One interface and family.
#[derive(Debug)]
struct Link {
    ifindex: u32,
    v6: bool,
    mac: [u8; 6],
    socket: PacketSocket,
    stamped: bool,
    clock: InterfaceClock,
    awaited: Vec<Option<Awaited>>,
    /// The number of the frame that was sent last.
    newest: u32,
    usable: Option<(Timestamp, bool)>,
}

/// A frame whose transmit stamp may come.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    number: u32,
    target: TargetId,
    seq: Sequence,
    at: Timestamp,
    /// The kernel's stamp may still come.
    kernel: bool,
    /// The interface's may.
    interface: bool,
}

/// How many of the newest frames are looked at for a stamp that the interface owes: a batch.
const LOOKED_BACK: u32 = SEND_BATCH as u32;

impl ArpProbe {
    /// Makes ready to ask for these targets. The `waiter` says how waiting is done, and by whom it is ended early.
    ///
    /// # Errors
    /// As [`locate`], and [`Error::NoPermission`] without `CAP_NET_RAW`.
    pub fn open(targets: &[Target], options: &Options, waiter: Waiter) -> Result<ArpProbe, Error> {
        let places = locate(targets, options)?;
        let mut links: Vec<Link> = Vec::new();
        let mut asked = Vec::with_capacity(targets.len());
        let mut by_address = HashMap::with_capacity(targets.len());
        for (target, place) in targets.iter().zip(&places) {
            let v6 = target.address.is_ipv6();
            let known = links
                .iter()
                .position(|link| link.ifindex == place.ifindex && link.v6 == v6);
            let link = match known {
                Some(link) => link,
                None => {
                    links.push(Link::open(place.ifindex, place.mac, v6, options)?);
                    links.len() - 1
                }
            } as u32;
            let id = TargetId(asked.len() as u32);
            by_address.entry((link, target.address)).or_insert(id);
            asked.push(Asked {
                link,
                source: place.source,
                address: target.address,
            });
        }
        Ok(ArpProbe {
            targets: asked,
            links,
            by_address,
            waiter,
            clock: Clock,
            realtime: Realtime::new(),
            stamps: Vec::with_capacity(RECEIVE_BATCH),
            heard: Vec::with_capacity(RECEIVE_BATCH),
            // Without it the first stamps may be missing, and say so.
            _keeper: StampKeeper::start().ok(),
        })
    }

    /// How the time until the next send is spent, for the run's report.
    pub fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Sends what goes out by one link, up to a batch.
    fn send_run(&mut self, link: u32, run: &[Outgoing], left: &mut Vec<Departure>) {
        let Some(via) = self.links.get_mut(link as usize) else {
            return;
        };
        let mut frames: Vec<Frame> = Vec::with_capacity(run.len());
        let mut framed: Vec<&Outgoing> = Vec::with_capacity(run.len());
        for out in run {
            let frame = self
                .targets
                .get(out.target.index())
                .and_then(|asked| frame::question(via.mac, asked.source, asked.address));
            match frame {
                Some(frame) => {
                    frames.push(frame);
                    framed.push(out);
                }
                // A source of the other family, which `locate` gives nobody.
                None => left.push(departure(out, Left::NotSent(Refusal::of(Reason::Other)))),
            }
        }
        let mut done = 0;
        while done < frames.len() {
            // All that are handed over ahead of time are due at one instant.
            let last_due = framed.last().map_or(Timestamp::ZERO, |out| out.due);
            let at = self.clock.now_from(last_due);
            let sent = via.socket.send(&frames[done..]);
            for (place, out) in framed.iter().skip(done).take(sent.count).enumerate() {
                via.await_stamp(sent.first.wrapping_add(place as u32), out, at);
                left.push(departure(out, Left::At(Stamp::user(at))));
            }
            done += sent.count;
            let Some(error) = sent.error else { continue };
            let errno = error.raw_os_error().unwrap_or(0);
            if matches!(errno, libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) {
                left.extend(framed.iter().skip(done).map(|out| departure(out, Left::Deferred)));
                return;
            }
            if let Some(out) = framed.get(done) {
                left.push(departure(out, Left::NotSent(send_refusal(errno, None))));
            }
            done += 1;
        }
    }

    /// One pass over one link: answers first off the wire, then the transmit stamps, which are told first. Returns
    /// whether more may be waiting.
    fn collect(&mut self, link: u32, arrived: &mut Vec<Arrival>) -> bool {
        let Some(via) = self.links.get_mut(link as usize) else {
            return false;
        };
        self.heard.clear();
        self.stamps.clear();
        // ENETDOWN is told once when the interface goes down; the socket lives on.
        let got = via.socket.receive().unwrap_or(0);
        self.heard.extend(
            via.socket
                .frames()
                .map(|f| (frame::heard(f.bytes, via.mac), f.stamp, f.device)),
        );
        via.read_stamps(&mut self.stamps);
        if got > 0 {
            via.wait_for_stamps(&mut self.stamps);
        }
        let now = self.realtime.check();
        via.clock.check(&self.realtime, now);
        for stamp in &self.stamps {
            let Some(awaited) = via.awaited(stamp) else {
                continue;
            };
            let at = match stamp.real {
                Some(real) => self.realtime.instant(real, awaited.at, now).map(Stamp::kernel),
                None => via
                    .clock
                    .instant(stamp.device, awaited.at, now)
                    .map(Stamp::hardware),
            };
            let event = Event::Left(SeqRef::Full(awaited.seq));
            arrived.extend(at.map(|at| Arrival {
                target: awaited.target,
                at,
                event,
            }));
        }
        for (heard, stamp, device) in &self.heard {
            let (about, event) = match *heard {
                Heard::Answer(who, mac) => {
                    let answer = Answer {
                        hardware: via.clock.instant(*device, Timestamp::ZERO, now),
                        ..Answer::new(SeqRef::Oldest, Origin::Mac(mac))
                    };
                    (who, Event::Reply(answer))
                }
                Heard::Unasked(who) => (who, Event::Unexpected),
                Heard::Corrupt(who) => (who, Event::Corrupt),
                Heard::Nothing => continue,
            };
            // Answers about addresses that are no targets are the kernel's own business.
            let Some(&target) = self.by_address.get(&(link, about)) else {
                continue;
            };
            arrived.push(Arrival {
                target,
                at: self.realtime.received(*stamp, now),
                event,
            });
        }
        got == RECEIVE_BATCH
    }
}

fn departure(out: &Outgoing, left: Left) -> Departure {
    Departure {
        target: out.target,
        seq: out.seq,
        left,
    }
}

impl Link {
    fn open(ifindex: u32, mac: [u8; 6], v6: bool, options: &Options) -> Result<Link, Error> {
        let ethertype = if v6 { frame::TYPE_IPV6 } else { frame::TYPE_ARP };
        let index = iface::interface_by_index(ifindex)
            .ok()
            .flatten()
            .filter(|_| options.transmit_stamps && options.hardware_stamps)
            .and_then(|interface| hardware::stamping_clock(&interface.name));
        let clock = InterfaceClock::open(index);
        let options = packet::Options {
            hardware_stamps: clock.is_on(),
            filter: frame::filter(v6, mac),
            transmit_stamps: options.transmit_stamps,
            bypass_queue: options.bypass_queue,
            ..packet::Options::new(ifindex, ethertype)
        };
        let socket = PacketSocket::open(&options).map_err(|error| match error.errno() {
            Some(libc::EPERM) => Error::NoPermission { source: error },
            _ => Error::Net(error),
        })?;
        let awaited = if options.transmit_stamps {
            vec![None; AWAITED]
        } else {
            Vec::new()
        };
        Ok(Link {
            ifindex,
            v6,
            mac,
            socket,
            stamped: options.transmit_stamps,
            clock,
            awaited,
            newest: 0,
            usable: None,
        })
    }

    fn await_stamp(&mut self, number: u32, out: &Outgoing, at: Timestamp) {
        if let Some(slot) = self.awaited.get_mut(number as usize % AWAITED) {
            *slot = Some(Awaited {
                number,
                target: out.target,
                seq: out.seq,
                at,
                kernel: true,
                interface: self.clock.is_on(),
            });
        }
        self.newest = number;
    }

    /// Whose stamp it is, which is not awaited any more.
    fn awaited(&mut self, stamp: &Transmitted) -> Option<Awaited> {
        let slot = self.awaited.get_mut(stamp.number as usize % AWAITED)?;
        let awaited = slot.as_mut().filter(|awaited| awaited.number == stamp.number)?;
        let owed = match stamp.real {
            Some(_) => &mut awaited.kernel,
            None => &mut awaited.interface,
        };
        std::mem::take(owed).then_some(*awaited)
    }

    /// Takes the transmit stamps that have come.
    fn read_stamps(&mut self, stamps: &mut Vec<Transmitted>) {
        while self.stamped && self.socket.transmit_stamps(stamps).unwrap_or(0) == RECEIVE_BATCH {}
    }

    /// Waits a little for those that the interface still owes.
    fn wait_for_stamps(&mut self, stamps: &mut Vec<Transmitted>) {
        let mut clock = std::mem::take(&mut self.clock);
        clock.wait_while(|since| {
            self.read_stamps(stamps);
            (0..LOOKED_BACK)
                .filter_map(|back| {
                    let number = self.newest.wrapping_sub(back);
                    (*self.awaited.get(number as usize % AWAITED)?).filter(|awaited| awaited.number == number)
                })
                .filter(|awaited| awaited.interface && awaited.at >= since)
                .any(|awaited| {
                    !stamps
                        .iter()
                        .any(|s| s.number == awaited.number && s.device.is_some())
                })
        });
        self.clock = clock;
    }

    /// Whether the interface is on and has a carrier.
    fn is_usable(&mut self, now: Timestamp) -> bool {
        match self.usable {
            Some((at, usable)) if now.since(at) < FRESH => usable,
            _ => {
                // Where it cannot be learnt, nothing is said against it.
                let usable = iface::interface_by_index(self.ifindex).map_or(true, |found| {
                    found.is_some_and(|found| found.up && found.lower_up)
                });
                self.usable = Some((now, usable));
                usable
            }
        }
    }
}

impl Probe for ArpProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        let link_of = |targets: &[Asked], out: &Outgoing| targets.get(out.target.index()).map(|t| t.link);
        let mut rest = due;
        while let Some(first) = rest.first() {
            let link = link_of(&self.targets, first);
            let same = rest
                .iter()
                .take(SEND_BATCH)
                .take_while(|out| link_of(&self.targets, out) == link);
            let (run, after) = rest.split_at(same.count().max(1));
            match link {
                Some(link) => self.send_run(link, run, left),
                None => left.extend(
                    run.iter()
                        .map(|out| departure(out, Left::NotSent(Refusal::of(Reason::Other)))),
                ),
            }
            rest = after;
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let fds: Vec<BorrowedFd<'_>> = self.links.iter().map(|link| link.socket.as_fd()).collect();
        self.waiter.wait(&fds, until);
        let mut drained = Drained::All;
        for link in 0..self.links.len() as u32 {
            let mut passes = 0;
            while self.collect(link, arrived) {
                passes += 1;
                if passes == PASSES {
                    drained = Drained::More;
                    break;
                }
            }
        }
        Ok(drained)
    }

    fn silent(&mut self, target: TargetId, _seq: Sequence, stamped: bool) -> Silence {
        let link = self.targets.get(target.index()).map(|asked| asked.link as usize);
        let Some(link) = link.and_then(|link| self.links.get_mut(link)) else {
            return Silence::Lost;
        };
        // A frame that the driver got was stamped; one that was not may have met a dead cable.
        if link.stamped && !stamped && !link.is_usable(self.clock.now()) {
            return Silence::NotSent(Refusal::of(Reason::InterfaceDown));
        }
        Silence::Lost
    }

    fn holds(&self) -> bool {
        self.waiter.may_hold()
    }

    fn local_drops(&self) -> u64 {
        self.links.iter().map(|link| link.socket.drops()).sum()
    }

    fn clock_steps(&self) -> u64 {
        self.realtime.steps() + self.links.iter().map(|link| link.clock.steps()).sum::<u64>()
    }
}
