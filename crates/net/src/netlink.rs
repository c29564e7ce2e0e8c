//! What this host's kernel knows of routes, neighbours and interfaces, asked over rtnetlink, and of sockets, asked over
//! `sock_diag`.
//!
//! A probe that fails is explained by these: which route it took, whether its next hop was resolved, whether the
//! interface was up. Nothing here is called while probes succeed. Each call opens its own socket (some 15 µs with
//! its answer), works without privilege and sees the calling thread's network namespace.

mod message;
mod neighbour;
pub mod nftables;
mod route;
mod rule;
pub mod sockets;

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use message::{Attributes, Message, Messages, Request};

pub(crate) use message::{address, u32_at};

pub use crate::iface::{interface, interfaces, is_own, own_addresses};
pub use neighbour::{
    neighbour, neighbours, table_fill, Forgetter, Neighbour, NeighbourState, TableFill, GRAIN,
};
pub use route::{every_route, route, routes, Route, RouteEntry, RouteError, RouteKind};
pub use rule::{policy, PolicyRule};

/// Room for the answer to one question. An interface's is the longest: about 1.5 KiB without its counters.
const ANSWERED: usize = 8 * 1024;
/// Room for one datagram of a dump; the kernel fits dumps to the reader's buffer, up to 32 KiB.
const DUMPED: usize = 32 * 1024;
/// How often a dump that changed while it was read is begun anew.
const DUMP_ATTEMPTS: usize = 4;
const SOL_NETLINK: libc::c_int = 270;
const NETLINK_GET_STRICT_CHK: libc::c_int = 12;

/// Reads any bytes as an answer of each kind: for the fuzzer.
pub(crate) fn read_all(bytes: &[u8]) {
    for message in Messages(bytes) {
        neighbour::read_all(message.body);
        route::read_all(message.body);
        rule::read_all(message.body);
        nftables::read_all(message.body);
        sockets::read_all(message.body);
    }
}

/// One rtnetlink conversation.
pub(crate) struct Netlink {
    fd: OwnedFd,
    seq: u32,
}

impl Netlink {
    /// Opens the conversation; no privilege is needed for questions.
    pub(crate) fn open() -> io::Result<Netlink> {
        Netlink::open_to(libc::NETLINK_ROUTE)
    }

    /// Opens a conversation with another part of the kernel (`NETLINK_SOCK_DIAG`).
    fn open_to(part: libc::c_int) -> io::Result<Netlink> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, part) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned by socket() and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Netlink { fd, seq: 0 })
    }

    /// Asks one question and hands each message of the answer to `each`, as (message type, body).
    ///
    /// # Errors
    /// The kernel's own error number, such as `ENETUNREACH` for a route that is not there.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        body: &[u8],
        attributes: &[(u16, &[u8])],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut buffer = [0; ANSWERED];
        self.converse(&mut buffer, kind, 0, body, attributes, |message| {
            each(message.body);
            Next::Finished
        })
        .map(|_| ())
    }

    /// Has the kernel do something, and waits for its word that it is done.
    ///
    /// # Errors
    /// The kernel's own error number, such as `EPERM`.
    pub(crate) fn command(&mut self, kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<()> {
        let mut buffer = [0; ANSWERED];
        let acknowledge = libc::NLM_F_ACK as u16;
        self.converse(&mut buffer, kind, acknowledge, body, attributes, |_| Next::More)
            .map(|_| ())
    }

    /// Asks for all entries and returns what `each` makes of them.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        attributes: &[(u16, &[u8])],
        each: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        // Lets the kernel filter by interface. An older kernel refuses it and dumps everything, which the callers filter
        // themselves.
        let _ = crate::sys::set(self.fd.as_fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &1i32);
        let mut buffer = vec![0; DUMPED];
        let mut found = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            found.clear();
            let whole = self.converse(
                &mut buffer,
                kind,
                libc::NLM_F_DUMP as u16,
                body,
                attributes,
                |message| {
                    found.extend(each(message.body));
                    Next::More
                },
            )?;
            if whole {
                break;
            }
        }
        // A table that never holds still is still best described by its last, possibly torn, reading.
        Ok(found)
    }

    /// Sends the question and reads until its end. False when the table changed under a dump.
    fn converse(
        &mut self,
        buffer: &mut [u8],
        kind: u16,
        flags: u16,
        body: &[u8],
        attributes: &[(u16, &[u8])],
        mut each: impl FnMut(Message<'_>) -> Next,
    ) -> io::Result<bool> {
        self.seq = self.seq.wrapping_add(1);
        let request = attributes.iter().fold(
            Request::new(kind, flags, self.seq, body),
            |request, (kind, value)| request.attribute(*kind, value),
        );
        self.send(&request.finish())?;
        let mut whole = true;
        loop {
            let length = self.receive(buffer)?;
            for message in Messages(buffer.get(..length).unwrap_or(&[])) {
                if message.seq != self.seq {
                    continue;
                }
                whole &= message.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(whole),
                    libc::NLMSG_ERROR => {
                        let code = message::u32_at(message.body, 0).map_or(-libc::EPROTO, |code| code as i32);
                        if code == 0 {
                            return Ok(whole);
                        }
                        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => {
                        if let Next::Finished = each(message) {
                            return Ok(whole);
                        }
                    }
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the pointer and length describe `bytes`, which outlives the call.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Never blocks: the kernel has put the answer (or a dump's beginning) into the socket before `send` returned,
    /// so an empty socket means that the answer was dropped.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // SAFETY: the pointer and length describe `buffer`, which outlives the call.
            let got = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(length) = usize::try_from(got) {
                return Ok(length);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Whether an answer goes on after this message.
enum Next {
    More,
    Finished,
}

/// The `AF_…` number of an address, as rtnetlink bodies hold it.
fn family(address: std::net::IpAddr) -> u8 {
    if address.is_ipv4() {
        libc::AF_INET as u8
    } else {
        libc::AF_INET6 as u8
    }
}

/// An address as rtnetlink attributes hold it: 4 or 16 bytes in network order.
pub(crate) fn address_bytes(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The attributes of a message whose fixed body is `fixed` bytes long, as (type, value).
pub(crate) fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    Attributes::after(body, fixed)
}
