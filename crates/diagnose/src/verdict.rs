//! The verdict: the first failing layer wins, a later success cancels an earlier suspicion, and where something fails and
//! nothing shows what, that is what is said.

use std::collections::HashSet;
use std::time::Duration;

use crate::check::{Judged, ALL};
use crate::finding::{Confidence, Diagnosis, Layer, Outcome, Suspicion, Verdict};
use crate::gather::connects::Tried;
use crate::gather::Facts;

/// Judges the facts.
pub(crate) fn judge(facts: &Facts) -> Diagnosis {
    let mut checks = Vec::with_capacity(ALL.len());
    let mut suspicions = Vec::new();
    let works = facts.works();
    for check in ALL {
        let Judged {
            mut finding,
            suspicion,
        } = check.judge(facts);
        finding.duration = check.took(facts);
        match suspicion {
            Some(suspicion) if works && suspicion.cancelled_by_success => {
                finding.result = Outcome::Unknown;
                finding.does_not_prove =
                    "that it does any harm: the target is reached all the same".to_owned();
                finding.next = String::new();
            }
            Some(suspicion) => suspicions.push(suspicion),
            None => {}
        }
        if facts.cut_short.is_some() && finding.result == Outcome::Fail {
            // What was not asked looks like silence.
            finding.result = Outcome::Unknown;
            finding.does_not_prove = "anything: it was cut short before everything was asked".to_owned();
        }
        checks.push(finding);
    }
    Diagnosis {
        target: facts.text.clone(),
        peer: crate::far::words::view(facts),
        checks,
        verdict: match facts.cut_short {
            Some(after) => early(after),
            None => conclude(suspicions, facts, works),
        },
        complete: facts.cut_short.is_none(),
    }
}

/// Before everything was asked nothing is certain: what was not asked looks like silence, and what works may fail further up.
fn early(after: Duration) -> Verdict {
    Verdict {
        layer: Some(Layer::Inconclusive),
        confidence: Confidence::Low,
        summary: format!(
            "It was cut short after {:.1} s, before anything was certain; what was seen stands with the checks.",
            after.as_secs_f64()
        ),
        next: "Run it again and let it end by itself: that takes less than 10 s.".to_owned(),
    }
}

fn conclude(suspicions: Vec<Suspicion>, facts: &Facts, works: bool) -> Verdict {
    match suspicions.into_iter().min_by_key(|suspicion| suspicion.layer) {
        Some(first) => Verdict {
            layer: Some(first.layer),
            confidence: confidence(&first),
            summary: first.summary,
            next: first.next,
        },
        None if works => fine(facts),
        None => Verdict {
            layer: Some(Layer::Inconclusive),
            confidence: Confidence::Low,
            summary: "The target is not reached as asked, and nothing that was seen says which layer is to blame.".to_owned(),
            next: match facts.rights.raw {
                true => "Look at the checks above that are unknown; run it from another host of the same network, and on the \
                         target itself.",
                false => "Run it as root: without privileges much cannot be seen.",
            }
            .to_owned(),
        },
    }
}

/// Two independent observations make it high, unless something else would look the same.
fn confidence(suspicion: &Suspicion) -> Confidence {
    match (kinds(suspicion), suspicion.ambiguous) {
        (0, _) => Confidence::Low,
        (1, _) | (_, true) => Confidence::Medium,
        _ => Confidence::High,
    }
}

/// How many kinds of observation agree on it.
fn kinds(suspicion: &Suspicion) -> usize {
    suspicion.observations.iter().collect::<HashSet<_>>().len()
}

fn fine(facts: &Facts) -> Verdict {
    let through_middlebox = facts.path.answered_on_the_way().is_some();
    let (summary, seen) = match (facts.port, &facts.connect) {
        (Some(port), Tried::Open { lost_syns, .. }) => {
            let app = if facts.app.is_understood() {
                ", and the program behind it answers"
            } else {
                ""
            };
            let lost = match lost_syns {
                0 => String::new(),
                n => format!(" {n} SYN(s) were lost before that: look for loss if it comes again."),
            };
            let summary = format!("No fault was found: TCP port {port} accepts connections{app}.{lost}");
            let icmp = facts.echo.iter().any(|hit| hit.answered().is_some());
            let wire = facts.wire.syn_ack_in > 0;
            (
                summary,
                1 + u32::from(facts.app.is_understood()) + u32::from(icmp || wire),
            )
        }
        _ => (
            "No fault was found: the host answers.".to_owned(),
            1 + u32::from(facts.wire.why_not.is_none()),
        ),
    };
    let lost = matches!(facts.connect, Tried::Open { lost_syns: 1.., .. });
    let confidence = if seen >= 2 && !lost && (!through_middlebox || facts.app.is_understood()) {
        Confidence::High
    } else {
        Confidence::Medium
    };
    Verdict {
        layer: None,
        confidence,
        summary,
        next: String::new(),
    }
}
