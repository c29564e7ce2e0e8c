//! The TCP and UDP sockets of this network namespace, as `sock_diag(7)` tells of them.
//!
//! Layouts are `linux/inet_diag.h` and `linux/tcp.h`. Every field is read by a checked offset: an older kernel's shorter
//! `tcp_info` leaves the later fields `None`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::message::{u32_at, Attributes};
use super::Netlink;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, socket id.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`: family, state, timer, retransmits, socket id (48), then five numbers.
const ANSWER: usize = 72;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
/// `SK_MEMINFO_DROPS`, as an offset in bytes.
const MEMINFO_DROPS: usize = 8 * 4;

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
            Protocol::Udp => libc::IPPROTO_UDP as u8,
        }
    }
}

/// The state of a socket. UDP sockets are `Established` when connected, else `Closed`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)] // RFC 9293 section 3.3.2 says what they are.
pub enum State {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// One that this program does not know, by the kernel's number.
    Other(u8),
}

impl State {
    fn from_number(number: u8) -> State {
        match number {
            1 => State::Established,
            2 => State::SynSent,
            // 12 is a handshake in progress that has no socket yet.
            3 | 12 => State::SynReceived,
            4 => State::FinWait1,
            5 => State::FinWait2,
            6 => State::TimeWait,
            7 => State::Closed,
            8 => State::CloseWait,
            9 => State::LastAck,
            10 => State::Listen,
            11 => State::Closing,
            other => State::Other(other),
        }
    }
}

/// What a socket's timer waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// No timer runs.
    Off,
    /// An acknowledgment: else what was sent is sent again.
    Retransmit,
    /// Keep-alive, or the end of a handshake.
    Keepalive,
    /// The end of `TIME_WAIT`.
    TimeWait,
    /// The peer's window to open: it is asked again.
    Probe,
    /// Another, by the kernel's number.
    Other(u8),
}

/// One socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Socket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its state.
    pub state: State,
    /// Our end; unspecified where it takes packets for every address. IPv4-mapped addresses are shown as IPv4.
    pub local: SocketAddr,
    /// The other end; unspecified with port 0 where there is none.
    pub remote: SocketAddr,
    /// It is a socket of the IPv6 family, whatever it speaks.
    pub is_six: bool,
    /// The interface that it is bound to; 0 for none.
    pub ifindex: u32,
    /// Tells it from every other socket since the machine started.
    pub cookie: u64,
    /// Bytes that the application has not read; of a listener, connections that it has not accepted.
    pub receive_queue: u32,
    /// Bytes that the peer has not acknowledged (TCP) or that have not left (UDP); of a listener, its backlog.
    pub send_queue: u32,
    /// The timer that runs.
    pub timer: Timer,
    /// How often in a row its timer ran out: retransmissions or probes without an answer, as the timer says.
    pub unanswered: u8,
    /// The user who owns it.
    pub uid: u32,
    /// Its number in `/proc/PID/fd`; 0 where no process has it any more.
    pub inode: u32,
    /// Datagrams or segments dropped because its receive buffer was full.
    pub drops: Option<u32>,
    /// What TCP itself measures.
    pub tcp: Option<TcpInfo>,
}

/// Of `struct tcp_info`, what tells where data is held up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpInfo {
    /// Retransmission timeouts in a row without an acknowledgment.
    pub retransmits: u8,
    /// Window probes in a row without an answer.
    pub probes: u8,
    /// How often the timer has been doubled.
    pub backoff: u8,
    /// The smoothed round-trip time; zero: none measured.
    pub rtt: Duration,
    /// Segments that are not acknowledged.
    pub unacked: u32,
    /// Since data was last sent.
    pub last_data_sent: Duration,
    /// Since data last came.
    pub last_data_received: Duration,
    /// Since an acknowledgment last came.
    pub last_ack_received: Duration,
    /// The congestion window, segments.
    pub congestion_window: u32,
    /// Segments sent again since the connection began.
    pub total_retransmits: u32,
    /// Bytes that the peer has acknowledged.
    pub bytes_acked: Option<u64>,
    /// Bytes received in order.
    pub bytes_received: Option<u64>,
    /// Bytes that wait to be sent for the first time.
    pub not_sent: Option<u32>,
    /// The window that the peer offers, bytes (Linux 5.4).
    pub send_window: Option<u32>,
}

/// All sockets of these kinds in the calling thread's network namespace. Needs no privilege.
///
/// # Errors
/// What the kernel said: `ENOENT` where it was built without `sock_diag` for this protocol.
pub fn sockets(protocol: Protocol) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut netlink = Netlink::open_to(libc::NETLINK_SOCK_DIAG)?;
        found.extend(netlink.dump(
            SOCK_DIAG_BY_FAMILY,
            &request(family as u8, protocol),
            &[],
            |body| parse(body, protocol),
        )?);
    }
    Ok(found)
}

fn request(family: u8, protocol: Protocol) -> [u8; REQUEST] {
    let mut body = [0; REQUEST];
    body[0] = family;
    body[1] = protocol.number();
    body[2] = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
    body[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    body
}

fn parse(body: &[u8], protocol: Protocol) -> Option<Socket> {
    let is_six = i32::from(*body.first()?) == libc::AF_INET6;
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| {
        Some(if is_six {
            let bytes: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
            IpAddr::from(bytes).to_canonical()
        } else {
            let bytes: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
            IpAddr::from(bytes)
        })
    };
    let number = |at| u32_at(body, at);
    let mut socket = Socket {
        protocol,
        state: State::from_number(*body.get(1)?),
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        is_six,
        ifindex: number(40)?,
        cookie: u64::from(number(44)?) | u64::from(number(48)?) << 32,
        timer: match *body.get(2)? {
            0 => Timer::Off,
            1 => Timer::Retransmit,
            2 => Timer::Keepalive,
            3 => Timer::TimeWait,
            4 => Timer::Probe,
            other => Timer::Other(other),
        },
        unanswered: *body.get(3)?,
        receive_queue: number(56)?,
        send_queue: number(60)?,
        uid: number(64)?,
        inode: number(68)?,
        drops: None,
        tcp: None,
    };
    for (kind, value) in Attributes::after(body, ANSWER) {
        match kind {
            INET_DIAG_INFO if protocol == Protocol::Tcp => socket.tcp = tcp_info(value),
            INET_DIAG_SKMEMINFO => socket.drops = u32_at(value, MEMINFO_DROPS),
            _ => {}
        }
    }
    Some(socket)
}

fn tcp_info(info: &[u8]) -> Option<TcpInfo> {
    let millis = |at| u32_at(info, at).map(|ms| Duration::from_millis(ms.into()));
    let long = |at: usize| Some(u64::from_ne_bytes(info.get(at..at + 8)?.try_into().ok()?));
    Some(TcpInfo {
        retransmits: *info.get(2)?,
        probes: *info.get(3)?,
        backoff: *info.get(4)?,
        unacked: u32_at(info, 24)?,
        last_data_sent: millis(44)?,
        last_data_received: millis(52)?,
        last_ack_received: millis(56)?,
        rtt: Duration::from_micros(u32_at(info, 68)?.into()),
        congestion_window: u32_at(info, 80)?,
        total_retransmits: u32_at(info, 100)?,
        bytes_acked: long(120),
        bytes_received: long(128),
        not_sent: u32_at(info, 144),
        send_window: u32_at(info, 228),
    })
}

/// Reads any bytes as an answer: for the fuzzer.
pub(super) fn read_all(body: &[u8]) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _ = parse(body, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn of(local: SocketAddr, protocol: Protocol) -> Vec<Socket> {
        let mut found = sockets(protocol).expect("the kernel tells of its sockets");
        found.retain(|socket| socket.local == local);
        found
    }

    #[test]
    fn a_listener_and_a_connection_are_told_with_what_waits_in_them() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let place = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(place).unwrap();
            let before = of(place, Protocol::Tcp);
            let listening = before.iter().find(|s| s.state == State::Listen).unwrap();
            assert_eq!((listening.receive_queue, listening.inode == 0), (1, false));
            let (_server, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut client, &[7; 1000]).unwrap();
            let after = of(place, Protocol::Tcp);
            let open = after.iter().find(|s| s.state == State::Established).unwrap();
            assert_eq!(open.receive_queue, 1000);
            assert_eq!(open.remote, client.local_addr().unwrap());
            let info = open.tcp.unwrap();
            assert_eq!(info.bytes_received, Some(1000));
            assert!(info.send_window.unwrap() > 0);
        }
    }

    #[test]
    fn a_datagram_that_nobody_reads_stands_in_the_queue() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = socket.local_addr().unwrap();
        socket.send_to(b"x", place).unwrap();
        let found = of(place, Protocol::Udp);
        assert_eq!(found.len(), 1);
        assert!(found[0].receive_queue > 0 && found[0].drops == Some(0));
        assert_eq!(found[0].state, State::Closed);
    }

    #[test]
    fn an_answer_cut_anywhere_is_no_socket_and_no_panic() {
        let whole = [2; ANSWER];
        for end in 0..ANSWER {
            assert!(parse(&whole[..end], Protocol::Tcp).is_none());
        }
        assert!(parse(&whole, Protocol::Tcp).is_some());
    }
}
