//! From netlink's attributes to chains, rules and elements.

use super::{family, Chain, Element, Expression, Rule, Verdict, NFGENMSG};
use crate::netlink::message::Attributes;

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

pub(super) fn chain(body: &[u8]) -> Option<Chain> {
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

pub(super) fn rule(body: &[u8]) -> Option<Rule> {
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

pub(super) fn elements(body: &[u8]) -> Vec<Element> {
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
pub(in crate::netlink) fn read_all(body: &[u8]) {
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
        let name = attribute(1, &super::super::text_with_end(name));
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
