//! How a diagnosis is shown: a ladder with marks and the verdict as its last line, or one JSON document.

use std::io::{self, Write};
use std::time::Duration;

use rping_diagnose::{Diagnosis, FarView, Finding, Outcome, Verdict};
use serde::Serialize;

use super::escape::Escaped;
use super::style::{Style, Tone};
use super::units::Time;
use super::{clock, json};
use crate::report::Epoch;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    target: &'a str,
    started_at: String,
    duration_ns: u64,
    complete: bool,
    checks: &'a [Finding],
    peer: &'a Option<FarView>,
    verdict: &'a Verdict,
}

/// The document `rping.diagnosis/1`.
pub(crate) fn document(
    out: &mut super::Out,
    diagnosis: &Diagnosis,
    epoch: &Epoch,
    took: Duration,
) -> io::Result<()> {
    let document = Document {
        schema: "rping.diagnosis/1",
        version: env!("CARGO_PKG_VERSION"),
        target: &diagnosis.target,
        started_at: clock::nanos(epoch, epoch.started).to_string(),
        duration_ns: nanos(took),
        complete: diagnosis.complete,
        checks: &diagnosis.checks,
        peer: &diagnosis.peer,
        verdict: &diagnosis.verdict,
    };
    json::pretty(out, &document)?;
    out.write_all(b"\n")
}

/// The ladder, rung by rung, and the verdict; with `quiet` the verdict alone.
pub(crate) fn text(
    out: &mut impl Write,
    style: Style,
    diagnosis: &Diagnosis,
    quiet: bool,
    took: Duration,
) -> io::Result<()> {
    if !quiet {
        let head = format!("Diagnosis of {}", Escaped(&diagnosis.target));
        writeln!(out, "{}, {}\n", style.paint(Tone::Head, head), Time(nanos(took)))?;
        for finding in &diagnosis.checks {
            rung(out, style, finding)?;
        }
        if let Some(peer) = &diagnosis.peer {
            far_end(out, style, peer)?;
        }
        writeln!(out)?;
        if !diagnosis.verdict.next.is_empty() {
            writeln!(out, "Next: {}", Escaped(&diagnosis.verdict.next))?;
        }
    }
    let verdict = &diagnosis.verdict;
    let layer = verdict.layer.map_or("none", |layer| layer.as_str());
    let head = format!("VERDICT layer={layer} confidence={}", verdict.confidence.as_str());
    let tone = match verdict.layer {
        None => Tone::Head,
        Some(_) => Tone::Bad,
    };
    writeln!(out, "{}: {}", style.paint(tone, head), Escaped(&verdict.summary))
}

fn rung(out: &mut impl Write, style: Style, finding: &Finding) -> io::Result<()> {
    let (mark, tone) = match finding.result {
        Outcome::Pass => ("ok", None),
        Outcome::Fail => ("FAIL", Some(Tone::Bad)),
        Outcome::Unknown => ("?", Some(Tone::Warn)),
        Outcome::Skipped => ("-", Some(Tone::Aside)),
    };
    let line = match (finding.result, finding.evidence.first()) {
        (Outcome::Skipped, Some(why)) => why,
        _ => &finding.proves,
    };
    let line = match (finding.result, line.is_empty()) {
        (Outcome::Unknown, true) => format!("not known: {}", finding.does_not_prove),
        _ => line.clone(),
    };
    let mark = format!("{mark:<4}");
    let mark = style.paint_if(tone.is_some(), tone.unwrap_or(Tone::Head), mark);
    writeln!(out, "  {mark}  {:<14}  {}", finding.name, Escaped(&line))?;
    if finding.result == Outcome::Skipped {
        return Ok(());
    }
    for line in &finding.evidence {
        writeln!(out, "                        {}", Escaped(line))?;
    }
    if finding.result == Outcome::Fail && !finding.does_not_prove.is_empty() {
        writeln!(
            out,
            "                        not proven: {}",
            Escaped(&finding.does_not_prove)
        )?;
    }
    Ok(())
}

/// What the agent said: no rung of its own, for what it saw is judged by the rungs above.
fn far_end(out: &mut impl Write, style: Style, peer: &FarView) -> io::Result<()> {
    let (mark, tone) = match (&peer.error, peer.loss) {
        (Some(_), _) => ("?", Some(Tone::Warn)),
        (None, Some(_)) => ("FAIL", Some(Tone::Bad)),
        (None, None) => ("ok", None),
    };
    let mark = style.paint_if(tone.is_some(), tone.unwrap_or(Tone::Head), format!("{mark:<4}"));
    let head = match &peer.error {
        Some(why) => format!("not asked to its end: {}", Escaped(why)),
        None => "as its agent sees it".to_owned(),
    };
    writeln!(
        out,
        "  {mark}  {:<14}  {}: {head}",
        "far end",
        Escaped(&peer.server)
    )?;
    for line in peer.evidence.iter().filter(|_| peer.seen.is_some()) {
        writeln!(out, "                        {}", Escaped(line))?;
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
