//! Counters, refusals and runs of loss, as a saved run holds them.

use std::collections::BTreeMap;

use rping_engine::{Counts, Oddities, Origin, Reason, Refusal};
use rping_stats::LossRuns;
use serde::{Deserialize, Serialize};

use crate::series::Delta;

/// Counters: those that are 0 are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    #[serde(skip_serializing_if = "is_default")]
    pub received: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub rejected: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub lost: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub not_sent: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub late: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub duplicates: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub reordered: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub corrupt: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub truncated: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub unexpected: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub syn_lost: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub skipped: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u32>,
}

/// Runs of lost probes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LossRunsText {
    pub count: u64,
    pub longest: u64,
    pub longest_outage_ns: u64,
    /// Runs of 1, 2, 3–4, 5–8, 9–16, and 17 or more probes.
    pub lengths: [u32; rping_stats::LOSS_RUN_CLASSES],
}

/// Why a probe was refused, and by whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalText {
    pub reason: String,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub icmp: Option<(u8, u8)>,
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    pub errno: Option<i32>,
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// More of anything than this was never counted: a forged file is told by it, and sums stay within 64 bits.
const MOST: u64 = 1 << 56;

pub(super) fn bounded(count: u64) -> Option<u64> {
    (count <= MOST).then_some(count)
}

impl Tally {
    pub fn of(counts: &Counts, reasons: &[u32; Reason::ALL.len()]) -> Tally {
        let named = Reason::ALL.iter().zip(reasons).filter(|(_, n)| **n > 0);
        Tally {
            received: counts.received,
            rejected: counts.rejected,
            lost: counts.lost,
            not_sent: counts.not_sent,
            late: counts.late,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            unexpected: counts.unexpected,
            syn_lost: counts.syn_lost,
            skipped: counts.skipped,
            reasons: named
                .map(|(reason, n)| (reason.as_str().to_owned(), *n))
                .collect(),
        }
    }

    /// The counters again; `None` where they are impossible. A reason of a later version counts as `other`.
    pub fn read(&self) -> Option<(Counts, [u32; Reason::ALL.len()])> {
        let odd = Oddities {
            late: bounded(self.late)?,
            duplicates: bounded(self.duplicates)?,
            reordered: bounded(self.reordered)?,
            corrupt: bounded(self.corrupt)?,
            truncated: bounded(self.truncated)?,
            unexpected: bounded(self.unexpected)?,
            syn_lost: bounded(self.syn_lost)?,
            skipped: bounded(self.skipped)?,
        };
        let counts = Counts {
            received: bounded(self.received)?,
            rejected: bounded(self.rejected)?,
            lost: bounded(self.lost)?,
            not_sent: bounded(self.not_sent)?,
            odd: odd.into(),
        };
        let mut reasons = [0u32; Reason::ALL.len()];
        for (name, n) in &self.reasons {
            let slot = &mut reasons[reason(name) as usize];
            *slot = slot.saturating_add(*n);
        }
        Some((counts, reasons))
    }
}

impl From<&Delta> for Tally {
    fn from(delta: &Delta) -> Tally {
        Tally::of(&delta.counts, &delta.reasons)
    }
}

fn reason(name: &str) -> Reason {
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == name);
    known.copied().unwrap_or(Reason::Other)
}

impl LossRunsText {
    pub fn of(runs: &LossRuns) -> Option<LossRunsText> {
        let (count, longest, longest_outage_ns, lengths) = runs.parts();
        (count > 0).then_some(LossRunsText {
            count,
            longest,
            longest_outage_ns,
            lengths,
        })
    }

    pub fn read(&self) -> LossRuns {
        LossRuns::from_parts((self.count, self.longest, self.longest_outage_ns, self.lengths))
    }
}

impl RefusalText {
    pub fn of(refusal: &Refusal) -> RefusalText {
        RefusalText {
            reason: refusal.reason.as_str().to_owned(),
            from: refusal.from.as_ref().map(ToString::to_string),
            icmp: refusal.icmp,
            mtu: refusal.mtu,
            errno: refusal.errno,
        }
    }

    pub fn read(&self) -> Refusal {
        Refusal {
            reason: reason(&self.reason),
            from: self.from.as_deref().and_then(origin),
            icmp: self.icmp,
            mtu: self.mtu,
            errno: self.errno,
        }
    }
}

/// An answerer by its address: IP or MAC.
pub(super) fn origin(text: &str) -> Option<Origin> {
    if let Ok(ip) = text.parse() {
        return Some(Origin::Ip(ip));
    }
    let mut mac = [0u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(Origin::Mac(mac))
}
