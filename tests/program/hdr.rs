//! What HdrHistogram's own log processor reads out of our files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::saved::{open_port, Place};
use crate::{rping, text};

const JAR: &str = "/usr/share/java/hdrhistogram.jar";

/// Whether Debian's HdrHistogram and a Java to run it are here; in CI they have to be.
fn has_java(test: &str) -> bool {
    let has = Path::new(JAR).exists()
        && Command::new("java")
            .arg("-version")
            .output()
            .is_ok_and(|output| output.status.success());
    if !has {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{test}: no java or no {JAR}; scripts/setup installs both"
        );
        eprintln!("{test}: skipped, no java or no {JAR}; scripts/setup installs both");
    }
    has
}

/// The percentile distribution that HdrHistogram's own tool makes of a log, values in nanoseconds.
fn processed(log: &str, tag: Option<&str>) -> String {
    let mut java = Command::new("java");
    java.args(["-cp", JAR, "org.HdrHistogram.HistogramLogProcessor"]);
    java.args(["-i", log, "-outputValueUnitRatio", "1"]);
    if let Some(tag) = tag {
        java.args(["-tag", tag]);
    }
    let output = java.output().expect("java starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Total count and largest value in the last lines of a distribution.
fn total_and_max(distribution: &str) -> (u64, f64) {
    let line = distribution
        .lines()
        .rfind(|line| line.starts_with("#[Max"))
        .expect("a line of totals");
    let number = |key: &str| {
        let rest = line.split(key).nth(1).expect(key);
        let rest = rest.trim_start_matches([' ', '=']);
        rest.split([',', ']']).next().expect("a number").trim().to_owned()
    };
    (
        number("Total count").parse().expect("a count"),
        number("Max").parse().expect("a value"),
    )
}

/// Rows of a distribution: value, percentile, count up to here.
fn rows(distribution: &str) -> Vec<(f64, f64, u64)> {
    distribution
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let value = columns.next()?.parse().ok()?;
            Some((
                value,
                columns.next()?.parse().ok()?,
                columns.next()?.parse().ok()?,
            ))
        })
        .collect()
}

#[test]
fn an_interval_log_holds_every_reply_for_the_java_log_processor() {
    if !has_java("an_interval_log_holds_every_reply_for_the_java_log_processor") {
        return;
    }
    let (a, b) = (open_port(), open_port());
    let place = Place::new();
    let log = place.name("run.hlog");
    let run = |targets: &[&str]| -> Value {
        let mut args = vec!["tcp"];
        args.extend(targets);
        args.extend(["-n", "1500ms", "-i", "1ms", "--json", "--hdr", &log]);
        serde_json::from_slice(&rping(&args).stdout).expect("JSON")
    };
    let one = run(&[&a]);
    let rtt = &one["targets"][0]["rtt_ns"];
    let (total, max) = total_and_max(&processed(&log, None));
    assert_eq!(Some(total), rtt["count"].as_u64());
    let truth = rtt["max"].as_u64().expect("a maximum") as f64;
    assert!((max / truth - 1.0).abs() < 0.001, "{max} {truth}");

    // Several targets are told apart by tags.
    let two = run(&[&a, &b]);
    for target in two["targets"].as_array().expect("targets") {
        let tag = target["target"].as_str().expect("a name");
        let (total, _) = total_and_max(&processed(&log, Some(tag)));
        assert_eq!(Some(total), target["rtt_ns"]["count"].as_u64(), "{tag}");
    }
    let lines = std::fs::read_to_string(&log).expect("a log");
    assert!(lines.lines().filter(|line| line.starts_with("Tag=")).count() >= 4);
}

#[test]
fn a_distribution_is_the_one_that_the_java_log_processor_prints() {
    if !has_java("a_distribution_is_the_one_that_the_java_log_processor_prints") {
        return;
    }
    let open = open_port();
    let place = Place::new();
    let (log, table, saved) = (place.name("run.hlog"), place.name("run.hgrm"), place.name("run"));
    let args = [
        "tcp", &open, "-n", "1000", "-i", "0", "-q", "--save", &saved, "--hdr",
    ];
    assert!(rping(&[&args[..], &[&log]].concat()).status.success());
    assert!(rping(&["show", &saved, "--hdr", &table]).status.success());
    let theirs = rows(&processed(&log, None));
    let ours = std::fs::read_to_string(&table).expect("a table");
    // A SYN that a busy machine lost leaves a reply without a round trip.
    let shown = rping(&["show", &saved, "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("a document");
    let timed = shown["targets"][0]["rtt_ns"]["count"].as_u64();
    assert_eq!(Some(total_and_max(&ours).0), timed);
    let ours = rows(&ours);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((ours.1, ours.2), (theirs.1, theirs.2), "percentile and count");
        assert!((ours.0 * 1e6 - theirs.0).abs() < 1.5, "{ours:?} {theirs:?}");
    }
}
