//! What must be known of this host to judge a target: its interfaces, addresses and whose process this is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use crate::args::shown;

/// One of this host's interfaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalInterface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its addresses, each with the length of its subnet's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// This host, as far as targets are concerned. A plain value, so that a program or a test can describe another.
#[derive(Clone, Debug)]
pub struct LocalNet {
    /// All interfaces. Empty where the system would not say: then nothing is held against them.
    pub interfaces: Vec<LocalInterface>,
    /// The user is root.
    pub root: bool,
    /// The process may do more than its user, by file capabilities.
    pub elevated: bool,
    /// The file that names services; `/etc/services`.
    pub services: PathBuf,
    /// Whether a socket can be bound to an address.
    pub can_bind: fn(SocketAddr) -> bool,
}

impl Default for LocalNet {
    /// A host about which nothing is known, used by an ordinary user.
    fn default() -> LocalNet {
        LocalNet {
            interfaces: Vec::new(),
            root: false,
            elevated: false,
            services: PathBuf::from("/etc/services"),
            can_bind: |address| UdpSocket::bind(address).is_ok(),
        }
    }
}

impl LocalNet {
    /// This host in this network namespace.
    pub fn system() -> LocalNet {
        // A sandbox may forbid the question; then zones are judged when sockets are bound.
        let found = rping_net::iface::interfaces().unwrap_or_default();
        let interface = |interface: rping_net::iface::Interface| LocalInterface {
            index: interface.index,
            name: interface.name,
            addresses: interface
                .addresses
                .iter()
                .map(|own| (own.address, own.prefix))
                .collect(),
        };
        let root = rping_net::caps::real_user() == 0;
        LocalNet {
            interfaces: found.into_iter().map(interface).collect(),
            root,
            elevated: !root && rping_net::caps::holds_any().unwrap_or(false),
            ..LocalNet::default()
        }
    }

    /// The index of the interface that a zone names, by name or by number.
    ///
    /// # Errors
    /// No interface bears the name or number.
    pub(crate) fn zone(&self, zone: &str) -> Result<u32, String> {
        if let (true, Ok(index)) = (self.interfaces.is_empty(), zone.parse()) {
            return Ok(index);
        }
        self.interface(zone).map(|interface| interface.index)
    }

    /// The interface of this name or number.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn interface(&self, name: &str) -> Result<&LocalInterface, String> {
        let number = name.parse().ok();
        let by_name = self.interfaces.iter().find(|interface| interface.name == name);
        by_name
            .or_else(|| {
                self.interfaces
                    .iter()
                    .find(|interface| Some(interface.index) == number)
            })
            .ok_or_else(|| {
                let names: Vec<&str> = self.interfaces.iter().take(8).map(|i| i.name.as_str()).collect();
                let known = if names.is_empty() {
                    String::new()
                } else {
                    format!(": there are {}", names.join(", "))
                };
                format!("no interface is called {}{known}", shown(name))
            })
    }

    /// Whether packets to it stay on this host.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback()
            || self
                .interfaces
                .iter()
                .flat_map(|i| &i.addresses)
                .any(|&(own, _)| own == ip)
    }

    /// The IPv4 subnets of this host that have a network and a broadcast address: their first and last address, and
    /// the interface.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr, &LocalInterface)> {
        self.interfaces.iter().flat_map(|interface| {
            interface
                .addresses
                .iter()
                .filter_map(move |&(own, prefix)| match own {
                    // A /31 has two hosts and neither special address (RFC 3021); a /32 is one host.
                    IpAddr::V4(own) if prefix <= 30 => {
                        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                        let (network, broadcast) = (own.to_bits() & !hosts, own.to_bits() | hosts);
                        Some((Ipv4Addr::from(network), Ipv4Addr::from(broadcast), interface))
                    }
                    _ => None,
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(addresses: &[(&str, u8)]) -> LocalNet {
        let addresses = addresses
            .iter()
            .map(|&(ip, prefix)| (ip.parse().unwrap(), prefix))
            .collect();
        let interface = LocalInterface {
            index: 7,
            name: "eth7".to_owned(),
            addresses,
        };
        LocalNet {
            interfaces: vec![interface],
            ..LocalNet::default()
        }
    }

    #[test]
    fn a_subnets_ends_are_known_where_it_has_them() {
        let net = net(&[
            ("10.0.0.7", 24),
            ("10.1.0.1", 31),
            ("10.2.0.1", 32),
            ("2001:db8::1", 64),
        ]);
        let ends: Vec<_> = net
            .subnets()
            .map(|(first, last, _)| (first.to_string(), last.to_string()))
            .collect();
        assert_eq!(ends, [("10.0.0.0".to_owned(), "10.0.0.255".to_owned())]);
    }

    #[test]
    fn a_zone_is_a_name_or_a_number() {
        let net = net(&[]);
        assert_eq!(net.zone("eth7"), Ok(7));
        assert_eq!(net.zone("7"), Ok(7));
        assert!(net.zone("eth8").unwrap_err().contains("eth7"));
        assert!(net.zone("8").is_err());
    }

    #[test]
    fn this_host_has_a_loopback_interface() {
        let here = LocalNet::system();
        assert!(here.interfaces.iter().any(|interface| interface.name == "lo"));
        assert!(here.is_own("127.0.0.1".parse().unwrap()));
    }
}
