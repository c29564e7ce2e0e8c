//! TCP connections that carry data: opened with what a throughput test may ask for, and read without copying where
//! nobody wants the bytes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{sys, Error, Result};

/// What can be asked of a data connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamOptions {
    /// The address, and port (0: any), that it leaves from.
    pub source: Option<SocketAddr>,
    /// The interface that it is bound to.
    pub interface: Option<String>,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// TTL or hop limit, 1 to 255.
    pub ttl: Option<u8>,
    /// The firewall mark (`SO_MARK`); takes privileges.
    pub mark: Option<u32>,
    /// The maximum segment size to offer, bytes.
    pub mss: Option<u32>,
    /// The congestion control algorithm, by the system's name for it.
    pub congestion: Option<String>,
}

impl StreamOptions {
    /// Connects to `to` within `timeout`; small writes leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The option that could not be set, by name; whatever became of the connect.
    pub fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
        let socket = Socket::new(
            Domain::for_address(to),
            Type::STREAM.cloexec(),
            Some(Protocol::TCP),
        )
        .map_err(Error::os("open a TCP socket"))?;
        self.apply(&socket, to.is_ipv6())?;
        if let Some(source) = self.source {
            socket
                .bind(&SockAddr::from(source))
                .map_err(Error::os("bind to the source address"))?;
        }
        socket
            .connect_timeout(&SockAddr::from(to), timeout)
            .map_err(Error::os("connect"))?;
        Ok(socket.into())
    }

    /// Applies everything but the source to a connection of this family, made or not.
    fn apply(&self, socket: &Socket, v6: bool) -> Result<()> {
        socket
            .set_tcp_nodelay(true)
            .map_err(Error::os("set TCP_NODELAY"))?;
        if let Some(name) = &self.interface {
            socket
                .bind_device(Some(name.as_bytes()))
                .map_err(Error::os("bind to the interface"))?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark).map_err(Error::os(
                "set the firewall mark (needs CAP_NET_ADMIN or CAP_NET_RAW)",
            ))?;
        }
        if let Some(mss) = self.mss {
            socket
                .set_tcp_mss(mss)
                .map_err(Error::os("set the maximum segment size"))?;
        }
        if let Some(name) = &self.congestion {
            socket.set_tcp_congestion(name.as_bytes()).map_err(Error::os(
                "choose the congestion control (sysctl net.ipv4.tcp_available_congestion_control lists them)",
            ))?;
        }
        set_header(socket, v6, self.ttl, self.dscp)
    }
}

fn set_header(socket: &Socket, v6: bool, ttl: Option<u8>, dscp: Option<u8>) -> Result<()> {
    let fd = socket.as_fd();
    let (level, hops, class) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_TCLASS)
    } else {
        (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS)
    };
    if let Some(ttl) = ttl {
        sys::set(fd, level, hops, &i32::from(ttl)).map_err(Error::os("set the TTL"))?;
    }
    if let Some(dscp) = dscp {
        sys::set(fd, level, class, &(i32::from(dscp) << 2)).map_err(Error::os("set the DSCP"))?;
    }
    Ok(())
}

/// Listens on `address`; `[::]` takes IPv4 too. The backlog is the system's largest: at full rate a short one loses SYNs.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )
    .map_err(Error::os("open a TCP socket"))?;
    if address.is_ipv6() {
        socket
            .set_only_v6(!address.ip().is_unspecified())
            .map_err(Error::os("take IPv4 on an IPv6 socket"))?;
    }
    // What an earlier server left in TIME_WAIT does not keep the port from the next.
    socket
        .set_reuse_address(true)
        .map_err(Error::os("reuse the port"))?;
    socket
        .bind(&SockAddr::from(address))
        .map_err(Error::os("bind to the address"))?;
    socket.listen(i32::MAX).map_err(Error::os("listen"))?;
    Ok(socket.into())
}

/// Whether accepting failed for want of descriptors or memory: asking again at once would only spin.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Has the kernel ask the other side whether it is still there: one that has vanished without a word ends the connection
/// within half a minute.
pub fn keep_alive<S: AsFd>(stream: &S) {
    let often = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    // Where it cannot be had, other time limits hold.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&often);
}

/// Applies what a peer asked for to a connection that it opened: congestion control and DSCP. What cannot be had is
/// left as it is.
pub fn oblige(stream: &TcpStream, congestion: Option<&str>, tos: Option<u8>) {
    let socket = socket2::SockRef::from(stream);
    if let Some(name) = congestion {
        let _ = socket.set_tcp_congestion(name.as_bytes());
    }
    if let Some(tos) = tos {
        let v6 = stream.local_addr().is_ok_and(|address| address.is_ipv6());
        let (level, class) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        let _ = sys::set(stream.as_fd(), level, class, &i32::from(tos));
    }
}

/// Lets a read that waits sleep until so many bytes are there, or its timeout has passed (`SO_RCVLOWAT`): fewer
/// wake-ups for the same data. Where it cannot be had nothing changes but that.
pub fn wake_at(stream: &TcpStream, bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    let _ = sys::set(stream.as_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes);
}

/// Reads what is there and does not wait (`MSG_DONTWAIT`), whatever the connection itself is set to. 0 is the end.
///
/// # Errors
/// As a read; [`io::ErrorKind::WouldBlock`] where nothing is there.
pub fn read_now(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `into` is valid for writes of its own length; the descriptor is borrowed, so open.
    let got = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Writes what can be taken at once and does not wait, whatever the connection itself is set to.
///
/// # Errors
/// As a write; [`io::ErrorKind::WouldBlock`] where nothing can be taken.
pub fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is valid for reads of its own length; the descriptor is borrowed, so open.
    let sent = unsafe {
        libc::send(
            stream.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The congestion control in use, by the system's name.
pub fn congestion(stream: &TcpStream) -> Option<String> {
    let name = socket2::SockRef::from(stream).tcp_congestion().ok()?;
    let name = name.split(|&c| c == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Takes up to `most` bytes off the connection and drops them in the kernel, without copying them here (`MSG_TRUNC`,
/// tcp(7)). 0 is the end.
///
/// # Errors
/// As a read.
pub fn discard(stream: &TcpStream, most: usize) -> io::Result<usize> {
    loop {
        // SAFETY: for TCP this flag drops the data instead of writing it to the buffer, which may then be null.
        let got = unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), most, libc::MSG_TRUNC) };
        if let Ok(got) = usize::try_from(got) {
            return Ok(got);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_discarded_is_counted_and_the_end_is_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap()).unwrap();
            let options = StreamOptions {
                dscp: Some(10),
                mss: Some(1000),
                congestion: Some("reno".into()),
                ..StreamOptions::default()
            };
            let to = listener.local_addr().unwrap();
            let mut client = options.connect(to, Duration::from_secs(5)).unwrap();
            assert_eq!(congestion(&client).as_deref(), Some("reno"));
            let (server, _) = listener.accept().unwrap();
            client.write_all(&[7; 5000]).unwrap();
            drop(client);
            let mut all = 0;
            loop {
                match discard(&server, 1 << 16).unwrap() {
                    0 => break,
                    got => all += got,
                }
            }
            assert_eq!(all, 5000);
        }
    }

    #[test]
    fn an_unknown_congestion_control_is_named_in_the_error() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let options = StreamOptions {
            congestion: Some("no-such".into()),
            ..StreamOptions::default()
        };
        let error = options
            .connect(listener.local_addr().unwrap(), Duration::from_secs(5))
            .expect_err("there is none");
        assert!(error.to_string().contains("congestion control"), "{error}");
    }
}
