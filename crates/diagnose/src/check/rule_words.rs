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

/// What a step has loaded.
#[derive(Clone, Copy)]
struct Subject {
    word: &'static str,
    /// Of an address: how many bits it has, and how many of the first are looked at.
    bits: Option<(u32, u32)>,
}

impl Subject {
    const fn of(word: &'static str) -> Subject {
        Subject { word, bits: None }
    }
}

/// Whose value nobody here understands: it may be an address. Redaction knows it by this word, as by `ct` and `meta`.
const BYTES: &str = "bytes";

/// A rule as a person would know it again: where it stands, its number, what it looks at and what it does.
///
/// Values that are not understood follow one of the words `bytes`, `ct` and `meta`, and begin with `0x`.
pub fn describe(rule: &Rule) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut subject = Subject::of(BYTES);
    let mut v6 = match rule.family {
        family::IPV4 => Some(false),
        family::IPV6 => Some(true),
        _ => None,
    };
    for step in &rule.expressions {
        match step {
            Expression::Meta { key, .. } => subject = Subject::of(meta_word(*key)),
            Expression::Connection { key: 0, .. } => subject = Subject::of("ct state"),
            Expression::Connection { .. } => subject = Subject::of("ct"),
            Expression::Payload {
                base, offset, length, ..
            } => subject = payload_word(*base, *offset, *length, v6),
            Expression::Compare { operation, value, .. } => {
                if subject.word == "nfproto" && *operation == 0 {
                    v6 = Some(value == &[10]);
                }
                let sign = ["", "!= ", "< ", "<= ", "> ", ">= "]
                    .get(*operation as usize)
                    .unwrap_or(&"");
                words.push(format!("{} {sign}{}", subject.word, value_word(&subject, value)));
            }
            Expression::Range {
                inverted, from, to, ..
            } => {
                let sign = if *inverted { "!= " } else { "" };
                let (from, to) = (value_word(&subject, from), value_word(&subject, to));
                words.push(format!("{} {sign}{from}-{to}", subject.word));
            }
            Expression::Lookup { set, inverted, .. } => {
                let sign = if *inverted { "!= " } else { "" };
                words.push(format!("{} {sign}@{set}", subject.word));
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
            // It may have loaded something else than what was loaded last.
            Expression::Other(name) => {
                words.push(name.clone());
                subject = Subject::of(BYTES);
            }
            Expression::Bitwise { mask, xor, .. } => {
                if let Some((width, _)) = subject.bits {
                    let kept = leading(mask).filter(|_| xor.iter().all(|byte| *byte == 0));
                    // Of a mask with holes no prefix can be told.
                    subject = kept.map_or(Subject::of(BYTES), |kept| Subject {
                        bits: Some((width, kept)),
                        ..subject
                    });
                }
            }
            Expression::Load { .. } => subject = Subject::of(BYTES),
            Expression::Counter { .. } => {}
        }
    }
    let place = place_words(rule.family, &rule.table, &rule.chain);
    format!("{place}, handle {}: {}", rule.handle, words.join(" "))
}

/// How many first bits a mask keeps; `None` for one with holes.
fn leading(mask: &[u8]) -> Option<u32> {
    let all: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let whole = mask.iter().take_while(|byte| **byte == 0xff).count();
    let part = mask.get(whole).map_or(0, |byte| byte.leading_ones());
    let first = u32::try_from(whole).ok()? * 8 + part;
    (first == all).then_some(first)
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

/// Of a prefix of whole bytes the packet filter loads these bytes of the address alone. `v6`: of which family the packet is,
/// as far as the rule has told.
fn payload_word(base: u32, offset: u32, length: u32, v6: Option<bool>) -> Subject {
    let address = |word| {
        let width = if offset == 8 || offset == 24 { 128 } else { 32 };
        let bits = Some((width, length * 8));
        Subject { word, bits }
    };
    match (base, offset, length, v6) {
        (1, 8, 1..=16, Some(true)) | (1, 8, 16, None) => address("saddr"),
        (1, 24, 1..=16, Some(true)) | (1, 24, 16, None) => address("daddr"),
        (1, 12, 1..=4, Some(false) | None) => address("saddr"),
        (1, 16, 1..=4, Some(false) | None) => address("daddr"),
        (1, 9, 1, Some(false) | None) | (1, 6, 1, Some(true) | None) => Subject::of("protocol"),
        (2, 0, 2, _) => Subject::of("sport"),
        (2, 2, 2, _) => Subject::of("dport"),
        (2, 0, 1, _) => Subject::of("icmp type"),
        (2, 13, 1, _) => Subject::of("tcp flags"),
        _ => Subject::of(BYTES),
    }
}

fn value_word(subject: &Subject, value: &[u8]) -> String {
    let hex = || value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match (subject.word, value) {
        (BYTES | "ct" | "meta", _) => format!("0x{}", hex()),
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
        ("saddr" | "daddr", _) => address_word(subject.bits, value).unwrap_or_else(|| format!("0x{}", hex())),
        (_, [a, b]) => u16::from_be_bytes([*a, *b]).to_string(),
        (_, [a]) => a.to_string(),
        _ => format!("0x{}", hex()),
    }
}

/// An address, or the network that its first bits are.
fn address_word(bits: Option<(u32, u32)>, value: &[u8]) -> Option<String> {
    let (width, kept) = bits?;
    let mut bytes = [0; 16];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    let address = match (width, bytes) {
        (32, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(bytes),
    };
    Some(match kept == width {
        true => address.to_string(),
        false => format!("{address}/{kept}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(of: u8, expressions: Vec<Expression>) -> String {
        let rule = Rule {
            family: of,
            table: "t".to_owned(),
            chain: "c".to_owned(),
            handle: 1,
            expressions,
        };
        let said = describe(&rule);
        said.split_once(": ").map(|(_, words)| words.to_owned()).unwrap()
    }

    fn payload(base: u32, offset: u32, value: &[u8]) -> Vec<Expression> {
        let load = Expression::Payload {
            register: 0,
            base,
            offset,
            length: value.len() as u32,
        };
        vec![load, compare(value)]
    }

    fn compare(value: &[u8]) -> Expression {
        Expression::Compare {
            register: 0,
            operation: 0,
            value: value.to_vec(),
        }
    }

    #[test]
    fn of_a_prefix_the_network_is_said_however_few_bytes_are_loaded() {
        let four = |offset, value: &[u8]| said(family::IPV4, payload(1, offset, value));
        assert_eq!(four(12, &[10]), "saddr 10.0.0.0/8");
        assert_eq!(four(12, &[10, 77]), "saddr 10.77.0.0/16");
        assert_eq!(four(16, &[10, 77, 9]), "daddr 10.77.9.0/24");
        assert_eq!(four(16, &[10, 77, 9, 2]), "daddr 10.77.9.2");
        // The time to live of IPv4 stands where the source of IPv6 begins.
        assert_eq!(four(8, &[64]), "bytes 0x40");
        let six = |offset, value: &[u8]| said(family::IPV6, payload(1, offset, value));
        assert_eq!(six(8, &[0xfd]), "saddr fd00::/8");
        assert_eq!(six(24, &[0xfd, 0, 0, 1, 0, 2, 0, 3]), "daddr fd00:1:2:3::/64");
        let mut inet = vec![Expression::Meta { register: 0, key: 15 }, compare(&[10])];
        inet.extend(payload(1, 8, &[0xfd, 1]));
        assert_eq!(said(family::INET, inet), "nfproto ipv6 saddr fd01::/16");
        let mut masked = payload(1, 12, &[10, 77, 16, 0]);
        let mask = |mask: [u8; 4]| Expression::Bitwise {
            source: 0,
            register: 0,
            mask: mask.to_vec(),
            xor: vec![0; 4],
        };
        masked.insert(1, mask([255, 255, 240, 0]));
        assert_eq!(said(family::IPV4, masked.clone()), "saddr 10.77.16.0/20");
        masked[1] = mask([255, 0, 255, 0]);
        assert_eq!(said(family::IPV4, masked), "bytes 0x0a4d1000");
    }

    #[test]
    fn what_is_not_understood_is_hexadecimal_behind_one_of_three_words() {
        assert_eq!(
            said(family::IPV4, payload(2, 8, &[10, 77, 9, 67])),
            "bytes 0x0a4d0943"
        );
        assert_eq!(said(family::IPV4, payload(2, 8, &[10, 77])), "bytes 0x0a4d");
        let ct = Expression::Connection { register: 0, key: 8 };
        assert_eq!(said(family::IPV4, vec![ct, compare(&[10, 77])]), "ct 0x0a4d");
        let meta = Expression::Meta { register: 0, key: 99 };
        assert_eq!(said(family::IPV4, vec![meta, compare(&[77])]), "meta 0x4d");
        let mut other = payload(1, 12, &[10, 77, 9, 2]);
        other.extend([Expression::Other("fib".to_owned()), compare(&[10, 77])]);
        assert_eq!(said(family::IPV4, other), "saddr 10.77.9.2 fib bytes 0x0a4d");
    }
}
