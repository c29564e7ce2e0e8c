use std::time::Duration;

use rping_engine::{Aside, Origin, Pace, Reason, Refusal, Stop};

use super::super::sample::{icmp_refusal, member, target, unresolved, Run};
use super::interim_text;
use crate::args::output::{Buckets, Color, OutputOptions};
use crate::job::{Kind, UdpProtocol};

fn tcp() -> Run {
    let mut run = Run::new(Kind::Tcp, vec![target(Some("fileserver:445"), "10.77.0.2:445")]);
    run.reply(0, 41_900)
        .reply(0, 1_203_000)
        .reply_from(0, None, Origin::Ip([10, 77, 0, 2].into()), 1)
        .reply(0, 38_300);
    run
}

#[test]
fn a_tcp_run_with_a_lost_syn() {
    let shown = tcp().shown(&OutputOptions::default());
    assert!(!shown.contains("1003") && !shown.contains("1.00"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_tcp_run_that_is_refused_in_several_ways() {
    let mut run = Run::new(Kind::Tcp, vec![target(None, "10.77.0.2:81")]);
    run.rejected(0, Refusal::of(Reason::PortClosed))
        .rejected(0, Refusal::of(Reason::PortClosed))
        .rejected(0, icmp_refusal(Reason::PortClosed, "10.77.0.2", (3, 3)))
        .rejected(0, icmp_refusal(Reason::AdminProhibited, "10.0.0.1", (3, 13)))
        .lost(0)
        .not_sent(0, Refusal::of(Reason::NoNeighbour));
    insta::assert_snapshot!(run.shown(&OutputOptions::default()));
}

#[test]
fn an_icmp_run_with_everything_beside_the_outcomes() {
    let mut run = Run::new(Kind::Icmp, vec![target(Some("gateway"), "10.77.0.1:0")]).job(|job| {
        job.notes
            .push("payloads under 16 bytes match by id and sequence alone".to_owned());
        job.size = 8;
        job.stop = Stop::Never;
        job.pace = Pace::WhenSettled;
    });
    run.reply(0, 41_900)
        .aside(0, Some(0), Aside::Duplicate)
        .lost(0)
        .lost(0)
        .aside(0, Some(1), Aside::Late(Duration::from_millis(1_503)))
        .aside(0, None, Aside::Corrupt)
        .aside(0, None, Aside::Unexpected);
    run.report
        .instrument
        .warnings
        .push("local_drops: this host dropped 3 packets".to_owned());
    let options = OutputOptions {
        timestamps: true,
        ..OutputOptions::default()
    };
    insta::assert_snapshot!(run.shown(&options));
}

#[test]
fn a_udp_run_met_by_silence() {
    let mut run = Run::new(
        Kind::Udp(UdpProtocol::Auto),
        vec![target(Some("host"), "[2001:db8::1]:5201")],
    );
    run.lost(0).lost(0);
    insta::assert_snapshot!(run.shown(&OutputOptions::default()));
}

#[test]
fn an_arp_run_with_a_duplicate_address() {
    let mut run = Run::new(Kind::Arp, vec![target(None, "10.77.0.7:0")]);
    run.reply_from(0, Some(25_000), Origin::Mac([2, 0, 0, 0, 0, 1]), 0)
        .reply_from(0, Some(27_000), Origin::Mac([2, 0, 0, 0, 0, 2]), 0)
        .reply_from(0, None, Origin::Mac([2, 0, 0, 0, 0, 2]), 0);
    insta::assert_snapshot!(run.shown(&OutputOptions::default()));
}

#[test]
fn several_named_targets_have_a_block_each_and_totals() {
    let targets = vec![
        target(Some("a"), "10.77.0.2:0"),
        unresolved("nosuch\x1b[2J", "no such name\u{202e}"),
    ];
    let mut run = Run::new(Kind::Icmp, targets);
    run.reply(0, 41_900);
    insta::assert_snapshot!(run.shown(&OutputOptions::default()));
}

fn sweep() -> Run {
    let targets = (1..=5)
        .map(|i| member(&format!("10.77.0.{i}:22")))
        .chain([target(Some("named:22"), "10.9.9.9:22")]);
    let mut run = Run::new(Kind::Tcp, targets.collect());
    run.reply(0, 41_900)
        .rejected(1, Refusal::of(Reason::PortClosed))
        .lost(2)
        .lost(5);
    run.not_sent(3, Refusal::of(Reason::NoNeighbour))
        .not_sent(4, Refusal::of(Reason::NoNeighbour));
    run
}

#[test]
fn of_a_block_only_who_said_something_is_listed() {
    let shown = sweep().shown(&OutputOptions::default());
    assert!(
        !shown.contains("10.77.0.3") && !shown.contains("No neighbour"),
        "{shown}"
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn all_lists_every_member_of_a_block_and_quiet_none() {
    let all = sweep().shown(&OutputOptions {
        all: true,
        ..OutputOptions::default()
    });
    assert!(
        (1..=5).all(|i| all.contains(&format!("10.77.0.{i}:22 "))),
        "{all}"
    );
    let quiet = sweep().shown(&OutputOptions {
        quiet: true,
        ..OutputOptions::default()
    });
    assert!(
        !quiet.contains("10.77.0.") && quiet.contains("6 targets: 1 answered"),
        "{quiet}"
    );
}

#[test]
fn those_alone_that_answered_are_listed_where_that_is_asked_for_however_quiet() {
    for quiet in [false, true] {
        let shown = sweep().shown(&OutputOptions {
            quiet,
            answering: true,
            ..OutputOptions::default()
        });
        let listed: Vec<_> = shown
            .lines()
            .filter(|line| line.starts_with("10.77.0."))
            .collect();
        assert_eq!(listed.len(), 1, "{shown}");
        assert!(listed[0].starts_with("10.77.0.1:22 "), "{shown}");
    }
    let all = sweep().shown(&OutputOptions {
        quiet: true,
        all: true,
        ..OutputOptions::default()
    });
    assert!(all.contains("10.77.0.5:22 "), "{all}");
    // Targets that were named one by one have no block each, either.
    let mut few = Run::new(
        Kind::Tcp,
        vec![target(None, "10.77.0.2:22"), target(None, "10.77.0.2:80")],
    );
    few.reply(0, 1000).rejected(1, Refusal::of(Reason::PortClosed));
    let shown = few.shown(&OutputOptions {
        answering: true,
        ..OutputOptions::default()
    });
    assert!(
        shown.contains("10.77.0.2:22  1 sent") && !shown.contains("10.77.0.2:80 "),
        "{shown}"
    );
}

#[test]
fn a_lost_probe_among_replies_is_not_called_silence() {
    let mut run = Run::new(Kind::Icmp, vec![target(None, "10.77.0.2:0")]);
    run.reply(0, 1000).lost(0).lost(0);
    let shown = run.shown(&OutputOptions::default());
    assert!(shown.contains("from a target that answered others"), "{shown}");
    assert!(!shown.contains("does not answer"), "{shown}");
    let mut refused = Run::new(Kind::Udp(UdpProtocol::Auto), vec![target(None, "10.77.0.2:9")]);
    refused
        .rejected(0, icmp_refusal(Reason::PortClosed, "10.77.0.2", (3, 3)))
        .lost(0);
    let shown = refused.shown(&OutputOptions::default());
    assert!(shown.contains("limit how many ICMP errors they send"), "{shown}");
}

#[test]
fn probes_on_their_way_at_the_end_are_said_beside_the_sent() {
    let mut run = Run::new(Kind::Icmp, vec![target(None, "10.77.0.2:0")]);
    run.report.run.unsettled = 2;
    let shown = run.shown(&OutputOptions::default());
    assert!(
        shown.contains("0 sent") && shown.contains("2 still on the way when it was ended"),
        "{shown}"
    );
}

#[test]
fn quiet_leaves_out_the_lines_and_keeps_the_words() {
    let mut run = Run::new(Kind::Tcp, vec![target(None, "10.77.0.2:445")]);
    run.lost(0);
    let shown = run.shown(&OutputOptions {
        quiet: true,
        ..OutputOptions::default()
    });
    assert!(
        !shown.contains("seq=") && shown.contains("Filtered or dropped"),
        "{shown}"
    );
}

#[test]
fn a_histogram_stands_in_the_targets_block() {
    let mut run = Run::new(Kind::Icmp, vec![target(None, "10.77.0.2:0")]);
    for rtt in [4142, 4143, 4160, 4162, 4169, 4184, 4190, 4198, 4199, 4212] {
        run.reply(0, rtt * 10_000);
    }
    let with = |buckets| OutputOptions {
        quiet: true,
        histogram: Some(buckets),
        ..OutputOptions::default()
    };
    insta::assert_snapshot!(run.shown(&with(Buckets::Equal(10))));
    assert!(run
        .shown(&with(Buckets::Bounds(vec![41_500_000])))
        .contains("     41.500 ms      8  ####"));
}

#[test]
fn interim_figures_are_a_line_per_target() {
    insta::assert_snapshot!(interim_text(&tcp().report));
    assert_eq!(interim_text(&sweep().report).lines().count(), 1);
}

#[test]
fn colours_change_nothing_but_the_colour() {
    for run in [tcp(), sweep()] {
        let plain = run.shown(&OutputOptions::default());
        let mut colored = run.shown(&OutputOptions {
            color: Color::Always,
            ..OutputOptions::default()
        });
        assert_ne!(plain, colored);
        for code in ["0", "1", "31", "33", "35", "36"] {
            colored = colored.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, colored);
    }
}

#[test]
fn a_run_without_a_single_probe_shows_n_a_and_no_zero() {
    for kind in [Kind::Icmp, Kind::Tcp, Kind::Udp(UdpProtocol::Echo), Kind::Arp] {
        let mut run = Run::new(kind, vec![target(None, "10.77.0.2:0")]);
        run.report.run.lateness_ns = (None, None, None);
        let shown = run.shown(&OutputOptions {
            histogram: Some(Buckets::Equal(20)),
            ..OutputOptions::default()
        });
        assert!(
            shown.contains("n/a loss") && shown.contains("stddev = n/a"),
            "{shown}"
        );
    }
    let nobody = Run::new(Kind::Icmp, Vec::new());
    assert!(nobody.shown(&OutputOptions::default()).contains("0 targets"));
}
