//! One socket for many probes: batches out, batches in, each packet with the kernel's stamp.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rping_engine::{Drained, Left, Stamp, Timestamp, BATCH};
use socket2::{SockAddr, Socket};

use crate::batch::{RxBatch, TxBatch, TX_CONTROL};
use crate::bpf::Filter;
use crate::clock::{Clock, Realtime};
use crate::cmsg;
use crate::errqueue::send_refusal;
use crate::incoming::{read, Header, Incoming};
use crate::interface_clock::InterfaceClock;
use crate::options::Options;
use crate::queue::ErrorQueue;
use crate::stamp::Stamps;
use crate::{sys, Error, Result};

/// What kind of socket it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UDP: payloads are what follows the UDP header.
    Udp,
    /// The unprivileged ICMP socket: payloads are ICMP messages, whose identifier the kernel writes.
    IcmpDatagram {
        /// The identifier that the kernel chose.
        id: u16,
    },
    /// A raw ICMP socket: payloads are ICMP messages; for IPv4 the checksum is the sender's business.
    IcmpRaw,
    /// A raw TCP socket: payloads are TCP segments; for IPv4 the checksum is the business of sender and receiver.
    TcpRaw,
}

impl Kind {
    /// Whether IPv4 packets come with their header.
    fn with_header(self) -> bool {
        matches!(self, Kind::IcmpRaw | Kind::TcpRaw)
    }
}

/// A datagram to be sent.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Which part of the bytes handed over beside it.
    pub bytes: Range<usize>,
    /// To whom; `None` on a connected socket.
    pub to: Option<SocketAddr>,
    /// From which of this host's addresses, by which interface: for replies on a socket that listens on all.
    pub from: Option<(IpAddr, u32)>,
    /// Comes back with the result and with the transmit stamp.
    pub tag: u64,
}

/// How much one receive pass may take at once, bytes: room for the largest datagrams. Pages that no datagram was
/// written to take no memory.
const RX_BYTES: usize = 65_600 * RX_SLOTS;
const RX_SLOTS: usize = 64;
/// The longest IPv4 header, which a raw socket gets too.
const IPV4_HEADER: usize = 60;

/// A datagram socket with its buffers.
#[derive(Debug)]
pub struct Datagram {
    link: Link,
    kind: Kind,
    v6: bool,
    tx: TxBatch,
    rx: RxBatch,
    queue: ErrorQueue,
    realtime: Realtime,
    interface: InterfaceClock,
    numbering: Numbering,
    not_before: Timestamp,
    class: Option<u8>,
}

/// Who numbers the transmit stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Numbering {
    /// Nobody yet: the first send tells whether this kernel lets us.
    Unknown,
    /// We do.
    Ours,
    /// The kernel, by counting.
    Kernels,
}

/// The socket, and whom it is connected to.
#[derive(Debug)]
struct Link {
    socket: Socket,
    peer: Option<SocketAddr>,
    connected: bool,
}

impl Link {
    fn connect(&mut self) {
        // Without a route it stays unconnected: each send then says what is wrong, until one works.
        self.connected = self
            .peer
            .is_some_and(|peer| self.socket.connect(&SockAddr::from(peer)).is_ok());
    }

    /// Chooses route and source address anew; whether there are any.
    fn reconnect(&mut self) -> bool {
        sys::disconnect(self.socket.as_fd());
        self.connect();
        self.connected
    }
}

impl Datagram {
    pub(crate) fn new(socket: Socket, kind: Kind, v6: bool, options: &Options) -> Datagram {
        let header = if kind.with_header() && !v6 { IPV4_HEADER } else { 0 };
        // One more than is expected, so that what is longer shows.
        let size = (options.payload + header + 1).next_multiple_of(64);
        let interface = InterfaceClock::open(options.hardware_clock.filter(|_| options.transmit_stamps));
        let queue = ErrorQueue::new(options.transmit_stamps.then(|| Stamps::new(interface.is_on())));
        let mut datagram = Datagram {
            link: Link {
                socket,
                peer: None,
                connected: false,
            },
            kind,
            v6,
            tx: TxBatch::new(BATCH),
            rx: RxBatch::new((RX_BYTES / size).clamp(4, RX_SLOTS), size),
            queue,
            realtime: Realtime::new(),
            interface,
            numbering: Numbering::Unknown,
            not_before: Timestamp::ZERO,
            class: options.dscp.map_or(Some(0), |dscp| Some(dscp << 2)),
        };
        if options.tell_destination {
            // A reflector's memory is all there before strangers write to it.
            datagram.rx.touch();
        }
        // A kernel without them leaves every stamp to user space, and each stamp says so.
        if datagram.queue.ask_for_stamps(datagram.as_fd()).is_err() {
            datagram.queue.stamps = None;
        }
        datagram
    }

    pub(crate) fn connect(&mut self, peer: SocketAddr) {
        self.link.peer = Some(peer);
        self.link.connect();
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The local address, where it is bound or connected.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.link.socket.local_addr().ok()?.as_socket()
    }

    /// How many datagrams were dropped because this socket's receive buffer was full. Costs a system call.
    pub fn drops(&self) -> u64 {
        sys::drops(self.as_fd()).map_or(0, u64::from)
    }

    /// How often the wall clock, or the interface's, was seen to step.
    pub fn clock_steps(&self) -> u64 {
        self.realtime.steps() + self.interface.steps()
    }

    /// A poll said that the error queue holds something.
    pub fn look_for_errors(&mut self) {
        self.queue.look = true;
    }

    /// Throws away what came in before the filter stood.
    pub(crate) fn discard_waiting(&mut self) {
        while self
            .rx
            .receive(self.link.socket.as_fd(), libc::MSG_DONTWAIT)
            .is_ok()
        {}
    }

    /// Sends what follows with this TOS octet or traffic class. Costs a system call where it is another than before.
    pub fn set_class(&mut self, class: u8) {
        if self.class == Some(class) {
            return;
        }
        let (level, name) = if self.v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        // Where it cannot be set packets leave as before, and are asked for again.
        let set = sys::set(self.as_fd(), level, name, &i32::from(class));
        self.class = set.ok().map(|()| class);
    }

    /// Hears nothing but errors from here on. A raw ICMP socket gets no copy made for it then.
    pub(crate) fn hear_errors_alone(&self) -> Result<()> {
        /// `linux/icmp.h`: a bit per type, set to block it.
        const ICMP_FILTER: i32 = 1;
        if self.kind == Kind::IcmpRaw && !self.v6 {
            // Where it cannot be had, the filter below does the same.
            let _ = sys::set(self.as_fd(), libc::SOL_RAW, ICMP_FILTER, &u32::MAX);
        }
        Filter::nothing()
            .attach(self.as_fd())
            .map_err(Error::os("filter what a socket hears"))
    }

    /// Hears nothing at all from here on, where that can be: a raw socket that is bound to another address gets no copy made.
    pub(crate) fn hear_nothing(&self) {
        if self.kind.with_header() && !self.v6 {
            let nobody = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
            let _ = self.link.socket.bind(&SockAddr::from(nobody));
        }
    }

    /// The next [`Datagram::send`] holds its packets, ready to leave, until this instant.
    pub fn hold_until(&mut self, at: Timestamp) {
        self.not_before = at;
    }

    /// Sends these packets, at most [`BATCH`] (the rest is ignored), which are parts of `bytes`, and calls `result` for each
    /// with its tag. The stamp in [`Left::At`] was taken before the send call.
    pub fn send(&mut self, bytes: &[u8], packets: &[Packet], mut result: impl FnMut(u64, Left)) {
        let packets = &packets[..packets.len().min(BATCH)];
        let Datagram {
            link,
            tx,
            queue,
            numbering,
            v6,
            not_before,
            kind,
            ..
        } = self;
        if link.peer.is_some() && !link.connected {
            link.connect();
        }
        let mut filled = tx.start(bytes);
        for (i, packet) in packets.iter().enumerate() {
            let to = if link.connected {
                None
            } else {
                packet.to.or(link.peer).map(|mut to| {
                    if *kind == Kind::TcpRaw {
                        // A raw socket's port would be a protocol.
                        to.set_port(0);
                    }
                    to
                })
            };
            filled.push(packet.bytes.clone(), to, |room| {
                let ours = queue.stamps.as_ref().filter(|_| *numbering != Numbering::Kernels);
                write_control(room, ours.map(|stamps| stamps.number(i)), packet.from, *v6)
            });
        }
        let mut bare = false;
        let mut next = 0;
        let mut tried = None;
        while let Some(packet) = packets.get(next) {
            let now = Clock.now_from(std::mem::take(not_before));
            let errno = match filled.send(link.socket.as_fd(), next) {
                Ok(count) => {
                    if let Some(stamps) = &mut queue.stamps {
                        if *numbering == Numbering::Unknown {
                            *numbering = if bare { Numbering::Kernels } else { Numbering::Ours };
                            if bare {
                                stamps.restart();
                            }
                        }
                        packets[next..next + count]
                            .iter()
                            .for_each(|packet| stamps.sent(packet.tag, now));
                    }
                    packets[next..next + count]
                        .iter()
                        .for_each(|packet| result(packet.tag, Left::At(Stamp::user(now))));
                    next += count;
                    continue;
                }
                Err(error) => error.raw_os_error().unwrap_or(0),
            };
            match errno {
                // The socket's own buffer is full, which no other packet of this batch would change.
                libc::EAGAIN => {
                    packets[next..]
                        .iter()
                        .for_each(|packet| result(packet.tag, Left::Deferred));
                    queue.not_sent(packets.len() - next);
                    next = packets.len();
                }
                // The queue of one interface, or the neighbour table, is full: others may pass.
                libc::ENOBUFS | libc::ENOMEM => {
                    result(packet.tag, Left::Deferred);
                    queue.not_sent(1);
                    next += 1;
                }
                // The error may be an earlier packet's, which the kernel hands to whoever calls next (and sends
                // nothing): what is left after the error queue was read is this packet's own.
                _ if tried != Some(next) => {
                    tried = Some(next);
                    queue.local_mtu = None;
                    queue.drain(link.socket.as_fd());
                    if errno == libc::EINVAL && *numbering == Numbering::Unknown && queue.stamps.is_some() {
                        bare = true;
                        filled.without_control(next);
                    }
                    if link.connected && source_or_route_is_gone(errno) && !link.reconnect() {
                        // Unconnected now, but the headers name nobody.
                        packets[next..].iter().for_each(|packet| {
                            result(packet.tag, Left::NotSent(send_refusal(errno, None)));
                        });
                        queue.not_sent(packets.len() - next);
                        next = packets.len();
                    }
                    continue;
                }
                _ => {
                    result(
                        packet.tag,
                        Left::NotSent(send_refusal(errno, queue.local_mtu.take())),
                    );
                    queue.look = true;
                    queue.not_sent(1);
                    next += 1;
                }
            }
            if *numbering == Numbering::Kernels {
                // The kernel may or may not have counted the packet that failed.
                queue.drain(link.socket.as_fd());
                queue.restart_stamps(link.socket.as_fd());
            }
        }
    }

    /// Hands over what has arrived, without waiting: transmit stamps first, then errors, then at most one batch of datagrams.
    /// Returns whether that was all, and whether there was anything beside transmit stamps.
    ///
    /// # Errors
    /// When the descriptor is of no use any more.
    pub fn receive(&mut self, each: impl FnMut(Incoming<'_>)) -> Result<(Drained, bool)> {
        self.take_in(false, each)
    }

    /// The same for one datagram at most, and quicker: after one, there may always be more.
    pub(crate) fn receive_one(&mut self, each: impl FnMut(Incoming<'_>)) -> Result<(Drained, bool)> {
        self.take_in(true, each)
    }

    fn take_in(&mut self, one: bool, mut each: impl FnMut(Incoming<'_>)) -> Result<(Drained, bool)> {
        let mut drained = Drained::All;
        let mut count = 0;
        for attempt in 0.. {
            let fd = self.link.socket.as_fd();
            let received = match one {
                true => self.rx.receive_one(fd, libc::MSG_DONTWAIT),
                false => self.rx.receive(fd, libc::MSG_DONTWAIT),
            };
            match received {
                Ok(got) => count = got,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {}
                    Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOMEM) => {
                        return Err(Error::Os {
                            operation: "receive datagrams",
                            source: error,
                        });
                    }
                    // An ICMP error, reported once in place of data; the error queue says whose.
                    _ => {
                        self.queue.drain(self.link.socket.as_fd());
                        if attempt < 8 {
                            continue;
                        }
                        drained = Drained::More;
                    }
                },
            }
            break;
        }
        if count == self.rx.slots() || one && count > 0 {
            drained = Drained::More;
        }
        // Read after the datagrams: a packet's stamp is there before its answer can be, so none is missed.
        if self.queue.worth_a_look() {
            self.queue.drain(self.link.socket.as_fd());
        }
        if count > 0 {
            let Datagram {
                link,
                queue,
                interface,
                ..
            } = self;
            interface.wait_while(|since| {
                queue.is_owed_by_interface(since) && {
                    queue.drain(link.socket.as_fd());
                    queue.is_owed_by_interface(since)
                }
            });
        }
        if count == 0 && self.queue.stamped.is_empty() && self.queue.failed.is_empty() {
            return Ok((drained, false));
        }
        let now = self.realtime.check();
        if !self.interface.check(&self.realtime, now) {
            self.queue
                .stamps
                .iter_mut()
                .for_each(Stamps::expect_kernels_alone);
        }
        for stamped in self.queue.stamped.drain(..) {
            if stamped.device.is_some() {
                if let Some(at) = self.interface.instant(stamped.device, stamped.sent, now) {
                    each(Incoming::Left {
                        tag: stamped.tag,
                        at: Stamp::hardware(at),
                    });
                }
                continue;
            }
            let kernel = stamped
                .real
                .and_then(|real| self.realtime.instant(real, stamped.sent, now));
            let at = kernel.map_or(Stamp::user(stamped.sent), Stamp::kernel);
            each(Incoming::Left { tag: stamped.tag, at });
        }
        let heard = count > 0 || !self.queue.failed.is_empty();
        for (error, real) in self.queue.failed.drain(..) {
            let at = self.realtime.received(real, now);
            each(Incoming::Error { error: &error, at });
        }
        let header = match self.kind {
            Kind::IcmpRaw if !self.v6 => Header::ThenIcmp,
            Kind::TcpRaw if !self.v6 => Header::ThenTcp,
            _ => Header::None,
        };
        for i in 0..count {
            if let Some(received) = read(&self.rx.slot(i), header, &self.realtime, &self.interface, now) {
                each(Incoming::Packet(&received));
            }
        }
        Ok((drained, heard))
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }
}

/// Errors of a connected socket that a new choice of route and source address may cure.
fn source_or_route_is_gone(errno: i32) -> bool {
    matches!(
        errno,
        libc::EINVAL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL | libc::ENETDOWN
    )
}

fn write_control(room: &mut [u8], number: Option<u32>, from: Option<(IpAddr, u32)>, v6: bool) -> usize {
    let mut used = 0;
    if let Some(number) = number {
        used = cmsg::append(
            room,
            used,
            libc::SOL_SOCKET,
            cmsg::SCM_TS_OPT_ID,
            &number.to_ne_bytes(),
        );
    }
    match from {
        // struct in_pktinfo: interface, source address, unused.
        Some((IpAddr::V4(from), index)) if !v6 => {
            let mut info = [0; 12];
            info[..4].copy_from_slice(&index.to_ne_bytes());
            info[4..8].copy_from_slice(&from.octets());
            cmsg::append(room, used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
        }
        // struct in6_pktinfo: source address, interface.
        Some((IpAddr::V6(from), index)) if v6 => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&from.octets());
            info[16..].copy_from_slice(&index.to_ne_bytes());
            cmsg::append(room, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
        }
        _ => used,
    }
}

const _: () = assert!(cmsg::space(4) + cmsg::space(20) <= TX_CONTROL);

#[cfg(test)]
mod tests;
