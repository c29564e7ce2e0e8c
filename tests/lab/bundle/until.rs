//! `--until-failure`: what is kept, and what freezes it.

use std::collections::BTreeMap;
use std::time::Duration;

use rping_lab::{Acceptor, Background, Lab, Pair};
use serde_json::Value;

use super::{bundle, ready, signal, Place, Unpacked};
use crate::support::command;

#[test]
fn until_failure_freezes_the_packets_that_led_to_it() {
    if !ready("until_failure_freezes_the_packets_that_led_to_it") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    let mut run = command(&pair.client);
    run.args([
        "bundle",
        "10.77.0.2:445",
        "--until-failure",
        "-i",
        "50ms",
        "-W",
        "700ms",
        "--save",
    ])
    .arg(place.path("b.tar.gz"));
    let mut run = Background::spawn(run);
    rping_lab::wait_until("some probes are answered", Duration::from_secs(60), || {
        service.accepted() >= 3
    });
    pair.server
        .nft("table inet t { chain i { type filter hook input priority 0; tcp dport 445 drop; }\n}");
    let status = run.finish(Duration::from_secs(100));
    assert_eq!(status.code(), Some(1), "{}", run.log());
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let said = unpacked.text("verdict.txt");
    assert!(
        said.contains("Failed probe: probe ") && said.contains("lost"),
        "{said}"
    );
    let probes: Vec<Value> = unpacked
        .text("ring-probes.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a probe"))
        .collect();
    let lost = probes
        .iter()
        .find(|probe| probe["outcome"] == "lost")
        .expect("a lost probe");
    assert!(
        probes.iter().filter(|probe| probe["outcome"] == "reply").count() >= 3,
        "{probes:#?}"
    );
    // Its SYN is in the ring, and was sent by when the probe says that it left.
    let syns = unpacked.packets("ring.pcapng", &["tcp.flags", "tcp.srcport", "frame.time_epoch"]);
    let mut unanswered: BTreeMap<&str, usize> = BTreeMap::new();
    for packet in &syns {
        let fields: Vec<&str> = packet.split(' ').collect();
        if fields[0] == "0x0002" {
            *unanswered.entry(fields[1]).or_default() += 1;
        }
    }
    let answered: Vec<String> = unpacked
        .packets("ring.pcapng", &["tcp.flags", "tcp.dstport"])
        .into_iter()
        .filter_map(|packet| packet.strip_prefix("0x0012 ").map(str::to_owned))
        .collect();
    unanswered.retain(|port, _| !answered.iter().any(|answered| answered == port));
    assert!(
        !unanswered.is_empty() && answered.len() >= 3,
        "{lost} in {syns:#?}"
    );
    assert!(unpacked.text("ring-counters.ndjson").contains("\"moved\""));
    // The filter is gone on the way to the host, so the diagnosis says what it sees now.
    assert_ne!(unpacked.json("diagnosis.json")["verdict"]["layer"], Value::Null);
}

#[test]
fn until_failure_ends_without_one_by_count_or_signal() {
    if !ready("until_failure_ends_without_one_by_count_or_signal") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let run = bundle(
        &pair.client,
        &[
            "10.77.0.2",
            "--until-failure",
            "-i",
            "0.02",
            "-W",
            "20s",
            "-n",
            "5",
        ],
        &place.text("n"),
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let unpacked = Unpacked::of(&place.path("n"));
    assert_eq!(unpacked.text("ring-probes.ndjson").lines().count(), 5);
    assert_eq!(
        unpacked
            .packets("ring.pcapng", &["icmp.type"])
            .iter()
            .filter(|kind| *kind == "8")
            .count(),
        5
    );
    assert!(!unpacked.files.contains_key("diagnosis.json"));

    let mut run = command(&pair.client);
    run.args([
        "bundle",
        "10.77.0.2",
        "--until-failure",
        "-i",
        "20ms",
        "-W",
        "20s",
        "--save",
    ])
    .arg(place.path("s"));
    let mut run = Background::spawn(run);
    let before = pair.server.statistic("s0", "rx_packets");
    rping_lab::wait_until("some probes are sent", Duration::from_secs(60), || {
        pair.server.statistic("s0", "rx_packets") > before + 3
    });
    signal(&run, "-TERM");
    assert_eq!(
        run.finish(Duration::from_secs(60)).code(),
        Some(0),
        "{}",
        run.log()
    );
    let unpacked = Unpacked::of(&place.path("s"));
    assert!(
        unpacked
            .text("verdict.txt")
            .starts_with("VERDICT none: no probe failed"),
        "{}",
        unpacked.text("verdict.txt")
    );
}
