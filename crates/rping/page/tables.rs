//! What the pictures do not tell: figures, loss runs, the instrument, the command and the machine.

use std::fmt::Write as _;

use super::{text, Run, Track, ROWS};
use crate::render::loss_with_syns;
use crate::render::units::{counted, time, OrNone, Percent, Time};
use crate::saved::Machine;

/// Figures: cards for one target, a table for more.
pub(super) fn summary(tracks: &[Track<'_>], several: bool) -> String {
    if let ([only], false) = (tracks, several) {
        return cards(only);
    }
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th></th><th>sent</th><th>received</th><th>loss</th><th>min</th><th>median</th>\
         <th>p90</th><th>p99</th><th>max</th><th>jitter</th></tr></thead>\n<tbody>\n",
    );
    for track in tracks.iter().take(ROWS) {
        let (counts, stats) = (&track.of.counts, &track.of.stats);
        let mark = track
            .colour
            .map_or_else(String::new, |k| format!("<i class=\"k{k}\"></i>"));
        let loss = loss_with_syns(counts);
        let bad = if loss.is_some_and(|loss| loss > 0.0) {
            " class=\"bad\""
        } else {
            ""
        };
        let _ = write!(
            table,
            "<tr><th>{mark}{}</th><td>{}</td><td>{}</td><td{bad}>{}</td>",
            text(&track.label),
            counts.sent(),
            counts.received,
            OrNone(loss.map(Percent))
        );
        if let Some(error) = &track.target.error {
            let _ = writeln!(
                table,
                "<td colspan=\"6\" class=\"why\">not probed: {}</td></tr>",
                text(error)
            );
            continue;
        }
        for ns in [
            stats.rtt().min(),
            stats.rtt_quantile(0.5),
            stats.rtt_quantile(0.9),
            stats.rtt_quantile(0.99),
            stats.rtt().max(),
            stats.jitter_rfc3550().map(|ns| ns.round() as u64),
        ] {
            let _ = write!(table, "<td>{}</td>", time(ns));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</tbody></table></div>\n");
    if tracks.len() > ROWS {
        let _ = writeln!(
            table,
            "<p class=\"note\">and {} more</p>",
            counted((tracks.len() - ROWS) as u64, "target", "targets")
        );
    }
    table
}

fn cards(track: &Track<'_>) -> String {
    let (counts, stats) = (&track.of.counts, &track.of.stats);
    if let Some(error) = &track.target.error {
        return format!("<p class=\"note\">not probed: {}</p>\n", text(error));
    }
    let loss = loss_with_syns(counts);
    let is_bad = loss.is_some_and(|loss| loss > 0.0);
    let mut html = String::from("<div class=\"cards\">\n");
    let mut card = |name: &str, value: String, below: String, bad: bool| {
        let _ = writeln!(
            html,
            "<div class=\"card{}\"><b>{value}</b><span>{name}</span><small>{below}</small></div>",
            if bad { " bad" } else { "" }
        );
    };
    card(
        "median",
        time(stats.rtt_quantile(0.5)).to_string(),
        format!("mean {}", time(stats.rtt().mean().map(|ns| ns.round() as u64))),
        false,
    );
    card(
        "99th percentile",
        time(stats.rtt_quantile(0.99)).to_string(),
        format!("p90 {}", time(stats.rtt_quantile(0.9))),
        false,
    );
    card(
        "longest",
        time(stats.rtt().max()).to_string(),
        format!("shortest {}", time(stats.rtt().min())),
        false,
    );
    let mut apart = format!(
        "{} of {} sent",
        counts.sent() - counts.received.min(counts.sent()),
        counts.sent()
    );
    for (n, what) in [
        (counts.rejected, "rejected"),
        (counts.not_sent, "not sent"),
        (counts.late, "late"),
    ] {
        if n > 0 {
            let _ = write!(apart, ", {n} {what}");
        }
    }
    if counts.syn_lost > 0 {
        let _ = write!(
            apart,
            ", {} again",
            counted(counts.syn_lost, "SYN sent", "SYNs sent")
        );
    }
    card("loss", OrNone(loss.map(Percent)).to_string(), apart, is_bad);
    card(
        "jitter (RFC 3550)",
        time(stats.jitter_rfc3550().map(|ns| ns.round() as u64)).to_string(),
        format!(
            "mean IPDV {}",
            time(stats.ipdv_mean().map(|ns| ns.round() as u64))
        ),
        false,
    );
    html.push_str("</div>\n");
    html
}

/// Loss runs by length, a bar each.
pub(super) fn loss(drawn: &[&Track<'_>]) -> String {
    let mut html = String::new();
    for track in drawn {
        let runs = track.of.stats.loss_runs();
        let Some(longest) = runs.longest() else { continue };
        let most = runs.lengths().map(|length| length.runs).max().unwrap_or(1).max(1);
        let name = if drawn.len() > 1 {
            format!("{}: ", text(&track.label))
        } else {
            String::new()
        };
        let outage = match runs.longest_outage_ns() {
            Some(ns) if ns > 0 => format!(", {} from its first to its last", Time(ns)),
            _ => String::new(),
        };
        let _ = writeln!(
            html,
            "<p>{name}{}, the longest {}{outage}</p>\n<table class=\"bars\">",
            counted(runs.count(), "run", "runs"),
            counted(longest, "probe", "probes"),
        );
        for length in runs.lengths() {
            let label = match (length.shortest, length.longest) {
                (1, Some(1)) => "1 probe".to_owned(),
                (a, Some(b)) if a == b => format!("{a} probes"),
                (a, Some(b)) => format!("{a}–{b} probes"),
                (a, None) => format!("{a} and more"),
            };
            let _ = writeln!(
                html,
                "<tr><th>{label}</th><td><i style=\"width:{:.1}%\"></i></td><td>{}</td></tr>",
                100.0 * length.runs as f64 / most as f64,
                length.runs
            );
        }
        html.push_str("</table>\n");
    }
    if html.is_empty() && drawn.iter().any(|track| track.of.counts.sent() > 0) {
        html.push_str("<p>Nothing was lost.</p>\n");
    }
    html
}

pub(super) fn instrument(runs: &[Run<'_>], drawn: &[&Track<'_>]) -> String {
    let mut html = String::new();
    for run in runs {
        let report = run.report;
        let (p50, p99, max) = report.run.lateness_ns;
        let stamps = match (report.tx_stamps(), report.rx_stamps()) {
            (Some(tx), Some(rx)) if tx == rx => tx.to_owned(),
            (Some(tx), Some(rx)) => format!("{tx} (send), {rx} (receive)"),
            _ => "n/a".to_owned(),
        };
        if runs.len() > 1 {
            let _ = writeln!(html, "<h3>{}</h3>", text(&run.name));
        }
        html.push_str("<dl>\n");
        let mut row = |name: &str, value: String| {
            let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        };
        row("time stamps", text(&stamps));
        row("pacing", text(report.instrument.pacing));
        row(
            "sends late by",
            format!("p50 {}, p99 {}, most {}", time(p50), time(p99), time(max)),
        );
        row("dropped by this host", report.run.local_drops.to_string());
        row("clock steps", report.run.clock_steps.to_string());
        row("longest stall", Time(report.run.longest_stall_ns).to_string());
        html.push_str("</dl>\n");
        let warnings = crate::render::warnings(report);
        if !warnings.is_empty() {
            html.push_str("<ul class=\"warnings\">\n");
            for warning in warnings {
                let _ = writeln!(html, "<li>{}</li>", text(warning));
            }
            html.push_str("</ul>\n");
        }
    }
    let late = drawn
        .iter()
        .filter_map(|track| track.series)
        .flat_map(|series| series.bins())
        .max_by_key(|(_, bin)| bin.late_ns)
        .filter(|(_, bin)| bin.late_ns > 1_000_000);
    if let Some((start, bin)) = late {
        let _ = writeln!(
            html,
            "<p>The latest send was {} behind its schedule, {} after the start.</p>",
            Time(bin.late_ns),
            Time(start)
        );
    }
    html
}

pub(super) fn origin(runs: &[Run<'_>]) -> String {
    let mut html = String::new();
    for run in runs {
        if runs.len() > 1 {
            let _ = writeln!(html, "<h3>{}</h3>", text(&run.name));
        }
        html.push_str(&origin_of(&run.command_line, &run.started_at, &run.machine));
    }
    html
}

/// One run's command and machine.
pub(super) fn origin_of(command_line: &str, started_at: &str, machine: &Machine) -> String {
    let mut html = String::from("<dl>\n");
    let mut row = |name: &str, value: String| {
        if !value.trim().is_empty() {
            let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
    };
    row("command", format!("<code>{}</code>", text(command_line)));
    row("started", text(started_at));
    row("host", text(&machine.hostname));
    row(
        "system",
        text(&format!(
            "{}, {} ({})",
            machine.system, machine.kernel, machine.architecture
        )),
    );
    row(
        "processor",
        text(&match machine.processor.as_str() {
            "" => counted(machine.cpus, "CPU", "CPUs"),
            name => format!("{name}, {}", counted(machine.cpus, "CPU", "CPUs")),
        }),
    );
    html.push_str("</dl>\n");
    html
}
