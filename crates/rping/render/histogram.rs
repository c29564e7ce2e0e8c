//! A histogram as lines: the lower bound of each bucket, its count, and a bar.

use std::fmt::Write as _;

use rping_engine::TargetReport;
use rping_stats::{buckets, Bucket};

use super::units::Time;
use crate::args::output::Buckets;

/// The longest bar.
const BAR: u64 = 40;

/// The lines of a target's histogram, each with its line break; empty without round trips or where none was kept.
pub(super) fn lines(target: &TargetReport, wanted: &Buckets) -> String {
    let Some(histogram) = target.stats.histogram().filter(|h| !h.is_empty()) else {
        return String::new();
    };
    let buckets = match wanted {
        Buckets::Equal(n) => buckets::equal(histogram, &target.stats.rtt(), *n),
        Buckets::Bounds(bounds) => buckets::bounds(histogram, bounds),
    };
    draw(&buckets)
}

fn draw(buckets: &[Bucket]) -> String {
    let most = buckets.iter().map(|b| b.count).max().unwrap_or(0).max(1);
    let width = buckets
        .iter()
        .map(|b| b.count.to_string().len())
        .max()
        .unwrap_or(0)
        .max("count".len());
    let mut lines = String::new();
    if !buckets.is_empty() {
        let _ = writeln!(lines, "{:>14}  {:>width$}", "round trip ≥", "count");
    }
    for bucket in buckets {
        // One probe among millions is still seen: the bar rounds up.
        let bar = (u128::from(bucket.count) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
        // Padding counts characters, and a time is formatted piecewise: it has to be whole first.
        let from = Time(bucket.lower_ns).to_string();
        let line = format!("{from:>14}  {:>width$}  {}", bucket.count, "#".repeat(bar));
        let _ = writeln!(lines, "{}", line.trim_end());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_bucket_has_the_longest_bar_and_one_probe_is_still_seen() {
        let of = |lower_ns, count| Bucket { lower_ns, count };
        let drawn = draw(&[of(41_000, 1_000_000), of(1_200_000, 0), of(2_000_000, 1)]);
        let expected = format!(
            "  round trip ≥    count\n       41.0 µs  1000000  {}\n      1.200 ms        0\n      2.000 ms        1  #\n",
            "#".repeat(40)
        );
        assert_eq!(drawn, expected);
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        assert!(draw(&[Bucket {
            lower_ns: 0,
            count: u64::MAX
        }])
        .ends_with("####\n"));
        assert_eq!(draw(&[]), "");
    }
}
