//! A comparison, as text with a picture and as a document: `rping.comparison/1`, described by
//! `docs/schema/rping.comparison-1.json`.

use std::io::{self, Write};

use rping_stats::{sparse, Sparse};
use serde::Serialize;

use super::escape::Escaped;
use super::style::{Style, Tone};
use super::units::{Bits, Percent, Time};
use super::{json, Out};
use crate::compare::{Comparison, Loss, Pair, Rate, Shift, Verdict, CONFIDENCE};

/// Columns of the picture.
const WIDE: usize = 41;

/// Columns of a distribution's outline.
const SHAPE: usize = 48;

/// Writes it for people.
///
/// # Errors
/// What the writer says.
pub(crate) fn text(out: &mut Out, style: Style, of: &Comparison, files: &[String; 2]) -> io::Result<()> {
    let [before, after] = files.each_ref().map(|file| Escaped(file).to_string());
    writeln!(
        out,
        "{}",
        style.paint(
            Tone::Head,
            format_args!("{before} ({}) → {after} ({})", of.started_at[0], of.started_at[1])
        )
    )?;
    for note in &of.notes {
        writeln!(out, "{} {}", style.paint(Tone::Warn, "note:"), Escaped(note))?;
    }
    for pair in &of.targets {
        target(out, style, pair)?;
    }
    rates(out, style, &of.rates)?;
    for (which, names) in [(before, &of.only_before), (after, &of.only_after)] {
        if let Some(first) = names.first() {
            let more = match names.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            writeln!(out, "\nonly in {which}: {}{more}", Escaped(first))?;
        }
    }
    if let Some(words) = untold(of) {
        writeln!(out, "\n{words}")?;
    }
    writeln!(
        out,
        "\nverdict: {} (intervals hold the true difference with {} confidence; a shift of less than {} is the same)",
        verdict(style, of.verdict),
        Percent(CONFIDENCE),
        Percent(of.least)
    )
}

/// "Same" may mean that nothing moved, or that nobody can tell: which, and what could have been told.
fn untold(of: &Comparison) -> Option<String> {
    if of.verdict != Verdict::Same {
        return None;
    }
    // The figures on which most stands: the median, the rate.
    let medians = of.targets.iter().map(|pair| {
        let median = pair.quantiles.first();
        let known = median.and_then(|shift| Some((shift.smallest_ns?, shift.before_ns as f64)));
        known
            .filter(|(_, before)| *before > 0.0)
            .map(|(smallest, before)| (smallest / before, Time(smallest.round() as u64).to_string()))
    });
    let rates = of.rates.iter().map(|rate| {
        let smallest = rate.smallest.filter(|_| rate.before > 0.0)?;
        Some((smallest / rate.before, Bits(smallest).to_string()))
    });
    let what = if of.rates.is_empty() { "median" } else { "rate" };
    let all: Vec<Option<(f64, String)>> = medians.chain(rates).collect();
    let told = all.iter().flatten().max_by(|a, b| a.0.total_cmp(&b.0));
    let told = told.filter(|_| all.iter().all(Option::is_some));
    match told {
        None => Some(
            "cannot tell: the runs are too short to know how much they vary, so \"same\" says nothing here".to_owned(),
        ),
        // Ten times what matters, and a tenth at least: what many would call a difference might be there.
        Some((part, smallest)) if *part >= (of.least * 10.0).max(0.1) => Some(format!(
            "cannot tell: the smallest difference of the {what} that could have been shown is {smallest} ({:.0}% of \
             before), so \"same\" only rules out more than that",
            part * 100.0
        )),
        Some((part, smallest)) => Some(format!(
            "no difference was shown; one of the {what} of {smallest} ({:.1}% of before) would have been",
            part * 100.0
        )),
    }
}

/// The rate of each direction.
fn rates(out: &mut Out, style: Style, all: &[Rate]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:8} {:>14} {:>14} {:>16}  {:>33} {:>14}  ",
        "", "before", "after", "shift", "95% interval", "could show"
    )?;
    let signed = |bits: f64| {
        let sign = if bits < 0.0 { "−" } else { "+" };
        format!("{sign}{}", Bits(bits.abs()))
    };
    for rate in all {
        let interval = rate.interval.map_or_else(
            || "n/a".to_owned(),
            |(low, high)| format!("{} … {}", signed(low), signed(high)),
        );
        let smallest = rate
            .smallest
            .map_or_else(|| "n/a".to_owned(), |bits| Bits(bits).to_string());
        let shift = rate.after - rate.before;
        writeln!(
            out,
            "{:8} {} {} {}  {} {}  {} {}{:.1}%",
            rate.direction,
            padded(&Bits(rate.before).to_string(), 14),
            padded(&Bits(rate.after).to_string(), 14),
            padded(&signed(shift), 16),
            padded(&interval, 33),
            padded(&smallest, 14),
            verdict(style, rate.verdict),
            if shift < 0.0 { "−" } else { "+" },
            shift.abs() / rate.before.max(1e-9) * 100.0,
        )?;
        if rate.interval.is_none() {
            writeln!(
                out,
                "the tests are too short to tell how much they vary: eight intervals of each are the least, and there are {} \
                 and {}",
                rate.intervals[0], rate.intervals[1]
            )?;
        }
    }
    Ok(())
}

fn verdict(style: Style, verdict: Verdict) -> String {
    let word = verdict.as_str();
    style
        .paint_if(verdict == Verdict::Worse, Tone::Bad, word)
        .to_string()
}

fn target(out: &mut Out, style: Style, pair: &Pair) -> io::Result<()> {
    let name = Escaped(&pair.target).to_string();
    writeln!(
        out,
        "\n{} {}, {} and {} round trips",
        style.paint(Tone::Head, format_args!("--- {name} ---")),
        verdict(style, pair.verdict),
        pair.replies[0],
        pair.replies[1]
    )?;
    shapes(out, pair)?;
    if pair.quantiles.is_empty() {
        writeln!(
            out,
            "too few round trips for any quantile: two of each are the least"
        )?;
    } else {
        writeln!(
            out,
            "{:6} {:>10} {:>10} {:>10}  {:>25} {:>10}  ",
            "", "before", "after", "shift", "95% interval", "could show"
        )?;
        for shift in &pair.quantiles {
            row(out, style, shift)?;
        }
    }
    if let Some(loss) = &pair.loss {
        loss_row(out, style, loss)?;
    }
    if pair.quantiles.iter().all(|shift| shift.interval_ns.is_none()) {
        return writeln!(
            out,
            "the runs are too short to tell how much they vary: eight stretches of each are the least"
        );
    }
    picture(out, pair)
}

/// Padded by what is seen: units have letters of more than one byte.
fn padded(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.chars().count())))
}

fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "+" };
    format!("{sign}{}", Time(ns.abs().round() as u64))
}

fn row(out: &mut Out, style: Style, shift: &Shift) -> io::Result<()> {
    let interval = shift.interval_ns.map_or_else(
        || "n/a".to_owned(),
        |(low, high)| format!("{} … {}", signed(low), signed(high)),
    );
    let smallest = shift
        .smallest_ns
        .map_or_else(|| "n/a".to_owned(), |ns| Time(ns.round() as u64).to_string());
    let ratio = shift.ratio().map_or_else(String::new, |ratio| {
        format!(
            "{}{:.1}%",
            if ratio < 0.0 { "−" } else { "+" },
            ratio.abs() * 100.0
        )
    });
    writeln!(
        out,
        "{:6} {} {} {}  {} {}  {} {ratio}",
        shift.name,
        padded(&Time(shift.before_ns).to_string(), 10),
        padded(&Time(shift.after_ns).to_string(), 10),
        padded(&signed(shift.shift_ns()), 10),
        padded(&interval, 25),
        padded(&smallest, 10),
        verdict(style, shift.verdict),
    )
}

fn loss_row(out: &mut Out, style: Style, loss: &Loss) -> io::Result<()> {
    let percent = |ratio: f64| {
        let sign = if ratio < 0.0 { "−" } else { "+" };
        format!("{sign}{}", Percent(ratio.abs()))
    };
    writeln!(
        out,
        "{:6} {} {} {}  {} {}  {}",
        "loss",
        padded(&Percent(loss.before).to_string(), 10),
        padded(&Percent(loss.after).to_string(), 10),
        padded(&percent(loss.after - loss.before), 10),
        padded(
            &format!("{} … {}", percent(loss.interval.0), percent(loss.interval.1)),
            25
        ),
        padded(&Percent(loss.smallest).to_string(), 10),
        verdict(style, loss.verdict),
    )
}

/// Both distributions over one axis, in eighths of a line.
fn shapes(out: &mut Out, pair: &Pair) -> io::Result<()> {
    let ends = pair.shapes.iter().filter(|shape| !shape.is_empty()).map(|shape| {
        // The last thousandth would leave nothing of the picture to the rest.
        let first = shape
            .bins()
            .first()
            .map_or(0, |(place, _)| sparse::lowest(*place));
        (first, shape.quantile(0.999).unwrap_or(first))
    });
    let (Some(low), Some(high)) = (ends.clone().map(|e| e.0).min(), ends.map(|e| e.1).max()) else {
        return Ok(());
    };
    if low >= high {
        return Ok(());
    }
    let scale = (high as f64 / low.max(1) as f64).ln();
    let columns = |shape: &Sparse| {
        let mut columns = [0f64; SHAPE];
        for &(place, count) in shape.bins() {
            let ns = sparse::lowest(place).max(1) as f64;
            let at = ((ns / low.max(1) as f64).ln() / scale * SHAPE as f64) as usize;
            if let Some(column) = columns.get_mut(at) {
                *column += count as f64;
            } else if let Some(last) = columns.last_mut() {
                *last += count as f64;
            }
        }
        let whole = shape.len().max(1) as f64;
        columns.map(|n| n / whole)
    };
    let drawn = pair.shapes.each_ref().map(columns);
    let most = drawn.iter().flatten().copied().fold(1e-12, f64::max);
    for (name, columns) in ["before", "after"].iter().zip(&drawn) {
        let line: String = columns
            .iter()
            .map(|part| match (part / most * 8.0).ceil() as usize {
                0 => ' ',
                n => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][n.min(8) - 1],
            })
            .collect();
        writeln!(out, "{name:>6} {}", line.trim_end())?;
    }
    let (left, right) = (Time(low).to_string(), Time(high).to_string());
    let gap = SHAPE.saturating_sub(left.chars().count() + right.chars().count());
    writeln!(out, "{:6} {left}{}{right}\n", "", " ".repeat(gap))
}

/// Each shift with its interval, against no shift at all.
fn picture(out: &mut Out, pair: &Pair) -> io::Result<()> {
    let parts: Vec<(&Shift, f64, (f64, f64))> = pair
        .quantiles
        .iter()
        .filter_map(|shift| {
            let (low, high) = shift.interval_ns?;
            let before = shift.before_ns as f64;
            Some((shift, shift.ratio()?, (low / before, high / before)))
        })
        .collect();
    let reach = parts
        .iter()
        .flat_map(|(_, ratio, (low, high))| [ratio.abs(), low.abs(), high.abs()])
        .fold(0.01, f64::max);
    // A tail that nobody knows must not squeeze what is known.
    let reach = reach.min(1.0);
    let half = (WIDE / 2) as f64;
    let at = |ratio: f64| ((ratio / reach).clamp(-1.0, 1.0) * half + half).round() as usize;
    let (left, right) = (
        format!("−{:.1}%", reach * 100.0),
        format!("+{:.1}%", reach * 100.0),
    );
    let gap = WIDE / 2 - left.chars().count();
    writeln!(
        out,
        "\n{:6} {left}{}0{}{right}",
        "",
        " ".repeat(gap),
        " ".repeat(WIDE / 2 - right.chars().count())
    )?;
    for (shift, ratio, (low, high)) in parts {
        let mut line = [' '; WIDE];
        let (from, to) = (at(low), at(high));
        for place in &mut line[from..=to] {
            *place = '─';
        }
        line[WIDE / 2] = if (from..=to).contains(&(WIDE / 2)) {
            '┼'
        } else {
            '│'
        };
        line[from] = if low < -reach { '◄' } else { '├' };
        line[to] = if high > reach { '►' } else { '┤' };
        line[at(ratio)] = '●';
        let line: String = line.iter().collect();
        writeln!(out, "{:6} {}", shift.name, line.trim_end())?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    command: &'static str,
    verdict: Verdict,
    confidence: f64,
    least_ratio: f64,
    before: Side<'a>,
    after: Side<'a>,
    targets: Vec<TargetDoc<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rates: Vec<RateDoc>,
    only_before: &'a [String],
    only_after: &'a [String],
    notes: &'a [String],
}

#[derive(Serialize)]
struct Side<'a> {
    file: &'a str,
    started_at: &'a str,
}

#[derive(Serialize)]
struct TargetDoc<'a> {
    target: &'a str,
    verdict: Verdict,
    replies: Both<u64>,
    quantiles: Vec<QuantileDoc>,
    loss: Option<LossDoc>,
}

#[derive(Serialize)]
struct RateDoc {
    direction: &'static str,
    before_bits_per_second: f64,
    after_bits_per_second: f64,
    intervals: Both<usize>,
    shift_bits_per_second: f64,
    interval_bits_per_second: Option<[f64; 2]>,
    smallest_bits_per_second: Option<f64>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct Both<T> {
    before: T,
    after: T,
}

#[derive(Serialize)]
struct QuantileDoc {
    name: &'static str,
    q: f64,
    before_ns: u64,
    after_ns: u64,
    shift_ns: i64,
    shift_ratio: Option<f64>,
    interval_ns: Option<[i64; 2]>,
    smallest_ns: Option<u64>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct LossDoc {
    before: f64,
    after: f64,
    difference: f64,
    interval: [f64; 2],
    smallest: f64,
    verdict: Verdict,
}

/// Writes it as one document.
///
/// # Errors
/// What the writer says.
pub(crate) fn document(out: &mut Out, of: &Comparison, files: &[String; 2]) -> io::Result<()> {
    let side = |at: usize| Side {
        file: &files[at],
        started_at: &of.started_at[at],
    };
    let document = Document {
        schema: "rping.comparison/1",
        version: env!("CARGO_PKG_VERSION"),
        command: of.command,
        verdict: of.verdict,
        confidence: CONFIDENCE,
        least_ratio: of.least,
        before: side(0),
        after: side(1),
        targets: of.targets.iter().map(target_doc).collect(),
        rates: of.rates.iter().map(rate_doc).collect(),
        only_before: &of.only_before,
        only_after: &of.only_after,
        notes: &of.notes,
    };
    json::pretty(out, &document)?;
    out.write_all(b"\n")
}

fn rate_doc(rate: &Rate) -> RateDoc {
    RateDoc {
        direction: rate.direction,
        before_bits_per_second: rate.before,
        after_bits_per_second: rate.after,
        intervals: Both {
            before: rate.intervals[0],
            after: rate.intervals[1],
        },
        shift_bits_per_second: rate.after - rate.before,
        interval_bits_per_second: rate.interval.map(|(low, high)| [low, high]),
        smallest_bits_per_second: rate.smallest,
        verdict: rate.verdict,
    }
}

fn target_doc(pair: &Pair) -> TargetDoc<'_> {
    TargetDoc {
        target: &pair.target,
        verdict: pair.verdict,
        replies: Both {
            before: pair.replies[0],
            after: pair.replies[1],
        },
        quantiles: pair.quantiles.iter().map(quantile_doc).collect(),
        loss: pair.loss.as_ref().map(|loss| LossDoc {
            before: loss.before,
            after: loss.after,
            difference: loss.after - loss.before,
            interval: [loss.interval.0, loss.interval.1],
            smallest: loss.smallest,
            verdict: loss.verdict,
        }),
    }
}

fn quantile_doc(shift: &Shift) -> QuantileDoc {
    // Casts saturate.
    QuantileDoc {
        name: shift.name,
        q: shift.q,
        before_ns: shift.before_ns,
        after_ns: shift.after_ns,
        shift_ns: shift.shift_ns() as i64,
        shift_ratio: shift.ratio(),
        interval_ns: shift
            .interval_ns
            .map(|(low, high)| [low.round() as i64, high.round() as i64]),
        smallest_ns: shift.smallest_ns.map(|ns| ns.round() as u64),
        verdict: shift.verdict,
    }
}
