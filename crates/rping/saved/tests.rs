//! Saved runs, whole, cut, damaged and forged.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use rping_engine::{Aside, Reason, Refusal};

use super::*;
use crate::args::output::{Format, OutputOptions};
use crate::job::{Kind, Pace, Stop, UdpProtocol};
use crate::render::sample::{icmp_refusal, target, unresolved, Run, Shared};
use crate::series::{Bin, Gatherer};

/// Forty replies, losses in a run and alone, a refusal, a duplicate; two targets and one that does not resolve.
fn run() -> Run {
    let targets = vec![
        target(Some("fileserver:445"), "10.77.0.2:445"),
        target(None, "[fe80::1%2]:445"),
        unresolved("nobody:1", "no such name"),
    ];
    let mut run = Run::new(Kind::Tcp, targets).job(|job| {
        job.stop = Stop::Count(50);
        job.pace = Pace::Every(std::time::Duration::from_secs(1));
        job.notes = vec!["a <note>".into()];
        job.assertions = crate::Assertion::parse("p90<5ms&loss<50%").unwrap();
    });
    for n in 0..40 {
        run.reply(0, 1_000_000 + n * 977);
        if n % 9 == 0 {
            run.lost(0);
        }
    }
    run.lost(0).lost(0).aside(0, Some(3), Aside::Duplicate);
    run.reply(1, 35_000);
    run.rejected(1, icmp_refusal(Reason::AdminProhibited, "10.0.0.9", (3, 13)));
    run.not_sent(1, Refusal::of(Reason::NoRoute).errno(101));
    run
}

fn load(path: &std::path::Path) -> Result<Saved, ReadError> {
    read(open(path)?)
}

struct Kept {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

/// Writes a run as the keeping thread does, its records a second at a time.
fn kept(run: &Run, is_ended: bool) -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.rping");
    let report = &run.report;
    let line = ["rping".to_owned(), "tcp".to_owned()];
    let mut writer = Writer::create(&path, &report.job, &report.epoch, &line).unwrap();
    let mut gatherer = Gatherer::new(report.epoch.started, report.job.targets.len());
    for (n, record) in run.records.iter().enumerate() {
        gatherer.record(record);
        if n % 7 == 6 {
            let until = report.epoch.started.plus_nanos(n as u64 * 1_000_000_000);
            writer.second(&gatherer.take(until), &gatherer);
        }
    }
    writer.second(&gatherer.take(report.run.span.1), &gatherer);
    if is_ended {
        writer.finish(report).unwrap();
    }
    Kept { _dir: dir, path }
}

fn shown(saved: &Saved, format: Format) -> String {
    let out = Shared::default();
    let options = OutputOptions {
        format,
        ..OutputOptions::default()
    };
    crate::render::show(saved, &options, Box::new(out.clone()), false).unwrap();
    out.text()
}

#[test]
fn a_saved_run_is_shown_as_it_was() {
    let run = run();
    let kept = kept(&run, true);
    let saved = load(&kept.path).unwrap();
    assert_eq!(saved.damage, Damage::default());
    let json = OutputOptions {
        format: Format::Json,
        ..OutputOptions::default()
    };
    assert_eq!(shown(&saved, Format::Json), run.shown(&json));
    let quiet = OutputOptions {
        quiet: true,
        ..OutputOptions::default()
    };
    assert_eq!(shown(&saved, Format::Text), run.shown(&quiet));
    assert_eq!(saved.report.exit_code(), run.report.exit_code());
    let received: u64 = saved.series[0].bins().map(|(_, bin)| bin.counts.received).sum();
    let lost: u64 = saved.series[0].bins().map(|(_, bin)| bin.counts.lost).sum();
    assert_eq!((received, lost), (40, 7));
}

#[test]
fn what_was_asked_for_survives_for_every_kind() {
    for kind in [
        Kind::Icmp,
        Kind::Arp,
        Kind::Udp(UdpProtocol::Stamp),
        Kind::Udp(UdpProtocol::Auto),
    ] {
        for (stop, pace) in [
            (Stop::Never, Pace::WhenSettled),
            (
                Stop::After(std::time::Duration::from_millis(1500)),
                Pace::Every(std::time::Duration::from_micros(10)),
            ),
        ] {
            let run = Run::new(kind, vec![target(None, "10.0.0.1:0")]).job(|job| {
                (job.stop, job.pace) = (stop, pace);
                job.source = Some("10.0.0.9".parse().unwrap());
                job.max_rate = Some(0.5);
                job.dscp = Some(46);
            });
            let kept = kept(&run, true);
            assert_eq!(load(&kept.path).unwrap().report.job, run.report.job);
        }
    }
}

#[test]
fn a_run_that_was_killed_is_shown_up_to_its_last_whole_second() {
    let run = run();
    let kept = kept(&run, false);
    let whole = load(&kept.path).unwrap();
    assert_eq!(whole.damage.ends_after_ns, Some(48_000_000_000));
    let (mine, theirs) = (&whole.report.run.targets[0], &run.report.run.targets[0]);
    assert_eq!((mine.counts.received, mine.counts.lost), (40, 7));
    assert_eq!(mine.stats.rtt(), theirs.stats.rtt(), "exact moments");
    assert_eq!(mine.stats.histogram(), theirs.stats.histogram());
    assert_eq!(mine.stats.loss_runs().parts(), theirs.stats.loss_runs().parts());
    assert_eq!(mine.stats.jitter_rfc3550(), theirs.stats.jitter_rfc3550());
    let refused = *whole.report.run.targets[1].last_refusal.as_deref().unwrap();
    assert_eq!((refused.reason, refused.errno), (Reason::NoRoute, Some(101)));

    // Cut anywhere: never less than the whole lines before, never a panic, never a line that is half there.
    let bytes = fs::read(&kept.path).unwrap();
    let head = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
    let mut before = 0;
    for cut in (head..bytes.len()).step_by(97) {
        let saved = read(&bytes[..cut]).unwrap();
        assert_eq!(saved.damage.bad_lines, 0);
        let received = saved.report.run.targets.first().map_or(0, |t| t.counts.received);
        assert!(received >= before && saved.damage.ends_after_ns.is_some());
        before = received;
        shown(&saved, Format::Text);
    }
    assert!(before > 20);
}

#[test]
fn a_damaged_line_costs_itself_alone_and_is_told() {
    let run = run();
    let kept = kept(&run, false);
    let mut bytes = fs::read(&kept.path).unwrap();
    let lines: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(|(at, _)| at)
        .collect();
    // In the middle of the first second.
    bytes[lines[3] + 40] ^= 1;
    let saved = read(&bytes[..]).unwrap();
    assert_eq!(saved.damage.bad_lines, 1);
    let received = saved.report.run.targets[0].counts.received;
    assert!((30..40).contains(&received), "{received}");
    let warnings = &saved.report.instrument.warnings;
    assert!(
        warnings.iter().any(|w| w.contains("1 line is damaged")),
        "{warnings:?}"
    );
}

#[test]
fn foreign_headless_and_newer_files_are_told_apart() {
    let line = |json: &str| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    let error = |bytes: &[u8]| read(bytes).expect_err("nothing to be had").to_string();
    for foreign in [&b""[..], b"\n", b"PK\x03\x04", b"{}", &[0xff; 100_000]] {
        assert!(error(foreign).contains("no saved run"));
    }
    assert!(
        error(line("{\"type\":\"header\",\"format\":\"rping.saved/9\"}").as_bytes())
            .contains("rping.saved/9")
    );
    assert!(error(line("{\"type\":\"header\",\"format\":\"rping.saved/1\"}").as_bytes()).contains("damaged"));
    assert!(
        error(line("{\"type\":\"header\",\"format\":\"x\\u001b[31m\"}").as_bytes()).contains("no saved run")
    );
    assert!(error(b"00000000 {\"type\":\"header\",\"format\":\"rping.saved/1\"}\n").contains("damaged"));

    let run = run();
    let kept = kept(&run, true);
    let mut bytes = fs::read(&kept.path).unwrap();
    bytes.extend(line("{\"type\":\"colour\",\"x\":[1]}").as_bytes());
    let saved = read(&bytes[..]).unwrap();
    assert_eq!((saved.damage.unknown_lines, saved.damage.bad_lines), (1, 0));
}

#[test]
fn forged_numbers_neither_overflow_nor_allocate() {
    let run = run();
    let kept = kept(&run, false);
    let whole = fs::read(&kept.path).unwrap();
    let line = |json: &str| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes();
    let max = u64::MAX;
    let forged = [
        format!("{{\"type\":\"second\",\"from_ns\":0,\"until_ns\":{max},\"parts\":[{{\"target\":0,\"start_ns\":{max},\"width_ns\":{max},\"received\":{max}}}]}}"),
        format!("{{\"type\":\"second\",\"from_ns\":0,\"until_ns\":1,\"parts\":[{{\"target\":0,\"start_ns\":{max},\"width_ns\":0,\"received\":72057594037927936,\"lost\":72057594037927936}}]}}"),
        format!("{{\"type\":\"second\",\"from_ns\":0,\"until_ns\":1,\"parts\":[{{\"target\":{},\"start_ns\":0,\"width_ns\":0}}]}}", u32::MAX),
        "{\"type\":\"second\",\"from_ns\":0,\"until_ns\":1,\"parts\":[{\"target\":0,\"start_ns\":0,\"width_ns\":1,\"rtt\":{\"histogram\":\"HISTFAAA\"}}]}".into(),
        "{\"type\":\"second\",\"from_ns\":0,\"until_ns\":1,\"parts\":[{\"target\":0,\"start_ns\":0,\"width_ns\":1,\"rtt\":{\"moments\":{\"count\":3,\"min_ns\":9,\"max_ns\":1,\"sum_ns\":\"1\",\"squares\":\"1\"}}}]}".into(),
        format!("{{\"type\":\"end\",\"duration_ns\":{max},\"interrupted\":false,\"unsettled\":{max},\"lateness_ns\":[1,2,{max}]}}"),
    ];
    let mut bytes = whole.clone();
    for _ in 0..40 {
        for json in &forged {
            bytes.extend(line(json));
        }
    }
    bytes.extend(vec![b'x'; LONGEST_LINE + 10]);
    bytes.push(b'\n');
    let saved = read(&bytes[..]).unwrap();
    assert!(saved.damage.bad_lines > 40, "{:?}", saved.damage);
    for format in [Format::Text, Format::Json, Format::Ndjson, Format::Csv] {
        shown(&saved, format);
    }
}

#[test]
fn merged_runs_hold_every_reply_of_each() {
    let (a, mut b) = (
        run(),
        Run::new(Kind::Tcp, vec![target(Some("fileserver:445"), "10.77.0.2:445")]),
    );
    for ns in [5_000, 7_000_000, 9_000] {
        b.reply(0, ns);
    }
    b.report.epoch.started_unix_ns += 3_600_000_000_000;
    let (first, second) = (kept(&a, true), kept(&b, true));
    let merged = merge(vec![
        ("b".into(), load(&second.path).unwrap()),
        ("a".into(), load(&first.path).unwrap()),
    ])
    .unwrap();
    assert_eq!(merged.header.merged, ["a", "b"], "in the order of time");
    let out = first.path.with_file_name("merged");
    merged.write(&out, &["rping".into()]).unwrap();
    let again = load(&out).unwrap();
    for saved in [&merged, &again] {
        let target = &saved.report.run.targets[0];
        let mut stats = a.report.run.targets[0].stats.clone();
        stats.merge(&b.report.run.targets[0].stats);
        assert_eq!(saved.report.job.targets.len(), 3);
        assert_eq!(target.counts.received, 43);
        assert_eq!(target.stats.rtt(), stats.rtt());
        assert_eq!(target.stats.histogram(), stats.histogram());
        let in_series: u64 = saved.series[0].bins().map(|(_, bin)| bin.rtt.len()).sum();
        assert_eq!(in_series, 43);
        let last = saved.series[0].bins().last().unwrap().0;
        assert!(last >= 3_600_000_000_000);
    }
    let other = kept(&Run::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]), true);
    let kinds = merge(vec![
        ("a".into(), load(&first.path).unwrap()),
        ("c".into(), load(&other.path).unwrap()),
    ]);
    assert!(kinds.unwrap_err().to_string().contains("icmp"));
}

#[test]
fn a_run_is_not_counted_twice() {
    let (a, mut b) = (run(), run());
    b.report.epoch.started_unix_ns += 1_000_000_000;
    let (first, second) = (kept(&a, true), kept(&b, true));
    let twice = merge(vec![
        ("a".into(), load(&first.path).unwrap()),
        ("copy of a".into(), load(&first.path).unwrap()),
    ]);
    let said = twice.unwrap_err().to_string();
    assert!(said.contains("a and copy of a hold the same run"), "{said}");
    // Nor when it is in a file of several already.
    let both = merge(vec![
        ("a".into(), load(&first.path).unwrap()),
        ("b".into(), load(&second.path).unwrap()),
    ])
    .unwrap();
    let out = first.path.with_file_name("both");
    both.write(&out, &["rping".into()]).unwrap();
    let again = merge(vec![
        ("both".into(), load(&out).unwrap()),
        ("b".into(), load(&second.path).unwrap()),
    ]);
    assert!(again
        .unwrap_err()
        .to_string()
        .contains("both and b hold the same run"));
}

#[test]
fn a_device_without_room_is_told_before_anything_is_sent() {
    let run = run();
    let full = std::path::Path::new("/dev/full");
    let error = Writer::create(full, &run.report.job, &run.report.epoch, &[]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn many_values_are_kept_as_a_histogram_and_few_one_by_one() {
    let mut scratch = rping_stats::Histogram::new();
    for n in [0u64, 1, 32, 33, 5000] {
        let values: Vec<u64> = (0..n).map(|v| v * v * 31).collect();
        let sampled = sampled::Sampled::of(&values, &mut scratch);
        assert_eq!(sampled.histogram.is_some(), n > 32);
        let (moments, histogram) = sampled.read(3).unwrap();
        let delta = crate::series::Delta {
            rtt: values,
            ..Default::default()
        };
        let bin = Bin::from(&delta);
        assert_eq!((moments, histogram.len()), (bin.moments, n));
        assert_eq!(rping_stats::Sparse::from(&histogram), bin.rtt);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_reading_panic(at in 0usize..20_000, with in proptest::collection::vec(any::<u8>(), 0..40)) {
        use std::sync::OnceLock;
        static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
        let whole = WHOLE.get_or_init(|| fs::read(kept(&run(), true).path).unwrap());
        let mut bytes = whole.clone();
        let at = at % bytes.len();
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(saved) = read(&bytes[..]) {
            shown(&saved, Format::Text);
        }
    }

    #[test]
    fn any_json_under_a_true_checksum_is_survived(json in "\\{\"type\":\"(second|figures|end|target)\"(,\"(from_ns|until_ns|parts|target|start_ns|received|duration_ns|interrupted|running|rtt)\":(-?[0-9]{1,20}|null|true|\\[\\]|\\{\\}|\"x\")){0,6}\\}") {
        let kept = kept(&Run::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]), false);
        let mut bytes = fs::read(kept.path).unwrap();
        bytes.extend(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).bytes());
        shown(&read(&bytes[..]).unwrap(), Format::Json);
    }
}

#[test]
fn what_a_reflector_told_of_each_way_is_kept() {
    use rping_udp::{ClassSeen, Delay, Directions, Memory, Point, Span, Way};
    let mut run = Run::new(
        Kind::Udp(UdpProtocol::Stamp),
        vec![target(None, "10.77.0.2:5201"), target(None, "10.77.0.3:5201")],
    );
    run.reply(0, 1_000_000).lost(0).lost(0).reply(1, 5_000);
    let way = |sent, received, lost| Way {
        sent,
        received,
        lost,
        duplicates: Some(4),
        reordered: None,
        delay: Some(Delay {
            count: 1,
            min: 11,
            mean: 12,
            max: 13,
            stddev: None,
            variation: Some(14),
            clock_error: 15,
        }),
    };
    run.report.directions = vec![
        Some(Directions {
            forward: way(3, 2, 1),
            reverse: way(2, 1, 0),
            unattributed: 1,
            memory: Memory::Stateful,
            restarts: 2,
            residence: Some(Span {
                count: 1,
                min: 16,
                mean: 17,
                max: 18,
            }),
            offset: Some(-19),
            ttl: Some((61, 62)),
            class: Some(ClassSeen { dscp: 46, ecn: 1 }),
            course: vec![Point {
                left: run.report.epoch.started.plus_nanos(5),
                forward: 6,
                reverse: 7,
            }],
        }),
        None,
    ];
    let kept = kept(&run, true);
    let saved = load(&kept.path).unwrap();
    assert_eq!(saved.damage, Damage::default());
    // A saved run counts its time from its own start.
    let mut wanted = run.report.directions.clone();
    if let Some(told) = &mut wanted[0] {
        told.course[0].left = rping_engine::Timestamp::from_nanos(5);
    }
    assert_eq!(saved.report.directions, wanted);
    let json = OutputOptions {
        format: Format::Json,
        ..OutputOptions::default()
    };
    assert_eq!(shown(&saved, Format::Json), run.shown(&json));
    let mut other = saved.clone();
    other.header.run_id = Some("another".to_owned());
    let both = merge(vec![("one".to_owned(), saved), ("two".to_owned(), other)]).unwrap();
    assert_eq!(both.report.directions, []);
}
