//! `rping bandwidth` as a person and a script meet it, against a server in this process and against those that fail.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rping::peer::{Key, Limits, Listen, Server, ServerHandle};
use serde_json::Value;

use crate::{rping, text};

const FORMATS: [&str; 4] = ["text", "json", "ndjson", "csv"];

struct Serving {
    at: String,
    handle: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start() -> Serving {
        Serving::with(None)
    }

    fn with(key: Option<Key>) -> Serving {
        let listen = Listen {
            tests: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            key,
            ..Listen::default()
        };
        let server = Server::open(&listen, Limits::default(), Arc::new(|_: &str| ())).expect("a server");
        let (at, handle) = (server.local_addrs().next().expect("a port"), server.handle());
        let thread = Some(std::thread::spawn(move || server.run().expect("it runs")));
        let at = at.to_string();
        Serving { at, handle, thread }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

/// `rping bandwidth` with these flags against this server.
fn bandwidth(at: &str, flags: &str) -> Output {
    let mut args = vec!["bandwidth", at];
    args.extend(flags.split_whitespace());
    rping(&args)
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("one JSON document")
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/schema/rping.bandwidth-1.json")).expect("JSON")
}

fn check(schema: &Value, instance: &Value) {
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let errors: Vec<_> = validator
        .iter_errors(instance)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {instance:#}");
}

#[test]
fn a_test_is_saved_shown_again_compared_and_drawn() {
    let serving = Serving::start();
    let place = crate::saved::Place::new();
    let (saved, page) = (place.name("run.rping"), place.name("run.html"));
    for flags in [
        "-n 1s --omit 0 -i 100ms --bidir --latency",
        "-u -n 1s --omit 0 -i 100ms -b 10m -r",
    ] {
        let output = bandwidth(
            &serving.at,
            &format!("{flags} -o json --save {saved} --report {page}"),
        );
        assert_eq!(output.status.code(), Some(0), "{flags}: {}", text(&output.stderr));
        let again = rping(&["show", &saved, "-o", "json"]);
        assert_eq!(again.status.code(), Some(0), "{flags}: {}", text(&again.stderr));
        assert_eq!(json(&again.stdout), json(&output.stdout), "{flags}");
        check(&schema(), &json(&again.stdout));
        let shown = text(&rping(&["show", &saved, "-H"]).stdout);
        assert!(
            shown.contains("throughput") && shown.contains("received:"),
            "{shown}"
        );
        let lines = text(&rping(&["show", &saved, "-o", "csv"]).stdout)
            .lines()
            .count();
        assert!(lines > 9, "{lines} rows of ten intervals");
        let drawn = std::fs::read_to_string(&page).expect("a page");
        assert!(
            drawn.contains("Throughput over time") && drawn.contains("--report"),
            "{flags}"
        );
        assert_eq!(
            drawn.contains("Latency beside the load"),
            flags.contains("--latency")
        );
        let compared = rping(&["compare", &saved, &saved, "-o", "json"]);
        let compared = json(&compared.stdout);
        let comparison = include_str!("../../docs/schema/rping.comparison-1.json");
        check(&serde_json::from_str(comparison).expect("JSON"), &compared);
        assert_eq!(compared["verdict"], "same");
        assert!(
            compared["rates"][0]["before_bits_per_second"]
                .as_f64()
                .unwrap_or(0.0)
                > 0.0
        );
    }
    // What has no round trips is not merged as if it had.
    let merged = rping(&["merge", &saved, &saved, "--save", &place.name("both")]);
    assert_eq!(merged.status.code(), Some(2));
    assert!(text(&merged.stderr).contains("holds a throughput test"));
    // Cut where the program was killed: what came before is shown, and that the end is missing.
    let whole = std::fs::read(&saved).expect("a file");
    std::fs::write(&saved, &whole[..whole.len() * 2 / 3]).expect("written");
    let cut = rping(&["show", &saved]);
    assert!(
        text(&cut.stderr).contains("the run's end is not in it"),
        "{}",
        text(&cut.stderr)
    );
    assert!(text(&cut.stdout).contains("0.0-0.1 s"), "{}", text(&cut.stdout));
    // A file that cannot be written stops it before it begins.
    let output = bandwidth(
        &serving.at,
        &format!("-n 1s --save {}", place.name("no/such/file")),
    );
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(2), String::new())
    );
    assert!(text(&output.stderr).starts_with("rping: --save"));
}

#[test]
fn every_mode_gives_a_document_that_follows_the_schema_and_both_ends_figures() {
    let serving = Serving::start();
    let schema = schema();
    for flags in [
        "-n 1s --omit 0",
        "-n 1s -P 3 -r --skip-rx-copy",
        "-n 1s --bidir --omit 0 -b 50m --dscp EF --mss 1000 --congestion reno",
        "-n 50 -l 64k",
        "-u -n 1s --omit 0 -b 10m --latency",
        "-u -n 200 -l 500 -b 0 -r",
        "-u -n 1s --bidir --gso -l 1000 -b 30m -P 2 -i 250ms",
        "-u -n 1s --gso --skip-rx-copy -l 1000 -b 30m --omit 0",
    ] {
        let output = bandwidth(&serving.at, &format!("{flags} -o json"));
        assert_eq!(output.status.code(), Some(0), "{flags}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{flags}");
        let document = json(&output.stdout);
        check(&schema, &document);
        let target = &document["targets"][0];
        let number = |of: &Value, key: &str| of[key].as_u64().unwrap_or_else(|| panic!("{flags}: {key}"));
        let (two, udp) = (flags.contains("--bidir"), flags.contains("-u"));
        for direction in match two {
            true => vec![&target["forward"], &target["reverse"]],
            false => vec![target],
        } {
            assert!(number(direction, "received_bytes") > 0, "{flags}");
            assert!(number(direction, "sent_bytes") > 0, "{flags}");
            let payload = if flags.contains("--skip-rx-copy") {
                "discarded"
            } else {
                "read"
            };
            assert_eq!(direction["payload"], payload, "{flags}");
            if udp {
                assert_eq!(number(direction, "lost"), 0, "{flags}: {target:#}");
                assert_eq!(number(direction, "reordered"), 0, "{flags}");
                // Both ends time a start-up phase by clocks of their own: what left within it may arrive after.
                let has_start_up = !flags.contains("--omit 0") && !flags.contains("-n 200");
                assert!(
                    has_start_up || number(direction, "packets") >= number(direction, "received_packets"),
                    "{flags}: {target:#}"
                );
            } else {
                assert!(direction["retransmits"].is_u64(), "{flags}");
                assert!(direction["packets"].is_null(), "{flags}");
            }
        }
        assert_eq!(target["forward"].is_object(), two, "{flags}");
        for end in ["local", "remote"] {
            assert!(target["cpu"][end]["total_percent"].is_number(), "{flags}");
        }
        assert!(
            !target["intervals"].as_array().expect("a list").is_empty(),
            "{flags}"
        );
        let paced = document["instrument"]["lateness_ns"]["p50"].is_u64();
        let is_paced = flags.contains("-b") && !flags.contains("-b 0") || (udp && !flags.contains("-b"));
        assert_eq!(paced, is_paced, "{flags}: {}", document["instrument"]);
        assert_eq!(
            target["latency"].is_object(),
            flags.contains("--latency"),
            "{flags}"
        );
    }
}

#[test]
fn latency_is_probed_before_the_load_and_under_it() {
    let serving = Serving::start();
    let output = bandwidth(&serving.at, "-n 1s --omit 0 --latency -o json");
    let latency = &json(&output.stdout)["targets"][0]["latency"];
    for phase in ["idle", "loaded"] {
        let of = &latency[phase];
        assert!(of["received"].as_u64().expect("a count") > 20, "{latency:#}");
        assert!(of["rtt_ns"]["p50"].is_u64(), "{latency:#}");
        assert!(of["forward_ns"]["p50"].is_u64() && of["reverse_ns"]["p50"].is_u64());
        assert!(of["round_trips_per_minute"].as_f64().expect("a figure") > 0.0);
        assert!(of["clock_error_ns"].is_u64(), "{latency:#}");
    }
    let shown = text(&bandwidth(&serving.at, "-n 1s --omit 0 --latency").stdout);
    assert!(shown.contains("round trips per minute under load"), "{shown}");
    assert!(shown.contains("estimated clock offset"), "{shown}");
}

#[test]
fn a_stream_has_a_line_or_a_row_for_each_interval() {
    let serving = Serving::start();
    let schema = schema();
    let line = serde_json::json!({ "$ref": "#/$defs/line", "$defs": schema["$defs"] });
    let output = bandwidth(&serving.at, "-n 1s --omit 1s -i 500ms --bidir -o ndjson");
    let shown = text(&output.stdout);
    let lines: Vec<Value> = shown.lines().map(|line| json(line.as_bytes())).collect();
    let (last, intervals) = lines.split_last().expect("lines");
    assert_eq!(last["type"], "summary");
    check(&schema, last);
    assert!(intervals.len() >= 8, "{shown}");
    intervals.iter().for_each(|interval| check(&line, interval));
    assert_eq!(
        intervals.len(),
        last["targets"][0]["intervals"].as_array().expect("a list").len()
    );
    assert!(intervals.iter().any(|interval| interval["omitted"] == true));

    let shown = text(&bandwidth(&serving.at, "-n 1s --omit 0 -i 250ms -u -o csv").stdout);
    let rows: Vec<usize> = shown.lines().map(|row| row.split(',').count()).collect();
    assert!(rows.len() >= 4, "{shown}");
    assert!(rows.iter().all(|cells| *cells == 14), "{shown}");
}

#[test]
fn text_shows_what_was_sent_and_received_intervals_and_a_histogram() {
    let serving = Serving::start();
    let shown = text(&bandwidth(&serving.at, "-n 1s --omit 0 -i 200ms -H 4 --timestamps").stdout);
    for part in [
        "sent:",
        "received:",
        "payload read",
        "CPU: here",
        "rate ≥",
        "cwnd",
        "rtt",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let quiet = text(&bandwidth(&serving.at, "-n 1s --omit 0 -q").stdout);
    assert!(quiet.contains("received:") && !quiet.contains("cwnd"), "{quiet}");
}

#[test]
fn an_assertion_decides_the_exit_code() {
    let serving = Serving::start();
    let code = |assertion: &str| {
        let args = [
            "bw",
            &serving.at,
            "-n",
            "500ms",
            "--omit",
            "0",
            "-q",
            "--assert",
            assertion,
        ];
        rping(&args).status.code()
    };
    assert_eq!(code("rate>1k"), Some(0));
    assert_eq!(code("rate>99999g"), Some(1));
}

#[test]
fn a_server_that_refuses_is_exit_1_with_one_line_and_a_whole_document() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let closed = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for format in FORMATS {
        let output = bandwidth(&closed, &format!("-n 1s -o {format}"));
        assert_eq!(output.status.code(), Some(1), "{format}");
        let err = text(&output.stderr);
        assert!(err.starts_with("rping: ") && err.lines().count() == 1, "{err}");
        assert!(err.contains("start rping server"), "{err}");
        if let "json" | "ndjson" = format {
            let document = json(&output.stdout);
            check(&schema(), &document);
            assert!(document["targets"][0]["error"].is_string());
            assert_eq!(document["totals"]["answered"], 0);
        }
    }
}

#[test]
fn what_this_host_cannot_do_is_exit_2() {
    let serving = Serving::start();
    for flags in [
        "--congestion no-such",
        "-S 192.0.2.1",
        "-l 2m",
        "-P 129",
        "--omit 1.5s",
        "-u --mss 1000",
        "--gso",
    ] {
        let output = bandwidth(&serving.at, &format!("{flags} -n 1s"));
        assert_eq!(output.status.code(), Some(2), "{flags}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr).lines().count(), 1, "{flags}");
    }
}

#[test]
fn a_full_disk_is_exit_2_with_the_summary_on_standard_error() {
    let serving = Serving::start();
    for format in FORMATS {
        let output = Command::new(env!("CARGO_BIN_EXE_rping"))
            .args([
                "bandwidth",
                &serving.at,
                "-n",
                "500ms",
                "--omit",
                "0",
                "-o",
                format,
            ])
            .stdout(File::options().write(true).open("/dev/full").expect("/dev/full"))
            .output()
            .expect("rping starts");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{format}: {err}");
        assert!(
            err.contains("No space left on device") && err.contains("received:"),
            "{format}: {err}"
        );
    }
}

#[test]
fn an_interrupt_shows_the_summary_and_a_reader_that_goes_away_is_a_quiet_end() {
    let serving = Serving::start();
    let start = |format: &str| {
        Command::new(env!("CARGO_BIN_EXE_rping"))
            .args([
                "bandwidth",
                &serving.at,
                "-t",
                "--omit",
                "0",
                "-i",
                "100ms",
                "-o",
                format,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rping starts")
    };
    let mut child = start("ndjson");
    let mut out = child.stdout.take().expect("a pipe");
    let mut first = [0; 16];
    out.read_exact(&mut first).expect("a line");
    let killed = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(killed.expect("kill starts").success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let last = json(rest.lines().last().expect("a line").as_bytes());
    assert_eq!(
        (&last["type"], &last["interrupted"]),
        (&"summary".into(), &true.into())
    );
    assert!(last["targets"][0]["sent_bytes"].as_u64().expect("a count") > 0);

    let mut child = start("csv");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut first).expect("a line");
    drop(out);
    let output = child.wait_with_output().expect("an end");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn a_server_with_a_key_serves_whoever_has_it_on_every_connection_and_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
        path.to_str().expect("a name").to_owned()
    };
    let (right, wrong) = (
        file("right", "sixteen octets!!\n"),
        file("wrong", "sixteen others!!\n"),
    );
    let serving = Serving::with(Key::new(b"sixteen octets!!"));
    for flags in [
        "-n 20 -l 64k -P 3",
        "-n 20 -l 64k --bidir",
        "-u -n 20 -l 1000 -b 10m",
    ] {
        let output = bandwidth(&serving.at, &format!("{flags} -o json --key-file {right}"));
        assert_eq!(output.status.code(), Some(0), "{flags}: {}", text(&output.stderr));
        let target = json(&output.stdout)["targets"][0].clone();
        let side = if target["forward"].is_object() {
            &target["forward"]
        } else {
            &target
        };
        assert!(side["received_bytes"].as_u64() > Some(0), "{target:#}");
    }
    let by_environment = Command::new(env!("CARGO_BIN_EXE_rping"))
        .args(["bandwidth", &serving.at, "-n", "20", "-q"])
        .env("RPING_KEY", "sixteen octets!!")
        .output()
        .expect("it runs");
    assert_eq!(
        by_environment.status.code(),
        Some(0),
        "{}",
        text(&by_environment.stderr)
    );
    let keyed = format!("--key-file {wrong}");
    for (flags, says) in [
        (keyed.as_str(), "does not have the same key"),
        ("", "with a key hears nobody"),
    ] {
        let output = bandwidth(&serving.at, &format!("-n 20 {flags}"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
    let beside = bandwidth(
        &serving.at,
        &format!("-n 20 --latency --key-file {right} -o json"),
    );
    assert_eq!(beside.status.code(), Some(0), "{}", text(&beside.stderr));
    let latency = &json(&beside.stdout)["targets"][0]["latency"];
    assert!(
        latency["idle"]["received"].as_u64().expect("a count") > 20,
        "the probes beside the load bear the key: {latency:#}"
    );
    // A server that has none hangs up on whoever proves one.
    let output = bandwidth(&Serving::start().at, &format!("-n 20 --key-file {right}"));
    assert!(
        text(&output.stderr).contains("another, or none"),
        "{}",
        text(&output.stderr)
    );
}
