//! Which rule of this host's packet filter would decide about the flow.
//!
//! A rule is followed step by step with what is known of the flow's packets. Where a step looks at something unknown the
//! rule *may* match: it convicts nobody, unless its counter rose.

use std::net::IpAddr;

use rping_net::netlink::nftables::{family, hook, Element, Expression, Rule, Ruleset, Verdict};

pub(crate) use super::rule_words::describe;
use super::rule_words::place_words;

/// A packet of the flow, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// It leaves this host; else it comes in.
    pub(crate) leaves: bool,
    /// The first packet of the flow, to the port; else the answer, from there.
    pub(crate) begins: bool,
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    /// TCP with this port at the end that is asked, else ICMP.
    pub(crate) port: Option<u16>,
    pub(crate) interface: Option<(String, u32)>,
    pub(crate) v6: bool,
}

/// What the rules say about a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ruled {
    /// No rule or policy is against it.
    Passes,
    /// This rule (or policy) takes it, surely or perhaps.
    Taken { by: String, surely: bool, rejects: bool },
}

const TCP: u8 = 6;
/// Jumps within jumps; the kernel allows 16.
const DEEPEST: usize = 16;

/// How a rule ends.
enum End {
    Decided(Verdict, bool),
    Rejects(bool),
    Nothing,
}

/// Whether a step holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Perhaps,
}

/// Asks every chain in the packet's way, in the order of their priorities.
pub(crate) fn judge(rules: &Ruleset, packet: &Packet) -> Ruled {
    let places: &[u32] = match packet.leaves {
        true => &[hook::LOCAL_OUT, hook::POST_ROUTING],
        false => &[hook::PRE_ROUTING, hook::LOCAL_IN],
    };
    let mut perhaps = None;
    for place in places {
        let mut chains: Vec<_> = rules
            .chains
            .iter()
            .filter(|chain| chain.hook.is_some_and(|(at, _)| at == *place) && chain.kind != "nat")
            .filter(|chain| is_asked(chain.family, packet.v6))
            .collect();
        chains.sort_by_key(|chain| chain.hook.map(|(_, priority)| priority));
        for chain in chains {
            let at = Place {
                rules,
                packet,
                family: chain.family,
                table: &chain.table,
            };
            let walked = at.walk(&chain.name, 0);
            let taken = match walked.end {
                Some(Fate::Taken { by, rejects }) => Some((by, rejects)),
                Some(Fate::Accepted) => None,
                None if chain.drops_by_policy => Some((
                    format!(
                        "the policy of {}",
                        place_words(chain.family, &chain.table, &chain.name)
                    ),
                    false,
                )),
                None => None,
            };
            if let Some((by, rejects)) = taken {
                let surely = !walked.unsure;
                return Ruled::Taken { by, surely, rejects };
            }
            if let Some((by, rejects)) = walked.perhaps {
                perhaps.get_or_insert(Ruled::Taken {
                    by,
                    surely: false,
                    rejects,
                });
            }
        }
    }
    perhaps.unwrap_or(Ruled::Passes)
}

/// How much the counter of the rule that is described so rose.
pub(crate) fn rise(before: &Ruleset, after: &Ruleset, by: &str) -> u64 {
    let of = |rules: &Ruleset| {
        let rule = rules.rules.iter().find(|rule| describe(rule) == by);
        rule.and_then(|rule| rule.packets()).unwrap_or(0)
    };
    of(after).saturating_sub(of(before))
}

fn is_asked(of: u8, v6: bool) -> bool {
    of == family::INET || of == if v6 { family::IPV6 } else { family::IPV4 }
}

enum Fate {
    Accepted,
    Taken { by: String, rejects: bool },
}

/// What a walk through a chain came to.
#[derive(Default)]
struct Walked {
    end: Option<Fate>,
    /// A rule that may have matched could have ended it otherwise.
    unsure: bool,
    /// The first rule that may take the packet.
    perhaps: Option<(String, bool)>,
}

struct Place<'a> {
    rules: &'a Ruleset,
    packet: &'a Packet,
    family: u8,
    table: &'a str,
}

impl Place<'_> {
    fn walk(&self, chain: &str, depth: usize) -> Walked {
        let mut walked = Walked::default();
        if depth > DEEPEST {
            walked.unsure = true;
            return walked;
        }
        let of_chain = self
            .rules
            .rules
            .iter()
            .filter(|rule| rule.family == self.family && rule.table == self.table && rule.chain == chain);
        for rule in of_chain {
            let (verdict, surely, rejects) = match self.follow(rule) {
                End::Nothing => continue,
                End::Rejects(surely) => (Verdict::Drop, surely, true),
                End::Decided(verdict, surely) => (verdict, surely, false),
            };
            match verdict {
                Verdict::Drop | Verdict::Queue if surely => {
                    let by = describe(rule);
                    walked.end = Some(Fate::Taken { by, rejects });
                    return walked;
                }
                Verdict::Drop | Verdict::Queue => {
                    walked.perhaps.get_or_insert((describe(rule), rejects));
                }
                Verdict::Accept if surely => {
                    walked.end = Some(Fate::Accepted);
                    return walked;
                }
                Verdict::Accept => walked.unsure = true,
                Verdict::Continue => {}
                Verdict::Return if surely => return walked,
                Verdict::Return => walked.unsure = true,
                Verdict::Jump(to) | Verdict::Goto(to) if !surely => {
                    let inner = self.walk(&to, depth + 1);
                    let taken = match inner.end {
                        Some(Fate::Taken { by, rejects }) => Some((by, rejects)),
                        Some(Fate::Accepted) => {
                            walked.unsure = true;
                            None
                        }
                        None => inner.perhaps,
                    };
                    if let Some(taken) = taken {
                        walked.perhaps.get_or_insert(taken);
                    }
                }
                Verdict::Jump(ref to) | Verdict::Goto(ref to) => {
                    let inner = self.walk(to, depth + 1);
                    walked.unsure |= inner.unsure;
                    if let Some(perhaps) = inner.perhaps {
                        walked.perhaps.get_or_insert(perhaps);
                    }
                    if inner.end.is_some() || matches!(verdict, Verdict::Goto(_)) {
                        walked.end = inner.end;
                        return walked;
                    }
                }
            }
        }
        walked
    }

    /// Follows one rule to its end.
    fn follow(&self, rule: &Rule) -> End {
        let mut registers: [Option<[u8; 4]>; 24] = [None; 24];
        let mut surely = true;
        for step in &rule.expressions {
            let holds = match step {
                Expression::Meta { register, key } => load(&mut registers, *register, self.meta(*key)),
                Expression::Connection { register, key } => {
                    load(&mut registers, *register, self.connection(*key))
                }
                Expression::Payload {
                    register,
                    base,
                    offset,
                    length,
                } => load(&mut registers, *register, self.payload(*base, *offset, *length)),
                Expression::Load { register, value } => load(&mut registers, *register, Some(value.clone())),
                Expression::Bitwise {
                    source,
                    register,
                    mask,
                    xor,
                } => {
                    let value = read(&registers, *source, mask.len()).map(|value| {
                        let both = value.iter().zip(mask).zip(xor);
                        both.map(|((value, mask), xor)| value & mask ^ xor).collect()
                    });
                    load(&mut registers, *register, value)
                }
                Expression::Compare {
                    register,
                    operation,
                    value,
                } => match read(&registers, *register, value.len()) {
                    None => Holds::Perhaps,
                    Some(ours) => {
                        let order = ours.cmp(value);
                        yes(match operation {
                            0 => order.is_eq(),
                            1 => order.is_ne(),
                            2 => order.is_lt(),
                            3 => order.is_le(),
                            4 => order.is_gt(),
                            _ => order.is_ge(),
                        })
                    }
                },
                Expression::Range {
                    register,
                    inverted,
                    from,
                    to,
                } => match read(&registers, *register, from.len()) {
                    None => Holds::Perhaps,
                    Some(ours) => yes((*from <= ours && ours <= *to) != *inverted),
                },
                Expression::Lookup {
                    register,
                    set,
                    inverted,
                    is_verdict,
                } => match self.look_up(&registers, *register, set) {
                    Found::Unknown => Holds::Perhaps,
                    Found::Missing => yes(*inverted),
                    Found::There(element) => match (&element.verdict, is_verdict) {
                        (Some(verdict), true) => return End::Decided(verdict.clone(), surely),
                        _ => yes(!*inverted),
                    },
                },
                Expression::Verdict(verdict) => return End::Decided(verdict.clone(), surely),
                Expression::Reject { .. } => return End::Rejects(surely),
                Expression::Compat {
                    is_target: true,
                    name,
                    ..
                } if name == "REJECT" => return End::Rejects(surely),
                Expression::Compat {
                    is_target: false,
                    name,
                    info,
                } if name == "tcp" => self.compat_tcp(info),
                Expression::Compat { name, .. } if name == "comment" || name == "LOG" => Holds::Yes,
                Expression::Compat { .. } => Holds::Perhaps,
                Expression::Counter { .. } => Holds::Yes,
                Expression::Other(name) if matches!(name.as_str(), "log" | "notrack" | "last") => Holds::Yes,
                Expression::Other(_) => Holds::Perhaps,
            };
            match holds {
                Holds::No => return End::Nothing,
                Holds::Perhaps => surely = false,
                Holds::Yes => {}
            }
        }
        End::Nothing
    }

    /// `NFT_META_…`.
    fn meta(&self, key: u32) -> Option<Vec<u8>> {
        let packet = self.packet;
        let name = || {
            let (name, _) = packet.interface.as_ref()?;
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(16, 0);
            Some(bytes)
        };
        let index = || {
            packet
                .interface
                .as_ref()
                .map(|(_, index)| index.to_ne_bytes().to_vec())
        };
        // Where there is no such interface the kernel's rule ends; an empty name does the same here.
        let nobody = |bytes: usize| Some(vec![0; bytes]);
        match key {
            1 => Some(if packet.v6 { 0x86ddu16 } else { 0x0800 }.to_be_bytes().to_vec()),
            4 if !packet.leaves => index(),
            5 if packet.leaves => index(),
            6 if !packet.leaves => name(),
            7 if packet.leaves => name(),
            4 | 5 => nobody(4),
            6 | 7 => nobody(16),
            15 => Some(vec![if packet.v6 { 10 } else { 2 }]),
            16 => Some(vec![self.protocol()]),
            _ => None,
        }
    }

    fn protocol(&self) -> u8 {
        match (self.packet.port, self.packet.v6) {
            (Some(_), _) => TCP,
            (None, false) => 1,
            (None, true) => 58,
        }
    }

    /// `NFT_CT_STATE`: new for the first packet, established for the answer.
    fn connection(&self, key: u32) -> Option<Vec<u8>> {
        let state: u32 = if self.packet.begins { 8 } else { 2 };
        (key == 0).then(|| state.to_ne_bytes().to_vec())
    }

    fn payload(&self, base: u32, offset: u32, length: u32) -> Option<Vec<u8>> {
        let packet = self.packet;
        let bytes = |address: Option<IpAddr>| match address? {
            IpAddr::V4(four) => Some(four.octets().to_vec()),
            IpAddr::V6(six) => Some(six.octets().to_vec()),
        };
        match (base, offset, length, packet.v6) {
            (1, 12, 4, false) | (1, 8, 16, true) => bytes(packet.source),
            (1, 16, 4, false) | (1, 24, 16, true) => bytes(packet.destination),
            (1, 9, 1, false) | (1, 6, 1, true) => Some(vec![self.protocol()]),
            (2, 0, 2, _) if packet.port.is_some() && !packet.begins => port(packet.port),
            (2, 2, 2, _) if packet.port.is_some() && packet.begins => port(packet.port),
            // Flags: SYN, or SYN and ACK.
            (2, 13, 1, _) if packet.port.is_some() => Some(vec![if packet.begins { 0x02 } else { 0x12 }]),
            // Type: echo request, echo reply.
            (2, 0, 1, v6) if packet.port.is_none() => Some(vec![match (v6, packet.begins) {
                (false, true) => 8,
                (false, false) => 0,
                (true, true) => 128,
                (true, false) => 129,
            }]),
            _ => None,
        }
    }

    fn look_up(&self, registers: &[Option<[u8; 4]>; 24], register: u32, name: &str) -> Found<'_> {
        let set = self
            .rules
            .sets
            .iter()
            .find(|set| set.family == self.family && set.table == self.table && set.name == name);
        let Some(set) = set.filter(|set| !set.elements.is_empty()) else {
            return Found::Unknown;
        };
        let length = set
            .elements
            .iter()
            .map(|element| element.key.len())
            .max()
            .unwrap_or(0);
        let Some(ours) = read(registers, register, length) else {
            return Found::Unknown;
        };
        let exact = |element: &&Element| {
            let last = element.last.as_ref().unwrap_or(&element.key);
            element.key <= ours && ours <= *last
        };
        let is_of_ranges = set.elements.iter().any(|element| element.is_end);
        let found = if is_of_ranges {
            let below = set.elements.iter().filter(|element| element.key <= ours);
            let nearest = below.max_by(|a, b| a.key.cmp(&b.key).then(b.is_end.cmp(&a.is_end)));
            nearest.filter(|element| !element.is_end)
        } else {
            set.elements.iter().find(exact)
        };
        found.map_or(Found::Missing, Found::There)
    }

    /// `struct xt_tcp`: first and last source port, first and last destination port (host order), option, flag mask,
    /// flags, inversions.
    fn compat_tcp(&self, info: &[u8]) -> Holds {
        let half = |at: usize| Some(u16::from_ne_bytes([*info.get(at)?, *info.get(at + 1)?]));
        let (Some(port), Some(inverted)) = (self.packet.port, info.get(11)) else {
            return Holds::No;
        };
        let (at, invert, other) = match self.packet.begins {
            true => (4, inverted & 2 != 0, 0),
            false => (0, inverted & 1 != 0, 4),
        };
        let (Some(from), Some(to)) = (half(at), half(at + 2)) else {
            return Holds::Perhaps;
        };
        if (from..=to).contains(&port) == invert {
            return Holds::No;
        }
        let any_other = half(other) == Some(0) && half(other + 2) == Some(u16::MAX);
        let no_flags = info.get(9) == Some(&0);
        if any_other && no_flags {
            Holds::Yes
        } else {
            Holds::Perhaps
        }
    }
}

enum Found<'a> {
    Unknown,
    Missing,
    There(&'a Element),
}

fn yes(holds: bool) -> Holds {
    if holds {
        Holds::Yes
    } else {
        Holds::No
    }
}

fn port(port: Option<u16>) -> Option<Vec<u8>> {
    port.map(|port| port.to_be_bytes().to_vec())
}

/// Writes a value from `register` on; an unknown one makes its first place unknown.
fn load(registers: &mut [Option<[u8; 4]>; 24], register: u32, value: Option<Vec<u8>>) -> Holds {
    let at = register as usize;
    match value {
        None => {
            if let Some(place) = registers.get_mut(at) {
                *place = None;
            }
        }
        Some(value) => {
            for (place, part) in registers.iter_mut().skip(at).zip(value.chunks(4)) {
                let mut word = [0; 4];
                word[..part.len()].copy_from_slice(part);
                *place = Some(word);
            }
        }
    }
    Holds::Yes
}

fn read(registers: &[Option<[u8; 4]>; 24], register: u32, length: usize) -> Option<Vec<u8>> {
    let at = register as usize;
    let words = registers.get(at..at + length.div_ceil(4))?;
    let mut bytes = Vec::with_capacity(length);
    for word in words {
        bytes.extend_from_slice(word.as_ref()?);
    }
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
