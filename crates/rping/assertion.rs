//! What a run must amount to: `p99<5ms`, `loss<0.1%`. It decides the exit code, so that a script need read no figures.

mod throughput;

pub use throughput::Throughput;

use std::fmt;
use std::time::Duration;

use rping_engine::{Counts, TargetReport};

use crate::args::shown;
use crate::args::value;
use crate::job::Target;
use crate::render::loss_with_syns;
use crate::render::units::{Bits, Percent, Time};
use crate::report::Report;

/// One figure held against one bound. It holds when it holds for every target.
#[derive(Clone, PartialEq, Debug)]
pub struct Assertion {
    expr: String,
    figure: Figure,
    relation: Relation,
    bound: Value,
}

/// What an [`Assertion`] came to in a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// As it was written, without blanks.
    pub expr: String,
    /// Whether it holds for every target.
    pub holds: bool,
    /// The figure of the target that `target` names; `None` where it has nothing to stand on.
    pub value: Option<Value>,
    /// The first target for which it does not hold, or else the one that came nearest to breaking it; `None` where
    /// there is but one.
    pub target: Option<String>,
    /// Why there is no value, in words.
    pub why: Option<String>,
}

/// A figure with its unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    /// Nanoseconds.
    Time(f64),
    /// A part of 1.
    Ratio(f64),
    /// Per second.
    Rate(f64),
    /// Bits per second.
    Bits(f64),
    /// How many.
    Count(f64),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Figure {
    Min,
    Mean,
    Max,
    Stddev,
    Quantile(f64),
    Jitter,
    Ipdv,
    Loss,
    Rate,
    /// By its place in [`COUNTS`].
    Count(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

const FORM: &str =
    "write a figure, a relation and a bound, such as p99<5ms, loss<0.1%, max<=20ms, jitter<2ms, rate>900 or duplicates==0";

/// A counter's name and where it stands.
type Counter = (&'static str, fn(&Counts) -> u64);

/// The counters that can be held against a bound.
const COUNTS: [Counter; 9] = [
    ("received", |c| c.received),
    ("rejected", |c| c.rejected),
    ("lost", |c| c.lost),
    ("not_sent", |c| c.not_sent),
    ("late", |c| c.late),
    ("duplicates", |c| c.duplicates),
    ("reordered", |c| c.reordered),
    ("corrupt", |c| c.corrupt),
    ("syn_lost", |c| c.syn_lost),
];

impl Assertion {
    /// Reads one or more assertions joined by `&`.
    ///
    /// Figures: `min`, `mean` (`avg`), `max`, `stddev`, `median`, any percentile (`p50`, `p99`, `p99.9`, also `p999`),
    /// `jitter` (RFC 3550), `ipdv` (mean IPDV, RFC 3393), `loss` (SYNs that had to be sent again included), `rate`
    /// (replies per second of the run), and the counters of a target by their names in JSON. Relations: `<`, `<=`, `>`,
    /// `>=`, `==`. A time is a duration with its unit, loss a percentage.
    ///
    /// # Errors
    /// What cannot be understood, and what to write.
    pub fn parse(text: &str) -> Result<Vec<Assertion>, String> {
        text.split('&').map(Assertion::parse_one).collect()
    }

    fn parse_one(text: &str) -> Result<Assertion, String> {
        let expr: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = expr.find(['<', '>', '=']).ok_or_else(|| FORM.to_owned())?;
        let (name, rest) = expr.split_at(at);
        let (relation, bound) = Relation::parse(rest).ok_or_else(|| FORM.to_owned())?;
        let figure =
            Figure::parse(name).ok_or_else(|| format!("no figure is called {}: {FORM}", shown(name)))?;
        let bound = figure.bound(bound)?;
        Ok(Assertion {
            figure,
            relation,
            bound,
            expr,
        })
    }

    /// Holds it against what a run amounted to. Without a target that could be probed it does not hold.
    pub fn judge(&self, report: &Report) -> Verdict {
        let seconds = Duration::from_nanos(report.run.span.1.nanos_since(report.run.span.0)).as_secs_f64();
        let probed = report.job.targets.iter().zip(&report.run.targets);
        let mut worst: Option<(&Target, Result<Value, String>)> = None;
        for (target, of) in probed {
            let value = match &target.error {
                Some(_) => Err("it could not be probed".to_owned()),
                None => self.figure.of(of, seconds),
            };
            let fails = !value.as_ref().is_ok_and(|&value| self.admits(value));
            let is_worse = match (&worst, &value) {
                (None, _) => true,
                (Some((_, Ok(before))), Ok(now)) => self.is_worse(now.number(), before.number()),
                (Some(_), _) => false,
            };
            if fails || is_worse {
                worst = Some((target, value));
            }
            if fails {
                break;
            }
        }
        let of_many = report.job.targets.len() > 1;
        let (target, value) = match worst {
            Some((target, value)) => (of_many.then(|| target.label()), value),
            None => (None, Err("there is no target".to_owned())),
        };
        Verdict {
            expr: self.expr.clone(),
            holds: value.as_ref().is_ok_and(|&value| self.admits(value)),
            value: value.as_ref().ok().copied(),
            target,
            why: value.err(),
        }
    }

    fn admits(&self, value: Value) -> bool {
        let (value, bound) = (value.number(), self.bound.number());
        match self.relation {
            Relation::Below => value < bound,
            Relation::AtMost => value <= bound,
            Relation::Above => value > bound,
            Relation::AtLeast => value >= bound,
            Relation::Equal => value == bound,
        }
    }

    /// Whether `now` is nearer to breaking it than `before`.
    fn is_worse(&self, now: f64, before: f64) -> bool {
        match self.relation {
            Relation::Below | Relation::AtMost => now > before,
            Relation::Above | Relation::AtLeast => now < before,
            Relation::Equal => false,
        }
    }
}

impl Relation {
    fn parse(text: &str) -> Option<(Relation, &str)> {
        // The longer ones first: each of the others begins one.
        let all = [
            ("<=", Relation::AtMost),
            (">=", Relation::AtLeast),
            ("==", Relation::Equal),
            ("<", Relation::Below),
            (">", Relation::Above),
            ("=", Relation::Equal),
        ];
        all.iter()
            .find_map(|(sign, relation)| Some((*relation, text.strip_prefix(sign)?)))
    }
}

impl Figure {
    fn parse(name: &str) -> Option<Figure> {
        let name = name.to_ascii_lowercase();
        let figure = match name.as_str() {
            "min" => Figure::Min,
            "mean" | "avg" => Figure::Mean,
            "max" => Figure::Max,
            "stddev" | "mdev" => Figure::Stddev,
            "median" => Figure::Quantile(0.5),
            "jitter" => Figure::Jitter,
            "ipdv" => Figure::Ipdv,
            "loss" => Figure::Loss,
            "rate" => Figure::Rate,
            other => {
                let counted = COUNTS.iter().position(|(name, _)| *name == other);
                return counted
                    .map(Figure::Count)
                    .or_else(|| quantile(other.strip_prefix('p')?).map(Figure::Quantile));
            }
        };
        Some(figure)
    }

    /// The bound in the figure's own unit.
    fn bound(self, text: &str) -> Result<Value, String> {
        match self {
            Figure::Loss => match text.strip_suffix('%').map(str::parse::<f64>) {
                Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(Value::Ratio(percent / 100.0)),
                None if text == "0" => Ok(Value::Ratio(0.0)),
                _ => Err("loss is a percentage from 0% to 100%: write loss<0.1%".to_owned()),
            },
            Figure::Rate => value::rate(text).map(Value::Rate),
            Figure::Count(_) => value::whole(text).map(|n| Value::Count(n as f64)),
            _ => match value::duration(text) {
                Ok(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text != "0" => {
                    Err(format!("{text} of what? Write {text}ms, {text}us or {text}s"))
                }
                Ok(time) => Ok(Value::Time(time.as_nanos() as f64)),
                Err(why) => Err(why),
            },
        }
    }

    /// The target's figure, or why it has none. `seconds` is how long the run took.
    fn of(self, target: &TargetReport, seconds: f64) -> Result<Value, String> {
        let stats = &target.stats;
        let rtt = stats.rtt();
        let needs = |replies: u64| {
            format!(
                "needs {replies} {} with a round-trip time, there {} {}",
                if replies == 1 { "reply" } else { "replies" },
                if rtt.count() == 1 { "is" } else { "are" },
                rtt.count()
            )
        };
        let time = |ns: Option<f64>, replies| ns.map(Value::Time).ok_or_else(|| needs(replies));
        match self {
            Figure::Min => time(rtt.min().map(|ns| ns as f64), 1),
            Figure::Mean => time(rtt.mean(), 1),
            Figure::Max => time(rtt.max().map(|ns| ns as f64), 1),
            Figure::Stddev => time(rtt.stddev(), 1),
            Figure::Quantile(q) => match stats.rtt_quantile(q) {
                Some(ns) => Ok(Value::Time(ns as f64)),
                None if stats.histogram().is_none() => Err(
                    "a run over so many targets keeps no percentiles: assert min, mean, max, stddev or loss"
                        .to_owned(),
                ),
                // A quantile q stands on 1/(1−q) replies; the addition undoes what binary fractions lose.
                None => Err(needs(((1.0 / (1.0 - q)) - 1e-6).ceil().max(1.0) as u64)),
            },
            Figure::Jitter => time(stats.jitter_rfc3550(), 2),
            Figure::Ipdv => time(stats.ipdv_mean(), 2),
            Figure::Loss => loss_with_syns(&target.counts)
                .map(Value::Ratio)
                .ok_or_else(|| "needs a probe that was sent, there is none".to_owned()),
            Figure::Rate if seconds > 0.0 => Ok(Value::Rate(target.counts.received as f64 / seconds)),
            Figure::Rate => Err("needs a run that took time".to_owned()),
            Figure::Count(place) => {
                let count = COUNTS.get(place).map_or(0, |(_, count)| count(&target.counts));
                Ok(Value::Count(count as f64))
            }
        }
    }
}

/// `50`, `99`, `99.9`; and nines without a point as JSON keys write them: `999` is 99.9.
fn quantile(text: &str) -> Option<f64> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if !(1..=9).contains(&digits) || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let percent: f64 = text.parse().ok()?;
    let is_key = digits > 2 && text.bytes().all(|b| b == b'9');
    let percent = if is_key {
        percent / 10f64.powi(digits as i32 - 2)
    } else {
        percent
    };
    (percent > 0.0 && percent < 100.0).then_some(percent / 100.0)
}

impl Value {
    fn number(self) -> f64 {
        match self {
            Value::Time(x) | Value::Ratio(x) | Value::Rate(x) | Value::Bits(x) | Value::Count(x) => x,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Time(ns) => Time(ns.round() as u64).fmt(f),
            Value::Ratio(ratio) => Percent(ratio).fmt(f),
            Value::Rate(rate) => write!(f, "{rate:.1}/s"),
            Value::Bits(rate) => Bits(rate).fmt(f),
            Value::Count(n) => write!(f, "{n}"),
        }
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expr)
    }
}

impl fmt::Display for Verdict {
    /// One line: `p99<5ms holds: 1.2 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds { "holds" } else { "does not hold" };
        write!(f, "{} {word}: ", self.expr)?;
        if let Some(target) = &self.target {
            write!(f, "{target} ")?;
        }
        match (&self.value, &self.why) {
            (Some(value), _) => value.fmt(f),
            (None, Some(why)) => f.write_str(why),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Kind;
    use crate::render::sample::{target, unresolved, Run};
    use proptest::prelude::*;

    fn judged(expr: &str, report: &Report) -> Vec<Verdict> {
        let all = Assertion::parse(expr).expect(expr);
        all.iter().map(|assertion| assertion.judge(report)).collect()
    }

    /// Ten replies of 1 ms to 10 ms and two lost probes, a second apart.
    fn ten() -> Run {
        let mut run = Run::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
        for ms in 1..=10 {
            run.reply(0, ms * 1_000_000);
        }
        run.lost(0).lost(0);
        run
    }

    #[test]
    fn an_assertion_is_held_against_the_figure_that_it_names() {
        let run = ten();
        for (expr, holds) in [
            ("max<=10ms", true),
            ("max<10ms", false),
            ("min==1ms", true),
            ("min>1ms", false),
            ("mean<5501us", true),
            ("avg>5.4ms", true),
            ("p90<10ms", true),
            ("median<6ms", true),
            ("stddev>=2872us", true),
            ("ipdv<=1ms", true),
            ("loss<17%", true),
            ("loss<16.6%", false),
            ("loss==0", false),
            ("received==10", true),
            ("lost<2", false),
            ("duplicates=0", true),
            ("rate>0", true),
            ("rate>1k", false),
        ] {
            let verdict = &judged(expr, &run.report)[0];
            assert_eq!(verdict.holds, holds, "{verdict}");
            assert_eq!(verdict.target, None, "{verdict}");
        }
    }

    #[test]
    fn what_is_joined_is_judged_one_by_one_and_blanks_do_not_matter() {
        let verdicts = judged("max < 1s & loss<1%", &ten().report);
        let told: Vec<_> = verdicts.iter().map(|v| (v.expr.as_str(), v.holds)).collect();
        assert_eq!(told, [("max<1s", true), ("loss<1%", false)]);
    }

    #[test]
    fn a_figure_that_the_count_cannot_carry_fails_and_says_what_it_needs() {
        let verdict = &judged("p99<1h", &ten().report)[0];
        assert!(!verdict.holds && verdict.value.is_none());
        assert_eq!(
            verdict.to_string(),
            "p99<1h does not hold: needs 100 replies with a round-trip time, there are 10"
        );
        for (expr, replies) in [
            ("p999<1h", "1000 "),
            ("p99.99<1h", "10000 "),
            ("p9999<1h", "10000 "),
        ] {
            let why = judged(expr, &ten().report)[0].why.clone().unwrap();
            assert!(why.starts_with(&format!("needs {replies}")), "{why}");
        }
    }

    #[test]
    fn of_several_targets_the_one_that_breaks_it_is_named() {
        let both = vec![target(None, "10.0.0.1:0"), target(None, "10.0.0.2:0")];
        let mut run = Run::new(Kind::Icmp, both);
        run.reply(0, 1_000).reply(1, 5_000);
        let named = |expr: &str| judged(expr, &run.report)[0].target.clone().unwrap();
        assert_eq!(named("max<2us"), "10.0.0.2");
        assert_eq!(named("max<9us"), "10.0.0.2", "the nearest to breaking it");
        assert_eq!(named("min>=1us"), "10.0.0.1");
        let run = Run::new(Kind::Icmp, vec![unresolved("nobody", "no such name")]);
        let verdict = &judged("loss<1%", &run.report)[0];
        assert!(!verdict.holds, "{verdict}");
    }

    #[test]
    fn what_is_no_assertion_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "such as"),
            ("p99", "such as"),
            ("p99<", "empty"),
            ("<5ms", "no figure"),
            ("p99<5", "Write 5ms"),
            ("p99<-5ms", "not negative"),
            ("p100<5ms", "no figure"),
            ("p0<5ms", "no figure"),
            ("p<5ms", "no figure"),
            ("loss<1", "percentage"),
            ("loss<101%", "percentage"),
            ("loss<nan%", "percentage"),
            ("rate>fast", "per second"),
            ("lost<1.5", "whole"),
            ("max<5ms&", "such as"),
            ("speed<5", "no figure"),
        ] {
            let why = Assertion::parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_or_judging_panic(text in "[a-z0-9.]{0,6}[<>=]{0,2}[0-9.a-z%]{0,8}(&.{0,8})?") {
            if let Ok(all) = Assertion::parse(&text) {
                let report = ten().report;
                all.iter().for_each(|assertion| drop(assertion.judge(&report).to_string()));
            }
        }
    }
}
