//! Just enough of DNS to ask a server for addresses and to time it (RFC 1035 section 4, RFC 3596).
//!
//! | octets | field |
//! |---|---|
//! | 0–1 | identifier |
//! | 2–3 | QR, opcode, AA, TC, RD · RA, Z, RCODE |
//! | 4–5, 6–7, 8–9, 10–11 | counts: questions, answers, authorities, additionals |
//! | 12– | questions: name, type, class; then records: name, type, class, TTL, length, data |
//!
//! Reading goes by checked slices. A compressed name may only point backwards, and only so often: no loop.

use std::net::IpAddr;

/// A question's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Aaaa => 28,
        }
    }
}

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;
/// RFC 1035 section 2.3.4: a name's octets on the wire.
const LONGEST_NAME: usize = 255;
/// Pointers followed within one name, and records read of one answer.
const MOST_POINTERS: usize = 32;
const MOST_RECORDS: usize = 256;

/// What a server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The response code: 0 no error, 2 server failure, 3 no such name, 5 refused.
    pub code: u8,
    /// It was cut short; over TCP it would be whole.
    pub truncated: bool,
    /// The addresses, of the type that was asked for.
    pub addresses: Vec<IpAddr>,
    /// The name that an alias led to, where there was one.
    pub alias: Option<String>,
}

/// A recursive query for addresses of `name`; `None` for a name that DNS cannot carry.
pub fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend_from_slice(&id.to_be_bytes());
    // RD: the server is to ask others for us.
    message.extend_from_slice(&[0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() - HEADER > LONGEST_NAME {
        return None;
    }
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(message)
}

/// Reads the answer to `query`. `None` for what is no answer to it: another identifier or question, or no DNS at all.
pub fn answer(query: &[u8], message: &[u8]) -> Option<Answer> {
    let flags = half(message, 2)?;
    if message.get(..2)? != query.get(..2)? || flags & 0x8000 == 0 {
        return None;
    }
    let (asked, kind) = question(query)?;
    let code = (flags & 0xf) as u8;
    let mut answer = Answer {
        code,
        truncated: flags & 0x0200 != 0,
        addresses: Vec::new(),
        alias: None,
    };
    let (questions, records) = (half(message, 4)?, half(message, 6)?);
    // A server that understood nothing may leave the question out (RFC 1035 section 4.1.1, format error).
    if questions == 0 {
        return (code != 0).then_some(answer);
    }
    let (echoed, echoed_kind) = question(message)?;
    if questions != 1 || !echoed.eq_ignore_ascii_case(&asked) || echoed_kind != kind {
        return None;
    }
    let mut at = skip_name(message, HEADER)?.checked_add(4)?;
    for _ in 0..usize::from(records).min(MOST_RECORDS) {
        let Some(after_name) = skip_name(message, at) else {
            break;
        };
        let (Some(kind_here), Some(class), Some(length)) = (
            half(message, after_name),
            half(message, after_name + 2),
            half(message, after_name + 8),
        ) else {
            break;
        };
        let start = after_name + 10;
        let Some(data) = message.get(start..start + usize::from(length)) else {
            break;
        };
        if class == CLASS_IN {
            if kind_here == kind {
                answer.addresses.extend(address(data));
            } else if kind_here == CNAME {
                answer.alias = name(message, start);
            }
        }
        at = start + usize::from(length);
    }
    Some(answer)
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The first question: name and type.
fn question(message: &[u8]) -> Option<(String, u16)> {
    let end = skip_name(message, HEADER)?;
    Some((name(message, HEADER)?, half(message, end)?))
}

/// The position behind the name at `at`.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => {
                message.get(at + 1)?;
                return Some(at + 2);
            }
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// The name at `at` with dots; what is no text is made visible by whoever shows it.
fn name(message: &[u8], mut at: usize) -> Option<String> {
    let mut text = Vec::new();
    let mut pointers = 0;
    loop {
        let length = *message.get(at)?;
        if length & 0xc0 == 0xc0 {
            let to = usize::from(half(message, at)? & 0x3fff);
            pointers += 1;
            if to >= at || pointers > MOST_POINTERS {
                return None;
            }
            at = to;
            continue;
        }
        if length & 0xc0 != 0 {
            return None;
        }
        if length == 0 {
            break;
        }
        let label = message.get(at + 1..at + 1 + usize::from(length))?;
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
        if text.len() > LONGEST_NAME {
            return None;
        }
        at += 1 + usize::from(length);
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// The words for a response code (RFC 1035 section 4.1.1).
pub fn code_in_words(code: u8) -> &'static str {
    match code {
        0 => "no error",
        1 => "format error",
        2 => "server failure",
        3 => "no such name",
        4 => "not implemented",
        5 => "refused",
        _ => "another error",
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
