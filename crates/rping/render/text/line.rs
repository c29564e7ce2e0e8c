//! One line for each probe, and for what happens beside the outcomes.

use std::io::{self, Write};

use rping_engine::{Aside, Origin, Outcome, Sample, Sequence};

use super::super::escape::Escaped;
use super::super::style::{Style, Tone};
use super::super::units::{counted, setting, Time};
use super::super::words;
use super::Out;
use crate::job::{show_ip, show_socket, Job, Kind, Target};

/// Who a line is about: the answerer's view is the address and port; several targets are told apart by their names.
fn whom(job: &Job, target: &Target) -> String {
    let address = match target.address {
        Some(address) if address.port() == 0 => show_ip(address),
        Some(address) => show_socket(address),
        None => Escaped(&target.label()).to_string(),
    };
    let label = target.label();
    if job.targets.len() > 1 && label != address {
        format!("{} ({address})", Escaped(&label))
    } else {
        address
    }
}

/// Writes the line of a settled probe.
pub(super) fn settled(
    out: &mut Out,
    style: Style,
    job: &Job,
    target: &Target,
    sample: &Sample,
) -> io::Result<()> {
    let to = whom(job, target);
    let seq = sample.seq.0;
    match &sample.outcome {
        Outcome::Reply {
            rtt,
            from,
            truncated,
            reordered,
            syn_retransmits,
            ttl,
            ..
        } => {
            match job.kind {
                Kind::Tcp if job.syn => write!(out, "open: {to}: seq={seq}")?,
                Kind::Tcp => write!(out, "connected to {to}: seq={seq}")?,
                _ => write!(out, "reply from {}: seq={seq}", answerer(&to, target, *from))?,
            }
            match rtt {
                Some(rtt) => write!(out, " time={}", Time(rping_engine::time::nanos(*rtt)))?,
                None if *syn_retransmits > 0 => {
                    let lost = counted(u64::from(*syn_retransmits), "SYN lost", "SYNs lost");
                    let said = format!("after the SYN was sent again ({lost}), no round trip");
                    write!(out, " {}", style.paint(Tone::Bad, said))?;
                }
                None => write!(out, " round trip not measured")?,
            }
            if let Some(ttl) = ttl {
                write!(out, " ttl={ttl}")?;
            }
            if *truncated {
                write!(out, " {}", style.paint(Tone::Warn, "(truncated)"))?;
            }
            if *reordered {
                write!(out, " {}", style.paint(Tone::Warn, "(out of order)"))?;
            }
        }
        Outcome::Rejected { refusal, after } => {
            let by = match refusal.from {
                Some(Origin::Ip(ip)) if target.ip() != Some(ip) => format!("{ip} for {to}"),
                Some(Origin::Mac(_)) | Some(Origin::Ip(_)) | None => to,
            };
            let what = words::brief(job.kind, target, refusal);
            let after = Time(rping_engine::time::nanos(*after));
            write!(
                out,
                "rejected by {by}: seq={seq} {} after {after}",
                style.paint(Tone::Warn, what)
            )?;
        }
        Outcome::Lost => {
            let silence = format!("no answer within {}", setting(job.timeout));
            write!(out, "lost: {to}: seq={seq} {}", style.paint(Tone::Bad, silence))?;
        }
        Outcome::NotSent(refusal) => {
            let what = words::brief(job.kind, target, refusal);
            write!(out, "not sent: {to}: seq={seq} {}", style.paint(Tone::Own, what))?;
        }
    }
    if sample.warmup {
        write!(out, " (warm-up)")?;
    }
    writeln!(out)
}

/// Who answered: the target, or an address or MAC of its own.
fn answerer(to: &str, target: &Target, from: Origin) -> String {
    match from {
        Origin::Ip(ip) if target.ip() == Some(ip) => to.to_owned(),
        other => format!("{other} ({to})"),
    }
}

/// Writes the line of something beside the outcomes.
pub(super) fn aside(
    out: &mut Out,
    style: Style,
    job: &Job,
    target: &Target,
    seq: Option<Sequence>,
    from: Option<Origin>,
    aside: Aside,
) -> io::Result<()> {
    let (word, what) = match aside {
        Aside::Late(after) => {
            let after = Time(rping_engine::time::nanos(after));
            (
                "late",
                format!(
                    "answered after {after}, timeout {}: stays lost",
                    setting(job.timeout)
                ),
            )
        }
        Aside::Duplicate => ("duplicate", "answered once more".to_owned()),
        Aside::Corrupt => ("corrupt", "a damaged answer, not counted".to_owned()),
        Aside::Unexpected => ("unexpected", "an answer to nothing that was asked".to_owned()),
    };
    write!(out, "{}: {}:", style.paint(Tone::Aside, word), whom(job, target))?;
    if let Some(seq) = seq {
        write!(out, " seq={}", seq.0)?;
    }
    write!(out, " {what}")?;
    match from {
        Some(Origin::Ip(ip)) if target.ip() == Some(ip) => {}
        Some(other) => write!(out, ", from {other}")?,
        None => {}
    }
    writeln!(out)
}
