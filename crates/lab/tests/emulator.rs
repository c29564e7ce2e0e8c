//! Counts seen through the emulated link equal the emulator's log, by the word of `ping` and of plain sockets.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rping_lab::{
    require_program, require_root, Burst, Direction, Emulator, Impairment, Kind, Truth, UdpService,
};

const MS: Duration = Duration::from_millis(1);

/// What `ping` says: sent, received (distinct), duplicates.
fn ping(emulator: &Emulator, target: &str, extra: &[&str]) -> (u64, u64, u64) {
    let mut command = emulator.client.command("ping");
    command
        .args(["-n", "-c", "200", "-i", "0.002", "-W", "1"])
        .args(extra)
        .arg(target);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let summary = said
        .lines()
        .find(|line| line.contains("packets transmitted"))
        .expect("ping's summary");
    let before = |words: &str| {
        let at = summary.find(words)?;
        summary[..at].rsplit([' ', '+']).next()?.parse::<u64>().ok()
    };
    (
        before(" packets transmitted").expect("a number"),
        before(" received").expect("a number"),
        before(" duplicates").unwrap_or(0),
    )
}

#[test]
fn a_perfect_link_loses_nothing_in_either_family() {
    let name = "a_perfect_link_loses_nothing_in_either_family";
    if !require_root(name) || !require_program(name, "ping") {
        return;
    }
    let emulator = Emulator::seeded(1).start();
    assert_eq!(ping(&emulator, "10.78.0.2", &[]), (200, 200, 0));
    assert_eq!(ping(&emulator, "fd78::2", &[]), (200, 200, 0));
    let truth = emulator.truth();
    assert_eq!(truth.counts(Direction::Forward).delivered, 400);
    assert_eq!(truth.expected(MS * 1000).received, 400);
    assert_eq!(truth.undeliverable, 0);
}

#[test]
fn ping_loses_and_doubles_what_the_log_says() {
    let name = "ping_loses_and_doubles_what_the_log_says";
    if !require_root(name) || !require_program(name, "ping") {
        return;
    }
    let emulator = Emulator::seeded(42)
        .forward(Impairment {
            loss: 0.1,
            duplicate: 0.05,
            delay: MS,
            ..Impairment::default()
        })
        .reverse(Impairment {
            burst: Some(Burst {
                enter: 0.02,
                leave: 0.3,
                loss: 1.0,
            }),
            duplicate: 0.05,
            ..Impairment::default()
        })
        .start();
    let (sent, received, duplicates) = ping(&emulator, "10.78.0.2", &[]);
    let expected = emulator.truth().expected(MS * 1000);
    assert!(expected.lost > 10 && expected.duplicates > 5, "{expected:?}");
    assert_eq!(
        (sent, received, duplicates),
        (expected.sent, expected.received, expected.duplicates)
    );
}

#[test]
fn a_datagram_socket_never_sees_a_wrong_checksum_and_always_sees_a_wrong_payload() {
    if !require_root("a_datagram_socket_never_sees_a_wrong_checksum_and_always_sees_a_wrong_payload") {
        return;
    }
    for (client, server) in [
        (
            SocketAddr::from((Emulator::CLIENT_V4, 0)),
            SocketAddr::from((Emulator::SERVER_V4, 7)),
        ),
        (
            SocketAddr::from((Emulator::CLIENT_V6, 0)),
            SocketAddr::from((Emulator::SERVER_V6, 7)),
        ),
    ] {
        let damaging = Impairment {
            corrupt_checksum: 0.1,
            corrupt_payload: 0.1,
            // The number stays readable.
            corrupt_after: 4,
            ..Impairment::default()
        };
        let emulator = Emulator::seeded(5)
            .forward(damaging.clone())
            .reverse(damaging)
            .start();
        let echo = UdpService::echo(&emulator.server, server);
        let (intact, damaged) = exchange(&emulator, client, server, 300);
        let truth = emulator.truth();
        let expected = truth.expected(MS * 500);
        assert_eq!((expected.received, expected.bad_payload), (intact, damaged));
        assert!(damaged > 20 && expected.bad_checksum > 10, "{expected:?}");
        let forward = truth.counts(Direction::Forward);
        assert_eq!(echo.received(), forward.delivered - forward.bad_checksum);
    }
}

/// Sends numbered datagrams one after another; counts intact and damaged echoes.
fn exchange(emulator: &Emulator, client: SocketAddr, server: SocketAddr, count: u32) -> (u64, u64) {
    emulator.client.run(|| {
        let socket = UdpSocket::bind(client).unwrap();
        socket.set_read_timeout(Some(MS * 20)).unwrap();
        let (mut intact, mut damaged) = (0, 0);
        for number in 0..count {
            let mut datagram = vec![0xa5; 60];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            socket.send_to(&datagram, server).unwrap();
            let mut buffer = [0; 128];
            if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                if buffer[..length] == datagram {
                    intact += 1;
                } else {
                    damaged += 1;
                }
            }
        }
        (intact, damaged)
    })
}

#[test]
fn the_log_and_its_order_are_the_same_for_the_same_seed() {
    if !require_root("the_log_and_its_order_are_the_same_for_the_same_seed") {
        return;
    }
    let run = |seed| {
        let link = Impairment {
            loss: 0.2,
            duplicate: 0.1,
            corrupt_payload: 0.1,
            ..Impairment::default()
        };
        let emulator = Emulator::seeded(seed).forward(link).start();
        let server = SocketAddr::from((Emulator::SERVER_V4, 7));
        let _echo = UdpService::echo(&emulator.server, server);
        exchange(&emulator, SocketAddr::from((Emulator::CLIENT_V4, 0)), server, 100);
        emulator
            .truth()
            .of(Direction::Forward)
            .map(|entry| entry.fate)
            .collect::<Vec<_>>()
    };
    let first = run(11);
    assert_eq!(first, run(11));
    assert_ne!(first, run(12));
}

#[test]
fn packets_are_handed_over_when_they_are_due_and_never_before() {
    if !require_root("packets_are_handed_over_when_they_are_due_and_never_before") {
        return;
    }
    let emulator = Emulator::seeded(3)
        .forward(Impairment::delay(MS * 5))
        .reverse(Impairment::delay(MS * 3))
        .start();
    let server = SocketAddr::from((Emulator::SERVER_V4, 7));
    let _echo = UdpService::echo(&emulator.server, server);
    exchange(&emulator, SocketAddr::from((Emulator::CLIENT_V4, 0)), server, 50);
    let truth = emulator.truth();
    let mut late: Vec<Duration> = truth
        .entries
        .iter()
        .map(|entry| {
            let wanted = if entry.direction == Direction::Forward {
                MS * 5
            } else {
                MS * 3
            };
            let took = entry.released[0].at - entry.at;
            took.checked_sub(wanted).expect("not before its time")
        })
        .collect();
    late.sort_unstable();
    assert!(
        late[late.len() / 2] < MS,
        "half of the packets are at most so late: {:?}",
        late[late.len() / 2]
    );
}

#[test]
fn packets_held_back_are_overtaken_as_the_log_says() {
    if !require_root("packets_held_back_are_overtaken_as_the_log_says") {
        return;
    }
    let link = Impairment {
        delay: MS,
        reorder: 0.1,
        reorder_by: MS * 5,
        ..Impairment::default()
    };
    let emulator = Emulator::seeded(8).reverse(link).start();
    let server = SocketAddr::from((Emulator::SERVER_V6, 7));
    let _echo = UdpService::echo(&emulator.server, server);
    // In bursts, so that there is somebody to overtake.
    let order: Vec<u32> = emulator.client.run(|| {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.set_read_timeout(Some(MS * 100)).unwrap();
        let mut order = Vec::new();
        for burst in 0..10u32 {
            for number in 0..20u32 {
                socket
                    .send_to(&(burst * 20 + number).to_be_bytes(), server)
                    .unwrap();
            }
            for _ in 0..20 {
                let mut buffer = [0; 4];
                socket.recv_from(&mut buffer).unwrap();
                order.push(u32::from_be_bytes(buffer));
            }
        }
        order
    });
    let mut highest = None;
    let seen = order
        .iter()
        .filter(|&&number| {
            let overtaken = highest.is_some_and(|highest| number < highest);
            highest = highest.max(Some(number));
            overtaken
        })
        .count();
    let expected = emulator.truth().expected(MS * 1000);
    assert_eq!(expected.received, 200);
    assert_eq!(expected.reordered, seen as u64);
    assert!(seen > 5, "{seen}");
}

#[test]
fn a_listed_packet_alone_is_dropped_and_tcp_sends_its_syn_again() {
    if !require_root("a_listed_packet_alone_is_dropped_and_tcp_sends_its_syn_again") {
        return;
    }
    let emulator = Emulator::seeded(1)
        .only(|flow| matches!(flow.kind, Kind::Tcp { flags, .. } if flags & 2 != 0))
        .forward(Impairment {
            drop_at: vec![0],
            ..Impairment::default()
        })
        .start();
    let address = SocketAddr::from((Emulator::SERVER_V4, 445));
    let _sink = rping_lab::Acceptor::start(&emulator.server, address);
    emulator
        .client
        .run(|| std::net::TcpStream::connect_timeout(&address, MS * 3000))
        .unwrap();
    let counts = emulator.truth().counts(Direction::Forward);
    assert_eq!((counts.seen, counts.dropped), (2, 1));
}

#[test]
fn a_misbehaviour_can_begin_and_end_in_the_middle() {
    if !require_root("a_misbehaviour_can_begin_and_end_in_the_middle") {
        return;
    }
    let emulator = Emulator::seeded(1).start();
    let server = SocketAddr::from((Emulator::SERVER_V4, 7));
    let client = SocketAddr::from((Emulator::CLIENT_V4, 0));
    let _echo = UdpService::echo(&emulator.server, server);
    assert_eq!(exchange(&emulator, client, server, 10), (10, 0));
    emulator.impair(
        Direction::Forward,
        Impairment {
            loss: 1.0,
            ..Impairment::default()
        },
    );
    assert_eq!(exchange(&emulator, client, server, 5), (0, 0));
    emulator.impair(Direction::Forward, Impairment::default());
    assert_eq!(exchange(&emulator, client, server, 10), (10, 0));
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the emulator's own speed is what is asked"
)]
fn a_flood_passes_without_a_packet_unaccounted_for() {
    if !require_root("a_flood_passes_without_a_packet_unaccounted_for") {
        return;
    }
    let emulator = Emulator::seeded(1)
        .forward(Impairment {
            loss: 0.01,
            ..Impairment::default()
        })
        .start();
    let server = SocketAddr::from((Emulator::SERVER_V4, 7));
    let begin = Instant::now();
    emulator.client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..20_000u32 {
            socket.send_to(&number.to_be_bytes(), server).unwrap();
        }
    });
    let truth: Truth = emulator.truth();
    println!("20 000 datagrams in {:?}", begin.elapsed());
    let counts = truth.counts(Direction::Forward);
    assert_eq!(counts.seen, 20_000);
    assert_eq!(counts.dropped + counts.delivered, 20_000);
    let heads: HashMap<&[u8], u64> = truth
        .of(Direction::Forward)
        .map(|entry| (&entry.head[..], entry.index))
        .collect();
    assert_eq!(heads.len(), 20_000, "every payload is in the log");
}
