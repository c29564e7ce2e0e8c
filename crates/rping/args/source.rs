//! Where probes leave from: an address of this host, and the family it fixes.

use std::fmt;
use std::net::IpAddr;

use crate::targets::{parse_address, parse_port};

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// 4 or 6.
    pub(crate) const fn digit(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// Whether an address is of this family.
    pub fn holds(self, ip: IpAddr) -> bool {
        Family::of(ip) == self
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Where probes leave from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The address; unspecified for a port alone.
    pub ip: IpAddr,
    /// The interface of a link-local address, by name or index.
    pub zone: Option<String>,
    /// The port; `None` is the system's choice.
    pub port: Option<u16>,
}

impl Source {
    /// Reads `ADDR[:PORT]`: `10.0.0.1`, `10.0.0.1:4000`, `fe80::1%eth0`, `[2001:db8::1]:4000`.
    ///
    /// # Errors
    /// What to write instead, in words.
    pub fn parse(text: &str) -> Result<Source, String> {
        const FORM: &str = "give an address of this host as in 10.0.0.1, 10.0.0.1:4000 or [2001:db8::1]:4000";
        let (address, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, after)) => (address, Some(after.strip_prefix(':').ok_or(FORM)?)),
            None => match text.split_once(':') {
                Some((address, port)) if !port.contains(':') => (address, Some(port)),
                _ => (text, None),
            },
        };
        let (ip, zone) = parse_address(address).map_err(|why| format!("{why}; {FORM}"))?;
        let port = port.map(parse_port).transpose()?;
        if ip.is_unspecified() && port.is_none() {
            return Err(format!("{ip} stands for every address; {FORM}"));
        }
        Ok(Source { ip, zone, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_and_perhaps_a_port() {
        let of = |text| Source::parse(text).map(|source| (source.ip.to_string(), source.zone, source.port));
        let is = |ip: &str, zone: Option<&str>, port| Ok((ip.to_owned(), zone.map(str::to_owned), port));
        assert_eq!(of("10.0.0.1"), is("10.0.0.1", None, None));
        assert_eq!(of("10.0.0.1:4000"), is("10.0.0.1", None, Some(4000)));
        assert_eq!(of("2001:db8::1"), is("2001:db8::1", None, None));
        assert_eq!(of("[2001:db8::1]:4000"), is("2001:db8::1", None, Some(4000)));
        assert_eq!(of("fe80::1%eth0"), is("fe80::1", Some("eth0"), None));
        assert_eq!(of("[fe80::1%eth0]:4000"), is("fe80::1", Some("eth0"), Some(4000)));
        assert_eq!(of("0.0.0.0:4000"), is("0.0.0.0", None, Some(4000)));
        for text in [
            "",
            "host",
            "::",
            "0.0.0.0",
            "10.0.0.1:",
            "10.0.0.1:0",
            "[::1]4",
            "[::1",
            ":4000",
            "10.0.0.0/24",
            "-4",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
