//! From which of this host's addresses packets to each target leave: whoever writes checksums over addresses must know.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rping_engine::TargetId;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::options::Options;

/// Up to so many targets each is asked for; of more, one of each block of 256 addresses.
const EACH: usize = 4096;

/// The source address of each target.
#[derive(Debug, Default)]
pub struct Sources {
    distinct: Vec<IpAddr>,
    /// The place of each target's among them, the first where the list ends.
    of: Vec<u16>,
}

impl Sources {
    /// Asks the kernel which address packets to each of `targets` would leave from, or takes the one that `options` name.
    pub fn find(targets: &[SocketAddr], options: &Options) -> Sources {
        if let Some(source) = options.source.filter(|source| !source.ip().is_unspecified()) {
            return Sources {
                distinct: vec![source.ip()],
                of: Vec::new(),
            };
        }
        let mut known: HashMap<IpAddr, u16> = HashMap::new();
        let mut sources = Sources::default();
        let mut asking = [Asking::new(false, options), Asking::new(true, options)];
        for target in targets {
            let block = if targets.len() > EACH {
                block(target.ip())
            } else {
                target.ip()
            };
            let place = *known.entry(block).or_insert_with(|| {
                let found = asking[usize::from(target.is_ipv6())].source(*target);
                sources.place(found)
            });
            sources.of.push(place);
        }
        if sources.distinct.len() == 1 {
            sources.of = Vec::new();
        }
        sources
    }

    fn place(&mut self, source: IpAddr) -> u16 {
        let known = self.distinct.iter().position(|known| *known == source);
        let place = known.unwrap_or_else(|| {
            // A host with more addresses than that is not worth an error: the first stands for the rest.
            if self.distinct.len() < usize::from(u16::MAX) {
                self.distinct.push(source);
                self.distinct.len() - 1
            } else {
                0
            }
        });
        place as u16
    }

    /// The address that packets to this target leave from.
    pub fn of(&self, target: TargetId) -> Option<IpAddr> {
        let place = self.of.get(target.index()).copied().unwrap_or(0);
        self.distinct.get(usize::from(place)).copied()
    }

    /// All of them, each once.
    pub fn distinct(&self) -> &[IpAddr] {
        &self.distinct
    }
}

/// The block of addresses that is asked for as one.
fn block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[15] = 0;
            IpAddr::from(octets)
        }
    }
}

/// A socket that is connected to one target after another, and sends nothing.
struct Asking(Option<Socket>);

impl Asking {
    fn new(v6: bool, options: &Options) -> Asking {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.cloexec(), None).ok();
        Asking(socket.filter(|socket| options.apply(socket, v6).is_ok()))
    }

    /// The unspecified address where there is no route: then nothing will leave.
    fn source(&mut self, to: SocketAddr) -> IpAddr {
        let nobody: IpAddr = if to.is_ipv6() {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        let Some(socket) = &self.0 else { return nobody };
        // Without a port the kernel takes no route.
        let to = SocketAddr::new(to.ip(), to.port().max(9));
        crate::sys::disconnect(std::os::fd::AsFd::as_fd(socket));
        let connected = socket.connect(&SockAddr::from(to)).is_ok();
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        local.filter(|_| connected).map_or(nobody, |local| local.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_targets_are_probed_from_loopback_and_a_given_source_is_taken() {
        let targets: Vec<SocketAddr> = ["127.0.0.1:5", "[::1]:5", "127.9.9.9:5"]
            .iter()
            .map(|target| target.parse().unwrap())
            .collect();
        let sources = Sources::find(&targets, &Options::default());
        let of = |n| sources.of(TargetId(n)).map(|ip| ip.to_string());
        assert_eq!(of(0).as_deref(), Some("127.0.0.1"));
        assert_eq!(of(1).as_deref(), Some("::1"));
        assert_eq!(sources.distinct().len(), if of(2) == of(0) { 2 } else { 3 });
        let options = Options {
            source: "127.0.0.7:0".parse().ok(),
            ..Options::default()
        };
        let given = Sources::find(&targets, &options);
        assert_eq!(
            given.of(TargetId(2)).map(|ip| ip.to_string()).as_deref(),
            Some("127.0.0.7")
        );
    }
}
