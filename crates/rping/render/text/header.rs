//! The first line: what is about to be done.

use rping_engine::{Pace, Stop};

use super::super::payload_size;
use super::super::style::{Style, Tone};
use super::super::units::{counted, setting};
use super::full_name;
use crate::job::{Carrier, Job, Kind, Target, UdpProtocol};

/// `TCP connect to fileserver:445 (10.77.0.2): 4 probes, one every 1s, timeout 3s`.
pub(super) fn of(job: &Job, style: Style) -> String {
    let what = match job.targets.as_slice() {
        [only] => format!("{} {}", verb(job.kind, only), full_name(only)),
        many => format!(
            "{} {}",
            verb_for(job.kind, many),
            counted(many.len() as u64, "target", "targets")
        ),
    };
    let what = if job.syn {
        what.replacen("TCP connect", "Half-open TCP", 1)
    } else {
        what
    };
    let mut how = Vec::new();
    if let Some(size) = payload_size(job) {
        how.push(match job.reverse {
            true => format!("responses of {size} bytes"),
            false => format!("{size} bytes"),
        });
    }
    let each = if job.targets.len() > 1 { " each" } else { "" };
    how.push(match (job.stop, job.pace) {
        (Stop::Count(n), _) => format!("{}{each}", counted(n, "probe", "probes")),
        (Stop::After(d), _) => format!("for {}", setting(d)),
        (Stop::Never, _) => "until interrupted".to_owned(),
    });
    match job.pace {
        Pace::Every(_) if job.stop == Stop::Count(1) => {}
        Pace::Every(d) => how.push(format!("one every {}", setting(d))),
        Pace::WhenSettled => how.push("the next as soon as the last is settled".to_owned()),
        Pace::Window(window) if window.adapts() => how.push("as fast as answers keep up".to_owned()),
        Pace::Window(window) => how.push(format!("{} in flight", window.most)),
    }
    if job.warmup > 0 {
        how.push(format!(
            "after {} of warm-up",
            counted(job.warmup, "probe", "probes")
        ));
    }
    how.push(format!("timeout {}", setting(job.timeout)));
    format!("{}: {}", style.paint(Tone::Head, what), how.join(", "))
}

fn verb(kind: Kind, target: &Target) -> &'static str {
    let v6 = target.address.is_some_and(|a| a.is_ipv6());
    match kind {
        Kind::Icmp if v6 => "ICMPv6 echo to",
        Kind::Arp if v6 => "Neighbour solicitation for",
        Kind::Udp(UdpProtocol::Auto) if target.port() == Some(7) => "UDP echo to",
        Kind::Udp(UdpProtocol::Auto) => "STAMP over UDP to",
        other => plain(other),
    }
}

fn verb_for(kind: Kind, targets: &[Target]) -> &'static str {
    let mut verbs = targets.iter().map(|t| verb(kind, t));
    match verbs.next() {
        Some(first) if verbs.all(|v| v == first) => first,
        _ => plain(kind),
    }
}

fn plain(kind: Kind) -> &'static str {
    match kind {
        Kind::Icmp => "ICMP echo to",
        Kind::Tcp => "TCP connect to",
        Kind::Udp(UdpProtocol::Echo) => "UDP echo to",
        Kind::Udp(UdpProtocol::Stamp) => "STAMP over UDP to",
        Kind::Udp(UdpProtocol::Auto) => "UDP to",
        Kind::Arp => "ARP request for",
        Kind::Latency(Carrier::Tcp) => "Request/response over TCP with",
        Kind::Latency(Carrier::Udp) => "Request/response over UDP (STAMP) with",
    }
}
