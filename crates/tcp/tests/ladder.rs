//! Each situation of a troubleshooting ladder, made with real kernels, and what the probe says of it.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{one, one_with, Outcome, Settled};
use rping_engine::{Origin, Reason, Refusal};
use rping_lab::{require_root, Acceptor, FullListener, Lab, Namespace, Pair, Routed};
use rping_tcp::Options;

const SHORT: Duration = Duration::from_millis(300);
/// Two SYNs are sent again within it.
const LONG: Duration = Duration::from_millis(3500);

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Pair::SERVER_V4), 445);
const SERVER_SIX: SocketAddr = SocketAddr::new(IpAddr::V6(Pair::SERVER_V6), 445);

fn rejected(settled: Settled) -> Refusal {
    assert!(settled.after < SHORT, "at once: {settled:?}");
    match settled.outcome {
        Outcome::Rejected(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn not_sent(settled: Settled) -> Refusal {
    match settled.outcome {
        Outcome::NotSent(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// What a probe is told when the server's firewall answers so.
fn firewalled(pair: &Pair, to: SocketAddr, verdict: &str) -> Refusal {
    pair.server.nft_flush();
    pair.server.nft(&format!(
        "add table inet t\nadd chain inet t in {{ type filter hook input priority 0; }}\n\
         add rule inet t in tcp dport 445 {verdict}\n"
    ));
    rejected(pair.client.run(|| one(to, SHORT)))
}

#[test]
fn an_open_port_replies_with_the_kernels_round_trip() {
    if !require_root("an_open_port_replies") {
        return;
    }
    let pair = Lab::pair();
    for to in [SERVER, SERVER_SIX] {
        let _server = Acceptor::start(&pair.server, to);
        match pair.client.run(|| one(to, SHORT)).outcome {
            Outcome::Reply(answer) => {
                assert_eq!(answer.from, Origin::Ip(to.ip()));
                assert_eq!(answer.syn_retransmits, 0);
                let rtt = answer.rtt.expect("tcpi_rtt");
                assert!(rtt > Duration::ZERO && rtt < SHORT, "{rtt:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_closed_port_and_a_reset_by_a_firewall_are_port_closed_without_icmp() {
    if !require_root("a_closed_port") {
        return;
    }
    let pair = Lab::pair();
    for to in [SERVER, SERVER_SIX] {
        let closed = rejected(pair.client.run(|| one(to, SHORT)));
        assert_eq!(
            (closed.reason, closed.from, closed.icmp),
            (Reason::PortClosed, Some(Origin::Ip(to.ip())), None)
        );
        let reset = firewalled(&pair, to, "reject with tcp reset");
        assert_eq!(
            (reset.reason, reset.from, reset.icmp),
            (Reason::PortClosed, Some(Origin::Ip(to.ip())), None)
        );
        pair.server.nft_flush();
    }
}

#[test]
fn a_firewalls_icmp_is_told_with_its_code_and_sender() {
    if !require_root("a_firewalls_icmp") {
        return;
    }
    let pair = Lab::pair();
    let four = [
        ("icmp type port-unreachable", 3, Reason::PortClosed),
        ("icmp type admin-prohibited", 13, Reason::AdminProhibited),
        ("icmp type host-prohibited", 10, Reason::AdminProhibited),
        ("icmp type net-prohibited", 9, Reason::AdminProhibited),
        ("icmp type host-unreachable", 1, Reason::HostUnreachable),
        ("icmp type net-unreachable", 0, Reason::NetworkUnreachable),
        ("icmp type prot-unreachable", 2, Reason::ProtocolUnreachable),
    ];
    for (kind, code, reason) in four {
        let refusal = firewalled(&pair, SERVER, &format!("reject with {kind}"));
        assert_eq!(
            (refusal.reason, refusal.icmp),
            (reason, Some((3, code))),
            "{kind}"
        );
        assert_eq!(refusal.from, Some(Origin::Ip(SERVER.ip())), "{kind}");
    }
    let six = [
        ("icmpv6 type port-unreachable", 4, Reason::PortClosed),
        ("icmpv6 type admin-prohibited", 1, Reason::AdminProhibited),
        ("icmpv6 type addr-unreachable", 3, Reason::HostUnreachable),
        ("icmpv6 type no-route", 0, Reason::NetworkUnreachable),
    ];
    for (kind, code, reason) in six {
        let refusal = firewalled(&pair, SERVER_SIX, &format!("reject with {kind}"));
        assert_eq!(
            (refusal.reason, refusal.icmp),
            (reason, Some((1, code))),
            "{kind}"
        );
        assert_eq!(refusal.from, Some(Origin::Ip(SERVER_SIX.ip())), "{kind}");
    }
}

#[test]
fn a_remote_drop_is_lost_not_a_local_firewall() {
    if !require_root("a_remote_drop") {
        return;
    }
    let pair = Lab::pair();
    drop_tcp(&pair.server, "input");
    for to in [SERVER, SERVER_SIX] {
        assert_eq!(pair.client.run(|| one(to, SHORT)).outcome, Outcome::Lost);
    }
    assert_eq!(pair.client.run(|| one(SERVER, LONG)).outcome, Outcome::Lost);
}

#[test]
fn a_local_output_drop_is_the_local_firewall() {
    if !require_root("a_local_output_drop") {
        return;
    }
    let pair = Lab::pair();
    drop_tcp(&pair.client, "output");
    for to in [SERVER, SERVER_SIX] {
        let refusal = not_sent(pair.client.run(|| one(to, LONG)));
        assert_eq!(refusal.reason, Reason::LocalFirewall);
    }
}

#[test]
fn of_a_local_and_a_remote_drop_at_once_nobody_is_wrongly_convicted() {
    if !require_root("of_a_local_and_a_remote_drop") {
        return;
    }
    let pair = Lab::pair();
    drop_tcp(&pair.server, "input");
    pair.client.nft(
        "add table inet t\nadd chain inet t out { type filter hook output priority 0; }\n\
         add rule inet t out tcp dport 446 drop\n",
    );
    let targets = [SERVER, SocketAddr::new(SERVER.ip(), 446)];
    let settled = pair.client.run(|| {
        let waiter = rping_net::Waiter::new(rping_net::Pacing::Precise);
        let mut probe = rping_tcp::TcpProbe::open(&targets, Options::default(), waiter).expect("open");
        common::run(&mut probe, 2, LONG)
    });
    assert_eq!(settled[0].outcome, Outcome::Lost, "dropped far away");
    assert!(
        settled[1].outcome == Outcome::Lost || not_sent(settled[1]).reason == Reason::LocalFirewall,
        "{settled:?}"
    );
}

fn drop_tcp(namespace: &Namespace, hook: &str) {
    namespace.nft(&format!(
        "add table inet t\nadd chain inet t c {{ type filter hook {hook} priority 0; }}\n\
         add rule inet t c tcp dport 445 drop\n"
    ));
}

#[test]
fn a_local_output_reject_is_the_local_firewall_by_its_sender() {
    if !require_root("a_local_output_reject") {
        return;
    }
    let pair = Lab::pair();
    for (to, kind, own) in [
        (SERVER, "icmp type port-unreachable", IpAddr::V4(Pair::CLIENT_V4)),
        (
            SERVER_SIX,
            "icmpv6 type port-unreachable",
            IpAddr::V6(Pair::CLIENT_V6),
        ),
    ] {
        pair.client.nft(&format!(
            "add table inet t\nadd chain inet t out {{ type filter hook output priority 0; }}\n\
             add rule inet t out tcp dport 445 reject with {kind}\n"
        ));
        let settled = pair.client.run(|| one(to, SHORT));
        assert!(settled.after < SHORT, "{settled:?}");
        let refusal = not_sent(settled);
        assert_eq!(
            (refusal.reason, refusal.from),
            (Reason::LocalFirewall, Some(Origin::Ip(own)))
        );
        pair.client.nft_flush();
    }
}

#[test]
fn no_arp_answer_is_no_neighbour_at_the_timeout_and_when_the_kernel_says_so() {
    if !require_root("no_arp_answer") {
        return;
    }
    let pair = Lab::pair();
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99)), 445);
    let nobody_six: SocketAddr = "[fd77::99]:445".parse().unwrap();
    for to in [nobody, nobody_six] {
        let refusal = not_sent(pair.client.run(|| one(to, SHORT)));
        assert_eq!(
            refusal.reason,
            Reason::NoNeighbour,
            "our own look at the neighbour table: {to}"
        );
        pair.client.forget_neighbours();
        let settled = pair.client.run(|| one(to, LONG));
        assert!(settled.after < LONG, "the kernel said so first: {settled:?}");
        let refusal = not_sent(settled);
        assert_eq!(refusal.reason, Reason::NoNeighbour, "{to}");
        assert!(refusal.icmp.is_some(), "{refusal:?}");
    }
    // Bound to an interface, a socket does not hear of our own errors.
    let mut options = Options::default();
    options.connect.interface = Some("c0".into());
    pair.client.forget_neighbours();
    let settled = pair.client.run(|| one_with(nobody, LONG, options));
    assert_eq!(not_sent(settled).reason, Reason::NoNeighbour);
}

#[test]
fn a_dead_cable_is_the_interfaces_fault_and_not_the_neighbours() {
    if !require_root("a_dead_cable") {
        return;
    }
    let pair = Lab::pair();
    pair.server.link_down("s0");
    let refusal = not_sent(pair.client.run(|| one(SERVER, SHORT)));
    assert_eq!(refusal.reason, Reason::InterfaceDown);
}

#[test]
fn our_interface_down_and_no_route_are_told_apart_at_once() {
    if !require_root("our_interface_down") {
        return;
    }
    let pair = Lab::pair();
    let far: SocketAddr = "10.99.0.1:445".parse().unwrap();
    let settled = pair.client.run(|| one(far, SHORT));
    assert_eq!(not_sent(settled).reason, Reason::NoRoute);
    assert!(settled.after < SHORT);
    pair.client.link_down("c0");
    assert_eq!(
        not_sent(pair.client.run(|| one(SERVER, SHORT))).reason,
        Reason::InterfaceDown
    );
    assert_eq!(
        not_sent(pair.client.run(|| one(far, SHORT))).reason,
        Reason::NoRoute
    );
}

#[test]
fn routes_that_refuse_are_no_route_with_their_own_error_numbers() {
    if !require_root("routes_that_refuse") {
        return;
    }
    let pair = Lab::pair();
    for (kind, errno) in [
        ("blackhole", libc::EINVAL),
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
        ("throw", libc::ENETUNREACH),
    ] {
        pair.client.ip(&format!("route replace {kind} 10.99.0.0/24"));
        let settled = pair.client.run(|| one("10.99.0.1:445".parse().unwrap(), SHORT));
        let refusal = not_sent(settled);
        assert_eq!(
            (refusal.reason, refusal.errno),
            (Reason::NoRoute, Some(errno)),
            "{kind}"
        );
    }
    for kind in ["blackhole", "unreachable", "prohibit"] {
        pair.client.ip(&format!("route replace {kind} 2001:db8::/64"));
        let settled = pair
            .client
            .run(|| one("[2001:db8::1]:445".parse().unwrap(), SHORT));
        assert_eq!(not_sent(settled).reason, Reason::NoRoute, "{kind}");
    }
}

#[test]
fn a_router_without_a_route_rejects_as_network_unreachable() {
    if !require_root("a_router_without_a_route") {
        return;
    }
    let lab = Lab::routed();
    let refusal = rejected(lab.client.run(|| one("10.99.0.1:445".parse().unwrap(), SHORT)));
    assert_eq!(
        (refusal.reason, refusal.icmp),
        (Reason::NetworkUnreachable, Some((3, 0)))
    );
    assert_eq!(refusal.from, Some(Origin::Ip(Routed::ROUTER_V4.into())));
    let refusal = rejected(
        lab.client
            .run(|| one("[2001:db8::1]:445".parse().unwrap(), SHORT)),
    );
    assert_eq!(
        (refusal.reason, refusal.icmp),
        (Reason::NetworkUnreachable, Some((1, 0)))
    );
    assert_eq!(refusal.from, Some(Origin::Ip(Routed::ROUTER_V6.into())));
}

#[test]
fn a_ttl_that_runs_out_is_time_exceeded_at_the_router() {
    if !require_root("a_ttl_that_runs_out") {
        return;
    }
    let lab = Lab::routed();
    for (to, router, icmp) in [
        (
            IpAddr::V4(Routed::SERVER_V4),
            IpAddr::V4(Routed::ROUTER_V4),
            (11, 0),
        ),
        (
            IpAddr::V6(Routed::SERVER_V6),
            IpAddr::V6(Routed::ROUTER_V6),
            (3, 0),
        ),
    ] {
        let mut options = Options::default();
        options.connect.ttl = Some(1);
        let refusal = rejected(
            lab.client
                .run(|| one_with(SocketAddr::new(to, 445), SHORT, options)),
        );
        assert_eq!((refusal.reason, refusal.icmp), (Reason::TimeExceeded, Some(icmp)));
        assert_eq!(refusal.from, Some(Origin::Ip(router)));
    }
}

#[test]
fn used_up_local_ports_are_no_local_port() {
    if !require_root("used_up_local_ports") {
        return;
    }
    let pair = Lab::pair();
    pair.client.sysctl("net.ipv4.ip_local_port_range", "50000 50009");
    let server = Acceptor::start(&pair.server, SERVER);
    let held: Vec<_> = (0..10)
        .map(|_| {
            pair.client
                .run(|| std::net::TcpStream::connect(server.address()).expect("a port is left"))
        })
        .collect();
    let settled = pair.client.run(|| one(SERVER, SHORT));
    assert_eq!(not_sent(settled).reason, Reason::NoLocalPort);
    drop(held);
}

#[test]
fn a_full_accept_queue_looks_lost() {
    if !require_root("a_full_accept_queue") {
        return;
    }
    let pair = Lab::pair();
    let server = FullListener::start(&pair.server, SERVER, &pair.client);
    assert_eq!(
        pair.client.run(|| one(server.address(), SHORT)).outcome,
        Outcome::Lost
    );
}

#[test]
fn a_lost_syn_is_a_reply_with_one_retransmission_and_no_round_trip() {
    if !require_root("a_lost_syn") {
        return;
    }
    let pair = Lab::pair();
    let _server = Acceptor::start(&pair.server, SERVER);
    pair.server.nft(
        "add table inet t\nadd chain inet t in { type filter hook input priority 0; }\n\
         add rule inet t in tcp dport 445 limit rate over 1/hour burst 1 packets accept\n\
         add rule inet t in tcp dport 445 tcp flags syn / syn,ack drop\n",
    );
    let settled = pair.client.run(|| one(SERVER, LONG));
    match settled.outcome {
        Outcome::Reply(answer) => {
            assert_eq!((answer.syn_retransmits, answer.rtt), (1, None));
            assert!(settled.after > Duration::from_millis(900), "{settled:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reset_leaves_no_time_wait_and_a_fin_does_when_it_is_asked_for() {
    if !require_root("a_reset_leaves_no_time_wait") {
        return;
    }
    let pair = Lab::pair();
    let _server = Acceptor::start(&pair.server, SERVER);
    let waiting = || {
        let listed = pair.client.exec(&["cat", "/proc/net/tcp"]).stdout;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        // The fourth column is the state; 06 is TIME_WAIT. With a FIN of ours alone it is 05, FIN_WAIT2.
        let states = listed
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(3));
        states.filter(|state| ["04", "05", "06"].contains(state)).count()
    };
    let outcome = pair.client.run(|| one(SERVER, SHORT)).outcome;
    assert!(matches!(outcome, Outcome::Reply(_)));
    assert_eq!(waiting(), 0);
    let mut options = Options::default();
    options.connect.close = rping_tcp::Close::Fin;
    pair.client.run(|| one_with(SERVER, SHORT, options));
    assert_eq!(waiting(), 1);
}
