//! What is said of a bundle that was made, and of what changed between two.

use std::io::{self, Write};
use std::path::Path;

use rping_bundle::diff::{Change, Counted, Difference, How};
use rping_bundle::{Archive, Packed};
use rping_diagnose::Verdict;
use serde::Serialize;

use super::escape::{line, Escaped};
use super::style::{Style, Tone};
use super::{json, Out};
use crate::bundle::Gathered;

/// Counters that are listed in text.
const LISTED: usize = 40;

/// A bundle that was made.
pub(crate) struct Made<'a> {
    pub(crate) path: &'a Path,
    pub(crate) length: u64,
    pub(crate) packed: &'a Packed,
    pub(crate) redacted: bool,
    pub(crate) gathered: &'a Gathered,
}

#[derive(Serialize)]
struct MadeDocument<'a> {
    schema: &'static str,
    version: &'static str,
    path: String,
    bytes: u64,
    redacted: bool,
    interrupted: bool,
    failed_probe: Option<&'a str>,
    verdict: Option<&'a Verdict>,
    files: &'a [rping_bundle::Entry],
    unread: &'a [rping_bundle::Unread],
}

/// The document `rping.bundle-report/1`.
pub(crate) fn made_json(out: &mut Out, made: &Made<'_>) -> io::Result<()> {
    let document = MadeDocument {
        schema: "rping.bundle-report/1",
        version: env!("CARGO_PKG_VERSION"),
        path: made.path.to_string_lossy().into_owned(),
        bytes: made.length,
        redacted: made.redacted,
        interrupted: made.gathered.interrupted,
        failed_probe: made.gathered.failure.as_deref(),
        verdict: made
            .gathered
            .diagnosis
            .as_ref()
            .map(|diagnosis| &diagnosis.verdict),
        files: &made.packed.files,
        unread: &made.packed.unread,
    };
    json::pretty(out, &document)?;
    out.write_all(b"\n")
}

/// Where it is, its verdict, and what it lacks.
pub(crate) fn made_text(out: &mut Out, style: Style, made: &Made<'_>) -> io::Result<()> {
    let path = made.path.to_string_lossy();
    let head = format!("Bundle {}", Escaped(&path));
    // The manifest and the sums are files, too.
    let files = made.packed.files.len() + 2;
    let redacted = if made.redacted { ", redacted" } else { "" };
    writeln!(
        out,
        "{}: {files} files, {:.1} KiB{redacted}",
        style.paint(Tone::Head, head),
        made.length as f64 / 1024.0
    )?;
    for unread in &made.packed.unread {
        let right = match unread.right.as_str() {
            "" => String::new(),
            right => format!(" (it takes {right})"),
        };
        let what = format!("not read: {}: {}{right}", unread.what, unread.why);
        writeln!(out, "  {}", style.paint(Tone::Warn, line(&what)))?;
    }
    if made.gathered.interrupted {
        writeln!(out, "  a signal ended it early: it holds what was there by then")?;
    }
    if let Some(failure) = &made.gathered.failure {
        writeln!(out, "Failed probe: {}", Escaped(failure))?;
    }
    verdict(out, style, made.gathered)
}

/// The verdict on a line; nothing where there is none.
pub(crate) fn verdict(out: &mut Out, style: Style, gathered: &Gathered) -> io::Result<()> {
    let Some(diagnosis) = &gathered.diagnosis else {
        return Ok(());
    };
    let verdict = &diagnosis.verdict;
    let layer = verdict.layer.map_or("none", |layer| layer.as_str());
    let head = format!("VERDICT layer={layer} confidence={}", verdict.confidence.as_str());
    let tone = verdict.layer.map_or(Tone::Head, |_| Tone::Bad);
    writeln!(out, "{}: {}", style.paint(tone, head), Escaped(&verdict.summary))
}

/// What changed, as a document.
#[derive(Serialize)]
pub(crate) struct Compared {
    schema: &'static str,
    version: &'static str,
    a: Side,
    b: Side,
    changes: Vec<Change>,
    counters: Vec<Counted>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Side {
    file: String,
    host: Option<String>,
    target: Option<String>,
    created_at: Option<String>,
    redacted: bool,
}

impl Side {
    fn new(path: &Path, archive: &Archive) -> Side {
        let about = |key| archive.about(key).map(str::to_owned);
        Side {
            file: path.to_string_lossy().into_owned(),
            host: about("host"),
            target: about("target"),
            created_at: about("created_at"),
            redacted: archive.is_redacted(),
        }
    }
}

impl Compared {
    pub(crate) fn new(
        a: &Path,
        before: &Archive,
        b: &Path,
        after: &Archive,
        difference: Difference,
    ) -> Compared {
        Compared {
            schema: "rping.bundle-diff/1",
            version: env!("CARGO_PKG_VERSION"),
            a: Side::new(a, before),
            b: Side::new(b, after),
            changes: difference.changes,
            counters: difference.counters,
            notes: difference.notes,
        }
    }
}

/// The document `rping.bundle-diff/1`.
pub(crate) fn compared_json(out: &mut Out, document: &Compared) -> io::Result<()> {
    json::pretty(out, document)?;
    out.write_all(b"\n")
}

/// A line for each change: `+` is in B alone, `-` in A alone, `~` has another value.
pub(crate) fn compared_text(out: &mut Out, style: Style, document: &Compared) -> io::Result<()> {
    for (name, side) in [("A", &document.a), ("B", &document.b)] {
        let of = |text: &Option<String>| line(text.as_deref().unwrap_or("?"));
        let target = side
            .target
            .as_ref()
            .map_or_else(String::new, |target| format!(", {}", line(target)));
        writeln!(
            out,
            "{name}  {}: {}{target}, {}",
            Escaped(&side.file),
            of(&side.host),
            of(&side.created_at)
        )?;
    }
    for note in &document.notes {
        writeln!(out, "   {}", style.paint(Tone::Warn, line(note)))?;
    }
    writeln!(out)?;
    if document.changes.is_empty() {
        writeln!(out, "Nothing changed but counters.")?;
    }
    for change in &document.changes {
        let name = change.name.as_deref().unwrap_or_default();
        let what = match (change.what.as_str(), name) {
            (what, "") => what.to_owned(),
            (what, name) => format!("{what} {name}"),
        };
        let text = |text: &Option<String>| line(text.as_deref().unwrap_or_default());
        let what = line(&what);
        match change.how {
            How::Added => {
                let words = format!("+ {what}: {}", text(&change.after));
                writeln!(out, "{}", style.paint(Tone::Head, words))?;
            }
            How::Removed => {
                let words = format!("- {what}: {}", text(&change.before));
                writeln!(out, "{}", style.paint(Tone::Bad, words))?;
            }
            How::Changed => {
                let words = format!("~ {what}: {} -> {}", text(&change.before), text(&change.after));
                writeln!(out, "{}", style.paint(Tone::Warn, words))?;
            }
        }
    }
    if document.counters.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nCounters that moved from the end of A to the beginning of B:"
    )?;
    for counted in document.counters.iter().take(LISTED) {
        let shown = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let by = match (counted.before, counted.after) {
            (Some(before), Some(after)) => format!("  {:+}", i128::from(after) - i128::from(before)),
            _ => String::new(),
        };
        writeln!(
            out,
            "  {}: {} -> {}{by}",
            Escaped(&counted.name),
            shown(counted.before),
            shown(counted.after)
        )?;
    }
    let more = document.counters.len().saturating_sub(LISTED);
    if more > 0 {
        writeln!(out, "  and {more} more: -o json lists all")?;
    }
    Ok(())
}
