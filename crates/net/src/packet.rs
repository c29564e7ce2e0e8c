//! Packet sockets: whole link-layer frames on one interface, never promiscuous, filtered in the kernel, with kernel
//! stamps both ways.
//!
//! Frames need no neighbour entry and no route, so thousands of silent targets fill no table of the host. Opening one
//! takes `CAP_NET_RAW`; using it does not.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::bpf::Filter;
use crate::queue::by_interface;
use crate::{cmsg, sys, Error, Result};

/// How many frames one [`PacketSocket::send`] takes at most.
pub const SEND_BATCH: usize = 32;
/// How many frames, or transmit stamps, one receive pass takes at most.
pub const RECEIVE_BATCH: usize = 64;

/// Room for the control messages of one frame: `scm_timestamping`, and in the error queue `sock_extended_err` with
/// an address behind it.
const CONTROL: usize = 160;
const RECEIVE_FLAGS: u32 = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
const TRANSMIT_FLAGS: u32 =
    libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_OPT_TSONLY;
/// `linux/if_packet.h`.
const PACKET_TX_TIMESTAMP: i32 = 16;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// What a packet socket is opened for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The interface's index; 0 for all of them.
    pub ifindex: u32,
    /// The EtherType of the frames to receive, such as 0x0806 for ARP; 3 for all of them.
    pub ethertype: u16,
    /// Which of them to receive; offsets count from the Ethernet header.
    pub filter: Filter,
    /// Ask the kernel for transmit stamps: about 2 µs per frame.
    pub transmit_stamps: bool,
    /// Have the interface stamp them too, both ways; used beside transmit stamps alone.
    pub hardware_stamps: bool,
    /// Receive from the network header on, whatever the link layer; and what this host sends, too.
    pub cooked: bool,
    /// Hand frames to the driver past the queueing discipline: faster, but what the driver cannot take is dropped.
    pub bypass_queue: bool,
    /// How many bytes of each frame to receive.
    pub snap: usize,
    /// Receive buffer, bytes. Set beyond the system's limit where privileges allow.
    pub receive_buffer: usize,
    /// Hear this host's own frames as they leave, too. The kernel shows them only under EtherType
    /// [`EVERY_ETHERTYPE`].
    pub own_frames: bool,
}

/// `ETH_P_ALL`: frames of every EtherType.
pub const EVERY_ETHERTYPE: u16 = 0x0003;

impl Options {
    /// A socket for frames of `ethertype` on interface `ifindex`, with transmit stamps, without a filter.
    pub const fn new(ifindex: u32, ethertype: u16) -> Options {
        Options {
            ifindex,
            ethertype,
            filter: Filter::new(),
            transmit_stamps: true,
            hardware_stamps: false,
            cooked: false,
            bypass_queue: false,
            snap: 256,
            receive_buffer: 4 << 20,
            own_frames: false,
        }
    }
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    transmit_stamps: bool,
    hardware_stamps: bool,
    /// The number of the next frame sent, and the number of the frame that the kernel counts as its 0.
    next: u32,
    base: u32,
    snap: usize,
    frames: Vec<u8>,
    controls: Box<[Aligned; RECEIVE_BATCH]>,
    received: Vec<Slot>,
    drops: Cell<u64>,
}

/// Control messages are read at eight-byte boundaries.
#[repr(align(8))]
#[derive(Clone, Copy, Debug)]
struct Aligned([u8; CONTROL]);

#[derive(Clone, Copy, Debug)]
struct Slot {
    length: usize,
    whole: usize,
    control: usize,
    link: Link,
}

/// What became of a [`PacketSocket::send`].
#[derive(Debug)]
pub struct Sent {
    /// The number of the first frame, under which its transmit stamp will come; the others follow.
    pub first: u32,
    /// How many frames the kernel took. The rest may be offered again.
    pub count: usize,
    /// Why not even the first was taken.
    pub error: Option<io::Error>,
}

/// A frame that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes from the Ethernet header on, up to [`Options::snap`] of them.
    pub bytes: &'a [u8],
    /// When the kernel got it from the driver: nanoseconds of `CLOCK_REALTIME`, for [`crate::clock::Realtime`].
    pub stamp: Option<i64>,
    /// The same by the interface's clock, nanoseconds of it, for [`crate::InterfaceClock`].
    pub device: Option<i64>,
    /// To whom it was addressed at the link layer.
    pub addressed: Addressed,
    /// How long the frame was, of which `bytes` may be the beginning.
    pub whole: usize,
    /// What the link layer said.
    pub link: Link,
}

/// What the kernel tells of a frame's link layer (`packet(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// The interface's index.
    pub ifindex: u32,
    /// The EtherType.
    pub ethertype: u16,
    /// The `ARPHRD_…` number of the interface's link layer.
    pub hardware: u16,
    /// `PACKET_HOST` 0, broadcast 1, multicast 2, other host 3, outgoing 4.
    pub kind: u8,
    /// How many bytes of `address` there are.
    pub address_length: u8,
    /// The sender's link-layer address.
    pub address: [u8; 8],
}

/// A transmit stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmitted {
    /// The frame's number, see [`Sent::first`].
    pub number: u32,
    /// When the driver got it: nanoseconds of `CLOCK_REALTIME`.
    pub real: Option<i64>,
    /// Instead: when it left the interface, nanoseconds of the interface's clock.
    pub device: Option<i64>,
}

/// To whom a frame was addressed, as the kernel saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addressed {
    /// This interface.
    Host,
    /// Everybody, or a multicast group.
    Group,
    /// Somebody else, or it is our own going out.
    Other,
}

impl PacketSocket {
    /// Opens a packet socket.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` for an interface that is not there, `ENETDOWN` for one that is down.
    pub fn open(options: &Options) -> Result<PacketSocket> {
        // Protocol 0: it hears nothing until it is bound, so nothing from before the filter.
        let level = if options.cooked {
            libc::SOCK_DGRAM
        } else {
            libc::SOCK_RAW
        };
        let kind = level | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let fd = sys::retry(|| unsafe { libc::socket(libc::AF_PACKET, kind, 0) })
            .map_err(Error::os("open a packet socket"))?;
        // SAFETY: `fd` was just returned by socket() and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let snap = options.snap.max(64);
        let socket = PacketSocket {
            fd,
            transmit_stamps: options.transmit_stamps,
            hardware_stamps: options.hardware_stamps,
            next: 0,
            base: 0,
            snap,
            frames: vec![0; snap * RECEIVE_BATCH],
            controls: Box::new([Aligned([0; CONTROL]); RECEIVE_BATCH]),
            received: Vec::with_capacity(RECEIVE_BATCH),
            drops: Cell::new(0),
        };
        socket.prepare(options)?;
        socket.bind(options.ifindex, options.ethertype)?;
        Ok(socket)
    }

    fn prepare(&self, options: &Options) -> Result<()> {
        let fd = self.fd.as_fd();
        options
            .filter
            .attach(fd)
            .map_err(Error::os("set the packet filter"))?;
        // Before 4.20 our own frames come back and the filter sorts them out.
        if !options.own_frames && !options.cooked {
            let _ = sys::set(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32);
        }
        if options.bypass_queue {
            sys::set(fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1i32)
                .map_err(Error::os("bypass the queueing discipline"))?;
        }
        let size = i32::try_from(options.receive_buffer).unwrap_or(i32::MAX);
        sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
            .or_else(|_| sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size))
            .map_err(Error::os("set the receive buffer"))?;
        self.stamping(self.transmit_stamps)
            .map_err(Error::os("ask for kernel time stamps"))
    }

    fn stamping(&self, transmit: bool) -> io::Result<()> {
        let flags = if transmit {
            RECEIVE_FLAGS | TRANSMIT_FLAGS | by_interface(self.hardware_stamps)
        } else {
            RECEIVE_FLAGS
        };
        sys::set(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags)
    }

    fn bind(&self, ifindex: u32, ethertype: u16) -> Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: i32::try_from(ifindex).unwrap_or(i32::MAX),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointer is to a live sockaddr_ll whose size is given.
        sys::retry(|| unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) })
            .map_err(Error::os("bind the packet socket to the interface"))?;
        Ok(())
    }

    /// Sends up to [`SEND_BATCH`] whole frames, in order, without waiting.
    pub fn send(&mut self, frames: &[impl AsRef<[u8]>]) -> Sent {
        let mut parts = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; SEND_BATCH];
        let count = frames.len().min(SEND_BATCH);
        for (part, frame) in parts.iter_mut().zip(frames) {
            let bytes = frame.as_ref();
            *part = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
        }
        let mut headers: [libc::mmsghdr; SEND_BATCH] = std::array::from_fn(|i| message(&raw mut parts[i]));
        let first = self.next;
        // SAFETY: `count` headers are valid; each points to one iovec, which points to a frame borrowed for the call.
        let sent = sys::retry(|| unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        });
        let (taken, error) = match sent {
            Ok(taken) => (usize::try_from(taken).unwrap_or(0), None),
            Err(error) => (0, Some(error)),
        };
        self.next = self.next.wrapping_add(taken as u32);
        if taken < count {
            self.renumber();
        }
        Sent {
            first,
            count: taken,
            error,
        }
    }

    /// A frame that fails may or may not have used up one of the kernel's numbers: have it begin again at 0.
    fn renumber(&mut self) {
        if self.transmit_stamps && self.stamping(false).and_then(|()| self.stamping(true)).is_ok() {
            self.base = self.next;
        }
    }

    /// Takes up to [`RECEIVE_BATCH`] frames that have arrived, to be looked at with [`PacketSocket::frames`]; returns
    /// how many. 0 is: none waiting.
    ///
    /// # Errors
    /// `ENETDOWN`, once, when the interface goes down; the socket works again when it is up.
    pub fn receive(&mut self) -> io::Result<usize> {
        self.receive_flagged(0)
    }

    /// The frames that the last [`PacketSocket::receive`] took.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.received.iter().enumerate().map(|(i, slot)| {
            let control = cmsg::Control::read(self.control(i, slot));
            Frame {
                bytes: self
                    .frames
                    .get(i * self.snap..i * self.snap + slot.length)
                    .unwrap_or_default(),
                stamp: control.stamp,
                device: control.hardware,
                whole: slot.whole,
                link: slot.link,
                addressed: match slot.link.kind {
                    libc::PACKET_HOST => Addressed::Host,
                    libc::PACKET_BROADCAST | libc::PACKET_MULTICAST => Addressed::Group,
                    _ => Addressed::Other,
                },
            }
        })
    }

    /// Takes up to [`RECEIVE_BATCH`] transmit stamps and appends them. Returns how many entries were taken; 0 is: none waiting.
    ///
    /// After a failed send, a stamp still under way may bear the number of a later frame: one from before that
    /// frame's own send is not that frame's.
    ///
    /// # Errors
    /// As for [`PacketSocket::receive`].
    pub fn transmit_stamps(&mut self, stamps: &mut Vec<Transmitted>) -> io::Result<usize> {
        let count = self.receive_flagged(libc::MSG_ERRQUEUE)?;
        for (i, slot) in self.received.iter().enumerate() {
            let control = self.control(i, slot);
            let cmsg::Control { stamp, hardware, .. } = cmsg::Control::read(control);
            if let Some(number) = transmitted(control).filter(|_| stamp.is_some() || hardware.is_some()) {
                stamps.push(Transmitted {
                    number: self.base.wrapping_add(number),
                    real: stamp,
                    device: hardware,
                });
            }
        }
        self.received.clear();
        Ok(count)
    }

    fn control(&self, index: usize, slot: &Slot) -> &[u8] {
        self.controls
            .get(index)
            .and_then(|control| control.0.get(..slot.control))
            .unwrap_or_default()
    }

    fn receive_flagged(&mut self, flags: i32) -> io::Result<usize> {
        self.received.clear();
        let mut parts: [libc::iovec; RECEIVE_BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: self.frames[i * self.snap..].as_mut_ptr().cast(),
            iov_len: self.snap,
        });
        // SAFETY: all zeros is a valid value of this plain structure of integers.
        let mut names: [libc::sockaddr_ll; RECEIVE_BATCH] = unsafe { std::mem::zeroed() };
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = std::array::from_fn(|i| {
            let mut header = message(&raw mut parts[i]);
            header.msg_hdr.msg_name = (&raw mut names[i]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            header.msg_hdr.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header
        });
        // SAFETY: every header points to live storage of the length that it gives: one iovec over `snap` bytes of
        // `frames`, one name, one control buffer; no two share any.
        let got = sys::retry(|| unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC | flags,
                std::ptr::null_mut(),
            )
        });
        let got = match got {
            Ok(got) => usize::try_from(got).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.received
            .extend(headers.iter().zip(&names).take(got).map(|(header, name)| Slot {
                length: (header.msg_len as usize).min(self.snap),
                control: control_length(header).min(CONTROL),
                whole: header.msg_len as usize,
                link: Link {
                    ifindex: u32::try_from(name.sll_ifindex).unwrap_or(0),
                    ethertype: u16::from_be(name.sll_protocol),
                    hardware: name.sll_hatype,
                    kind: name.sll_pkttype,
                    address_length: name.sll_halen.min(8),
                    address: name.sll_addr,
                },
            }));
        Ok(got)
    }

    /// Closes it on a thread of its own. The kernel keeps whoever closes a packet socket until every processor has come by a
    /// quiet moment (`synchronize_net`): milliseconds on an idle machine, seconds and more on a busy one, which what was heard
    /// need not wait for.
    pub fn close_beside(self) {
        let close = std::thread::Builder::new().name("rping-close".into());
        // Without a thread it is closed here.
        let _ = close.spawn(move || drop(self));
    }

    /// How many frames the kernel dropped so far because the receive buffer was full.
    pub fn drops(&self) -> u64 {
        /// `struct tpacket_stats`; reading it sets it back to zero.
        #[repr(C)]
        #[derive(Default)]
        struct Statistics {
            packets: u32,
            drops: u32,
        }
        let mut statistics = Statistics::default();
        let mut length = size_of::<Statistics>() as libc::socklen_t;
        // SAFETY: `statistics` and `length` are valid for writes, and `length` says the size of `statistics`.
        let got = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if got == 0 {
            self.drops
                .set(self.drops.get().saturating_add(u64::from(statistics.drops)));
        }
        self.drops.get()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's number of the frame that an error-queue entry stamps.
fn transmitted(control: &[u8]) -> Option<u32> {
    let message =
        cmsg::Messages(control).find(|m| (m.level, m.kind) == (libc::SOL_PACKET, PACKET_TX_TIMESTAMP))?;
    // `struct sock_extended_err`: errno, origin and three more bytes, info, data.
    let origin = *message.data.get(4)?;
    let data = message.data.get(12..16)?.try_into().ok()?;
    (origin == libc::SO_EE_ORIGIN_TIMESTAMPING).then_some(u32::from_ne_bytes(data))
}

/// The C libraries differ in the width of this field.
#[allow(clippy::unnecessary_cast)]
fn control_length(header: &libc::mmsghdr) -> usize {
    header.msg_hdr.msg_controllen as usize
}

fn message(part: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeros is a valid value of this plain structure of integers and null pointers.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}
