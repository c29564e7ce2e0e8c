//! The rules of this namespace's packet filter, as nf_tables tells of them; reading them takes `CAP_NET_ADMIN`.
//!
//! Layouts are `linux/netfilter/nf_tables.h`: netlink messages whose numbers are big-endian and whose attributes nest.
//! Expressions that matter to whether a packet passes are read one by one, the others are told by name.

use std::io;

use super::message::Attributes;
use super::Netlink;

/// `struct nfgenmsg`: family, version, resource.
const NFGENMSG: usize = 4;
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
/// Sets whose elements are read, and elements of each.
const MOST_SETS: usize = 64;
const MOST_ELEMENTS: usize = 8_192;

/// `NFPROTO_…`: which packets a table is for.
pub mod family {
    /// IPv4 and IPv6.
    pub const INET: u8 = 1;
    /// IPv4.
    pub const IPV4: u8 = 2;
    /// IPv6.
    pub const IPV6: u8 = 10;
}

/// `NF_INET_…`: where in a packet's way a chain is asked.
pub mod hook {
    /// For a local socket.
    pub const LOCAL_IN: u32 = 1;
    /// From a local socket.
    pub const LOCAL_OUT: u32 = 3;
    /// On its way out, routed.
    pub const POST_ROUTING: u32 = 4;
}

/// A chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// See [`family`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it is asked (see [`hook`]), and the order among those asked there; `None` for one that others jump to.
    pub hook: Option<(u32, i32)>,
    /// What becomes of a packet at its end, for one with a hook.
    pub drops_by_policy: bool,
    /// `filter`, `nat` or `route`.
    pub kind: String,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// See [`family`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, as `nft -a` shows it.
    pub handle: u64,
    /// What it looks at and what it does, in order.
    pub expressions: Vec<Expression>,
}

impl Rule {
    /// How many packets it has counted, where it counts.
    pub fn packets(&self) -> Option<u64> {
        self.expressions.iter().find_map(|expression| match expression {
            Expression::Counter { packets } => Some(*packets),
            _ => None,
        })
    }
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It passes this chain.
    Accept,
    /// It is gone.
    Drop,
    /// A program decides.
    Queue,
    /// The next rule decides.
    Continue,
    /// Back to the chain that jumped here, or to the policy.
    Return,
    /// This chain decides, and if it does not, the next rule.
    Jump(String),
    /// This chain decides, and if it does not, what is behind the one that jumped here.
    Goto(String),
}

/// One step of a rule. Registers are numbered by their first four-byte place, 0 to 19.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expression {
    /// Loads something known of the packet, by `NFT_META_…`.
    Meta {
        /// Where to.
        register: u32,
        /// Which.
        key: u32,
    },
    /// Loads something known of its connection, by `NFT_CT_…`.
    Connection {
        /// Where to.
        register: u32,
        /// Which.
        key: u32,
    },
    /// Loads bytes of the packet.
    Payload {
        /// Where to.
        register: u32,
        /// From the link-layer header (0), the network header (1), the transport header (2).
        base: u32,
        /// From which byte on.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// Ends the rule unless the comparison holds, by `NFT_CMP_…`: equal, not, below, at most, above, at least.
    Compare {
        /// What is compared.
        register: u32,
        /// How.
        operation: u32,
        /// With what.
        value: Vec<u8>,
    },
    /// `(register & mask) ^ xor`.
    Bitwise {
        /// From where.
        source: u32,
        /// Where to.
        register: u32,
        /// The mask.
        mask: Vec<u8>,
        /// What is inverted.
        xor: Vec<u8>,
    },
    /// Ends the rule unless the value is within (or, inverted, outside).
    Range {
        /// What is compared.
        register: u32,
        /// Outside is meant.
        inverted: bool,
        /// The first.
        from: Vec<u8>,
        /// The last.
        to: Vec<u8>,
    },
    /// Ends the rule unless the value is in the set; of a map, the element's verdict is taken.
    Lookup {
        /// What is looked up.
        register: u32,
        /// The set.
        set: String,
        /// It must not be in the set.
        inverted: bool,
        /// It is a map of verdicts.
        is_verdict: bool,
    },
    /// Loads a constant.
    Load {
        /// Where to.
        register: u32,
        /// What.
        value: Vec<u8>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Refuses, by ICMP or with a reset.
    Reject {
        /// With a TCP reset.
        reset: bool,
    },
    /// Counts.
    Counter {
        /// Packets so far.
        packets: u64,
    },
    /// A match or target of iptables.
    Compat {
        /// A target, not a match.
        is_target: bool,
        /// Its name.
        name: String,
        /// Its settings, as that module lays them out.
        info: Vec<u8>,
    },
    /// Something else, by its name.
    Other(String),
}

/// An element of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// The key.
    pub key: Vec<u8>,
    /// The last key of a range, where the set stores both ends together.
    pub last: Option<Vec<u8>>,
    /// It is where a range has ended: the key is the first that is no more within.
    pub is_end: bool,
    /// Of a map of verdicts: what it says.
    pub verdict: Option<Verdict>,
}

/// A set, as far as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// See [`family`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its elements.
    pub elements: Vec<Element>,
}

/// All that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ruleset {
    /// Every chain of IPv4, IPv6 and both.
    pub chains: Vec<Chain>,
    /// Every rule of those, in order.
    pub rules: Vec<Rule>,
    /// The sets that rules look into.
    pub sets: Vec<Set>,
}

/// Reads the packet filter of the calling thread's network namespace.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`; what the kernel said otherwise.
pub fn ruleset() -> io::Result<Ruleset> {
    let mut netlink = Netlink::open_to(libc::NETLINK_NETFILTER)?;
    let all = [libc::AF_UNSPEC as u8, 0, 0, 0];
    let mut found = Ruleset {
        chains: netlink.dump(GET_CHAIN, &all, &[], chain)?,
        rules: netlink.dump(GET_RULE, &all, &[], rule)?,
        sets: Vec::new(),
    };
    let wanted: Vec<(u8, String, String)> = found
        .rules
        .iter()
        .flat_map(|rule| {
            rule.expressions.iter().filter_map(|expression| match expression {
                Expression::Lookup { set, .. } => Some((rule.family, rule.table.clone(), set.clone())),
                _ => None,
            })
        })
        .collect();
    for (family, table, name) in wanted {
        let is_known = |set: &Set| set.family == family && set.table == table && set.name == name;
        if found.sets.len() >= MOST_SETS || found.sets.iter().any(is_known) {
            continue;
        }
        let (table_text, name_text) = (text_with_end(&table), text_with_end(&name));
        // Attribute values are bounded in a request; the kernel's own names are no longer than 255.
        let asked = netlink.dump(
            GET_ELEMENTS,
            &[family, 0, 0, 0],
            &[(1, &table_text), (2, &name_text)],
            |body| Some(elements(body)),
        );
        let mut all: Vec<Element> = asked.unwrap_or_default().into_iter().flatten().collect();
        all.truncate(MOST_ELEMENTS);
        found.sets.push(Set {
            family,
            table,
            name,
            elements: all,
        });
    }
    Ok(found)
}

fn text_with_end(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.truncate(255);
    bytes.push(0);
    bytes
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

fn long(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.get(..8)?.try_into().ok()?))
}

fn nested(value: &[u8]) -> Attributes<'_> {
    Attributes::after(value, 0)
}

/// The attribute of this type among those nested in `value`.
fn inner(value: &[u8], wanted: u16) -> Option<&[u8]> {
    nested(value)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

fn is_for_ip(family: u8) -> bool {
    matches!(family, family::INET | family::IPV4 | family::IPV6)
}

fn chain(body: &[u8]) -> Option<Chain> {
    let family = *body.first()?;
    let mut found = Chain {
        family,
        table: String::new(),
        name: String::new(),
        hook: None,
        drops_by_policy: false,
        kind: String::new(),
    };
    for (kind, value) in Attributes::after(body, NFGENMSG) {
        match kind {
            1 => found.table = text(value),
            3 => found.name = text(value),
            4 => {
                let place = inner(value, 1).and_then(number)?;
                let priority = inner(value, 2).and_then(number)? as i32;
                found.hook = Some((place, priority));
            }
            5 => found.drops_by_policy = number(value) == Some(0),
            7 => found.kind = text(value),
            _ => {}
        }
    }
    is_for_ip(family).then_some(found)
}

fn rule(body: &[u8]) -> Option<Rule> {
    let family = *body.first()?;
    let mut found = Rule {
        family,
        table: String::new(),
        chain: String::new(),
        handle: 0,
        expressions: Vec::new(),
    };
    for (kind, value) in Attributes::after(body, NFGENMSG) {
        match kind {
            1 => found.table = text(value),
            2 => found.chain = text(value),
            3 => found.handle = long(value)?,
            4 => {
                found.expressions = nested(value)
                    .filter(|(kind, _)| *kind == 1)
                    .map(|(_, value)| expression(value))
                    .collect();
            }
            _ => {}
        }
    }
    is_for_ip(family).then_some(found)
}

/// Registers 1 to 4 are sixteen bytes each, 8 and up are four each of the same space.
fn register(value: &[u8]) -> Option<u32> {
    match number(value)? {
        wide @ 1..=4 => Some((wide - 1) * 4),
        narrow @ 8..=27 => Some(narrow - 8),
        _ => None,
    }
}

fn expression(value: &[u8]) -> Expression {
    let name = inner(value, 1).map(text).unwrap_or_default();
    let data = inner(value, 2).unwrap_or_default();
    decode(&name, data).unwrap_or(Expression::Other(name))
}

fn decode(name: &str, data: &[u8]) -> Option<Expression> {
    let field = |kind| inner(data, kind);
    let value_of = |kind| field(kind).and_then(|value| inner(value, 1)).map(<[u8]>::to_vec);
    Some(match name {
        "meta" => Expression::Meta {
            register: field(1).and_then(register)?,
            key: field(2).and_then(number)?,
        },
        "ct" => Expression::Connection {
            register: field(1).and_then(register)?,
            key: field(2).and_then(number)?,
        },
        "payload" => Expression::Payload {
            register: field(1).and_then(register)?,
            base: field(2).and_then(number)?,
            offset: field(3).and_then(number)?,
            length: field(4).and_then(number)?,
        },
        "cmp" => Expression::Compare {
            register: field(1).and_then(register)?,
            operation: field(2).and_then(number)?,
            value: value_of(3)?,
        },
        // Masks alone (operation 0): shifts come up nowhere else than in address arithmetic.
        "bitwise" if field(6).and_then(number).unwrap_or(0) == 0 => Expression::Bitwise {
            source: field(1).and_then(register)?,
            register: field(2).and_then(register)?,
            mask: value_of(4)?,
            xor: value_of(5)?,
        },
        "range" => Expression::Range {
            register: field(1).and_then(register)?,
            inverted: field(2).and_then(number)? == 1,
            from: value_of(3)?,
            to: value_of(4)?,
        },
        "lookup" => Expression::Lookup {
            set: text(field(1)?),
            register: field(2).and_then(register)?,
            inverted: field(5).and_then(number).unwrap_or(0) & 1 != 0,
            // Register 0 is the verdict.
            is_verdict: match field(3) {
                None => false,
                Some(to) if number(to) == Some(0) => true,
                Some(_) => return None,
            },
        },
        "immediate" if field(1).and_then(number) == Some(0) => {
            Expression::Verdict(field(2).and_then(verdict)?)
        }
        "immediate" => Expression::Load {
            register: field(1).and_then(register)?,
            value: value_of(2)?,
        },
        "reject" => Expression::Reject {
            reset: field(1).and_then(number)? == 1,
        },
        "counter" => Expression::Counter {
            packets: field(2).and_then(long)?,
        },
        "match" | "target" => Expression::Compat {
            is_target: name == "target",
            name: text(field(1)?),
            info: field(3)?.to_vec(),
        },
        _ => return None,
    })
}

/// Data that is a verdict.
fn verdict(data: &[u8]) -> Option<Verdict> {
    let nested = inner(data, 2)?;
    let chain = || inner(nested, 2).map(text);
    Some(match inner(nested, 1).and_then(number)? as i32 {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 | -2 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        code if code & 0xff == 3 => Verdict::Queue,
        _ => return None,
    })
}

fn elements(body: &[u8]) -> Vec<Element> {
    let lists = Attributes::after(body, NFGENMSG).filter(|(kind, _)| *kind == 3);
    lists
        .flat_map(|(_, list)| nested(list))
        .filter_map(|(_, value)| {
            let key = inner(value, 1).and_then(|key| inner(key, 1))?.to_vec();
            Some(Element {
                key,
                last: inner(value, 10).and_then(|key| inner(key, 1)).map(<[u8]>::to_vec),
                is_end: inner(value, 3).and_then(number).unwrap_or(0) & 1 != 0,
                verdict: inner(value, 2).and_then(verdict),
            })
        })
        .collect()
}

/// Reads any bytes as an answer of each kind: for the fuzzer.
pub(super) fn read_all(body: &[u8]) {
    let _ = (chain(body), rule(body), elements(body), expression(body));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn step(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
        let name = attribute(1, &text_with_end(name));
        attribute(1, &[name, attribute(2, &fields.concat())].concat())
    }

    fn be(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    #[test]
    fn a_rule_with_a_port_and_a_drop_is_read() {
        let payload = [
            attribute(1, &be(1)),
            attribute(2, &be(2)),
            attribute(3, &be(2)),
            attribute(4, &be(2)),
        ];
        let value = attribute(3, &attribute(1, &445u16.to_be_bytes()));
        let compare = [attribute(1, &be(1)), attribute(2, &be(0)), value];
        let drop = attribute(2, &attribute(2, &attribute(1, &be(0))));
        let verdict = [attribute(1, &be(0)), drop];
        let steps = [
            step("payload", &payload),
            step("cmp", &compare),
            step("immediate", &verdict),
        ]
        .concat();
        let mut body = vec![family::INET, 0, 0, 0];
        body.extend(attribute(1, b"lab\0"));
        body.extend(attribute(2, b"output\0"));
        body.extend(attribute(3, &3u64.to_be_bytes()));
        body.extend(attribute(4, &steps));
        let read = rule(&body).unwrap();
        assert_eq!(
            (read.table.as_str(), read.chain.as_str(), read.handle),
            ("lab", "output", 3)
        );
        assert_eq!(
            read.expressions,
            [
                Expression::Payload {
                    register: 0,
                    base: 2,
                    offset: 2,
                    length: 2
                },
                Expression::Compare {
                    register: 0,
                    operation: 0,
                    value: vec![1, 189]
                },
                Expression::Verdict(Verdict::Drop),
            ]
        );
        for end in 0..body.len() {
            let _ = rule(&body[..end]);
        }
    }
}
