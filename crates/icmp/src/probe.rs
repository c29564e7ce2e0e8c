//! The probe kind: what is sent, and what an answer means.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, Reason, Refusal, SeqRef,
    Sequence, Silence, Stamp, TargetId, Timestamp, BATCH,
};
use rping_net::datagram::Kind;
use rping_net::errqueue::{SocketError, Verdict};
use rping_net::{
    receive_from_any, Datagram, Identifiers, Incoming, Pacing, Packet, Received, StampKeeper, Surroundings,
    Waiter, Waker,
};
use rping_wire::probe_payload::{self, Match, NonceKey, HEADER_LEN};

use crate::message::{self, Echo, Types, HEADER};
use crate::targets::Targets;
use crate::{Error, MAX_SIZE_V4, MAX_SIZE_V6};

/// The low bits of a raw socket's identifier are bits 16 to 19 of the sequence number.
const ID_BITS: u32 = 4;
/// How large the send buffer may grow: large payloads are sent in smaller batches.
const TX_BYTES: usize = 1 << 20;

/// What can be asked of an ICMP probe.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where packets leave from, and their header fields. [`rping_net::Options::payload`] is set by the probe.
    pub net: rping_net::Options,
    /// Payload, bytes. Under 16 there is no room for sequence number and nonce: answers are then matched by address,
    /// identifier and sequence field alone.
    pub size: usize,
    /// How the time until the next send is spent.
    pub pacing: Pacing,
    /// How long to look for answers without sleeping, see [`Waiter::set_linger`].
    pub linger: Duration,
    /// Ends a wait from another thread.
    pub waker: Option<Waker>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            net: rping_net::Options::default(),
            size: 32,
            pacing: Pacing::Precise,
            linger: Duration::ZERO,
            waker: None,
        }
    }
}

/// Which kind of socket the system granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketKind {
    /// The unprivileged kind.
    Datagram,
    /// The raw kind.
    Raw,
}

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Role {
    v6: bool,
    /// For targets that have not answered yet: packets that wait for a neighbour fill this one's buffer, not that of
    /// the targets that answer.
    first_contact: bool,
    /// The identifier that the kernel chose, where it did.
    id: Option<u16>,
    /// The identifiers that are its own on a raw socket: each raw socket of the host gets every ICMP packet and error, so two
    /// that shared them would tell everything twice.
    ids: Identifiers,
}

impl Role {
    fn is_ours(self, id: u16) -> bool {
        self.id.map_or(self.ids.contain(id), |own| own == id)
    }

    /// The identifier that the probe with this number bears.
    fn id(self, seq: Sequence) -> u16 {
        self.id
            .unwrap_or(self.ids.base & self.ids.mask | (seq.0 >> 16) as u16 & !self.ids.mask)
    }

    /// The low bits of the sequence number that the header fields hold, and how many they are.
    fn low(self, echo: Echo) -> (u64, u32) {
        match self.id {
            Some(_) => (u64::from(echo.seq), 16),
            None => (
                u64::from(echo.id & !self.ids.mask) << 16 | u64::from(echo.seq),
                16 + ID_BITS,
            ),
        }
    }
}

/// ICMP echo to many targets.
#[derive(Debug)]
pub struct IcmpProbe {
    // Two lists in step, so that a pass can borrow the sockets beside all else.
    sockets: Vec<Datagram>,
    state: State,
    waiter: Waiter,
    _keeper: StampKeeper,
    bytes: Vec<u8>,
    packets: Vec<Packet>,
}

/// All but the sockets.
#[derive(Debug)]
struct State {
    roles: Vec<Role>,
    targets: Targets,
    surroundings: Surroundings,
    key: u128,
    size: usize,
    broadcast: bool,
    strangers: u64,
}

impl IcmpProbe {
    /// Opens the sockets for these targets (ports are ignored; scope ids are not): the unprivileged kind where the
    /// system allows it, else the raw kind.
    ///
    /// # Errors
    /// [`rping_net::Error::NoIcmpPermission`] where neither is allowed, [`Error::TooLarge`], and whatever else keeps a
    /// socket from being made as asked.
    pub fn open(targets: &[SocketAddr], options: &Options) -> Result<IcmpProbe, Error> {
        if targets.is_empty() {
            return Err(Error::NoTargets);
        }
        let most = if targets.iter().any(SocketAddr::is_ipv4) {
            MAX_SIZE_V4
        } else {
            MAX_SIZE_V6
        };
        if options.size > most {
            return Err(Error::TooLarge {
                size: options.size,
                most,
            });
        }
        let keeper = StampKeeper::start()?;
        let random = RandomState::new();
        let base = random.hash_one(1u8) as u16;
        let net = rping_net::Options {
            payload: HEADER + options.size,
            ..options.net.clone()
        };
        let (mut sockets, mut roles) = (Vec::new(), Vec::new());
        for v6 in [false, true] {
            let count = targets.iter().filter(|target| target.is_ipv6() == v6).count();
            // A target alone has nobody to be held up by.
            let contacts: &[bool] = match count {
                0 => &[],
                _ if targets.len() == 1 => &[false],
                _ => &[false, true],
            };
            for &first_contact in contacts {
                let base = base ^ u16::from(first_contact) << ID_BITS;
                let ids = Identifiers {
                    base,
                    mask: u16::MAX << ID_BITS,
                };
                let socket = Datagram::icmp(v6, ids, &net)?;
                let id = match socket.kind() {
                    Kind::IcmpDatagram { id } => Some(id),
                    _ => None,
                };
                roles.push(Role {
                    v6,
                    first_contact,
                    id,
                    ids,
                });
                sockets.push(socket);
            }
        }
        let mut waiter = Waiter::new(options.pacing);
        if let Some(waker) = &options.waker {
            waiter = waiter.with_waker(waker.clone());
        }
        waiter.set_linger(options.linger);
        let length = HEADER + options.size;
        let batch = (TX_BYTES / length).clamp(1, BATCH);
        let mut bytes = vec![0; batch * length];
        bytes
            .chunks_exact_mut(length)
            .for_each(|message| probe_payload::write(&mut message[HEADER..], 0, 0));
        let state = State {
            roles,
            targets: Targets::new(targets),
            surroundings: Surroundings::new(),
            key: u128::from(random.hash_one(2u8)) << 64 | u128::from(random.hash_one(3u8)),
            size: options.size,
            broadcast: options.net.broadcast,
            strangers: 0,
        };
        let packets = Vec::with_capacity(batch);
        Ok(IcmpProbe {
            sockets,
            state,
            waiter,
            _keeper: keeper,
            bytes,
            packets,
        })
    }

    /// Which kind of socket the system granted.
    pub fn socket_kind(&self) -> SocketKind {
        if self.state.roles.iter().any(|role| role.id.is_some()) {
            SocketKind::Datagram
        } else {
            SocketKind::Raw
        }
    }

    /// How many probes to one target can be in flight before their answers cannot be told apart; `None` where there is no such
    /// limit, the payload carrying the whole sequence number.
    pub fn max_in_flight(&self) -> Option<u64> {
        if self.state.size >= HEADER_LEN {
            return None;
        }
        Some(match self.socket_kind() {
            SocketKind::Datagram => 1 << 16,
            SocketKind::Raw => 1 << (16 + ID_BITS),
        })
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.waiter.pacing()
    }

    /// Answers from addresses that are no target of a run of several: they could not be counted under any.
    pub fn strangers(&self) -> u64 {
        self.state.strangers
    }

    fn send_by(&mut self, socket: usize, due: &[Outgoing], left: &mut Vec<Departure>) {
        let IcmpProbe {
            sockets,
            state,
            bytes,
            packets,
            ..
        } = self;
        let (Some(datagram), Some(&role)) = (sockets.get_mut(socket), state.roles.get(socket)) else {
            return;
        };
        let length = HEADER + state.size;
        let mut mine = due
            .iter()
            .filter(|out| state.socket_for(out.target) == Some(socket));
        loop {
            packets.clear();
            let first = mine.clone();
            for (message, out) in bytes.chunks_exact_mut(length).zip(&mut mine) {
                let start = packets.len() * length;
                packets.push(state.packet(message, role, out, start));
            }
            if packets.is_empty() {
                return;
            }
            // Results come in the order of the packets.
            let mut results = first;
            let sent_before = left.len();
            datagram.send(bytes, packets, |_, how| {
                let how = match how {
                    // Full of packets that wait for neighbours, each for three seconds at most.
                    Left::Deferred if role.first_contact => Left::Held,
                    other => other,
                };
                left.extend(results.next().map(|out| Departure {
                    target: out.target,
                    seq: out.seq,
                    left: how,
                }));
            });
            debug_assert_eq!(left.len() - sent_before, packets.len());
        }
    }
}

impl State {
    fn socket_for(&self, target: TargetId) -> Option<usize> {
        let target = self.targets.get(target)?;
        let v6 = target.address.is_ipv6();
        let wanted = |role: &Role| role.v6 == v6 && role.first_contact != target.heard;
        // A target alone has one socket.
        self.roles
            .iter()
            .position(wanted)
            .or_else(|| self.roles.iter().position(|role| role.v6 == v6))
    }

    fn key(&self, target: TargetId) -> NonceKey {
        NonceKey::new(self.key ^ u128::from(target.0))
    }

    /// Writes an echo request into `message`, whose payload holds the filler already.
    fn packet(&self, message: &mut [u8], role: Role, out: &Outgoing, start: usize) -> Packet {
        let types = if role.v6 { message::V6 } else { message::V4 };
        if let Some(header) = message.first_chunk_mut::<HEADER>() {
            Echo {
                kind: types.request,
                id: role.id(out.seq),
                seq: out.seq.low16(),
            }
            .write(header);
        }
        if let Some(header) = message.get_mut(HEADER..HEADER + HEADER_LEN) {
            probe_payload::write(header, out.seq.0, self.key(out.target).nonce(out.seq.0));
        }
        if !role.v6 {
            message::seal(message);
        }
        Packet {
            bytes: start..start + message.len(),
            to: self.targets.get(out.target).map(|target| target.address),
            from: None,
            tag: u64::from(out.target.0) << 32 | u64::from(out.seq.low32()),
        }
    }

    fn incoming(&mut self, socket: usize, incoming: Incoming<'_>, arrived: &mut Vec<Arrival>) {
        let Some(&role) = self.roles.get(socket) else {
            return;
        };
        match incoming {
            Incoming::Left { tag, at } => {
                let target = TargetId((tag >> 32) as u32);
                arrived.push(Arrival {
                    target,
                    at,
                    event: Event::Left(SeqRef::Low32(tag as u32)),
                });
            }
            Incoming::Error { error, at } => arrived.extend(self.error(role, error, at)),
            Incoming::Packet(received) => arrived.extend(self.reply(role, received)),
        }
    }

    fn reply(&mut self, role: Role, received: &Received<'_>) -> Option<Arrival> {
        let first = self.targets.at(received.from).next();
        let direct: Vec<TargetId>;
        let candidates: &[TargetId] = match first {
            Some(ref only) if self.targets.at(received.from).nth(1).is_none() => std::slice::from_ref(only),
            Some(_) => {
                direct = self.targets.at(received.from).collect();
                &direct
            }
            // Hosts of a group answer from their own addresses.
            None => {
                direct = self.targets.groups(self.broadcast).collect();
                &direct
            }
        };
        let mut best = None;
        for &target in candidates {
            let event = self.judge(role, target, received);
            let settles = matches!(event, Event::Reply(_));
            best = Some((target, event));
            if settles {
                break;
            }
        }
        let (target, event) = match best {
            Some(best) => best,
            None if self.targets.len() == 1 => (TargetId(0), Event::Unexpected),
            None => {
                self.strangers += 1;
                return None;
            }
        };
        if first.is_some() && matches!(event, Event::Reply(_)) {
            self.targets.set_heard(target, true);
        }
        Some(Arrival {
            target,
            at: received.at,
            event,
        })
    }

    /// What a datagram says about `target`.
    fn judge(&self, role: Role, target: TargetId, received: &Received<'_>) -> Event {
        if received.damaged {
            return Event::Corrupt;
        }
        let types = if role.v6 { message::V6 } else { message::V4 };
        let Some((echo, payload)) = Echo::parse(received.payload) else {
            return Event::Unexpected;
        };
        if echo.kind != types.reply || !role.is_ours(echo.id) {
            return Event::Unexpected;
        }
        let found = if self.size < HEADER_LEN {
            self.by_fields(role, target, echo, payload, received.cut)
        } else {
            let key = self.key(target);
            match probe_payload::check(self.size, payload, |seq| key.nonce(seq)) {
                // The fields of the header say the same, or it was damaged there.
                Match::Whole(seq) | Match::Truncated(seq) if !fields_say(role, echo, Sequence(seq)) => {
                    Err(Event::Corrupt)
                }
                Match::Whole(seq) => Ok((Sequence(seq), false)),
                Match::Truncated(seq) => Ok((Sequence(seq), true)),
                Match::Corrupt => Err(Event::Corrupt),
                Match::Foreign => Err(Event::Unexpected),
            }
        };
        match found {
            Ok((seq, truncated)) => Event::Reply(Answer {
                truncated,
                ttl: received.ttl,
                ..Answer::new(SeqRef::Full(seq), Origin::Ip(received.from.ip()))
            }),
            Err(event) => event,
        }
    }

    /// A reply without room for a nonce: identifier, sequence field and filler are all there is.
    fn by_fields(
        &self,
        role: Role,
        target: TargetId,
        echo: Echo,
        payload: &[u8],
        cut: bool,
    ) -> Result<(Sequence, bool), Event> {
        if cut || !probe_payload::is_filler(self.size, payload) {
            return Err(Event::Corrupt);
        }
        let seq = self.widen(role, target, echo).ok_or(Event::Unexpected)?;
        Ok((seq, payload.len() < self.size))
    }

    fn widen(&self, role: Role, target: TargetId, echo: Echo) -> Option<Sequence> {
        let (low, bits) = role.low(echo);
        self.targets.widen(target, low, bits)
    }

    /// Which probe an error is about: only the packet that it quotes can tell. A raw socket gets the errors of every program on
    /// this host; what is not ours is none of our business.
    fn error(&mut self, role: Role, error: &SocketError, at: Stamp) -> Option<Arrival> {
        let types: Types = if role.v6 { message::V6 } else { message::V4 };
        let (echo, payload) = Echo::parse(error.quoted())?;
        if echo.kind != types.request || !role.is_ours(echo.id) {
            return None;
        }
        let destination = error.destination?;
        let (target, seq) = self
            .targets
            .at(destination)
            .find_map(|t| Some((t, self.quoted(role, t, echo, payload)?)))?;
        let event = match error.verdict(|ip| self.surroundings.is_own(ip)) {
            Verdict::Rejected(refusal) => Event::Rejected(seq, refusal),
            Verdict::NotSent(refusal) => Event::NotSent(seq, refusal),
        };
        // It was somebody else who spoke, so what is sent there leaves; or it does not.
        self.targets
            .set_heard(target, matches!(event, Event::Rejected(..)));
        Some(Arrival { target, at, event })
    }

    fn quoted(&self, role: Role, target: TargetId, echo: Echo, payload: &[u8]) -> Option<SeqRef> {
        if self.size >= HEADER_LEN {
            if let Some(header) = payload.first_chunk::<HEADER_LEN>() {
                let key = self.key(target);
                return match probe_payload::check(HEADER_LEN, header, |seq| key.nonce(seq)) {
                    Match::Whole(seq) => Some(SeqRef::Full(Sequence(seq))),
                    _ => None,
                };
            }
        }
        self.widen(role, target, echo).map(SeqRef::Full)
    }
}

/// Whether the fields of the header name the same probe as the payload does.
fn fields_say(role: Role, echo: Echo, seq: Sequence) -> bool {
    echo.seq == seq.low16() && echo.id == role.id(seq)
}

impl Probe for IcmpProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        due.iter()
            .for_each(|out| self.state.targets.sent(out.target, out.seq));
        (0..self.sockets.len()).for_each(|socket| self.send_by(socket, due, left));
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let IcmpProbe {
            sockets,
            state,
            waiter,
            ..
        } = self;
        Ok(receive_from_any(sockets, waiter, until, |socket, incoming| {
            state.incoming(socket, incoming, arrived);
        })?)
    }

    fn silent(&mut self, target: TargetId, _seq: Sequence, stamped: bool) -> Silence {
        let State {
            targets,
            surroundings,
            ..
        } = &mut self.state;
        let Some(address) = targets.get(target).map(|t| t.address.ip()).filter(|_| !stamped) else {
            return Silence::Lost;
        };
        if !surroundings.is_unresolved(address) {
            return Silence::Lost;
        }
        targets.set_heard(target, false);
        Silence::NotSent(Refusal::of(Reason::NoNeighbour))
    }

    fn local_drops(&self) -> u64 {
        self.sockets.iter().map(Datagram::drops).sum()
    }

    fn clock_steps(&self) -> u64 {
        // Each socket sees the same steps.
        self.sockets.iter().map(Datagram::clock_steps).max().unwrap_or(0)
    }
}
