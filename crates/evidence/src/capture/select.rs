//! Which of the packets that the kernel's filter lets through belong to a run: exact, where the filter is wide.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::packet::{self, Ip, Network, Transport};
use super::{Carries, LinkType};

/// The packets between this host and the targets of a run, and the ICMP errors about them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    carries: Carries,
    addresses: HashSet<IpAddr>,
    /// Empty: any port.
    ends: HashSet<(IpAddr, u16)>,
}

impl Selection {
    /// Of a run to these targets; port 0 is any.
    pub fn new(carries: Carries, targets: impl IntoIterator<Item = SocketAddr>) -> Selection {
        let mut selection = Selection {
            carries,
            addresses: HashSet::new(),
            ends: HashSet::new(),
        };
        for target in targets {
            selection.addresses.insert(target.ip());
            if target.port() != 0 {
                selection.ends.insert((target.ip(), target.port()));
            }
        }
        selection
    }

    /// The filter for the kernel: never narrower than this selection.
    pub(super) fn filter(&self) -> rping_net::bpf::Filter {
        let addresses: Vec<IpAddr> = self.addresses.iter().copied().collect();
        let ports: HashSet<u16> = self.ends.iter().map(|&(_, port)| port).collect();
        rping_net::bpf::Filter::capture(self.carries, &addresses, &ports.into_iter().collect::<Vec<_>>())
    }

    /// Whether a frame belongs to the run.
    pub fn holds(&self, link: LinkType, frame: &[u8]) -> bool {
        match packet::parse(link, frame) {
            Some(Network::Arp { sender, target, .. }) => {
                self.addresses.contains(&sender) || self.addresses.contains(&target)
            }
            Some(Network::Ip(ip)) => self.holds_ip(&ip, true),
            None => false,
        }
    }

    fn holds_ip(&self, ip: &Ip<'_>, may_quote: bool) -> bool {
        let between = self.addresses.contains(&ip.source) || self.addresses.contains(&ip.destination);
        let carries = |protocols: &[Carries]| protocols.contains(&self.carries);
        match ip.transport {
            Transport::Icmp {
                quoted: Some(quoted), ..
            } if may_quote => packet::ip(quoted).is_some_and(|inner| self.holds_ip(&inner, false)),
            Transport::Icmp { kind, .. } => {
                let neighbour = ip.protocol == 58 && (133..=137).contains(&kind);
                match neighbour && carries(&[Carries::Neighbour, Carries::Anything]) {
                    // A solicitation goes to a multicast group; whom it asks for stands in its first 16 bytes.
                    true => between || self.asks_for(ip.body),
                    false => between && carries(&[Carries::Icmp, Carries::Anything]),
                }
            }
            Transport::Tcp(tcp) => {
                carries(&[Carries::Tcp, Carries::Both, Carries::Anything])
                    && self.holds_ends(ip, tcp.source, tcp.destination)
            }
            Transport::Udp { source, destination } => {
                carries(&[Carries::Udp, Carries::Both, Carries::Anything])
                    && self.holds_ends(ip, source, destination)
            }
            // A later fragment, or a quotation too short to hold ports.
            Transport::Other => between,
        }
    }

    fn holds_ends(&self, ip: &Ip<'_>, source: u16, destination: u16) -> bool {
        if self.ends.is_empty() {
            return self.addresses.contains(&ip.source) || self.addresses.contains(&ip.destination);
        }
        self.ends.contains(&(ip.source, source)) || self.ends.contains(&(ip.destination, destination))
    }

    fn asks_for(&self, icmp: &[u8]) -> bool {
        icmp.get(8..24)
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .is_some_and(|bytes| self.addresses.contains(&IpAddr::from(bytes)))
    }
}
