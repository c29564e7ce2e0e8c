//! Finding addresses and names in text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Redactor;

/// Names that look like domains: files of the bundle, and those they were read from.
const FILES: [&str; 35] = [
    "addresses.txt",
    "capture.pcapng",
    "counters-after.txt",
    "counters-before.txt",
    "counters-difference.txt",
    "diagnosis.json",
    "diagnosis.txt",
    "driver.txt",
    "firewall-before.txt",
    "firewall-legacy.txt",
    "firewall.txt",
    "gai.conf",
    "host.conf",
    "kernel.log",
    "links.txt",
    "machine.txt",
    "neighbours-before.txt",
    "neighbours.txt",
    "netconfig.restore",
    "nsswitch.conf",
    "offload.txt",
    "ports.txt",
    "resolv.conf",
    "ring-counters.ndjson",
    "ring-probes.ndjson",
    "ring.pcapng",
    "routes.txt",
    "rules.txt",
    "sockets.json",
    "sockets.txt",
    "sysctl.txt",
    "time.txt",
    "timeline.ndjson",
    "unread.txt",
    "verdict.txt",
];
/// What stands before values of the packet filter's rules that nobody understood.
const OPAQUE: [&str; 3] = ["bytes", "ct", "meta"];
/// Beginnings of names that are settings.
const SETTINGS: [&str; 3] = ["net.ipv4.", "net.ipv6.", "net.core."];

/// What an address or a name is made of.
pub(super) fn is_run(letter: char) -> bool {
    letter.is_alphanumeric() || ".:-_".contains(letter)
}

/// Replaces addresses and known names; with `domains` also what looks like a domain name.
pub(super) fn redact(redactor: &Redactor, text: &str, domains: bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    let mut is_behind_opaque = false;
    while let Some(from) = rest.find(is_run) {
        let between = &rest[..from];
        out.push_str(between);
        rest = &rest[from..];
        let to = rest.find(|letter| !is_run(letter)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(to);
        let is_value = is_behind_opaque && between.chars().all(|letter| " !=<>".contains(letter));
        match opaque(redactor, run).filter(|_| is_value) {
            Some(token) => out.push_str(&token),
            None => out.push_str(&word(redactor, run, prefix(behind), domains)),
        }
        is_behind_opaque = OPAQUE.contains(&run);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Bytes that nobody here has read, a value or a range of them: few as they are, they may be the beginning of an address.
fn opaque(redactor: &Redactor, run: &str) -> Option<String> {
    let parts: Option<Vec<String>> = run
        .split('-')
        .map(|part| hexadecimal(redactor, part, 1))
        .collect();
    Some(parts?.join("-"))
}

/// A token for hexadecimal digits, of at least so many.
fn hexadecimal(redactor: &Redactor, part: &str, least: usize) -> Option<String> {
    let lower = part.to_ascii_lowercase();
    let digits = lower.strip_prefix("0x").filter(|digits| digits.len() >= least)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| {
        let token = redactor.keyed.token("bytes", lower.as_bytes());
        format!("0x{}", crate::pack::hex(&token[..8]))
    })
}

/// The prefix length that stands behind an address: `/24`.
fn prefix(behind: &str) -> Option<u8> {
    let digits = behind.strip_prefix('/')?;
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn word(redactor: &Redactor, run: &str, prefix: Option<u8>, domains: bool) -> String {
    if let Some(known) = whole(redactor, run, prefix, domains) {
        return known;
    }
    // Punctuation that belongs to the sentence, not to the address.
    let is_edge = |letter: char| ".:-_".contains(letter);
    let inner = run.trim_matches(is_edge);
    if inner.len() < run.len() && !inner.is_empty() {
        let at = run.len() - run.trim_start_matches(is_edge).len();
        // An IPv6 address may begin or end with two colons, and a sentence may go on with a third.
        for (from, to) in [
            (at, run.len().min(at + inner.len() + 2)),
            (at.saturating_sub(2), at + inner.len()),
        ] {
            if let Some(known) = run.get(from..to).and_then(|part| address(redactor, part, prefix)) {
                return format!("{}{known}{}", &run[..from], &run[to..]);
            }
        }
        let (head, tail) = (&run[..at], &run[at + inner.len()..]);
        return format!("{head}{}{tail}", word(redactor, inner, prefix, domains));
    }
    apart(redactor, run, &[':', '-', '_', '.'], prefix, domains)
}

/// Words with a sign between them: a port behind a name, a range, a name made of others.
fn apart(redactor: &Redactor, run: &str, signs: &[char], prefix: Option<u8>, domains: bool) -> String {
    let Some((&sign, signs)) = signs.split_first() else {
        return run.to_owned();
    };
    // Colons are dealt with: what is left is words, and numbers with one sign between them.
    if sign == '-' {
        // What names nobody may overlap with what does.
        let is_secret = |quad: &Quad| redactor.keyed.four(quad.address) != quad.address;
        if let Some((at, quad)) = quads(run).find(|(_, quad)| is_secret(quad)) {
            let (head, tail) = (&run[..at], &run[at + quad.length..]);
            let prefix_here = prefix.filter(|_| tail.is_empty());
            let part = |part: &str, prefix| {
                whole(redactor, part, prefix, domains)
                    .unwrap_or_else(|| apart(redactor, part, &['-', '_', '.'], prefix, domains))
            };
            let mapped = mapped(redactor, quad.address.into(), prefix_here).to_string();
            let mapped = mapped.replace('.', quad.sign.encode_utf8(&mut [0; 4]));
            return format!("{}{mapped}{}", part(head, None), part(tail, prefix));
        }
    }
    let last = run.matches(sign).count();
    let parts = run.split(sign).enumerate().map(|(place, part)| {
        // The prefix length stands behind the last.
        let prefix = prefix.filter(|_| place == last);
        let known = (last > 0)
            .then(|| whole(redactor, part, prefix, domains))
            .flatten();
        known.unwrap_or_else(|| apart(redactor, part, signs, prefix, domains))
    });
    parts.collect::<Vec<_>>().join(sign.encode_utf8(&mut [0; 4]))
}

/// The run as a whole: an address, a known name, a domain name, an opaque value.
fn whole(redactor: &Redactor, run: &str, prefix: Option<u8>, domains: bool) -> Option<String> {
    if let Some(known) = address(redactor, run, prefix) {
        return Some(known);
    }
    let lower = run.to_ascii_lowercase();
    if redactor.names.contains(&lower) {
        return Some(redactor.name(run));
    }
    if domains && is_domain(&lower) {
        return Some(redactor.name(run));
    }
    // Bytes that nobody here has read: they may hold an address.
    hexadecimal(redactor, run, 9)
}

fn mapped(redactor: &Redactor, ip: IpAddr, prefix: Option<u8>) -> IpAddr {
    match prefix {
        Some(prefix) => redactor.keyed.network(ip, prefix),
        None => redactor.keyed.ip(ip),
    }
}

/// An IPv4 address in any spelling: four numbers with the same sign between them.
pub(super) struct Quad {
    pub(super) address: Ipv4Addr,
    sign: char,
    length: usize,
}

/// Where such addresses stand, letters around them or not; they may overlap.
pub(super) fn quads(text: &str) -> impl Iterator<Item = (usize, Quad)> + '_ {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter_map(move |at| {
        let is_first = at == 0 || !bytes[at - 1].is_ascii_digit();
        if !is_first || !bytes[at].is_ascii_digit() {
            return None;
        }
        quad(&bytes[at..]).map(|quad| (at, quad))
    })
}

fn quad(bytes: &[u8]) -> Option<Quad> {
    let mut octets = [0; 4];
    let (mut length, mut sign) = (0, None);
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            let here = *bytes.get(length)?;
            if !b".-_".contains(&here) || *sign.get_or_insert(here) != here {
                return None;
            }
            length += 1;
        }
        let rest = bytes.get(length..)?;
        let digits = rest
            .iter()
            .take(4)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        *octet = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
        length += digits;
    }
    Some(Quad {
        address: octets.into(),
        sign: char::from(sign?),
        length,
    })
}

fn address(redactor: &Redactor, run: &str, prefix: Option<u8>) -> Option<String> {
    if let Ok(ip) = run.parse::<IpAddr>() {
        return Some(mapped(redactor, ip, prefix).to_string());
    }
    if let Some(header) = ethernet(redactor, run) {
        return Some(header);
    }
    if let Some(mac) = mac(run) {
        let sign = if run.contains('-') { "-" } else { ":" };
        return Some(
            redactor
                .keyed
                .mac(mac)
                .map(|byte| format!("{byte:02x}"))
                .join(sign),
        );
    }
    // With a port, or with another address.
    if let Some((ip, port)) = run.rsplit_once(':') {
        if let (Ok(ip), Ok(port)) = (ip.parse::<Ipv4Addr>(), port.parse::<u16>()) {
            return Some(format!("{}:{port}", redactor.keyed.four(ip)));
        }
    }
    let (from, to) = run.split_once('-')?;
    let ends = (from.parse::<IpAddr>(), to.parse::<IpAddr>());
    match ends {
        (Ok(from), Ok(to)) => {
            let mut mapped = [redactor.keyed.ip(from), redactor.keyed.ip(to)];
            // Which is the larger of two is not kept; that a range begins at its beginning is.
            if from <= to {
                mapped.sort_unstable();
            }
            Some(format!("{}-{}", mapped[0], mapped[1]))
        }
        _ => None,
    }
}

/// A whole Ethernet header, as the packet filter logs it: both link-layer addresses and the type, byte by byte.
fn ethernet(redactor: &Redactor, run: &str) -> Option<String> {
    let (to, rest) = run.get(..17).zip(run.get(17..))?;
    let (from, kind) = rest
        .strip_prefix(':')
        .and_then(|rest| rest.get(..17).zip(rest.get(17..)))?;
    let shown = |mac: [u8; 6]| {
        redactor
            .keyed
            .mac(mac)
            .map(|byte| format!("{byte:02x}"))
            .join(":")
    };
    Some(format!("{}:{}{kind}", shown(mac(to)?), shown(mac(from)?)))
}

pub(super) fn mac(run: &str) -> Option<[u8; 6]> {
    if run.len() != 17 || run.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    let mut bytes = [0; 6];
    let mut parts = run.split([':', '-']);
    for byte in &mut bytes {
        *byte = parts
            .next()
            .filter(|part| part.len() == 2)
            .and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Labels with dots between them, the last of letters: `mail.example.org`, and what ends in `.arpa`.
fn is_domain(lower: &str) -> bool {
    let lower = lower.strip_suffix('.').unwrap_or(lower);
    if SETTINGS.iter().any(|setting| lower.starts_with(setting)) {
        return false;
    }
    if lower.ends_with(".in-addr.arpa") || lower.ends_with(".ip6.arpa") {
        return true;
    }
    let Some((labels, last)) = lower.rsplit_once('.') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|letter| letter.is_alphanumeric() || letter == '-' || letter == '_')
    };
    let is_last = last.len() >= 2 && last.chars().all(char::is_alphabetic);
    // A version or a figure with its unit is no name.
    let has_name = labels.chars().any(char::is_alphabetic);
    (is_last || last.starts_with("xn--"))
        && !FILES.contains(&lower)
        && has_name
        && labels.split('.').all(is_label)
}
