//! UDP echo and STAMP against services that behave and that do not, with the kernel's own errors.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rping_engine::{
    Arrival, Departure, Event, Left, Origin, Outgoing, Probe, Reason, SeqRef, Sequence, Silence, StampSource,
    TargetId,
};
use rping_lab::{require_root, Lab, Pair, Routed};
use rping_net::Clock;
use rping_udp::{Error, Options, Protocol, UdpProbe};

/// A service that answers each datagram with what `answer` makes of it, until it is dropped.
struct Service {
    address: SocketAddr,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    fn at(ip: impl Into<IpAddr>, mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Service {
        let socket = UdpSocket::bind((ip.into(), 0)).expect("bind");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("timeout");
        let address = socket.local_addr().expect("bound");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 70_000];
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    for bytes in answer(&buffer[..length]) {
                        socket.send_to(&bytes, from).expect("send");
                    }
                }
            }
        });
        Service {
            address,
            stop,
            thread: Some(thread),
        }
    }

    fn echo(ip: impl Into<IpAddr>) -> Service {
        Service::at(ip, |bytes| vec![bytes.to_vec()])
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the service ends");
        }
    }
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

fn send(probe: &mut UdpProbe, probes: &[(u32, u64)]) -> Vec<Departure> {
    let due: Vec<Outgoing> = probes
        .iter()
        .map(|&(target, seq)| Outgoing {
            target: TargetId(target),
            seq: Sequence(seq),
            due: Clock.now(),
        })
        .collect();
    let mut left = Vec::new();
    probe.send(&due, &mut left).expect("send");
    assert_eq!(left.len(), due.len());
    left
}

/// What arrives until there are `want` events beside transmit stamps, or for a second.
fn hear(probe: &mut UdpProbe, want: usize) -> (Vec<Event>, Vec<Arrival>) {
    let end = Clock.now().plus(Duration::from_secs(1));
    let mut arrived: Vec<Arrival> = Vec::new();
    let told = |arrived: &[Arrival]| -> Vec<Event> {
        arrived
            .iter()
            .map(|a| a.event)
            .filter(|e| !matches!(e, Event::Left(_)))
            .collect()
    };
    while told(&arrived).len() < want && Clock.now() < end {
        probe.recv(end, &mut arrived).expect("receive");
    }
    (told(&arrived), arrived)
}

fn open(targets: &[SocketAddr], protocol: Protocol, size: usize) -> UdpProbe {
    UdpProbe::open(
        targets,
        protocol,
        &Options {
            size,
            ..Options::default()
        },
    )
    .expect("open")
}

fn is_reply(event: &Event, seq: u64, truncated: bool) -> bool {
    let seqs = [SeqRef::Full(Sequence(seq)), SeqRef::Low32(seq as u32)];
    matches!(event, Event::Reply(answer) if seqs.contains(&answer.seq) && answer.truncated == truncated)
}

#[test]
fn an_echo_is_a_reply_with_kernel_stamps_whatever_is_spoken() {
    for (ip, size, protocol) in [
        ("127.0.0.1", 16, Protocol::Echo),
        ("127.0.0.1", 1400, Protocol::Echo),
        ("127.0.0.1", 65_507, Protocol::Echo),
        ("::1", 32, Protocol::Echo),
        ("::1", 65_527, Protocol::Echo),
        ("127.0.0.1", 32, Protocol::Auto),
        ("::1", 1400, Protocol::Auto),
    ] {
        let service = Service::echo(ip.parse::<IpAddr>().expect("an address"));
        let mut probe = open(&[service.address], protocol, size);
        for seq in [0, 1, 70_000] {
            send(&mut probe, &[(0, seq)]);
            let (events, arrived) = hear(&mut probe, 1);
            assert!(
                matches!(&events[..], [event] if is_reply(event, seq, false)),
                "{ip} {size}: {events:?}"
            );
            assert!(
                arrived.iter().all(|a| a.at.source == StampSource::Kernel),
                "{arrived:?}"
            );
            assert_eq!(arrived.len(), 2, "{arrived:?}");
        }
    }
}

#[test]
fn a_short_echo_is_truncated_a_damaged_one_corrupt_a_foreign_one_unexpected_and_two_are_two() {
    let mut count = 0;
    let service = Service::at(LOOPBACK, move |bytes| {
        count += 1;
        let mut damaged = bytes.to_vec();
        damaged[20] ^= 0x40;
        match count {
            1 => vec![bytes[..40].to_vec()],
            2 => vec![damaged],
            3 => vec![b"who are you?".to_vec()],
            4 => vec![bytes.to_vec(), bytes.to_vec()],
            _ => vec![[bytes, b"and more"].concat()],
        }
    });
    let mut probe = open(&[service.address], Protocol::Echo, 64);
    let mut ask = |seq, want| {
        send(&mut probe, &[(0, seq)]);
        hear(&mut probe, want).0
    };
    assert!(is_reply(&ask(0, 1)[0], 0, true));
    assert_eq!(ask(1, 1), [Event::Corrupt]);
    assert_eq!(ask(2, 1), [Event::Unexpected]);
    assert!(ask(3, 2).iter().all(|event| is_reply(event, 3, false)));
    assert_eq!(ask(4, 1), [Event::Corrupt]);
}

#[test]
fn an_answer_from_another_port_of_the_target_is_not_its_answer() {
    let other = UdpSocket::bind(SocketAddr::from((LOOPBACK, 0))).expect("bind");
    let service = {
        let other = other.try_clone().expect("clone");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let (length, from) = socket.recv_from(&mut buffer).expect("receive");
            other.send_to(&buffer[..length], from).expect("send");
        });
        address
    };
    let quiet = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let mut probe = open(&[service, quiet.local_addr().expect("bound")], Protocol::Echo, 32);
    send(&mut probe, &[(0, 0)]);
    let (events, _) = hear(&mut probe, 1);
    assert_eq!(events, []);
    assert_eq!(probe.strangers(), 1);
}

#[test]
fn a_closed_port_rejects_at_once_each_probe_by_its_number_alone_or_among_others() {
    let closed = |ip: &str| {
        UdpSocket::bind((ip, 0))
            .and_then(|socket| socket.local_addr())
            .expect("a port that is free again")
    };
    let live = Service::echo(LOOPBACK);
    for protocol in [Protocol::Echo, Protocol::Stamp] {
        for targets in [
            vec![closed("127.0.0.1")],
            vec![closed("::1")],
            vec![closed("127.0.0.1"), live.address],
        ] {
            let mut probe = open(&targets, protocol, 32);
            for seq in 0..20 {
                let out: Vec<(u32, u64)> = (0..targets.len() as u32).map(|target| (target, seq)).collect();
                let left = send(&mut probe, &out);
                assert!(left.iter().all(|d| matches!(d.left, Left::At(_))), "{left:?}");
                let (events, arrived) = hear(&mut probe, targets.len());
                assert_eq!(events.len(), targets.len(), "{arrived:?}");
                for arrival in arrived {
                    match arrival.event {
                        Event::Rejected(told, refusal) => {
                            assert_eq!(
                                (arrival.target, refusal.reason),
                                (TargetId(0), Reason::PortClosed)
                            );
                            assert!([SeqRef::Full(Sequence(seq)), SeqRef::Low32(seq as u32)].contains(&told));
                            assert_eq!(refusal.from, Some(Origin::Ip(targets[0].ip())));
                        }
                        Event::Reply(_) => assert_eq!(arrival.target, TargetId(1)),
                        Event::Left(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused_when_it_is_opened() {
    let target: SocketAddr = "127.0.0.1:7".parse().expect("an address");
    let try_open = |targets: &[SocketAddr], protocol, size| {
        UdpProbe::open(
            targets,
            protocol,
            &Options {
                size,
                ..Options::default()
            },
        )
        .map(drop)
    };
    assert!(matches!(
        try_open(&[target], Protocol::Auto, 15),
        Err(Error::TooSmall { size: 15 })
    ));
    assert!(try_open(&[target], Protocol::Stamp, 0).is_ok());
    assert!(matches!(
        try_open(&[target], Protocol::Echo, 65_508),
        Err(Error::TooLarge { most: 65_507, .. })
    ));
    assert!(matches!(try_open(&[], Protocol::Echo, 32), Err(Error::NoTargets)));
    let net = rping_net::Options {
        source: "192.0.2.1:0".parse().ok(),
        ..rping_net::Options::default()
    };
    let foreign = UdpProbe::open(
        &[target],
        Protocol::Echo,
        &Options {
            net,
            ..Options::default()
        },
    );
    let error = foreign.map(drop).expect_err("not our address").to_string();
    assert!(error.starts_with("bind to the source address: "), "{error}");
}

#[test]
fn every_icmp_refusal_is_told_with_reason_code_and_culprit() {
    if !require_root("every_icmp_refusal") {
        return;
    }
    use Reason::*;
    let lab = Lab::routed();
    let four = [
        ("net-unreachable", NetworkUnreachable, (3, 0)),
        ("host-unreachable", HostUnreachable, (3, 1)),
        ("prot-unreachable", ProtocolUnreachable, (3, 2)),
        ("port-unreachable", PortClosed, (3, 3)),
        ("admin-prohibited", AdminProhibited, (3, 13)),
    ];
    let six = [
        ("no-route", NetworkUnreachable, (1, 0)),
        ("admin-prohibited", AdminProhibited, (1, 1)),
        ("addr-unreachable", HostUnreachable, (1, 3)),
        ("port-unreachable", PortClosed, (1, 4)),
    ];
    let cases = four.map(|c| (false, c)).into_iter().chain(six.map(|c| (true, c)));
    for (v6, (with, reason, code)) in cases {
        let (family, router) = if v6 {
            ("icmpv6", IpAddr::from(Routed::ROUTER_V6))
        } else {
            ("icmp", Routed::ROUTER_V4.into())
        };
        let to = if v6 {
            IpAddr::from(Routed::SERVER_V6)
        } else {
            Routed::SERVER_V4.into()
        };
        lab.router.nft(&format!(
            "flush ruleset\nadd table inet t\nadd chain inet t f {{ type filter hook forward priority 0; }}\n\
             add rule inet t f udp dport 862 reject with {family} {with}"
        ));
        lab.client.run(|| {
            for others in [vec![], vec![SocketAddr::new(to, 863)]] {
                let targets = [vec![SocketAddr::new(to, 862)], others].concat();
                let mut probe = open(&targets, Protocol::Auto, 32);
                send(&mut probe, &[(0, 5)]);
                let (events, _) = hear(&mut probe, 1);
                let [Event::Rejected(seq, refusal)] = events[..] else {
                    panic!("{with}: {events:?}")
                };
                assert_eq!(
                    (seq, refusal.reason, refusal.icmp),
                    (SeqRef::Low32(5), reason, Some(code)),
                    "{with}"
                );
                assert_eq!(refusal.from, Some(Origin::Ip(router)));
            }
        });
    }
}

#[test]
fn this_hosts_own_refusals_are_not_sent_and_a_run_recovers_from_a_lost_link_and_a_new_address() {
    if !require_root("this_hosts_own_refusals") {
        return;
    }
    let lab = Lab::pair();
    let service = lab.server.run(|| Service::echo(Pair::SERVER_V4));
    lab.client.run(|| {
        let not_sent = |probe: &mut UdpProbe, seq| match send(probe, &[(0, seq)])[0].left {
            Left::NotSent(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        };
        let answered = |probe: &mut UdpProbe, seq: u64| {
            // The first packet after a link came up may be lost to it.
            (0..50u64).any(|i| {
                send(probe, &[(0, seq + i)]);
                hear(probe, 1)
                    .0
                    .iter()
                    .any(|event| is_reply(event, seq + i, false))
            })
        };
        let mut probe = open(&[service.address], Protocol::Echo, 32);
        assert!(answered(&mut probe, 0));
        lab.client.nft(
            "add table inet t\nadd chain inet t o { type filter hook output priority 0; }\n\
             add rule inet t o meta l4proto udp drop",
        );
        assert_eq!(not_sent(&mut probe, 100), Reason::LocalFirewall);
        lab.client.nft_flush();
        assert!(answered(&mut probe, 200));
        lab.client.link_down("c0");
        assert_eq!(not_sent(&mut probe, 300), Reason::NoRoute);
        lab.client.link_up("c0");
        assert!(answered(&mut probe, 400), "after the link came back");
        let net = Pair::SERVER_V4.octets();
        let new = format!("{}.{}.{}.77/24", net[0], net[1], net[2]);
        lab.client.ip(&format!(
            "addr del {}/24 dev c0\naddr add {new} dev c0",
            Pair::CLIENT_V4
        ));
        assert!(answered(&mut probe, 500), "after the address changed");

        let big = rping_net::Options {
            df: true,
            ..rping_net::Options::default()
        };
        let options = Options {
            net: big,
            size: 1473,
            ..Options::default()
        };
        let mut probe = UdpProbe::open(&[service.address], Protocol::Echo, &options).expect("open");
        let Left::NotSent(refusal) = send(&mut probe, &[(0, 0)])[0].left else {
            panic!("too big")
        };
        assert_eq!((refusal.reason, refusal.mtu), (Reason::PacketTooBig, Some(1500)));
    });
}

#[test]
fn an_on_link_address_that_nobody_has_is_not_sent_and_holds_up_nobody() {
    if !require_root("an_on_link_address_that_nobody_has") {
        return;
    }
    let lab = Lab::pair();
    let service = lab.server.run(|| Service::echo(Pair::SERVER_V4));
    lab.client.run(|| {
        let net = u32::from(Pair::SERVER_V4);
        let nobody = (100..140).map(|i| SocketAddr::new(IpAddr::from((net + i).to_be_bytes()), 7));
        let targets: Vec<SocketAddr> = std::iter::once(service.address).chain(nobody).collect();
        let mut probe = open(&targets, Protocol::Echo, 32);
        let mut replies = 0;
        for seq in 0..30 {
            let out: Vec<(u32, u64)> = (0..targets.len() as u32).map(|target| (target, seq)).collect();
            for chunk in out.chunks(32) {
                let left = send(&mut probe, chunk);
                let held = left.iter().filter(|d| d.left == Left::Held).count();
                assert!(
                    left.iter()
                        .all(|d| d.target != TargetId(0) || matches!(d.left, Left::At(_))),
                    "{left:?}"
                );
                assert!(held == 0 || seq > 3);
            }
            let (events, _) = hear(&mut probe, 1);
            replies += events.iter().filter(|event| is_reply(event, seq, false)).count();
        }
        assert_eq!(replies, 30);
        let silent = probe.silent(TargetId(7), Sequence(0), false);
        assert!(
            matches!(silent, Silence::NotSent(r) if r.reason == Reason::NoNeighbour),
            "{silent:?}"
        );
    });
}
