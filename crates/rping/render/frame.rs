//! What the documents of all runs have in common: `rping.run/1`'s outer keys, in their order.

use serde::Serialize;

use super::figures;
use crate::assertion::{Value, Verdict};

/// The name and version of the frame.
pub(crate) const SCHEMA: &str = "rping.run/1";

/// A document: what was asked for, the instrument, the totals and the targets are each command's own.
#[derive(Serialize)]
pub(crate) struct Frame<'a, Options, Instrument, Totals, Targets> {
    /// The value of a leading key `type`, for streams.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    pub(crate) schema: &'static str,
    pub(crate) version: &'static str,
    pub(crate) command: &'static str,
    pub(crate) started_at: String,
    pub(crate) duration_ns: u64,
    pub(crate) interrupted: bool,
    pub(crate) failure: Option<&'a str>,
    pub(crate) options: Options,
    pub(crate) instrument: Instrument,
    pub(crate) totals: Totals,
    pub(crate) targets: Targets,
    pub(crate) assertions: Vec<AssertionDoc>,
}

/// Who took the time stamps.
#[derive(Serialize, Default)]
pub(crate) struct Timestamps {
    pub(crate) tx: Option<&'static str>,
    pub(crate) rx: Option<&'static str>,
}

/// How late something was.
#[derive(Serialize)]
pub(crate) struct Lateness {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// What became of an assertion.
#[derive(Serialize)]
pub(crate) struct AssertionDoc {
    expr: String,
    holds: bool,
    /// A time.
    value_ns: Option<u64>,
    /// What is no time: a part of 1, a rate per second, a count.
    value: Option<f64>,
    target: Option<String>,
    why: Option<String>,
}

impl AssertionDoc {
    pub(crate) fn of(verdict: Verdict) -> AssertionDoc {
        let (value_ns, value) = match verdict.value {
            Some(Value::Time(ns)) => (Some(figures::whole(ns)), None),
            Some(Value::Ratio(x) | Value::Rate(x) | Value::Bits(x) | Value::Count(x)) => (None, Some(x)),
            None => (None, None),
        };
        AssertionDoc {
            expr: verdict.expr,
            holds: verdict.holds,
            value_ns,
            value,
            target: verdict.target,
            why: verdict.why,
        }
    }
}
