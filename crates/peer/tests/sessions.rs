//! The far end's answers to datagrams: numbered by session, authenticated, to any sender, echoed; and what it never answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rping_net::Clock;
use rping_peer::{Key, Limits, Listen, Server, ServerHandle};
use rping_wire::stamp::{
    reflect, tlv, ErrorEstimate, NtpTimestamp, Reflection, ReflectorPacket, SenderPacket,
};

struct Serving {
    tests: SocketAddr,
    more: Option<SocketAddr>,
    handle: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn open(listen: Listen, limits: Limits) -> Server {
    let listen = Listen {
        tests: any(),
        ..listen
    };
    Server::open(&listen, limits, Arc::new(|line| eprintln!("server: {line}"))).unwrap()
}

impl Serving {
    fn start(listen: Listen, limits: Limits) -> Serving {
        Serving::run(open(listen, limits))
    }

    fn run(server: Server) -> Serving {
        let mut bound = server.datagram_addrs();
        let (tests, more) = (bound.next().unwrap(), bound.next());
        drop(bound);
        let handle = server.handle();
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Serving {
            tests,
            more,
            handle,
            thread,
        }
    }

    /// Whether it comes to say so within twenty seconds.
    fn comes_to(&self, holds: impl Fn(&ServerHandle) -> bool) -> bool {
        let end = Clock.now().plus(Duration::from_secs(20));
        while !holds(&self.handle) && Clock.now() < end {
            rping_net::wait::sleep(Duration::from_millis(1));
        }
        holds(&self.handle)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn any() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().unwrap()]
}

fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Whether nothing comes back; that it was seen and dropped the server's own count says.
fn is_ignored(socket: &UdpSocket, bytes: &[u8]) -> bool {
    let patience = socket.read_timeout().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let answer = ask(socket, bytes);
    socket.set_read_timeout(patience).unwrap();
    answer.is_none()
}

fn ask(socket: &UdpSocket, bytes: &[u8]) -> Option<Vec<u8>> {
    socket.send(bytes).unwrap();
    let mut answer = vec![0; 70_000];
    let got = socket.recv(&mut answer).ok()?;
    answer.truncate(got);
    Some(answer)
}

fn packet(seq: u32, ssid: u16, t1: u64) -> SenderPacket {
    SenderPacket {
        seq,
        timestamp: t1,
        error_estimate: ErrorEstimate::new(false, 1000),
        ssid,
    }
}

fn plain(seq: u32, ssid: u16, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    packet(seq, ssid, 1).write(&mut bytes).unwrap();
    bytes
}

fn sealed(key: &Key, seq: u32, ssid: u16, t1: u64) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    packet(seq, ssid, t1 << 32).write_sealed(key, &mut bytes).unwrap();
    bytes
}

fn number(answer: Option<Vec<u8>>) -> u32 {
    ReflectorPacket::parse(&answer.expect("an answer")).unwrap().seq
}

#[test]
fn each_session_has_its_own_numbers_and_more_sessions_than_there_is_room_for_get_their_own_back() {
    let limits = Limits {
        sessions_per_source: 3,
        ..Limits::default()
    };
    let serving = Serving::start(Listen::default(), limits);
    let (one, other) = (client(serving.tests), client(serving.tests));
    for n in 0..4 {
        assert_eq!(number(ask(&one, &plain(10 * n, 7, 44))), n);
        assert_eq!(number(ask(&other, &plain(10 * n + 5, 7, 44))), n);
    }
    assert_eq!(
        number(ask(&one, &plain(90, 8, 44))),
        0,
        "another session of the same socket"
    );
    assert!(serving.comes_to(|handle| handle.sessions() == 3));
    assert_eq!(number(ask(&one, &plain(91, 9, 44))), 91, "without memory");
}

#[test]
fn a_session_that_is_idle_is_over_and_leaves_nothing() {
    let limits = Limits {
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let serving = Serving::start(Listen::default(), limits);
    for _ in 0..200 {
        // A client that dies sends nothing to say so.
        ask(&client(serving.tests), &plain(0, 7, 44));
    }
    assert!(serving.handle.sessions() > 100);
    let end = Clock.now().plus(Duration::from_secs(60));
    while serving.handle.sessions() > 0 && Clock.now() < end {
        rping_net::wait::sleep(Duration::from_millis(20));
    }
    assert_eq!(serving.handle.sessions(), 0);
}

#[test]
fn the_class_of_service_is_told_as_received_and_used_as_asked() {
    let serving = Serving::start(Listen::default(), Limits::default());
    let socket = client(serving.tests);
    socket2::SockRef::from(&socket).set_tos_v4(26 << 2).unwrap();
    let mut bytes = plain(0, 7, 60);
    tlv::write_class_of_service(&mut bytes[44..], 46);
    let answer = ask(&socket, &bytes).unwrap();
    assert_eq!(answer.len(), 60);
    let seen = tlv::class_seen(&answer[44..]).expect("an answer to the question");
    assert_eq!(seen.dscp, 26);
}

#[test]
fn with_a_key_nothing_else_is_answered_and_nothing_twice() {
    let key = Key::new(b"sixteen octets!!").unwrap();
    let listen = Listen {
        key: Some(key.clone()),
        ..Listen::default()
    };
    let serving = Serving::start(listen, Limits::default());
    let (one, other) = (client(serving.tests), client(serving.tests));
    let first = sealed(&key, 0, 7, 1000);
    let answer = ask(&one, &first).expect("an answer");
    assert_eq!(answer.len(), 112);
    let read = ReflectorPacket::open(&key, &answer).expect("sealed with the same key");
    assert_eq!((read.seq, read.sender_seq, read.ssid), (0, 0, 7));
    assert!(read.turnaround_nanos().is_some());
    assert!(ask(&one, &sealed(&key, 1, 7, 1001)).is_some());
    let wrong = Key::new(b"sixteen others!!").unwrap();
    let mut damaged = sealed(&key, 2, 7, 1002);
    damaged[3] ^= 4;
    for (what, refused) in [
        ("a replay", first.clone()),
        ("an answer", answer),
        ("another key's", sealed(&wrong, 3, 7, 1003)),
        ("a damaged one", damaged),
        ("an unauthenticated one", plain(4, 7, 44)),
        ("an unauthenticated one as long", plain(4, 7, 112)),
    ] {
        assert!(is_ignored(&one, &refused), "{what}");
    }
    assert!(is_ignored(&other, &first), "a replay from elsewhere");
    assert!(
        is_ignored(&other, &sealed(&key, 5, 7, 900)),
        "older than what the session has seen"
    );
    assert!(ask(&other, &sealed(&key, 0, 8, 900)).is_some(), "another session");
    assert!(serving.comes_to(|handle| (handle.answered(), handle.dropped()) == (3, 8)));
}

#[test]
fn with_a_key_a_connection_that_does_not_prove_it_is_turned_away() {
    let key = Key::new(b"sixteen octets!!").unwrap();
    let listen = Listen {
        key: Some(key.clone()),
        ..Listen::default()
    };
    let serving = Serving::start(listen, Limits::default());
    let connect = || {
        let stream = TcpStream::connect(serving.tests).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    };
    let cookie = b"abcdefghijklmnopqrstuvwxyz234567abcd\0";
    let mut bare = connect();
    bare.write_all(cookie).unwrap();
    assert_eq!(bare.read(&mut [0; 8]).unwrap_or(0), 0, "no word to the cookie");
    let mut wrong = connect();
    let denied = rping_peer::auth::prove(&mut wrong, &Key::new(b"sixteen others!!").unwrap());
    assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    let mut right = connect();
    rping_peer::auth::prove(&mut right, &key).unwrap();
    right.write_all(cookie).unwrap();
    let mut state = [0];
    right.read_exact(&mut state).unwrap();
    assert_eq!(state, [9], "the parameters are wanted");
    drop((wrong, right));
    assert!(serving.comes_to(|handle| handle.refused() == 3));
}

#[test]
fn the_listener_for_any_sender_answers_padding_that_is_not_zero_and_no_shorter_packet_by_more() {
    let listen = Listen {
        stamp: any(),
        ..Listen::default()
    };
    let serving = Serving::start(listen, Limits::default());
    let socket = client(serving.more.unwrap());
    for (n, length) in (0..).zip([41, 44, 60, 300]) {
        // TWAMP Light: fourteen octets and padding, anew in every packet.
        let mut bytes = vec![0x80 + n as u8; length];
        bytes[..14].copy_from_slice(&plain(n, 0, 44)[..14]);
        let answer = ask(&socket, &bytes).expect("an answer");
        assert_eq!(answer.len(), length);
        let read = ReflectorPacket::parse(&answer).unwrap();
        assert_eq!((read.seq, read.sender_seq), (n, n));
    }
    assert!(is_ignored(&socket, &plain(0, 0, 44)[..40]));
    let own = client(serving.tests);
    assert!(is_ignored(&own, &[0xff; 44]), "not on the port of every test");
}

#[test]
fn echo_gives_back_what_came_over_udp_and_tcp_and_nothing_to_a_services_port() {
    let listen = Listen {
        echo: any(),
        ..Listen::default()
    };
    let serving = Serving::start(listen, Limits::default());
    let at = serving.more.unwrap();
    let socket = client(at);
    for length in [0, 1, 100, 60_000] {
        let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
        assert_eq!(ask(&socket, &bytes), Some(bytes));
    }
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(&[7; 10_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, [7; 10_000]);
    let answered = serving.handle.answered();
    if let Ok(low) = UdpSocket::bind("127.0.0.1:1019") {
        low.connect(at).unwrap();
        assert!(is_ignored(&low, b"who is there?"));
    }
    assert_eq!(serving.handle.answered(), answered);
}

#[test]
fn an_echo_beside_a_key_is_refused() {
    let listen = Listen {
        echo: any(),
        key: Key::new(b"sixteen octets!!"),
        ..Listen::default()
    };
    assert!(Server::open(&listen, Limits::default(), Arc::new(|_| {})).is_err());
}

#[test]
fn two_servers_that_are_set_upon_each_other_fall_silent_at_once() {
    // What is sent before the one server runs, it answers when the other has the sender's port: as if spoofed.
    let one = open(Listen::default(), Limits::default());
    let to = one.datagram_addrs().next().unwrap();
    let (taken, sender) = loop {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(taken) = std::net::TcpListener::bind(sender.local_addr().unwrap()) {
            break (taken, sender);
        }
    };
    for seq in 0..10 {
        sender.send_to(&plain(seq, 7, 44), to).unwrap();
    }
    let from = sender.local_addr().unwrap();
    drop((taken, sender));
    let listen = Listen {
        tests: vec![from],
        ..Listen::default()
    };
    let other = Serving::run(Server::open(&listen, Limits::default(), Arc::new(|_| {})).unwrap());
    let one = Serving::run(one);
    assert!(one.comes_to(|handle| handle.answered() == 10));
    assert!(other.comes_to(|handle| handle.dropped() == 10));
    rping_net::wait::sleep(Duration::from_secs(1));
    assert_eq!((one.handle.answered(), one.handle.dropped()), (10, 0));
    assert_eq!((other.handle.answered(), other.handle.dropped()), (0, 10));
}

#[test]
fn no_two_listeners_of_two_servers_keep_each_other_busy() {
    let listens = |which: usize, at: SocketAddr| {
        let mut listen = Listen::default();
        *[&mut listen.tests, &mut listen.stamp, &mut listen.echo][which] = vec![at];
        listen
    };
    let log = || -> rping_peer::Log { Arc::new(|_| {}) };
    for (here, there) in (0..3).flat_map(|here| (0..3).map(move |there| (here, there))) {
        let one = Server::open(&listens(here, any()[0]), Limits::default(), log()).unwrap();
        let to = one.datagram_addrs().next().unwrap();
        let (taken, sender) = loop {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(taken) = std::net::TcpListener::bind(sender.local_addr().unwrap()) {
                break (taken, sender);
            }
        };
        let mut padded = plain(1, 7, 60);
        padded[16..].fill(0x5a);
        let mut answer = vec![0; 44];
        let with = Reflection {
            seq: 3,
            received: NtpTimestamp(0xe000_0000_0000_0000),
            sent: NtpTimestamp(0xe000_0000_1000_0000),
            error_estimate: ErrorEstimate::new(false, 1000),
            ttl: 64,
        };
        reflect(&plain(2, 7, 44), &with, &mut answer).unwrap();
        let seeds = [plain(0, 7, 44), padded, answer, b"who is there?".to_vec()];
        for seed in &seeds {
            sender.send_to(seed, to).unwrap();
        }
        let from = sender.local_addr().unwrap();
        drop((taken, sender));
        let other = Serving::run(Server::open(&listens(there, from), Limits::default(), log()).unwrap());
        let one = Serving::run(one);
        assert!(one.comes_to(|handle| handle.answered() + handle.dropped() >= seeds.len() as u64));
        let count = || one.handle.answered() + other.handle.answered();
        let mut answered = count();
        for _ in 0..100 {
            rping_net::wait::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut answered, count());
            if before == answered || answered > 100_000 {
                break;
            }
        }
        assert!(answered <= 40_000, "{here} and {there}: {answered}");
    }
}

#[test]
fn one_address_takes_no_more_than_its_share_of_connections_and_its_newest_is_heard() {
    let limits = Limits {
        connections: 48,
        connections_per_source: 16,
        ..Limits::default()
    };
    let serving = Serving::start(Listen::default(), limits);
    let _silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(serving.tests).unwrap())
        .collect();
    assert!(
        serving.comes_to(|handle| handle.refused() >= 84),
        "the oldest have gone"
    );
    for source in ["127.0.0.1:0", "127.0.0.2:0"] {
        let from = rping_net::stream::StreamOptions {
            source: Some(source.parse().unwrap()),
            ..Default::default()
        };
        let mut honest = from.connect(serving.tests, Duration::from_secs(20)).unwrap();
        honest.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        honest
            .write_all(b"abcdefghijklmnopqrstuvwxyz234567abcd\0")
            .unwrap();
        let mut state = [0];
        honest.read_exact(&mut state).unwrap();
        assert_eq!(state, [9]);
    }
}

#[test]
fn one_address_takes_no_more_than_its_share_of_echoes() {
    let limits = Limits {
        connections_per_source: 4,
        ..Limits::default()
    };
    let listen = Listen {
        echo: any(),
        ..Listen::default()
    };
    let serving = Serving::start(listen, limits);
    let mut all: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(serving.more.unwrap()).unwrap())
        .collect();
    assert!(serving.comes_to(|handle| handle.refused() == 4));
    let mut echoed = 0;
    for stream in &mut all {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _ = stream.write_all(b"x");
        echoed += stream.read(&mut [0; 8]).unwrap_or(0);
    }
    assert_eq!(echoed, 4);
}

#[test]
fn hundreds_of_idle_and_slow_connections_leave_an_honest_client_its_answers() {
    let serving = Serving::start(Listen::default(), Limits::default());
    let mut crowd: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(serving.tests).unwrap())
        .collect();
    for slow in crowd.iter_mut().take(100) {
        slow.write_all(b"abc").unwrap();
    }
    let socket = client(serving.tests);
    for n in 0..100 {
        assert_eq!(number(ask(&socket, &plain(n, 7, 44))), n);
    }
    let mut honest = TcpStream::connect(serving.tests).unwrap();
    honest.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    honest
        .write_all(b"abcdefghijklmnopqrstuvwxyz234567abcd\0")
        .unwrap();
    let mut state = [0];
    honest.read_exact(&mut state).unwrap();
    assert_eq!(state, [9]);
}
