//! rping's counts are equal to the log of the emulated link: not close, equal.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_lab::{
    pause, require_root, Acceptor, Background, Burst, Direction, Emulator, Expected, Fate, Impairment, Kind,
    Lab, Pair, UdpService,
};
use serde_json::Value;

use crate::support::{command, count, rping};

const MS: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_millis(200);
/// Packets of a direction until the link behaves: what it does after rping has gone nobody counts.
const UNTIL: u64 = 320;

/// Everything at once, each often enough to be seen in 400 probes.
fn everything() -> (Impairment, Impairment) {
    let forward = Impairment {
        delay: MS * 3,
        jitter: MS * 2,
        until: Some(UNTIL),
        loss: 0.05,
        duplicate: 0.04,
        duplicate_gap: MS,
        corrupt_checksum: 0.02,
        corrupt_payload: 0.02,
        ..Impairment::default()
    };
    let reverse = Impairment {
        delay: MS * 2,
        until: Some(UNTIL),
        burst: Some(Burst {
            enter: 0.01,
            leave: 0.3,
            loss: 1.0,
        }),
        duplicate: 0.04,
        // Overtaken by six probes or so.
        reorder: 0.05,
        reorder_by: MS * 30,
        corrupt_checksum: 0.02,
        corrupt_payload: 0.02,
        ..Impairment::default()
    };
    (forward, reverse)
}

/// The link that answers too late now and then.
fn tardy() -> (Impairment, Impairment) {
    let reverse = Impairment {
        delay: MS * 2,
        until: Some(UNTIL),
        reorder: 0.04,
        reorder_by: TIMEOUT + MS * 60,
        duplicate: 0.05,
        ..Impairment::default()
    };
    (Impairment::default(), reverse)
}

/// Probes through `link` and holds the document against the log. `sees_bad_checksums`: over a raw ICMPv4 socket the
/// kernel passes answers on before it looks at their checksum, over all others never.
fn compare(test: &str, args: &[&str], link: (Impairment, Impairment), seed: u64, sees_bad_checksums: bool) {
    if !require_root(test) {
        return;
    }
    let emulator = Emulator::seeded(seed).forward(link.0).reverse(link.1).start();
    let ping_groups = if sees_bad_checksums { "1 0" } else { "0 2147483647" };
    emulator.client.sysctl("net.ipv4.ping_group_range", ping_groups);
    let echo = |ip: IpAddr| UdpService::echo(&emulator.server, SocketAddr::new(ip, 7));
    let _services = [echo(Emulator::SERVER_V4.into()), echo(Emulator::SERVER_V6.into())];
    let common = ["-n", "400", "-i", "5ms", "-W", "200ms", "-l", "64", "-o", "json"];
    let run = rping(&emulator.client, &[args, &common].concat());
    let truth = emulator.truth();
    let document = run.json();
    let target = &document["targets"][0];
    assert_eq!(truth.undeliverable, 0);
    let expected = truth.expected(TIMEOUT);
    let faults = [
        expected.lost,
        expected.late + expected.reordered,
        expected.duplicates,
    ];
    assert!(
        faults.iter().all(|&fault| fault > 0),
        "a link that does nothing shows nothing: {expected:?}"
    );
    let corrupt = expected.bad_payload
        + if sees_bad_checksums {
            expected.bad_checksum
        } else {
            0
        };
    let wanted = [
        ("sent", expected.sent),
        ("received", expected.received),
        ("rejected", 0),
        ("lost", expected.lost),
        ("not_sent", 0),
        ("late", expected.late),
        ("duplicates", expected.duplicates),
        ("reordered", expected.reordered),
        ("corrupt", corrupt),
        ("truncated", 0),
        ("unexpected", 0),
    ];
    let seen = wanted.map(|(key, _)| (key, count(target, key)));
    assert_eq!(
        seen, wanted,
        "rping on the left, the log on the right\n{document:#}"
    );
    assert_eq!(expected.sent, 400);
    round_trips(target, &expected);
}

/// The emulator stands inside both hosts, so what it saw is a lower bound. By how much rping exceeds it on average is up to
/// what else runs on this machine; the shortest round trip, which nothing held up, exceeds it by little.
fn round_trips(target: &Value, expected: &Expected) {
    let figures = &target["rtt_ns"];
    let by_log = |of: Option<Duration>| of.expect("round trips").as_nanos() as f64;
    let count_by_log = u32::try_from(expected.round_trips.len()).expect("few");
    let mean = by_log(
        expected
            .round_trips
            .iter()
            .sum::<Duration>()
            .checked_div(count_by_log),
    );
    let shortest = by_log(expected.round_trips.iter().min().copied());
    assert_eq!(count(figures, "count"), expected.received);
    let seen = (count(figures, "mean") as f64, count(figures, "min") as f64);
    assert!(
        seen.0 > mean - 1e6 && (seen.1 - shortest).abs() < 1e6,
        "mean and shortest round trip {seen:?} ns, by the log {mean} and {shortest} ns"
    );
}

#[test]
fn icmp_over_a_datagram_socket_counts_what_the_link_did() {
    let name = "icmp_over_a_datagram_socket_counts_what_the_link_did";
    compare(name, &["icmp", "10.78.0.2"], everything(), 3, false);
}

#[test]
fn icmp_over_a_raw_socket_counts_what_the_link_did_wrong_checksums_included() {
    let name = "icmp_over_a_raw_socket_counts_what_the_link_did_wrong_checksums_included";
    compare(name, &["icmp", "10.78.0.2"], everything(), 3, true);
}

#[test]
fn icmpv6_counts_what_the_link_did() {
    compare(
        "icmpv6_counts_what_the_link_did",
        &["icmp", "fd78::2"],
        everything(),
        3,
        false,
    );
}

#[test]
fn udp_echo_counts_what_the_link_did() {
    compare(
        "udp_echo_counts_what_the_link_did",
        &["udp", "10.78.0.2:7"],
        everything(),
        3,
        false,
    );
}

#[test]
fn udp_echo_over_ipv6_counts_what_the_link_did() {
    compare(
        "udp_echo_over_ipv6_counts_what_the_link_did",
        &["udp", "[fd78::2]:7"],
        everything(),
        3,
        false,
    );
}

#[test]
fn icmp_answers_after_the_timeout_are_late_and_lost() {
    let name = "icmp_answers_after_the_timeout_are_late_and_lost";
    compare(name, &["icmp", "10.78.0.2"], tardy(), 3, false);
}

#[test]
fn udp_answers_after_the_timeout_are_late_and_lost() {
    let name = "udp_answers_after_the_timeout_are_late_and_lost";
    compare(name, &["udp", "[fd78::2]:7"], tardy(), 3, false);
}

#[test]
fn stamp_against_our_own_server_counts_what_the_link_lost() {
    if !require_root("stamp_against_our_own_server_counts_what_the_link_lost") {
        return;
    }
    let lossy = Impairment {
        loss: 0.1,
        delay: MS,
        ..Impairment::default()
    };
    let emulator = Emulator::seeded(3).forward(lossy.clone()).reverse(lossy).start();
    let mut server = command(&emulator.server);
    server.arg("server");
    let mut server = Background::spawn(server);
    server.wait_for("5201", Duration::from_secs(5));
    for host in ["10.78.0.2", "fd78::2"] {
        let before = emulator.truth().entries.len();
        let run = rping(
            &emulator.client,
            &["udp", host, "-n", "300", "-i", "3ms", "-W", "200ms", "-o", "json"],
        );
        let after = emulator.truth();
        // The probe's number, which the answer holds too; closing packets have numbers far beyond the last probe's.
        let number = |head: &[u8], at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let grown = |direction| {
            let at = if direction == Direction::Forward { 0 } else { 24 };
            let new = after.entries[before..]
                .iter()
                .filter(|entry| entry.direction == direction);
            let probes: Vec<_> = new.filter(|entry| number(&entry.head, at) < 300).collect();
            let delivered = probes
                .iter()
                .filter(|entry| !matches!(entry.fate, Fate::Dropped(_)));
            (probes.len() as u64, delivered.count() as u64)
        };
        let (sent, arrived) = grown(Direction::Forward);
        let (answered, received) = grown(Direction::Reverse);
        assert_eq!(arrived, answered, "the reflector answers every packet once");
        let target = &run.json()["targets"][0];
        let seen = ["sent", "received", "lost", "unexpected"].map(|key| count(target, key));
        assert_eq!(seen, [sent, received, sent - received, 0], "{target:#}");
        assert_eq!(sent, 300);
    }
}

#[test]
fn every_lost_syn_is_counted_and_none_is_a_latency() {
    if !require_root("every_lost_syn_is_counted_and_none_is_a_latency") {
        return;
    }
    let emulator = Emulator::seeded(3)
        .only(|flow| matches!(flow.kind, Kind::Tcp { flags, .. } if flags & 0x12 == 2))
        // SYNs sent again come a second later, after the twenty: these are three different connections' first.
        .forward(Impairment {
            delay: MS,
            drop_at: vec![3, 7, 11],
            ..Impairment::default()
        })
        .start();
    for (number, host) in ["10.78.0.2:445", "[fd78::2]:445"].into_iter().enumerate() {
        let address: SocketAddr = host.parse().unwrap();
        let _sink = Acceptor::start(&emulator.server, address);
        emulator.impair(
            Direction::Forward,
            // The second family starts after the first one's 20 SYNs and 3 repetitions.
            Impairment {
                delay: MS,
                drop_at: [3, 7, 11].map(|at| at + 23 * number as u64).into(),
                ..Impairment::default()
            },
        );
        let run = rping(
            &emulator.client,
            &["tcp", host, "-n", "20", "-i", "20ms", "-o", "json"],
        );
        let target = &run.json()["targets"][0];
        let seen = ["sent", "received", "lost", "syn_lost"].map(|key| count(target, key));
        assert_eq!(seen, [20, 20, 0, 3], "{target:#}");
        assert_eq!(count(&target["rtt_ns"], "count"), 17);
        assert!(count(&target["rtt_ns"], "max") < 500_000_000, "{target:#}");
    }
    assert_eq!(emulator.truth().counts(Direction::Forward).dropped, 6);
}

#[test]
fn an_interface_that_goes_and_comes_back_costs_the_probes_of_that_time_and_no_others() {
    if !require_root("an_interface_that_goes_and_comes_back_costs_the_probes_of_that_time_and_no_others") {
        return;
    }
    let pair = Lab::pair();
    let _sink = Acceptor::start(&pair.server, SocketAddr::from((Pair::SERVER_V4, 445)));
    let _echo = UdpService::echo(&pair.server, SocketAddr::from((Pair::SERVER_V4, 7)));
    for args in [
        ["icmp", "10.77.0.2"],
        ["udp", "10.77.0.2:7"],
        ["tcp", "10.77.0.2:445"],
    ] {
        let mut probing = command(&pair.client);
        probing
            .args(args)
            .args(["-n", "100", "-i", "20ms", "-W", "200ms", "-o", "ndjson"]);
        let mut probing = Background::spawn(probing);
        probing.wait_for("\"reply\"", Duration::from_secs(5));
        pair.client.link_down("c0");
        pause(MS * 500);
        pair.client.link_up("c0");
        assert_eq!(
            probing.finish(Duration::from_secs(20)).code(),
            Some(0),
            "{args:?}"
        );
        let log = probing.log();
        let mut records: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let summary = records.pop().unwrap();
        let target = &summary["targets"][0];
        let [received, rejected, lost, not_sent] =
            ["received", "rejected", "lost", "not_sent"].map(|key| count(target, key));
        assert_eq!(received + rejected + lost + not_sent, 100, "{args:?}: {target:#}");
        assert!(
            (15..50).contains(&not_sent),
            "{args:?}: 500 ms are 25 probes: {target:#}"
        );
        records.retain(|record| record["type"] == "probe");
        assert_eq!(records.len(), 100);
        let tail = &records[75..];
        assert!(
            tail.iter().all(|record| record["outcome"] == "reply"),
            "{args:?}: {tail:#?}"
        );
    }
}
