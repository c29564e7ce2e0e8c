//! The grammar of one target: `HOST`, `HOST:PORTS`.
//!
//! Numbers are never names: what looks like an address and is none is refused here instead of being looked up, since
//! system resolvers read `10.1` and `010.0.0.1` as addresses nobody meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::args::shown;

/// Whom a target names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// To be resolved. ASCII letters, digits, hyphens, underscores and dots.
    Name(String),
    /// One address.
    Address {
        /// The address.
        ip: IpAddr,
        /// What stood behind `%`: an interface's name or index. Link-local IPv6 addresses only.
        zone: Option<String>,
    },
    /// Every address from the first to the last: a block or a range. Both of one family, in order.
    Span {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
}

/// One entry of a list of ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// From the first to the last, both 1 or above; equal for a single port.
    Range(u16, u16),
    /// By name, looked up for the protocol in use.
    Service(String),
}

/// One target as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    host: Host,
    ports: Vec<Ports>,
    text: Box<str>,
    host_text: Box<str>,
}

impl Spec {
    /// Reads one target.
    ///
    /// # Errors
    /// What is wrong and what to write instead, in words. `0.0.0.0` and `::` are no targets.
    pub fn parse(text: &str) -> Result<Spec, String> {
        let spec = Spec::parse_any(text)?;
        let unspecified = match &spec.host {
            Host::Address { ip, .. } => ip.is_unspecified(),
            Host::Span { first, .. } => first.is_unspecified(),
            Host::Name(_) => false,
        };
        // An absurdly large block is better told so.
        if unspecified && spec.hosts() <= super::MOST.into() {
            return Err(format!(
                "{} is no host: it stands for every address; name one",
                shown(text)
            ));
        }
        Ok(spec)
    }

    /// The same for places where `0.0.0.0` and `::` mean something.
    pub(crate) fn parse_any(text: &str) -> Result<Spec, String> {
        if text.is_empty() {
            return Err("an empty target: give a host".to_owned());
        }
        if let Some(odd) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("{} holds {odd:?}: one target has no blanks", shown(text)));
        }
        if is_number(text) {
            let host = if parse_port(text).is_ok() {
                format!("HOST:{text}, or ")
            } else {
                String::new()
            };
            return Err(format!(
                "{} is a number, not a host: did you mean {host}-n {text}s?",
                shown(text)
            ));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!(
                "{} is a URL: give the host and port alone: {}",
                shown(text),
                of_url(scheme, rest)
            ));
        }
        if let Some(share) = text.strip_prefix(r"\\") {
            return Err(format!(
                "{} is a file share: ask its host: {}",
                shown(text),
                of_url("smb", &share.replace('\\', "/"))
            ));
        }
        let (host_text, port_text) = split(text)?;
        let host = parse_host(host_text).map_err(|why| format!("{}: {why}", shown(text)))?;
        let ports = match port_text {
            Some(list) => parse_ports(list).map_err(|why| format!("{}: {why}", shown(text)))?,
            None => Vec::new(),
        };
        Ok(Spec {
            host,
            ports,
            text: text.into(),
            host_text: host_text.into(),
        })
    }

    /// Whom it names.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The ports written; empty where none were.
    pub fn ports(&self) -> &[Ports] {
        &self.ports
    }

    /// The whole, as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The host as written, without brackets.
    pub fn host_text(&self) -> &str {
        &self.host_text
    }

    /// `Some(None)` without a port, `Some(port)` with one by number, `None` with several or by name.
    pub(crate) fn single_port(&self) -> Option<Option<u16>> {
        match self.ports[..] {
            [] => Some(None),
            [Ports::Range(low, high)] if low == high => Some(Some(low)),
            _ => None,
        }
    }

    /// How many addresses it stands for; a name counts as one.
    pub fn hosts(&self) -> u128 {
        match self.host {
            Host::Span {
                first: IpAddr::V4(first),
                last: IpAddr::V4(last),
            } => u128::from(last.to_bits().saturating_sub(first.to_bits())) + 1,
            Host::Span {
                first: IpAddr::V6(first),
                last: IpAddr::V6(last),
            } => last.to_bits().saturating_sub(first.to_bits()).saturating_add(1),
            _ => 1,
        }
    }

    /// How many targets it stands for: addresses times ports.
    pub fn count(&self) -> u128 {
        let of = |ports: &Ports| match *ports {
            Ports::Range(low, high) => u128::from(high.saturating_sub(low)) + 1,
            Ports::Service(_) => 1,
        };
        let ports = self.ports.iter().map(of).sum::<u128>().max(1);
        self.hosts().saturating_mul(ports)
    }
}

/// Digits and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Where the host ends and the ports begin.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(format!(
                "{}: the bracket is not closed, as in [2001:db8::1]:445",
                shown(text)
            ));
        };
        if !host.contains(':') {
            return Err(format!("{}: brackets are for IPv6 addresses", shown(text)));
        }
        return match after.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!(
                "{}: after the bracket comes :PORT, as in [2001:db8::1]:445",
                shown(text)
            )),
        };
    }
    // Behind the slash of a block no address goes on, so a colon there begins the ports in either family.
    if let Some((address, after)) = text.split_once('/') {
        return Ok(match after.split_once(':') {
            Some((prefix, ports)) => (&text[..address.len() + 1 + prefix.len()], Some(ports)),
            None => (text, None),
        });
    }
    match text.bytes().filter(|&b| b == b':').count() {
        0 => Ok((text, None)),
        1 => Ok(text
            .split_once(':')
            .map_or((text, None), |(host, ports)| (host, Some(ports)))),
        _ => Ok((text, None)),
    }
}

/// The command that probes what a URL names.
fn of_url(scheme: &str, rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Not the user's name and password.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let has_port = match host.rsplit_once(':') {
        Some((before, port)) => is_number(port) && (!before.contains(':') || before.ends_with(']')),
        None => false,
    };
    let port = match scheme.to_ascii_lowercase().as_str() {
        _ if has_port => String::new(),
        "http" | "ws" => ":80".to_owned(),
        "ftp" => ":21".to_owned(),
        "ssh" | "sftp" => ":22".to_owned(),
        "smb" | "cifs" => ":445".to_owned(),
        "rdp" => ":3389".to_owned(),
        _ => ":443".to_owned(),
    };
    let host = if host.is_empty() { "HOST" } else { host };
    let host: String = host.chars().take(80).collect();
    format!("rping tcp {host}{port}")
}

fn parse_host(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        return Err("no host stands before the port".to_owned());
    }
    if let Some((address, prefix)) = text.split_once('/') {
        return parse_block(address, prefix);
    }
    if let Some((first, last)) = text.split_once('-') {
        // The name of an interface may hold a hyphen: fe80::1%br-lan is one address.
        let is_zone = first.contains('%') && !last.contains([':', '.']);
        if !is_zone && (first.contains(':') || looks_numeric(first) && first.contains('.')) {
            return parse_range(first, last);
        }
    }
    if text.contains(':') {
        return match parse_address(text) {
            Ok((ip, zone)) => Ok(Host::Address { ip, zone }),
            Err(why) => Err(format!(
                "{why}; an IPv6 address with a port is written [2001:db8::1]:445"
            )),
        };
    }
    if text.contains('%') {
        return Err("a zone (%) goes with an IPv6 link-local address, as in fe80::1%eth0".to_owned());
    }
    if looks_numeric(text) {
        let (ip, zone) = parse_address(text)?;
        return Ok(Host::Address { ip, zone });
    }
    check_name(text)?;
    Ok(Host::Name(text.to_owned()))
}

/// Whether a host ends in a number, as addresses do and no name under a real domain does.
fn looks_numeric(text: &str) -> bool {
    let last = text
        .strip_suffix('.')
        .unwrap_or(text)
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    is_number(last) || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An address, for IPv6 perhaps with a zone.
pub(crate) fn parse_address(text: &str) -> Result<(IpAddr, Option<String>), String> {
    if !text.contains(':') {
        let ip: Ipv4Addr = text.parse().map_err(|_| {
            "not an IPv4 address: four numbers from 0 to 255 without leading zeros, as in 10.0.0.1".to_owned()
        })?;
        return Ok((ip.into(), None));
    }
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let ip: Ipv6Addr = address.parse().map_err(|_| "not an IPv6 address".to_owned())?;
    if let Some(v4) = ip.to_ipv4_mapped() {
        return Err(format!("an IPv4 address in IPv6 clothes: write {v4}"));
    }
    match zone {
        None => Ok((ip.into(), None)),
        Some("") => Err("the zone after % is empty: name an interface, as in fe80::1%eth0".to_owned()),
        Some(zone) if zone.contains([':', '/', '%']) || zone.len() > 15 => {
            Err("the zone after % is no interface's name".to_owned())
        }
        Some(_) if !needs_zone(ip) => Err(format!("{ip} is not link-local: it has no zone")),
        Some(zone) => Ok((ip.into(), Some(zone.to_owned()))),
    }
}

/// Whether an address means a different host on each link: link-local unicast, and multicast of interface-local and
/// link-local scope (RFC 4007 section 4).
pub(crate) fn needs_zone(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local() || ip.is_multicast() && matches!(ip.segments()[0] & 0xf, 1 | 2)
}

fn parse_block(address: &str, prefix: &str) -> Result<Host, String> {
    const FORM: &str = "a block is an address and a prefix length, as in 10.0.0.0/24 or 2001:db8::/120";
    if address.contains('%') {
        return Err("a block has no zone: name the interface with -I".to_owned());
    }
    let (ip, _) = parse_address(address).map_err(|why| format!("{why}; {FORM}"))?;
    let bits: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let length = if is_number(prefix) && prefix.len() <= 3 {
        prefix.parse().ok()
    } else {
        None
    };
    let Some(length) = length.filter(|&length: &u32| length <= bits) else {
        return Err(format!(
            "no prefix length of {} for this family: 0 to {bits}",
            shown(prefix)
        ));
    };
    let (first, last) = match ip {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            (
                Ipv4Addr::from(v4.to_bits() & !hosts).into(),
                Ipv4Addr::from(v4.to_bits() | hosts).into(),
            )
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            (
                Ipv6Addr::from(v6.to_bits() & !hosts).into(),
                Ipv6Addr::from(v6.to_bits() | hosts).into(),
            )
        }
    };
    if first != ip {
        return Err(format!(
            "host bits are set in the block: did you mean {first}/{length}, or {ip} alone?"
        ));
    }
    Ok(Host::Span { first, last })
}

fn parse_range(first: &str, last: &str) -> Result<Host, String> {
    const FORM: &str = "a range is two whole addresses, as in 10.0.0.1-10.0.0.50";
    if first.contains('%') || last.contains('%') {
        return Err("a range has no zone: name the interface with -I".to_owned());
    }
    let (first, _) = parse_address(first).map_err(|why| format!("{why}; {FORM}"))?;
    let (last, _) = parse_address(last).map_err(|why| format!("{why}; {FORM}"))?;
    if first.is_ipv4() != last.is_ipv4() {
        return Err(format!("the range's ends are of two families; {FORM}"));
    }
    if first > last {
        return Err(format!("the range runs backwards: did you mean {last}-{first}?"));
    }
    Ok(Host::Span { first, last })
}

/// Names as hosts have them (RFC 1123 section 2.1), and underscores, which Windows names and service labels hold.
fn check_name(name: &str) -> Result<(), String> {
    if !name.is_ascii() {
        return Err("names are ASCII: write an international name in its xn-- form".to_owned());
    }
    if let Some(odd) = name
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
    {
        let hint = if odd == ',' {
            "; a list goes behind the colon, as in host:22,80"
        } else {
            ""
        };
        return Err(format!("not a host name: it holds {odd:?}{hint}"));
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.len() > 253 {
        return Err("not a host name: longer than 253 characters".to_owned());
    }
    if name.starts_with('-') {
        return Err("not a host name: it begins with a hyphen".to_owned());
    }
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("not a host name: between dots stand 1 to 63 characters".to_owned());
        }
    }
    Ok(())
}

/// One port by number.
pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err("there is no port 0: ports are 1 to 65535".to_owned()),
        Ok(port) if is_number(text) => Ok(port),
        _ => Err(format!("there is no port {}: ports are 1 to 65535", shown(text))),
    }
}

/// `22,80,443,5000-5010,https`.
fn parse_ports(list: &str) -> Result<Vec<Ports>, String> {
    if list.is_empty() {
        return Err("no port stands behind the colon".to_owned());
    }
    let parse_one = |entry: &str| {
        if entry.is_empty() {
            return Err("an entry of the list of ports is empty".to_owned());
        }
        if is_number(entry) {
            return parse_port(entry).map(|port| Ports::Range(port, port));
        }
        // Service names hold hyphens too (ftp-data); a range begins with a digit and holds nothing but digits.
        if let Some((low, high)) = entry.split_once('-').filter(|(low, _)| is_number(low)) {
            let (low, high) = (parse_port(low)?, parse_port(high)?);
            if low > high {
                return Err(format!(
                    "the ports {entry} run backwards: did you mean {high}-{low}?"
                ));
            }
            return Ok(Ports::Range(low, high));
        }
        let letters = entry.bytes().any(|b| b.is_ascii_alphabetic());
        if letters
            && entry.len() <= 64
            && entry
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b))
        {
            return Ok(Ports::Service(entry.to_owned()));
        }
        Err(format!(
            "{} is neither a port (1 to 65535) nor a service's name",
            shown(entry)
        ))
    };
    list.split(',').map(parse_one).collect()
}

#[cfg(test)]
mod tests;
