use super::*;
use std::net::SocketAddr;

const OVER: Duration = Duration::from_secs(1);

fn tcp(state: State, receive_queue: u32, send_queue: u32, info: TcpInfo) -> Socket {
    Socket {
        protocol: Protocol::Tcp,
        state,
        local: SocketAddr::from(([10, 0, 0, 1], 445)),
        remote: SocketAddr::from(([10, 0, 0, 2], 50_000)),
        is_six: false,
        ifindex: 0,
        cookie: 1,
        receive_queue,
        send_queue,
        timer: Timer::Off,
        unanswered: 0,
        uid: 0,
        inode: 0,
        drops: None,
        tcp: Some(TcpInfo {
            bytes_acked: Some(0),
            bytes_received: Some(0),
            send_window: Some(1000),
            ..info
        }),
    }
}

fn holdup(before: &Socket, now: &Socket) -> Option<Holdup> {
    judge::twice(before, now, OVER).map(|finding| finding.holdup)
}

#[test]
fn a_queue_that_was_read_from_and_filled_again_holds_nothing_up() {
    let before = tcp(State::Established, 500, 0, TcpInfo::default());
    let mut now = before.clone();
    assert_eq!(holdup(&before, &now), Some(Holdup::LocalApplication));
    now.tcp.as_mut().unwrap().bytes_received = Some(300);
    assert_eq!(holdup(&before, &now), None, "300 came and 300 were read");
    now.receive_queue = 800;
    assert_eq!(
        holdup(&before, &now),
        Some(Holdup::LocalApplication),
        "300 came and none were read"
    );
}

#[test]
fn bytes_under_way_are_no_finding_and_bytes_that_stand_still_are_one() {
    let before = tcp(State::Established, 0, 500, TcpInfo::default());
    let mut now = before.clone();
    assert_eq!(judge::once(&now), None);
    assert_eq!(holdup(&before, &now), Some(Holdup::Unknown));
    now.tcp.as_mut().unwrap().send_window = Some(0);
    assert_eq!(holdup(&before, &now), Some(Holdup::PeerApplication));
    now.tcp.as_mut().unwrap().retransmits = 2;
    assert_eq!(holdup(&before, &now), Some(Holdup::Network));
    now.tcp.as_mut().unwrap().bytes_acked = Some(1);
    assert_eq!(holdup(&before, &now), None, "something was acknowledged");
}

#[test]
fn probes_of_a_closed_window_that_nobody_answers_convict_the_network() {
    let mut before = tcp(State::Established, 0, 500, TcpInfo::default());
    before.timer = Timer::Probe;
    let mut now = before.clone();
    now.tcp.as_mut().unwrap().probes = 1;
    assert_eq!(holdup(&before, &now), Some(Holdup::PeerApplication));
    now.tcp.as_mut().unwrap().probes = 3;
    assert_eq!(holdup(&before, &now), Some(Holdup::Network));
}

#[test]
fn a_listener_is_full_when_more_wait_than_its_backlog() {
    let mut listener = tcp(State::Listen, 128, 128, TcpInfo::default());
    listener.tcp.as_mut().unwrap().send_window = Some(0);
    assert_eq!(holdup(&listener, &listener), None);
    assert_eq!(judge::once(&listener), None, "a backlog is no data");
    listener.receive_queue = 129;
    assert_eq!(holdup(&listener, &listener), Some(Holdup::AcceptQueue));
    assert!(judge::once(&listener).is_some_and(|finding| !finding.sure));
}

#[test]
fn a_filter_finds_either_end_and_a_wildcard_listener_of_ours() {
    let connection = tcp(State::Established, 0, 0, TcpInfo::default());
    let mut listener = tcp(State::Listen, 0, 128, TcpInfo::default());
    listener.local = SocketAddr::from(([0, 0, 0, 0], 445));
    listener.remote = SocketAddr::from(([0, 0, 0, 0], 0));
    let at = |addresses: &[[u8; 4]], own: &[[u8; 4]], port: u16| Filter {
        addresses: addresses.iter().map(|&a| IpAddr::from(a)).collect(),
        own: own.iter().map(|&a| IpAddr::from(a)).collect(),
        ports: vec![(port, port)],
        listening: false,
    };
    assert!(at(&[[10, 0, 0, 2]], &[], 445).holds(&connection));
    assert!(at(&[[10, 0, 0, 1]], &[], 50_000).holds(&connection));
    assert!(!at(&[[10, 0, 0, 3]], &[], 445).holds(&connection));
    assert!(!at(&[[10, 0, 0, 2]], &[], 446).holds(&connection));
    assert!(at(&[[10, 0, 0, 1]], &[[10, 0, 0, 1]], 445).holds(&listener));
    assert!(!at(&[[10, 0, 0, 2]], &[], 445).holds(&listener));
    let listening = Filter {
        listening: true,
        ..Filter::default()
    };
    assert!(listening.holds(&listener) && !listening.holds(&connection));
}
