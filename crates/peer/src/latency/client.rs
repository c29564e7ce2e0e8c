//! The client's end as a probe kind: a request is a probe, its response the reply.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, SeqRef, Sequence, Stamp,
    TargetId, Timestamp,
};
use rping_net::spin::SPIN;
use rping_net::stream::{read_now, write_now, StreamOptions};
use rping_net::{Clock, Pacing, Wait, Waiter, Waker};
use rping_wire::latency::{Request, Response, HEADER_LEN, LARGEST};

use super::hello::{agree, Wanted};
use super::{Cutter, Fault, READ};
use crate::Key;

/// How long a fruitless look for a response goes on before anybody else gets a chance at this processor.
const YIELD: Duration = Duration::from_micros(50);

/// How often room for the rest of a large request is looked for.
const ROOM: Duration = Duration::from_micros(100);

/// Targets that are connected to at once.
const AT_ONCE: usize = 32;

/// What can be asked of an exchange.
#[derive(Clone, Debug)]
pub struct Options {
    /// Octets of each request, header included: 16 to 1 MiB.
    pub request: u32,
    /// Octets of each response, header included: 16 to 1 MiB.
    pub response: u32,
    /// How this end waits for responses; the other is asked to sleep where this is [`Wait::Block`].
    pub wait: Wait,
    /// The connection's own options.
    pub stream: StreamOptions,
    /// How long each step may take until the exchange stands.
    pub patience: Duration,
    /// The longest silence between two requests.
    pub idle: Duration,
    /// The key that both ends share.
    pub key: Option<Key>,
    /// How the time until the next send is spent.
    pub pacing: Pacing,
    /// Ends a wait from another thread.
    pub waker: Option<Waker>,
}

/// Request/response over one TCP connection for each target.
#[derive(Debug)]
pub struct LatencyProbe {
    links: Vec<Link>,
    waiter: Waiter,
    waker: Option<Waker>,
    wait: Wait,
    room: Box<[u8]>,
    /// Requests without a response, over all targets.
    awaited: usize,
    /// Links that ended and whose end was not told yet.
    fallen: Vec<TargetId>,
}

#[derive(Debug)]
struct Link {
    stream: Result<TcpStream, Fault>,
    from: Origin,
    /// Whether the exchange ever stood, and whether the server said that it spins.
    server_spins: Option<bool>,
    /// The requests that have no response yet, in order.
    pending: VecDeque<Sequence>,
    request: Vec<u8>,
    /// How much of `request` still has to be written.
    unsent: usize,
    cutter: Cutter,
}

impl LatencyProbe {
    /// Connects to these targets and agrees with each. One that cannot be had is told as ended by the first receive.
    pub fn open(targets: &[SocketAddr], options: &Options) -> LatencyProbe {
        let wait = options.wait.here();
        let mut waiter = Waiter::new(options.pacing);
        if let Some(waker) = &options.waker {
            waiter = waiter.with_waker(waker.clone());
        }
        let links: Vec<Link> = connect_all(targets, options);
        let fallen = (0..)
            .zip(&links)
            .filter(|(_, link)| link.stream.is_err())
            .map(|(number, _)| TargetId(number))
            .collect();
        LatencyProbe {
            links,
            waiter,
            waker: options.waker.clone(),
            wait,
            room: vec![0; READ].into_boxed_slice(),
            awaited: 0,
            fallen,
        }
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.waiter.pacing()
    }

    /// How this end waits.
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// How the server of this target waits, if the exchange with it ever stood.
    pub fn server_wait(&self, target: TargetId) -> Option<Wait> {
        let spins = self.links.get(target.index())?.server_spins?;
        Some(if spins { Wait::Auto } else { Wait::Block })
    }

    /// Why there is no exchange with this target any more; and whether there ever was one.
    pub fn fault(&self, target: TargetId) -> Option<(&Fault, bool)> {
        let link = self.links.get(target.index())?;
        Some((link.stream.as_ref().err()?, link.server_spins.is_some()))
    }

    /// Takes in what is there and does not wait.
    fn read_all(&mut self, arrived: &mut Vec<Arrival>) -> Drained {
        let LatencyProbe {
            links,
            room,
            awaited,
            fallen,
            ..
        } = self;
        let mut drained = Drained::All;
        for (number, link) in (0..).zip(links) {
            let target = TargetId(number);
            let Ok(stream) = &link.stream else { continue };
            let fault = match read_now(stream, room) {
                Ok(0) => Some(link.ended()),
                Ok(got) => {
                    let at = Stamp::user(Clock.now());
                    if got == room.len() {
                        drained = Drained::More;
                    }
                    let before = link.pending.len();
                    let fault = link.take_in(&room[..got], target, at, arrived).err();
                    *awaited -= before - link.pending.len();
                    fault
                }
                Err(error) if is_empty(&error) => None,
                Err(error) => Some(Fault::Broke(error)),
            };
            if let Some(fault) = fault {
                *awaited -= link.pending.len();
                link.fall(fault);
                fallen.push(target);
            }
        }
        drained
    }

    /// Tells of links that ended; whether there were any.
    fn tell_fallen(&mut self, arrived: &mut Vec<Arrival>) -> bool {
        if self.fallen.is_empty() {
            return false;
        }
        let at = Stamp::user(Clock.now());
        for target in self.fallen.drain(..) {
            let fault = self
                .links
                .get(target.index())
                .and_then(|link| link.stream.as_ref().err());
            arrived.extend(fault.map(|fault| Arrival {
                target,
                at,
                event: Event::Over(fault.refusal()),
            }));
        }
        true
    }

    /// Writes on where a request was larger than what the connection took at once; whether some is left.
    fn write_on(&mut self) -> bool {
        let mut left = false;
        for (number, link) in (0..).zip(&mut self.links) {
            if link.unsent == 0 {
                continue;
            }
            if let Err(fault) = link.write_on() {
                self.awaited -= link.pending.len();
                link.fall(fault);
                self.fallen.push(TargetId(number));
            }
            left |= link.unsent > 0;
        }
        left
    }

    fn sleep(&mut self, until: Timestamp) {
        // One target is the rule, and then nothing is gathered.
        if let [Link {
            stream: Ok(stream), ..
        }] = self.links.as_slice()
        {
            self.waiter.wait(&[stream.as_fd()], until);
            return;
        }
        let open = self.links.iter().filter_map(|link| link.stream.as_ref().ok());
        let all: Vec<_> = open.map(AsFd::as_fd).collect();
        self.waiter.wait(&all, until);
    }
}

fn connect_all(targets: &[SocketAddr], options: &Options) -> Vec<Link> {
    let one = |target: SocketAddr| Link::open(target, options);
    let mut links = Vec::with_capacity(targets.len());
    for some in targets.chunks(AT_ONCE) {
        if let [only] = some {
            links.push(one(*only));
            continue;
        }
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|&target| (target, scope.spawn(move || one(target))))
                .collect();
            threads
                .into_iter()
                .map(|(target, thread)| thread.join().unwrap_or_else(|_| one(target)))
                .collect()
        });
        links.extend(opened);
    }
    links
}

impl Link {
    fn open(target: SocketAddr, options: &Options) -> Link {
        let size = |octets: u32| octets.clamp(HEADER_LEN as u32, LARGEST);
        let wanted = Wanted {
            request: size(options.request),
            response: size(options.response),
            block: options.wait.here() == Wait::Block,
            idle: options.idle,
        };
        let agreed = agree(
            target,
            &options.stream,
            options.patience,
            &wanted,
            options.key.as_ref(),
        );
        Link {
            from: Origin::Ip(target.ip()),
            server_spins: agreed.as_ref().ok().map(|(_, hello)| hello.spins),
            stream: agreed.map(|(stream, _)| stream),
            pending: VecDeque::new(),
            request: vec![0; wanted.request as usize],
            unsent: 0,
            cutter: Cutter::new(wanted.response),
        }
    }

    fn send(&mut self, seq: Sequence, not_before: Timestamp) -> Left {
        let stream = match &self.stream {
            Ok(stream) => stream,
            // Nothing is written to what has ended. Where it never stood, the attempt was what was sent, and this is its answer.
            Err(fault) if self.server_spins.is_some() => return Left::NotSent(fault.refusal()),
            Err(_) => return Left::At(Stamp::user(Clock.now())),
        };
        if self.unsent > 0 {
            return Left::Deferred;
        }
        let header = Request {
            seq: seq.0,
            length: self.request.len() as u32,
        };
        self.request[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        let at = Stamp::user(Clock.now_from(not_before));
        match write_now(stream, &self.request) {
            Ok(sent) => {
                self.unsent = self.request.len() - sent;
                self.pending.push_back(seq);
                Left::At(at)
            }
            Err(error) if is_empty(&error) => Left::Deferred,
            Err(error) => {
                // What else was in flight is told of by the end of the link; this was never written.
                let fault = Fault::Broke(error);
                let refusal = fault.refusal();
                self.fall(fault);
                Left::NotSent(refusal)
            }
        }
    }

    fn write_on(&mut self) -> Result<(), Fault> {
        let Ok(stream) = &self.stream else { return Ok(()) };
        let from = self.request.len() - self.unsent;
        match write_now(stream, &self.request[from..]) {
            Ok(sent) => self.unsent -= sent,
            Err(error) if is_empty(&error) => {}
            Err(error) => return Err(Fault::Broke(error)),
        }
        Ok(())
    }

    /// What these octets, read at `at`, answer.
    fn take_in(
        &mut self,
        mut bytes: &[u8],
        target: TargetId,
        at: Stamp,
        arrived: &mut Vec<Arrival>,
    ) -> Result<(), Fault> {
        while let Some((header, is_whole)) = self.cutter.next(&mut bytes) {
            let (seq, residence) = match Response::parse(&header) {
                Ok(Response::Answer { seq, residence }) => (Sequence(seq), residence),
                Ok(Response::Farewell(why)) => return Err(Fault::Farewell(why)),
                Err(_) => return Err(Fault::Nonsense),
            };
            // Responses come in the order of the requests, each once: TCP sees to that, and whoever breaks it is not the
            // server that was agreed with.
            if self.pending.front() != Some(&seq) {
                return Err(Fault::Nonsense);
            }
            self.pending.pop_front();
            let event = if is_whole {
                Event::Reply(Answer {
                    residence: Some(Duration::from_nanos(residence)),
                    ..Answer::new(SeqRef::Full(seq), self.from)
                })
            } else {
                Event::Corrupt
            };
            arrived.push(Arrival { target, at, event });
        }
        Ok(())
    }

    /// Why the connection came to its end.
    fn ended(&self) -> Fault {
        match self.cutter.begun().map(Response::parse) {
            Some(Ok(Response::Farewell(why))) => Fault::Farewell(why),
            _ => Fault::Closed,
        }
    }

    fn fall(&mut self, fault: Fault) {
        self.pending.clear();
        self.unsent = 0;
        self.stream = Err(fault);
    }
}

/// Nothing there, or no room: not an error.
fn is_empty(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Probe for LatencyProbe {
    type Error = rping_net::Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Self::Error> {
        for out in due {
            let Some(link) = self.links.get_mut(out.target.index()) else {
                continue;
            };
            let was_open = link.stream.is_ok();
            let before = link.pending.len();
            let departure = Departure {
                target: out.target,
                seq: out.seq,
                left: link.send(out.seq, out.due),
            };
            left.push(departure);
            let after = link.pending.len();
            self.awaited = (self.awaited + after).saturating_sub(before);
            // Told again where it was told before: what left since then has to be settled, too.
            if link.stream.is_err() && (was_open || !self.fallen.contains(&out.target)) {
                self.fallen.push(out.target);
            }
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Self::Error> {
        let unsent = self.write_on();
        if self.tell_fallen(arrived) {
            return Ok(Drained::More);
        }
        if unsent {
            let room = Clock.now().plus(ROOM).min(until);
            self.sleep(room);
        } else if self.awaited == 0 {
            self.sleep(until);
        } else if self.wait != Wait::Block {
            let began = Clock.now();
            let spin_until = match self.wait {
                Wait::Busy => until,
                _ => until.min(began.plus(SPIN)),
            };
            let mut yielded = began;
            loop {
                let drained = self.read_all(arrived);
                if !arrived.is_empty() || !self.fallen.is_empty() {
                    self.tell_fallen(arrived);
                    return Ok(drained);
                }
                let now = Clock.now();
                if self.waker.as_ref().is_some_and(Waker::take) {
                    return Ok(drained);
                }
                if now >= spin_until {
                    break;
                }
                if now.since(yielded) >= YIELD {
                    std::thread::yield_now();
                    yielded = now;
                }
            }
            if self.wait == Wait::Auto {
                self.sleep(until);
            }
        } else {
            self.sleep(until);
        }
        let drained = self.read_all(arrived);
        self.tell_fallen(arrived);
        Ok(drained)
    }

    fn holds(&self) -> bool {
        self.waiter.may_hold()
    }
}
