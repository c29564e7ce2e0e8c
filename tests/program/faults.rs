//! What happens to a run from its own side: a reader that stalls, no descriptors left, a receive buffer that overflows, an
//! end while answers are still owed.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use rping_lab::{require_program, require_root, Acceptor, Lab, Pair};
use serde_json::Value;

use crate::endings::{first_line, open_port, signal, start, summary};

fn count(object: &Value, key: &str) -> u64 {
    object[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {object}"))
}

fn warns_of(document: &Value, what: &str) -> bool {
    document["instrument"]["warnings"].to_string().contains(what)
}

#[test]
fn a_reader_that_stalls_costs_lines_which_are_counted_and_no_probe() {
    // Refused at once: nobody has to accept four thousand connections.
    let (listener, closed) = open_port();
    drop(listener);
    let mut child = start(&["tcp", &closed, "-n", "4000", "-i", "1ms", "-o", "ndjson"]);
    let (_, mut out) = first_line(&mut child);
    // Longer than the pipe and the queue behind it hold.
    rping_lab::pause(Duration::from_secs(2));
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    assert_eq!(child.wait().expect("an end").code(), Some(1));
    let records: Vec<Value> = rest
        .lines()
        .map(|line| serde_json::from_str(line).expect("a whole line"))
        .collect();
    let (last, lines) = records.split_last().expect("a summary");
    let target = &last["targets"][0];
    assert_eq!(
        count(target, "rejected") + count(target, "skipped"),
        4000,
        "{target}"
    );
    assert_eq!(count(target, "attempted"), count(target, "rejected"));
    let shown = 1 + lines.iter().filter(|line| line["type"] == "probe").count() as u64;
    let warnings = last["instrument"]["warnings"].to_string();
    let dropped = warnings
        .split("lines_dropped: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
        .unwrap_or_else(|| panic!("nothing said of lines that were left out: {warnings}"));
    assert_eq!(shown + dropped, count(target, "rejected"));
}

#[test]
fn without_descriptors_for_all_connects_at_once_each_has_its_turn_and_the_run_its_end() {
    let name = "without_descriptors_for_all_connects_at_once_each_has_its_turn_and_the_run_its_end";
    if !require_root(name) || !require_program(name, "nft") {
        return;
    }
    let pair = Lab::pair();
    pair.server
        .nft("table inet lab {\nchain input {\ntype filter hook input priority 0\ntcp dport 1-60 drop\n}\n}");
    let _open = Acceptor::start(&pair.server, SocketAddr::from((Pair::SERVER_V4, 445)));
    let output = pair
        .client
        .command("sh")
        .args([
            "-c",
            "ulimit -n 30; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_rping"),
        ])
        .args([
            "tcp",
            "10.77.0.2:1-60",
            "10.77.0.2:445",
            "-n",
            "1",
            "-W",
            "300ms",
            "-o",
            "json",
        ])
        .output()
        .expect("sh starts");
    let document = summary(&output);
    let totals = &document["totals"];
    let wanted = [("attempted", 61), ("received", 1), ("lost", 60), ("not_sent", 0)];
    assert_eq!(
        wanted.map(|(key, _)| (key, count(totals, key))),
        wanted,
        "{document:#}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_overflows_our_own_receive_buffer_is_said_to_be_dropped_here() {
    let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let target = echo.local_addr().expect("an address").to_string();
    let mut child = start(&[
        "udp", &target, "-n", "10", "-i", "100ms", "-W", "2s", "-o", "json",
    ]);
    echo.set_read_timeout(Some(Duration::from_secs(3))).expect("set");
    let mut packet = [0; 2048];
    let (length, from) = echo.recv_from(&mut packet).expect("a probe");
    echo.send_to(&packet[..length], from).expect("sent");
    signal(&child, "STOP");
    let foreign = [0x55; 1400];
    for _ in 0..60_000 {
        // A full buffer over there is no error here.
        echo.send_to(&foreign, from).expect("sent");
    }
    signal(&child, "CONT");
    // What fell due meanwhile is caught up with or left out: how many come is the schedule's business.
    while let Ok((length, from)) = echo.recv_from(&mut packet) {
        echo.send_to(&packet[..length], from).expect("sent");
    }
    let mut out = String::new();
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_to_string(&mut out).expect("a document");
    child.wait().expect("an end");
    let document: Value = serde_json::from_str(&out).expect("one document");
    let target = &document["targets"][0];
    // What fitted into the buffer was read, and is longer than anything that was sent.
    assert!(count(target, "corrupt") > 0, "{document:#}");
    assert!(warns_of(&document, "local_drops"), "{document:#}");
}

#[test]
fn an_interrupt_does_not_wait_for_answers_that_are_still_owed() {
    let name = "an_interrupt_does_not_wait_for_answers_that_are_still_owed";
    if !require_root(name) || !require_program(name, "nft") {
        return;
    }
    let pair = Lab::pair();
    pair.server
        .nft("table inet lab {\nchain input {\ntype filter hook input priority 0\ntcp dport 9 drop\n}\n}");
    let _open = Acceptor::start(&pair.server, SocketAddr::from((Pair::SERVER_V4, 445)));
    let mut command: Command = pair.client.command(env!("CARGO_BIN_EXE_rping"));
    let mut child = command
        .args([
            "tcp",
            "10.77.0.2:9,445",
            "-t",
            "-i",
            "50ms",
            "-W",
            "60s",
            "-o",
            "ndjson",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("rping starts");
    let (_, mut out) = first_line(&mut child);
    signal(&child, "INT");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    child.wait().expect("an end");
    let last: Value = serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["interrupted"], true);
    let totals = &last["totals"];
    assert_eq!(
        [count(totals, "lost"), count(totals, "rejected")],
        [0, 0],
        "what is still owed is neither: {last:#}"
    );
    assert!(
        last["duration_ns"].as_u64().is_some_and(|ns| ns < 50_000_000_000),
        "shorter than the timeout: {last:#}"
    );
}
