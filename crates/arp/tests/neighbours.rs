//! ARP and neighbour solicitation between real kernels.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rping_arp::{locate, ArpProbe, Error, KernelNeighbour, Options, Target};
use rping_engine::{
    Arrival, Event, Left, Origin, Outgoing, Probe, Reason, SeqRef, Sequence, Silence, StampSource, TargetId,
    Timestamp,
};
use rping_lab::{require_root, Bridge, Lab, Namespace, Pair, Routed};
use rping_net::{Clock, Pacing, Waiter};

fn waiter() -> Waiter {
    Waiter::new(Pacing::Precise)
}

fn targets(addresses: &[IpAddr]) -> Vec<Target> {
    addresses.iter().copied().map(Target::from).collect()
}

fn outgoing(target: usize, seq: u64) -> Outgoing {
    Outgoing {
        target: TargetId(target as u32),
        seq: Sequence(seq),
        due: Clock.now(),
    }
}

/// Sends one probe to each target and returns the stamps before the send calls and what arrived within `time`.
fn ask<P: Probe>(probe: &mut P, count: usize, seq: u64, time: Duration) -> (Vec<Left>, Vec<Arrival>)
where
    P::Error: std::fmt::Debug,
{
    let due: Vec<Outgoing> = (0..count).map(|target| outgoing(target, seq)).collect();
    let mut left = Vec::new();
    for batch in due.chunks(32) {
        probe.send(batch, &mut left).expect("send");
    }
    let mut arrived = Vec::new();
    let until = Clock.now().plus(time);
    while Clock.now() < until {
        probe.recv(until, &mut arrived).expect("recv");
    }
    (
        left.into_iter().map(|departure| departure.left).collect(),
        arrived,
    )
}

fn left_at(left: &Left) -> Timestamp {
    match left {
        Left::At(stamp) => stamp.at,
        other => panic!("{other:?}"),
    }
}

fn mac_of(namespace: &Namespace, interface: &str) -> [u8; 6] {
    let text = namespace.mac(interface);
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).expect("hex"))
        .collect();
    bytes.try_into().expect("six bytes")
}

const SOON: Duration = Duration::from_millis(100);

#[test]
fn a_neighbour_answers_with_its_mac_and_kernel_stamps_both_ways() {
    if !require_root("a_neighbour_answers") {
        return;
    }
    let pair = Lab::pair();
    let both = [IpAddr::V4(Pair::SERVER_V4), IpAddr::V6(Pair::SERVER_V6)];
    let mut probe = pair
        .client
        .run(|| ArpProbe::open(&targets(&both), &Options::default(), waiter()))
        .expect("open");
    let mac = Origin::Mac(mac_of(&pair.server, "s0"));
    for seq in 0..3 {
        let (left, arrived) = ask(&mut probe, 2, seq, SOON);
        for (target, left) in left.iter().enumerate() {
            let mine: Vec<&Arrival> = arrived
                .iter()
                .filter(|a| a.target == TargetId(target as u32))
                .collect();
            let [departed, reply] = mine[..] else {
                panic!("{mine:?}")
            };
            assert_eq!(departed.event, Event::Left(SeqRef::Full(Sequence(seq))));
            assert_eq!(departed.at.source, StampSource::Kernel);
            assert_eq!(reply.at.source, StampSource::Kernel);
            let Event::Reply(answer) = reply.event else {
                panic!("{reply:?}")
            };
            assert_eq!((answer.seq, answer.from), (SeqRef::Oldest, mac));
            let sent = left_at(left);
            assert!(
                sent <= departed.at.at && departed.at.at <= reply.at.at,
                "{sent:?} {mine:?}"
            );
        }
    }
    assert_eq!(probe.local_drops(), 0);
}

#[test]
fn a_link_local_target_is_asked_on_its_link_and_refused_without_one() {
    if !require_root("a_link_local_target") {
        return;
    }
    let pair = Lab::pair();
    pair.server.ip("addr add fe80::77/64 dev s0 nodad");
    let address: IpAddr = "fe80::77".parse().unwrap();
    pair.client.run(|| {
        let error = locate(&[address.into()], &Options::default()).expect_err("no scope");
        assert!(matches!(error, Error::NoScope { .. }), "{error}");
        let scope_id = rping_net::iface::interface("c0").unwrap().unwrap().index;
        let mut probe =
            ArpProbe::open(&[Target { address, scope_id }], &Options::default(), waiter()).expect("open");
        let (_, arrived) = ask(&mut probe, 1, 0, SOON);
        assert!(
            arrived.iter().any(|a| matches!(a.event, Event::Reply(_))),
            "{arrived:?}"
        );
    });
}

#[test]
fn nobody_is_silence_and_lost_after_a_transmit_stamp() {
    if !require_root("nobody_is_silence") {
        return;
    }
    let pair = Lab::pair();
    let nobody = targets(&["10.77.0.99".parse().unwrap(), "fd77::99".parse().unwrap()]);
    let mut probe = pair
        .client
        .run(|| ArpProbe::open(&nobody, &Options::default(), waiter()))
        .expect("open");
    let (_, arrived) = ask(&mut probe, 2, 0, SOON);
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    assert!(arrived.iter().all(|a| matches!(a.event, Event::Left(_))));
    assert_eq!(probe.silent(TargetId(0), Sequence(0), true), Silence::Lost);
}

#[test]
fn a_dead_cable_or_an_interface_switched_off_is_not_sent_and_it_works_again_after() {
    if !require_root("a_dead_cable") {
        return;
    }
    let pair = Lab::pair();
    let server = [IpAddr::V4(Pair::SERVER_V4)];
    let mut probe = pair
        .client
        .run(|| ArpProbe::open(&targets(&server), &Options::default(), waiter()))
        .expect("open");
    pair.server.link_down("s0");
    rping_lab::pause(SOON);
    let silence = pair.client.run(|| {
        let (_, arrived) = ask(&mut probe, 1, 0, SOON);
        assert!(arrived.is_empty(), "{arrived:?}");
        probe.silent(TargetId(0), Sequence(0), false)
    });
    assert!(matches!(silence, Silence::NotSent(refusal) if refusal.reason == Reason::InterfaceDown));
    pair.client.link_down("c0");
    let (left, _) = ask(&mut probe, 1, 1, SOON);
    assert!(
        matches!(left[0], Left::NotSent(refusal) if refusal.reason == Reason::InterfaceDown),
        "{left:?}"
    );
    pair.server.link_up("s0");
    pair.client.link_up("c0");
    rping_lab::pause(3 * SOON);
    let (_, arrived) = ask(&mut probe, 1, 2, SOON);
    let stamp = arrived
        .iter()
        .find(|a| matches!(a.event, Event::Left(_)))
        .expect("a transmit stamp");
    assert_eq!(
        stamp.event,
        Event::Left(SeqRef::Full(Sequence(2))),
        "numbered rightly after the failures"
    );
    assert!(arrived.iter().any(|a| matches!(a.event, Event::Reply(_))));
}

#[test]
fn two_hosts_with_one_address_both_answer_with_their_macs() {
    if !require_root("two_hosts_with_one_address") {
        return;
    }
    let lab = Lab::bridge(3);
    lab.hosts[2].ip("addr add 10.79.0.2/24 dev eth0\naddr add fd79::2/64 dev eth0 nodad");
    let both = [IpAddr::V4(Bridge::v4(1)), IpAddr::V6(Bridge::v6(1))];
    let mut probe = lab.hosts[0]
        .run(|| ArpProbe::open(&targets(&both), &Options::default(), waiter()))
        .expect("open");
    let (_, arrived) = ask(&mut probe, 2, 0, 3 * SOON);
    for target in 0..2 {
        let mut macs: Vec<Origin> = arrived
            .iter()
            .filter(|a| a.target == TargetId(target))
            .filter_map(|a| match a.event {
                Event::Reply(answer) => Some(answer.from),
                _ => None,
            })
            .collect();
        macs.sort_unstable();
        let mut expected = [1, 2].map(|host: usize| Origin::Mac(mac_of(&lab.hosts[host], "eth0")));
        expected.sort_unstable();
        assert_eq!(macs, expected, "target {target}");
    }
}

#[test]
fn targets_that_cannot_be_asked_are_refused_with_the_reason() {
    if !require_root("targets_that_cannot_be_asked") {
        return;
    }
    let lab = Lab::routed();
    lab.client.ip(
        "tuntap add t0 mode tun\naddr add 10.66.0.1/24 dev t0\nlink set t0 up\n\
         route add unreachable 10.68.0.0/24\n",
    );
    let why = |address: &str, options: &Options| {
        let target = targets(&[address.parse().unwrap()]);
        lab.client
            .run(|| locate(&target, options))
            .expect_err(address)
            .to_string()
    };
    let plain = Options::default();
    assert_eq!(
        why("10.77.2.1", &plain),
        "10.77.2.1 is not on-link: it is reached through 10.77.1.254; ARP ends at the router; \
         try rping arp 10.77.1.254"
    );
    assert!(why("fd77:2::1", &plain).contains("reached through fd77:1::fe"));
    assert!(why("10.77.1.1", &plain).contains("own address (on c0)"));
    assert!(why("127.0.0.1", &plain).contains("loopback"));
    assert!(why("::1", &plain).contains("loopback"));
    assert!(why("10.77.1.255", &plain).contains("no single host"));
    assert!(why("224.0.0.1", &plain).contains("no single host"));
    assert!(why("ff02::1", &plain).contains("no single host"));
    assert!(why("10.66.0.9", &plain).contains("t0, which is no Ethernet"));
    assert!(why("10.68.0.9", &plain).contains("no route"));
    let named = Options {
        interface: Some("nope0".into()),
        ..Options::default()
    };
    assert!(why("10.77.1.9", &named).contains("nope0"));
    let foreign = Options {
        source: "192.0.2.1".parse().ok(),
        ..Options::default()
    };
    assert!(why("10.77.1.9", &foreign).contains("not an address of this host"));
    let place = lab
        .client
        .run(|| locate(&targets(&[Routed::ROUTER_V4.into()]), &plain))
        .expect("on-link");
    assert_eq!(
        (place[0].interface.as_str(), place[0].source),
        ("c0", Routed::CLIENT_V4.into())
    );
}

#[test]
fn of_4096_targets_half_silent_every_live_one_answers() {
    if !require_root("of_4096_targets") {
        return;
    }
    let lab = Lab::on_link(4096);
    let addresses: Vec<Ipv4Addr> = lab.addresses().collect();
    let list: Vec<Target> = addresses.iter().map(|ip| IpAddr::V4(*ip).into()).collect();
    let mut probe = lab
        .client
        .run(|| {
            ArpProbe::open(
                &list,
                &Options {
                    bypass_queue: true,
                    ..Options::default()
                },
                waiter(),
            )
        })
        .expect("open");
    let begun = Clock.now();
    let (left, arrived) = ask(&mut probe, list.len(), 0, 3 * SOON);
    let sending = left.iter().map(left_at).max().unwrap().since(begun);
    println!("4096 requests in {sending:?}");
    let mut answered = vec![0; list.len()];
    for arrival in &arrived {
        if let Event::Reply(_) = arrival.event {
            answered[arrival.target.index()] += 1;
        }
    }
    for (address, count) in addresses.iter().zip(&answered) {
        assert_eq!(*count, u32::from(lab.is_live(*address)), "{address}");
    }
    assert_eq!(probe.local_drops(), 0);
}

#[test]
fn the_kernels_entry_counts_only_when_it_was_confirmed_after_the_probe() {
    if !require_root("the_kernels_entry") {
        return;
    }
    let pair = Lab::pair();
    let all = ["10.77.0.2", "fd77::2", "10.77.0.99"].map(|text| text.parse().unwrap());
    let mac = Origin::Mac(mac_of(&pair.server, "s0"));
    pair.client.run(|| {
        rping_net::caps::drop_all().expect("drop");
        let error =
            ArpProbe::open(&targets(&all), &Options::default(), waiter()).expect_err("no CAP_NET_RAW");
        assert!(error.to_string().contains("setcap cap_net_raw"), "{error}");
        let mut probe = KernelNeighbour::open(&targets(&all), &Options::default(), waiter()).expect("open");
        let (_, arrived) = ask(&mut probe, 3, 0, SOON);
        let mut replied: Vec<u32> = Vec::new();
        for arrival in &arrived {
            let Event::Reply(answer) = arrival.event else {
                panic!("{arrival:?}")
            };
            assert_eq!((answer.seq, answer.from), (SeqRef::Full(Sequence(0)), mac));
            assert!(answer.untimed);
            replied.push(arrival.target.0);
        }
        replied.sort_unstable();
        assert_eq!(replied, [0, 1]);
        let entry = probe.entry(TargetId(0)).expect("an entry");
        assert_eq!(entry.state.as_str(), "reachable");
        let silence = probe.silent(TargetId(2), Sequence(0), false);
        assert!(matches!(silence, Silence::NotSent(refusal) if refusal.reason == Reason::NoNeighbour));
        // Fresh now: the kernel asks nobody again, and nothing is counted.
        let (_, arrived) = ask(&mut probe, 1, 1, SOON);
        assert!(arrived.is_empty(), "{arrived:?}");
        assert_eq!(probe.silent(TargetId(0), Sequence(1), false), Silence::Lost);
    });
}
