//! A throughput test as PsPing prints it. KB are of 1024 bytes, as they are there.

use std::fmt::Write as _;
use std::io::{self, Write};

use rping_peer::iperf::{Client, End, Interval, Protocol};

use super::Ended;
use crate::args::{Show, PSPING_BANNER};
use crate::render::psping::table;
use crate::render::Out;

fn protocol(client: &Client) -> &'static str {
    match client.parameters.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// Everything up to the connection's coming about, on whose line the next words follow.
pub(crate) fn connecting(client: &Client, show: &Show, banner: bool) -> String {
    let mut text = String::new();
    if banner {
        text.push_str(PSPING_BANNER);
    }
    if let Some(warmup) = show.warmup.filter(|warmup| warmup.is_usual) {
        let _ = writeln!(
            text,
            "Setting warmup count to match number of outstanding I/Os: {}",
            warmup.messages
        );
    }
    let _ = write!(
        text,
        "{} bandwidth test connecting to {}: ",
        protocol(client),
        client.server
    );
    text
}

/// What follows once data flows.
pub(crate) fn connected(client: &Client, show: &Show) -> String {
    let length = client.parameters.length;
    let how = match client.end {
        End::Bytes(bytes) => format!("{} iterations", bytes.checked_div(length as u64).unwrap_or(0)),
        End::After(time) => format!("{} seconds", time.as_secs_f64()),
    };
    let warmup = show.warmup.map_or(0, |warmup| warmup.messages);
    let moving = match client.parameters.reverse {
        true => "receiving",
        false => "sending",
    };
    format!(
        "Connected\n{how} ({warmup} warmup) {moving} {length} bytes {} bandwidth test: ",
        protocol(client)
    )
}

/// The figures. A test that failed has those of what was moved until then.
pub(crate) fn statistics(out: &mut Out, ended: &Ended<'_>, show: &Show) -> io::Result<()> {
    let client = ended.client;
    if ended.failure.is_none() {
        write!(out, "100%")?;
    }
    writeln!(out)?;
    let Some(side) = ended.outcome.and_then(|outcome| outcome.sides.first()) else {
        return out.flush();
    };
    let (role, moved) = match side.is_forward {
        true => ("sender", side.sent),
        false => ("receiver", side.received),
    };
    let length = client.parameters.length as u64;
    let bytes = moved.map_or(0, |moved| moved.bytes);
    let all = bytes.checked_div(length).unwrap_or(0);
    // PsPing's Sent leaves the warm-up out, its Total Bytes do not.
    let sent = match (client.end, show.warmup) {
        (End::Bytes(_), Some(warmup)) => all.saturating_sub(warmup.messages),
        _ => all,
    };
    let rates: Vec<f64> = ended.intervals.iter().filter_map(rate).collect();
    let took = match side.is_forward {
        true => side.sent_for,
        false => side.took,
    };
    let average = match took.is_zero() {
        true => 0.0,
        false => bytes as f64 / took.as_secs_f64(),
    };
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min).min(average);
    let most = rates.iter().copied().fold(0.0, f64::max).max(average);
    writeln!(
        out,
        "\n{} {role} bandwidth statistics:\n  Sent = {sent}, Size = {length}, Total Bytes: {bytes},\n  Minimum = {}, Maximum = {}, Average = {}",
        protocol(client),
        kilobytes(least),
        kilobytes(most),
        kilobytes(average)
    )?;
    if let Some(buckets) = show.histogram {
        histogram(out, &rates, buckets)?;
    }
    // PsPing has no such lines, and a figure that is not to be trusted must not pass for one that is.
    for warning in ended.warnings {
        writeln!(out, "rping: {}", crate::render::escape::Escaped(warning))?;
    }
    out.flush()
}

fn rate(interval: &Interval) -> Option<f64> {
    let took = interval.span.1.saturating_sub(interval.span.0);
    (!took.is_zero()).then(|| interval.figures.bytes as f64 / took.as_secs_f64())
}

fn kilobytes(bytes_per_second: f64) -> String {
    format!("{:.2} KB/s", bytes_per_second / 1024.0)
}

/// L_k = min + k·(max − min)/(n − 1) in bytes per second: the label is a lower bound, the last bucket holds the maximum.
fn histogram(out: &mut Out, rates: &[f64], n: usize) -> io::Result<()> {
    let (Some(least), Some(most)) = (
        rates.iter().copied().reduce(f64::min),
        rates.iter().copied().reduce(f64::max),
    ) else {
        return Ok(());
    };
    let n = if least == most { 1 } else { n.max(1) };
    let label = |k: usize| match n {
        1 => least,
        n => least + k as f64 * (most - least) / (n - 1) as f64,
    };
    let mut counts = vec![0_u64; n];
    for rate in rates {
        let above = (0..n).take_while(|&k| label(k) <= *rate).count();
        // Rounding may put the last label a little above the maximum, which is its own.
        let place = if *rate == most { n } else { above };
        if let Some(count) = place.checked_sub(1).and_then(|at| counts.get_mut(at)) {
            *count += 1;
        }
    }
    let buckets = counts.iter().enumerate().map(|(k, count)| (label(k), *count));
    out.write_all(table("Bandwidth", buckets).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_histogram_has_lower_bounds_and_the_maximum_alone_in_its_last_bucket() {
        let text = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        struct To(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for To {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("a lock").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Out::new(Box::new(To(std::sync::Arc::clone(&text))));
        histogram(&mut out, &[100.0, 150.0, 199.0, 200.0], 3).expect("written");
        histogram(&mut out, &[7.5], 3).expect("written");
        histogram(&mut out, &[], 3).expect("written");
        out.flush().expect("flushed");
        let text = String::from_utf8(text.lock().expect("a lock").clone()).expect("text");
        assert_eq!(
            text,
            "\nBandwidth\tCount\n100.00\t1\n150.00\t2\n200.00\t1\n\nBandwidth\tCount\n7.50\t1\n"
        );
        assert_eq!(kilobytes(508_856.32), "496.93 KB/s");
    }
}
