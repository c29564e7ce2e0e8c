//! A rule of the packet filter in words.

use std::net::IpAddr;

use rping_net::netlink::nftables::{family, Expression, Rule, Verdict};

pub(super) fn place_words(of: u8, table: &str, chain: &str) -> String {
    let of = match of {
        family::INET => "inet",
        family::IPV6 => "ip6",
        _ => "ip",
    };
    format!("table {of} {table}, chain {chain}")
}

/// A rule as a person would know it again: where it stands, its number, what it looks at and what it does.
pub fn describe(rule: &Rule) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut subject = String::new();
    for step in &rule.expressions {
        match step {
            Expression::Meta { key, .. } => subject = meta_word(*key).to_owned(),
            Expression::Connection { key: 0, .. } => subject = "ct state".to_owned(),
            Expression::Connection { .. } => subject = "ct".to_owned(),
            Expression::Payload {
                base, offset, length, ..
            } => subject = payload_word(*base, *offset, *length).to_owned(),
            Expression::Compare { operation, value, .. } => {
                let sign = ["", "!= ", "< ", "<= ", "> ", ">= "]
                    .get(*operation as usize)
                    .unwrap_or(&"");
                words.push(format!("{subject} {sign}{}", value_word(&subject, value)));
            }
            Expression::Range {
                inverted, from, to, ..
            } => {
                let sign = if *inverted { "!= " } else { "" };
                let (from, to) = (value_word(&subject, from), value_word(&subject, to));
                words.push(format!("{subject} {sign}{from}-{to}"));
            }
            Expression::Lookup { set, inverted, .. } => {
                let sign = if *inverted { "!= " } else { "" };
                words.push(format!("{subject} {sign}@{set}"));
            }
            Expression::Verdict(verdict) => words.push(match verdict {
                Verdict::Accept => "accept".to_owned(),
                Verdict::Drop => "drop".to_owned(),
                Verdict::Queue => "queue".to_owned(),
                Verdict::Continue => "continue".to_owned(),
                Verdict::Return => "return".to_owned(),
                Verdict::Jump(to) => format!("jump {to}"),
                Verdict::Goto(to) => format!("goto {to}"),
            }),
            Expression::Reject { reset: true } => words.push("reject with tcp reset".to_owned()),
            Expression::Reject { reset: false } => words.push("reject".to_owned()),
            Expression::Compat { name, .. } => words.push(name.clone()),
            Expression::Other(name) => words.push(name.clone()),
            Expression::Bitwise { .. } | Expression::Load { .. } | Expression::Counter { .. } => {}
        }
    }
    let place = place_words(rule.family, &rule.table, &rule.chain);
    format!("{place}, handle {}: {}", rule.handle, words.join(" "))
}

const fn meta_word(key: u32) -> &'static str {
    match key {
        3 => "mark",
        4 => "iif",
        5 => "oif",
        6 => "iifname",
        7 => "oifname",
        10 => "skuid",
        15 => "nfproto",
        16 => "l4proto",
        _ => "meta",
    }
}

const fn payload_word(base: u32, offset: u32, length: u32) -> &'static str {
    match (base, offset, length) {
        (1, 12, 4) | (1, 8, 16) => "saddr",
        (1, 16, 4) | (1, 24, 16) => "daddr",
        (1, 9, 1) | (1, 6, 1) => "protocol",
        (2, 0, 2) => "sport",
        (2, 2, 2) => "dport",
        (2, 0, 1) => "icmp type",
        (2, 13, 1) => "tcp flags",
        _ => "bytes",
    }
}

fn value_word(subject: &str, value: &[u8]) -> String {
    let hex = || value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match (subject, value) {
        ("l4proto" | "protocol", [6]) => "tcp".to_owned(),
        ("l4proto" | "protocol", [17]) => "udp".to_owned(),
        ("l4proto" | "protocol", [1]) => "icmp".to_owned(),
        ("nfproto", [2]) => "ipv4".to_owned(),
        ("nfproto", [10]) => "ipv6".to_owned(),
        ("iifname" | "oifname", _) => {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            String::from_utf8_lossy(&value[..end]).into_owned()
        }
        ("iif" | "oif" | "mark" | "skuid", [a, b, c, d]) => u32::from_ne_bytes([*a, *b, *c, *d]).to_string(),
        ("saddr" | "daddr", _) => match (<[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
            (Ok(four), _) => IpAddr::from(four).to_string(),
            (_, Ok(six)) => IpAddr::from(six).to_string(),
            _ => hex(),
        },
        (_, [a, b]) => u16::from_be_bytes([*a, *b]).to_string(),
        (_, [a]) => a.to_string(),
        _ => format!("0x{}", hex()),
    }
}
