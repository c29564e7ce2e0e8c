//! `rping compare`, as a script meets it: exit codes, the document, what cannot be compared.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::endings::summary;
use crate::saved::{open_port, save, Place};
use crate::{rping, text};

#[test]
fn a_run_is_the_same_as_itself_and_the_document_is_as_the_schema_says() {
    let open = open_port();
    let place = Place::new();
    let run = save(&place, "run", &open, &["-n", "500", "-i", "1ms"]);
    let output = rping(&["compare", &run, &run, "--json", "--fail-if-worse"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document = summary(&output);
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/schema/rping.comparison-1.json")).expect("a schema");
    let schema = jsonschema::validator_for(&schema).expect("a valid schema");
    assert!(schema.is_valid(&document), "{:?}", schema.validate(&document));
    assert_eq!(
        (&document["verdict"], &document["schema"]),
        (&"same".into(), &"rping.comparison/1".into())
    );
    let median = &document["targets"][0]["quantiles"][0];
    assert_eq!((&median["name"], &median["shift_ns"]), (&"p50".into(), &0.into()));
    assert!(median["smallest_ns"].as_u64() > Some(0));
    let again = rping(&["compare", &run, &run, "--json"]);
    assert_eq!(
        text(&again.stdout),
        text(&output.stdout),
        "the same draws every time"
    );
    let people = text(&rping(&["compare", &run, &run]).stdout);
    assert!(
        people.contains("verdict: same") && people.contains('●') && people.contains('█'),
        "{people}"
    );
}

#[test]
fn worse_is_an_exit_code_only_where_it_was_asked_for() {
    let open = open_port();
    let place = Place::new();
    let good = save(&place, "good", &open, &["-n", "300", "-i", "1ms"]);
    // Nobody accepts, and the queue is full: every SYN is lost.
    let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = full.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(one);
    }
    let path = place.name("bad");
    let target = address.to_string();
    let lost = rping(&[
        "tcp", &target, "-n", "100", "-i", "5ms", "-W", "100ms", "-q", "--save", &path,
    ]);
    assert_eq!(lost.status.code(), Some(1), "{}", text(&lost.stdout));
    let code = |args: &[&str]| rping(args).status.code();
    assert_eq!(code(&["compare", &good, &path]), Some(0));
    assert_eq!(code(&["compare", &good, &path, "--fail-if-worse"]), Some(1));
    assert_eq!(
        code(&["compare", &path, &good, "--fail-if-worse"]),
        Some(0),
        "better"
    );
    let document = summary(&rping(&["compare", &good, &path, "--json"]));
    assert_eq!(document["targets"][0]["loss"]["verdict"], "worse");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let open = open_port();
    let place = Place::new();
    let one = save(&place, "one", &open, &["-n", "2", "-i", "0"]);
    for args in [
        vec!["compare", &one],
        vec!["compare", &one, "/no/such/file"],
        vec!["compare", &one, "/dev/null"],
        vec!["compare", &one, &one, "--least", "x"],
        vec!["compare", &one, &one, "-o", "csv"],
    ] {
        let output = rping(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1);
    }
    // Too short to judge is no error: it is the same, and that is said.
    let output = rping(&["compare", &one, &one, "--fail-if-worse"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).contains("too short"),
        "{}",
        text(&output.stdout)
    );
}
