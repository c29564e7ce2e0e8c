//! What a run amounts to, in text: a block or a line for each target, the totals, the instrument's own line.

use std::fmt::Write as _;
use std::io::{self, Write};

use rping_engine::{Counts, TargetReport};

use super::super::escape::Escaped;
use super::super::figures::{self, loss_with_syns, Rtt, Totals};
use super::super::style::{Style, Tone};
use super::super::units::{counted, time, OrNone, Percent, Time};
use super::super::{directions, histogram, words};
use super::{few, full_name, Out};
use crate::args::output::OutputOptions;
use crate::job::Target;
use crate::report::Report;
use rping_udp::Directions;

/// The widest column of names.
const NAME: usize = 44;

/// Writes the targets' part and the totals; returns which targets were listed.
pub(super) fn write(
    out: &mut Out,
    style: Style,
    options: &OutputOptions,
    few: bool,
    report: &Report,
) -> io::Result<Vec<usize>> {
    let both = report.job.targets.iter().zip(&report.run.targets);
    let listed: Vec<usize> = both
        .enumerate()
        .filter(|(_, (t, r))| few || is_listed(options, t, r))
        .map(|(i, _)| i)
        .collect();
    let one = |i: &usize| Some((report.job.targets.get(*i)?, report.run.targets.get(*i)?));
    if few {
        for i in &listed {
            if let Some((target, of)) = one(i) {
                let told = report.directions.get(*i).and_then(Option::as_ref);
                // Whose they are is only known where there is one.
                let unsettled = match report.job.targets.len() {
                    1 => report.run.unsettled,
                    _ => 0,
                };
                block(out, style, options, target, of, told, unsettled)?;
            }
        }
    } else {
        let width = listed
            .iter()
            .filter_map(one)
            .map(|(t, _)| full_name(t).chars().count())
            .max();
        let width = width.unwrap_or(0).min(NAME);
        for (target, of) in listed.iter().filter_map(one) {
            writeln!(out, "{}", row(style, width, target, of))?;
            if let Some(wanted) = &options.histogram {
                out.write_all(histogram::lines(of, wanted).as_bytes())?;
            }
        }
    }
    if report.job.targets.len() > 1 {
        let hidden = report.job.targets.len() - listed.len();
        let hint = options.quiet && !options.answering && listed.is_empty();
        totals(out, style, report, hidden, hint)?;
    }
    Ok(listed)
}

/// A member of a block or range is listed if it said anything; all others always are. What was asked for by name, all or
/// those that answered, goes before what `-q` leaves out.
fn is_listed(options: &OutputOptions, target: &Target, of: &TargetReport) -> bool {
    match target.from_block {
        _ if options.answering => of.counts.received > 0,
        true if options.all => true,
        true if options.quiet => false,
        true => of.counts.received > 0 || of.counts.rejected > 0,
        false => true,
    }
}

fn block(
    out: &mut Out,
    style: Style,
    options: &OutputOptions,
    target: &Target,
    of: &TargetReport,
    directions: Option<&Directions>,
    unsettled: u64,
) -> io::Result<()> {
    writeln!(
        out,
        "\n{}",
        style.paint(Tone::Head, format_args!("--- {} ---", full_name(target)))
    )?;
    if let Some(error) = &target.error {
        return writeln!(out, "not probed: {}", style.paint(Tone::Own, Escaped(error)));
    }
    writeln!(out, "{}", counters(style, &of.counts, unsettled))?;
    let rtt = Rtt::of(of);
    writeln!(out, "{}", round_trip(&rtt))?;
    if rtt.count > 0 {
        let mut line = String::new();
        for (name, value) in rtt.percentiles() {
            let _ = write!(
                line,
                "{}{name} {}",
                if line.is_empty() { "" } else { ", " },
                Time(value)
            );
        }
        if !line.is_empty() {
            writeln!(out, "percentiles: {line}")?;
        }
        let stats = &of.stats;
        let rfc3550 = time(stats.jitter_rfc3550().map(figures::whole));
        let ipdv = time(stats.ipdv_mean().map(figures::whole));
        writeln!(out, "jitter: {rfc3550} (RFC 3550), {ipdv} (mean IPDV)")?;
    }
    if let Some(residence) = &of.residence {
        let quantile = |q| time(residence.histogram.quantile(q));
        writeln!(
            out,
            "server residence: {}p50 {}, p99 {}, max {} (as it says, taken out of the times above; with it p50 {}, p99 {}, max {})",
            share(&rtt, residence.moments.mean()),
            quantile(0.5),
            quantile(0.99),
            time(residence.moments.max()),
            time(residence.gross.quantile(0.5)),
            time(residence.gross.quantile(0.99)),
            time(residence.gross_moments.max())
        )?;
    }
    loss_runs(out, style, of)?;
    if let Some(directions) = directions {
        out.write_all(directions::lines(directions).as_bytes())?;
    }
    if let Some(line) = besides(&of.counts) {
        writeln!(out, "besides: {}", style.paint(Tone::Aside, line))?;
    }
    if let Some(line) = reasons(of) {
        writeln!(out, "reasons: {}", style.paint(Tone::Warn, line))?;
    }
    if of.from.len() > 1 {
        let from: Vec<_> = of.from.iter().map(ToString::to_string).collect();
        writeln!(out, "answered by: {}", from.join(", "))?;
    }
    match &options.histogram {
        Some(wanted) => out.write_all(histogram::lines(of, wanted).as_bytes()),
        None => Ok(()),
    }
}

/// `4 sent, 3 received, 1 lost, 0 rejected, 0 not sent, 25% loss`; where the run was ended before some were settled, that
/// is said, since they are not among the sent.
fn counters(style: Style, counts: &Counts, unsettled: u64) -> String {
    let loss = loss_with_syns(counts);
    let shown = OrNone(loss.map(Percent));
    let loss = style
        .paint_if(
            loss.is_some_and(|l| l > 0.0),
            Tone::Bad,
            format_args!("{shown} loss"),
        )
        .to_string();
    let mut line = format!(
        "{} sent, {} received, {} lost, {} rejected, {} not sent, {loss}",
        counts.sent(),
        counts.received,
        counts.lost,
        counts.rejected,
        counts.not_sent
    );
    if counts.syn_lost > 0 {
        let again = counted(
            counts.syn_lost,
            "SYN was lost and sent again, which counts",
            "SYNs were lost and sent again, which count",
        );
        let packets = counts.sent().saturating_add(counts.syn_lost);
        let lost = packets.saturating_sub(counts.received);
        let _ = write!(line, " ({again}: {lost} of {packets})");
    }
    if unsettled > 0 {
        let _ = write!(
            line,
            "; {unsettled} still on the way when it was ended, not counted"
        );
    }
    line
}

fn round_trip(rtt: &Rtt) -> String {
    if rtt.count == 0 {
        return "min/avg/max/stddev = n/a".to_owned();
    }
    let [min, avg, max, stddev] = [rtt.min, rtt.mean, rtt.max, rtt.stddev].map(time);
    format!("min/avg/max/stddev = {min} / {avg} / {max} / {stddev}")
}

/// What part of the whole round trip the server held the requests for: `1.2% of the round trip, `.
fn share(rtt: &Rtt, held: Option<f64>) -> String {
    let (Some(mean), Some(held)) = (rtt.mean, held) else {
        return String::new();
    };
    let whole = mean as f64 + held;
    match whole > 0.0 {
        true => format!("{} of the whole round trip, ", Percent(held / whole)),
        false => String::new(),
    }
}

fn loss_runs(out: &mut Out, style: Style, of: &TargetReport) -> io::Result<()> {
    let runs = of.stats.loss_runs();
    let Some(longest) = runs.longest() else {
        return Ok(());
    };
    let count = counted(runs.count(), "run", "runs");
    write!(
        out,
        "loss runs: {count}, the longest {}",
        counted(longest, "probe", "probes")
    )?;
    match runs.longest_outage_ns() {
        Some(ns) if ns > 0 => writeln!(out, ", {}", style.paint(Tone::Bad, Time(ns))),
        _ => writeln!(out),
    }
}

fn besides(counts: &Counts) -> Option<String> {
    let all = [
        (counts.late, "late"),
        (counts.duplicates, "duplicate"),
        (counts.reordered, "out of order"),
        (counts.corrupt, "corrupt"),
        (counts.truncated, "truncated"),
        (counts.unexpected, "unexpected"),
        (counts.skipped, "skipped by this host"),
    ];
    let some: Vec<_> = all
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    (!some.is_empty()).then(|| some.join(", "))
}

fn reasons(of: &TargetReport) -> Option<String> {
    let some: Vec<_> = figures::reasons(of)
        .map(|(reason, n)| format!("{n} {}", words::phrase(reason)))
        .collect();
    (!some.is_empty()).then(|| some.join(", "))
}

/// One target in one line.
fn row(style: Style, width: usize, target: &Target, of: &TargetReport) -> String {
    let name = format!("{:<width$}", full_name(target));
    if let Some(error) = &target.error {
        return format!("{name}  not probed: {}", style.paint(Tone::Own, Escaped(error)));
    }
    let counts = &of.counts;
    let mut line = format!("{name}  {} sent, {} received", counts.sent(), counts.received);
    if counts.not_sent > 0 {
        let _ = write!(line, ", {} not sent", counts.not_sent);
    }
    let loss = loss_with_syns(counts);
    let shown = OrNone(loss.map(Percent));
    let bad = loss.is_some_and(|l| l > 0.0);
    let _ = write!(
        line,
        ", {}",
        style.paint_if(bad, Tone::Bad, format_args!("{shown} loss"))
    );
    let rtt = Rtt::of(of);
    if rtt.count > 0 {
        let [min, avg, max] = [rtt.min, rtt.mean, rtt.max].map(time);
        let _ = write!(line, ", min/avg/max = {min} / {avg} / {max}");
    }
    if let Some(why) = reasons(of) {
        let _ = write!(line, ": {}", style.paint(Tone::Warn, why));
    }
    line
}

fn totals(out: &mut Out, style: Style, report: &Report, hidden: usize, hint: bool) -> io::Result<()> {
    let t = Totals::of(report);
    let only_rejected = report
        .run
        .targets
        .iter()
        .filter(|r| r.counts.received == 0 && r.counts.rejected > 0)
        .count();
    writeln!(out, "\n{}", style.paint(Tone::Head, "--- totals ---"))?;
    write!(
        out,
        "{}: {} answered",
        counted(t.targets, "target", "targets"),
        t.answered
    )?;
    if only_rejected > 0 {
        write!(out, ", {only_rejected} rejected")?;
    }
    let silent = t
        .targets
        .saturating_sub(t.answered)
        .saturating_sub(only_rejected as u64);
    write!(out, ", {silent} without an answer")?;
    match hidden {
        0 => writeln!(out)?,
        n if hint && t.answered > 0 => writeln!(out, " ({n} not listed; --answering lists who answered)")?,
        n => writeln!(out, " ({n} not listed)")?,
    }
    writeln!(out, "{}", counters(style, &t.counts(), report.run.unsettled))
}

/// The last lines: what the instrument says of itself, and its warnings.
pub(super) fn closing(out: &mut Out, style: Style, report: &Report) -> io::Result<()> {
    let run = &report.run;
    let stamps = match (report.tx_stamps(), report.rx_stamps()) {
        (Some(tx), Some(rx)) if tx == rx => format!("time stamps {tx}"),
        (Some(tx), Some(rx)) => format!("time stamps {tx} (send), {rx} (receive)"),
        _ => "time stamps n/a".to_owned(),
    };
    write!(out, "\ninstrument: {stamps}, pacing {}", report.instrument.pacing)?;
    if let Some((here, there)) = report.instrument.waiting {
        let spoken = |word: &str| word.replace('_', " ");
        write!(out, ", waiting {} here", spoken(here))?;
        match there {
            Some(there) => write!(out, ", {} at the server", spoken(there))?,
            None => out.write_all(b", unknown at the server")?,
        }
    }
    let (p50, p99, max) = run.lateness_ns;
    if max.is_some() {
        write!(out, ", sends late by")?;
        for (name, value) in [("p50", p50), ("p99", p99)]
            .into_iter()
            .filter_map(|(n, v)| Some((n, v?)))
        {
            write!(out, " {name} {},", Time(value))?;
        }
        write!(out, " max {}", time(max))?;
    }
    writeln!(out)?;
    for verdict in report.verdicts() {
        let line = verdict.to_string();
        let shown = style.paint_if(!verdict.holds, Tone::Bad, Escaped(&line));
        writeln!(out, "assertion {shown}")?;
    }
    for warning in report
        .instrument
        .warnings
        .iter()
        .filter(|w| !report.job.notes.contains(w))
    {
        writeln!(
            out,
            "{} {}",
            style.paint(Tone::Warn, "warning:"),
            Escaped(warning)
        )?;
    }
    Ok(())
}

/// How the run stands: one short line for each target, for standard error. No colours.
///
/// Of many targets only the totals are told.
pub fn interim_text(report: &Report) -> String {
    let mut text = String::new();
    let both = report.job.targets.iter().zip(&report.run.targets);
    if few(&report.job) {
        for (target, of) in both {
            let _ = writeln!(text, "{}", row(Style(false), 0, target, of));
        }
    }
    if report.job.targets.len() > 1 {
        let t = Totals::of(report);
        let targets = counted(t.targets, "target", "targets");
        let _ = writeln!(
            text,
            "{targets}: {} answered; {}",
            t.answered,
            counters(Style(false), &t.counts(), 0)
        );
    }
    text
}
