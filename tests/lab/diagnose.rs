//! `rping diagnose` against faults that are known: each names its layer, and with the fault removed the same command
//! finds none.

mod bench;
mod dns;
mod program;
mod table;

use std::process::Stdio;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use jsonschema::Validator;
use rping_lab::{require_program, require_root, Lab, Pair};
use serde_json::Value;

use crate::support::{count, finish, rping, show, Run};
use bench::{address, Etc, Place};
use table::{Case, CASES};

/// What every diagnosis is bound to.
const PROMISED: Duration = Duration::from_secs(10);

/// What one run said.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    layer: String,
    confidence: String,
    summary: String,
    took: Duration,
}

/// A kernel drops ICMP errors where it is busy with another, so whether one kind of probe or two are refused, and with it
/// the confidence, is not ours to say.
const SPARING: [&str; 1] = ["a router without a route"];

#[test]
fn each_fault_is_named_by_its_layer_and_gone_when_it_is_removed() {
    let name = "each_fault_is_named_by_its_layer_and_gone_when_it_is_removed";
    if !require_root(name) || !require_program(name, "nft") || !require_program(name, "iptables-legacy") {
        return;
    }
    let next = Mutex::new(CASES.iter().enumerate());
    let results = Mutex::new(Vec::new());
    // Most of the time is waiting for silence, so several at once; not many, for each makes and removes namespaces under
    // one lock of the kernel, which those that are measured wait for.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| loop {
                let Some((number, case)) = next.lock().unwrap().next() else {
                    return;
                };
                let walk = std::panic::AssertUnwindSafe(|| walk(case));
                let walked = std::panic::catch_unwind(walk).unwrap_or_else(|panic| {
                    let text = panic.downcast_ref::<String>().map_or("it panicked", |text| text);
                    Err(text.lines().next().unwrap_or_default().to_owned())
                });
                results.lock().unwrap().push((number, case, walked));
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, ..)| *number);
    let mut rows = vec![["case", "wanted", "layer", "confidence", "repaired", "took"]
        .map(str::to_owned)
        .to_vec()];
    let mut table = String::new();
    let (mut right, mut confidently_wrong, mut faults) = (0, 0, Vec::new());
    for (_, case, walked) in &results {
        let (said, repaired) = match walked {
            Ok((said, repaired)) => (said.clone(), repaired.clone()),
            Err(fault) => {
                faults.push(format!("{}: {fault}", case.name));
                continue;
            }
        };
        let is_right = said.layer == case.layer && repaired.layer == "none";
        right += usize::from(is_right);
        let is_wrong = said.layer != case.layer && said.layer != "inconclusive";
        confidently_wrong += usize::from(is_wrong && said.confidence == "high");
        if !is_right {
            faults.push(format!("{}: {said:?}, repaired {repaired:?}", case.name));
        }
        let row = [
            case.name,
            case.layer,
            &said.layer,
            &said.confidence,
            &repaired.layer,
            &format!(
                "{:.1} s, {:.1} s",
                said.took.as_secs_f64(),
                repaired.took.as_secs_f64()
            ),
        ];
        rows.push(row.map(str::to_owned).to_vec());
        let confidence = match SPARING.contains(&case.name) && said.confidence != "low" {
            true => "high or medium",
            false => &said.confidence,
        };
        table.push_str(&format!("{}: {}, {confidence}\n", case.name, said.layer));
    }
    show("What each fault is diagnosed as:", &rows);
    assert!(
        right * 100 >= CASES.len() * 95 && confidently_wrong == 0,
        "{right} of {} right, {confidently_wrong} confidently wrong:\n{}",
        CASES.len(),
        faults.join("\n")
    );
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("diagnose/snapshots");
    let is_as_kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        settings.bind(|| insta::assert_snapshot!("verdicts", table));
    }));
    // Last, where a log that was cut in the middle still has it.
    assert!(
        is_as_kept.is_ok(),
        "the verdicts are not those of the snapshot:\n{}\n{}",
        differing(&table),
        faults.join("\n")
    );
}

/// The rows that are not the snapshot's, and those of the snapshot that are missing.
fn differing(table: &str) -> String {
    let kept = include_str!("diagnose/snapshots/verdicts.snap");
    let kept = kept.splitn(3, "---\n").nth(2).unwrap_or_default();
    let absent = |sign: &str, of: &str, among: &str| {
        let among: Vec<&str> = among.lines().collect();
        let rows = of.lines().filter(|row| !among.contains(row));
        rows.map(|row| format!("{sign} {row}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    format!("{}\n{}", absent("+", table, kept), absent("-", kept, table))
}

/// Diagnoses, repairs, diagnoses again.
fn walk(case: &Case) -> Result<(Said, Said), String> {
    let mut place = (case.place)();
    let broken = diagnose(&place)?;
    let _repaired = place.repair();
    let repaired = diagnose(&place)?;
    Ok((broken, repaired))
}

fn diagnose(place: &Place) -> Result<Said, String> {
    let run = rping(&place.from, &["diagnose", &place.target, "-o", "json"]);
    let document = document(&run)?;
    let verdict = &document["verdict"];
    let text = |key: &str| verdict[key].as_str().unwrap_or("none").to_owned();
    let said = Said {
        layer: text("layer"),
        confidence: text("confidence"),
        summary: text("summary"),
        took: Duration::from_nanos(count(&document, "duration_ns")),
    };
    let wanted = if said.layer == "none" { 0 } else { 1 };
    if run.status != Some(wanted) {
        return Err(format!("exit {:?} with {said:?}", run.status));
    }
    if said.took >= PROMISED {
        return Err(format!("took {:?}", said.took));
    }
    Ok(said)
}

/// The document, after it has been held against the published schema.
fn document(run: &Run) -> Result<Value, String> {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/rping.diagnosis-1.json");
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{path} is no JSON Schema: {error}"))
    });
    let document: Value = serde_json::from_str(&run.stdout).map_err(|error| {
        format!(
            "no document: {error}: exit {:?}: {}",
            run.status,
            run.stderr.trim()
        )
    })?;
    let faults: Vec<String> = schema
        .iter_errors(&document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    match faults.is_empty() {
        true => Ok(document),
        false => Err(faults.join("; ")),
    }
}

#[test]
fn without_privileges_it_does_what_it_can_and_says_what_it_could_not() {
    if !require_root("without_privileges_it_does_what_it_can_and_says_what_it_could_not") {
        return;
    }
    let pair = Lab::pair();
    let mut command = pair.client.unprivileged(env!("CARGO_BIN_EXE_rping"));
    let run = finish(command.args(["diagnose", "10.77.0.2:445", "-o", "json"]));
    let said = document(&run).unwrap();
    assert_eq!(
        (run.status, said["verdict"]["layer"].as_str()),
        (Some(1), Some("port")),
        "{run:?}"
    );
    let arguments = said["checks"][0]["evidence"].to_string();
    assert!(
        arguments.contains("without CAP_NET_RAW") && arguments.contains("CAP_NET_ADMIN"),
        "{arguments}"
    );
    let mut command = pair.client.unprivileged(env!("CARGO_BIN_EXE_rping"));
    let run = finish(command.args(["diagnose", "10.77.0.99:445"]));
    assert!(
        run.stdout.contains("VERDICT layer=neighbour"),
        "the kernel's table tells it, too: {run:?}"
    );
    // It saw neither packets nor rules: this host's own filter could be what drops the answers.
    bench::filter(&pair.server, "input", "tcp dport 445 drop");
    let mut command = pair.client.unprivileged(env!("CARGO_BIN_EXE_rping"));
    let run = finish(command.args(["diagnose", "10.77.0.2:445", "-q"]));
    assert!(
        run.stdout.starts_with("VERDICT layer=port confidence=medium"),
        "{run:?}"
    );
}

#[test]
fn without_a_way_to_its_name_server_that_is_whose_way_is_said_to_be_missing() {
    if !require_root("without_a_way_to_its_name_server_that_is_whose_way_is_said_to_be_missing") {
        return;
    }
    let pair = Lab::pair();
    let _etc = Etc::new(&pair.client, "", "nameserver 203.0.113.53\n");
    let run = rping(&pair.client, &["diagnose", "fileserver.test:445", "-q"]);
    assert!(
        run.stdout.starts_with("VERDICT layer=route confidence=")
            && run.stdout.contains("no route to the DNS server 203.0.113.53"),
        "{run:?}"
    );
}

#[test]
fn a_name_with_forty_addresses_is_handled_within_the_time_limit() {
    if !require_root("a_name_with_forty_addresses_is_handled_within_the_time_limit") {
        return;
    }
    let pair = Lab::pair();
    let lines: String = (0..40)
        .map(|n| format!("10.77.0.{} many.test\n", 60 + n))
        .collect();
    let _etc = Etc::new(&pair.client, &lines, "");
    let run = rping(&pair.client, &["diagnose", "many.test:445", "-o", "json"]);
    let said = document(&run).unwrap();
    assert_eq!(said["verdict"]["layer"], "neighbour", "{said:#}");
    let took = Duration::from_nanos(count(&said, "duration_ns"));
    assert!(took < PROMISED, "{said:#}");
}

#[test]
fn the_text_ends_with_the_verdict_and_doctor_is_another_word_for_it() {
    if !require_root("the_text_ends_with_the_verdict_and_doctor_is_another_word_for_it") {
        return;
    }
    let pair = Lab::pair();
    let _sink = rping_lab::Acceptor::start(&pair.server, address(Pair::SERVER_V4, 445));
    let run = rping(&pair.client, &["doctor", "10.77.0.2:445"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let last = run.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("VERDICT layer=none confidence="), "{run:?}");
    let rungs = [
        "name",
        "self",
        "link",
        "route",
        "gateway",
        "neighbour",
        "local_firewall",
        "port",
        "mtu",
    ];
    let mut rest = run.stdout.as_str();
    for rung in rungs {
        let place = rest
            .find(&format!("  {rung} "))
            .unwrap_or_else(|| panic!("no {rung}: {run:?}"));
        rest = &rest[place..];
    }
    let quiet = rping(&pair.client, &["diagnose", "10.77.0.2:445", "-q"]);
    assert_eq!(quiet.stdout.lines().count(), 1, "{quiet:?}");
}

#[test]
fn it_keeps_two_capabilities_and_gives_up_the_others() {
    if !require_root("it_keeps_two_capabilities_and_gives_up_the_others") {
        return;
    }
    let pair = Lab::pair();
    // Nobody has the address, so there is time to look.
    let mut command = pair.client.command(env!("CARGO_BIN_EXE_rping"));
    command.args(["diagnose", "10.77.0.99:445"]);
    let child = rping_lab::Background::spawn(command);
    let status = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let both = format!("{:016x}", 1u64 << 12 | 1 << 13);
    rping_lab::wait_until(
        "it has given up privileges",
        std::time::Duration::from_secs(5),
        || {
            let status = status();
            let has = |set: &str| status.lines().any(|line| line == format!("{set}:\t{both}"));
            has("CapEff") && has("CapPrm") && status.contains("NoNewPrivs:\t1")
        },
    );
}

#[test]
fn an_interrupted_diagnosis_shows_what_it_has() {
    if !require_root("an_interrupted_diagnosis_shows_what_it_has") {
        return;
    }
    let pair = Lab::pair();
    for (signal, number) in [("-INT", 2), ("-TERM", 15)] {
        // Nobody has the address: it would wait for three seconds.
        let mut command = pair.client.command(env!("CARGO_BIN_EXE_rping"));
        command.args(["diagnose", "10.77.0.99:445", "-o", "json"]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().to_string();
        rping_lab::wait_until("it catches signals", std::time::Duration::from_secs(5), || {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            caught.unwrap_or(0) & 1 << (number - 1) != 0
        });
        pair.client.exec(&["kill", signal, &id]);
        let out = child.wait_with_output().unwrap();
        let run = Run {
            status: out.status.code(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        };
        let said = document(&run).unwrap();
        let verdict = (&said["complete"], said["verdict"]["layer"].as_str());
        assert_eq!(
            (run.status, verdict),
            (Some(1), (&Value::Bool(false), Some("inconclusive"))),
            "{said:#}"
        );
        assert!(
            said["checks"][0]["evidence"].to_string().contains("cut short"),
            "{said:#}"
        );
    }
}
