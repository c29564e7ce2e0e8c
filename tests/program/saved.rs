//! Saved runs, as a person and a script meet them: kept through a kill and a full disk, shown, merged, refused.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::endings::{first_line, signal, start, summary};
use crate::{rping, text};

/// A port that answers for ever: what nobody accepts would fill its queue.
pub(crate) fn open_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    target
}

/// A directory of its own, and a name in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }
}

pub(crate) fn save(place: &Place, name: &str, target: &str, more: &[&str]) -> String {
    let path = place.name(name);
    let mut args = vec!["tcp", target, "--save", &path, "-q"];
    args.extend(more);
    let output = rping(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    path
}

#[test]
fn a_saved_run_is_shown_as_it_was() {
    let open = open_port();
    let place = Place::new();
    let path = place.name("run");
    let ran = rping(&["tcp", &open, "-n", "200", "-i", "0", "--json", "--save", &path]);
    assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(0), String::new()));
    let shown = rping(&["show", &path, "-o", "json"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert_eq!(text(&shown.stdout), text(&ran.stdout));
    let people = text(&rping(&["show", &path, "-H", "5"]).stdout);
    assert!(
        people.contains("200 sent, 200 received")
            && people.contains("percentiles")
            && people.contains("count"),
        "{people}"
    );
    // A line for each stretch, and they add up to the whole.
    let stream = text(&rping(&["show", &path, "-o", "ndjson"]).stdout);
    let lines: Vec<Value> = stream
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let received: u64 = lines.iter().filter_map(|line| line["received"].as_u64()).sum();
    assert_eq!(
        (received, &lines.last().expect("a line")["type"]),
        (200, &"summary".into())
    );
    let rows = text(&rping(&["show", &path, "-o", "csv"]).stdout);
    assert_eq!(rows.lines().count(), lines.len(), "a header for the summary");
    for (expr, code) in [("p99<1h", 0), ("max<1ns", 1), ("p999<1h", 1)] {
        assert_eq!(
            rping(&["show", &path, "--assert", expr]).status.code(),
            Some(code),
            "{expr}"
        );
    }
}

#[test]
fn a_run_that_is_killed_leaves_every_whole_second() {
    let open = open_port();
    let place = Place::new();
    let path = place.name("run");
    let mut child = start(&["tcp", &open, "-t", "-i", "10ms", "-o", "ndjson", "--save", &path]);
    let (_, out) = first_line(&mut child);
    let bytes = |path: &str| fs::metadata(path).expect("a file").len();
    // However loaded the machine is: until two more seconds have come to the disk.
    let mut grown = 0;
    let mut size = bytes(&path);
    while grown < 3 {
        rping_lab::pause(Duration::from_millis(50));
        let now = bytes(&path);
        grown += u32::from(now > size);
        size = now;
    }
    signal(&child, "KILL");
    assert_eq!(child.wait().expect("an end").signal(), Some(9));
    drop(out);
    let shown = rping(&["show", &path, "--json"]);
    let said = text(&shown.stderr);
    assert_eq!(shown.status.code(), Some(0), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert!(said.contains("the run's end is not in it"), "{said}");
    let document = summary(&shown);
    let target = &document["targets"][0];
    assert_eq!(document["interrupted"], true);
    assert!(document["duration_ns"].as_u64() >= Some(2_000_000_000));
    assert!(target["received"].as_u64() > Some(10), "{target}");
    assert_eq!(target["received"], target["rtt_ns"]["count"]);
    assert!(target["jitter_ns"]["rfc3550"].is_u64());

    // Torn in the last line, it is the same run less that line.
    let whole = fs::read(&path).expect("a file");
    fs::write(&path, &whole[..whole.len() - 5]).expect("a file");
    let torn = summary(&rping(&["show", &path, "--json"]));
    assert!(torn["targets"][0]["received"].as_u64() < target["received"].as_u64());
}

#[test]
fn what_cannot_be_written_stops_the_run_before_it_begins() {
    let (listener, open) = crate::endings::open_port();
    let place = Place::new();
    for (flag, path) in [
        ("--save", "/dev/full".to_owned()),
        ("--save", place.name("no/such/dir/run")),
        ("--save", place.dir.path().to_str().expect("UTF-8").to_owned()),
        ("--hdr", place.name("no/such/dir/run.hlog")),
        ("--hdr", place.name("no/such/dir/run.hgrm")),
    ] {
        let output = rping(&["tcp", &open, "-n", "1", flag, &path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag} {path}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with(&format!("rping: {flag} ")) && said.contains("cannot be written"),
            "{said}"
        );
        assert_eq!(text(&output.stdout), "");
    }
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "nothing was sent");
}

#[test]
fn an_existing_run_is_replaced_and_never_left_half() {
    let open = open_port();
    let place = Place::new();
    let path = save(&place, "run", &open, &["-n", "1"]);
    let first = fs::read(&path).expect("a file");
    save(&place, "run", &open, &["-n", "2", "-i", "0"]);
    assert_ne!(fs::read(&path).expect("a file"), first);
    assert_eq!(
        summary(&rping(&["show", &path, "--json"]))["totals"]["received"],
        2
    );
    assert_eq!(
        fs::read_dir(place.dir.path()).expect("a directory").count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_disk_that_fills_up_costs_no_second_that_was_on_it() {
    if !rping_lab::require_root("a_disk_that_fills_up_costs_no_second_that_was_on_it") {
        return;
    }
    let open = open_port();
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).expect("a directory");
    let mount = Mount::tmpfs(&disk, "size=64k");
    let path = disk.join("run");
    let path = path.to_str().expect("UTF-8");
    let mut child = start(&["tcp", &open, "-n", "20s", "-i", "1ms", "-q", "--save", path]);
    // Once the first seconds are on it, somebody else fills it.
    while fs::metadata(path).map_or(0, |file| file.len()) < 4_000 {
        rping_lab::pause(Duration::from_millis(20));
    }
    while fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(disk.join("filler"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[b'x'; 4096]))
        .is_ok()
    {}
    rping_lab::pause(Duration::from_millis(2500));
    signal(&child, "INT");
    let code = child.wait().expect("an end").code();
    let output = child.wait_with_output().expect("its output");
    let said = text(&output.stderr);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--save") && said.contains("No space left on device"),
        "{said}"
    );
    assert!(
        text(&output.stdout).contains("received"),
        "the summary is there all the same"
    );
    let shown = rping(&["show", path, "--json"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(summary(&shown)["targets"][0]["received"].as_u64() > Some(0));
    drop(mount);
}

/// A small disk, for as long as this is kept.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Mount {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .status();
        assert!(status.expect("mount starts").success());
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn files_of_others_are_refused_in_one_line() {
    let place = Place::new();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"hello\n"),
        ("binary", &[0xff; 4096]),
        ("cut", b"00000000 {\"type\":\"header\",\"form"),
    ] {
        fs::write(place.path(name), bytes).expect("a file");
        for command in ["show", "merge"] {
            let path = place.name(name);
            let mut args = vec![command, &path];
            let out = place.name("out");
            if command == "merge" {
                args.extend([path.as_str(), "--save", &out]);
            }
            let output = rping(&args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {name}");
            assert_eq!(
                (said.lines().count(), text(&output.stdout)),
                (1, String::new()),
                "{said}"
            );
            assert!(said.starts_with("rping: "), "{said}");
        }
    }
    let gone = rping(&["show", &place.name("nobody")]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(text(&gone.stderr).contains("No such file"));
}

#[test]
fn merged_runs_add_up() {
    let open = open_port();
    let place = Place::new();
    let a = save(&place, "a", &open, &["-n", "30", "-i", "0"]);
    let b = save(&place, "b", &open, &["-n", "12", "-i", "0"]);
    let out = place.name("both");
    let output = rping(&["merge", &a, &b, "--save", &out]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let of = |path: &str| summary(&rping(&["show", path, "--json"]));
    let both = of(&out);
    assert_eq!(both["targets"][0]["received"], 42);
    assert_eq!(both["targets"][0]["rtt_ns"]["count"], 42);
    let max = |document: &Value| document["targets"][0]["rtt_ns"]["max"].as_u64();
    assert_eq!(max(&both), max(&of(&a)).max(max(&of(&b))));
}

#[test]
fn every_line_of_a_stream_of_stretches_is_as_the_schema_says() {
    let open = open_port();
    let place = Place::new();
    let path = save(&place, "run", &open, &["-n", "50", "-i", "1ms"]);
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/schema/rping.second-1.json")).expect("a schema");
    let schema = jsonschema::validator_for(&schema).expect("a valid schema");
    let stream = text(&rping(&["show", &path, "-o", "ndjson"]).stdout);
    let mut lines = 0;
    for line in stream.lines().filter(|line| line.contains("\"type\":\"second\"")) {
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert!(schema.is_valid(&value), "{:?}", schema.validate(&value));
        lines += 1;
    }
    assert!(lines > 1);
}
