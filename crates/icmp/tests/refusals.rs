//! Every way in which an echo request comes to nothing has its own name: in namespaces, with the kernel's own errors.

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use common::{answers, due, hear, is_stamp, send, targets};
use rping_engine::{
    Event, Left, Origin, Probe, Reason, Refusal, SeqRef, Sequence, Silence, StampSource, TargetId,
};
use rping_icmp::{IcmpProbe, Options};
use rping_lab::{require_root, Bridge, Lab, Namespace, Pair, Routed};

/// What became of one probe to `to`: the event, or the departure that was none.
fn fate(to: &str, options: &Options) -> Result<Event, Refusal> {
    let mut probe = IcmpProbe::open(&targets(&[to]), options).expect("open");
    match send(&mut probe, &[due(0, 5)])[0].left {
        Left::At(_) => {}
        Left::NotSent(refusal) => return Err(refusal),
        other => panic!("{other:?}"),
    }
    let arrived = hear(&mut probe, 1);
    let told = arrived
        .iter()
        .find(|a| !is_stamp(a))
        .unwrap_or_else(|| panic!("silence: {arrived:?}"));
    assert_eq!(
        told.at.source,
        StampSource::Kernel,
        "an ICMP message bears a stamp as any packet does"
    );
    Ok(told.event)
}

#[test]
fn every_kind_of_refusal_is_told_with_reason_code_and_culprit() {
    if !require_root("every_kind_of_refusal") {
        return;
    }
    use Reason::*;
    let lab = Lab::routed();
    let four = [
        ("net-unreachable", NetworkUnreachable, (3, 0)),
        ("host-unreachable", HostUnreachable, (3, 1)),
        ("prot-unreachable", ProtocolUnreachable, (3, 2)),
        ("port-unreachable", PortClosed, (3, 3)),
        ("net-prohibited", AdminProhibited, (3, 9)),
        ("host-prohibited", AdminProhibited, (3, 10)),
        ("admin-prohibited", AdminProhibited, (3, 13)),
    ];
    let six = [
        ("no-route", NetworkUnreachable, (1, 0)),
        ("admin-prohibited", AdminProhibited, (1, 1)),
        ("addr-unreachable", HostUnreachable, (1, 3)),
        ("port-unreachable", PortClosed, (1, 4)),
    ];
    let cases = four
        .map(|(w, r, c)| ("icmp", w, r, c))
        .into_iter()
        .chain(six.map(|(w, r, c)| ("icmpv6", w, r, c)));
    for (family, with, reason, code) in cases {
        let to = if family == "icmp" {
            IpAddr::from(Routed::SERVER_V4)
        } else {
            IpAddr::from(Routed::SERVER_V6)
        };
        lab.router.nft(&format!(
            "flush ruleset\nadd table inet t\nadd chain inet t f {{ type filter hook forward priority 0; }}\n\
             add rule inet t f meta l4proto {family} {family} type echo-request reject with {family} {with}"
        ));
        let event = lab.client.run(|| fate(&to.to_string(), &Options::default()));
        let Ok(Event::Rejected(seq, refusal)) = event else {
            panic!("{family} {with}: {event:?}")
        };
        assert_eq!(
            (seq, refusal.reason, refusal.icmp),
            (SeqRef::Full(Sequence(5)), reason, Some(code)),
            "{with}"
        );
        assert!(
            matches!(refusal.from, Some(Origin::Ip(ip)) if ip != to),
            "the router said it: {refusal:?}"
        );
    }
}

fn not_sent(told: Result<Event, Refusal>) -> Refusal {
    match told {
        Err(refusal) | Ok(Event::NotSent(_, refusal)) => refusal,
        Ok(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_this_host_refuses_itself_is_not_sent_each_with_its_reason() {
    if !require_root("what_this_host_refuses") {
        return;
    }
    use Reason::*;
    let lab = Lab::routed();
    lab.client.ip(
        "route add blackhole 10.99.1.1\nroute add unreachable 10.99.1.2\nroute add prohibit 10.99.1.3\n\
         route add throw 10.99.1.4\nroute add blackhole fd99::1\nroute add unreachable fd99::2\n\
         route add prohibit fd99::3",
    );
    let ask = |to: &str, options: &Options| lab.client.run(|| not_sent(fate(to, options)));
    let plain = Options::default();
    for (to, errno) in [
        ("10.99.1.1", libc_errno("EINVAL")),
        ("10.99.1.2", libc_errno("EHOSTUNREACH")),
        ("10.99.1.3", libc_errno("EACCES")),
        ("10.99.1.4", libc_errno("ENETUNREACH")),
        ("fd99::1", libc_errno("EINVAL")),
        ("fd99::2", libc_errno("EHOSTUNREACH")),
        ("fd99::3", libc_errno("EACCES")),
    ] {
        let refusal = ask(to, &plain);
        assert_eq!((refusal.reason, refusal.errno), (NoRoute, Some(errno)), "{to}");
    }
    let big = Options {
        size: 1473,
        net: rping_net::Options {
            df: true,
            ..rping_net::Options::default()
        },
        ..Options::default()
    };
    let refusal = ask(&Routed::SERVER_V4.to_string(), &big);
    assert_eq!((refusal.reason, refusal.mtu), (PacketTooBig, Some(1500)));
    let refusal = ask(&Routed::SERVER_V6.to_string(), &big);
    assert_eq!((refusal.reason, refusal.mtu), (PacketTooBig, Some(1500)));

    lab.client.nft(
        "add table inet t\nadd chain inet t o { type filter hook output priority 0; }\n\
         add rule inet t o icmp type echo-request drop\n\
         add rule inet t o icmpv6 type echo-request drop",
    );
    for to in [IpAddr::from(Routed::SERVER_V4), IpAddr::from(Routed::SERVER_V6)] {
        assert_eq!(ask(&to.to_string(), &plain).reason, LocalFirewall, "{to}");
    }
    lab.client.nft_flush();

    lab.client.link_down("c0");
    for to in [IpAddr::from(Routed::SERVER_V4), IpAddr::from(Routed::SERVER_V6)] {
        let refusal = ask(&to.to_string(), &plain);
        assert_eq!(
            (refusal.reason, refusal.errno),
            (NoRoute, Some(libc_errno("ENETUNREACH"))),
            "{to}"
        );
    }
}

fn libc_errno(name: &str) -> i32 {
    match name {
        "EACCES" => 13,
        "EINVAL" => 22,
        "ENETUNREACH" => 101,
        "EHOSTUNREACH" => 113,
        other => panic!("{other}"),
    }
}

#[test]
fn a_too_small_mtu_and_a_spent_ttl_on_the_way_are_the_routers_word() {
    if !require_root("a_too_small_mtu") {
        return;
    }
    let lab = Lab::routed();
    lab.router.mtu("r1", 1300);
    for (to, router, ttl_code) in [
        (
            IpAddr::from(Routed::SERVER_V4),
            IpAddr::from(Routed::ROUTER_V4),
            (11, 0),
        ),
        (
            IpAddr::from(Routed::SERVER_V6),
            IpAddr::from(Routed::ROUTER_V6),
            (3, 0),
        ),
    ] {
        let net = rping_net::Options {
            df: true,
            ..rping_net::Options::default()
        };
        let big = Options {
            size: 1400,
            net,
            ..Options::default()
        };
        let told = lab.client.run(|| fate(&to.to_string(), &big));
        let Ok(Event::Rejected(seq, refusal)) = told else {
            panic!("{to}: {told:?}")
        };
        assert_eq!(seq, SeqRef::Full(Sequence(5)));
        assert_eq!(
            (refusal.reason, refusal.mtu),
            (Reason::PacketTooBig, Some(1300)),
            "{to}"
        );
        assert_eq!(refusal.from, Some(Origin::Ip(router)));

        let net = rping_net::Options {
            ttl: Some(1),
            ..rping_net::Options::default()
        };
        let told = lab.client.run(|| {
            fate(
                &to.to_string(),
                &Options {
                    net,
                    ..Options::default()
                },
            )
        });
        let Ok(Event::Rejected(_, refusal)) = told else {
            panic!("{to}: {told:?}")
        };
        assert_eq!(
            (refusal.reason, refusal.icmp),
            (Reason::TimeExceeded, Some(ttl_code)),
            "{to}"
        );
        assert_eq!(refusal.from, Some(Origin::Ip(router)));
    }
}

/// An address on the same link that nobody has.
fn beside(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => IpAddr::from((u32::from(four) + 90).to_be_bytes()).to_string(),
        IpAddr::V6(six) => IpAddr::from((u128::from(six) + 90).to_be_bytes()).to_string(),
    }
}

#[test]
fn silence_of_an_unresolved_neighbour_is_not_sent_and_silence_behind_a_resolved_one_is_lost() {
    if !require_root("silence_of_an_unresolved_neighbour") {
        return;
    }
    let lab = Lab::pair();
    lab.client.run(|| {
        for live in [IpAddr::from(Pair::SERVER_V4), IpAddr::from(Pair::SERVER_V6)] {
            let (live, nobody) = (live.to_string(), beside(live));
            let mut probe = IcmpProbe::open(&targets(&[&live, &nobody]), &Options::default()).expect("open");
            send(&mut probe, &[due(0, 0), due(1, 0)]);
            let arrived = hear(&mut probe, 1);
            assert!(
                !arrived.iter().any(|a| a.target == TargetId(1)),
                "no stamp for what did not leave: {arrived:?}"
            );
            assert!(arrived.iter().any(|a| a.target == TargetId(0) && is_stamp(a)));
            let silent = probe.silent(TargetId(1), Sequence(0), false);
            assert!(
                matches!(silent, Silence::NotSent(r) if r.reason == Reason::NoNeighbour),
                "{silent:?}"
            );
            assert_eq!(probe.silent(TargetId(0), Sequence(0), false), Silence::Lost);
            assert_eq!(
                probe.silent(TargetId(1), Sequence(0), true),
                Silence::Lost,
                "a stamp proves that it left"
            );
        }
    });
}

#[test]
fn a_neighbour_that_does_not_resolve_is_told_by_the_kernel_after_three_seconds() {
    if !require_root("a_neighbour_that_does_not_resolve") {
        return;
    }
    let lab = Lab::pair();
    let nobody = beside(Pair::SERVER_V4.into());
    let told = lab.client.run(|| {
        let mut probe = IcmpProbe::open(&targets(&[&nobody]), &Options::default()).expect("open");
        send(&mut probe, &[due(0, 7)]);
        let mut arrived = hear(&mut probe, 1);
        if arrived.is_empty() {
            arrived = hear(&mut probe, 1);
        }
        arrived
    });
    let [only] = told[..] else { panic!("{told:?}") };
    let Event::NotSent(seq, refusal) = only.event else {
        panic!("{only:?}")
    };
    assert_eq!(
        (seq, refusal.reason),
        (SeqRef::Full(Sequence(7)), Reason::NoNeighbour)
    );
    assert_eq!(refusal.from, Some(Origin::Ip(Pair::CLIENT_V4.into())));
}

#[test]
fn a_chosen_interface_hides_no_error_of_this_host() {
    if !require_root("a_chosen_interface_hides_no_error") {
        return;
    }
    let lab = Lab::pair();
    let net = rping_net::Options {
        interface: Some("c0".into()),
        ..rping_net::Options::default()
    };
    let options = Options {
        net,
        ..Options::default()
    };
    for live in [IpAddr::from(Pair::SERVER_V4), IpAddr::from(Pair::SERVER_V6)] {
        let told = lab.client.run(|| fate(&live.to_string(), &options));
        assert!(matches!(told, Ok(Event::Reply(_))), "{told:?}");
        let nobody = beside(live);
        let arrived = lab.client.run(|| {
            let mut probe = IcmpProbe::open(&targets(&[&nobody]), &options).expect("open");
            send(&mut probe, &[due(0, 7)]);
            let first = hear(&mut probe, 1);
            if first.is_empty() {
                hear(&mut probe, 1)
            } else {
                first
            }
        });
        let [Event::NotSent(_, refusal)] = arrived.iter().map(|a| a.event).collect::<Vec<_>>()[..] else {
            panic!("{arrived:?}")
        };
        assert_eq!(refusal.reason, Reason::NoNeighbour);
    }
}

#[test]
fn link_local_targets_are_probed_in_their_scope_and_a_broadcast_is_answered_by_each_host() {
    if !require_root("link_local_targets_are_probed") {
        return;
    }
    let lab = Lab::bridge(3);
    for host in &lab.hosts {
        host.sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "0");
    }
    let out = lab.hosts[1].exec(&["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let address = text
        .split_whitespace()
        .find(|w| w.starts_with("fe80"))
        .expect("a link-local address");
    let address: Ipv6Addr = address
        .split('/')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    lab.hosts[0].run(|| {
        let scope = rping_net::options::interface_index("eth0").expect("eth0");
        let to = SocketAddr::V6(SocketAddrV6::new(address, 0, 0, scope));
        let mut probe = IcmpProbe::open(&[to], &Options::default()).expect("open");
        send(&mut probe, &[due(0, 0)]);
        let replies = answers(&hear(&mut probe, 1));
        assert!(
            matches!(&replies[..], [(0, answer)] if answer.from == Origin::Ip(address.into())),
            "{replies:?}"
        );

        let net = rping_net::Options {
            broadcast: true,
            ..rping_net::Options::default()
        };
        let all = targets(&["10.79.0.255"]);
        let mut probe = IcmpProbe::open(
            &all,
            &Options {
                net,
                ..Options::default()
            },
        )
        .expect("open");
        send(&mut probe, &[due(0, 0)]);
        // This host has the address too, and answers first.
        let replies = answers(&hear(&mut probe, 3));
        let from: std::collections::BTreeSet<Origin> =
            replies.iter().map(|(_, answer)| answer.from).collect();
        let want = [1, 2].map(|host| Origin::Ip(Bridge::v4(host).into()));
        assert!(want.iter().all(|host| from.contains(host)), "{replies:?}");
    });
}

#[test]
fn without_any_right_the_three_remedies_are_named() {
    if !require_root("without_any_right") {
        return;
    }
    let lab = Namespace::new("nobody");
    lab.run(|| {
        rping_net::caps::drop_all().expect("give up");
        for to in ["127.0.0.1", "::1"] {
            let error = IcmpProbe::open(&targets(&[to]), &Options::default())
                .map(drop)
                .expect_err("no right");
            let text = error.to_string();
            for remedy in ["setcap cap_net_raw+ep", "net.ipv4.ping_group_range", "as root"] {
                assert!(text.contains(remedy) && !text.contains('\n'), "{text}");
            }
        }
    });
}
