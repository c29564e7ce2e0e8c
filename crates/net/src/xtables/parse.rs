//! From the block of bytes to chains and rules.

use std::collections::HashMap;

use super::NAME;
use crate::netlink::nftables::{family, Chain, Expression, Rule, Ruleset, Verdict};

/// `NF_INET_…`, by number.
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// `struct xt_entry_match` and `struct xt_entry_target` before their data: size, name, revision.
const PART: usize = 32;
const REGISTER: u32 = 0;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// `NFT_META_IIFNAME`, `…_OIFNAME`, `…_L4PROTO`.
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const PROTOCOL: u32 = 16;

/// Where things are in an entry: `struct ipt_entry` or `struct ip6t_entry`.
struct Layout {
    /// Bytes of an address; source, destination and their masks are the first four fields.
    address: usize,
    /// Where the protocol is.
    protocol: usize,
    /// Where the flags are; the inversions are behind them.
    flags: usize,
    /// Where the offsets of target and next entry are.
    offsets: usize,
    counters: usize,
    header: usize,
    /// `IPT_F_GOTO`.
    goto: u8,
    /// `IPT_F_FRAG`; IPv6 has none.
    fragment: u8,
    /// Where the network header has source and destination.
    source: u32,
    destination: u32,
    family: u8,
}

const V4: Layout = Layout {
    address: 4,
    protocol: 80,
    flags: 82,
    offsets: 88,
    counters: 96,
    header: 112,
    goto: 2,
    fragment: 1,
    source: 12,
    destination: 16,
    family: family::IPV4,
};

const V6: Layout = Layout {
    address: 16,
    protocol: 128,
    flags: 131,
    offsets: 140,
    counters: 152,
    header: 168,
    goto: 4,
    fragment: 0,
    source: 8,
    destination: 24,
    family: family::IPV6,
};

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// One entry, cut to its length, and where it begins.
struct Entry<'a> {
    at: usize,
    bytes: &'a [u8],
    target: usize,
}

impl Entry<'_> {
    fn target_name(&self) -> String {
        text(
            self.bytes
                .get(self.target + 2..self.target + 31)
                .unwrap_or_default(),
        )
    }

    fn target_data(&self) -> &[u8] {
        self.bytes.get(self.target + PART..).unwrap_or_default()
    }

    /// `struct xt_standard_target`.
    fn standard(&self) -> Option<i32> {
        Some(word(self.target_data(), 0)? as i32)
    }
}

fn entries<'a>(bytes: &'a [u8], layout: &Layout) -> Option<Vec<Entry<'a>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..)?;
        let target = half(rest, layout.offsets)?;
        let length = half(rest, layout.offsets + 2)?;
        if target < layout.header || length < target + PART {
            return None;
        }
        found.push(Entry {
            at,
            bytes: rest.get(..length)?,
            target,
        });
        at += length;
    }
    Some(found)
}

/// Reads a table; `None` where its bytes contradict each other.
pub(super) fn ruleset(v6: bool, table: &str, info: &[u8], bytes: &[u8]) -> Option<Ruleset> {
    let layout = if v6 { &V6 } else { &V4 };
    let entries = entries(bytes, layout)?;
    let hooks = word(info, NAME)?;
    let named = format!("{table} (iptables-legacy)");
    let mut begins = HashMap::new();
    let mut policies = HashMap::new();
    for (number, name) in HOOKS.iter().enumerate() {
        if hooks & 1 << number != 0 {
            begins.insert(
                word(info, NAME + 4 + number * 4)? as usize,
                (number as u32, *name),
            );
            policies.insert(word(info, NAME + 24 + number * 4)? as usize, *name);
        }
    }
    // A chain of the user's begins behind the entry that names it: that is where jumps lead to.
    let is_head = |entry: &&Entry<'_>| entry.target_name() == "ERROR";
    let heads: HashMap<usize, String> = entries
        .iter()
        .filter(is_head)
        .map(|entry| (entry.at + entry.bytes.len(), text(entry.target_data())))
        .collect();
    let mut found = Ruleset::default();
    let mut chain = String::new();
    let mut number = 0;
    for entry in &entries {
        if let Some((hook, name)) = begins.get(&entry.at) {
            (chain, number) = ((*name).to_owned(), 0);
            found.chains.push(Chain {
                family: layout.family,
                table: named.clone(),
                name: chain.clone(),
                hook: Some((*hook, priority(table))),
                drops_by_policy: false,
                kind: if table == "nat" { "nat" } else { "filter" }.to_owned(),
            });
        }
        if is_head(&entry) {
            (chain, number) = (text(entry.target_data()), 0);
            continue;
        }
        if policies.contains_key(&entry.at) {
            if let Some(last) = found.chains.last_mut() {
                last.drops_by_policy = entry.standard() == Some(-1);
            }
            continue;
        }
        number += 1;
        found.rules.push(Rule {
            family: layout.family,
            table: named.clone(),
            chain: chain.clone(),
            handle: number,
            expressions: expressions(entry, layout, &heads),
        });
    }
    Some(found)
}

/// The order among the tables (`NF_IP_PRI_…`).
fn priority(table: &str) -> i32 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    }
}

fn expressions(entry: &Entry<'_>, layout: &Layout, heads: &HashMap<usize, String>) -> Vec<Expression> {
    let bytes = entry.bytes;
    let mut steps = Vec::new();
    let flag = |at: usize, mask: u8| bytes.get(at).is_some_and(|byte| byte & mask != 0);
    let inverted = |mask: u8| match flag(layout.flags + 1, mask) {
        true => NOT_EQUAL,
        false => EQUAL,
    };
    let compare = |operation, value: Vec<u8>| Expression::Compare {
        register: REGISTER,
        operation,
        value,
    };
    let field = |number: usize| bytes.get(number * layout.address..(number + 1) * layout.address);
    for (number, offset, invert) in [(0, layout.source, 8), (1, layout.destination, 16)] {
        let (Some(value), Some(mask)) = (field(number), field(number + 2)) else {
            continue;
        };
        if mask.iter().any(|byte| *byte != 0) {
            steps.push(Expression::Payload {
                register: REGISTER,
                base: 1,
                offset,
                length: layout.address as u32,
            });
            steps.push(Expression::Bitwise {
                source: REGISTER,
                register: REGISTER,
                mask: mask.to_vec(),
                xor: vec![0; layout.address],
            });
            steps.push(compare(inverted(invert), value.to_vec()));
        }
    }
    let names = layout.address * 4;
    for (at, key, invert) in [(names, IN_NAME, 1), (names + 16, OUT_NAME, 2)] {
        let mask = bytes.get(at + 32..at + 48).unwrap_or_default();
        // Without a mark of its end the name is the beginning of several.
        let length = mask.iter().take_while(|byte| **byte != 0).count();
        if let (Some(name), 1..) = (bytes.get(at..at + length), length) {
            steps.push(Expression::Meta {
                register: REGISTER,
                key,
            });
            steps.push(compare(inverted(invert), name.to_vec()));
        }
    }
    if let Some(protocol @ 1..) = half(bytes, layout.protocol) {
        steps.push(Expression::Meta {
            register: REGISTER,
            key: PROTOCOL,
        });
        steps.push(compare(inverted(0x40), vec![protocol as u8]));
    }
    if flag(layout.flags, layout.fragment) {
        steps.push(Expression::Other("fragment".to_owned()));
    }
    steps.extend(matches(
        bytes.get(layout.header..entry.target).unwrap_or_default(),
    ));
    if let Some(count) = bytes.get(layout.counters..layout.counters + 8) {
        if let Ok(count) = count.try_into() {
            let packets = u64::from_ne_bytes(count);
            steps.push(Expression::Counter { packets });
        }
    }
    steps.push(target(entry, layout, flag(layout.flags, layout.goto), heads));
    steps
}

/// `struct xt_entry_match`, one behind the other.
fn matches(mut bytes: &[u8]) -> Vec<Expression> {
    let mut found = Vec::new();
    while let Some(length @ PART..) = half(bytes, 0) {
        let (Some(one), Some(rest)) = (bytes.get(..length), bytes.get(length..)) else {
            break;
        };
        found.push(Expression::Compat {
            is_target: false,
            name: text(one.get(2..31).unwrap_or_default()),
            info: one.get(PART..).unwrap_or_default().to_vec(),
        });
        bytes = rest;
    }
    found
}

fn target(entry: &Entry<'_>, layout: &Layout, goto: bool, heads: &HashMap<usize, String>) -> Expression {
    let name = entry.target_name();
    match (name.as_str(), entry.standard()) {
        ("", Some(-1)) => Expression::Verdict(Verdict::Drop),
        ("", Some(-2)) => Expression::Verdict(Verdict::Accept),
        ("", Some(-4)) => Expression::Verdict(Verdict::Queue),
        ("", Some(-5)) => Expression::Verdict(Verdict::Return),
        ("", Some(to @ 0..)) => match heads.get(&(to as usize)) {
            Some(chain) if goto => Expression::Verdict(Verdict::Goto(chain.clone())),
            Some(chain) => Expression::Verdict(Verdict::Jump(chain.clone())),
            // A rule without a target jumps to the next one.
            None => Expression::Verdict(Verdict::Continue),
        },
        // `IPT_TCP_RESET`, `IP6T_TCP_RESET`.
        ("REJECT", Some(with)) => Expression::Reject {
            reset: with == if layout.family == family::IPV6 { 6 } else { 7 },
        },
        _ => Expression::Compat {
            is_target: true,
            name,
            info: entry.target_data().to_vec(),
        },
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
