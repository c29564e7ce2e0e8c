//! Every figure against the same figure computed from all raw samples, kept and sorted.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rping_stats::{buckets, replies_needed, Histogram, Moments, Recorder, DAY_NS};

/// Durations as networks have them, and as nothing but a fault would.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    let one = prop_oneof![
        5 => 20_000u64..2_000_000,
        3 => 1_000_000u64..1_000_000_000,
        1 => 0u64..100,
        1 => 0..=DAY_NS,
    ];
    proptest::collection::vec(one, 1..1500)
}

fn moments_of(values: &[u64]) -> Moments {
    let mut m = Moments::new();
    values.iter().for_each(|&v| m.record(v));
    m
}

fn histogram_of(values: &[u64]) -> Histogram {
    let mut h = Histogram::new();
    values.iter().for_each(|&v| h.record(v));
    h
}

fn full_of(values: &[u64]) -> Recorder {
    let mut r = Recorder::full();
    for (seq, &v) in values.iter().enumerate() {
        r.reply(seq as u64, Some(v), v.saturating_mul(2));
    }
    r
}

/// The population standard deviation in two passes.
fn stddev(values: &[u64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| u128::from(v)).sum::<u128>() as f64 / n;
    (values.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / n).sqrt()
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs()) + 1e-6
}

/// Sequence numbers in an order of arrival: some missing, each displaced by fewer than `reach` places.
fn arrivals(reach: u64) -> impl Strategy<Value = Vec<(u64, Option<u64>)>> {
    let one = (
        0..reach,
        prop::bool::weighted(0.8),
        prop::option::weighted(0.9, 1000u64..1_000_000),
    );
    proptest::collection::vec(one, 1..600).prop_map(|probes| {
        let mut order: Vec<_> = probes
            .into_iter()
            .enumerate()
            .filter(|(_, (_, answered, _))| *answered)
            .map(|(seq, (delay, _, rtt))| (seq as u64 + delay, seq as u64, rtt))
            .collect();
        order.sort();
        order.into_iter().map(|(_, seq, rtt)| (seq, rtt)).collect()
    })
}

proptest! {
    /// Bins, quantiles and the V2 form are those of the library whose format it is.
    #[test]
    fn the_bins_are_hdrhistograms(values in durations(), digits in 1u8..=3) {
        let mut ours = Histogram::with_digits(digits).unwrap();
        let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 2, digits).unwrap();
        theirs.auto(true);
        for &value in &values {
            ours.record(value);
            theirs.record(value).unwrap();
        }
        let bins: Vec<_> = ours.recorded().map(|bin| (bin.highest, bin.count)).collect();
        let expected: Vec<_> = theirs
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect();
        prop_assert_eq!(bins, expected);
        for bin in ours.recorded() {
            prop_assert_eq!(bin.lowest, theirs.lowest_equivalent(bin.highest));
        }
        for rank in [1, values.len() / 2, values.len()] {
            let q = (rank as f64 - 0.5) / values.len() as f64;
            if let Some(value) = ours.quantile(q) {
                prop_assert_eq!(value, theirs.value_at_quantile(q));
            }
        }
        let again = Histogram::from_v2_base64(&ours.to_v2_base64()).unwrap();
        prop_assert_eq!(again, ours);
    }
}

proptest! {
    #[test]
    fn moments_are_those_of_the_raw_samples(values in durations()) {
        let m = moments_of(&values);
        let sum: u128 = values.iter().map(|&v| u128::from(v)).sum();
        prop_assert_eq!(m.count(), values.len() as u64);
        prop_assert_eq!((m.min(), m.max()), (values.iter().min().copied(), values.iter().max().copied()));
        prop_assert_eq!(m.sum(), sum);
        prop_assert_eq!(m.mean(), Some(sum as f64 / values.len() as f64));
        prop_assert!(close(m.stddev().unwrap(), stddev(&values), 1e-9));
    }

    #[test]
    fn quantiles_are_within_a_thousandth_of_the_nearest_rank(values in durations(), q in 0.0f64..0.9995) {
        let r = full_of(&values);
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let n = sorted.len();
        let exact = sorted[((q * n as f64 - 1e-9).ceil().max(1.0) as usize) - 1];
        match r.rtt_quantile(q) {
            None => prop_assert!((n as u64) < replies_needed(q).unwrap()),
            Some(v) => {
                prop_assert!(n as u64 >= replies_needed(q).unwrap());
                prop_assert!(v >= exact && (v - exact) as f64 <= exact as f64 * 0.001, "{v} for {exact}");
                prop_assert!(v <= *sorted.last().unwrap());
                let due = r.from_due_quantile(q).unwrap();
                prop_assert!(close(due as f64, (exact * 2).min(DAY_NS) as f64, 0.01), "{due} for {exact} twice");
            }
        }
    }

    #[test]
    fn two_merged_are_as_one_that_recorded_both(a in durations(), b in durations()) {
        let both = [a.as_slice(), b.as_slice()].concat();
        let (mut merged, one) = (full_of(&a), full_of(&both));
        merged.merge(&full_of(&b));
        prop_assert_eq!(merged.rtt().count(), one.rtt().count());
        prop_assert_eq!((merged.rtt().min(), merged.rtt().max()), (one.rtt().min(), one.rtt().max()));
        prop_assert_eq!((merged.rtt().sum(), merged.rtt().mean()), (one.rtt().sum(), one.rtt().mean()));
        prop_assert!(close(merged.rtt().stddev().unwrap(), one.rtt().stddev().unwrap(), 1e-9));
        prop_assert_eq!(merged.histogram(), one.histogram());
        prop_assert_eq!(merged.from_due_histogram(), one.from_due_histogram());
        prop_assert_eq!(merged.from_due_max(), one.from_due_max());
        for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
            prop_assert_eq!(merged.rtt_quantile(q), one.rtt_quantile(q));
        }
    }

    #[test]
    fn merged_pairs_runs_and_reordering_add_up(a in arrivals(50), b in arrivals(50), gap in 2u64..9) {
        let record = |from: &[(u64, Option<u64>)]| {
            let mut r = Recorder::full();
            from.iter().for_each(|&(seq, rtt)| r.reply(seq, rtt, 0));
            (0..20).filter(|s| s % gap != 0).for_each(|s| r.lost(s, s * 1000));
            r
        };
        let (mut merged, b) = (record(&a), record(&b));
        let a = merged.clone();
        merged.merge(&b);
        prop_assert_eq!(merged.reordered(), a.reordered() + b.reordered());
        prop_assert_eq!(merged.loss_runs().count(), 2 * a.loss_runs().count());
        prop_assert_eq!(merged.loss_runs().longest(), a.loss_runs().longest());
        prop_assert_eq!(merged.loss_runs().longest_outage_ns(), a.loss_runs().longest_outage_ns());
        let twice: Vec<_> = a.loss_runs().lengths().map(|l| 2 * l.runs).collect();
        prop_assert_eq!(merged.loss_runs().lengths().map(|l| l.runs).collect::<Vec<_>>(), twice);
        match (a.ipdv_mean(), b.ipdv_mean()) {
            (Some(x), Some(y)) => {
                let m = merged.ipdv_mean().unwrap();
                prop_assert!(x.min(y) - 1e-6 <= m && m <= x.max(y) + 1e-6);
            }
            (x, y) => prop_assert_eq!(merged.ipdv_mean(), x.or(y)),
        }
        match (a.jitter_rfc3550(), b.jitter_rfc3550()) {
            (Some(x), Some(y)) => {
                let m = merged.jitter_rfc3550().unwrap();
                prop_assert!(x.min(y) - 1e-6 <= m && m <= x.max(y) + 1e-6);
            }
            (x, y) => prop_assert_eq!(merged.jitter_rfc3550(), x.or(y)),
        }
    }

    #[test]
    fn jitter_variation_and_reordering_are_those_of_the_raw_arrivals(order in arrivals(900)) {
        let (mut full, mut brief) = (Recorder::full(), Recorder::brief());
        for &(seq, rtt) in &order {
            full.reply(seq, rtt, rtt.unwrap_or(0));
            brief.reply(seq, rtt, rtt.unwrap_or(0));
        }
        // RFC 3550 A.8, with the RFC's own update
        let known: Vec<f64> = order.iter().filter_map(|&(_, rtt)| rtt).map(|v| v as f64).collect();
        let mut jitter = 0.0;
        for w in known.windows(2) {
            jitter += ((w[1] - w[0]).abs() - jitter) / 16.0;
        }
        let want = (known.len() > 1).then_some(jitter);
        for r in [&full, &brief] {
            prop_assert_eq!(r.jitter_rfc3550().is_some(), want.is_some());
            prop_assert!(close(r.jitter_rfc3550().unwrap_or(0.0), want.unwrap_or(0.0), 1e-9));
        }
        // every two neighbours that were both answered, once
        let by_seq: BTreeMap<u64, u64> = order.iter().filter_map(|&(s, rtt)| Some((s, rtt?))).collect();
        let pairs: Vec<u64> =
            by_seq.iter().filter_map(|(s, a)| Some(a.abs_diff(*by_seq.get(&(s + 1))?))).collect();
        let mean = (!pairs.is_empty()).then(|| pairs.iter().sum::<u64>() as f64 / pairs.len() as f64);
        prop_assert_eq!(full.ipdv_mean(), mean);
        // RFC 4737: reordered is what comes after anything later
        let late = (0..order.len()).filter(|&i| order[..i].iter().any(|(s, _)| *s > order[i].0)).count() as u64;
        prop_assert_eq!((full.reordered(), brief.reordered()), (late, late));
    }

    #[test]
    fn a_brief_recorder_pairs_all_neighbours_that_arrive_in_order(order in arrivals(1)) {
        let (mut full, mut brief) = (Recorder::full(), Recorder::brief());
        for &(seq, rtt) in &order {
            full.reply(seq, rtt, 0);
            brief.reply(seq, rtt, 0);
        }
        prop_assert_eq!(full.ipdv_mean(), brief.ipdv_mean());
        prop_assert_eq!(full.rtt(), brief.rtt());
    }

    #[test]
    fn loss_runs_are_those_of_the_raw_outcomes(lost in proptest::collection::vec(prop::bool::weighted(0.6), 0..400), step in 1u64..1_000_000) {
        let mut r = Recorder::brief();
        for (seq, _) in lost.iter().enumerate().filter(|(_, lost)| **lost) {
            r.lost(seq as u64, seq as u64 * step);
        }
        let runs: Vec<u64> = lost.split(|l| !l).map(|run| run.len() as u64).filter(|&n| n > 0).collect();
        let longest = runs.iter().max().copied();
        prop_assert_eq!(r.loss_runs().count(), runs.len() as u64);
        prop_assert_eq!(r.loss_runs().longest(), longest);
        prop_assert_eq!(r.loss_runs().longest_outage_ns(), longest.map(|n| (n - 1) * step));
        for class in r.loss_runs().lengths() {
            let within = |n: &&u64| **n >= class.shortest && class.longest.is_none_or(|most| **n <= most);
            prop_assert_eq!(class.runs, runs.iter().filter(within).count() as u64);
        }
    }

    #[test]
    fn buckets_hold_every_value_once(values in durations(), n in 1usize..60, edges in proptest::collection::vec(0u64..2_000_000, 0..12)) {
        let (h, m) = (histogram_of(&values), moments_of(&values));
        let equal = buckets::equal(&h, &m, n);
        prop_assert_eq!(equal.iter().map(|b| b.count).sum::<u64>(), values.len() as u64);
        prop_assert_eq!(equal[0].lower_ns, m.min().unwrap());
        prop_assert!(equal[0].count > 0 && equal[equal.len() - 1].count > 0);
        if equal.len() > 1 {
            prop_assert_eq!(equal.len(), n);
            prop_assert_eq!(equal[n - 1].lower_ns, m.max().unwrap());
        }
        let bounds = buckets::bounds(&h, &edges);
        prop_assert_eq!(bounds.iter().map(|b| b.count).sum::<u64>(), values.len() as u64);
        for (i, b) in bounds.iter().enumerate() {
            // a value may stand on the other side of an edge that is within 0.1 % of it
            let below = |v: u64, edge: u64, by: f64| (v as f64) < edge as f64 * by;
            let within = |slack: f64| {
                let in_it = |v: &&u64| {
                    !below(**v, b.lower_ns, 1.0 - slack)
                        && bounds.get(i + 1).is_none_or(|next| below(**v, next.lower_ns, 1.0 + slack))
                };
                values.iter().filter(in_it).count() as u64
            };
            prop_assert!((within(-0.001)..=within(0.001)).contains(&b.count));
        }
    }

    #[test]
    fn a_histogram_survives_its_v2_form(values in durations(), digits in 1u8..=4) {
        let mut h = Histogram::with_digits(digits).unwrap();
        values.iter().for_each(|&v| h.record(v));
        let text = h.to_v2_base64();
        prop_assert!(text.starts_with("HISTF"));
        let mut back = Histogram::from_v2_base64(&text).unwrap();
        prop_assert_eq!(&back, &h);
        back.merge(&h);
        prop_assert_eq!(back.len(), 2 * h.len());
        back.record(DAY_NS);
    }

    #[test]
    fn a_damaged_v2_form_is_refused_or_read_but_never_a_panic(values in durations(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut text = histogram_of(&values).to_v2_base64().into_bytes();
        let at = at.index(text.len());
        text[at] = with;
        if let Ok(h) = Histogram::from_v2_base64(&String::from_utf8_lossy(&text)) {
            h.quantile(0.5);
            h.recorded().count();
        }
    }
}

#[test]
fn an_empty_histogram_survives_its_v2_form() {
    let h = Histogram::new();
    assert_eq!(Histogram::from_v2_base64(&h.to_v2_base64()).unwrap(), h);
}
