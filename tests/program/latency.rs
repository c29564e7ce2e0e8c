//! `rping latency` against the program's own server, and against what is none.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{rping, text};

/// A server of the program itself, on a port of its own.
struct Serving {
    child: Child,
    at: String,
}

impl Serving {
    fn start(flags: &[&str]) -> Serving {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let at = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut child = Command::new(env!("CARGO_BIN_EXE_rping"))
            .arg("server")
            .arg(&at)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("rping starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert!(line.contains(&at), "{line}");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Serving { child, at }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn document(args: &[&str]) -> (Value, Option<i32>) {
    let output = rping(args);
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output.stderr)));
    (document, output.status.code())
}

#[test]
fn a_thousand_requests_are_answered_over_tcp_and_over_udp_and_the_document_says_how() {
    let server = Serving::start(&[]);
    let (run, code) = document(&["latency", &server.at, "-o", "json"]);
    assert_eq!(code, Some(0), "{run:#}");
    assert_eq!(
        (&run["command"], &run["options"]["transport"]),
        (&"latency".into(), &"tcp".into())
    );
    assert_eq!(
        (&run["options"]["count"], &run["options"]["warmup"]),
        (&1000.into(), &5.into())
    );
    assert_eq!(
        (&run["options"]["size"], &run["options"]["interval_ns"]),
        (&64.into(), &0.into())
    );
    let target = &run["targets"][0];
    assert_eq!(
        (&target["received"], &target["attempted"]),
        (&1000.into(), &1000.into())
    );
    assert!(target["rtt_ns"]["p999"].is_u64() && target["rtt_ns"]["p9999"].is_null());
    assert!(target["residence_ns"]["p50"].is_u64());
    assert_eq!(run["instrument"]["timestamps"]["rx"], "user");

    let (run, code) = document(&[
        "latency", "-u", &server.at, "-n", "100", "--json", "--wait", "block",
    ]);
    assert_eq!(code, Some(0), "{run:#}");
    assert_eq!(
        (&run["options"]["transport"], &run["totals"]["received"]),
        (&"udp".into(), &100.into())
    );
    assert_eq!(run["instrument"]["waiting"]["client"], "block");
}

#[test]
fn blocking_is_done_at_both_ends_and_named_in_the_result() {
    let server = Serving::start(&[]);
    let (run, _) = document(&["latency", &server.at, "-n", "50", "--json", "--wait", "block"]);
    let waiting = &run["instrument"]["waiting"];
    assert_eq!(
        (&waiting["client"], &waiting["server"]),
        (&"block".into(), &"block".into())
    );
    drop(server);
    let server = Serving::start(&["--wait", "block"]);
    let (run, _) = document(&["latency", &server.at, "-n", "50", "--json"]);
    assert_eq!(run["instrument"]["waiting"]["server"], "block");
}

#[test]
fn paced_requests_have_a_line_each_and_ping_pong_has_none() {
    let server = Serving::start(&[]);
    let paced = rping(&[
        "latency", &server.at, "-n", "3", "-i", "10ms", "-w", "1", "-r", "-l", "8k",
    ]);
    let shown = text(&paced.stdout);
    assert_eq!(shown.matches("reply from").count(), 4, "{shown}");
    assert!(
        shown.contains("responses of 8192 bytes") && shown.contains("server residence: "),
        "{shown}"
    );
    let shown = text(&rping(&["latency", &server.at]).stdout);
    assert!(
        !shown.contains("reply from") && shown.contains("1000 sent, 1000 received"),
        "{shown}"
    );
    let rows = text(&rping(&["latency", &server.at, "-n", "7", "-w", "0", "-o", "csv"]).stdout);
    assert_eq!(rows.lines().count(), 8, "{rows}");
    let held = rping(&["latency", &server.at, "-n", "20", "--assert", "p50<1us"]);
    assert_eq!(held.status.code(), Some(1));
}

#[test]
fn nobody_there_is_one_line_and_exit_code_1() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = free.local_addr().expect("an address").to_string();
    drop(free);
    let output = rping(&["latency", &at, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("rping: ") && said.contains("start rping server") && said.lines().count() == 1,
        "{said}"
    );
    let run: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(run["targets"][0]["reasons"]["port_closed"], 1);
    assert!(run["failure"].is_string());
}

#[test]
fn a_server_that_is_killed_leaves_what_was_measured_on_the_screen() {
    let mut server = Serving::start(&[]);
    let client = Command::new(env!("CARGO_BIN_EXE_rping"))
        .args(["latency", &server.at, "-t", "-i", "1ms", "-o", "ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut client = client.expect("rping starts");
    let mut out = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    // Past the warm-up: something was measured.
    assert!(out
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("\"warmup\":false")));
    server.child.kill().expect("it runs");
    let last = out.map_while(Result::ok).last().expect("a summary");
    let output = client.wait_with_output().expect("it ends by itself");
    let run: Value = serde_json::from_str(&last).expect("a document");
    assert_eq!(run["type"], "summary");
    assert!(
        run["totals"]["received"].as_u64().is_some_and(|n| n > 0),
        "{last}"
    );
    let said = text(&output.stderr);
    assert!(said.contains("connection"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_iperf3_server_at_the_far_end_is_named() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = free.local_addr().expect("an address");
    drop(free);
    let started = Command::new("iperf3")
        .args(["-s", "-B", "127.0.0.1", "-p", &at.port().to_string()])
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut iperf3) = started else {
        assert!(
            std::env::var_os("CI").is_none(),
            "iperf3 is missing: scripts/setup installs it"
        );
        eprintln!("skipped: no iperf3");
        return;
    };
    let output = loop {
        let output = rping(&["latency", &at.to_string()]);
        if !text(&output.stderr).contains("nothing listens") {
            break output;
        }
    };
    iperf3.kill().expect("it runs");
    iperf3.wait().expect("it ends");
    let said = text(&output.stderr);
    assert!(
        said.contains("iperf3 server") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}

/// A key file that nobody else can read; it is gone with the directory.
fn key_file(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("the shared secret of {name}, long enough\n")).expect("a file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
    path.display().to_string()
}

#[test]
fn with_a_key_both_transports_are_measured_and_with_another_or_none_neither_is() {
    let directory = std::env::temp_dir().join(format!("rping-latency-key-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (right, wrong) = (key_file(&directory, "right"), key_file(&directory, "wrong"));
    let server = Serving::start(&["--key-file", &right]);
    for udp in [&[][..], &["-u"]] {
        let run = |key: &[&str]| {
            let fixed = [
                "latency", &server.at, "-n", "3", "-w", "0", "-W", "500ms", "--json",
            ];
            let output = rping(&[&fixed[..], udp, key].concat());
            let run: Value = serde_json::from_slice(&output.stdout).expect("a document");
            let received = run["totals"]["received"].as_u64();
            (received, output.status.code(), text(&output.stderr))
        };
        let fixed = [
            "latency",
            &server.at,
            "-n",
            "3",
            "-W",
            "30s",
            "--json",
            "--key-file",
            &right,
        ];
        let (run_with_right, code) = document(&[&fixed[..], udp].concat());
        assert_eq!(code, Some(0), "{run_with_right:#}");
        assert_eq!(run_with_right["totals"]["received"], 3);
        let (received, code, said) = run(&["--key-file", &wrong]);
        assert_eq!((received, code), (Some(0), Some(1)), "{udp:?}: {said}");
        assert!(!udp.is_empty() || said.contains("the same key"), "{said}");
        let (received, code, said) = run(&[]);
        assert_eq!((received, code), (Some(0), Some(1)), "{udp:?}: {said}");
        assert!(!udp.is_empty() || said.contains("--key-file"), "{said}");
    }
    drop(server);
    std::fs::remove_dir_all(&directory).expect("it is there");
}

#[test]
fn over_udp_each_way_has_its_loss_and_its_delay_and_the_server_its_residence() {
    let server = Serving::start(&[]);
    let (run, _) = document(&["latency", "-u", &server.at, "-n", "50", "--json"]);
    let target = &run["targets"][0];
    for way in ["forward", "reverse"] {
        assert_eq!(
            (
                &target[way]["sent"],
                &target[way]["received"],
                &target[way]["lost"]
            ),
            (&50.into(), &50.into(), &0.into()),
            "{way}: {target:#}"
        );
        let delay = &target[way]["delay_ns"];
        assert_eq!(delay["count"], 50, "{way}");
        assert_eq!(
            delay["clock"], "estimated",
            "{way}: both clocks are one, but nobody knows"
        );
    }
    let held = &target["reflector"]["residence_ns"];
    assert!(
        held["count"] == 50 && held["mean"].as_u64() > Some(0),
        "{target:#}"
    );
    let waiting = &run["instrument"]["waiting"];
    assert!(waiting["client"].is_string() && waiting["server"].is_null());

    let shown = text(&rping(&["latency", "-u", &server.at, "-n", "20", "--wait", "block"]).stdout);
    for part in [
        "forward: 0 of 20 lost; delay min/avg/max",
        "reverse: 0 of 20 lost; delay min/avg/max",
        "reflector: held probes for min/avg/max",
        "waiting block here, unknown at the server",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
