//! What the machine-readable formats promise.

use std::time::Duration;

use serde_json::Value;

use rping_engine::{Aside, Origin, Reason, Refusal, Stop};

use super::sample::{icmp_refusal, target, unresolved, Run};
use crate::args::output::{Format, OutputOptions};
use crate::job::{Kind, UdpProtocol};

fn shown(run: &Run, format: Format) -> String {
    run.shown(&OutputOptions {
        format,
        ..OutputOptions::default()
    })
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&shown(run, Format::Json)).unwrap()
}

fn schema(name: &str) -> Value {
    let text = match name {
        "run" => include_str!("../../../docs/schema/rping.run-1.json"),
        _ => include_str!("../../../docs/schema/rping.probe-1.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn check(name: &str, instance: &Value) {
    let run = jsonschema::Resource::from_contents(schema("run"));
    let registry = jsonschema::Registry::new()
        .add("urn:rping:schema:run:1", run)
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options()
        .with_registry(&registry)
        .build(&schema(name))
        .unwrap();
    let errors: Vec<_> = validator
        .iter_errors(instance)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {instance:#}");
}

/// A run with every outcome and everything beside them.
fn busy() -> Run {
    let targets = vec![
        target(Some("fileserver:445"), "10.77.0.2:445"),
        unresolved("no\"such\u{202e}", "no such name"),
    ];
    let mut run = Run::new(Kind::Tcp, targets);
    run.reply(0, 41_900)
        .reply_from(0, None, Origin::Ip([10, 77, 0, 2].into()), 2)
        .rejected(0, icmp_refusal(Reason::AdminProhibited, "10.0.0.1", (3, 13)))
        .lost(0)
        .not_sent(
            0,
            Refusal {
                mtu: Some(1400),
                errno: Some(90),
                ..Refusal::of(Reason::PacketTooBig)
            },
        )
        .aside(0, Some(3), Aside::Late(Duration::from_millis(3_100)))
        .aside(0, Some(0), Aside::Duplicate)
        .aside(0, None, Aside::Corrupt)
        .aside(0, None, Aside::Unexpected);
    run
}

/// Keys in the order in which they were written, dots between levels; indices left out.
fn keys(pretty: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let (indent, rest) = (line.len() - line.trim_start().len(), line.trim_start());
        let key = rest.strip_prefix('"')?.split_once("\":")?.0;
        Some((indent / 2, key.to_owned()))
    };
    pretty
        .lines()
        .filter_map(of_line)
        .map(|(depth, key)| format!("{depth}.{key}"))
        .collect()
}

#[test]
fn the_document_holds_the_promised_keys_in_the_promised_order() {
    let mut run = Run::new(Kind::Tcp, vec![target(Some("fileserver:445"), "10.77.0.2:445")]);
    run.reply(0, 41_900);
    let written = keys(&shown(&run, Format::Json));
    let promised = "1.schema 1.version 1.command 1.started_at 1.duration_ns 1.options 2.count 2.interval_ns 2.timeout_ns \
        2.warmup 2.size 1.instrument 2.timestamps 3.tx 3.rx 2.pacing 2.lateness_ns 3.p50 3.p99 3.max 2.local_drops \
        2.warnings 1.totals 2.targets 2.answered 2.attempted 2.sent 2.received 2.rejected 2.lost 2.not_sent 1.targets \
        3.target 3.address 3.port 3.error 3.attempted 3.sent 3.received 3.rejected 3.lost 3.not_sent 3.late \
        3.duplicates 3.reordered 3.corrupt 3.truncated 3.unexpected 3.syn_lost 3.loss_ratio 3.reasons 3.from 3.rtt_ns \
        4.count 4.min 4.mean 4.max 4.stddev 4.p50 4.p90 4.p95 4.p99 4.p999 3.rtt_from_due_ns 4.p50 4.p99 4.max \
        3.jitter_ns 4.rfc3550 4.ipdv_mean 3.forward 3.reverse 3.histogram 1.assertions";
    let mut rest = written.iter();
    for key in promised.split_whitespace() {
        assert!(
            rest.any(|k| k == key),
            "{key} is missing or out of order in {written:?}"
        );
    }
}

#[test]
fn the_document_of_a_busy_run_follows_the_schema_and_adds_up() {
    let doc = document(&busy());
    check("run", &doc);
    let t = &doc["targets"][0];
    for (key, value) in [
        ("attempted", 5),
        ("sent", 4),
        ("received", 2),
        ("rejected", 1),
        ("lost", 1),
        ("not_sent", 1),
    ] {
        assert_eq!(t[key], value, "{key}");
        assert_eq!(doc["totals"][key], value, "{key}");
    }
    assert_eq!(t["syn_lost"], 2);
    assert_eq!(t["loss_ratio"], 0.5);
    assert_eq!(
        t["reasons"],
        serde_json::json!({ "admin_prohibited": 1, "packet_too_big": 1 })
    );
    assert_eq!(t["rtt_ns"]["count"], 1);
    assert_eq!(t["rtt_ns"]["min"], 41_900);
    assert_eq!(t["rtt_ns"]["p50"], Value::Null);
    assert!(t["histogram"].as_str().unwrap().starts_with("HISTF"));
    assert_eq!(doc["started_at"], "2026-11-22T21:30:00.123456789Z");
    assert_eq!(doc["instrument"]["timestamps"]["tx"], "tcp_info");
}

#[test]
fn an_unresolved_target_appears_with_its_error_and_nothing_counted() {
    let doc = document(&busy());
    let t = &doc["targets"][1];
    assert_eq!(t["target"], "no\"such\u{202e}");
    assert_eq!(t["error"], "no such name");
    assert!(t["address"].is_null() && t["port"].is_null() && t["loss_ratio"].is_null());
    assert!(t["rtt_ns"]["min"].is_null() && t["histogram"].is_null());
    assert_eq!(t["attempted"], 0);
}

#[test]
fn options_tell_what_was_asked_for() {
    let options = |run: Run| document(&run)["options"].clone();
    let tcp = options(Run::new(Kind::Tcp, vec![target(None, "10.0.0.1:1")]));
    assert_eq!(tcp["size"], Value::Null);
    assert_eq!(
        (&tcp["count"], &tcp["timeout_ns"]),
        (&4.into(), &3_000_000_000u64.into())
    );
    let timed = Run::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]).job(|job| {
        job.stop = Stop::After(Duration::from_secs(10));
        job.pace = rping_engine::Pace::WhenSettled;
    });
    let timed = options(timed);
    assert_eq!(
        (&timed["count"], &timed["interval_ns"], &timed["size"]),
        (&Value::Null, &0.into(), &32.into())
    );
    let size = |kind, address| options(Run::new(kind, vec![target(None, address)]))["size"].clone();
    assert_eq!(size(Kind::Udp(UdpProtocol::Auto), "10.0.0.1:7"), 32);
    assert_eq!(size(Kind::Udp(UdpProtocol::Auto), "10.0.0.1:862"), 44);
}

#[test]
fn a_document_without_targets_or_probes_follows_the_schema() {
    for kind in [Kind::Icmp, Kind::Udp(UdpProtocol::Echo), Kind::Arp] {
        check("run", &document(&Run::new(kind, Vec::new())));
        check(
            "run",
            &document(&Run::new(kind, vec![target(None, "[fe80::1%3]:0")])),
        );
    }
}

#[test]
fn every_line_of_the_stream_follows_the_schema() {
    let text = shown(&busy(), Format::Ndjson);
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for line in &lines {
        check("probe", line);
    }
    let kinds: Vec<_> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
    let probes = ["probe"; 5];
    assert_eq!(
        kinds,
        [
            &probes[..],
            &["late", "duplicate", "corrupt", "unexpected", "summary"]
        ]
        .concat()
    );
    let mut summary = lines.last().unwrap().clone();
    summary.as_object_mut().unwrap().remove("type");
    assert_eq!(summary, document(&busy()));
    insta::assert_snapshot!(text.lines().take(9).collect::<Vec<_>>().join("\n"));
}

#[test]
fn rows_have_as_many_cells_as_the_header_and_defuse_formulas() {
    let mut run = Run::new(
        Kind::Icmp,
        vec![target(Some("=cmd|' /C calc'!A1,x"), "10.77.0.2:0")],
    );
    run.reply(0, 41_900)
        .lost(0)
        .rejected(0, icmp_refusal(Reason::TimeExceeded, "10.0.0.1", (11, 0)));
    run.not_sent(0, Refusal::of(Reason::NoRoute).errno(101)).aside(
        0,
        Some(1),
        Aside::Late(Duration::from_secs(2)),
    );
    run.aside(0, None, Aside::Unexpected);
    let text = shown(&run, Format::Csv);
    let quoted = "\"'=cmd|' /C calc'!A1,x\"";
    let cells = |row: &str| row.replace(quoted, "x").split(',').count();
    let header = text.lines().next().unwrap();
    assert_eq!(text.lines().count(), 7);
    for row in text.lines().skip(1) {
        assert!(row.contains(quoted), "{row}");
        assert_eq!(cells(row), cells(header), "{row}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_that_acts_on_a_terminal_is_written_in_any_format() {
    let evil = "a\x1b[2J\u{202e}\u{9b}31m\r\nb";
    let mut run = Run::new(
        Kind::Tcp,
        vec![unresolved(evil, evil), target(Some(evil), "10.77.0.2:1")],
    )
    .job(|job| {
        job.notes.push(evil.to_owned());
    });
    run.report.instrument.warnings.push(format!("x: {evil}"));
    run.report.failure = Some(evil.to_owned());
    run.lost(1);
    for format in [Format::Text, Format::Json, Format::Ndjson, Format::Csv] {
        let text = shown(&run, format);
        assert!(
            !text.contains(|c| c != '\n' && super::escape::acts(c)),
            "{text:?}"
        );
    }
}

#[test]
fn a_writer_that_fails_is_told_of() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let run = busy();
    for format in [Format::Text, Format::Json, Format::Ndjson, Format::Csv] {
        let options = OutputOptions {
            format,
            ..OutputOptions::default()
        };
        let mut render = super::renderer(&options, run.report.job.clone(), Box::new(Full), false);
        let failed = render
            .begin(&run.report.job, &run.report.epoch)
            .and_then(|()| render.end(&run.report));
        assert_eq!(
            failed.unwrap_err().kind(),
            std::io::ErrorKind::StorageFull,
            "{format:?}"
        );
    }
}
