//! Times, addresses and lists in words.

use std::time::Duration;

/// A time with a unit that suits it.
pub(crate) fn time(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos < 1_000_000 {
        format!("{:.1} µs", nanos as f64 / 1e3)
    } else if nanos < 1_000_000_000 {
        format!("{:.3} ms", nanos as f64 / 1e6)
    } else {
        format!("{:.2} s", nanos as f64 / 1e9)
    }
}

/// A link-layer address.
pub(crate) fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// `1 thing`, `2 things`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// `a`, `a and b`, `a, b and c`; of many the first few.
pub(crate) fn list(items: &[String]) -> String {
    const MOST: usize = 6;
    match items {
        [] => "none".to_owned(),
        [one] => one.clone(),
        _ if items.len() > MOST => {
            format!("{} and {} more", items[..MOST].join(", "), items.len() - MOST)
        }
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
