//! TCP connects that do not block: started, watched many at once, and asked what became of them.
//!
//! The kernel is the better clock here: it takes the handshake's round trip at the SYN-ACK
//! ([`TcpInfo::rtt`]), however long the program then takes to notice.

mod counters;
mod reserve;
mod watch;

pub use counters::{listen_overflows, retransmit_failures};
pub use reserve::Reserved;
pub use watch::{Ready, Watch};

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::address::Name;
use crate::errqueue::SocketError;
use crate::{cmsg, sys, Error, Result};

/// Where connects leave from, their header fields, and how they are ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The address, and port (0: any), that connects leave from.
    pub source: Option<SocketAddr>,
    /// The interface that they are bound to. It hides this host's own ICMP errors, which come in by loopback.
    pub interface: Option<String>,
    /// TTL or hop limit, 1 to 255.
    pub ttl: Option<u8>,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// The firewall mark (`SO_MARK`); takes privileges.
    pub mark: Option<u32>,
    /// How [`Connection::end`] ends an established connection.
    pub close: Close,
}

/// What ends an established connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Close {
    /// A reset (`SO_LINGER` with 0): leaves no TIME_WAIT, so no local port is used up.
    #[default]
    Reset,
    /// A FIN, as polite programs do: each connection holds its local port for a minute in TIME_WAIT.
    Fin,
}

/// A connect under way, or done.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Options {
    /// Tries the options on a socket that is then thrown away, so that a mistake in them ends the run before its
    /// first probe. `v6` says for which family.
    ///
    /// # Errors
    /// The option that does not hold, by name.
    pub fn check(&self, v6: bool) -> Result<()> {
        if let Some(interface) = &self.interface {
            if crate::iface::interface(interface)
                .map_err(Error::os("look up the interface"))?
                .is_none()
            {
                return Err(Error::NoSuchInterface {
                    name: interface.clone(),
                });
            }
        }
        let probe = Connection::new(v6).map_err(Error::os("open a TCP socket"))?;
        let fd = probe.as_fd();
        self.apply_fields(fd, v6)
            .map_err(Error::os("set the TTL or DSCP"))?;
        self.apply_mark(fd).map_err(Error::os(
            "set the firewall mark (needs CAP_NET_ADMIN or CAP_NET_RAW)",
        ))?;
        self.apply_interface(fd)
            .map_err(Error::os("bind to the interface"))?;
        self.apply_source(fd)
            .map_err(Error::os("bind to the source address"))
    }

    fn apply(&self, fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
        let (level, name) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::IPPROTO_IP, libc::IP_RECVERR)
        };
        sys::set(fd, level, name, &1i32)?;
        self.apply_fields(fd, v6)?;
        self.apply_mark(fd)?;
        self.apply_interface(fd)?;
        self.apply_source(fd)
    }

    fn apply_fields(&self, fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
        let (level, ttl, tos) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS)
        };
        if let Some(value) = self.ttl {
            sys::set(fd, level, ttl, &i32::from(value))?;
        }
        if let Some(value) = self.dscp {
            sys::set(fd, level, tos, &(i32::from(value) << 2))?;
        }
        Ok(())
    }

    fn apply_mark(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.mark.map_or(Ok(()), |mark| {
            sys::set(fd, libc::SOL_SOCKET, libc::SO_MARK, &mark)
        })
    }

    fn apply_interface(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let Some(interface) = &self.interface else {
            return Ok(());
        };
        // IFNAMSIZ, closing zero included; a longer name is cut and then names nothing.
        let mut name = [0u8; 16];
        for (to, from) in name.iter_mut().take(15).zip(interface.bytes()) {
            *to = from;
        }
        sys::set(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name)
    }

    fn apply_source(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let Some(source) = self.source else { return Ok(()) };
        if source.port() == 0 {
            // The port is chosen at connect(), where one may serve many destinations.
            sys::set(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32)?;
        } else {
            sys::set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
        }
        let mut name = Name::empty();
        let length = name.write(source) as libc::socklen_t;
        // SAFETY: `name` is valid for reads of `length` bytes, which it was just written to hold.
        sys::retry(|| unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
        Ok(())
    }
}

/// What the kernel's TCP knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpInfo {
    /// The handshake is done.
    pub established: bool,
    /// The round-trip time that the kernel measured, in whole microseconds; after a handshake alone it is the time
    /// from SYN to SYN-ACK. `None` before the first measurement, and meaningless when a SYN was sent again.
    pub rtt: Option<Duration>,
    /// How many segments (SYNs, before the handshake is done) were sent again, failed attempts included.
    pub retransmits: u32,
    /// The sender's congestion window, bytes.
    pub congestion_window: u64,
    /// The maximum segment size in use toward the peer, bytes.
    pub mss: u32,
}

/// What the kernel's TCP knows of the connection behind `socket`; `None` if it does not tell.
pub fn info(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    const ESTABLISHED: u8 = 1;
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` and `length` are valid for writes, and `length` says the size of `info`.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if got < 0 {
        return None;
    }
    // SAFETY: all of it was zeroed, of which every field's type allows any bits; the kernel wrote a prefix.
    let info = unsafe { info.assume_init() };
    Some(TcpInfo {
        established: info.tcpi_state == ESTABLISHED,
        rtt: (info.tcpi_rtt > 0).then(|| Duration::from_micros(u64::from(info.tcpi_rtt))),
        retransmits: info.tcpi_total_retrans,
        congestion_window: u64::from(info.tcpi_snd_cwnd).saturating_mul(u64::from(info.tcpi_snd_mss)),
        mss: info.tcpi_snd_mss,
    })
}

impl Connection {
    /// Opens a socket that is ready to connect: non-blocking, with its options set and its error queue on.
    ///
    /// # Errors
    /// Of the system: `EMFILE`/`ENFILE`/`ENOBUFS`/`ENOMEM` for want of resources, `EADDRNOTAVAIL` for a source address
    /// that is not ours, `EADDRINUSE` for a source port that somebody else holds, `ENODEV` for an interface that is
    /// not there.
    pub fn open(v6: bool, options: &Options) -> io::Result<Connection> {
        let connection = Connection::new(v6)?;
        options.apply(connection.as_fd(), v6)?;
        Ok(connection)
    }

    /// Begins to connect to `to`, without waiting for the outcome.
    ///
    /// # Errors
    /// Of the system, instantly: `EADDRNOTAVAIL` for want of a local port, `ENETUNREACH`, `EHOSTUNREACH`, `EACCES`,
    /// `EINVAL` for want of a route (see [`crate::netlink::RouteError`]), `EPERM` from a local policy, `ENOBUFS` or
    /// `ENOMEM` for want of memory.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        let mut name = Name::empty();
        let length = name.write(to) as libc::socklen_t;
        // SAFETY: `name` is valid for reads of `length` bytes, which it was just written to hold.
        let started = unsafe { libc::connect(self.0.as_raw_fd(), (&raw const name).cast(), length) };
        if started < 0 {
            let error = io::Error::last_os_error();
            // Interrupted (EINTR) or not, a non-blocking connect goes on by itself.
            if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn new(v6: bool) -> io::Result<Connection> {
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let fd = sys::retry(|| unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) })?;
        // SAFETY: `fd` was just returned by socket() and belongs to nobody else.
        Ok(Connection(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Ends it as `options` say. Dropping an established connection ends it with a FIN.
    ///
    /// (Said at the end and not at the beginning, because most probes of a sweep never get this far.)
    pub fn end(self, options: &Options) {
        if options.close == Close::Reset {
            let now = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            // It cannot fail; if it did, TIME_WAIT is what would be left.
            let _ = sys::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &now);
        }
    }

    /// The kernel's figures; `None` if it does not tell.
    pub fn info(&self) -> Option<TcpInfo> {
        info(self.as_fd())
    }

    /// The error number that ended the connect, if one did; asking takes it away.
    ///
    /// # Errors
    /// Not expected.
    pub fn take_error(&self) -> io::Result<Option<i32>> {
        let error = sys::get_int(self.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((error != 0).then_some(error))
    }

    /// The oldest entry of the error queue: the ICMP message that ended the connect to `to`, if one did. A reset
    /// leaves none.
    pub fn queued_error(&self, to: SocketAddr) -> Option<SocketError> {
        let mut control = [0u64; 32];
        let mut quoted = [0u8; 128];
        let mut part = libc::iovec {
            iov_base: quoted.as_mut_ptr().cast(),
            iov_len: quoted.len(),
        };
        // SAFETY: all zeros is a valid value of this plain structure of integers and null pointers.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the header points to live storage of the lengths that it gives: one iovec, one control buffer.
        let got = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, flags) };
        let length = usize::try_from(got).ok()?;
        let used = (header.msg_controllen as usize).min(size_of_val(&control));
        let bytes: Vec<u8> = control
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .take(used)
            .collect();
        let error = cmsg::Control::read(&bytes).error?;
        SocketError::new(
            error,
            Some(to),
            quoted.get(..length.min(quoted.len())).unwrap_or_default(),
        )
    }

    /// The local address that the connect leaves from, once it is chosen.
    pub fn local_address(&self) -> Option<SocketAddr> {
        let mut name = Name::empty();
        let mut length = Name::SIZE as libc::socklen_t;
        // SAFETY: `name` is valid for writes of `length` bytes, its size.
        let got = unsafe { libc::getsockname(self.0.as_raw_fd(), (&raw mut name).cast(), &raw mut length) };
        (got == 0).then(|| name.read(length as usize)).flatten()
    }
}

/// For those who go on to speak: blocking or not is as it was, which is not.
impl From<Connection> for std::net::TcpStream {
    fn from(connection: Connection) -> std::net::TcpStream {
        connection.0.into()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Pacing, Waiter};
    use std::net::TcpListener;

    fn connect(to: SocketAddr, options: &Options) -> io::Result<Connection> {
        let connection = Connection::open(to.is_ipv6(), options)?;
        connection.connect(to)?;
        Ok(connection)
    }

    fn settled(watch: &mut Watch) -> Vec<Ready> {
        let mut ready = Vec::new();
        let mut waiter = Waiter::new(Pacing::Precise);
        let until = Clock.now().plus(Duration::from_secs(2));
        waiter.wait(&[watch.as_fd()], until);
        watch.ready(&mut ready).unwrap();
        ready
    }

    #[test]
    fn an_open_port_connects_with_a_kernel_round_trip_in_both_families() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let to = listener.local_addr().unwrap();
            let mut watch = Watch::new(8).unwrap();
            let connection = connect(to, &Options::default()).unwrap();
            watch.add(&connection, 7).unwrap();
            assert_eq!(
                settled(&mut watch),
                [Ready {
                    key: 7,
                    failed: false
                }]
            );
            let info = connection.info().unwrap();
            assert!(info.established && info.rtt.is_some(), "{info:?}");
            assert_eq!(info.retransmits, 0);
            assert_eq!(connection.take_error().unwrap(), None);
            assert!(connection.queued_error(to).is_none());
            assert_eq!(connection.local_address().unwrap().ip(), to.ip());
            watch.remove(&connection).unwrap();
            assert!(watch.remove(&connection).is_err());
        }
    }

    #[test]
    fn a_closed_port_fails_with_an_empty_error_queue() {
        let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut watch = Watch::new(8).unwrap();
        let connection = connect(to, &Options::default()).unwrap();
        watch.add(&connection, 1).unwrap();
        assert_eq!(settled(&mut watch), [Ready { key: 1, failed: true }]);
        assert_eq!(connection.take_error().unwrap(), Some(libc::ECONNREFUSED));
        assert!(connection.queued_error(to).is_none());
    }

    #[test]
    fn a_source_address_of_another_host_is_refused_before_the_first_probe() {
        let options = Options {
            source: "192.0.2.77:0".parse().ok(),
            ..Options::default()
        };
        let error = options.check(false).expect_err("not ours");
        assert_eq!(error.errno(), Some(libc::EADDRNOTAVAIL));
        let options = Options {
            interface: Some("no-such-if0".into()),
            ..Options::default()
        };
        assert!(matches!(options.check(false), Err(Error::NoSuchInterface { .. })));
        let options = Options {
            ttl: Some(3),
            dscp: Some(46),
            ..Options::default()
        };
        options.check(false).unwrap();
        options.check(true).unwrap();
    }

    #[test]
    fn the_source_address_and_port_are_used() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            source: "127.0.0.9:0".parse().ok(),
            ..Options::default()
        };
        let connection = connect(listener.local_addr().unwrap(), &options).unwrap();
        let local = connection.local_address().unwrap();
        assert_eq!(local.ip().to_string(), "127.0.0.9");
        // With a reset: a FIN would hold the port for a minute.
        connection.end(&options);
        let options = Options {
            source: Some(local),
            ..Options::default()
        };
        let again = connect(listener.local_addr().unwrap(), &options).unwrap();
        assert_eq!(again.local_address(), Some(local));
    }
}
