//! Opening datagram sockets: UDP, the unprivileged ICMP socket, the raw one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::datagram::{Datagram, Kind};
use crate::options::Options;
use crate::{sys, Error, Result};

/// Which ICMP identifiers are ours on a raw socket: those that equal `base` under `mask`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identifiers {
    /// The bits that all have in common.
    pub base: u16,
    /// Which bits those are.
    pub mask: u16,
}

impl Identifiers {
    /// Whether `id` is ours.
    pub const fn contain(self, id: u16) -> bool {
        id & self.mask == self.base & self.mask
    }
}

impl Datagram {
    /// A UDP socket. With `peer` it is connected if there is a route (a tenth faster, and hears nobody else), and
    /// is connected again when the route or our address changes.
    ///
    /// # Errors
    /// When the socket cannot be made, an option be set or the source address be bound.
    pub fn udp(v6: bool, peer: Option<SocketAddr>, options: &Options) -> Result<Datagram> {
        let socket = Socket::new(domain(v6), flags(Type::DGRAM), Some(Protocol::UDP))
            .map_err(Error::os("open a UDP socket"))?;
        if v6 {
            socket
                .set_only_v6(true)
                .map_err(Error::os("keep IPv4 off an IPv6 socket"))?;
        }
        prepare(&socket, v6, options)?;
        bind(&socket, v6, options.source)?;
        let mut datagram = Datagram::new(socket, Kind::Udp, v6, options);
        if let Some(peer) = peer {
            datagram.connect(peer);
        }
        Ok(datagram)
    }

    /// An ICMP (or ICMPv6) echo socket: the unprivileged kind where the system allows it, else the raw kind, which hears
    /// echo replies to `ids` alone.
    ///
    /// # Errors
    /// [`Error::NoIcmpPermission`] where neither kind may be opened, else as [`Datagram::udp`].
    pub fn icmp(v6: bool, ids: Identifiers, options: &Options) -> Result<Datagram> {
        match Datagram::icmp_datagram(v6, options) {
            Err(Error::Os { source, .. }) if refused(&source) => {}
            other => return other,
        }
        match Datagram::icmp_raw(v6, ids, options) {
            Err(Error::Os { source, .. }) if refused(&source) => Err(Error::NoIcmpPermission { source }),
            other => other,
        }
    }

    /// The unprivileged ICMP socket ("ping socket"): the kernel chooses the identifier and checks checksums.
    ///
    /// # Errors
    /// EACCES where `net.ipv4.ping_group_range` does not hold the caller's group.
    pub fn icmp_datagram(v6: bool, options: &Options) -> Result<Datagram> {
        let socket = Socket::new(domain(v6), flags(Type::DGRAM), Some(icmp_protocol(v6)))
            .map_err(Error::os("open an ICMP socket"))?;
        prepare(&socket, v6, options)?;
        let source = options
            .source
            .map(|s| SocketAddr::new(s.ip(), 0))
            .map(|s| keep_scope(s, options.source));
        // Bound even without a source address: that is what makes the kernel choose the identifier now.
        bind(&socket, v6, Some(source.unwrap_or_else(|| unspecified(v6))))?;
        let id = socket
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .map_or(0, |a| a.port());
        Ok(Datagram::new(socket, Kind::IcmpDatagram { id }, v6, options))
    }

    /// A raw ICMP socket; takes CAP_NET_RAW.
    ///
    /// # Errors
    /// EPERM without that capability.
    pub fn icmp_raw(v6: bool, ids: Identifiers, options: &Options) -> Result<Datagram> {
        let socket = Socket::new(domain(v6), flags(Type::RAW), Some(icmp_protocol(v6)))
            .map_err(Error::os("open a raw ICMP socket"))?;
        filter(&socket, v6, ids)?;
        prepare(&socket, v6, options)?;
        if let Some(source) = options.source {
            bind(
                &socket,
                v6,
                Some(keep_scope(SocketAddr::new(source.ip(), 0), Some(source))),
            )?;
        }
        let mut datagram = Datagram::new(socket, Kind::IcmpRaw, v6, options);
        datagram.discard_waiting();
        Ok(datagram)
    }
}

/// Which local TCP ports a raw socket hears of: those that equal `base` but for the bits of `free`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The bits that all have in common, the others zero.
    pub base: u16,
    /// The bits that differ.
    pub free: u16,
}

impl Ports {
    /// No port at all.
    pub const NONE: Ports = Ports { base: 0, free: 0 };

    /// Whether `port` is one of them.
    pub const fn contain(self, port: u16) -> bool {
        port & !self.free == self.base && port != 0
    }

    /// The lower and the upper half of them; of one port alone, that port and none.
    pub const fn halves(self) -> (Ports, Ports) {
        let free = self.free >> 1;
        let lower = Ports {
            base: self.base,
            free,
        };
        if self.free == 0 {
            return (lower, Ports::NONE);
        }
        let base = self.base | (self.free & !free);
        (lower, Ports { base, free })
    }
}

impl Datagram {
    /// A raw TCP socket, which hears of segments to `ports` alone; takes CAP_NET_RAW. The kernel's TCP gets them too.
    ///
    /// # Errors
    /// [`Error::NoRawPermission`] without that capability, else as [`Datagram::udp`].
    pub fn tcp_raw(v6: bool, ports: Ports, options: &Options) -> Result<Datagram> {
        let socket = match Socket::new(domain(v6), flags(Type::RAW), Some(Protocol::TCP)) {
            Err(error) if refused(&error) => return Err(Error::NoRawPermission { source: error }),
            other => other.map_err(Error::os("open a raw TCP socket"))?,
        };
        let op = |code: u32, k: u32, jt: u8, jf: u8| SockFilter::new(code as u16, jt, jf, k);
        let program = [
            header_length(v6),
            op(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 2, 0, 0),
            op(
                libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
                u32::from(!ports.free),
                0,
                0,
            ),
            op(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                u32::from(ports.base),
                0,
                1,
            ),
            op(libc::BPF_RET | libc::BPF_K, 0x4_0000, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        socket
            .attach_filter(&program)
            .map_err(Error::os("filter TCP segments"))?;
        prepare(&socket, v6, options)?;
        if v6 {
            // RFC 3542 section 3.1: the kernel puts in and verifies the checksum at this offset.
            sys::set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, &16i32)
                .map_err(Error::os("have the TCP checksum computed"))?;
        }
        if let Some(source) = options.source {
            bind(
                &socket,
                v6,
                Some(keep_scope(SocketAddr::new(source.ip(), 0), Some(source))),
            )?;
        }
        let mut datagram = Datagram::new(socket, Kind::TcpRaw, v6, options);
        datagram.discard_waiting();
        Ok(datagram)
    }
}

/// X = length of the IPv4 header, which a raw socket gets too; 0 for IPv6, where it does not.
fn header_length(v6: bool) -> SockFilter {
    let code = if v6 {
        libc::BPF_LDX | libc::BPF_IMM
    } else {
        libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH
    };
    SockFilter::new(code as u16, 0, 0, 0)
}

fn refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::ESOCKTNOSUPPORT)
    )
}

fn domain(v6: bool) -> Domain {
    if v6 {
        Domain::IPV6
    } else {
        Domain::IPV4
    }
}

fn flags(kind: Type) -> Type {
    kind.nonblocking().cloexec()
}

fn icmp_protocol(v6: bool) -> Protocol {
    if v6 {
        Protocol::ICMPV6
    } else {
        Protocol::ICMPV4
    }
}

fn unspecified(v6: bool) -> SocketAddr {
    if v6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    }
}

/// `to`, in the scope of `from`: a link-local source is nothing without its interface.
fn keep_scope(mut to: SocketAddr, from: Option<SocketAddr>) -> SocketAddr {
    if let (SocketAddr::V6(to), Some(SocketAddr::V6(from))) = (&mut to, from) {
        to.set_scope_id(from.scope_id());
    }
    to
}

fn bind(socket: &Socket, v6: bool, source: Option<SocketAddr>) -> Result<()> {
    let Some(source) = source else { return Ok(()) };
    if source.is_ipv6() != v6 {
        return Err(Error::Unsupported {
            what: "the source address is not of the target's family",
        });
    }
    socket
        .bind(&SockAddr::from(source))
        .map_err(Error::os("bind to the source address"))
}

/// Everything that is set on every kind of socket before it is bound.
fn prepare(socket: &Socket, v6: bool, options: &Options) -> Result<()> {
    options.apply(socket, v6)?;
    let fd = socket.as_fd();
    let set = |level, name, value: i32, what| sys::set(fd, level, name, &value).map_err(Error::os(what));
    if v6 {
        set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1, "ask for ICMPv6 errors")?;
        set(
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVHOPLIMIT,
            1,
            "ask for the hop limit",
        )?;
        if options.tell_destination {
            set(
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
                1,
                "ask for the destination address",
            )?;
            set(
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVTCLASS,
                1,
                "ask for the traffic class",
            )?;
        }
    } else {
        set(libc::IPPROTO_IP, libc::IP_RECVERR, 1, "ask for ICMP errors")?;
        set(libc::IPPROTO_IP, libc::IP_RECVTTL, 1, "ask for the TTL")?;
        if options.tell_destination {
            set(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                1,
                "ask for the destination address",
            )?;
            set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1, "ask for the TOS byte")?;
        }
    }
    Ok(())
}

/// ICMP message types of an echo reply (RFC 792; RFC 4443 section 4.2).
const ECHO_REPLY: u32 = 0;
const ECHO_REPLY_6: u32 = 129;
/// `ICMPV6_FILTER` of `linux/icmpv6.h`: a bit per type, set to block it (RFC 3542 section 3.2).
const ICMPV6_FILTER: i32 = 1;

/// A raw socket hears every ICMP packet of the host: the kernel drops what is not an answer to us. Errors do not pass
/// here; they come by the error queue.
fn filter(socket: &Socket, v6: bool, ids: Identifiers) -> Result<()> {
    let op = |code: u32, k: u32, jt: u8, jf: u8| SockFilter::new(code as u16, jt, jf, k);
    let (base, mask) = (u32::from(ids.base & ids.mask), u32::from(ids.mask));
    let reply = if v6 { ECHO_REPLY_6 } else { ECHO_REPLY };
    let program = [
        header_length(v6),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, reply, 0, 4),
        op(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 4, 0, 0),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, base, 0, 1),
        op(libc::BPF_RET | libc::BPF_K, 0x4_0000, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    socket
        .attach_filter(&program)
        .map_err(Error::os("filter ICMP packets"))?;
    if v6 {
        let mut blocked = [u32::MAX; 8];
        blocked[(ECHO_REPLY_6 / 32) as usize] &= !(1 << (ECHO_REPLY_6 % 32));
        sys::set(socket.as_fd(), libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)
            .map_err(Error::os("filter ICMPv6 packets"))?;
    }
    Ok(())
}
