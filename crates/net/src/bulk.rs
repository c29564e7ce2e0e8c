//! UDP sockets for throughput: nothing is known of the single datagram but when it came in and what it holds. Batches
//! of datagrams, or super-packets that the kernel (or the network card) cuts up and puts together again
//! (`UDP_SEGMENT`, `UDP_GRO`, udp(7)); the payload may be left unread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rping_engine::Timestamp;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::batch::{RxBatch, TxBatch};
use crate::clock::Realtime;
use crate::cmsg::{Control, Messages};
use crate::options::{receive_buffer, Options};
use crate::{sys, Error, Result};

/// Datagrams, or super-packets, of one system call.
const SLOTS: usize = 64;
const SUPER_SLOTS: usize = 16;
/// The longest super-packet, and the most datagrams in one (`UDP_MAX_SEGMENTS` up to Linux 6.8).
const SUPER: usize = 65_507;
const SEGMENTS: usize = 64;
/// What is read of a datagram whose payload is left unread.
const HEAD: usize = 64;
/// `linux/udp.h`.
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
/// What a stall of a few milliseconds at millions of datagrams per second fills. Charged as it fills.
pub const RECEIVE_BUFFER: usize = 32 << 20;
const SEND_BUFFER: usize = 4 << 20;

/// Nobody sends from there: to connect to it is to hear nobody.
const NOWHERE_V4: &str = "127.0.0.1:1";
const NOWHERE_V6: &str = "[::1]:1";

/// A UDP socket that has its receive buffer and nothing else yet: large buffers take a privilege, which is given up
/// before it is known what the socket will be for.
#[derive(Debug)]
pub struct Bare {
    socket: Socket,
    v6: bool,
    bound: bool,
}

impl Bare {
    /// Opens one, with a receive buffer of [`RECEIVE_BUFFER`] bytes where privileges allow, else of as many as the
    /// system gives (`net.core.rmem_max`).
    ///
    /// # Errors
    /// For want of descriptors or memory.
    pub fn new(v6: bool) -> Result<Bare> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))
            .map_err(Error::os("open a UDP socket"))?;
        receive_buffer(&socket, RECEIVE_BUFFER)?;
        Ok(Bare {
            socket,
            v6,
            bound: false,
        })
    }

    /// Whether it is for IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }

    /// The local address, where it was used before.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.bound.then(|| self.socket.local_addr().ok()?.as_socket())?
    }
}

/// What a socket moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes of one datagram.
    pub length: usize,
    /// Send super-packets.
    pub segments: bool,
    /// Receive super-packets.
    pub coalesces: bool,
    /// Of what is received, read the first bytes alone.
    pub heads_only: bool,
}

/// What came in: one datagram, or several of the same length that came together.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// As much of it as was read.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: usize,
    /// The length of each datagram in it but the last, which may be shorter.
    pub segment: usize,
    /// When: the kernel's stamp.
    pub at: Timestamp,
}

impl Part<'_> {
    /// How many datagrams it was.
    pub fn count(&self) -> usize {
        self.length.div_ceil(self.segment.max(1)).max(1)
    }
}

/// How a send went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Datagrams that this host took.
    pub count: usize,
    /// There is no more room at the moment.
    pub full: bool,
    /// It was refused: nobody listens there, there is no route, a firewall.
    pub refused: bool,
}

/// A connected UDP socket with its buffers.
#[derive(Debug)]
pub struct Bulk {
    socket: Socket,
    v6: bool,
    shape: Shape,
    tx: TxBatch,
    rx: RxBatch,
    realtime: Realtime,
    /// Drops of an earlier use.
    dropped_before: u64,
}

impl Bulk {
    /// Gives a socket its options (the receive buffer stays as it is), binds it, unless it is bound already, and connects
    /// it. `patience` is how long a call may wait.
    ///
    /// # Errors
    /// The option that could not be set; an address that cannot be bound; no route.
    pub fn new(
        bare: Bare,
        peer: SocketAddr,
        options: &Options,
        shape: Shape,
        patience: Duration,
    ) -> Result<Bulk> {
        let Bare { socket, v6, bound } = bare;
        if !bound {
            if v6 {
                socket
                    .set_only_v6(true)
                    .map_err(Error::os("keep IPv4 off an IPv6 socket"))?;
            }
            options.apply_but_buffer(&socket, v6)?;
            if let Some(source) = options.source {
                socket
                    .bind(&SockAddr::from(source))
                    .map_err(Error::os("bind to the source address"))?;
            }
        }
        let fd = socket.as_fd();
        // What an earlier use left is set back.
        let (level, class) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        let tos = i32::from(options.dscp.unwrap_or(0)) << 2;
        sys::set(fd, level, class, &tos).map_err(Error::os("set the DSCP"))?;
        let segments = shape.segments && shape.length * 2 <= SUPER;
        let length = if segments { shape.length as i32 } else { 0 };
        sys::set(fd, libc::IPPROTO_UDP, UDP_SEGMENT, &length).or_else(|error| match segments {
            true => Err(Error::os("send segmented (UDP_SEGMENT)")(error)),
            false => Ok(()),
        })?;
        sys::set(fd, libc::IPPROTO_UDP, UDP_GRO, &i32::from(shape.coalesces)).or_else(|error| match shape
            .coalesces
        {
            true => Err(Error::os("receive coalesced (UDP_GRO)")(error)),
            false => Ok(()),
        })?;
        let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        // Without them every stamp is the program's.
        let _ = sys::set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags);
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket
            .set_read_timeout(Some(patience))
            .and_then(|()| socket.set_write_timeout(Some(patience)))
            .map_err(Error::os("set a time limit"))?;
        socket
            .connect(&SockAddr::from(peer))
            .map_err(Error::os("connect"))?;
        let size = match (shape.heads_only, shape.coalesces) {
            (true, _) => HEAD,
            (false, true) => 65_536,
            (false, false) => (shape.length + 1).next_multiple_of(64),
        };
        let dropped_before = sys::drops(socket.as_fd()).map_or(0, u64::from);
        Ok(Bulk {
            socket,
            v6,
            shape: Shape { segments, ..shape },
            tx: TxBatch::new(SLOTS),
            rx: RxBatch::new(if shape.coalesces { SUPER_SLOTS } else { SLOTS }, size),
            realtime: Realtime::new(),
            dropped_before,
        })
    }

    /// Hears nobody from now on, and is as it was made, for another use. `None` where that cannot be had.
    pub fn retire(self) -> Option<Bare> {
        let nowhere = if self.v6 { NOWHERE_V6 } else { NOWHERE_V4 };
        let nowhere: SocketAddr = nowhere.parse().ok()?;
        self.socket.connect(&SockAddr::from(nowhere)).ok()?;
        let mut old = RxBatch::new(SLOTS, 1);
        // An error is an earlier peer's; what is left comes after it.
        for _ in 0..1_000_000 {
            let got = old.receive(self.socket.as_fd(), libc::MSG_DONTWAIT);
            if got.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
        Some(Bare {
            socket: self.socket,
            v6: self.v6,
            bound: true,
        })
    }

    /// The local address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Datagrams of one super-packet; 1 where each goes by itself.
    pub fn segments(&self) -> usize {
        match self.shape.segments {
            true => in_one_piece(self.shape.length),
            false => 1,
        }
    }

    /// The most datagrams that one [`Bulk::send`] takes.
    pub fn batch(&self) -> usize {
        match self.segments() {
            1 => SLOTS,
            several => several,
        }
    }

    /// The receive buffer's size as the kernel counts it, bytes.
    pub fn receive_buffer(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Datagrams that were dropped because the receive buffer was full; of those that came together each piece counts
    /// for as many as one of ours holds, for the kernel counts pieces. Costs a system call.
    pub fn drops(&self) -> u64 {
        let all = sys::drops(self.socket.as_fd()).map_or(0, u64::from);
        let pieces = all.saturating_sub(self.dropped_before);
        match self.shape.coalesces {
            true => pieces.saturating_mul(in_one_piece(self.shape.length) as u64),
            false => pieces,
        }
    }

    /// Sends one datagram by itself, whatever the shape.
    pub fn send_one(&mut self, bytes: &[u8]) -> Sent {
        let mut filled = self.tx.start(bytes);
        filled.push(0..bytes.len(), None, |_| 0);
        outcome(filled.send(self.socket.as_fd(), 0), |_| 1)
    }

    /// Sends `count` datagrams of the shape's length each, at most [`Bulk::batch`] of them, which lie one behind the other
    /// in `bytes`. Waits for room.
    pub fn send(&mut self, bytes: &[u8], count: usize) -> Sent {
        let (length, each) = (self.shape.length, self.segments());
        let bytes = bytes.get(..count * length).unwrap_or(bytes);
        let mut filled = self.tx.start(bytes);
        for at in (0..bytes.len()).step_by(each * length.max(1)) {
            filled.push(at..(at + each * length).min(bytes.len()), None, |_| 0);
        }
        outcome(filled.send_with(self.socket.as_fd(), 0, 0), |calls| {
            (calls * each).min(count)
        })
    }

    /// Hands over what has come in, at most one batch; waits for it where `waits`. How many datagrams, or super-packets,
    /// it was.
    ///
    /// # Errors
    /// When the descriptor is of no use any more.
    pub fn receive(&mut self, waits: bool, mut each: impl FnMut(Part<'_>)) -> Result<usize> {
        let mut flags = match waits {
            true => libc::MSG_WAITFORONE,
            false => libc::MSG_DONTWAIT,
        };
        if self.shape.heads_only {
            flags |= libc::MSG_TRUNC;
        }
        let count = match self.rx.receive(self.socket.as_fd(), flags) {
            Ok(count) => count,
            Err(error) => match error.raw_os_error() {
                Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOMEM) => {
                    return Err(Error::Os {
                        operation: "receive datagrams",
                        source: error,
                    })
                }
                // Nothing came in time, or an ICMP error, which stands in for data once.
                _ => return Ok(0),
            },
        };
        let now = self.realtime.check();
        for i in 0..count {
            let slot = self.rx.slot(i);
            let stamp = Control::read(slot.control).stamp;
            let length = slot.length.max(slot.bytes.len());
            each(Part {
                bytes: slot.bytes,
                length,
                segment: segment(slot.control).unwrap_or(length),
                at: self.realtime.received(stamp, now).at,
            });
        }
        Ok(count)
    }

    /// As many as one receive pass can bring.
    pub fn slots(&self) -> usize {
        self.rx.slots()
    }
}

impl AsFd for Bulk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many datagrams of this length make a super-packet.
fn in_one_piece(length: usize) -> usize {
    (SUPER / length.max(1)).clamp(1, SEGMENTS)
}

/// The length of the datagrams that came together.
fn segment(control: &[u8]) -> Option<usize> {
    let message = Messages(control).find(|m| (m.level, m.kind) == (libc::IPPROTO_UDP, UDP_GRO))?;
    let length = i32::from_ne_bytes(message.data.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok().filter(|&length| length > 0)
}

fn outcome(sent: io::Result<usize>, count: impl FnOnce(usize) -> usize) -> Sent {
    match sent {
        Ok(calls) => Sent {
            count: count(calls),
            ..Sent::default()
        },
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Sent {
                full: true,
                ..Sent::default()
            },
            _ => Sent {
                refused: true,
                ..Sent::default()
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharePort;
    use std::net::UdpSocket;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn shape(length: usize, together: bool, heads_only: bool) -> Shape {
        Shape {
            length,
            segments: together,
            coalesces: together,
            heads_only,
        }
    }

    fn pair(shape: Shape) -> (Bulk, Bulk) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (a, b) = (a.unwrap().local_addr().unwrap(), b.unwrap().local_addr().unwrap());
        let open = |from, to| {
            let options = Options {
                source: Some(from),
                ..Options::default()
            };
            Bulk::new(Bare::new(false).unwrap(), to, &options, shape, PATIENCE).unwrap()
        };
        (open(a, b), open(b, a))
    }

    fn take(bulk: &mut Bulk, wanted: usize) -> Vec<(Vec<u8>, usize)> {
        let mut all = Vec::new();
        while all.len() < wanted {
            let got = bulk.receive(true, |part| {
                for at in 0..part.count() {
                    let start = at * part.segment;
                    let length = part.segment.min(part.length - start);
                    let bytes = part.bytes.get(start..).unwrap_or_default();
                    all.push((bytes[..bytes.len().min(length)].to_vec(), length));
                }
            });
            assert!(got.unwrap() > 0, "{} of {wanted}", all.len());
        }
        all
    }

    #[test]
    fn datagrams_arrive_whole_one_by_one_and_together() {
        for together in [false, true] {
            let (mut from, mut to) = pair(shape(100, together, false));
            let bytes: Vec<u8> = (0..40).flat_map(|n| vec![n; 100]).collect();
            assert_eq!(from.segments() > 1, together);
            assert_eq!(
                from.send(&bytes, 40),
                Sent {
                    count: 40,
                    ..Sent::default()
                }
            );
            let got = take(&mut to, 40);
            for (n, (bytes, length)) in got.iter().enumerate() {
                assert_eq!((bytes.as_slice(), *length), (&[n as u8; 100][..], 100));
            }
            assert_eq!(to.receive(false, |_| ()).unwrap(), 0);
            assert_eq!(from.send_one(b"9876").count, 1);
            assert_eq!(take(&mut to, 1)[0], (b"9876".to_vec(), 4));
        }
    }

    #[test]
    fn where_heads_are_read_alone_lengths_are_told_all_the_same() {
        for together in [false, true] {
            let (mut from, mut to) = pair(shape(1400, together, true));
            let bytes = vec![7; 14_000];
            assert_eq!(from.send(&bytes, 10).count, 10);
            let got = take(&mut to, 10);
            assert!(got.iter().all(|(_, length)| *length == 1400), "{got:?}");
            assert_eq!(got[0].0, [7; HEAD]);
        }
    }

    #[test]
    fn a_retired_socket_hears_nobody_and_serves_another_peer_from_the_same_port() {
        let options = |port| Options {
            source: Some(SocketAddr::from(([127, 0, 0, 1], port))),
            share_port: Some(SharePort::ForOne),
            ..Options::default()
        };
        let (first, second) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let bulk = Bulk::new(
            Bare::new(false).unwrap(),
            first.local_addr().unwrap(),
            &options(0),
            shape(100, false, false),
            PATIENCE,
        );
        let bulk = bulk.unwrap();
        let here = bulk.local_addr().unwrap();
        first.send_to(b"stale", here).unwrap();
        let bare = bulk.retire().unwrap();
        assert_eq!(bare.local_addr(), Some(here));
        first.send_to(b"late", here).unwrap();
        let mut again = Bulk::new(
            bare,
            second.local_addr().unwrap(),
            &options(here.port()),
            shape(100, false, false),
            PATIENCE,
        )
        .unwrap();
        second.send_to(b"mine", here).unwrap();
        assert_eq!(take(&mut again, 1)[0].0, b"mine");
        assert_eq!(again.local_addr(), Some(here));
    }
}
