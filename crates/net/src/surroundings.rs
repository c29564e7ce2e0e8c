//! What a probe that met silence or an error asks about this host: is that address ours, is that neighbour resolved?
//!
//! Answers are remembered for a moment, so that a sweep of thousands of silent hosts asks the kernel ten times a
//! second, not thousands of times.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use rping_engine::{Arrival, Departure, Event, Left, Reason, Refusal, TargetId, Timestamp};

use crate::clock::Clock;
use crate::iface::{self, same_subnet, Interface};
use crate::netlink::{neighbours, route};

/// Addresses and interfaces seldom change; neighbours do within a probe's timeout.
const ADDRESSES_KEEP: Duration = Duration::from_secs(1);
const NEIGHBOURS_KEEP: Duration = Duration::from_millis(100);
/// Route questions per look at the neighbour table: about 10 µs each.
const ROUTES: usize = 32;

/// This host as its probes see it. One per thread.
#[derive(Debug, Default)]
pub struct Surroundings {
    own: HashSet<IpAddr>,
    interfaces: Vec<Interface>,
    addresses_read: Option<Timestamp>,
    unresolved: HashSet<IpAddr>,
    neighbours_read: Option<Timestamp>,
    next_hops: HashMap<IpAddr, IpAddr>,
    asked: usize,
}

impl Surroundings {
    /// Nothing is known yet; nothing is asked before it is needed.
    pub fn new() -> Surroundings {
        Surroundings::default()
    }

    /// Whether `address` is this host's.
    pub fn is_own(&mut self, address: IpAddr) -> bool {
        self.read_addresses(Clock.now());
        address.is_loopback() || self.own.contains(&address)
    }

    /// Whether packets to `address` cannot leave because the neighbour they go to, the host itself or the router on the
    /// way, does not answer ARP or neighbour solicitation.
    pub fn is_unresolved(&mut self, address: IpAddr) -> bool {
        let now = Clock.now();
        if is_old(self.neighbours_read, now, NEIGHBOURS_KEEP) {
            self.read_addresses(now);
            self.neighbours_read = Some(now);
            self.unresolved.clear();
            self.next_hops.clear();
            self.asked = 0;
            for interface in self.interfaces.iter().filter(|i| !i.loopback && i.resolves) {
                let entries = neighbours(interface.index).unwrap_or_default();
                self.unresolved.extend(
                    entries
                        .iter()
                        .filter(|e| e.state.is_unresolved())
                        .map(|e| e.address),
                );
            }
        }
        if self.unresolved.is_empty() || self.unresolved.contains(&address) {
            return !self.unresolved.is_empty();
        }
        let next_hop = match self.next_hops.get(&address) {
            Some(&next_hop) => next_hop,
            None if self.asked >= ROUTES => return false,
            None => {
                self.asked += 1;
                let next_hop = route(address, None, None, None).map_or(address, |r| r.next_hop(address));
                self.next_hops.insert(address, next_hop);
                next_hop
            }
        };
        self.unresolved.contains(&next_hop)
    }

    /// Looks behind the reason why a probe to `address` did not leave: no neighbour answers behind a pulled cable, and no
    /// route leads through an interface that is switched off; both are the interface's fault.
    pub fn refine(&mut self, address: IpAddr, refusal: Refusal) -> Refusal {
        self.read_addresses(Clock.now());
        let is_the_interface = match (refusal.reason, refusal.errno) {
            (Reason::NoNeighbour, _) => {
                let link = route(address, None, None, None).map_or(0, |route| route.ifindex);
                self.interfaces.iter().any(|i| i.index == link && !i.lower_up)
            }
            (Reason::NoRoute, Some(libc::ENETUNREACH)) => {
                let mut down = self.interfaces.iter().filter(|i| !i.up);
                down.any(|i| {
                    i.addresses
                        .iter()
                        .any(|own| same_subnet(own.address, address, own.prefix))
                })
            }
            _ => false,
        };
        let reason = if is_the_interface {
            Reason::InterfaceDown
        } else {
            refusal.reason
        };
        Refusal { reason, ..refusal }
    }

    /// [`Surroundings::refine`] for each of these probes that did not leave; `address` knows the targets.
    pub fn refine_departures(
        &mut self,
        left: &mut [Departure],
        address: impl Fn(TargetId) -> Option<IpAddr>,
    ) {
        for departure in left {
            if let (Left::NotSent(refusal), Some(to)) = (&mut departure.left, address(departure.target)) {
                *refusal = self.refine(to, *refusal);
            }
        }
    }

    /// The same for those of which the kernel said so later.
    pub fn refine_arrivals(&mut self, arrived: &mut [Arrival], address: impl Fn(TargetId) -> Option<IpAddr>) {
        for arrival in arrived {
            if let (Event::NotSent(_, refusal), Some(to)) = (&mut arrival.event, address(arrival.target)) {
                *refusal = self.refine(to, *refusal);
            }
        }
    }

    fn read_addresses(&mut self, now: Timestamp) {
        if !is_old(self.addresses_read, now, ADDRESSES_KEEP) {
            return;
        }
        self.addresses_read = Some(now);
        // What cannot be read is not ours and has no neighbours: the cautious answer.
        self.interfaces = iface::interfaces().unwrap_or_default();
        self.own.clear();
        self.own.extend(
            self.interfaces
                .iter()
                .flat_map(|i| i.addresses.iter().map(|a| a.address)),
        );
    }
}

fn is_old(read: Option<Timestamp>, now: Timestamp, keep: Duration) -> bool {
    read.is_none_or(|read| now.since(read) >= keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_documentation_addresses_are_not_and_neither_is_unresolved() {
        let mut here = Surroundings::new();
        assert!(here.is_own(IpAddr::from([127, 3, 2, 1])));
        assert!(!here.is_own(IpAddr::from([192, 0, 2, 1])));
        assert!(!here.is_unresolved(IpAddr::from([127, 0, 0, 1])));
    }
}
