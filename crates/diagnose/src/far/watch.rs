//! Watches one flow at this host's interfaces: first packets that arrive, before the packet filter, and answers that
//! leave, behind it.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rping_net::bpf::Filter;
use rping_net::iface::Interface;
use rping_net::packet::{self, PacketSocket, EVERY_ETHERTYPE};
use rping_net::{Clock, Pacing, Waiter};
use rping_peer::agent::message::Wire;
use rping_peer::agent::Flow;

const ETHERNET: u32 = 14;
const SIX: u32 = 40;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// `PACKET_OUTGOING` of `packet(7)`.
const OUTGOING: u8 = 4;
/// Interfaces that are listened on.
const INTERFACES: usize = 4;
/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// When it ends by itself.
const LONGEST: Duration = Duration::from_secs(25);

/// A watch. Dropping it ends it.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Wire>>,
    why_not: Option<String>,
}

impl Watch {
    /// Listens on those of these interfaces that have Ethernet frames.
    pub(super) fn begin(interfaces: &[&Interface], flow: Flow, client: IpAddr) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = open(interfaces, flow).and_then(|sockets| {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new()
                .name("rping-watch".into())
                .spawn(move || listen(sockets, flow, client, &stop))
                .map_err(|error| error.to_string())
        });
        let (thread, why_not) = match begun {
            Ok(thread) => (Some(thread), None),
            Err(why) => (None, Some(why)),
        };
        Watch {
            stop,
            thread,
            why_not,
        }
    }

    pub(super) fn why_not(&self) -> Option<String> {
        self.why_not.clone()
    }

    /// What it saw.
    pub(super) fn end(mut self) -> Wire {
        self.stop.store(true, Ordering::Release);
        let seen = self.thread.take().map(JoinHandle::join);
        match seen {
            Some(Ok(wire)) => wire,
            Some(Err(_)) => not_watched("the thread that watched failed".to_owned()),
            None => not_watched(self.why_not.take().unwrap_or_default()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn not_watched(why: String) -> Wire {
    Wire {
        why_not: Some(why),
        ..Wire::default()
    }
}

fn open(interfaces: &[&Interface], flow: Flow) -> Result<Vec<PacketSocket>, String> {
    let usable = interfaces.iter().filter(|i| i.up && i.is_ethernet());
    let mut sockets = Vec::new();
    for interface in usable.take(INTERFACES) {
        for filter in filters(flow) {
            let options = packet::Options {
                filter,
                transmit_stamps: false,
                snap: 128,
                own_frames: true,
                receive_buffer: 1 << 18,
                ..packet::Options::new(interface.index, EVERY_ETHERTYPE)
            };
            sockets.push(PacketSocket::open(&options).map_err(|error| error.to_string())?);
        }
    }
    match sockets.is_empty() {
        true => Err("no Ethernet interface is on the way".to_owned()),
        false => Ok(sockets),
    }
}

/// One filter for each kind of packet that counts: whatever else the port carries wakes nobody.
fn filters(flow: Flow) -> Vec<Filter> {
    let is_six = flow.to.is_ipv6();
    let of = |protocol: u8| match is_six {
        true => Filter::new().half(12, 0x86dd).byte(ETHERNET + 6, protocol),
        false => Filter::new()
            .half(12, 0x0800)
            .byte(ETHERNET + 9, protocol)
            .behind_ipv4(ETHERNET),
    };
    // Behind the IP header.
    let half = |filter: Filter, at: u32, mask: u16, value: u16| match is_six {
        true => filter.half_masked(ETHERNET + SIX + at, mask, value),
        false => filter.half_masked_behind(ETHERNET + at, mask, value),
    };
    match flow.port {
        Some(port) => [(2, SYN), (0, SYN), (0, RST)]
            .map(|(at, flag)| {
                let to_port = half(of(TCP), at, u16::MAX, port);
                half(to_port, 12, flag.into(), flag.into())
            })
            .into(),
        None => echo_types(is_six)
            .map(|kind| {
                let protocol = if is_six { ICMP6 } else { ICMP };
                half(of(protocol), 0, 0xff00, u16::from(kind) << 8)
            })
            .into(),
    }
}

/// Request and reply.
const fn echo_types(is_six: bool) -> [u8; 2] {
    if is_six {
        [128, 129]
    } else {
        [8, 0]
    }
}

fn listen(mut sockets: Vec<PacketSocket>, flow: Flow, client: IpAddr, stop: &AtomicBool) -> Wire {
    let mut wire = Wire::default();
    let mut waiter = Waiter::new(Pacing::Eco);
    let until = Clock.now().plus(LONGEST);
    loop {
        let ends = stop.load(Ordering::Acquire) || Clock.now() >= until;
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        waiter.wait(&fds, Clock.now().plus(LOOK));
        drop(fds);
        for socket in &mut sockets {
            // A client that sends without end does not keep the thread from ending.
            for _ in 0..64 {
                if socket.receive().unwrap_or(0) == 0 {
                    break;
                }
                for frame in socket.frames() {
                    let leaves = frame.link.kind == OUTGOING;
                    note(&mut wire, frame.bytes, leaves, flow, client);
                }
            }
        }
        if ends {
            wire.missed = sockets.iter().map(PacketSocket::drops).sum();
            return wire;
        }
    }
}

/// Counts a frame, if it is one of the flow's.
pub(super) fn note(wire: &mut Wire, frame: &[u8], leaves: bool, flow: Flow, client: IpAddr) {
    let Some(packet) = packet(frame) else { return };
    let (asks, answers, resets) = match (flow.port, packet.protocol) {
        (Some(port), TCP) => {
            let half = |at: usize| {
                let bytes = packet.behind.get(at..at + 2);
                bytes.map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
            };
            let Some(flags) = packet.behind.get(13) else {
                return;
            };
            let is = |wanted: u8| flags & (SYN | RST | ACK) == wanted;
            let from_port = half(0) == Some(port);
            (
                half(2) == Some(port) && is(SYN),
                from_port && is(SYN | ACK),
                from_port && flags & RST != 0,
            )
        }
        (None, ICMP | ICMP6) => {
            let [request, reply] = echo_types(flow.to.is_ipv6());
            let kind = packet.behind.first();
            (kind == Some(&request), kind == Some(&reply), false)
        }
        _ => return,
    };
    let counter = match (leaves, packet.from == client, packet.to == client) {
        (false, true, _) if asks => &mut wire.asked,
        (false, false, _) if asks => &mut wire.asked_by_others,
        (true, _, true) if answers => &mut wire.answered,
        (true, _, true) if resets => &mut wire.reset,
        _ => return,
    };
    *counter = counter.saturating_add(1);
}

struct Packet<'a> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// From the header behind the IP header on.
    behind: &'a [u8],
}

/// What is behind an Ethernet header (RFC 791 section 3.1, RFC 8200 section 3). Extension headers are not looked behind.
fn packet(frame: &[u8]) -> Option<Packet<'_>> {
    let ip = frame.get(ETHERNET as usize..)?;
    match ip.first()? >> 4 {
        4 => {
            let four = |at: usize| {
                let bytes = <[u8; 4]>::try_from(ip.get(at..at + 4)?);
                bytes.ok().map(IpAddr::from)
            };
            // A fragment has no header of what it carries.
            let is_first = ip.get(6)? & 0x1f == 0 && *ip.get(7)? == 0;
            is_first.then_some(Packet {
                from: four(12)?,
                to: four(16)?,
                protocol: *ip.get(9)?,
                behind: ip.get(usize::from(ip[0] & 0xf) * 4..)?,
            })
        }
        6 => {
            let six = |at: usize| {
                let bytes = <[u8; 16]>::try_from(ip.get(at..at + 16)?);
                bytes.ok().map(IpAddr::from)
            };
            Some(Packet {
                from: six(8)?,
                to: six(24)?,
                protocol: *ip.get(6)?,
                behind: ip.get(SIX as usize..)?,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];
    const HERE: [u8; 4] = [10, 0, 0, 2];

    fn frame(from: [u8; 4], to: [u8; 4], protocol: u8, behind: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ETHERNET as usize];
        bytes.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 61, protocol, 0, 0]);
        bytes.extend_from_slice(&from);
        bytes.extend_from_slice(&to);
        bytes.extend_from_slice(behind);
        bytes
    }

    fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
        bytes.extend_from_slice(&[0; 9]);
        bytes.push(flags);
        bytes
    }

    #[test]
    fn first_packets_in_and_answers_out_are_counted_and_nothing_else() {
        let flow = Flow {
            to: HERE.into(),
            port: Some(445),
        };
        let mut wire = Wire::default();
        let other = [10, 0, 0, 3];
        for (from, to, ports, flags, leaves) in [
            (CLIENT, HERE, (40_000, 445), SYN, false),
            (CLIENT, HERE, (40_000, 445), SYN, false),
            (CLIENT, HERE, (40_000, 446), SYN, false),
            (CLIENT, HERE, (40_000, 445), ACK, false),
            (other, HERE, (40_000, 445), SYN, false),
            (HERE, CLIENT, (445, 40_000), SYN | ACK, true),
            (HERE, other, (445, 40_000), SYN | ACK, true),
            (HERE, CLIENT, (445, 40_000), RST | ACK, true),
            (HERE, CLIENT, (445, 40_000), RST | ACK, false),
            (HERE, other, (40_000, 445), SYN, true),
        ] {
            let bytes = frame(from, to, TCP, &segment(ports.0, ports.1, flags));
            note(&mut wire, &bytes, leaves, flow, CLIENT.into());
        }
        let wanted = Wire {
            asked: 2,
            asked_by_others: 1,
            answered: 1,
            reset: 1,
            ..Wire::default()
        };
        assert_eq!(wire, wanted);
    }

    #[test]
    fn without_a_port_echo_requests_and_replies_are_counted() {
        let flow = Flow {
            to: HERE.into(),
            port: None,
        };
        let mut wire = Wire::default();
        for (from, to, kind, leaves) in [
            (CLIENT, HERE, 8, false),
            (HERE, CLIENT, 0, true),
            (HERE, CLIENT, 3, true),
        ] {
            let bytes = frame(from, to, ICMP, &[kind, 0, 0, 0]);
            note(&mut wire, &bytes, leaves, flow, CLIENT.into());
        }
        assert_eq!((wire.asked, wire.answered), (1, 1));
    }

    #[test]
    fn cut_frames_count_nowhere_and_do_not_panic() {
        let flow = Flow {
            to: HERE.into(),
            port: Some(445),
        };
        let whole = frame(CLIENT, HERE, TCP, &segment(1, 445, SYN));
        let mut wire = Wire::default();
        for end in 0..whole.len() {
            note(&mut wire, &whole[..end], false, flow, CLIENT.into());
        }
        assert_eq!(wire, Wire::default());
    }
}
