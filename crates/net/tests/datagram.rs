//! Real sockets over loopback: every kind of socket bears kernel stamps both ways.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::{Left, StampSource, Timestamp};
use rping_net::{
    internet_checksum, receive_from_any, Clock, Datagram, Identifiers, Incoming, Options, Pacing, Packet,
    StampKeeper, Waiter,
};

const IDS: Identifiers = Identifiers {
    base: 0x5a30,
    mask: 0xfff0,
};

/// Whether raw sockets can be had. Fails where a build server promised them.
fn privileged() -> bool {
    let raw = Datagram::icmp_raw(false, IDS, &Options::default()).is_ok();
    assert!(
        raw || std::env::var_os("CI").is_none(),
        "the tests of a build server run as root"
    );
    if !raw {
        println!("left out: raw sockets need CAP_NET_RAW");
    }
    raw
}

fn echo_request(v6: bool, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(seq.to_be_bytes());
    message.extend(payload);
    if !v6 {
        let sum = internet_checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// Payload, stamp and its source, TTL, sender.
type Arrived = (Vec<u8>, Timestamp, StampSource, Option<u8>, SocketAddr);

#[derive(Default, Debug)]
struct Heard {
    left: Vec<(u64, Timestamp, StampSource)>,
    packets: Vec<Arrived>,
    errors: usize,
}

fn listen(socket: Datagram, want: usize) -> (Heard, Datagram) {
    let mut sockets = [socket];
    let mut waiter = Waiter::new(Pacing::Precise);
    let end = Clock.now().plus(Duration::from_secs(2));
    let mut heard = Heard::default();
    while heard.packets.len() < want && Clock.now() < end {
        receive_from_any(&mut sockets, &mut waiter, end, |_, incoming| match incoming {
            Incoming::Left { tag, at } => {
                assert!(
                    heard.packets.is_empty() || want > 1,
                    "a stamp came after the answer"
                );
                heard.left.push((tag, at.at, at.source));
            }
            Incoming::Packet(p) => {
                heard
                    .packets
                    .push((p.payload.to_vec(), p.at.at, p.at.source, p.ttl, p.from))
            }
            Incoming::Error { .. } => heard.errors += 1,
        })
        .expect("receive");
    }
    let [socket] = sockets;
    (heard, socket)
}

/// Sends to `to`, hears the answer, and checks that both stamps are the kernel's and in order.
fn round_trip(mut socket: Datagram, to: Option<SocketAddr>, message: &[u8]) -> (Heard, Datagram) {
    let before = Clock.now();
    let packet = Packet {
        bytes: 0..message.len(),
        to,
        from: None,
        tag: 77,
    };
    let mut left = Vec::new();
    socket.send(message, &[packet], |tag, how| left.push((tag, how)));
    let [(77, Left::At(user))] = left[..] else {
        panic!("{left:?}")
    };
    assert!(user.at >= before && user.source == StampSource::User);
    let (heard, socket) = listen(socket, 1);
    let now = Clock.now();
    let [(77, tx, StampSource::Kernel)] = heard.left[..] else {
        panic!("{heard:?}")
    };
    let [(_, rx, StampSource::Kernel, ttl, from)] = &heard.packets[..] else {
        panic!("{heard:?}")
    };
    assert!(
        user.at <= tx && tx <= *rx && *rx <= now,
        "{user:?} {tx:?} {rx:?} {now:?}"
    );
    assert_eq!(*ttl, Some(64));
    assert_eq!(Some(from.ip()), to.or(Some(*from)).map(|t| t.ip()));
    (heard, socket)
}

#[test]
fn a_udp_socket_stamps_both_ways_in_both_families_connected_or_not() {
    let _keeper = StampKeeper::start().expect("keeper");
    for v6 in [false, true] {
        let loopback: IpAddr = if v6 { "::1" } else { "127.0.0.1" }.parse().expect("address");
        for connected in [false, true] {
            let mirror = std::net::UdpSocket::bind((loopback, 0)).expect("bind");
            let to = mirror.local_addr().expect("address");
            let thread = std::thread::spawn(move || {
                let mut buffer = [0; 100];
                let (length, from) = mirror.recv_from(&mut buffer).expect("receive");
                mirror.send_to(&buffer[..length], from).expect("send");
            });
            let socket = Datagram::udp(v6, connected.then_some(to), &Options::default()).expect("socket");
            let (heard, _) = round_trip(socket, (!connected).then_some(to), b"hello");
            assert_eq!(heard.packets[0].0, b"hello");
            thread.join().expect("join");
        }
    }
}

#[test]
fn a_raw_icmp_socket_stamps_both_ways_and_hears_its_own_replies_alone() {
    if !privileged() {
        return;
    }
    let _keeper = StampKeeper::start().expect("keeper");
    for v6 in [false, true] {
        let loopback: SocketAddr = if v6 { "[::1]:0" } else { "127.0.0.1:0" }
            .parse()
            .expect("address");
        let other_ids = Identifiers {
            base: 0x7770,
            mask: 0xfff0,
        };
        let other = Datagram::icmp_raw(v6, other_ids, &Options::default()).expect("socket");
        let socket = Datagram::icmp_raw(v6, IDS, &Options::default()).expect("socket");
        let request = echo_request(v6, 0x5a31, 9, b"0123456789");
        let (heard, _) = round_trip(socket, Some(loopback), &request);
        let reply = &heard.packets[0].0;
        assert_eq!(reply[0], if v6 { 129 } else { 0 }, "a reply, not our own request");
        assert_eq!(reply[4..], request[4..]);
        let mut other = other;
        let (_, anything) = other.receive(|_| ()).expect("receive");
        assert!(!anything, "another program's replies pass the filter");
    }
}

#[test]
fn each_of_many_stamps_finds_its_packet_also_when_sends_in_between_fail() {
    let _keeper = StampKeeper::start().expect("keeper");
    let mirror = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let to = mirror.local_addr().expect("address");
    let mut socket = Datagram::udp(false, None, &Options::default()).expect("socket");
    let bytes = vec![0u8; 65_508];
    let mut stamps = Vec::new();
    let mut sent = Vec::new();
    for round in 0..10u64 {
        // Every third packet is longer than the protocol allows, and never leaves.
        let packets: Vec<Packet> = (0..30)
            .map(|i| Packet {
                bytes: 0..if i % 3 == 1 { 65_508 } else { 8 },
                to: Some(to),
                from: None,
                tag: round * 30 + i,
            })
            .collect();
        socket.send(&bytes, &packets, |tag, how| match how {
            Left::At(at) => sent.push((tag, at.at)),
            Left::NotSent(refusal) => assert_eq!((tag % 3, refusal.errno), (1, Some(90))),
            Left::Deferred | Left::Held => panic!("nothing is full"),
        });
        socket
            .receive(|incoming| {
                if let Incoming::Left { tag, at } = incoming {
                    assert_eq!(at.source, StampSource::Kernel);
                    stamps.push((tag, at.at));
                }
            })
            .expect("receive");
    }
    assert_eq!(sent.len(), 200);
    assert_eq!(
        stamps.iter().map(|s| s.0).collect::<Vec<_>>(),
        sent.iter().map(|s| s.0).collect::<Vec<_>>()
    );
    assert!(sent.iter().zip(&stamps).all(|(sent, stamp)| sent.1 <= stamp.1));
    assert!(
        stamps.windows(2).all(|pair| pair[0].1 <= pair[1].1),
        "stamps are in the order of the packets"
    );
}

#[test]
fn an_error_of_an_earlier_packet_neither_stops_nor_is_blamed_on_a_later_one() {
    let mirror = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let live = mirror.local_addr().expect("address");
    let closed = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.local_addr().expect("address")
    };
    let mut socket = Datagram::udp(false, None, &Options::default()).expect("socket");
    let mut refused = Vec::new();
    for tag in 0..200u64 {
        let to = Some(if tag % 2 == 0 { closed } else { live });
        let payload = tag.to_be_bytes();
        socket.send(
            &payload,
            &[Packet {
                bytes: 0..8,
                to,
                from: None,
                tag,
            }],
            |_, how| {
                assert!(matches!(how, Left::At(_)), "{tag}: {how:?}");
            },
        );
        if tag % 7 == 0 {
            collect(&mut socket, &mut refused);
        }
    }
    collect(&mut socket, &mut refused);
    let want: Vec<u64> = (0..200).step_by(2).collect();
    assert_eq!(refused, want, "each error quotes the packet that it belongs to");

    fn collect(socket: &mut Datagram, refused: &mut Vec<u64>) {
        socket
            .receive(|incoming| {
                if let Incoming::Error { error, .. } = incoming {
                    assert_eq!((error.kind, error.code), (3, 3));
                    refused.push(u64::from_be_bytes(
                        error.quoted().try_into().expect("eight bytes"),
                    ));
                }
            })
            .expect("receive");
    }
}

#[test]
fn a_wait_without_answer_ends_at_its_time_and_says_that_more_may_be_there() {
    let socket = Datagram::udp(false, None, &Options::default()).expect("socket");
    let mut waiter = Waiter::new(Pacing::Precise);
    let until = Clock.now().plus(Duration::from_millis(5));
    let drained = receive_from_any(&mut [socket], &mut waiter, until, |_, _| {
        panic!("nothing was sent")
    })
    .expect("receive");
    assert_eq!(drained, rping_engine::Drained::More);
    assert!(Clock.now() >= until);
}
