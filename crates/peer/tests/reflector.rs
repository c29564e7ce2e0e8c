//! The reflector over real sockets: what it answers, how, and what it does not.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rping_engine::{Event, Left, Outgoing, Probe, SeqRef, Sequence, StampSource, TargetId};
use rping_net::Clock;
use rping_peer::{Handle, Reflector};
use rping_udp::{Options, Protocol, UdpProbe};
use rping_wire::stamp::{ErrorEstimate, NtpTimestamp, ReflectorPacket, SenderPacket};

#[derive(Debug)]
struct Running {
    handle: Handle,
    port: u16,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn on(address: &str) -> Running {
        let mut reflector = Reflector::bind(address.parse().expect("an address")).expect("bind");
        let (handle, port) = (reflector.handle(), reflector.local_addr().expect("bound").port());
        let thread = Some(std::thread::spawn(move || reflector.run().expect("run")));
        Running { handle, port, thread }
    }

    fn at(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().expect("an address"), self.port)
    }

    /// Whether it comes to have answered and dropped this many: it counts after the answer has left.
    fn counts(&self, answered: u64, dropped: u64) -> bool {
        let end = Clock.now().plus(Duration::from_secs(2));
        let are = || (self.handle.answered(), self.handle.dropped()) == (answered, dropped);
        while !are() && Clock.now() < end {
            rping_net::wait::sleep(Duration::from_millis(1));
        }
        are()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reflector ends when it is told to");
        }
    }
}

fn client(address: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("bind");
    socket.connect(to).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("timeout");
    socket
}

fn request(length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    let estimate = ErrorEstimate::new(true, 500);
    SenderPacket {
        seq: 77,
        timestamp: 0x0123_4567_89ab_cdef,
        error_estimate: estimate,
        ssid: 9,
    }
    .write(&mut packet)
    .expect("long enough");
    packet
}

#[test]
fn an_answer_is_as_long_as_the_request_and_holds_its_fields_and_true_times() {
    let running = Running::on("[::]:0");
    for (own, ip) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "127.1.2.3"),
        ("[::1]:0", "::1"),
    ] {
        // A connected socket hears nothing but what comes from the address that it asked.
        let socket = client(own, running.at(ip));
        socket.set_ttl(33).expect("ttl");
        for (number, length) in (0..).zip([44, 45, 100, 1472, 60_000]) {
            let before = Clock.wall_nanos(Clock.now());
            socket.send(&request(length)).expect("send");
            let mut answer = vec![0; 70_000];
            let got = socket
                .recv(&mut answer)
                .unwrap_or_else(|e| panic!("{ip} {length}: {e}"));
            let after = Clock.wall_nanos(Clock.now());
            assert_eq!(got, length);
            let packet = ReflectorPacket::parse(&answer[..got]).expect("an answer");
            assert_eq!((packet.seq, packet.sender_seq, packet.ssid), (number, 77, 9));
            assert_eq!(packet.sender_timestamp, 0x0123_4567_89ab_cdef);
            assert_eq!(packet.sender_error_estimate, ErrorEstimate::new(true, 500));
            let (t2, t3) = (
                packet.received_unix_nanos().expect("T2"),
                packet.sent_unix_nanos().expect("T3"),
            );
            assert!(before - 1 <= i128::from(t2) && t2 <= t3 + 1 && i128::from(t3) <= after + 1);
            assert!(packet.error_estimate.is_valid() && !packet.error_estimate.is_synchronised());
            if own.starts_with('1') {
                assert_eq!(packet.sender_ttl, Some(33));
            }
            assert!(
                NtpTimestamp(packet.timestamp).to_unix_nanos() == t3,
                "NTP format, which TWAMP Light needs"
            );
        }
    }
    assert!(running.counts(15, 0), "{running:?}");
}

#[test]
fn what_is_no_senders_packet_gets_no_answer_and_an_answer_is_never_answered() {
    let running = Running::on("127.0.0.1:0");
    let socket = client("127.0.0.1:0", running.at("127.0.0.1"));
    socket.send(&request(44)).expect("send");
    let mut answer = [0; 44];
    assert_eq!(socket.recv(&mut answer).expect("an answer"), 44);
    let mut no_estimate = request(44);
    no_estimate[12..14].fill(0);
    let bad: [&[u8]; 5] = [
        &[],
        &[0; 43],
        &answer,
        &no_estimate,
        b"hello, this is forty-four octets of plain text",
    ];
    for bytes in bad {
        socket.send(bytes).expect("send");
    }
    assert!(running.counts(1, 5), "{running:?}");
    assert!(socket.recv(&mut answer).is_err(), "silence");
}

#[test]
fn the_udp_probe_and_the_reflector_understand_each_other_in_both_families() {
    let running = Running::on("[::]:0");
    for ips in [&["127.0.0.1"][..], &["::1"], &["127.0.0.1", "::1", "127.0.0.9"]] {
        let targets: Vec<SocketAddr> = ips.iter().map(|ip| running.at(ip)).collect();
        for protocol in [Protocol::Auto, Protocol::Stamp] {
            let mut probe = UdpProbe::open(&targets, protocol, &Options::default()).expect("open");
            for seq in (0..50).map(Sequence) {
                let due: Vec<Outgoing> = (0..targets.len() as u32)
                    .map(|t| Outgoing {
                        target: TargetId(t),
                        seq,
                        due: Clock.now(),
                    })
                    .collect();
                let mut left = Vec::new();
                probe.send(&due, &mut left).expect("send");
                assert!(left.iter().all(|d| matches!(d.left, Left::At(_))), "{left:?}");
                let end = Clock.now().plus(Duration::from_secs(2));
                let mut arrived = Vec::new();
                let replies = |arrived: &[rping_engine::Arrival]| {
                    arrived
                        .iter()
                        .filter(|a| matches!(a.event, Event::Reply(_)))
                        .count()
                };
                while replies(&arrived) < targets.len() && Clock.now() < end {
                    probe.recv(end, &mut arrived).expect("receive");
                }
                assert_eq!(
                    arrived.len(),
                    2 * targets.len(),
                    "a stamp and a reply each: {arrived:?}"
                );
                for arrival in arrived {
                    assert_eq!(arrival.at.source, StampSource::Kernel);
                    match arrival.event {
                        Event::Left(at) => assert_eq!(at, SeqRef::Low32(seq.low32())),
                        Event::Reply(answer) => {
                            assert_eq!(
                                (answer.seq, answer.truncated),
                                (SeqRef::Low32(seq.low32()), false)
                            );
                            assert_eq!(answer.ttl, Some(64));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_what_was_tried() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let error = Reflector::bind(taken.local_addr().expect("address")).expect_err("taken");
    assert!(
        error.to_string().starts_with("bind to the source address"),
        "{error}"
    );
}
