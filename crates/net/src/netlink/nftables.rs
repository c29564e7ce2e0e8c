//! The rules of this namespace's packet filter, as nf_tables tells of them; reading them takes `CAP_NET_ADMIN`.
//!
//! Layouts are `linux/netfilter/nf_tables.h`: netlink messages whose numbers are big-endian and whose attributes nest.
//! Expressions that matter to whether a packet passes are read one by one, the others are told by name.

mod parse;

use std::io;

pub(super) use parse::read_all;
use parse::{chain, elements, rule};

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
    /// As it comes in, before it is routed.
    pub const PRE_ROUTING: u32 = 0;
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
