//! Half-open probes against real stacks.

use std::net::{Ipv6Addr, SocketAddr};

use rping_lab::{require_root, Acceptor, Lab, Pair};
use serde_json::Value;

use crate::support::{command, count, finish, rping};

/// Every address of both families.
fn any(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn by_port(document: &Value, port: u64) -> &Value {
    let targets = document["targets"].as_array().expect("an array of targets");
    targets
        .iter()
        .find(|target| target["port"].as_u64() == Some(port))
        .unwrap_or_else(|| panic!("no port {port} in {document:#}"))
}

#[test]
fn a_syn_tells_open_closed_filtered_and_rejected_apart_and_leaves_no_connection() {
    if !require_root("a_syn_tells_open_closed_filtered_and_rejected_apart_and_leaves_no_connection") {
        return;
    }
    let lab = Lab::pair();
    let listens = Acceptor::start(&lab.server, any(445));
    lab.server.nft(
        "table inet f {
            chain in {
                type filter hook input priority 0
                tcp dport 81 drop
                tcp dport 82 reject with icmpx type admin-prohibited
            }
        }",
    );
    for host in [Pair::SERVER_V4.to_string(), format!("[{}]", Pair::SERVER_V6)] {
        let target = format!("{host}:80-82,445");
        let args = [
            "tcp", "--syn", &target, "-n", "20", "-i", "10ms", "-W", "300ms", "-o", "json",
        ];
        let document = rping(&lab.client, &args).json();
        let outcome = |port, outcome| count(by_port(&document, port), outcome);
        assert_eq!(outcome(445, "received"), 20, "{host}: {document:#}");
        assert_eq!(outcome(80, "rejected"), 20, "{host}: {document:#}");
        assert_eq!(outcome(81, "lost"), 20, "{host}: {document:#}");
        assert_eq!(outcome(82, "rejected"), 20, "{host}: {document:#}");
        assert_eq!(by_port(&document, 80)["reasons"]["port_closed"], 20);
        assert_eq!(by_port(&document, 82)["reasons"]["admin_prohibited"], 20);
        assert_eq!(document["instrument"]["timestamps"]["tx"], "kernel");
        assert_eq!(document["instrument"]["timestamps"]["rx"], "kernel");
        assert_eq!(count(by_port(&document, 445), "unexpected"), 0);
    }
    assert_eq!(listens.accepted(), 0, "no connection came of it");
}

#[test]
fn on_loopback_a_syn_finds_the_listener_and_the_closed_port() {
    if !require_root("on_loopback_a_syn_finds_the_listener_and_the_closed_port") {
        return;
    }
    let lab = Lab::pair();
    let _listens = Acceptor::start(&lab.client, any(445));
    let run = rping(
        &lab.client,
        &[
            "tcp",
            "--syn",
            "127.0.0.1:444-445",
            "[::1]:444",
            "-n",
            "3",
            "-i",
            "0",
            "-o",
            "json",
        ],
    );
    let document = run.json();
    assert_eq!(count(&document["totals"], "received"), 3, "{document:#}");
    assert_eq!(count(&document["totals"], "rejected"), 6, "{document:#}");
}

#[test]
fn a_sweep_of_syns_over_many_neighbours_misses_none() {
    if !require_root("a_sweep_of_syns_over_many_neighbours_misses_none") {
        return;
    }
    let lab = Lab::on_link(512);
    let target = format!("{}:445", lab.cidr());
    let run = rping(
        &lab.client,
        &[
            "tcp",
            "--syn",
            &target,
            "-n",
            "1",
            "-W",
            "500ms",
            "--max-rate",
            "0",
            "-o",
            "json",
        ],
    );
    let document = run.json();
    assert_eq!(
        count(&document["totals"], "rejected"),
        256,
        "{:#}",
        document["totals"]
    );
    assert_eq!(
        count(&document["totals"], "not_sent"),
        256,
        "nobody has the others"
    );
}

#[test]
fn without_the_right_to_raw_sockets_the_remedy_is_said() {
    if !require_root("without_the_right_to_raw_sockets_the_remedy_is_said") {
        return;
    }
    let lab = Lab::pair();
    let mut unprivileged = lab.client.unprivileged(env!("CARGO_BIN_EXE_rping"));
    unprivileged.args(["tcp", "--syn", "127.0.0.1:1", "-n", "1"]);
    let run = finish(&mut unprivileged);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("cap_net_raw") && run.stderr.contains("root"),
        "{run:?}"
    );
    assert_eq!(run.stderr.trim().lines().count(), 1, "{run:?}");
}

#[test]
fn frames_of_our_own_tell_what_packets_through_the_stack_tell() {
    if !require_root("frames_of_our_own_tell_what_packets_through_the_stack_tell") {
        return;
    }
    let lab = Lab::routed();
    let _listens = Acceptor::start(&lab.server, any(445));
    lab.server.nft(
        "table inet f {
            chain in {
                type filter hook input priority 0
                tcp dport 82 reject with icmpx type admin-prohibited
            }
        }",
    );
    let target = "10.77.2.1:80,82,445";
    let args = [
        "tcp", "--syn", "--link", target, "-n", "10", "-i", "10ms", "-o", "json",
    ];
    let document = rping(&lab.client, &args).json();
    assert_eq!(count(by_port(&document, 445), "received"), 10, "{document:#}");
    assert_eq!(
        by_port(&document, 80)["reasons"]["port_closed"],
        10,
        "{document:#}"
    );
    assert_eq!(
        by_port(&document, 82)["reasons"]["admin_prohibited"],
        10,
        "{document:#}"
    );
    assert_eq!(document["instrument"]["timestamps"]["tx"], "kernel");

    let icmp = |more: &[&str]| {
        let args = [&["icmp", "--link", "10.77.2.1", "-n", "500", "-o", "json"], more].concat();
        rping(&lab.client, &args).json()
    };
    for more in [
        &["-i", "2ms"][..],
        &["--flood"],
        &["--in-flight", "40", "-l", "1000"],
    ] {
        let document = icmp(more);
        assert_eq!(
            count(&document["totals"], "received"),
            500,
            "{more:?} {document:#}"
        );
        let target = &document["targets"][0];
        assert_eq!(
            count(target, "unexpected") + count(target, "duplicates"),
            0,
            "{document:#}"
        );
    }
    // The hop limit ends at the router, and the size at the link: both are told as ever.
    let expired = icmp(&["-i", "1ms", "--ttl", "1", "-W", "300ms"]);
    let reasons = &expired["targets"][0]["reasons"];
    assert!(reasons["time_exceeded"].as_u64() > Some(0), "{expired:#}");
    for (args, word) in [
        (&["icmp", "--link", "127.0.0.1", "-n", "1"][..], "--link"),
        (
            &["icmp", "--link", "10.77.2.1", "-l", "3000", "-n", "1"],
            "longer than a frame",
        ),
        (&["udp", "--link", "10.77.2.1", "-n", "1"], "--link"),
    ] {
        let run = rping(&lab.client, args);
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(run.stderr.contains(word), "{run:?}");
    }
}

#[test]
fn a_lane_to_many_ports_of_one_host_is_one_way() {
    if !require_root("a_lane_to_many_ports_of_one_host_is_one_way") {
        return;
    }
    let lab = Lab::pair();
    let args = [
        "tcp",
        "--syn",
        "--link",
        "10.77.0.2:2001-3500",
        "-n",
        "1",
        "--max-rate",
        "0",
        "-q",
        "-o",
        "json",
    ];
    let document = rping(&lab.client, &args).json();
    assert_eq!(
        count(&document["totals"], "rejected"),
        1500,
        "{:#}",
        document["totals"]
    );
}

#[test]
fn a_neighbour_with_a_new_link_layer_address_is_found_again() {
    if !require_root("a_neighbour_with_a_new_link_layer_address_is_found_again") {
        return;
    }
    let lab = Lab::pair();
    let mut program = command(&lab.client);
    program.args([
        "icmp",
        "--link",
        "10.77.0.2",
        "-i",
        "10ms",
        "-n",
        "400",
        "-W",
        "100ms",
        "-o",
        "json",
    ]);
    let out = tempfile::NamedTempFile::new().expect("a file");
    program.stdout(out.reopen().expect("the file again"));
    let mut run = program.spawn().expect("rping");
    rping_lab::pause(std::time::Duration::from_millis(500));
    // Without the announcement that a machine makes which takes an address over.
    lab.server
        .exec(&["ip", "link", "set", "s0", "address", "02:00:00:00:00:77"]);
    assert!(run.wait().expect("rping's end").success(), "some were answered");
    let text = std::fs::read_to_string(out.path()).expect("what it wrote");
    let document: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let target = &document["targets"][0];
    assert_eq!(
        count(target, "received") + count(target, "lost") + count(target, "not_sent"),
        400
    );
    // Lost is what left until the first silence was noticed and the neighbour had answered; what left after it is not.
    assert!(
        count(target, "lost") > 0 && count(target, "received") > 200,
        "{target:#}"
    );
}
