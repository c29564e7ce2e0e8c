//! Where the frames of each target go: next hops, and what link-layer addresses they have.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rping_engine::{TargetId, Timestamp};

use crate::clock::Clock;
use crate::iface;
use crate::netlink::{self, RouteKind};
use crate::options::Options;

/// Up to so many hosts each is looked up; of more, one of each block of 256 addresses.
const EACH: usize = 1024;
/// How many different next hops are known at most: more are a subnet, whose hosts the IP stack's own way finds.
const HOPS: usize = 64;
/// How long a next hop may take to resolve.
const PATIENCE: Duration = Duration::from_millis(500);
/// A next hop behind which probes stay silent is looked up again no oftener than this, and asked for itself no oftener than that.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const ASK_AGAIN: Duration = Duration::from_secs(1);

const NOWHERE: u8 = u8::MAX;
const _: () = assert!(HOPS < NOWHERE as usize);

/// A neighbour that takes our frames.
#[derive(Debug)]
struct Hop {
    address: IpAddr,
    mac: [u8; 6],
    looked: Timestamp,
    asked: Timestamp,
}

/// Where the frames of each target go.
#[derive(Debug)]
pub(super) struct Ways {
    /// The interface, and our address on it.
    pub(super) via: Option<(u32, Ipv4Addr)>,
    hops: Vec<Hop>,
    /// Each target's next hop, or [`NOWHERE`].
    way: Vec<u8>,
}

impl Ways {
    pub(super) fn find(targets: &[SocketAddr], options: &Options) -> Ways {
        let mut ways = Ways {
            via: None,
            hops: Vec::new(),
            way: Vec::with_capacity(targets.len()),
        };
        let bound = options
            .interface
            .as_deref()
            .and_then(|name| iface::interface(name).ok().flatten())
            .map(|found| found.index);
        // Many ports of one host are one host.
        let mut hosts = HashSet::new();
        let gathered = targets.iter().any(|target| {
            hosts.insert(target.ip());
            hosts.len() > EACH
        });
        let mut known: HashMap<Ipv4Addr, u8> = HashMap::new();
        let mut by_hop: HashMap<IpAddr, u8> = HashMap::new();
        for target in targets {
            let IpAddr::V4(to) = target.ip() else {
                ways.way.push(NOWHERE);
                continue;
            };
            let [a, b, c, _] = to.octets();
            let block = if gathered { Ipv4Addr::new(a, b, c, 0) } else { to };
            let way = match known.get(&block) {
                Some(way) => *way,
                None => {
                    let way = ways
                        .of(to, gathered, bound, options, &mut by_hop)
                        .unwrap_or(NOWHERE);
                    known.insert(block, way);
                    way
                }
            };
            ways.way.push(way);
        }
        ways
    }

    /// Whether there is a way to this target.
    #[inline]
    pub(super) fn lead_to(&self, target: TargetId) -> bool {
        self.way.get(target.index()).is_some_and(|&way| way != NOWHERE)
    }

    /// The link-layer address that a packet to this target is sent to.
    #[inline]
    pub(super) fn mac(&self, target: TargetId) -> Option<[u8; 6]> {
        let way = *self.way.get(target.index())?;
        self.hops.get(usize::from(way)).map(|hop| hop.mac)
    }

    /// A probe to this target met silence: its next hop may have another link-layer address by now. What the kernel knows is read
    /// again; returned is whom to ask, where that is due. The kernel hears the answer, and knows it at the next look.
    pub(super) fn doubt(&mut self, target: TargetId, now: Timestamp) -> Option<Ipv4Addr> {
        let (ifindex, _) = self.via?;
        let way = *self.way.get(target.index())?;
        let hop = self.hops.get_mut(usize::from(way))?;
        if now < hop.looked.plus(LOOK_AGAIN) {
            return None;
        }
        hop.looked = now;
        if let Some(mac) = known(hop.address, ifindex) {
            hop.mac = mac;
        }
        let IpAddr::V4(wanted) = hop.address else {
            return None;
        };
        let due = now >= hop.asked.plus(ASK_AGAIN);
        due.then(|| {
            hop.asked = now;
            wanted
        })
    }

    fn of(
        &mut self,
        to: Ipv4Addr,
        gathered: bool,
        bound: Option<u32>,
        options: &Options,
        by_hop: &mut HashMap<IpAddr, u8>,
    ) -> Option<u8> {
        let asked = options.source.map(|source| source.ip()).filter(IpAddr::is_ipv4);
        let route = netlink::route(to.into(), asked, bound, options.mark).ok()?;
        // A block whose members are neighbours has as many next hops as members.
        if route.kind != RouteKind::Unicast || (gathered && route.gateway.is_none()) {
            return None;
        }
        let IpAddr::V4(source) = asked.or(route.prefsrc)? else {
            return None;
        };
        if *self.via.get_or_insert((route.ifindex, source)) != (route.ifindex, source) {
            return None;
        }
        let hop = route.next_hop(to.into());
        if let Some(way) = by_hop.get(&hop) {
            return Some(*way);
        }
        let way = if self.hops.len() < HOPS {
            resolve(hop, route.ifindex).map(|mac| {
                self.hops.push(Hop {
                    address: hop,
                    mac,
                    looked: Timestamp::ZERO,
                    asked: Timestamp::ZERO,
                });
                self.hops.len() as u8 - 1
            })
        } else {
            None
        };
        by_hop.insert(hop, way.unwrap_or(NOWHERE));
        if self.hops.is_empty() {
            self.via = None;
        }
        way
    }
}

/// What the kernel knows of a neighbour.
fn known(hop: IpAddr, ifindex: u32) -> Option<[u8; 6]> {
    let entry = netlink::neighbour(hop, ifindex).ok().flatten()?;
    entry.mac.filter(|_| !entry.state.is_unresolved())
}

/// The link-layer address of a neighbour, which the kernel is made to ask for where it does not know it.
fn resolve(hop: IpAddr, ifindex: u32) -> Option<[u8; 6]> {
    if let Some(mac) = known(hop, ifindex) {
        return Some(mac);
    }
    // To the discard port (RFC 863): what the packet holds is no matter, that it must find its neighbour is.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.send_to(&[0], (hop, 9)).ok()?;
    let end = Clock.now().plus(PATIENCE);
    while Clock.now() < end {
        if let Some(mac) = known(hop, ifindex) {
            return Some(mac);
        }
        crate::wait::sleep(Duration::from_micros(500));
    }
    None
}
