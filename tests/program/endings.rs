//! How a run ends: by its count, by a signal, by a reader that goes away, by a full disk.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::{rping, text};

const FORMATS: [&str; 4] = ["text", "json", "ndjson", "csv"];

/// A port that answers, for as long as this is kept.
pub(crate) fn open_port() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    (listener, target)
}

pub(crate) fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rping"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rping starts")
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill starts").success());
}

/// Waits for the first line on standard output, which tells that the probes are on their way.
pub(crate) fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    (line, out)
}

pub(crate) fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn the_exit_code_tells_whether_every_target_answered() {
    let (_kept, open) = open_port();
    let (listener, closed) = open_port();
    drop(listener);
    let code = |args: &[&str]| rping(args).status.code();
    assert_eq!(code(&["tcp", &open, "-n", "1"]), Some(0));
    assert_eq!(code(&["tcp", &closed, "-n", "1"]), Some(1));
    assert_eq!(code(&["tcp", &open, &closed, "-n", "1"]), Some(1));
}

#[test]
fn json_holds_every_key_of_every_target_and_nothing_else_is_on_standard_output() {
    let (_kept, open) = open_port();
    let output = rping(&["tcp", &open, "-n", "3", "-i", "0", "--json"]);
    let document = summary(&output);
    let target = &document["targets"][0];
    assert_eq!(
        (&target["attempted"], &target["received"], &target["lost"]),
        (&3.into(), &3.into(), &0.into())
    );
    assert_eq!(document["instrument"]["timestamps"]["rx"], "tcp_info");
    assert_eq!(target["rtt_ns"]["p99"], Value::Null, "three replies carry no p99");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_interrupted_run_shows_its_summary_and_ends_by_the_same_codes() {
    let (_kept, open) = open_port();
    for name in ["INT", "TERM"] {
        let mut child = start(&["tcp", &open, "-t", "-i", "10ms", "-o", "ndjson"]);
        let (line, mut out) = first_line(&mut child);
        assert!(line.contains("\"type\":\"probe\""), "{line}");
        signal(&child, name);
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("the rest");
        assert_eq!(child.wait().expect("an end").code(), Some(0));
        let last: Value = serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
        assert_eq!(
            (&last["type"], &last["interrupted"]),
            (&"summary".into(), &true.into())
        );
        assert_eq!(last["totals"]["received"], last["totals"]["attempted"]);
    }
}

#[test]
fn sigquit_shows_how_it_stands_and_the_run_goes_on() {
    let (_kept, open) = open_port();
    let mut child = start(&["tcp", &open, "-t", "-i", "10ms"]);
    let (_, out) = first_line(&mut child);
    signal(&child, "QUIT");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut interim = String::new();
    err.read_line(&mut interim).expect("a line");
    assert!(interim.contains("received"), "{interim}");
    signal(&child, "INT");
    drop(out);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_second_interrupt_aborts_a_run_whose_output_nobody_takes() {
    let (listener, closed) = open_port();
    drop(listener);
    // A pipe that is full and not read holds up the writing thread for ever.
    let mut child = start(&["tcp", &closed, "-t", "-i", "0", "-o", "ndjson"]);
    let (_, _out) = first_line(&mut child);
    rping_lab::pause(std::time::Duration::from_millis(500));
    signal(&child, "INT");
    rping_lab::pause(std::time::Duration::from_millis(300));
    assert_eq!(
        child.try_wait().expect("a state"),
        None,
        "the summary still waits for its reader"
    );
    signal(&child, "INT");
    assert_eq!(child.wait().expect("an end").signal(), Some(2));
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let (_kept, open) = open_port();
    for format in ["text", "ndjson", "csv"] {
        let mut child = start(&["tcp", &open, "-t", "-i", "1ms", "-o", format]);
        drop(first_line(&mut child));
        let output = child.wait_with_output().expect("an end");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{format}"
        );
    }
}

#[test]
fn a_full_disk_is_exit_2_with_the_summary_on_standard_error() {
    let (_kept, open) = open_port();
    for format in FORMATS {
        let output = Command::new(env!("CARGO_BIN_EXE_rping"))
            .args(["tcp", &open, "-n", "3", "-i", "10ms", "-o", format])
            .stdout(File::options().write(true).open("/dev/full").expect("/dev/full"))
            .output()
            .expect("rping starts");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{format}: {err}");
        assert!(
            err.contains("No space left on device") && err.contains("received"),
            "{format}: {err}"
        );
    }
}

#[test]
fn a_name_that_does_not_resolve_stops_nobody_else() {
    if !rping_lab::require_root("a_name_that_does_not_resolve_stops_nobody_else") {
        return;
    }
    // A namespace without a network: every name server is out of reach.
    let alone = rping_lab::Namespace::new("alone");
    let output = alone
        .command(env!("CARGO_BIN_EXE_rping"))
        .args(["icmp", "no-such-host.invalid", "127.0.0.1", "-n", "1", "--json"])
        .output()
        .expect("rping starts");
    let document = summary(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(document["targets"][0]["error"].is_string());
    assert_eq!(document["targets"][1]["received"], 1);
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn every_thread_has_given_up_its_capabilities() {
    if !rping_lab::require_root("every_thread_has_given_up_its_capabilities") {
        return;
    }
    let mut child = start(&["icmp", "127.0.0.1", "-t", "-i", "10ms", "-o", "ndjson"]);
    let (_, out) = first_line(&mut child);
    let mut threads = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("its threads") {
        let status =
            std::fs::read_to_string(task.expect("a thread").path().join("status")).expect("its status");
        threads += 1;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = status
                .lines()
                .find(|line| line.starts_with(set))
                .expect("a capability set");
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"));
    }
    assert_eq!(threads, 3, "sending, printing, signals");
    drop(out);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_stopped_process_resumes_with_its_counts_closed_and_says_so() {
    let (_kept, open) = open_port();
    let mut child = start(&["tcp", &open, "-n", "3s", "-i", "1ms", "-o", "ndjson"]);
    let (_, mut out) = first_line(&mut child);
    signal(&child, "STOP");
    rping_lab::pause(std::time::Duration::from_secs(1));
    signal(&child, "CONT");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let last: Value = serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
    let count = |key: &str| last["targets"][0][key].as_u64().expect("a count");
    assert_eq!(
        count("attempted"),
        count("received") + count("rejected") + count("lost") + count("not_sent")
    );
    assert!(
        count("skipped") > 500,
        "a second at a probe a millisecond, less what is caught up with"
    );
    assert!(
        last["instrument"]["warnings"].to_string().contains("skipped"),
        "{}",
        last["instrument"]["warnings"]
    );
}
