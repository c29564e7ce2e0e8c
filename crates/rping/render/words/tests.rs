use std::net::SocketAddr;

use super::*;
use crate::job::UdpProtocol;

const KINDS: [Kind; 4] = [Kind::Icmp, Kind::Tcp, Kind::Udp(UdpProtocol::Auto), Kind::Arp];

fn target(address: &str) -> Target {
    let address: SocketAddr = address.parse().unwrap();
    Target {
        name: None,
        address: Some(address),
        error: None,
        from_block: false,
    }
}

fn refusal(reason: Reason, from: Option<&str>, icmp: Option<(u8, u8)>) -> Refusal {
    let from = from.map(|ip| Origin::Ip(ip.parse().unwrap()));
    Refusal {
        from,
        icmp,
        ..Refusal::of(reason)
    }
}

fn well_formed(words: &Words) {
    for sentence in [&words.means, &words.next] {
        assert!(
            sentence.len() > 20 && sentence.ends_with(['.', '?', ')']),
            "{sentence}"
        );
        assert!(!sentence.contains("  ") && !sentence.contains('\n'), "{sentence}");
    }
    assert!(words.means.len() + words.next.len() < 620, "{words:?}");
}

#[test]
fn every_kind_has_words_for_every_outcome_and_reason() {
    for kind in KINDS {
        for target in [
            target("10.77.0.2:445"),
            target("[fe80::2]:445"),
            target("10.77.0.2:0"),
        ] {
            for reason in Reason::ALL {
                for from in [None, Some("10.77.0.2"), Some("10.0.0.1")] {
                    for icmp in [None, Some((3, 3)), Some((1, 4)), Some((11, 1)), Some((200, 200))] {
                        for mtu in [None, Some(0), Some(1400)] {
                            let refusal = Refusal {
                                mtu,
                                errno: Some(5),
                                ..refusal(reason, from, icmp)
                            };
                            well_formed(&explain(kind, &target, Happened::Rejected(&refusal)));
                            well_formed(&explain(kind, &target, Happened::NotSent(&refusal)));
                            assert!(!brief(kind, &target, &refusal).is_empty());
                        }
                    }
                }
            }
            for others in [Others::Silent, Others::Answered, Others::Rejected] {
                well_formed(&explain(
                    kind,
                    &target,
                    Happened::Lost(Duration::from_secs(1), others),
                ));
            }
            well_formed(&explain(kind, &target, Happened::NoGateway([10, 0, 0, 1].into())));
            well_formed(&explain(kind, &target, Happened::SynLost(1)));
            well_formed(&explain(kind, &target, Happened::Unusable("no such host")));
            for aside in [
                Aside::Late(Duration::MAX),
                Aside::Duplicate,
                Aside::Corrupt,
                Aside::Unexpected,
            ] {
                well_formed(&explain(kind, &target, Happened::Aside(aside)));
            }
        }
    }
}

fn means(kind: Kind, happened: Happened<'_>) -> String {
    explain(kind, &target("10.77.0.2:445"), happened).means
}

#[test]
fn a_reset_and_a_port_unreachable_are_told_apart_over_tcp() {
    let reset = refusal(Reason::PortClosed, None, None);
    let icmp = refusal(Reason::PortClosed, Some("10.0.0.1"), Some((3, 3)));
    assert!(
        means(Kind::Tcp, Happened::Rejected(&reset)).contains("host is up and nothing listens on port 445")
    );
    let by_firewall = means(Kind::Tcp, Happened::Rejected(&icmp));
    assert!(
        by_firewall.contains("firewall rejects port 445: 10.0.0.1 answered with port unreachable"),
        "{by_firewall}"
    );
    assert_eq!(
        brief(Kind::Tcp, &target("10.77.0.2:445"), &reset),
        "port closed (TCP reset)"
    );
    assert_eq!(
        brief(Kind::Tcp, &target("10.77.0.2:445"), &icmp),
        "port unreachable (ICMP 3/3)"
    );
}

#[test]
fn silence_says_what_each_kind_can_conclude_from_it() {
    let lost = Happened::Lost(Duration::from_secs(1), Others::Silent);
    assert!(means(Kind::Tcp, lost).starts_with("Filtered or dropped"));
    assert!(means(Kind::Icmp, lost).contains("Filtered or dropped"));
    assert!(means(Kind::Udp(UdpProtocol::Auto), lost).contains("proves nothing"));
    assert!(means(Kind::Arp, lost).starts_with("No neighbour"));
}

#[test]
fn silence_over_udp_names_the_server_that_would_answer() {
    let lost = Happened::Lost(Duration::from_secs(1), Others::Silent);
    let refused = refusal(Reason::PortClosed, Some("10.77.0.2"), Some((3, 3)));
    for (protocol, address, server) in [
        (UdpProtocol::Auto, "10.77.0.2:7", "`rping server --echo :7`"),
        (UdpProtocol::Echo, "10.77.0.2:5000", "`rping server --echo :5000`"),
        (UdpProtocol::Stamp, "10.77.0.2:862", "`rping server --stamp :862`"),
        (UdpProtocol::Auto, "10.77.0.2:5201", "`rping server`"),
        (UdpProtocol::Auto, "10.77.0.2:6000", "`rping server :6000`"),
    ] {
        for happened in [lost, Happened::Rejected(&refused)] {
            let next = explain(Kind::Udp(protocol), &target(address), happened).next;
            assert!(next.contains(&format!("Start {server} ")), "{next}");
        }
    }
}

#[test]
fn a_gateway_that_is_silent_is_named_and_the_target_is_not_blamed() {
    let said = means(Kind::Icmp, Happened::NoGateway([10, 0, 0, 1].into()));
    assert!(
        said.contains("behind the gateway 10.0.0.1") && said.contains("says nothing about 10.77.0.2"),
        "{said}"
    );
}

#[test]
fn no_neighbour_names_the_three_causes() {
    let said = means(Kind::Icmp, Happened::NotSent(&Refusal::of(Reason::NoNeighbour)));
    assert!(said.contains("host down, wrong VLAN or wrong address"), "{said}");
}

#[test]
fn a_policy_names_who_enforces_it() {
    let other = refusal(Reason::AdminProhibited, Some("10.0.0.1"), Some((3, 13)));
    let own = refusal(Reason::AdminProhibited, Some("10.77.0.2"), Some((3, 13)));
    assert!(means(Kind::Tcp, Happened::Rejected(&other)).contains("10.0.0.1, a firewall on the way"));
    assert!(
        means(Kind::Tcp, Happened::Rejected(&own)).contains("the firewall on 10.77.0.2 rejects TCP port 445")
    );
    assert_eq!(
        brief(Kind::Tcp, &target("10.77.0.2:445"), &other),
        "communication prohibited (ICMP 3/13)"
    );
}

#[test]
fn a_packet_that_is_too_big_is_told_the_size_that_fits() {
    let too_big = Refusal {
        mtu: Some(1400),
        ..Refusal::of(Reason::PacketTooBig)
    };
    let v4 = explain(Kind::Icmp, &target("10.77.0.2:0"), Happened::NotSent(&too_big));
    let v6 = explain(
        Kind::Icmp,
        &target("[2001:db8::1]:0"),
        Happened::NotSent(&too_big),
    );
    assert!(
        v4.means.contains("1400 bytes") && v4.next.contains("-l 1372 fits"),
        "{v4:?}"
    );
    assert!(v6.next.contains("-l 1352 fits"), "{v6:?}");
    assert_eq!(
        brief(Kind::Icmp, &target("10.77.0.2:0"), &too_big),
        "packet too big (MTU 1400)"
    );
}

#[test]
fn each_thing_is_told_once_and_a_different_teller_is_a_different_thing() {
    let mut told = Told::default();
    let t = target("10.77.0.2:445");
    let router = refusal(Reason::HostUnreachable, Some("10.0.0.1"), Some((3, 1)));
    let itself = refusal(Reason::HostUnreachable, Some("10.77.0.2"), Some((3, 1)));
    assert!(told.once(Kind::Tcp, &t, Happened::Rejected(&router)).is_some());
    assert!(told.once(Kind::Tcp, &t, Happened::Rejected(&router)).is_none());
    assert!(told.once(Kind::Tcp, &t, Happened::Rejected(&itself)).is_some());
    assert!(told
        .once(
            Kind::Tcp,
            &t,
            Happened::Lost(Duration::from_secs(1), Others::Silent)
        )
        .is_some());
    assert!(told
        .once(
            Kind::Tcp,
            &t,
            Happened::Lost(Duration::from_secs(1), Others::Silent)
        )
        .is_none());
}

#[test]
fn names_from_outside_are_escaped() {
    let name = Target {
        name: Some("a\x1b[2Jb".into()),
        address: None,
        error: Some("x".into()),
        from_block: false,
    };
    let words = explain(Kind::Tcp, &name, Happened::Unusable("x"));
    assert!(words.means.starts_with("a\\x1b[2Jb was not probed"), "{words:?}");
}
