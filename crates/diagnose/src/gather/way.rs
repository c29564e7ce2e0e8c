//! The first step of the way: the route, the router, the neighbour.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use rping_arp::{who_has, Claim, Place};
use rping_net::iface::{same_subnet, Interface};
use rping_net::netlink::{self, NeighbourState, Route, RouteEntry, RouteKind};
use rping_net::Clock;

use super::detour;
use super::own::OwnFacts;
use super::volley::{fire, Hit, Kind, Shot};
use super::Rights;

/// Questions to a neighbour, and the time between two.
const QUESTIONS: u32 = 3;
const SPACING: Duration = Duration::from_millis(350);
/// How long the gateway may take to answer ping.
const PING: Duration = Duration::from_millis(500);

/// What the kernel's tables say of the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct WayFacts {
    /// The route that is used; `Err` holds the kernel's error number.
    pub(crate) route: Option<Result<Route, i32>>,
    pub(crate) egress: Option<Interface>,
    /// All routes of the family.
    pub(crate) routes: Vec<RouteEntry>,
    /// The source address that packets get.
    pub(crate) source: Option<IpAddr>,
    /// Whose neighbour entry decides: the router's, or the target's own.
    pub(crate) next_hop: Option<IpAddr>,
    /// The target is this host.
    pub(crate) is_own: bool,
    pub(crate) asked: AskedNeighbours,
    /// The kernel's entry for the next hop, before and after.
    pub(crate) entry: [Option<NeighbourState>; 2],
    pub(crate) entry_mac: Option<[u8; 6]>,
}

/// Who answers for which address.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedNeighbours {
    /// For the next hop; `None` where it was not asked, with the reason beside.
    pub(crate) next_hop: Option<Vec<Claim>>,
    pub(crate) why_not: Option<String>,
    /// For our own source address.
    pub(crate) own: Option<Vec<Claim>>,
    /// A default router, asked because the target itself did not answer on the link.
    pub(crate) around: Option<Around>,
    /// Whether the gateway answers ping; `None` where there is none, or no right to ask.
    pub(crate) ping: Option<bool>,
}

/// Whether a target that is silent on the link answers through a router.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) router: IpAddr,
    /// The router's link-layer address, where it answers.
    pub(crate) mac: Option<[u8; 6]>,
    /// A packet for the target that was handed to the router was answered by the target.
    pub(crate) answered: bool,
}

/// Whether this host knows a way to `to`.
pub(crate) fn has_route(to: SocketAddr) -> bool {
    match netlink::route(to.ip(), None, scope(to), None) {
        Ok(route) => !is_refusing(route.kind),
        Err(_) => false,
    }
}

/// For IPv6 the kernel tells of a refusing route as of any other.
pub(crate) const fn is_refusing(kind: RouteKind) -> bool {
    matches!(
        kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    )
}

fn scope(to: SocketAddr) -> Option<u32> {
    match to {
        SocketAddr::V6(six) if six.scope_id() != 0 => Some(six.scope_id()),
        _ => None,
    }
}

pub(crate) fn gather(to: SocketAddr, own: &OwnFacts) -> WayFacts {
    let route = netlink::route(to.ip(), None, scope(to), None).map_err(|error| error.errno());
    let mut facts = WayFacts {
        routes: netlink::routes(to.is_ipv6()).unwrap_or_default(),
        is_own: super::is_among(to.ip(), own),
        ..WayFacts::default()
    };
    if let Ok(route) = &route {
        facts.egress = own.interface(route.ifindex).cloned();
        facts.source = route.prefsrc;
        if route.kind == RouteKind::Unicast && !facts.is_own {
            facts.next_hop = Some(route.next_hop(to.ip()));
        }
    }
    facts.route = Some(route);
    facts.entry[0] = facts.look();
    facts
}

impl WayFacts {
    /// The route, where there is one that leads anywhere.
    pub(crate) fn usable(&self) -> Option<&Route> {
        let route = self.route.as_ref()?.as_ref().ok()?;
        (!is_refusing(route.kind)).then_some(route)
    }

    /// A router takes the packets.
    pub(crate) fn is_routed(&self) -> bool {
        self.gateway().is_some()
    }

    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        self.usable()?.gateway
    }

    /// The interface that a packet socket can listen on.
    pub(crate) fn tap(&self) -> Option<u32> {
        let egress = self.egress.as_ref()?;
        (!self.is_own && egress.is_ethernet() && egress.up).then_some(egress.index)
    }

    /// Neighbours are resolved on the way out.
    pub(crate) fn resolves(&self) -> bool {
        self.next_hop.is_some() && self.egress.as_ref().is_some_and(Interface::is_ethernet)
    }

    fn look(&mut self) -> Option<NeighbourState> {
        let (next_hop, egress) = (self.next_hop?, self.egress.as_ref()?);
        let entry = netlink::neighbour(next_hop, egress.index).ok().flatten()?;
        self.entry_mac = entry.mac;
        Some(entry.state)
    }

    pub(crate) fn look_again(&mut self) {
        self.entry[1] = self.look();
    }

    /// Whether the gateway is within a subnet of the interface that it is reached by; `None` where there is no gateway.
    pub(crate) fn gateway_fits(&self) -> Option<bool> {
        let (gateway, egress) = (self.gateway()?, self.egress.as_ref()?);
        Some(gateway_fits(gateway, egress))
    }
}

/// A gateway has to be in one of the interface's own subnets; a link-local one (IPv6) is on every link.
pub(crate) fn gateway_fits(gateway: IpAddr, interface: &Interface) -> bool {
    if matches!(gateway, IpAddr::V6(six) if six.is_unicast_link_local()) {
        return true;
    }
    interface
        .addresses
        .iter()
        .any(|own| same_subnet(own.address, gateway, own.prefix))
}

/// Asks the next hop, and whether anybody else has our own address.
pub(crate) fn ask_neighbours(
    way: &WayFacts,
    target: IpAddr,
    ours: &[Interface],
    rights: Rights,
) -> AskedNeighbours {
    let mut asked = AskedNeighbours::default();
    let (Some(next_hop), Some(egress), Some(source)) = (way.next_hop, &way.egress, way.source) else {
        asked.why_not = Some("there is no neighbour to ask".to_owned());
        return asked;
    };
    let (true, Some(mac)) = (egress.is_ethernet() && egress.up, egress.mac) else {
        asked.why_not = Some(format!("{} resolves no neighbours", egress.name));
        return asked;
    };
    if !rights.raw {
        asked.why_not = Some(
            "no right to send ARP or neighbour solicitations of its own (CAP_NET_RAW): the kernel's table was read"
                .to_owned(),
        );
        return asked;
    }
    let place = Place {
        ifindex: egress.index,
        interface: egress.name.clone(),
        mac,
        source: if source.is_ipv4() == next_hop.is_ipv4() {
            source
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        },
    };
    std::thread::scope(|scope| {
        let ping = way
            .gateway()
            .map(|gateway| scope.spawn(move || ping(gateway, egress.index)));
        let own = scope.spawn(|| {
            let nobody = Place {
                source: Ipv4Addr::UNSPECIFIED.into(),
                ..place.clone()
            };
            // IPv6 looks for duplicates itself, and marks the address.
            let is_four = source.is_ipv4() && source == place.source;
            is_four
                .then(|| who_has(&nobody, source, 2, SPACING).ok())
                .flatten()
        });
        match who_has(&place, next_hop, QUESTIONS, SPACING) {
            Ok(claims) => asked.next_hop = Some(claims),
            Err(error) => asked.why_not = Some(error.to_string()),
        }
        asked.own = own.join().ok().flatten();
        // Another interface of this host on the same link answers, too (ARP flux), and is nobody else.
        if let Some(claims) = &mut asked.own {
            claims.retain(|claim| ours.iter().all(|interface| interface.mac != Some(claim.mac)));
        }
        asked.ping = ping.and_then(|thread| thread.join().ok().flatten());
    });
    let is_silent = asked.next_hop.as_ref().is_some_and(Vec::is_empty);
    if is_silent && next_hop == target {
        asked.around = around(way, &place, target);
    }
    asked
}

/// The target does not answer on the link. Does it, when its packets are handed to a router on the link? Then the mask is
/// too wide.
fn around(way: &WayFacts, place: &Place, target: IpAddr) -> Option<Around> {
    let router = way.routes.iter().find_map(|entry| {
        let is_on_this_link = entry.ifindex == place.ifindex;
        entry.gateway.filter(|_| is_on_this_link)
    })?;
    let alive = who_has(place, router, 2, SPACING).ok()?;
    let mac = alive.first().map(|claim| claim.mac);
    let answered = mac.is_some_and(|mac| detour::answers(place, mac, target));
    Some(Around {
        router,
        mac,
        answered,
    })
}

/// Whether a neighbour answers ping; `None` where there is no right to ask.
fn ping(to: IpAddr, scope: u32) -> Option<bool> {
    let to = match to {
        IpAddr::V6(six) => SocketAddrV6::new(six, 0, 0, scope).into(),
        four => SocketAddr::new(four, 0),
    };
    match fire(&[Shot::new(Kind::Echo, to)], Clock.now().plus(PING)).pop()? {
        Hit::Answered { .. } => Some(true),
        Hit::Denied(_) => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rping_net::iface::Address;

    fn interface(address: &str, prefix: u8) -> Interface {
        Interface {
            index: 2,
            name: "eth0".to_owned(),
            up: true,
            running: true,
            lower_up: true,
            loopback: false,
            resolves: true,
            mtu: 1500,
            mac: Some([2, 0, 0, 0, 0, 1]),
            hardware: 1,
            addresses: vec![Address {
                address: address.parse().unwrap(),
                prefix,
                ifindex: 2,
                broadcast: None,
                tentative: false,
                duplicated: false,
            }],
        }
    }

    fn fits(gateway: &str, address: &str, prefix: u8) -> bool {
        gateway_fits(gateway.parse().unwrap(), &interface(address, prefix))
    }

    #[test]
    fn with_192_168_0_33_and_mask_255_255_0_0_a_gateway_is_192_168_y_z() {
        assert!(fits("192.168.0.1", "192.168.0.33", 16));
        assert!(fits("192.168.200.7", "192.168.0.33", 16));
        assert!(!fits("192.169.0.1", "192.168.0.33", 16));
        assert!(!fits("10.0.0.1", "192.168.0.33", 16));
        assert!(!fits("192.168.1.1", "192.168.0.33", 24), "the mask decides");
    }

    #[test]
    fn a_link_local_gateway_is_on_every_link() {
        assert!(fits("fe80::1", "2001:db8::2", 64));
        assert!(!fits("2001:db8:1::1", "2001:db8::2", 64));
    }
}
