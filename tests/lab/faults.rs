//! What happens to a run at ten thousand probes a second when the machine or the link misbehaves: the counts close, and the
//! warnings name it.

use std::time::Duration;

use rping_lab::{pause, require_root, Background, Lab};
use serde_json::Value;

use crate::support::{command, count};

/// Runs rping for so long against the server, and meanwhile `fault`; returns the document.
fn during(seconds: &str, fault: impl FnOnce(&rping_lab::Pair, u32)) -> Value {
    let lab = Lab::pair();
    let mut program = command(&lab.client);
    program.args([
        "icmp",
        "10.77.0.2",
        "-i",
        "100us",
        "-n",
        seconds,
        "-W",
        "200ms",
        "-o",
        "json",
    ]);
    let out = tempfile::NamedTempFile::new().expect("a file");
    program.stdout(out.reopen().expect("the file again"));
    let mut run = program.spawn().expect("rping");
    pause(Duration::from_millis(300));
    fault(&lab, run.id());
    run.wait().expect("rping's end");
    let text = std::fs::read_to_string(out.path()).expect("what it wrote");
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    crate::support::validate(&document).unwrap_or_else(|fault| panic!("{fault}"));
    let totals = &document["totals"];
    let sum: u64 = ["received", "rejected", "lost", "not_sent"]
        .iter()
        .map(|outcome| count(totals, outcome))
        .sum();
    assert_eq!(count(totals, "attempted"), sum, "{totals:#}");
    assert!(count(totals, "received") > 1000, "{totals:#}");
    document
}

fn warns(document: &Value, key: &str) -> bool {
    let warnings = document["instrument"]["warnings"].as_array().expect("an array");
    warnings
        .iter()
        .any(|warning| warning.as_str().is_some_and(|text| text.starts_with(key)))
}

#[test]
fn a_run_that_was_stopped_for_two_seconds_skips_and_says_so() {
    if !require_root("a_run_that_was_stopped_for_two_seconds_skips_and_says_so") {
        return;
    }
    let document = during("3s", |lab, id| {
        let id = id.to_string();
        lab.client.exec(&["kill", "-STOP", &id]);
        pause(Duration::from_secs(2));
        lab.client.exec(&["kill", "-CONT", &id]);
    });
    assert!(
        warns(&document, "skipped: rping was held up for"),
        "{:#}",
        document["instrument"]
    );
    // What was due while it was stopped, but for what the schedule catches up with, never left.
    let attempted = count(&document["totals"], "attempted");
    assert!(attempted < 30_000 - 15_000, "{attempted}");
}

#[test]
fn processors_that_are_taken_away_leave_the_counts_closed() {
    if !require_root("processors_that_are_taken_away_leave_the_counts_closed") {
        return;
    }
    during("2s", |lab, _| {
        let hogs: Vec<Background> = (0..std::thread::available_parallelism().map_or(2, usize::from))
            .map(|_| {
                // The kernel ends it after two seconds of a processor, should nobody be left to kill it.
                let mut hog = lab.client.command("sh");
                hog.args(["-c", "ulimit -t 2; while :; do :; done"]);
                Background::spawn(hog)
            })
            .collect();
        pause(Duration::from_secs(1));
        drop(hogs);
    });
}

#[test]
fn an_interface_that_goes_down_and_up_is_named_and_the_run_goes_on() {
    if !require_root("an_interface_that_goes_down_and_up_is_named_and_the_run_goes_on") {
        return;
    }
    let document = during("3s", |lab, _| {
        lab.client.link_down("c0");
        pause(Duration::from_millis(500));
        lab.client.link_up("c0");
        lab.client.wait_carrier("c0", true);
    });
    let reasons = &document["targets"][0]["reasons"];
    assert!(
        reasons["interface_down"].as_u64() > Some(0),
        "{:#}",
        document["targets"][0]
    );
}
