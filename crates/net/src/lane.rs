//! The way past the IP stack: whole Ethernet frames by a packet socket, for IPv4 targets behind one interface.
//!
//! A frame that the program made itself meets no route lookup, no firewall and no queueing discipline on its way out,
//! which is a third of a probe's cost; and just for that reason it proves less about this host. Whoever takes this way asks for it.
//!
//! Where a target's frames go is settled once, as the kernel would: by the route and the neighbour table. Who cannot be reached
//! so has no way here, and is probed through the IP stack.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rping_engine::{Drained, Left, Stamp, TargetId, Timestamp, BATCH};

use crate::bpf::Filter;
use crate::clock::{Clock, Realtime};
use crate::errqueue::send_refusal;
use crate::incoming::{internet_checksum, Incoming, Received};
use crate::netlink::{self, RouteKind};
use crate::options::Options;
use crate::packet::{self, PacketSocket, Transmitted, RECEIVE_BATCH, SEND_BATCH};
use crate::{iface, Error, Result};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TYPE_IPV4: u16 = 0x0800;
/// Where in a frame the message begins that the kernel would put behind an IPv4 header without options.
const HEADERS: usize = ETHERNET + IPV4;
/// Up to so many targets each is looked up; of more, one of each block of 256 addresses.
const EACH: usize = 1024;
/// How many different next hops are known at most: more are a subnet, whose hosts the IP stack's own way finds.
const HOPS: usize = 64;
/// How long a next hop may take to resolve.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many frames may wait for their transmit stamps; a power of two.
const AWAITED: usize = 4096;
/// RFC 1122 section 3.2.1.7; the system's default is read where it can be.
const TTL: u8 = 64;
/// How many batches one receive pass takes.
const PASSES: usize = 8;

/// What travels on a lane: protocol number, and what is to be heard of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// ICMP echo replies with these identifiers.
    Icmp {
        /// The bits that all have in common.
        base: u16,
        /// Which bits those are.
        mask: u16,
    },
    /// TCP segments to these ports.
    Tcp(crate::open::Ports),
}

impl Traffic {
    fn protocol(self) -> u8 {
        match self {
            Traffic::Icmp { .. } => 1,
            Traffic::Tcp(_) => 6,
        }
    }

    fn filter(self) -> Filter {
        let filter = Filter::new()
            .byte(ETHERNET as u32 + 9, self.protocol())
            // No later fragment: it has no header to look at.
            .half_masked(ETHERNET as u32 + 6, 0x1fff, 0)
            .behind_ipv4(ETHERNET as u32);
        match self {
            Traffic::Icmp { base, mask } => filter
                .half_masked_behind(ETHERNET as u32, 0xff00, 0)
                .half_masked_behind(ETHERNET as u32 + 4, mask, base & mask),
            Traffic::Tcp(ports) => filter.half_masked_behind(ETHERNET as u32 + 2, !ports.free, ports.base),
        }
    }
}

/// A frame whose transmit stamp may come.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    number: u32,
    tag: u64,
    at: Timestamp,
}

/// Frames out, frames in, over one interface.
#[derive(Debug)]
pub struct Lane {
    socket: PacketSocket,
    traffic: Traffic,
    hops: Vec<[u8; 6]>,
    /// Each target's next hop, or [`NOWHERE`].
    way: Vec<u8>,
    head: [u8; HEADERS],
    frames: Vec<u8>,
    /// The length of a frame's place in `frames`.
    room: usize,
    ends: Vec<usize>,
    realtime: Realtime,
    stamped: bool,
    awaited: Vec<Option<Awaited>>,
    stamps: Vec<Transmitted>,
    snap: usize,
}

const NOWHERE: u8 = u8::MAX;
const _: () = assert!(HOPS < NOWHERE as usize);

impl Lane {
    /// The lane of those of `targets` that are behind the same interface as the first that has a way; messages are up to
    /// `length` bytes long.
    ///
    /// # Errors
    /// [`Error::NoLane`] with the reason where no target can be reached so, or not with these options, or packet sockets
    /// are not allowed.
    pub fn open(targets: &[SocketAddr], traffic: Traffic, length: usize, options: &Options) -> Result<Lane> {
        let refuse = |why: &str| Error::NoLane { why: why.to_owned() };
        let ways = Ways::find(targets, options);
        let Some((ifindex, source)) = ways.via else {
            return Err(refuse(
                "no target is an IPv4 host behind an Ethernet interface whose next hop answers",
            ));
        };
        let interface = iface::interface_by_index(ifindex)
            .map_err(Error::os("look up the interface"))?
            .filter(|interface| interface.is_ethernet());
        let Some((interface, mac)) = interface.and_then(|found| found.mac.map(|mac| (found, mac))) else {
            return Err(refuse("the interface has no link-layer addresses"));
        };
        if IPV4 + length > interface.mtu as usize {
            return Err(refuse("the probes are longer than a frame of the interface"));
        }
        let snap = (HEADERS + 40 + length + 1).next_multiple_of(64);
        let socket = PacketSocket::open(&packet::Options {
            filter: traffic.filter(),
            transmit_stamps: options.transmit_stamps,
            bypass_queue: true,
            snap,
            receive_buffer: options.receive_buffer,
            ..packet::Options::new(ifindex, TYPE_IPV4)
        })
        .map_err(|error| match error.errno() {
            Some(libc::EPERM) => refuse(
                "no permission for packet sockets: run `setcap cap_net_raw+ep` on the rping program, or run as root",
            ),
            _ => error,
        })?;
        let room = HEADERS + length;
        Ok(Lane {
            socket,
            traffic,
            hops: ways.hops,
            way: ways.way,
            head: head(mac, source, traffic.protocol(), options),
            frames: vec![0; room * BATCH],
            room,
            ends: Vec::with_capacity(BATCH),
            realtime: Realtime::new(),
            stamped: options.transmit_stamps,
            awaited: if options.transmit_stamps {
                vec![None; AWAITED]
            } else {
                Vec::new()
            },
            stamps: Vec::with_capacity(RECEIVE_BATCH),
            snap,
        })
    }

    /// The address that its packets bear as their sender's.
    pub fn source(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _] = self.head;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Whether there is a way to this target.
    #[inline]
    pub fn leads_to(&self, target: TargetId) -> bool {
        self.way.get(target.index()).is_some_and(|&way| way != NOWHERE)
    }

    /// Lets `fill` prepare what stays the same in the message of each frame.
    pub(crate) fn prepare(&mut self, mut fill: impl FnMut(&mut [u8])) {
        for frame in self.frames.chunks_exact_mut(self.room) {
            fill(&mut frame[HEADERS..]);
        }
    }

    /// Begins a batch.
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
    }

    /// Adds a packet to the batch; `write` writes its message, whose place it is given as the last message left it, and says how
    /// long it is. Does nothing once the batch is full.
    pub(crate) fn push(&mut self, target: TargetId, to: SocketAddr, write: impl FnOnce(&mut [u8]) -> usize) {
        let place = self.ends.len();
        let (Some(frame), IpAddr::V4(to)) = (self.frames.chunks_exact_mut(self.room).nth(place), to.ip())
        else {
            return;
        };
        let (headers, message) = frame.split_at_mut(HEADERS);
        let length = write(message).min(self.room - HEADERS);
        headers.copy_from_slice(&self.head);
        let way = self.way.get(target.index()).copied().unwrap_or(NOWHERE);
        if let Some(mac) = self.hops.get(usize::from(way)) {
            headers[..6].copy_from_slice(mac);
        }
        let ip = &mut headers[ETHERNET..];
        ip[2..4].copy_from_slice(&((IPV4 + length) as u16).to_be_bytes());
        ip[16..20].copy_from_slice(&to.octets());
        let sum = internet_checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        self.ends.push(HEADERS + length);
    }

    /// Sends the batch, not before `not_before`; `result` is told of each packet by its place, with its stamp from before the
    /// send call. `tag` gives the tag under which a packet's transmit stamp will come.
    pub(crate) fn send(
        &mut self,
        mut not_before: Timestamp,
        tag: impl Fn(usize) -> u64,
        mut result: impl FnMut(usize, Left),
    ) {
        let Lane {
            socket,
            frames,
            room,
            ends,
            stamped,
            awaited,
            ..
        } = self;
        let mut parts: [&[u8]; SEND_BATCH] = [&[]; SEND_BATCH];
        let count = ends.len().min(SEND_BATCH);
        for ((part, frame), &end) in parts.iter_mut().zip(frames.chunks_exact(*room)).zip(ends.iter()) {
            *part = &frame[..end];
        }
        let mut next = 0;
        while next < count {
            let at = Clock.now_from(std::mem::take(&mut not_before));
            let sent = socket.send(&parts[next..count]);
            for place in next..next + sent.count {
                if *stamped {
                    let number = sent.first.wrapping_add((place - next) as u32);
                    if let Some(slot) = awaited.get_mut(number as usize % AWAITED) {
                        *slot = Some(Awaited {
                            number,
                            tag: tag(place),
                            at,
                        });
                    }
                }
                result(place, Left::At(Stamp::user(at)));
            }
            next += sent.count;
            let Some(error) = sent.error else { continue };
            let errno = error.raw_os_error().unwrap_or(0);
            if matches!(errno, libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) {
                (next..count).for_each(|place| result(place, Left::Deferred));
                return;
            }
            result(next, Left::NotSent(send_refusal(errno, None)));
            next += 1;
        }
    }

    /// Hands over what has arrived, without waiting, transmit stamps before what came in after them. Whether that was all, and
    /// whether there was anything beside transmit stamps.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Incoming<'_>)) -> (Drained, bool) {
        let mut heard = false;
        for _ in 0..PASSES {
            // ENETDOWN is told once when the interface goes down; the socket lives on.
            let got = self.socket.receive().unwrap_or(0);
            if got == 0 && !self.stamped {
                return (Drained::All, heard);
            }
            // Frames and stamps share the buffers: the stamps are read by a second socket call only where they are asked for.
            if self.stamped {
                self.hand_over_stamped(got, &mut each);
            } else {
                let now = self.realtime.check();
                for frame in self.socket.frames() {
                    if let Some(received) = read(&frame, self.traffic, self.snap, &self.realtime, now) {
                        each(Incoming::Packet(&received));
                    }
                }
            }
            heard |= got > 0;
            if got < RECEIVE_BATCH {
                return (Drained::All, heard);
            }
        }
        (Drained::More, heard)
    }

    /// Frames that have come are kept aside while the stamps are read, which are told first.
    fn hand_over_stamped(&mut self, got: usize, each: &mut impl FnMut(Incoming<'_>)) {
        let mut kept: Vec<(Vec<u8>, Option<i64>)> = Vec::with_capacity(got);
        kept.extend(
            self.socket
                .frames()
                .map(|frame| (frame.bytes.to_vec(), frame.stamp)),
        );
        self.stamps.clear();
        while self.socket.transmit_stamps(&mut self.stamps).unwrap_or(0) == RECEIVE_BATCH {}
        if kept.is_empty() && self.stamps.is_empty() {
            return;
        }
        let now = self.realtime.check();
        for stamp in self.stamps.drain(..) {
            let Some(slot) = self.awaited.get_mut(stamp.number as usize % AWAITED) else {
                continue;
            };
            let Some(awaited) = slot.take_if(|awaited| awaited.number == stamp.number) else {
                continue;
            };
            let kernel = stamp
                .real
                .and_then(|real| self.realtime.instant(real, awaited.at, now));
            each(Incoming::Left {
                tag: awaited.tag,
                at: kernel.map_or(Stamp::user(awaited.at), Stamp::kernel),
            });
        }
        for (bytes, stamp) in &kept {
            let frame = packet::Frame {
                bytes,
                stamp: *stamp,
                device: None,
                addressed: packet::Addressed::Host,
                whole: 0,
                link: packet::Link::default(),
            };
            if let Some(received) = read(&frame, self.traffic, self.snap, &self.realtime, now) {
                each(Incoming::Packet(&received));
            }
        }
    }

    /// Frames that the kernel dropped because the receive buffer was full.
    pub fn drops(&self) -> u64 {
        self.socket.drops()
    }

    pub(crate) fn clock_steps(&self) -> u64 {
        self.realtime.steps()
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The headers of every packet but for destination, length and checksum.
fn head(mac: [u8; 6], source: Ipv4Addr, protocol: u8, options: &Options) -> [u8; HEADERS] {
    let mut head = [0; HEADERS];
    head[6..12].copy_from_slice(&mac);
    head[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes());
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl");
    let ttl = options
        .ttl
        .or_else(|| system.ok()?.trim().parse().ok())
        .unwrap_or(TTL);
    // RFC 791 section 3.1: version and header length, TOS, then "do not fragment", TTL, protocol. RFC 6864: what is never fragmented
    // needs no identification.
    head[ETHERNET] = 0x45;
    head[ETHERNET + 1] = options.dscp.unwrap_or(0) << 2;
    head[ETHERNET + 6] = 0x40;
    head[ETHERNET + 8] = ttl;
    head[ETHERNET + 9] = protocol;
    head[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&source.octets());
    head
}

/// `None` for what is no whole IPv4 packet to us.
fn read<'a>(
    frame: &packet::Frame<'a>,
    traffic: Traffic,
    snap: usize,
    realtime: &Realtime,
    now: Timestamp,
) -> Option<Received<'a>> {
    if frame.addressed != packet::Addressed::Host {
        return None;
    }
    let parts = parse(frame.bytes)?;
    let cut = frame.bytes.len() >= snap;
    Some(Received {
        from: SocketAddr::new(parts.from.into(), 0),
        at: realtime.received(frame.stamp, now),
        ttl: Some(parts.ttl),
        hardware: None,
        tos: None,
        to: Some((parts.to.into(), 0)),
        payload: parts.message,
        cut,
        damaged: matches!(traffic, Traffic::Icmp { .. }) && !cut && internet_checksum(parts.message) != 0,
    })
}

struct Parts<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    ttl: u8,
    message: &'a [u8],
}

/// The IPv4 packet in a frame: header length, header checksum and total length (short frames are padded) are believed only as far as
/// the bytes go.
fn parse(bytes: &[u8]) -> Option<Parts<'_>> {
    let packet = bytes.get(ETHERNET..)?;
    let header = packet.get(..usize::from(packet.first()? & 0x0f) * 4)?;
    let fixed = header.first_chunk::<IPV4>()?;
    if fixed[0] >> 4 != 4 || internet_checksum(header) != 0 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]])).min(packet.len());
    Some(Parts {
        from: address(12),
        to: address(16),
        ttl: fixed[8],
        message: packet.get(header.len()..total)?,
    })
}

#[doc(hidden)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = parse(bytes).map(|parts| parts.message.len());
}

/// Where the frames of each target go.
struct Ways {
    via: Option<(u32, Ipv4Addr)>,
    hops: Vec<[u8; 6]>,
    way: Vec<u8>,
}

impl Ways {
    fn find(targets: &[SocketAddr], options: &Options) -> Ways {
        let mut ways = Ways {
            via: None,
            hops: Vec::new(),
            way: Vec::with_capacity(targets.len()),
        };
        let bound = options
            .interface
            .as_deref()
            .and_then(|name| iface::interface(name).ok().flatten())
            .map(|found| found.index);
        let mut known: HashMap<Ipv4Addr, u8> = HashMap::new();
        let mut by_hop: HashMap<IpAddr, u8> = HashMap::new();
        for target in targets {
            let IpAddr::V4(to) = target.ip() else {
                ways.way.push(NOWHERE);
                continue;
            };
            let [a, b, c, _] = to.octets();
            let gathered = targets.len() > EACH;
            let block = if gathered { Ipv4Addr::new(a, b, c, 0) } else { to };
            let way = match known.get(&block) {
                Some(way) => *way,
                None => {
                    let way = ways
                        .of(to, gathered, bound, options, &mut by_hop)
                        .unwrap_or(NOWHERE);
                    known.insert(block, way);
                    way
                }
            };
            ways.way.push(way);
        }
        ways
    }

    fn of(
        &mut self,
        to: Ipv4Addr,
        gathered: bool,
        bound: Option<u32>,
        options: &Options,
        by_hop: &mut HashMap<IpAddr, u8>,
    ) -> Option<u8> {
        let asked = options.source.map(|source| source.ip()).filter(IpAddr::is_ipv4);
        let route = netlink::route(to.into(), asked, bound, options.mark).ok()?;
        // A block whose members are neighbours has as many next hops as members.
        if route.kind != RouteKind::Unicast || (gathered && route.gateway.is_none()) {
            return None;
        }
        let IpAddr::V4(source) = asked.or(route.prefsrc)? else {
            return None;
        };
        if *self.via.get_or_insert((route.ifindex, source)) != (route.ifindex, source) {
            return None;
        }
        let hop = route.next_hop(to.into());
        if let Some(way) = by_hop.get(&hop) {
            return Some(*way);
        }
        let way = if self.hops.len() < HOPS {
            resolve(hop, route.ifindex).map(|mac| {
                self.hops.push(mac);
                self.hops.len() as u8 - 1
            })
        } else {
            None
        };
        by_hop.insert(hop, way.unwrap_or(NOWHERE));
        if self.hops.is_empty() {
            self.via = None;
        }
        way
    }
}

/// The link-layer address of a neighbour, which the kernel is made to ask for where it does not know it.
fn resolve(hop: IpAddr, ifindex: u32) -> Option<[u8; 6]> {
    let known = || {
        let entry = netlink::neighbour(hop, ifindex).ok().flatten()?;
        entry.mac.filter(|_| !entry.state.is_unresolved())
    };
    if let Some(mac) = known() {
        return Some(mac);
    }
    // To the discard port (RFC 863): what the packet holds is no matter, that it must find its neighbour is.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.send_to(&[0], (hop, 9)).ok()?;
    let end = Clock.now().plus(PATIENCE);
    while Clock.now() < end {
        if let Some(mac) = known() {
            return Some(mac);
        }
        crate::wait::sleep(Duration::from_micros(500));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let options = Options {
            ttl: Some(7),
            dscp: Some(46),
            ..Options::default()
        };
        let mut bytes = head([2; 6], Ipv4Addr::new(10, 0, 0, 1), 1, &options).to_vec();
        bytes.extend_from_slice(message);
        let total = (IPV4 + message.len()) as u16;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        bytes[30..34].copy_from_slice(&[10, 0, 0, 2]);
        let sum = internet_checksum(&bytes[ETHERNET..HEADERS]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn a_packet_is_read_as_it_was_written_and_padding_is_left_away() {
        let mut bytes = frame(&[1, 2, 3]);
        bytes.extend_from_slice(&[0; 23]);
        let parts = parse(&bytes).unwrap();
        assert_eq!(parts.message, [1, 2, 3]);
        assert_eq!((parts.ttl, bytes[15]), (7, 46 << 2));
        assert_eq!(
            (parts.from.to_string(), parts.to.to_string()),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );
    }

    #[test]
    fn a_damaged_header_is_nobodys_and_no_cut_makes_reading_panic() {
        let bytes = frame(&[9; 8]);
        for place in ETHERNET..HEADERS {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x11;
            assert!(parse(&damaged).is_none(), "byte {place}");
        }
        (0..bytes.len()).for_each(|end| fuzz(&bytes[..end]));
    }
}
