//! On which link a target is, and from which of our addresses it is asked; or why it cannot be asked at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use rping_net::iface::{self, Interface};
use rping_net::netlink::{self, RouteKind};

use crate::{Error, Options};

/// Up to so many targets each gets a route lookup; of more, those within a subnet of ours are taken to be on-link.
const LOOKUPS: usize = 1024;

/// Who is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The index of the interface for a link-local IPv6 address, 0 for none.
    pub scope_id: u32,
}

impl From<IpAddr> for Target {
    fn from(address: IpAddr) -> Target {
        Target { address, scope_id: 0 }
    }
}

/// Where a target is asked, and as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's name.
    pub interface: String,
    /// The interface's link-layer address.
    pub mac: [u8; 6],
    /// Our address in the frames. `0.0.0.0` where the interface has no IPv4 address (an ARP probe, RFC 5227
    /// section 2.1.1).
    pub source: IpAddr,
}

/// The places of all `targets`, or the first reason against one.
///
/// # Errors
/// [`Error`] names the reasons one by one; sending a frame is not among what can fail here.
pub fn locate(targets: &[Target], options: &Options) -> Result<Vec<Place>, Error> {
    locate_each(targets, options)?.into_iter().collect()
}

/// For each of `targets` its place, or the reason why it has none.
///
/// # Errors
/// What is wrong with `options`, or with asking the kernel at all.
pub fn locate_each(targets: &[Target], options: &Options) -> Result<Vec<Result<Place, Error>>, Error> {
    let interfaces = iface::interfaces().map_err(rping_net::Error::os("list the network interfaces"))?;
    if let Some(source) = options.source {
        let is_ours = interfaces
            .iter()
            .any(|i| i.addresses.iter().any(|own| own.address == source));
        if !is_ours {
            return Err(Error::ForeignSource {
                source_address: source,
            });
        }
    }
    let surroundings = Surroundings {
        interfaces,
        options,
        by_subnet: targets.len() > LOOKUPS,
    };
    let mut off_link = HashMap::new();
    let placed = targets
        .iter()
        .map(|target| surroundings.place_with(*target, &mut off_link));
    Ok(placed.collect())
}

/// The blocks of 256 addresses of which one was found behind a router, and which router that is.
type OffLink = HashMap<[u8; 3], IpAddr>;

struct Surroundings<'a> {
    interfaces: Vec<Interface>,
    options: &'a Options,
    by_subnet: bool,
}

impl Surroundings<'_> {
    /// [`Surroundings::place`]; of many targets that are in no subnet of ours, one of each block is looked up.
    fn place_with(&self, target: Target, off_link: &mut OffLink) -> Result<Place, Error> {
        let block = match target.address {
            IpAddr::V4(four) if self.by_subnet && self.options.interface.is_none() => {
                let [a, b, c, _] = four.octets();
                let is_near = self.interfaces.iter().flat_map(|interface| &interface.addresses);
                let mut is_near = is_near.filter(|own| own.address.is_ipv4());
                // A block may hold a subnet of ours.
                is_near
                    .all(|own| !iface::same_subnet(own.address, target.address, own.prefix.min(24)))
                    .then_some([a, b, c])
            }
            _ => None,
        };
        if let Some(gateway) = block.and_then(|block| off_link.get(&block)) {
            return Err(Error::OffLink {
                target: target.address,
                gateway: *gateway,
            });
        }
        let place = self.place(target);
        if let (Some(block), Err(Error::OffLink { gateway, .. })) = (block, &place) {
            off_link.insert(block, *gateway);
        }
        place
    }

    fn place(&self, target: Target) -> Result<Place, Error> {
        let address = target.address;
        let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || is_broadcast {
            return Err(Error::Group { target: address });
        }
        if address.is_loopback() {
            return Err(Error::Loopback { target: address });
        }
        let asked = self.asked_interface(target)?;
        if let Some(owner) = self.owner(address, asked) {
            return Err(Error::Own {
                target: address,
                interface: owner.name.clone(),
            });
        }
        if self.by_subnet && asked.is_none() {
            if let Some(place) = self.by_subnet(address) {
                return Ok(place);
            }
        }
        self.by_route(address, asked)
    }

    /// The interface that the options or the target's scope name.
    fn asked_interface(&self, target: Target) -> Result<Option<&Interface>, Error> {
        if let Some(name) = &self.options.interface {
            let found = self.interfaces.iter().find(|interface| interface.name == *name);
            let none = || Error::Net(rping_net::Error::NoSuchInterface { name: name.clone() });
            return found.ok_or_else(none).map(Some);
        }
        match target.address {
            IpAddr::V6(six) if six.is_unicast_link_local() && target.scope_id == 0 => Err(Error::NoScope {
                target: target.address,
            }),
            _ if target.scope_id != 0 => Ok(self.by_index(target.scope_id)),
            _ => Ok(None),
        }
    }

    /// Whose address it is among our interfaces. A link-local one is ours only on its own link.
    fn owner(&self, address: IpAddr, on: Option<&Interface>) -> Option<&Interface> {
        let is_local = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
        self.interfaces.iter().find(|interface| {
            interface.addresses.iter().any(|own| own.address == address)
                && (!is_local || on.is_none_or(|on| on.index == interface.index))
        })
    }

    fn by_index(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    fn by_subnet(&self, address: IpAddr) -> Option<Place> {
        let (interface, own) = self
            .interfaces
            .iter()
            .filter(|interface| interface.up && interface.is_ethernet())
            .flat_map(|interface| interface.addresses.iter().map(move |own| (interface, own)))
            .filter(|(_, own)| iface::same_subnet(own.address, address, own.prefix) && !own.tentative)
            .filter(|(_, own)| own.broadcast.map(IpAddr::V4) != Some(address))
            .max_by_key(|(_, own)| own.prefix)?;
        Some(Place {
            ifindex: interface.index,
            interface: interface.name.clone(),
            mac: interface.mac?,
            source: self
                .options
                .source
                .filter(|s| s.is_ipv4() == address.is_ipv4())
                .unwrap_or(own.address),
        })
    }

    fn by_route(&self, target: IpAddr, asked: Option<&Interface>) -> Result<Place, Error> {
        if let Some(down) = asked.filter(|interface| !interface.up) {
            return Err(Error::Down {
                interface: down.name.clone(),
            });
        }
        let source = self
            .options
            .source
            .filter(|source| source.is_ipv4() == target.is_ipv4());
        let route = netlink::route(target, source, asked.map(|interface| interface.index), None)
            .map_err(|error| self.no_route(target, error.source))?;
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Broadcast | RouteKind::Multicast => return Err(Error::Group { target }),
            _ => return Err(self.no_route(target, std::io::ErrorKind::NetworkUnreachable.into())),
        }
        if let Some(gateway) = route.gateway {
            return Err(Error::OffLink { target, gateway });
        }
        let Some(interface) = self.by_index(route.ifindex) else {
            return Err(self.no_route(target, std::io::ErrorKind::NotFound.into()));
        };
        if interface.loopback {
            return Err(Error::Loopback { target });
        }
        let (true, Some(mac)) = (interface.is_ethernet(), interface.mac) else {
            return Err(Error::NotEthernet {
                target,
                interface: interface.name.clone(),
            });
        };
        let Some(source) = source.or_else(|| our_address(target, route.prefsrc, interface)) else {
            return Err(Error::NoSource {
                interface: interface.name.clone(),
            });
        };
        Ok(Place {
            ifindex: interface.index,
            interface: interface.name.clone(),
            mac,
            source,
        })
    }

    /// No route; but if an interface is down that would have one, that is the better thing to say.
    fn no_route(&self, target: IpAddr, source: std::io::Error) -> Error {
        let down = self
            .interfaces
            .iter()
            .filter(|interface| !interface.up)
            .find(|interface| {
                interface
                    .addresses
                    .iter()
                    .any(|own| iface::same_subnet(own.address, target, own.prefix))
            });
        match down {
            Some(interface) => Error::Down {
                interface: interface.name.clone(),
            },
            None => Error::NoRoute { target, source },
        }
    }
}

/// RFC 4861 section 7.2.2: any address of the interface will do; a tentative one may not be used.
fn our_address(target: IpAddr, preferred: Option<IpAddr>, interface: &Interface) -> Option<IpAddr> {
    let usable = |address: IpAddr| {
        let known = interface.addresses.iter().find(|own| own.address == address);
        known.is_none_or(|own| !own.tentative && !own.duplicated)
    };
    let own = || {
        interface
            .addresses
            .iter()
            .filter(|own| own.address.is_ipv4() == target.is_ipv4() && !own.tentative && !own.duplicated)
            .map(|own| own.address)
    };
    preferred
        .filter(|address| address.is_ipv4() == target.is_ipv4() && usable(*address))
        .or_else(|| own().next())
        .or(target.is_ipv4().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}
