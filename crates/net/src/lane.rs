//! The way past the IP stack: whole Ethernet frames by a packet socket, for IPv4 targets behind one interface.
//!
//! A frame that the program made itself meets no route lookup, no firewall and no queueing discipline on its way out,
//! which is a third of a probe's cost; and just for that reason it proves less about this host. Whoever takes this way asks for it.
//!
//! Where a target's frames go is settled at first, as the kernel would: by the route and the neighbour table. Who cannot be reached
//! so has no way here, and is probed through the IP stack. When a probe meets silence the neighbour is looked up anew.

mod frame;
mod ways;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rping_engine::{Drained, Left, Stamp, TargetId, Timestamp, BATCH};

use crate::bpf::Filter;
use crate::clock::{Clock, Realtime};
use crate::errqueue::send_refusal;
use crate::incoming::{internet_checksum, Incoming};
use crate::options::Options;
use crate::packet::{self, PacketSocket, Transmitted, RECEIVE_BATCH, SEND_BATCH};
use crate::{iface, Error, Result};
use frame::{head, read, TYPE_IPV4};
use ways::Ways;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
/// Where in a frame the message begins that the kernel would put behind an IPv4 header without options.
const HEADERS: usize = ETHERNET + IPV4;
/// How many frames may wait for their transmit stamps; a power of two.
const AWAITED: usize = 4096;
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
    ways: Ways,
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
            ways,
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
        self.ways.lead_to(target)
    }

    /// A probe to this target met silence: looks again where its frames have to go.
    pub(crate) fn doubt(&mut self, target: TargetId) {
        let Some(wanted) = self.ways.doubt(target, Clock.now()) else {
            return;
        };
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = self.head;
        let question = frame::who_has([a, b, c, d, e, f], self.source(), wanted);
        // Asked again if it does not leave.
        let _ = self.socket.send(&[question]);
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
        if let Some(mac) = self.ways.mac(target) {
            headers[..6].copy_from_slice(&mac);
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

#[doc(hidden)]
pub(crate) fn fuzz(bytes: &[u8]) {
    frame::fuzz(bytes);
}
