//! An echo request handed to a router by its link-layer address, past this host's own routing.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::nonce::nonce;
use rping_arp::Place;
use rping_icmp::message::{self, Echo};
use rping_net::bpf::Filter;
use rping_net::packet::{self, PacketSocket};
use rping_net::{internet_checksum, Clock, Pacing, Waiter, Woken};

const PATIENCE: Duration = Duration::from_millis(600);
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TYPE_IPV4: u16 = 0x0800;
const ICMP: u8 = 1;
const TTL: u8 = 64;
/// Identifier, sequence number and eight bytes of payload are what no stranger knows.
const NONCE: usize = 8;

/// Whether `target` answers an echo request that goes to it through the router with this link-layer address. IPv4 alone:
/// IPv6 prefixes do not come from a mask that somebody types.
pub(crate) fn answers(place: &Place, router: [u8; 6], target: IpAddr) -> bool {
    let (IpAddr::V4(source), IpAddr::V4(to)) = (place.source, target) else {
        return false;
    };
    let filter = Filter::new().half(12, TYPE_IPV4).byte(23, ICMP);
    let options = packet::Options {
        filter,
        transmit_stamps: false,
        receive_buffer: 1 << 18,
        ..packet::Options::new(place.ifindex, TYPE_IPV4)
    };
    let Ok(mut socket) = PacketSocket::open(&options) else {
        return false;
    };
    let nonce = nonce();
    let frame = request(place.mac, router, source.octets(), to.octets(), nonce);
    let answered = is_answered(&mut socket, &frame, to.octets(), nonce);
    socket.close_beside();
    answered
}

fn is_answered(socket: &mut PacketSocket, frame: &[u8], by: [u8; 4], nonce: u64) -> bool {
    let mut waiter = Waiter::new(Pacing::Eco);
    for _ in 0..2 {
        let until = Clock.now().plus(PATIENCE);
        let _ = socket.send(&[frame]);
        loop {
            let woken = waiter.wait(&[socket.as_fd()], until);
            while socket.receive().unwrap_or(0) > 0 {
                if socket.frames().any(|frame| is_reply(frame.bytes, by, nonce)) {
                    return true;
                }
            }
            if woken != Woken::Ready {
                break;
            }
        }
    }
    false
}

/// RFC 791 section 3.1 and RFC 792 behind an Ethernet header.
fn request(mac: [u8; 6], router: [u8; 6], source: [u8; 4], to: [u8; 4], nonce: u64) -> Vec<u8> {
    let mut header = [0u8; message::HEADER];
    Echo {
        kind: message::V4.request,
        id: nonce as u16,
        seq: 1,
    }
    .write(&mut header);
    let mut echo = [0u8; message::HEADER + NONCE];
    echo[..message::HEADER].copy_from_slice(&header);
    echo[message::HEADER..].copy_from_slice(&nonce.to_be_bytes());
    message::seal(&mut echo);
    let length = (IPV4 + echo.len()) as u16;
    let mut ip = [0u8; IPV4];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    ip[8] = TTL;
    ip[9] = ICMP;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&to);
    let sum = internet_checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    let kind = TYPE_IPV4.to_be_bytes();
    [&router[..], &mac, &kind, &ip, &echo].concat()
}

fn is_reply(frame: &[u8], from: [u8; 4], nonce: u64) -> bool {
    let Some(ip) = frame.get(ETHERNET..) else {
        return false;
    };
    let header = ip.first().map_or(0, |byte| usize::from(byte & 15) * 4);
    ip.get(12..16) == Some(&from[..])
        && ip
            .get(header..)
            .and_then(Echo::parse)
            .is_some_and(|(echo, payload)| {
                echo.kind == message::V4.reply
                    && echo.id == nonce as u16
                    && payload.starts_with(&nonce.to_be_bytes())
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_bears_right_checksums_and_its_own_reply_is_known() {
        let (us, them) = ([10, 0, 0, 1], [10, 0, 1, 2]);
        let frame = request([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], us, them, 7);
        assert_eq!(internet_checksum(&frame[ETHERNET..ETHERNET + IPV4]), 0);
        assert_eq!(internet_checksum(&frame[ETHERNET + IPV4..]), 0);
        assert!(!is_reply(&frame, us, 7), "a request is no reply");
        let mut reply = frame.clone();
        reply[ETHERNET + IPV4] = 0;
        assert!(is_reply(&reply, us, 7));
        assert!(!is_reply(&reply, them, 7));
        assert!(!is_reply(&reply, us, 8), "an answer to somebody else");
        for end in 0..reply.len() {
            let _ = is_reply(&reply[..end], us, 7);
        }
    }
}
