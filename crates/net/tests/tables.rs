//! What the kernel's tables say, between real namespaces; and packet sockets on a veth pair.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use rping_lab::{require_root, wait_until, Lab, Pair, Routed};
use rping_net::bpf::Filter;
use rping_net::clock::Realtime;
use rping_net::netlink::{neighbour, neighbours, route, NeighbourState, RouteKind};
use rping_net::packet::{Addressed, Options, PacketSocket};
use rping_net::{iface, Clock};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn routes_are_told_with_gateway_source_and_kind() {
    if !require_root("routes_are_told") {
        return;
    }
    let lab = Lab::routed();
    lab.client.run(|| {
        let c0 = iface::interface("c0").unwrap().unwrap();
        for (to, gateway, source) in [
            (
                IpAddr::V4(Routed::SERVER_V4),
                IpAddr::V4(Routed::ROUTER_V4),
                IpAddr::V4(Routed::CLIENT_V4),
            ),
            (
                IpAddr::V6(Routed::SERVER_V6),
                IpAddr::V6(Routed::ROUTER_V6),
                IpAddr::V6(Routed::CLIENT_V6),
            ),
        ] {
            let far = route(to, None, None, None).unwrap();
            assert_eq!(
                (far.ifindex, far.gateway, far.prefsrc),
                (c0.index, Some(gateway), Some(source))
            );
            assert!(!far.is_on_link() && far.next_hop(to) == gateway);
            let near = route(gateway, Some(source), Some(c0.index), Some(7)).unwrap();
            assert!(near.is_on_link() && near.next_hop(gateway) == gateway);
            assert_eq!(route(source, None, None, None).unwrap().kind, RouteKind::Local);
            assert!(iface::is_own(source).unwrap() && !iface::is_own(gateway).unwrap());
        }
        assert_eq!(
            route(ip("10.77.1.255"), None, None, None).unwrap().kind,
            RouteKind::Broadcast
        );
        let own = iface::own_addresses().unwrap();
        let four = own
            .iter()
            .find(|own| own.address == IpAddr::V4(Routed::CLIENT_V4))
            .unwrap();
        assert_eq!((four.prefix, four.ifindex), (24, c0.index));
    });
    for (kind, errno) in [
        ("blackhole", libc::EINVAL),
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
    ] {
        lab.client.ip(&format!("route replace {kind} 10.99.0.0/24"));
        let error = lab
            .client
            .run(|| route(ip("10.99.0.1"), None, None, None))
            .expect_err(kind);
        assert_eq!(error.errno(), errno, "{kind}");
    }
}

#[test]
fn neighbours_are_told_with_state_mac_and_ages() {
    if !require_root("neighbours_are_told") {
        return;
    }
    let pair = Lab::pair();
    let mac = pair.server.mac("s0");
    pair.client.run(|| {
        let c0 = iface::interface("c0").unwrap().unwrap();
        for (to, any) in [
            (IpAddr::V4(Pair::SERVER_V4), "0.0.0.0:0"),
            (IpAddr::V6(Pair::SERVER_V6), "[::]:0"),
        ] {
            assert_eq!(neighbour(to, c0.index).unwrap(), None);
            UdpSocket::bind(any).unwrap().send_to(&[], (to, 9)).unwrap();
            let mut entry = None;
            wait_until("the server is resolved", Duration::from_secs(2), || {
                entry = neighbour(to, c0.index).unwrap();
                entry.is_some_and(|entry| entry.state == NeighbourState::Reachable)
            });
            let entry = entry.unwrap();
            let text: Vec<String> = entry
                .mac
                .unwrap()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(text.join(":"), mac);
            assert!(
                entry.confirmed_ago.unwrap() < Duration::from_secs(60),
                "{entry:?}"
            );
            assert!(neighbours(c0.index)
                .unwrap()
                .iter()
                .any(|listed| listed.address == to));
        }
        let nobody = ip("10.77.0.99");
        UdpSocket::bind("0.0.0.0:0")
            .unwrap()
            .send_to(&[], (nobody, 9))
            .unwrap();
        assert_eq!(
            neighbour(nobody, c0.index).unwrap().unwrap().state,
            NeighbourState::Incomplete
        );
        assert!(neighbour(nobody, c0.index)
            .unwrap()
            .unwrap()
            .state
            .is_unresolved());
    });
}

#[test]
fn interfaces_are_told_with_flags_that_follow_the_cable() {
    if !require_root("interfaces_are_told") {
        return;
    }
    let pair = Lab::pair();
    let look = || pair.client.run(|| iface::interface("c0").unwrap().unwrap());
    let up = look();
    assert!(up.up && up.running && up.lower_up && up.is_ethernet() && up.mtu == 1500);
    assert_eq!(
        up.addresses
            .iter()
            .filter(|own| !own.tentative && !own.duplicated)
            .count(),
        up.addresses.len()
    );
    pair.server.link_down("s0");
    wait_until("the carrier is gone", Duration::from_secs(2), || !look().lower_up);
    assert!(look().up);
    pair.client.link_down("c0");
    assert!(!look().up);
}

#[test]
fn packet_sockets_stamp_both_ways_filter_and_number_their_frames() {
    if !require_root("packet_sockets_stamp") {
        return;
    }
    const TYPE: u16 = 0x88b5; // local experimental (IEEE 802)
    let pair = Lab::pair();
    let open = |filter| {
        move |name: &str| {
            let index = iface::interface(name).unwrap().unwrap().index;
            PacketSocket::open(&Options {
                filter,
                ..Options::new(index, TYPE)
            })
            .unwrap()
        }
    };
    let mut here = pair.client.run(|| open(Filter::new())("c0"));
    let mut there = pair.server.run(|| open(Filter::new().byte(14, 0x2a))("s0"));
    let frame = |first: u8, number: u8| {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(TYPE.to_be_bytes());
        frame.extend([first, number]);
        frame.resize(60, 0);
        frame
    };
    let mut realtime = Realtime::new();
    let before = Clock.now();
    let sent = here.send(&[frame(0x2a, 0), frame(0x07, 1), frame(0x2a, 2)]);
    assert_eq!((sent.first, sent.count, sent.error.is_none()), (0, 3, true));
    let mut stamps = Vec::new();
    here.transmit_stamps(&mut stamps).unwrap();
    assert_eq!(
        stamps.iter().map(|sent| sent.number).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(there.receive().unwrap(), 2, "the filter dropped one");
    let now = realtime.check();
    let numbers: Vec<u8> = there.frames().map(|frame| frame.bytes[15]).collect();
    assert_eq!(numbers, [0, 2]);
    for (received, sent) in there.frames().zip([stamps[0], stamps[2]]) {
        assert_eq!(received.addressed, Addressed::Group);
        assert_eq!(
            (sent.device, received.device),
            (None, None),
            "a veth pair has no clock"
        );
        let real = sent.real.expect("a stamp");
        let left = realtime.instant(real, before, now).expect("within the test");
        // The very first packets may be unstamped: stamping is switched on in the background.
        if let Some(at) = received
            .stamp
            .and_then(|stamp| realtime.instant(stamp, before, now))
        {
            assert!(at >= left);
        }
    }
    assert_eq!(here.receive().unwrap(), 0, "our own frames do not come back");
    // A frame that is refused does not upset the numbers of those after it.
    let sent = here.send(&[vec![0; 3000]]);
    assert_eq!(
        (sent.count, sent.error.and_then(|error| error.raw_os_error())),
        (0, Some(libc::EMSGSIZE))
    );
    let sent = here.send(&[frame(0x2a, 3)]);
    assert_eq!((sent.first, sent.count), (3, 1));
    stamps.clear();
    here.transmit_stamps(&mut stamps).unwrap();
    assert_eq!(stamps.iter().map(|sent| sent.number).collect::<Vec<_>>(), [3]);
    assert_eq!((here.drops(), there.drops()), (0, 0));
}
