//! What a packet socket sees of one TCP flow on its way out and in: the kernel's word for "sent" is not the wire's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rping_net::bpf::Filter;
use rping_net::packet::{self, PacketSocket, EVERY_ETHERTYPE};
use rping_net::{Clock, Pacing, Waiter};

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Local ports that are kept apart.
const PORTS: usize = 4096;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct WireFacts {
    /// Nobody looked, and why.
    pub(crate) why_not: Option<String>,
    /// SYNs that left for the target's port.
    pub(crate) syn_out: u32,
    /// SYN-ACKs from there that arrived at this host, and the TTL of the first.
    pub(crate) syn_ack_in: u32,
    pub(crate) syn_ack_ttl: Option<u8>,
    /// Resets from there that arrived at this host, and the TTL of the first.
    pub(crate) reset_in: u32,
    pub(crate) reset_ttl: Option<u8>,
    /// Frames that the kernel dropped before they were looked at.
    pub(crate) missed: u64,
}

/// A packet socket that hears the flow from now on.
pub(crate) fn arm(ifindex: u32, v6: bool) -> Result<PacketSocket, String> {
    let filter = if v6 {
        Filter::new().half(12, 0x86dd).byte(20, TCP)
    } else {
        Filter::new().half(12, 0x0800).byte(23, TCP)
    };
    PacketSocket::open(&packet::Options {
        filter,
        transmit_stamps: false,
        snap: 128,
        own_frames: true,
        receive_buffer: 1 << 20,
        ..packet::Options::new(ifindex, EVERY_ETHERTYPE)
    })
    .map_err(|error| error.to_string())
}

/// What was seen of each of this host's ports that spoke to the target's, other programs' among them.
pub(crate) struct Seen {
    ports: HashMap<u16, WireFacts>,
    missed: u64,
}

impl Seen {
    fn note(&mut self, frame: &[u8], target: SocketAddr) {
        let Some(segment) = segment(frame) else { return };
        let local = match (segment.to == target, segment.from == target) {
            (true, _) => segment.from.port(),
            (_, true) => segment.to.port(),
            _ => return,
        };
        // The ports that are asked for come first: nobody else knows them before they are used.
        if self.ports.len() >= PORTS && !self.ports.contains_key(&local) {
            return;
        }
        note(self.ports.entry(local).or_default(), &segment, target);
    }

    /// What was seen of these local ports alone.
    pub(crate) fn of(&self, local: &[u16]) -> WireFacts {
        let mut all = WireFacts {
            missed: self.missed,
            ..WireFacts::default()
        };
        for seen in local.iter().filter_map(|port| self.ports.get(port)) {
            all.syn_out = all.syn_out.saturating_add(seen.syn_out);
            all.syn_ack_in = all.syn_ack_in.saturating_add(seen.syn_ack_in);
            all.reset_in = all.reset_in.saturating_add(seen.reset_in);
            all.syn_ack_ttl = all.syn_ack_ttl.or(seen.syn_ack_ttl);
            all.reset_ttl = all.reset_ttl.or(seen.reset_ttl);
        }
        all
    }
}

/// Listens until `stop` is set, and then to what was already there, for a moment: a flood does not keep it.
pub(crate) fn listen(mut socket: PacketSocket, target: SocketAddr, stop: &AtomicBool) -> Seen {
    let mut seen = Seen {
        ports: HashMap::new(),
        missed: 0,
    };
    let mut waiter = Waiter::new(Pacing::Eco);
    loop {
        let ends = stop.load(Ordering::Acquire);
        let until = Clock.now().plus(LOOK);
        waiter.wait(&[socket.as_fd()], until);
        while socket.receive().unwrap_or(0) > 0 {
            for frame in socket.frames() {
                seen.note(frame.bytes, target);
            }
            if Clock.now() >= until {
                break;
            }
        }
        if ends {
            seen.missed = socket.drops();
            socket.close_beside();
            return seen;
        }
    }
}

fn note(facts: &mut WireFacts, segment: &Segment, target: SocketAddr) {
    let is = |wanted: u8| segment.flags & (SYN | RST | ACK) == wanted;
    if segment.to == target && is(SYN) {
        facts.syn_out = facts.syn_out.saturating_add(1);
    } else if segment.from == target && is(SYN | ACK) {
        facts.syn_ack_in = facts.syn_ack_in.saturating_add(1);
        facts.syn_ack_ttl.get_or_insert(segment.ttl);
    } else if segment.from == target && segment.flags & RST != 0 {
        facts.reset_in = facts.reset_in.saturating_add(1);
        facts.reset_ttl.get_or_insert(segment.ttl);
    }
}

struct Segment {
    from: SocketAddr,
    to: SocketAddr,
    ttl: u8,
    flags: u8,
}

/// Addresses, ports and flags of a TCP segment behind an Ethernet header (RFC 791, RFC 8200, RFC 9293 section 3.1).
fn segment(frame: &[u8]) -> Option<Segment> {
    let ip = frame.get(ETHERNET..)?;
    let address = |at: usize, length: usize| -> Option<IpAddr> {
        let bytes = ip.get(at..at + length)?;
        match length {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        }
    };
    let (from, to, ttl, header) = match ip.first()? >> 4 {
        4 if *ip.get(9)? == TCP => (
            address(12, 4)?,
            address(16, 4)?,
            *ip.get(8)?,
            usize::from(ip[0] & 0xf) * 4,
        ),
        6 if *ip.get(6)? == TCP => (address(8, 16)?, address(24, 16)?, *ip.get(7)?, 40),
        _ => return None,
    };
    let tcp = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    Some(Segment {
        from: SocketAddr::new(from, port(0)?),
        to: SocketAddr::new(to, port(2)?),
        ttl,
        flags: *tcp.get(13)?,
    })
}

/// For the fuzzer.
pub(crate) fn read_all(bytes: &[u8]) {
    let mut seen = Seen {
        ports: HashMap::new(),
        missed: 0,
    };
    seen.note(bytes, SocketAddr::from(([10, 0, 0, 1], 445)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: [u8; 4], to: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; ETHERNET];
        bytes.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 61, TCP, 0, 0]);
        bytes.extend_from_slice(&from);
        bytes.extend_from_slice(&to);
        bytes.extend_from_slice(&ports.0.to_be_bytes());
        bytes.extend_from_slice(&ports.1.to_be_bytes());
        bytes.extend_from_slice(&[0; 9]);
        bytes.push(flags);
        bytes
    }

    #[test]
    fn syns_out_and_answers_in_are_told_apart_and_other_programs_flows_left_out() {
        let target = SocketAddr::from(([10, 0, 0, 2], 445));
        let (us, them) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let mut seen = Seen {
            ports: HashMap::new(),
            missed: 0,
        };
        for bytes in [
            frame(us, them, (40_000, 445), SYN),
            frame(us, them, (40_000, 446), SYN),
            frame(them, us, (445, 40_000), SYN | ACK),
            frame(them, us, (445, 40_000), RST | ACK),
            frame(us, them, (40_000, 445), ACK),
            frame(us, them, (41_000, 445), SYN),
            frame(them, us, (445, 41_000), SYN | ACK),
        ] {
            seen.note(&bytes, target);
        }
        let facts = seen.of(&[40_000]);
        assert_eq!((facts.syn_out, facts.syn_ack_in, facts.reset_in), (1, 1, 1));
        assert_eq!((facts.syn_ack_ttl, facts.reset_ttl), (Some(61), Some(61)));
    }

    #[test]
    fn cut_frames_do_not_panic() {
        let whole = frame([1, 2, 3, 4], [5, 6, 7, 8], (1, 2), SYN);
        for end in 0..whole.len() {
            assert!(segment(&whole[..end]).is_none());
        }
    }
}
