//! Wall-clock labels: RFC 3339, in UTC.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use rping_engine::Timestamp;

use crate::report::Epoch;

/// The last second that four digits of a year can show: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// An instant of the run as a wall-clock label with nanoseconds: `2026-11-22T21:30:00.123456789Z`.
pub(crate) fn nanos(epoch: &Epoch, at: Timestamp) -> impl fmt::Display {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since_1970(epoch.unix_ns(at)))
}

/// The same with milliseconds: `2026-11-22T21:30:00.123Z`.
pub(crate) fn millis(epoch: &Epoch, at: Timestamp) -> impl fmt::Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970(epoch.unix_ns(at)))
}

/// A clock set before 1970 or beyond 9999 is shown as that end: the format has no words for it.
fn since_1970(unix_ns: i128) -> Duration {
    let ns = u128::try_from(unix_ns).unwrap_or(0);
    let seconds = u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX);
    if seconds > LAST_SECOND {
        return Duration::new(LAST_SECOND, 999_999_999);
    }
    Duration::new(seconds, (ns % 1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(unix_ns: i128, after: u64) -> String {
        let epoch = Epoch {
            started: Timestamp::from_nanos(1_000),
            started_unix_ns: unix_ns,
        };
        nanos(&epoch, Timestamp::from_nanos(1_000 + after)).to_string()
    }

    #[test]
    fn an_instant_is_labelled_from_the_runs_start() {
        assert_eq!(
            label(1_795_383_000_123_456_789, 0),
            "2026-11-22T21:30:00.123456789Z"
        );
        assert_eq!(
            label(1_795_383_000_123_456_789, 1_000_000_000),
            "2026-11-22T21:30:01.123456789Z"
        );
    }

    #[test]
    fn a_clock_that_is_absurd_still_has_a_label() {
        assert_eq!(label(-5_000_000_000, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            label(i128::MAX / 2, u64::MAX - 1_000),
            "9999-12-31T23:59:59.999999999Z"
        );
    }
}
