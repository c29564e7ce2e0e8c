//! What can be asked of a probe's sockets: where its packets leave from, and their header fields.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::{sys, Error, Result};

/// Options of a datagram socket. The default asks for nothing but receive stamps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The address, and port (0: any; not used by ICMP), that packets leave from.
    pub source: Option<SocketAddr>,
    /// The interface that packets leave by. Answers and errors may come in by any: binding the socket to the
    /// interface would hide this host's own errors, which come in by loopback.
    pub interface: Option<String>,
    /// TTL or hop limit, 1 to 255.
    pub ttl: Option<u8>,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// Do not fragment, whatever path MTU was learnt before (`IP_PMTUDISC_PROBE`).
    pub df: bool,
    /// The firewall mark (`SO_MARK`); takes privileges.
    pub mark: Option<u32>,
    /// Allow broadcast destinations.
    pub broadcast: bool,
    /// Receive buffer, bytes. Set beyond the system's limit where privileges allow.
    pub receive_buffer: usize,
    /// Ask the kernel for transmit stamps: about 2 µs per packet, so not above some 20 000 per second.
    pub transmit_stamps: bool,
    /// The clock of the interface that packets leave by, `/dev/ptpN` (see [`crate::hardware::clock_for`]): have it stamp them
    /// too. Used beside transmit stamps alone.
    pub hardware_clock: Option<u32>,
    /// Tell for each packet which address it was sent to and its TOS byte: what a reflector needs.
    pub tell_destination: bool,
    /// Share the local port with other sockets of ours.
    pub share_port: Option<SharePort>,
    /// The longest payload that is expected, bytes. What is longer arrives cut and is said to be.
    pub payload: usize,
}

/// How a local port is shared (`SO_REUSEPORT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SharePort {
    /// Opened first: gets whatever is for no other.
    ForAll,
    /// To be connected to one peer: gets what comes from there.
    ForOne,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            source: None,
            interface: None,
            ttl: None,
            dscp: None,
            df: false,
            mark: None,
            broadcast: false,
            // 10 ms of stall at 200 000 packets per second, each charged at somewhat under a kilobyte.
            receive_buffer: 4 << 20,
            transmit_stamps: true,
            hardware_clock: None,
            tell_destination: false,
            share_port: None,
            payload: 1500,
        }
    }
}

/// `IP_UNICAST_IF` and `IPV6_UNICAST_IF` (both in network byte order).
const IP_UNICAST_IF: i32 = 50;
const IPV6_UNICAST_IF: i32 = 76;

/// The index of the interface called `name`.
///
/// # Errors
/// [`Error::NoSuchInterface`].
pub fn interface_index(name: &str) -> Result<u32> {
    let none = || Error::NoSuchInterface {
        name: name.to_owned(),
    };
    let text = CString::new(name).map_err(|_| none())?;
    // SAFETY: `text` is a NUL-terminated string that lives through the call.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(none()),
        index => Ok(index),
    }
}

/// The name of the interface with this index, where there is one.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: `name` is valid for writes of IF_NAMESIZE bytes, the most that are written, with a closing zero.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let text = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The path MTU toward `to` as this host knows it now, bytes; `None` without a route.
pub fn path_mtu(to: SocketAddr) -> Option<u32> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::DGRAM.cloexec(),
        None,
    )
    .ok()?;
    socket.connect(&to.into()).ok()?;
    let (level, name) = if to.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU)
    };
    u32::try_from(sys::get_int(socket.as_fd(), level, name).ok()?).ok()
}

impl Options {
    /// Applies everything but the bind to a socket of this family.
    pub(crate) fn apply(&self, socket: &socket2::Socket, v6: bool) -> Result<()> {
        self.apply_but_buffer(socket, v6)?;
        receive_buffer(socket, self.receive_buffer)
    }

    /// Applies everything but the bind and the receive buffer.
    pub(crate) fn apply_but_buffer(&self, socket: &socket2::Socket, v6: bool) -> Result<()> {
        let fd = socket.as_fd();
        if v6 {
            self.apply_six(fd)?;
        } else {
            self.apply_four(fd)?;
        }
        if let Some(mark) = self.mark {
            sys::set(fd, libc::SOL_SOCKET, libc::SO_MARK, &mark).map_err(Error::os(
                "set the firewall mark (needs CAP_NET_ADMIN or CAP_NET_RAW)",
            ))?;
        }
        if let Some(role) = self.share_port {
            share_port(socket, role).map_err(Error::os("share the local port"))?;
        }
        if self.broadcast {
            socket.set_broadcast(true).map_err(Error::os("allow broadcast"))?;
        }
        Ok(())
    }

    fn apply_four(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let set =
            |name, value: i32, what| sys::set(fd, libc::IPPROTO_IP, name, &value).map_err(Error::os(what));
        if let Some(name) = &self.interface {
            let index = interface_index(name)?;
            set(IP_UNICAST_IF, index.to_be() as i32, "choose the interface")?;
            let multicast = libc::ip_mreqn {
                imr_multiaddr: NOWHERE,
                imr_address: NOWHERE,
                imr_ifindex: index as i32,
            };
            sys::set(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &multicast)
                .map_err(Error::os("choose the interface"))?;
        }
        if let Some(ttl) = self.ttl {
            set(libc::IP_TTL, i32::from(ttl), "set the TTL")?;
            set(libc::IP_MULTICAST_TTL, i32::from(ttl), "set the TTL")?;
        }
        if let Some(dscp) = self.dscp {
            set(libc::IP_TOS, i32::from(dscp) << 2, "set the DSCP")?;
        }
        if self.df {
            set(
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_PROBE,
                "forbid fragmentation",
            )?;
        }
        Ok(())
    }

    fn apply_six(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let set =
            |name, value: i32, what| sys::set(fd, libc::IPPROTO_IPV6, name, &value).map_err(Error::os(what));
        if let Some(name) = &self.interface {
            let index = interface_index(name)?;
            set(IPV6_UNICAST_IF, index.to_be() as i32, "choose the interface")?;
            set(libc::IPV6_MULTICAST_IF, index as i32, "choose the interface")?;
        }
        if let Some(ttl) = self.ttl {
            set(libc::IPV6_UNICAST_HOPS, i32::from(ttl), "set the hop limit")?;
            set(libc::IPV6_MULTICAST_HOPS, i32::from(ttl), "set the hop limit")?;
        }
        if let Some(dscp) = self.dscp {
            set(libc::IPV6_TCLASS, i32::from(dscp) << 2, "set the DSCP")?;
        }
        if self.df {
            set(
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
                "forbid fragmentation",
            )?;
            set(libc::IPV6_DONTFRAG, 1, "forbid fragmentation")?;
        }
        Ok(())
    }
}

/// A receive buffer of this many bytes, beyond the system's limit where privileges allow, else up to it.
pub(crate) fn receive_buffer(socket: &socket2::Socket, bytes: usize) -> Result<()> {
    let (fd, size) = (socket.as_fd(), i32::try_from(bytes).unwrap_or(i32::MAX));
    sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
        .or_else(|_| sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size))
        .map_err(Error::os("set the receive buffer"))
}

/// Until a socket of the group is connected it would get its share of everybody's packets: the program that chooses
/// among those that are not always picks the first.
fn share_port(socket: &socket2::Socket, role: SharePort) -> std::io::Result<()> {
    socket.set_reuse_port(true)?;
    if role == SharePort::ForOne {
        return Ok(());
    }
    let first = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: first.as_ptr().cast_mut(),
    };
    // The kernel copies the program, which `first` keeps alive meanwhile.
    sys::set(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        &program,
    )
}

const NOWHERE: libc::in_addr = libc::in_addr { s_addr: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn every_option_is_accepted_by_the_kernel_in_both_families() {
        let options = Options {
            interface: Some("lo".into()),
            ttl: Some(7),
            dscp: Some(46),
            df: true,
            broadcast: true,
            ..Options::default()
        };
        for (domain, v6) in [(Domain::IPV4, false), (Domain::IPV6, true)] {
            let socket = Socket::new(domain, Type::DGRAM, None).expect("socket");
            options.apply(&socket, v6).expect("options");
            let (level, ttl, tos) = if v6 {
                (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_TCLASS)
            } else {
                (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS)
            };
            assert_eq!(sys::get_int(socket.as_fd(), level, ttl).expect("ttl"), 7);
            assert_eq!(sys::get_int(socket.as_fd(), level, tos).expect("tos"), 46 << 2);
        }
    }

    #[test]
    fn an_interface_is_named_by_its_number() {
        let index = interface_index("lo").expect("there is one");
        assert_eq!(interface_name(index).as_deref(), Some("lo"));
        assert_eq!(interface_name(0x7fff_fff0), None);
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_in_the_error() {
        let error = interface_index("no-such-if0").expect_err("there is none");
        assert_eq!(error.to_string(), "no interface is called \"no-such-if0\"");
        assert!(interface_index("nul\0").is_err());
    }
}
