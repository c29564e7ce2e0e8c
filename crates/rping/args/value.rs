//! Single values as they are typed: durations, sizes, rates, counts. Each parser says in its error what to write.
//!
//! Only the form is judged here; bounds belong to the request, which programs fill too.

use std::time::Duration;

use super::output::Buckets;
use crate::assertion::Assertion;
use crate::job::Stop;

/// The longest duration text. A humantime sum of this length with at most [`DIGITS`] digits a term stays far from
/// the end of a `Duration`, where humantime 2.4 panics instead of failing.
const LONGEST: usize = 64;
/// The most digits in one run of a duration with units.
const DIGITS: usize = 10;

/// A duration as humantime writes it (`10ms`, `1m30s`), or a bare number of seconds (`0.2`). Never negative.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a duration as 10ms, 1m30s, or a number of seconds such as 0.2";
    refuse_sign(text, "a duration")?;
    if is_decimal(text) {
        return seconds(text);
    }
    if ["nan", "inf", "infinity"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err(format!("a duration is finite: {FORM}"));
    }
    let digits = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if text.len() > LONGEST || digits > DIGITS {
        return Err(format!("too many digits: use a larger unit; {FORM}"));
    }
    humantime::parse_duration(text).map_err(|_| FORM.to_owned())
}

/// Digits with at most one point among them.
fn is_decimal(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.bytes().filter(|&b| b == b'.').count() <= 1
}

/// A decimal number of seconds, to the nanosecond and without a detour over floating point.
fn seconds(text: &str) -> Result<Duration, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = if whole.is_empty() { "0" } else { whole };
    let whole: u64 = whole
        .parse()
        .map_err(|_| "more seconds than there are".to_owned())?;
    let mut nanos = 0u32;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |b| u32::from(b - b'0'));
        nanos = nanos * 10 + digit;
    }
    if fraction.bytes().skip(9).any(|b| b != b'0') {
        return Err("finer than a nanosecond".to_owned());
    }
    Ok(Duration::new(whole, nanos))
}

fn refuse_sign(text: &str, what: &str) -> Result<(), String> {
    match text.bytes().next() {
        None => Err("the value is empty".to_owned()),
        Some(b'-') => Err(format!("{what} is not negative")),
        Some(b'+') => Err(format!("{what} is written without a sign")),
        Some(_) => Ok(()),
    }
}

/// A whole number without a sign.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    refuse_sign(text, "a count")?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("give a whole number such as 10".to_owned());
    }
    text.parse()
        .map_err(|_| "the largest count is 18446744073709551615".to_owned())
}

/// `-n`: a count of probes, or the time after which to stop.
pub(crate) fn stop(text: &str) -> Result<Stop, String> {
    refuse_sign(text, "a count")?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return whole(text).map(Stop::Count);
    }
    if is_decimal(text) {
        return Err(format!(
            "a count is whole; to stop after that many seconds write {text}s"
        ));
    }
    match duration(text) {
        Ok(time) => Ok(Stop::After(time)),
        Err(_) => Err("give a count such as 100, or a time such as 10s or 1m30s".to_owned()),
    }
}

/// Bytes, with k = 1024 and m = 1024², either case.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    const FORM: &str = "give bytes such as 64, 8k or 1m";
    refuse_sign(text, "a size")?;
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1024),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FORM.to_owned());
    }
    let number: Option<usize> = digits.parse().ok();
    number
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "larger than any packet".to_owned())
}

/// Events per second, with k = 1000, m and g likewise, either case.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    const FORM: &str = "give probes per second such as 0.5, 100 or 10k";
    refuse_sign(text, "a rate")?;
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    if !is_decimal(digits) {
        return Err(FORM.to_owned());
    }
    let number: f64 = digits.parse().map_err(|_| FORM.to_owned())?;
    let rate = number * factor;
    if rate.is_finite() {
        Ok(rate)
    } else {
        Err("more than any network carries".to_owned())
    }
}

/// Bits per second, with k = 1000, m and g likewise, either case; 0 is unlimited.
pub(crate) fn bits(text: &str) -> Result<u64, String> {
    match rate(text) {
        // The cast saturates.
        Ok(bits) if bits <= 1e15 => Ok(bits.round() as u64),
        _ => Err("give bits per second such as 500k, 100m or 1.5g; 0 = unlimited".to_owned()),
    }
}

/// `-H`: a number of buckets, or bounds in milliseconds.
pub(crate) fn buckets(text: &str) -> Result<Buckets, String> {
    const MOST: usize = 10_000;
    const FORM: &str = "give a number of buckets such as 20, or rising bounds in ms such as 0.5,1,5";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(n) if (1..=MOST).contains(&n) => Ok(Buckets::Equal(n)),
            _ => Err(format!("a histogram has 1 to {MOST} buckets")),
        };
    }
    let mut bounds = Vec::new();
    for part in text.split(',') {
        if !is_decimal(part) {
            return Err(FORM.to_owned());
        }
        // A thousandth of that many seconds, still exact: nine digits behind the point are picoseconds here.
        let milli = seconds(part).map_err(|_| FORM.to_owned())?;
        if milli > Duration::from_secs(86_400_000) {
            return Err("a bound is at most a day".to_owned());
        }
        let bound = u64::try_from(milli.as_nanos() / 1000).map_err(|_| FORM.to_owned())?;
        if bounds.last().is_some_and(|&last| last >= bound) {
            return Err("the bounds must rise".to_owned());
        }
        if bounds.len() == MOST {
            return Err(format!("a histogram has at most {MOST} bounds"));
        }
        bounds.push(bound);
    }
    Ok(Buckets::Bounds(bounds))
}

/// A percentage from 0 to 100, with or without its sign.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let bare = text.strip_suffix('%').unwrap_or(text);
    let percent: Option<f64> = is_decimal(bare).then(|| bare.parse().ok()).flatten();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "write a percentage from 0 to 100, such as 2 or 0.5".to_owned())
}

/// What one `--assert` asks for.
#[derive(Clone, Debug)]
pub(crate) struct Assertions(pub(crate) Vec<Assertion>);

/// `--assert`: one or more assertions joined by `&`.
pub(crate) fn assertions(text: &str) -> Result<Assertions, String> {
    Assertion::parse(text).map(Assertions)
}

/// Whether a word after `-H` is its value, not a target: numbers are never targets, nor are lists of them, those that are
/// wrong (`5,3,`) included.
pub(crate) fn is_buckets(text: &str) -> bool {
    let is_list = text.contains(',') && text.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'.');
    is_decimal(text) || is_list
}

/// A firewall mark: decimal, or hexadecimal after `0x`.
pub(crate) fn mark(text: &str) -> Result<u32, String> {
    number(text).ok_or_else(|| "a mark is a number from 0 to 4294967295, or 0x0 to 0xffffffff".to_owned())
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // `from_str_radix` would take a plus sign.
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        u32::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

/// TTL or hop limit.
pub(crate) fn ttl(text: &str) -> Result<u8, String> {
    let ttl = if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    };
    ttl.filter(|&ttl| ttl > 0)
        .ok_or_else(|| "a TTL is a number from 1 to 255".to_owned())
}

/// A DSCP by number (0 to 63) or by the name its RFC gives it: CS0 to CS7 and DF (RFC 2474), AF11 to AF43 (RFC 2597),
/// EF (RFC 3246), VA (RFC 5865), LE (RFC 8622). Either case.
pub(crate) fn dscp(text: &str) -> Result<u8, String> {
    let name = text.to_ascii_uppercase();
    let digit = |c: u8, low: u8, high: u8| c.checked_sub(b'0').filter(|d| (low..=high).contains(d));
    let value = match name.as_bytes() {
        b"EF" => Some(46),
        b"VA" | b"VOICE-ADMIT" => Some(44),
        b"LE" => Some(1),
        b"DF" | b"BE" => Some(0),
        [b'C', b'S', class] => digit(*class, 0, 7).map(|class| class * 8),
        [b'A', b'F', class, drop] => digit(*class, 1, 4)
            .zip(digit(*drop, 1, 3))
            .map(|(class, drop)| class * 8 + drop * 2),
        _ => number(text)
            .and_then(|n| u8::try_from(n).ok())
            .filter(|&n| n < 64),
    };
    value.ok_or_else(|| "a DSCP is a number from 0 to 63, or CS0-CS7, AF11-AF43, EF, VA, LE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact_in_either_form() {
        for (text, nanos) in [
            ("0.2", 200_000_000),
            ("1", 1_000_000_000),
            (".5", 500_000_000),
            ("0", 0),
            ("0.0000001", 100),
            ("10ms", 10_000_000),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001", 1),
            ("0.0000000010000", 1),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "-1",
            "+1",
            "NaN",
            "nan",
            "inf",
            "-inf",
            "infinity",
            "1e308",
            "1e-3",
            "1,5",
            "1..2",
            ".",
            "abc",
            "5x",
            "1.2.3",
            "0.0000000001",
            "18446744073709551616",
            "18446744073709551615s 1000000000ns",
            "١s",
            "ms",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_is_digits_and_a_time_has_a_unit() {
        assert_eq!(stop("10"), Ok(Stop::Count(10)));
        assert_eq!(stop("0"), Ok(Stop::Count(0)));
        assert_eq!(stop("10s"), Ok(Stop::After(Duration::from_secs(10))));
        assert_eq!(stop("1m30s"), Ok(Stop::After(Duration::from_secs(90))));
        assert_eq!(stop("18446744073709551615"), Ok(Stop::Count(u64::MAX)));
        for text in [
            "18446744073709551616",
            "+5",
            "-5",
            "2.5",
            "",
            "ten",
            "5 probes",
            "0x10",
        ] {
            assert!(stop(text).is_err(), "{text}");
        }
        assert!(stop("2.5").unwrap_err().contains("2.5s"));
    }

    #[test]
    fn sizes_count_in_1024_and_rates_in_1000() {
        assert_eq!(size("8k"), Ok(8192));
        assert_eq!(size("1M"), Ok(1_048_576));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(rate("10k"), Ok(10_000.0));
        assert_eq!(rate("1M"), Ok(1e6));
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5k",
            "99999999999999999999",
            "99999999999999999m",
            "8kb",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["", "k", "-1", "nan", "inf", "1e3", "1kk", &"9".repeat(400)] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dscp_names_are_those_of_the_rfcs() {
        for (text, value) in [
            ("CS0", 0),
            ("cs7", 56),
            ("AF11", 10),
            ("af43", 38),
            ("EF", 46),
            ("va", 44),
            ("LE", 1),
            ("df", 0),
            ("0", 0),
            ("63", 63),
            ("0x2e", 46),
        ] {
            assert_eq!(dscp(text), Ok(value), "{text}");
        }
        for text in [
            "64", "-1", "+1", "CS8", "AF14", "AF51", "AF10", "", "EFF", "0x", "0x40",
        ] {
            assert!(dscp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_histogram_is_a_number_or_rising_bounds() {
        assert_eq!(buckets("20"), Ok(Buckets::Equal(20)));
        assert_eq!(
            buckets("0.01,0.05,1"),
            Ok(Buckets::Bounds(vec![10_000, 50_000, 1_000_000]))
        );
        assert_eq!(buckets("0.5"), Ok(Buckets::Bounds(vec![500_000])));
        for text in [
            "0",
            "10001",
            "1,1",
            "2,1",
            "1,,2",
            "",
            "a,b",
            "-1,2",
            "1,99999999999",
        ] {
            assert!(buckets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_after_a_histogram_flag_is_not_its_value() {
        assert!(is_buckets("10") && is_buckets("1,2.5") && is_buckets("5,3,"));
        for word in [
            "10.0.0.1",
            "host",
            "",
            "::1",
            "10.0.0.0/24",
            "10ms",
            "fe80::1",
            "1,a",
        ] {
            assert!(!is_buckets(word), "{word}");
        }
    }
}
