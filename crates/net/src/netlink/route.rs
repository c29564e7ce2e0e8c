//! The route that this host would use for a destination, as `ip route get` tells it.

use std::io;
use std::net::IpAddr;

use super::message::{address, u32_at, Attributes};
use super::{address_bytes, family, Netlink};

/// `struct rtmsg`: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_MARK: u16 = 16;
const RTA_VIA: u16 = 18;

/// What a route does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RouteKind {
    /// Sends it on, to a gateway or to a neighbour.
    Unicast,
    /// Delivers it on this host.
    Local,
    /// Sends it to everybody on the link.
    Broadcast,
    /// Sends it to a multicast group.
    Multicast,
    /// Discards it in silence (`EINVAL` to a local sender).
    Blackhole,
    /// Refuses it as unreachable (`EHOSTUNREACH`).
    Unreachable,
    /// Refuses it by policy (`EACCES`).
    Prohibit,
    /// Has the next routing table asked.
    Throw,
    /// Some other kind, by its `RTN_…` number.
    Other(u8),
}

impl RouteKind {
    fn from_number(number: u8) -> RouteKind {
        match number {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            3 | 4 => RouteKind::Broadcast,
            5 => RouteKind::Multicast,
            6 => RouteKind::Blackhole,
            7 => RouteKind::Unreachable,
            8 => RouteKind::Prohibit,
            9 => RouteKind::Throw,
            other => RouteKind::Other(other),
        }
    }
}

/// The route to one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The interface that packets leave by; 0 where they leave by none.
    pub ifindex: u32,
    /// The router that takes them, if they do not go straight to the destination.
    pub gateway: Option<IpAddr>,
    /// The source address that an unbound socket gets.
    pub prefsrc: Option<IpAddr>,
    /// What becomes of the packets.
    pub kind: RouteKind,
}

impl Route {
    /// Whether the destination is a neighbour: on the link, without a router between, and not this host.
    pub fn is_on_link(&self) -> bool {
        self.gateway.is_none() && self.kind == RouteKind::Unicast
    }

    /// Whose neighbour entry decides whether a packet to `destination` can leave.
    pub fn next_hop(&self, destination: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(destination)
    }
}

/// There is no route, or one that refuses.
#[derive(Debug, thiserror::Error)]
#[error("route lookup: {source}")]
pub struct RouteError {
    /// What the kernel said: `ENETUNREACH` no route (or a throw route, or the interface is down), `EHOSTUNREACH`
    /// an unreachable route, `EACCES` a prohibit route, `EINVAL` a blackhole route.
    #[source]
    pub source: io::Error,
}

impl RouteError {
    /// The kernel's error number, 0 where it said none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

/// The route that this host would use to `dest`, from `source`, out of interface `oif` and with firewall mark
/// `mark`, each where it is given.
///
/// For IPv6, refusing routes may be told as a [`Route`] of that kind instead of as an error.
///
/// # Errors
/// The kernel's refusal.
pub fn route(
    dest: IpAddr,
    source: Option<IpAddr>,
    oif: Option<u32>,
    mark: Option<u32>,
) -> Result<Route, RouteError> {
    lookup(dest, source, oif, mark).map_err(|source| RouteError { source })
}

fn lookup(dest: IpAddr, source: Option<IpAddr>, oif: Option<u32>, mark: Option<u32>) -> io::Result<Route> {
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let mut body = [0u8; RTMSG];
    body[0] = family(dest);
    body[1] = bits(dest);
    body[2] = source.map_or(0, bits);
    let dest = address_bytes(dest);
    let source = source.map(address_bytes);
    let oif = oif.map(u32::to_ne_bytes);
    let mark = mark.map(u32::to_ne_bytes);
    let mut attributes: Vec<(u16, &[u8])> = vec![(RTA_DST, &dest)];
    attributes.extend(source.as_ref().map(|value| (RTA_SRC, &value[..])));
    attributes.extend(oif.as_ref().map(|value| (RTA_OIF, &value[..])));
    attributes.extend(mark.as_ref().map(|value| (RTA_MARK, &value[..])));
    let mut found = None;
    Netlink::open()?.ask(libc::RTM_GETROUTE, &body, &attributes, |body| found = parse(body))?;
    found.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse(body: &[u8]) -> Option<Route> {
    let kind = RouteKind::from_number(*body.get(7)?);
    let mut route = Route {
        ifindex: 0,
        gateway: None,
        prefsrc: None,
        kind,
    };
    for (kind, value) in Attributes::after(body, RTMSG) {
        match kind {
            RTA_OIF => route.ifindex = u32_at(value, 0)?,
            RTA_GATEWAY => route.gateway = address(value),
            // A gateway of the other family (RFC 5549): `struct rtvia` is a 16-bit family, then the address.
            RTA_VIA => route.gateway = value.get(2..).and_then(address),
            RTA_PREFSRC => route.prefsrc = address(value),
            _ => {}
        }
    }
    Some(route)
}

/// One entry of the routing tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteEntry {
    /// The network it is for; `None` is every destination.
    pub network: Option<IpAddr>,
    /// How many bits of it count; 0 is the default route.
    pub prefix: u8,
    /// The router, if there is one.
    pub gateway: Option<IpAddr>,
    /// The interface's index, 0 for none.
    pub ifindex: u32,
    /// The table (254 is `main`, 255 `local`).
    pub table: u32,
    /// The metric: of two routes alike, the lower one is used.
    pub metric: u32,
    /// What becomes of the packets.
    pub kind: RouteKind,
    /// The gateway is taken to be on the link whatever the subnet says (`onlink`).
    pub on_link: bool,
    /// The gateway cannot be reached, as the kernel knows: its interface is down or without carrier.
    pub is_dead: bool,
    /// The source address that an unbound socket gets.
    pub prefsrc: Option<IpAddr>,
    /// Who made it (`RTPROT_…`): 2 the kernel, 3 at boot, 4 by hand, 9 router advertisements, 16 DHCP, others daemons.
    pub protocol: u8,
}

/// All routes of one family but those of the `local` table. Of a multipath route the first hop alone is told.
///
/// # Errors
/// What the kernel said to the question.
pub fn routes(v6: bool) -> io::Result<Vec<RouteEntry>> {
    const LOCAL: u32 = 255;
    let mut found = every_route(v6)?;
    found.retain(|entry| entry.table != LOCAL);
    Ok(found)
}

/// All routes of one family, those of the `local` table among them.
///
/// # Errors
/// What the kernel said to the question.
pub fn every_route(v6: bool) -> io::Result<Vec<RouteEntry>> {
    let mut body = [0u8; RTMSG];
    body[0] = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    Netlink::open()?.dump(libc::RTM_GETROUTE, &body, &[], parse_entry)
}

fn parse_entry(body: &[u8]) -> Option<RouteEntry> {
    const RTA_PRIORITY: u16 = 6;
    const RTA_MULTIPATH: u16 = 9;
    const RTA_TABLE: u16 = 15;
    const RTM_F_CLONED: u32 = 0x200;
    const RTNH_F_DEAD: u32 = 1;
    const RTNH_F_ONLINK: u32 = 4;
    const RTNH_F_LINKDOWN: u32 = 16;
    /// `struct rtnexthop`: length, flags, hops, interface.
    const RTNEXTHOP: usize = 8;
    let mut flags = u32_at(body, 8)?;
    if flags & RTM_F_CLONED != 0 {
        return None;
    }
    let mut entry = RouteEntry {
        network: None,
        prefix: *body.get(1)?,
        gateway: None,
        ifindex: 0,
        table: u32::from(*body.get(4)?),
        metric: 0,
        kind: RouteKind::from_number(*body.get(7)?),
        on_link: false,
        is_dead: false,
        prefsrc: None,
        protocol: *body.get(5)?,
    };
    for (kind, value) in Attributes::after(body, RTMSG) {
        match kind {
            RTA_DST => entry.network = address(value),
            RTA_OIF => entry.ifindex = u32_at(value, 0)?,
            RTA_GATEWAY => entry.gateway = address(value),
            RTA_VIA => entry.gateway = value.get(2..).and_then(address),
            RTA_PRIORITY => entry.metric = u32_at(value, 0)?,
            RTA_TABLE => entry.table = u32_at(value, 0)?,
            RTA_PREFSRC => entry.prefsrc = address(value),
            RTA_MULTIPATH => {
                flags |= u32::from(*value.get(2)?);
                entry.ifindex = u32_at(value, 4)?;
                let length = usize::from(u16::from_ne_bytes([*value.first()?, *value.get(1)?]));
                let hop = value.get(..length)?;
                entry.gateway = Attributes::after(hop, RTNEXTHOP)
                    .find(|(kind, _)| *kind == RTA_GATEWAY)
                    .and_then(|(_, value)| address(value));
            }
            _ => {}
        }
    }
    entry.on_link = flags & RTNH_F_ONLINK != 0;
    entry.is_dead = flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) != 0;
    Some(entry)
}

/// For the fuzzer.
pub(super) fn read_all(body: &[u8]) {
    let _ = (parse(body), parse_entry(body));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_not_on_link() {
        for address in [IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()] {
            let route = route(address, None, None, None).unwrap();
            assert_eq!(route.kind, RouteKind::Local, "{address}");
            assert_eq!(route.ifindex, 1);
            assert!(!route.is_on_link());
            assert_eq!(route.next_hop(address), address);
        }
    }

    #[test]
    fn cut_messages_do_not_panic() {
        let mut body = vec![2, 32, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        body.extend_from_slice(&[8, 0, 4, 0, 7, 0, 0, 0]);
        body.extend_from_slice(&[8, 0, 5, 0, 10, 0, 0, 1]);
        assert_eq!(parse(&body).unwrap().gateway, Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(parse(&body).unwrap().ifindex, 7);
        for end in 0..body.len() {
            let _ = parse(&body[..end]);
        }
    }
}
