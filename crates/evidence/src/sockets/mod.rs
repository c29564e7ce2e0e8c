//! The sockets of this host: state, queues, the process behind each, and in words where data is held up.
//!
//! A queue that holds bytes at one instant is no fault: data is on its way. A second look tells the difference, since
//! the kernel counts what came, what was acknowledged and what still waits: from two looks it follows exactly how
//! much the application read and the peer took in between.

mod judge;
mod owners;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub use judge::{Finding, Holdup};
pub use owners::{Owner, Owners};
pub use rping_net::netlink::sockets::{Protocol, Socket, State, TcpInfo, Timer};

/// Which sockets are wanted. The default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// At either end one of these addresses; empty: any. A wildcard socket matches where one of `own` is asked for.
    pub addresses: Vec<IpAddr>,
    /// Addresses of this host among `addresses`, on which wildcard sockets take packets too.
    pub own: Vec<IpAddr>,
    /// At either end one of these ports, as inclusive ranges; empty: any.
    pub ports: Vec<(u16, u16)>,
    /// Those alone that wait for others: TCP listeners, and UDP sockets without a peer.
    pub listening: bool,
}

impl Filter {
    /// Whether `socket` is wanted.
    pub fn holds(&self, socket: &Socket) -> bool {
        if self.listening && !is_listening(socket) {
            return false;
        }
        let address = self.addresses.is_empty()
            || [socket.local, socket.remote]
                .iter()
                .any(|end| self.addresses.contains(&end.ip()))
            || (is_listening(socket)
                && socket.local.ip().is_unspecified()
                && self
                    .own
                    .iter()
                    .any(|own| own.is_ipv6() == socket.is_six || socket.is_six));
        let port = self.ports.is_empty()
            || [socket.local.port(), socket.remote.port()]
                .iter()
                .any(|port| self.ports.iter().any(|(low, high)| (low..=high).contains(&port)));
        address && port
    }
}

/// Whether a socket waits for whoever comes.
pub fn is_listening(socket: &Socket) -> bool {
    match socket.protocol {
        Protocol::Tcp => socket.state == State::Listen,
        Protocol::Udp => socket.remote.port() == 0,
    }
}

/// One socket with all that is known of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As the last look saw it.
    pub socket: Socket,
    /// The processes that hold it open, where they could be seen.
    pub owners: Vec<Owner>,
    /// Where data is held up.
    pub finding: Option<Finding>,
}

/// What one or two looks gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// The sockets that the filter holds, listeners first, then by local port.
    pub entries: Vec<Entry>,
    /// Processes whose open files could not be read: their sockets show no process.
    pub unseen_processes: usize,
    /// The time between the two looks; `None` after one.
    pub over: Option<Duration>,
}

/// A look at all TCP and UDP sockets that `filter` holds.
///
/// # Errors
/// What the kernel said to the question. A protocol that it was built without has no sockets.
pub fn look(filter: &Filter) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        match rping_net::netlink::sockets::sockets(protocol) {
            Ok(all) => found.extend(all.into_iter().filter(|socket| filter.holds(socket))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// One look, with what a single look can tell.
///
/// # Errors
/// As for [`look`].
pub fn list(filter: &Filter) -> io::Result<Listing> {
    Ok(listing(&[], look(filter)?, None))
}

/// The sockets of the second look, judged against the first, taken `over` before it.
pub fn compare(first: &[Socket], second: Vec<Socket>, over: Duration) -> Listing {
    listing(first, second, Some(over))
}

fn listing(first: &[Socket], mut now: Vec<Socket>, over: Option<Duration>) -> Listing {
    now.sort_by_key(|socket| {
        (
            !is_listening(socket),
            socket.protocol,
            socket.local.port(),
            socket.remote,
            socket.cookie,
        )
    });
    let owners = Owners::read();
    // A server may have a hundred thousand of them: each is found at once.
    let first: HashMap<_, _> = first
        .iter()
        .map(|before| ((before.cookie, before.protocol), before))
        .collect();
    let mut unseen = false;
    let entries = now
        .into_iter()
        .map(|socket| {
            let before = first.get(&(socket.cookie, socket.protocol));
            let finding = match over {
                Some(over) => before.and_then(|before| judge::twice(before, &socket, over)),
                None => judge::once(&socket),
            };
            let holders = owners.of(socket.inode);
            unseen |= socket.inode != 0 && holders.is_empty();
            Entry {
                socket,
                owners: holders,
                finding,
            }
        })
        .collect();
    Listing {
        entries,
        unseen_processes: if unseen { owners.unseen } else { 0 },
        over,
    }
}

#[cfg(test)]
mod tests;
