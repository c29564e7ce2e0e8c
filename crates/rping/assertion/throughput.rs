//! Assertions on throughput tests: `rate` is in bits per second, `loss` and `jitter` are those of the datagrams.

use super::{Assertion, Figure, Value, Verdict};

/// What one direction of a test came to, as far as it can be asserted.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Throughput {
    /// Bits per second as received.
    pub bits_per_second: Option<f64>,
    /// Part of the datagrams that were lost.
    pub loss: Option<f64>,
    /// Jitter at the end, nanoseconds.
    pub jitter_ns: Option<f64>,
}

impl Assertion {
    /// Holds it against both directions of a test: it has to hold for each.
    pub fn judge_throughput(&self, directions: &[(&str, Throughput)]) -> Verdict {
        let mut told = Verdict {
            expr: self.expr.clone(),
            holds: false,
            value: None,
            target: None,
            why: Some("no direction was measured".to_owned()),
        };
        for (name, of) in directions {
            let value = match self.figure {
                Figure::Rate => of.bits_per_second.map(Value::Bits),
                Figure::Loss => of.loss.map(Value::Ratio),
                Figure::Jitter => of.jitter_ns.map(Value::Time),
                _ => None,
            };
            let is_known = matches!(self.figure, Figure::Rate | Figure::Loss | Figure::Jitter);
            let why = match value {
                Some(_) => None,
                None if is_known => Some("was not measured".to_owned()),
                None => Some("a throughput test has rate, loss and jitter".to_owned()),
            };
            told = Verdict {
                holds: value.is_some_and(|value| self.admits(value)),
                value,
                target: (directions.len() > 1).then(|| (*name).to_owned()),
                why,
                ..told
            };
            if !told.holds {
                break;
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_to_hold_for_both_directions() {
        let of = |mbit: f64| Throughput {
            bits_per_second: Some(mbit * 1e6),
            loss: Some(0.0),
            jitter_ns: None,
        };
        let judged = |expr: &str| {
            let all = Assertion::parse(expr).unwrap();
            all[0].judge_throughput(&[("forward", of(950.0)), ("reverse", of(80.0))])
        };
        assert!(judged("rate>50m").holds);
        let verdict = judged("rate>900m");
        assert!(!verdict.holds);
        assert_eq!(verdict.target.as_deref(), Some("reverse"));
        assert!(judged("loss==0").holds);
        assert!(judged("jitter<1ms")
            .why
            .is_some_and(|why| why.contains("not measured")));
        assert!(judged("p99<1ms").why.is_some());
    }
}
