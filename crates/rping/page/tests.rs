//! The page as text: foreign names, lost probes, several runs. `tests/program/page.rs` opens it in a browser.

use super::*;
use crate::job::Kind;
use crate::render::sample::{target, Run as Sample};
use crate::series::{Bin, Gatherer};

fn course(run: &Sample) -> Vec<Series> {
    let mut gatherer = Gatherer::new(run.report.epoch.started, run.report.job.targets.len());
    run.records.iter().for_each(|record| gatherer.record(record));
    let mut series = vec![Series::default(); run.report.job.targets.len()];
    for part in gatherer.take(run.report.run.span.1).parts {
        series[part.target.index()].add(part.slot, &Bin::from(&part.delta));
    }
    series
}

fn page(run: &Sample) -> String {
    let line = ["rping".to_owned(), "<b>&'\"".to_owned()];
    html(&[Run::just_run(&run.report, &course(run), &line)])
}

#[test]
fn foreign_text_is_text_wherever_it_stands() {
    let name = "<script>alert(1)</script>\"'&\u{1b}[31m";
    let mut run = Sample::new(
        Kind::Tcp,
        vec![target(Some(name), "10.0.0.1:1"), target(Some(name), "10.0.0.2:1")],
    );
    run.report.instrument.warnings = vec!["<img src=x onerror=y>".into()];
    run.reply(0, 1000).lost(0).reply(1, 2000);
    let page = page(&run);
    for forbidden in ["<script", "<img", "<b>&", "\u{1b}"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\x1b[31m"));
    assert!(page.contains("&lt;img src=x"));
}

#[test]
fn a_page_needs_nothing_from_anywhere() {
    let mut run = Sample::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    for n in 0..50 {
        run.reply(0, 1000 * n + 30_000);
    }
    let page = page(&run);
    for forbidden in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_lost_probe_is_seen_where_it_was_sent() {
    let mut run = Sample::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    run.reply(0, 1000).lost(0).reply(0, 1000);
    let page = page(&run);
    assert!(page.contains("class=\"lost\"") && page.contains("class=\"gone\""));
    assert!(page.contains("1 lost</title>"));
    assert!(page.contains("1 run, the longest 1 probe"));
    let mut whole = Sample::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    whole.reply(0, 1000);
    assert!(!super::tests::page(&whole).contains("class=\"lost\""));
}

#[test]
fn a_run_without_an_answer_and_one_without_anything_have_a_page() {
    let mut silent = Sample::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    silent.lost(0).lost(0);
    assert!(page(&silent).contains("100%"));
    let nothing = Sample::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    assert!(page(&nothing).ends_with("</html>\n"));
    assert!(html(&[]).ends_with("</html>\n"));
}

#[test]
fn many_targets_have_rows_and_the_first_have_lines() {
    let targets = (0..40).map(|n| target(None, &format!("10.0.0.{n}:0"))).collect();
    let mut run = Sample::new(Kind::Icmp, targets);
    for n in 0..40 {
        run.reply(n, 1000);
    }
    let page = page(&run);
    assert!(page.contains("first 8 of 40 targets") && page.contains("10.0.0.39</th>"));
}

#[test]
fn each_way_is_drawn_with_the_error_of_the_clocks() {
    use rping_udp::{Delay, Directions, Memory, Point, Way};
    let mut run = Sample::new(
        Kind::Udp(crate::job::UdpProtocol::Stamp),
        vec![target(None, "10.0.0.1:862")],
    );
    run.reply(0, 900_000).lost(0);
    let way = |lost, mean| Way {
        sent: 2,
        received: 2 - lost,
        lost,
        duplicates: Some(0),
        reordered: None,
        delay: Some(Delay {
            count: 1,
            min: mean,
            mean,
            max: mean,
            stddev: None,
            variation: None,
            clock_error: 41_000,
        }),
    };
    let started = run.report.epoch.started;
    run.report.directions = vec![Some(Directions {
        forward: way(1, 300_000),
        reverse: way(0, 600_000),
        unattributed: 0,
        memory: Memory::Stateful,
        restarts: 0,
        residence: None,
        offset: Some(0),
        ttl: None,
        class: None,
        course: (1..=50)
            .map(|n| Point {
                left: started.plus_nanos(n * 100_000_000),
                forward: 300_000 + n,
                reverse: 600_000 + n,
            })
            .collect(),
    })];
    let page = page(&run);
    assert!(page.contains("<h2>Each way</h2>") && page.contains("off by 41.0 µs at most"));
    assert!(page.contains("aria-label=\"One-way delays over time\"") && page.contains("reverse: 600 µs"));
    assert!(page.contains("aria-label=\"Percentiles of the one-way delays\""));
    run.report.directions = vec![None];
    assert!(!super::tests::page(&run).contains("Each way"));
}
