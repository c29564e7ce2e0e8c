//! The machine itself: kernel, clock, local ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rping_evidence::sockets::{Protocol, Socket, State};
use rping_net::caps;
use rping_net::discipline::discipline;

use super::{add_lines, plain, read_bounded};
use crate::Bundle;

fn first_line(path: &str) -> Option<String> {
    let (bytes, _) = read_bounded(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.lines().next()?.trim().to_owned()).filter(|line| !line.is_empty())
}

/// This host's name, as the kernel knows it.
pub fn host_name() -> String {
    first_line("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".to_owned())
}

pub(super) fn machine(bundle: &mut Bundle) {
    let mut lines = vec![
        format!("host {}", host_name()),
        format!("architecture {}", std::env::consts::ARCH),
    ];
    for (word, path) in [
        ("kernel", "/proc/sys/kernel/osrelease"),
        ("kernel_build", "/proc/sys/kernel/version"),
        ("uptime_and_idle_s", "/proc/uptime"),
        ("load", "/proc/loadavg"),
    ] {
        lines.extend(first_line(path).map(|value| format!("{word} {value}")));
    }
    if let Ok((bytes, _)) = read_bounded("/etc/os-release") {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        lines.extend(pretty.map(|name| format!("system {}", name.trim_matches('"'))));
    }
    if let Ok((bytes, _)) = read_bounded("/proc/meminfo") {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for (from, word) in [("MemTotal:", "memory"), ("MemAvailable:", "memory_available")] {
            let value = text.lines().find_map(|line| line.strip_prefix(from));
            lines.extend(value.map(|value| format!("{word} {}", value.trim())));
        }
    }
    if let Ok((bytes, _)) = read_bounded("/proc/cpuinfo") {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let count = text.lines().filter(|line| line.starts_with("processor")).count();
        lines.push(format!("processors {count}"));
        let model = text.lines().find_map(|line| line.strip_prefix("model name"));
        lines.extend(
            model.map(|model| format!("processor_model {}", model.trim_start_matches([' ', '\t', ':']))),
        );
    }
    if let Ok(link) = std::fs::read_link("/proc/thread-self/ns/net") {
        lines.push(format!("network_namespace {}", link.display()));
    }
    lines.push(format!("user {}", caps::effective_user()));
    let held = |cap| {
        if caps::holds(cap).unwrap_or(false) {
            "yes"
        } else {
            "no"
        }
    };
    lines.push(format!("cap_net_raw {}", held(caps::Cap::NetRaw)));
    lines.push(format!("cap_net_admin {}", held(caps::Cap::NetAdmin)));
    let source = "/proc/sys/kernel/{hostname,osrelease,version}, /etc/os-release, /proc/{uptime,loadavg,meminfo,cpuinfo}";
    add_lines(bundle, "machine.txt", source, lines);
}

pub(super) fn time(bundle: &mut Bundle) {
    let source = "adjtimex(2), /sys/devices/system/clocksource/clocksource0";
    let mut lines = Vec::new();
    match discipline() {
        Ok(state) => {
            lines.push(format!(
                "synchronised {}",
                if state.synchronised { "yes" } else { "no" }
            ));
            lines.push(format!("offset_ns {}", state.offset_ns));
            lines.push(format!("frequency_ppb {}", state.frequency_ppb));
            lines.push(format!("largest_error_us {}", state.most_error_us));
            lines.push(format!("likely_error_us {}", state.likely_error_us));
            lines.push(format!(
                "leap_second {}",
                if state.leap { "pending" } else { "none" }
            ));
            lines.push(format!("tai_offset_s {}", state.tai_seconds));
        }
        Err(error) => bundle.unread("the clock's discipline", "adjtimex(2)", &plain(&error), ""),
    }
    for (word, file) in [
        ("clocksource", "current_clocksource"),
        ("clocksources", "available_clocksource"),
    ] {
        let path = format!("/sys/devices/system/clocksource/clocksource0/{file}");
        lines.extend(first_line(&path).map(|value| format!("{word} {value}")));
    }
    add_lines(bundle, "time.txt", source, lines);
}

/// The range of local ports, and how many of them `sockets` take, in all and by destination, as text.
pub fn ports(sockets: &[Socket]) -> String {
    let setting = |name: &str| first_line(&format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let range = setting("ip_local_port_range");
    let mut ends = range
        .split_whitespace()
        .filter_map(|word| word.parse::<u16>().ok());
    let (low, high) = (ends.next().unwrap_or(32_768), ends.next().unwrap_or(60_999));
    let mut text = format!(
        "range {low} {high}\nreserved {}\n",
        setting("ip_local_reserved_ports")
    );
    let mut by_state: BTreeMap<String, u32> = BTreeMap::new();
    let mut by_end: BTreeMap<String, u32> = BTreeMap::new();
    let mut taken = std::collections::BTreeSet::new();
    for socket in sockets {
        let word = match (socket.protocol, socket.state) {
            (Protocol::Udp, _) => "udp".to_owned(),
            (Protocol::Tcp, State::TimeWait) => "tcp time_wait".to_owned(),
            (Protocol::Tcp, State::Listen) => "tcp listen".to_owned(),
            (Protocol::Tcp, state) => format!("tcp {}", format!("{state:?}").to_ascii_lowercase()),
        };
        *by_state.entry(word).or_default() += 1;
        if (low..=high).contains(&socket.local.port()) {
            taken.insert((socket.protocol == Protocol::Tcp, socket.local.port()));
            if socket.remote.port() != 0 {
                *by_end.entry(socket.remote.to_string()).or_default() += 1;
            }
        }
    }
    let size = u32::from(high).saturating_sub(u32::from(low)) + 1;
    let tcp = taken.iter().filter(|(tcp, _)| *tcp).count();
    let _ = writeln!(text, "ports_in_range {size}");
    let _ = writeln!(text, "taken_tcp {tcp}\ntaken_udp {}", taken.len() - tcp);
    for (state, count) in by_state {
        let _ = writeln!(text, "sockets {state} {count}");
    }
    let mut ends: Vec<(String, u32)> = by_end.into_iter().collect();
    ends.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (end, count) in ends.into_iter().take(20) {
        let _ = writeln!(text, "to {end} {count} of {size}");
    }
    text
}
