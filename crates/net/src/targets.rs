//! Whom a run probes by datagrams, and finding out whom an answer is about.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};

use rping_engine::{Sequence, TargetId};

/// An address and port as a reply bears them: link-local addresses mean nothing without their interface.
type Key = (IpAddr, u16, u32);

fn key(address: SocketAddr) -> Key {
    match address {
        SocketAddr::V4(four) => (IpAddr::V4(*four.ip()), four.port(), 0),
        SocketAddr::V6(six) if six.ip().is_unicast_link_local() => {
            (IpAddr::V6(*six.ip()), six.port(), six.scope_id())
        }
        SocketAddr::V6(six) => (IpAddr::V6(*six.ip()), six.port(), 0),
    }
}

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where to; port 0 for ICMP.
    pub address: SocketAddr,
    /// One above the number of the newest probe that was sent.
    sent: u64,
    /// The next target with the same address; [`NOBODY`] where there is none.
    twin: u32,
    /// It has answered, so its neighbour entry is resolved and sends to it do not pile up.
    pub heard: bool,
}

/// No target: there are never so many.
const NOBODY: u32 = u32::MAX;

/// All targets of a run.
#[derive(Debug)]
pub struct Targets {
    all: Vec<Target>,
    /// Where each address's last target is: a hash table of places in `all`, at most half full. The addresses stand in `all`
    /// alone, which in a sweep is most of what a target costs.
    places: Box<[u32]>,
    hasher: RandomState,
}

impl Targets {
    /// Targets numbered in this order.
    pub fn new(addresses: &[SocketAddr]) -> Targets {
        let size = (2 * addresses.len()).next_power_of_two();
        let mut targets = Targets {
            all: Vec::with_capacity(addresses.len()),
            places: vec![NOBODY; size].into_boxed_slice(),
            hasher: RandomState::new(),
        };
        for (i, &address) in (0..).zip(addresses) {
            let place = targets.place(address);
            let twin = std::mem::replace(&mut targets.places[place], i);
            targets.all.push(Target {
                address,
                sent: 0,
                twin,
                heard: false,
            });
        }
        targets
    }

    /// Where in the table this address is, or would be: looked for from where its hash says on.
    fn place(&self, address: SocketAddr) -> usize {
        let wanted = key(address);
        let last = self.places.len() - 1;
        let mut place = self.hasher.hash_one(wanted) as usize & last;
        while let Some(target) = self.all.get(self.places[place] as usize) {
            if key(target.address) == wanted {
                break;
            }
            place = (place + 1) & last;
        }
        place
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Their addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.all.iter().map(|target| target.address)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: TargetId) -> Option<&Target> {
        self.all.get(id.index())
    }

    /// The targets at this address: one, as a rule.
    pub fn at(&self, address: SocketAddr) -> impl Iterator<Item = TargetId> + Clone + '_ {
        let known = |id: u32| (id != NOBODY).then_some(TargetId(id));
        let first = known(self.places[self.place(address)]);
        std::iter::successors(first, move |&id| {
            self.get(id).and_then(|target| known(target.twin))
        })
    }

    /// The targets that stand for many hosts, whose replies bear the hosts' own addresses.
    pub fn groups(&self, broadcast: bool) -> impl Iterator<Item = TargetId> + '_ {
        let ids = (0..self.all.len() as u32).map(TargetId);
        ids.filter(move |&id| {
            self.get(id)
                .is_some_and(|t| t.address.ip().is_multicast() || (broadcast && t.address.is_ipv4()))
        })
    }

    /// This probe was given to the kernel.
    pub fn sent(&mut self, id: TargetId, seq: Sequence) {
        if let Some(target) = self.all.get_mut(id.index()) {
            target.sent = target.sent.max(seq.0.saturating_add(1));
        }
    }

    /// Whether it has answered lately.
    pub fn set_heard(&mut self, id: TargetId, heard: bool) {
        if let Some(target) = self.all.get_mut(id.index()) {
            target.heard = heard;
        }
    }

    /// The most recent probe sent to this target with these low `bits` bits.
    pub fn widen(&self, id: TargetId, low: u64, bits: u32) -> Option<Sequence> {
        let newest = self.get(id)?.sent.checked_sub(1)?;
        let span = 1u64 << bits;
        let candidate = (newest & !(span - 1)) | (low & (span - 1));
        if candidate <= newest {
            Some(Sequence(candidate))
        } else {
            candidate.checked_sub(span).map(Sequence)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(list: &[&str]) -> Targets {
        let list: Vec<SocketAddr> = list.iter().map(|a| a.parse().expect("an address")).collect();
        Targets::new(&list)
    }

    #[test]
    fn low_bits_widen_to_the_most_recent_probe_that_was_sent_and_never_to_a_later_one() {
        let mut t = targets(&["192.0.2.1:0"]);
        let id = TargetId(0);
        assert_eq!(t.widen(id, 0, 16), None, "nothing was sent");
        t.sent(id, Sequence(3));
        assert_eq!(t.widen(id, 3, 16), Some(Sequence(3)));
        assert_eq!(t.widen(id, 4, 16), None);
        t.sent(id, Sequence(0x1_0002));
        t.sent(id, Sequence(0x1_0001));
        assert_eq!(t.widen(id, 2, 16), Some(Sequence(0x1_0002)));
        assert_eq!(t.widen(id, 3, 16), Some(Sequence(3)));
        assert_eq!(t.widen(id, 0x1_0002, 20), Some(Sequence(0x1_0002)));
        assert_eq!(t.widen(TargetId(9), 0, 16), None);
    }

    #[test]
    fn link_local_twins_on_two_links_are_two_and_twins_on_one_are_both_found() {
        let t = targets(&[
            "[fe80::1%1]:0",
            "[fe80::1%2]:0",
            "192.0.2.1:0",
            "192.0.2.1:0",
            "[2001:db8::1]:0",
        ]);
        let at = |a: &str| {
            t.at(a.parse().expect("an address"))
                .map(|id| id.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(at("[fe80::1%2]:0"), [1]);
        assert_eq!(at("192.0.2.1:0"), [3, 2]);
        assert_eq!(at("[2001:db8::1%7]:0"), [4]);
        assert_eq!(at("192.0.2.9:0"), [0; 0]);
    }
}
