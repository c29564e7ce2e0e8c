//! Where data is held up: the article's rule about bytes stuck in the queues, made exact by what the kernel counts.

use std::time::Duration;

use super::{Protocol, Socket, State, TcpInfo, Timer};

/// Who holds data, or a connection, up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holdup {
    /// The local application does not read what has come.
    LocalApplication,
    /// The application on the other side does not read: its window is closed.
    PeerApplication,
    /// What was sent is not acknowledged, however often it is sent again.
    Network,
    /// Nobody answers the attempt to connect.
    Connect,
    /// The listening application does not accept: its queue is full.
    AcceptQueue,
    /// The peer has closed, the local application has not.
    NotClosed,
    /// Bytes wait, and nothing that the kernel tells says why.
    Unknown,
}

impl Holdup {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Holdup::LocalApplication => "local_application",
            Holdup::PeerApplication => "peer_application",
            Holdup::Network => "network",
            Holdup::Connect => "connect",
            Holdup::AcceptQueue => "accept_queue",
            Holdup::NotClosed => "not_closed",
            Holdup::Unknown => "unknown",
        }
    }
}

/// Where data is held up, with what shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// By whom.
    pub holdup: Holdup,
    /// Two looks agree; one look alone shows what may pass.
    pub sure: bool,
    /// What was seen, in a sentence without a full stop.
    pub evidence: String,
    /// What to do next.
    pub next: &'static str,
}

impl Finding {
    fn new(holdup: Holdup, sure: bool, evidence: String) -> Finding {
        let next = match holdup {
            Holdup::LocalApplication => {
                "look at the process here: busy, blocked or stopped; the network delivered"
            }
            Holdup::PeerApplication => {
                "look at the application on the other host: the network delivers and its system answers"
            }
            Holdup::Network => {
                "look at the path, or whether the other host is still there: rping diagnose HOST:PORT"
            }
            Holdup::Connect => "rping diagnose HOST:PORT finds the layer that fails",
            Holdup::AcceptQueue => {
                "look at the listening process: it is too slow or stopped, or its backlog is too short"
            }
            Holdup::NotClosed => "the process leaks connections: it does not close what the peer has closed",
            Holdup::Unknown => {
                "the application holds data back, or a local queue does: capture with rping … --pcap"
            }
        };
        Finding {
            holdup,
            sure,
            evidence,
            next,
        }
    }
}

/// What one look tells: conditions that stand in the socket itself. Bytes in a queue alone are none.
pub(super) fn once(socket: &Socket) -> Option<Finding> {
    if let Some(evidence) = accept_queue(socket) {
        return Some(Finding::new(Holdup::AcceptQueue, false, evidence));
    }
    let tcp = socket.tcp?;
    // A listener's send queue is its backlog.
    if socket.send_queue == 0 || socket.state == State::Listen {
        return None;
    }
    unanswered(socket, &tcp)
        .or_else(|| window_closed(socket, &tcp))
        .map(|(holdup, evidence)| Finding::new(holdup, false, evidence))
}

/// What two looks, `over` apart, tell of a socket that was there both times.
pub(super) fn twice(before: &Socket, now: &Socket, over: Duration) -> Option<Finding> {
    if before.state != now.state {
        return None;
    }
    let held = |holdup, evidence| Some(Finding::new(holdup, true, evidence));
    if now.state == State::Listen {
        return accept_queue(before)
            .and(accept_queue(now))
            .and_then(|evidence| held(Holdup::AcceptQueue, evidence));
    }
    if now.protocol == Protocol::Udp {
        // A queue that shrank was read from; one that did not may still have been, when more came than was read.
        let more = now.drops.unwrap_or(0).wrapping_sub(before.drops.unwrap_or(0));
        let stands = before.receive_queue > 0 && now.receive_queue >= before.receive_queue;
        return stands.then(|| {
            let dropped = match more {
                0 => String::new(),
                more => format!(", and {more} more datagrams were dropped because it is full"),
            };
            Finding::new(
                Holdup::LocalApplication,
                true,
                format!(
                    "{} bytes wait in the receive queue and have not become fewer in {over:?}{dropped}",
                    now.receive_queue
                ),
            )
        });
    }
    let (tcp, earlier) = (now.tcp?, before.tcp?);
    if now.state == State::SynSent {
        return unanswered(now, &tcp).and_then(|(holdup, evidence)| held(holdup, evidence));
    }
    if before.receive_queue > 0 && read(before, &earlier, now, &tcp) == Some(0) {
        return held(
            Holdup::LocalApplication,
            format!(
                "{} bytes wait in the receive queue and the local application has read none in {over:?}",
                now.receive_queue
            ),
        );
    }
    let progress = tcp.bytes_acked? - earlier.bytes_acked?.min(tcp.bytes_acked?);
    if before.send_queue > 0 && now.send_queue > 0 && progress == 0 {
        let (holdup, evidence) = unanswered(now, &tcp)
            .or_else(|| window_closed(now, &tcp))
            .unwrap_or_else(|| {
                (
                    Holdup::Unknown,
                    format!("{} bytes wait in the send queue", now.send_queue),
                )
            });
        return held(
            holdup,
            format!("{evidence}; nothing was acknowledged in {over:?}"),
        );
    }
    if now.state == State::CloseWait {
        return held(
            Holdup::NotClosed,
            format!(
                "the peer closed the connection more than {over:?} ago and the local application has not"
            ),
        );
    }
    None
}

/// The bytes that the application read between two looks: what came, less what the queue grew by.
fn read(before: &Socket, earlier: &TcpInfo, now: &Socket, later: &TcpInfo) -> Option<i64> {
    let came = later.bytes_received?.wrapping_sub(earlier.bytes_received?) as i64;
    Some(came - (i64::from(now.receive_queue) - i64::from(before.receive_queue)))
}

/// A listener of which no more connections fit into the queue. The kernel takes one more than the backlog.
fn accept_queue(socket: &Socket) -> Option<String> {
    (socket.protocol == Protocol::Tcp
        && socket.state == State::Listen
        && socket.receive_queue > socket.send_queue)
        .then(|| {
            format!(
                "the accept queue is full: {} connections wait, the backlog is {}; the next ones are dropped unanswered",
                socket.receive_queue, socket.send_queue
            )
        })
}

fn unanswered(socket: &Socket, tcp: &TcpInfo) -> Option<(Holdup, String)> {
    if socket.state == State::SynSent {
        return (tcp.total_retransmits > 0).then(|| {
            (
                Holdup::Connect,
                format!(
                    "{} SYNs sent, none answered",
                    tcp.total_retransmits.saturating_add(1)
                ),
            )
        });
    }
    if socket.timer == Timer::Probe {
        // One probe may be under way; an answer sets the count back to zero.
        return (tcp.probes > 1).then(|| {
            (
                Holdup::Network,
                format!(
                    "the peer's window was closed and {} probes in a row are unanswered; {} bytes wait in the send queue",
                    tcp.probes, socket.send_queue
                ),
            )
        });
    }
    (tcp.retransmits > 0).then(|| {
        (
            Holdup::Network,
            format!(
                "{} bytes wait in the send queue, sent again {} times in a row without an acknowledgment",
                socket.send_queue, tcp.retransmits
            ),
        )
    })
}

fn window_closed(socket: &Socket, tcp: &TcpInfo) -> Option<(Holdup, String)> {
    // The window is known to be closed when the kernel says 0, and when it asks the peer to open it.
    let is_closed = tcp.send_window == Some(0) || socket.timer == Timer::Probe;
    // Before the handshake there is no window yet.
    let is_open = !matches!(socket.state, State::SynSent | State::SynReceived);
    (is_closed && is_open).then(|| {
        (
            Holdup::PeerApplication,
            format!(
                "{} bytes wait in the send queue and the peer's window is closed: the other side does not read",
                socket.send_queue
            ),
        )
    })
}
