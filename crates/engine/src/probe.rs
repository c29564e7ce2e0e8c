//! The seam between the engine, which decides, and the probe kinds, which send and receive.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::time::{Stamp, Timestamp};

/// Which of the run's targets: an index into the list the run was made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub u32);

impl TargetId {
    /// The target's place in the run's list.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of a probe to one target: counts from 0, warm-up probes included, and never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The low 16 bits: what fits an ICMP sequence field.
    pub const fn low16(self) -> u16 {
        self.0 as u16
    }

    /// The low 32 bits: what fits a STAMP sequence field.
    pub const fn low32(self) -> u32 {
        self.0 as u32
    }

    /// The next number.
    pub const fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// The part of a sequence number that a reply carried.
///
/// A 16- or 32-bit wire field carries low bits alone; the engine widens them to the most recent probe of that
/// target with these bits, never to one that was not sent yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SeqRef {
    /// The whole number, from a payload that had room for it.
    Full(Sequence),
    /// The low 16 bits.
    Low16(u16),
    /// The low 32 bits.
    Low32(u32),
    /// The wire has no sequence field (ARP, NDP): the oldest unanswered probe of this target that left before
    /// the answer came, else the newest answered one.
    Oldest,
}

/// A probe that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// To whom.
    pub target: TargetId,
    /// Which of this target's probes.
    pub seq: Sequence,
    /// When the schedule wanted it sent.
    pub due: Timestamp,
}

/// What came of one [`Outgoing`]. A probe kind writes one for each probe it was given, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departure {
    /// Of which target.
    pub target: TargetId,
    /// Which probe.
    pub seq: Sequence,
    /// Whether and when it left.
    pub left: Left,
}

/// Whether a probe left this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// It left; the stamp was taken *before* the send call. A kernel transmit stamp may follow as [`Event::Left`].
    At(Stamp),
    /// It did not leave and will not: the outcome `not sent`.
    NotSent(Refusal),
    /// Local buffers or the descriptor limit hold no more just now. The engine offers the same probe again a
    /// little later, with its due time unchanged; after a timeout's time it is not sent for want of buffers.
    Deferred,
    /// The probe waits for its turn, for instance because many neighbours are being resolved already. The engine
    /// offers it again every now and then, however long it takes: the probe kind vouches that its turn comes.
    Held,
}

/// Something that the network, or the local stack, said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// About which target.
    pub target: TargetId,
    /// When: for [`Event::Left`] when the packet left, else when the answer arrived.
    pub at: Stamp,
    /// What it says.
    pub event: Event,
}

/// What an [`Arrival`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The kernel's or the interface's transmit stamp of a probe; one that has both hands over the kernel's first. Must be
    /// handed over before the reply it belongs to.
    Left(SeqRef),
    /// The probe was answered as asked.
    Reply(Answer),
    /// Somebody said no.
    Rejected(SeqRef, Refusal),
    /// The local stack says, after the send call, that the probe never left.
    NotSent(SeqRef, Refusal),
    /// Nothing more can reach this target (its connection ended): what is in flight to it is rejected so, and nothing
    /// more is sent to it. The others go on.
    Over(Refusal),
    /// A damaged answer (checksum or payload). Settles nothing.
    Corrupt,
    /// Something that belongs to no probe of ours.
    Unexpected,
}

/// An answer as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Which probe it answers.
    pub seq: SeqRef,
    /// Who answered.
    pub from: Origin,
    /// Cut short, but a true prefix of what was sent and holding our sequence.
    pub truncated: bool,
    /// TCP: how many SYNs were sent again before the handshake was done. More than 0 means the round trip is not known.
    pub syn_retransmits: u8,
    /// A round-trip time that the kernel measured itself (`tcpi_rtt`), instead of the difference of two stamps.
    /// Used with [`crate::time::StampSource::TcpInfo`] in the arrival's stamp.
    pub rtt: Option<Duration>,
    /// The hop limit or TTL that the answer arrived with, where it can be seen.
    pub ttl: Option<u8>,
    /// How long the far end says that it held the probe: taken out of the round trip, and kept beside it. What is longer
    /// than the round trip itself is not believed.
    pub residence: Option<Duration>,
    /// That it was answered is known, but not when: the round trip is not known. (A neighbour entry that the kernel
    /// confirmed.)
    pub untimed: bool,
    /// TCP: the local port of the connection, where it was asked for.
    pub local_port: Option<NonZeroU16>,
    /// When it arrived by the interface's clock, beside the stamp of the [`Arrival`]. It counts where the probe's
    /// departure bears a stamp of that clock too ([`Event::Left`] with [`crate::time::StampSource::Hardware`]).
    pub hardware: Option<Timestamp>,
}

impl Answer {
    /// A plain answer to `seq` from `from`.
    pub const fn new(seq: SeqRef, from: Origin) -> Answer {
        Answer {
            seq,
            from,
            truncated: false,
            syn_retransmits: 0,
            rtt: None,
            ttl: None,
            residence: None,
            untimed: false,
            local_port: None,
            hardware: None,
        }
    }
}

/// Who answered or refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// An IP address.
    Ip(IpAddr),
    /// A link-layer address.
    Mac([u8; 6]),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Ip(ip) => ip.fmt(f),
            Origin::Mac([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
        }
    }
}

/// Why a probe was rejected or not sent, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    /// The reason by name.
    pub reason: Reason,
    /// Who said so; `None` when it was the local stack, which has no address.
    pub from: Option<Origin>,
    /// The ICMP or ICMPv6 message that said so: type and code. `None` for a TCP reset and for local errors.
    pub icmp: Option<(u8, u8)>,
    /// For [`Reason::PacketTooBig`]: the largest IP packet the path takes, in bytes, where it was told.
    pub mtu: Option<u32>,
    /// The operating system's error number behind it, where there is one.
    pub errno: Option<i32>,
}

impl Refusal {
    /// A refusal with nothing known but its reason.
    pub const fn of(reason: Reason) -> Refusal {
        Refusal {
            reason,
            from: None,
            icmp: None,
            mtu: None,
            errno: None,
        }
    }

    /// The same with the operating system's error number.
    pub const fn errno(mut self, errno: i32) -> Refusal {
        self.errno = Some(errno);
        self
    }
}

/// The reasons for `rejected` and `not sent`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Reason {
    /// TCP reset, or ICMP port unreachable.
    PortClosed,
    /// ICMP host unreachable from somebody else.
    HostUnreachable,
    /// ICMP network unreachable from somebody else.
    NetworkUnreachable,
    /// ICMP administratively prohibited: a policy.
    AdminProhibited,
    /// ICMP protocol unreachable.
    ProtocolUnreachable,
    /// ICMP time exceeded: the TTL ran out on the way.
    TimeExceeded,
    /// The packet exceeds an MTU and may not be fragmented.
    PacketTooBig,
    /// No route to the target on this host.
    NoRoute,
    /// The next hop did not answer ARP or neighbour solicitation.
    NoNeighbour,
    /// This host's own firewall or policy refused it.
    LocalFirewall,
    /// This host's buffers stayed full.
    NoBuffer,
    /// All local ports to this destination are in use.
    NoLocalPort,
    /// The interface is down.
    InterfaceDown,
    /// Anything else; the error number or ICMP code says what.
    Other,
}

impl Reason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Reason; 14] = [
        Reason::PortClosed,
        Reason::HostUnreachable,
        Reason::NetworkUnreachable,
        Reason::AdminProhibited,
        Reason::ProtocolUnreachable,
        Reason::TimeExceeded,
        Reason::PacketTooBig,
        Reason::NoRoute,
        Reason::NoNeighbour,
        Reason::LocalFirewall,
        Reason::NoBuffer,
        Reason::NoLocalPort,
        Reason::InterfaceDown,
        Reason::Other,
    ];

    /// The name used in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::PortClosed => "port_closed",
            Reason::HostUnreachable => "host_unreachable",
            Reason::NetworkUnreachable => "network_unreachable",
            Reason::AdminProhibited => "admin_prohibited",
            Reason::ProtocolUnreachable => "protocol_unreachable",
            Reason::TimeExceeded => "time_exceeded",
            Reason::PacketTooBig => "packet_too_big",
            Reason::NoRoute => "no_route",
            Reason::NoNeighbour => "no_neighbour",
            Reason::LocalFirewall => "local_firewall",
            Reason::NoBuffer => "no_buffer",
            Reason::NoLocalPort => "no_local_port",
            Reason::InterfaceDown => "interface_down",
            Reason::Other => "other",
        }
    }
}

/// What silence until the timeout amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Nobody answered: the outcome `lost`.
    Lost,
    /// It turns out that the probe never left (the next hop did not resolve): the outcome `not sent`.
    NotSent(Refusal),
    /// It turns out that somebody had refused it (the kernel kept the error for us).
    Rejected(Refusal),
}

/// Whether a receive pass emptied the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Nothing more was waiting when the pass ended.
    All,
    /// A bound was reached; more may be waiting. No probe is declared lost before a pass that ends with [`Drained::All`].
    More,
}

/// One kind of probe: what `rping-icmp`, `rping-tcp`, `rping-udp`, `rping-arp` or a program's own crate implements.
///
/// It sends what it is told to and hands over what arrives. It decides nothing about schedule or outcome.
pub trait Probe {
    /// What ends the whole run. Failures that concern one probe are data, not errors.
    type Error;

    /// Sends these probes, at most [`crate::BATCH`], and appends one [`Departure`] for each.
    ///
    /// # Errors
    /// Only what makes every further probe impossible.
    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Self::Error>;

    /// Waits until something arrives or until `until`, whichever is first (not at all if `until` has passed), then
    /// appends what has arrived, each with its own stamp; transmit stamps before the replies they belong to.
    ///
    /// # Errors
    /// Only what makes every further probe impossible.
    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Self::Error>;

    /// Whether probes may be handed to [`Probe::send`] a little ahead of [`Outgoing::due`], and it holds each until then
    /// and takes its stamp not before. All in one call are due at one instant then. Getting a packet ready takes longer than the
    /// wait between two looks at the clock, so a kind that holds sends closer to its schedule.
    fn holds(&self) -> bool {
        false
    }

    /// Asked once when a probe's timeout has passed in silence; frees what the probe held. `stamped` tells whether
    /// a kernel transmit stamp was seen for it.
    fn silent(&mut self, target: TargetId, seq: Sequence, stamped: bool) -> Silence {
        let _ = (target, seq, stamped);
        Silence::Lost
    }

    /// Datagrams or connections that this host itself dropped on the way in so far (full socket buffers).
    fn local_drops(&self) -> u64 {
        0
    }

    /// How often the wall clock was seen to step against the monotonic one so far.
    fn clock_steps(&self) -> u64 {
        0
    }
}
