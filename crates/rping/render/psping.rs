//! A run as PsPing prints it, byte for byte but for the banner; only what PsPing has no words for is rping's own.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rping_engine::{Outcome, Pace, Reason, Record, Refusal, Sample, Stop, TargetReport};
use rping_stats::buckets;

use super::{Out, Render};
use crate::args::output::{Buckets, OutputOptions};
use crate::args::PSPING_BANNER;
use crate::job::{show_ip, Carrier, Job, Kind};
use crate::report::{Epoch, Report};

/// `rping psping`.
pub(super) struct PsPing {
    out: Out,
    banner: bool,
    quiet: bool,
    /// The counter moves where somebody watches; a file gets its last figure alone.
    watched: bool,
    histogram: Option<Buckets>,
    who: Who,
    /// Probes to come, warm-up included; `None` for a run by time.
    all: Option<u64>,
    settled: u64,
    percent: u64,
    /// What follows on a latency test's first line once its connection stands.
    once_connected: Option<String>,
}

/// What every line says of the target.
#[derive(Clone, Default)]
struct Who {
    tcp: bool,
    /// A latency test: `TCP` or `UDP`.
    latency: Option<&'static str>,
    /// The responses have the size, not the requests.
    reverse: bool,
    /// `47.56.65.222`, `47.56.65.222:443`.
    place: String,
    /// The local address that connects leave from.
    local: Option<IpAddr>,
    size: usize,
}

impl Who {
    fn of(job: &Job) -> Who {
        let address = job.live().next().map(|(_, address)| address);
        let tcp = job.kind == Kind::Tcp;
        let latency = match job.kind {
            Kind::Latency(Carrier::Tcp) => Some("TCP"),
            Kind::Latency(Carrier::Udp) => Some("UDP"),
            _ => None,
        };
        let place = match address {
            Some(address) if tcp || latency.is_some() => address.to_string(),
            Some(address) => show_ip(address),
            None => String::new(),
        };
        Who {
            tcp,
            latency,
            reverse: job.reverse,
            place,
            local: address
                .filter(|_| tcp)
                .and_then(|to| local_address(to, job.source)),
            size: job.size,
        }
    }
}

/// The address that the route to `to` leaves from. Nothing is sent: a UDP connect only asks for the route.
fn local_address(to: SocketAddr, source: Option<IpAddr>) -> Option<IpAddr> {
    source.or_else(|| {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    })
}

impl PsPing {
    pub(super) fn new(out: Out, options: &OutputOptions, banner: bool, watched: bool) -> PsPing {
        PsPing {
            out,
            banner,
            quiet: options.quiet,
            watched,
            histogram: options.histogram.clone(),
            who: Who::default(),
            all: None,
            settled: 0,
            percent: 0,
            once_connected: None,
        }
    }

    /// PsPing's counter stays on the header's line: each figure takes the place of the last.
    fn count(&mut self) -> io::Result<()> {
        let Some(all) = self.all.filter(|all| *all > 0 && self.watched) else {
            return Ok(());
        };
        let percent = self.settled.saturating_mul(100) / all;
        if percent > self.percent {
            let back = "\u{8}".repeat(shown(self.percent).len());
            self.percent = percent;
            write!(self.out, "{back}{}", shown(percent))?;
        }
        Ok(())
    }
}

/// Before the first hundredth nothing stands there yet.
fn shown(percent: u64) -> String {
    match percent {
        0 => String::new(),
        percent => format!("{percent}%"),
    }
}

impl Render for PsPing {
    fn begin(&mut self, job: &Job, _: &Epoch) -> io::Result<()> {
        self.who = Who::of(job);
        if self.banner {
            self.out.write_all(PSPING_BANNER.as_bytes())?;
        }
        match (self.who.latency, self.who.tcp) {
            (Some(carrier), _) => write!(
                self.out,
                "{carrier} latency test connecting to {}: ",
                self.who.place
            )?,
            (None, true) => writeln!(self.out, "TCP connect to {}:", self.who.place)?,
            (None, false) => writeln!(
                self.out,
                "Pinging {} with {} bytes of data:",
                self.who.place, self.who.size
            )?,
        }
        let warmup = job.warmup;
        let how = match job.stop {
            Stop::Never => "Infinite iterations".to_owned(),
            Stop::Count(n) => {
                self.all = Some(n.saturating_add(warmup));
                format!("{} iterations", n.saturating_add(warmup))
            }
            Stop::After(time) => {
                if let Pace::Every(period) = job.pace {
                    let measured = time.as_nanos().div_ceil(period.as_nanos().max(1));
                    self.all = Some(u64::try_from(measured).unwrap_or(u64::MAX).saturating_add(warmup));
                }
                format!("{} seconds", time.as_secs_f64())
            }
        };
        match (self.who.latency, self.quiet) {
            (Some(carrier), _) => {
                let moving = if self.who.reverse { "receiving" } else { "sending" };
                self.once_connected = Some(format!(
                    "Connected\n{how} (warmup {warmup}) {moving} {} bytes {carrier} latency test: ",
                    self.who.size
                ));
                Ok(())
            }
            (None, true) => write!(self.out, "{how} (warmup {warmup}) ping test: "),
            (None, false) => writeln!(self.out, "{how} (warmup {warmup}) ping test:"),
        }
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let Record::Settled(sample) = record else {
            return Ok(());
        };
        self.settled += 1;
        // A latency test has no line for each round trip; that one came back tells that the connection stands.
        if self.who.latency.is_some() {
            if let (Outcome::Reply { .. }, Some(header)) = (&sample.outcome, self.once_connected.take()) {
                self.out.write_all(header.as_bytes())?;
            }
            return match self.once_connected {
                Some(_) => Ok(()),
                None => self.count(),
            };
        }
        if self.quiet {
            return self.count();
        }
        let line = line(&self.who, sample);
        writeln!(self.out, "{line}")
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        if self.quiet || self.who.latency.is_some() {
            let is_cut_short = report.interrupted || self.once_connected.is_some();
            match (self.percent, is_cut_short) {
                (0, false) => writeln!(self.out, "100%")?,
                _ => writeln!(self.out)?,
            }
        }
        self.out.write_all(statistics(report).as_bytes())?;
        if let (Some(wanted), Some(target)) = (&self.histogram, report.run.targets.first()) {
            self.out.write_all(histogram(target, wanted).as_bytes())?;
        }
        // PsPing has no such lines, and a figure that is not to be trusted must not pass for one that is.
        for warning in &report.instrument.warnings {
            writeln!(self.out, "rping: {}", super::escape::Escaped(warning))?;
        }
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn line(who: &Who, sample: &Sample) -> String {
    let warmup = if sample.warmup { " (warmup)" } else { "" };
    let (place, tcp) = (&who.place, who.tcp);
    match sample.outcome {
        Outcome::Reply {
            rtt,
            local_port,
            syn_retransmits,
            ..
        } => {
            let time = match rtt {
                Some(rtt) => millis(rtt.as_nanos() as u64),
                None => format!("connected, but its time is unknown: {syn_retransmits} SYN lost"),
            };
            if !tcp {
                return format!("Reply from {place}: {time}");
            }
            let from = match (who.local, local_port) {
                (Some(ip), Some(port)) => format!("from {}: ", SocketAddr::new(ip, port.get())),
                _ => String::new(),
            };
            format!("Connecting to {place}{warmup}: {from}{time}")
        }
        Outcome::Lost if tcp => format!(
            "Connecting to {place}{warmup}: This operation returned because the timeout period expired."
        ),
        Outcome::Lost => "Request timed out.".to_owned(),
        Outcome::Rejected { refusal, .. } | Outcome::NotSent(refusal) => {
            let why = win32(&refusal, tcp);
            match (tcp, refusal.from) {
                (true, _) => format!("Connecting to {place}{warmup}: {why}"),
                (false, Some(from)) => format!("Reply from {from}: {why}"),
                (false, None) => why.to_owned(),
            }
        }
    }
}

/// The sentence that Windows has for it.
fn win32(refusal: &Refusal, tcp: bool) -> &'static str {
    match (refusal.reason, tcp) {
        (Reason::PortClosed | Reason::ProtocolUnreachable, true) => {
            "The remote computer refused the network connection."
        }
        (Reason::NoLocalPort, _) => {
            "An operation on a socket could not be performed because the system lacked sufficient buffer space or because a queue was full."
        }
        (Reason::LocalFirewall, true) => {
            "An attempt was made to access a socket in a way forbidden by its access permissions."
        }
        (Reason::NoNeighbour, true) => "This operation returned because the timeout period expired.",
        (_, true) => {
            "The network location cannot be reached. For information about network troubleshooting, see Windows Help."
        }
        (Reason::NetworkUnreachable | Reason::NoRoute, false) => "Destination net unreachable.",
        (Reason::ProtocolUnreachable, false) => "Destination protocol unreachable.",
        (Reason::PortClosed, false) => "Destination port unreachable.",
        (Reason::TimeExceeded, false) => "TTL expired in transit.",
        (Reason::PacketTooBig, false) => "Packet needs to be fragmented but DF set.",
        (Reason::HostUnreachable | Reason::AdminProhibited | Reason::NoNeighbour, false) => {
            "Destination host unreachable."
        }
        (_, false) => "General failure.",
    }
}

fn millis(ns: u64) -> String {
    format!("{:.2}ms", ns as f64 / 1e6)
}

/// PsPing's block of figures. What was rejected or never sent is lost to it; without a reply it prints zeros.
pub(super) fn statistics(report: &Report) -> String {
    let who = Who::of(&report.job);
    if let Some(carrier) = who.latency {
        return latency_statistics(report, &who, carrier);
    }
    let mut text = match who.tcp {
        true => format!("\nTCP connect statistics for {}:\n", who.place),
        false => format!("\nPing statistics for {}:\n", who.place),
    };
    for target in &report.run.targets {
        let (sent, received) = (target.counts.attempted(), target.counts.received);
        let lost = sent.saturating_sub(received);
        let percent = lost.saturating_mul(100).checked_div(sent).unwrap_or(0);
        let rtt = target.stats.rtt();
        let _ = writeln!(
            text,
            "  Sent = {sent}, Received = {received}, Lost = {lost} ({percent}% loss),\n  Minimum = {}, Maximum = {}, Average = {}",
            millis(rtt.min().unwrap_or(0)),
            millis(rtt.max().unwrap_or(0)),
            millis(rtt.mean().unwrap_or(0.0).round() as u64),
        );
    }
    text
}

/// The block of a latency test. What was moved is counted in payload of those that count.
fn latency_statistics(report: &Report, who: &Who, carrier: &str) -> String {
    let mut text = format!("\n{carrier} roundtrip latency statistics (post warmup):\n");
    for target in &report.run.targets {
        let (sent, rtt) = (target.counts.attempted(), target.stats.rtt());
        let _ = writeln!(
            text,
            "  Sent = {sent}, Size = {}, Total Bytes: {},\n  Minimum = {}, Maximum = {}, Average = {}",
            who.size,
            sent.saturating_mul(who.size as u64),
            millis(rtt.min().unwrap_or(0)),
            millis(rtt.max().unwrap_or(0)),
            millis(rtt.mean().unwrap_or(0.0).round() as u64),
        );
    }
    text
}

/// The lower bound of each bucket in milliseconds, a tab, its count.
fn histogram(target: &TargetReport, wanted: &Buckets) -> String {
    let Some(kept) = target.stats.histogram().filter(|kept| !kept.is_empty()) else {
        return String::new();
    };
    let buckets = match wanted {
        Buckets::Equal(n) => buckets::equal(kept, &target.stats.rtt(), *n),
        Buckets::Bounds(bounds) => buckets::bounds(kept, bounds),
    };
    table(
        "Latency",
        buckets
            .iter()
            .map(|bucket| (bucket.lower_ns as f64 / 1e6, bucket.count)),
    )
}

/// A histogram as PsPing prints one: what was counted, then the lower bound of each bucket and its count.
pub(super) fn table(what: &str, buckets: impl Iterator<Item = (f64, u64)>) -> String {
    let mut text = format!("\n{what}\tCount\n");
    for (lower, count) in buckets {
        let _ = writeln!(text, "{lower:.2}\t{count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_takes_its_own_place_and_ends_at_a_hundred() {
        let options = OutputOptions {
            quiet: true,
            ..OutputOptions::default()
        };
        let written = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
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
        let out = Out::new(Box::new(To(std::sync::Arc::clone(&written))));
        let mut render = PsPing::new(out, &options, false, true);
        render.all = Some(3);
        for settled in 1..=3 {
            render.settled = settled;
            render.count().expect("written");
        }
        render.flush().expect("flushed");
        let text = String::from_utf8(written.lock().expect("a lock").clone()).expect("text");
        assert_eq!(text, "33%\u{8}\u{8}\u{8}66%\u{8}\u{8}\u{8}100%");
    }
}
