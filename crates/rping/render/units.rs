//! Figures with their units, as people read them: `41.9 µs`, `1.203 ms`, `2.001 s`, `33.3%`.

use std::fmt;
use std::time::Duration;

/// A span of time in nanoseconds, shown with the unit that suits it.
///
/// Rounded to a tenth of a microsecond below 1 ms, to a microsecond below 1 s, to a millisecond above; what rounds up
/// to the next unit is shown in that unit (`999.95 µs` reads `1.000 ms`). Whole nanoseconds below 1 µs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        if ns < 1_000 {
            return write!(f, "{ns} ns");
        }
        let tenths_of_us = rounded(ns, 100);
        if tenths_of_us < 10_000 {
            return write!(f, "{}.{} µs", tenths_of_us / 10, tenths_of_us % 10);
        }
        let us = rounded(ns, 1_000);
        if us < 1_000_000 {
            return write!(f, "{}.{:03} ms", us / 1_000, us % 1_000);
        }
        let ms = rounded(ns, 1_000_000);
        write!(f, "{}.{:03} s", ms / 1_000, ms % 1_000)
    }
}

/// `value / unit`, halves away from zero; cannot overflow.
const fn rounded(value: u64, unit: u64) -> u64 {
    value / unit + (value % unit >= unit - unit / 2) as u64
}

/// A figure that may have nothing to stand on: then it reads `n/a`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrNone<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for OrNone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("n/a"),
        }
    }
}

/// Nanoseconds that may be unknown, with a unit or as `n/a`.
pub fn time(ns: Option<u64>) -> OrNone<Time> {
    OrNone(ns.map(Time))
}

/// A duration as it is typed on the command line: `1s`, `200ms`, `1m 30s`.
pub fn setting(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

/// A ratio as a percentage: `0%`, `25%`, `33.3%`, `0.004%`.
///
/// A ratio that is not 0 never reads `0%`, and one that is not 1 never reads `100%`. Not a number reads `n/a`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if !percent.is_finite() {
            return f.write_str("n/a");
        }
        if percent == percent.trunc() {
            return write!(f, "{percent:.0}%");
        }
        // The distance to the nearer end decides how many digits it takes not to be mistaken for that end.
        let distance = percent.min(100.0 - percent).abs();
        let digits = match distance {
            d if d >= 0.1 => 1,
            d if d >= 0.01 => 2,
            d if d >= 0.001 => 3,
            d if d >= 0.000_1 => 4,
            _ => 6,
        };
        write!(f, "{percent:.digits$}%")
    }
}

/// A count and its noun in the right number: `1 probe`, `2 probes`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes with a decimal unit, as rates are counted.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0 as f64, "B")
    }
}

/// Bits per second with a decimal unit.
pub struct Bits(pub f64);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, "bit/s")
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
    for (prefix, size) in [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if value >= size {
            let digits = if value / size < 100.0 { 2 } else { 1 };
            return write!(f, "{:.digits$} {prefix}{unit}", value / size);
        }
    }
    write!(f, "{value:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ns: u64) -> String {
        Time(ns).to_string()
    }

    #[test]
    fn times_carry_the_unit_that_suits_them() {
        assert_eq!(shown(0), "0 ns");
        assert_eq!(shown(999), "999 ns");
        assert_eq!(shown(1_000), "1.0 µs");
        assert_eq!(shown(41_900), "41.9 µs");
        assert_eq!(shown(1_203_000), "1.203 ms");
        assert_eq!(shown(2_001_000_000), "2.001 s");
        assert_eq!(shown(86_400_000_000_000), "86400.000 s");
    }

    #[test]
    fn a_time_that_rounds_up_to_the_next_unit_is_shown_in_it() {
        assert_eq!(shown(999_949), "999.9 µs");
        assert_eq!(shown(999_950), "1.000 ms");
        assert_eq!(shown(999_999_499), "999.999 ms");
        assert_eq!(shown(999_999_500), "1.000 s");
        assert_eq!(shown(1_949), "1.9 µs");
        assert_eq!(shown(1_950), "2.0 µs");
    }

    #[test]
    fn the_longest_time_is_shown_without_overflow() {
        assert_eq!(shown(u64::MAX), "18446744073.710 s");
    }

    #[test]
    fn what_is_not_known_reads_n_a() {
        assert_eq!(time(None).to_string(), "n/a");
        assert_eq!(time(Some(500)).to_string(), "500 ns");
    }

    #[test]
    fn a_percentage_is_never_mistaken_for_none_or_all() {
        let shown = |ratio| Percent(ratio).to_string();
        assert_eq!(shown(0.0), "0%");
        assert_eq!(shown(1.0), "100%");
        assert_eq!(shown(0.25), "25%");
        assert_eq!(shown(1.0 / 3.0), "33.3%");
        assert_eq!(shown(0.000_04), "0.004%");
        assert_eq!(shown(0.999_96), "99.996%");
        assert_eq!(shown(1e-8), "0.000001%");
        assert_eq!(shown(f64::NAN), "n/a");
    }

    #[test]
    fn settings_read_as_they_are_typed() {
        assert_eq!(setting(Duration::from_millis(200)).to_string(), "200ms");
        assert_eq!(setting(Duration::from_secs(90)).to_string(), "1m 30s");
    }

    #[test]
    fn rates_and_amounts_read_with_decimal_units() {
        assert_eq!(Bits(18_512_345_678.0).to_string(), "18.51 Gbit/s");
        assert_eq!(Bits(940_000_000.0).to_string(), "940.0 Mbit/s");
        assert_eq!(Bits(12.0).to_string(), "12 bit/s");
        assert_eq!(Bytes(1_500).to_string(), "1.50 kB");
    }
}
