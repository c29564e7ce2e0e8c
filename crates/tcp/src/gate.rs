//! Keeps the host's neighbour table from overflowing when many on-link targets are met.
//!
//! Linux holds 1024 neighbours by default (`gc_thresh3`), cannot evict those that are being resolved (3 s) or were
//! heard from within the last half minute, and answers a `connect` that finds no room by losing its SYN without a
//! word: a second later it is sent again, and a live host looks lossy. So first contacts are let through a few
//! hundred at a time, and each is checked to have got its entry. More live neighbours than the table holds take half
//! a minute per tableful; nothing short of a larger table changes that.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::iface::{same_subnet, Interface};
use rping_net::netlink;

/// Fewer on-link hosts than this cannot fill the table.
pub(crate) const FEW: usize = 256;
/// How many hosts that have not answered yet may be waited for at once: half the table.
const UNRESOLVED: usize = 512;
/// After the table was found full, nobody new is tried for this long. (A try has the kernel evict what it can.)
const PAUSE: Duration = Duration::from_millis(50);

/// One on-link host, which several targets (ports) may share.
#[derive(Clone, Copy, Debug)]
struct Host {
    address: IpAddr,
    ifindex: u32,
    met: bool,
    in_flight: u32,
}

/// Which host a target is; `None` for targets that need no gate.
pub(crate) type HostId = Option<u32>;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    hosts: Vec<Host>,
    unresolved: usize,
    closed_until: Timestamp,
}

impl Gate {
    /// The gate for these targets, and each one's host. Without enough on-link targets nothing is gated.
    pub(crate) fn new(targets: &[SocketAddr], interfaces: &[Interface]) -> (Gate, Vec<HostId>) {
        let mut gate = Gate::default();
        let mut known: HashMap<IpAddr, u32> = HashMap::new();
        let ids: Vec<HostId> = targets
            .iter()
            .map(|target| {
                let address = target.ip();
                let ifindex = on_link(address, interfaces)?;
                Some(*known.entry(address).or_insert_with(|| {
                    gate.hosts.push(Host {
                        address,
                        ifindex,
                        met: false,
                        in_flight: 0,
                    });
                    gate.hosts.len() as u32 - 1
                }))
            })
            .collect();
        if gate.hosts.len() <= FEW {
            return (Gate::default(), vec![None; targets.len()]);
        }
        (gate, ids)
    }

    /// Whether a probe to this host may start now.
    pub(crate) fn may_start(&self, id: HostId, now: Timestamp) -> bool {
        match self.host(id) {
            Some(host) if !host.met && host.in_flight == 0 => {
                self.unresolved < UNRESOLVED && now >= self.closed_until
            }
            _ => true,
        }
    }

    /// To be called once a connect was begun: false where its SYN was lost for want of room in the table. Then the
    /// connect must be dropped and begun again later.
    pub(crate) fn started(&mut self, id: HostId, now: Timestamp) -> bool {
        let Some(host) = self.host_mut(id) else {
            return true;
        };
        if !has_entry(host) {
            self.closed_until = now.plus(PAUSE);
            return false;
        }
        if !host.met {
            host.in_flight += 1;
            let is_first = host.in_flight == 1;
            self.unresolved += usize::from(is_first);
        }
        true
    }

    /// To be called when a probe to this host is settled; `met` says that the host itself, or something beyond the
    /// link, was heard.
    pub(crate) fn settled(&mut self, id: HostId, met: bool) {
        let Some(host) = self.host_mut(id) else { return };
        if host.met {
            return;
        }
        let was_waiting = host.in_flight > 0;
        host.in_flight = host.in_flight.saturating_sub(1);
        if met {
            host.met = true;
            host.in_flight = 0;
        }
        if was_waiting && host.in_flight == 0 {
            self.unresolved = self.unresolved.saturating_sub(1);
        }
    }

    fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(id? as usize)
    }

    fn host_mut(&mut self, id: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(id? as usize)
    }
}

/// Whether the kernel has an entry for the host. Questions without an answer (an interface that has just gone) count
/// as "yes".
fn has_entry(host: &Host) -> bool {
    netlink::neighbour(host.address, host.ifindex).map_or(true, |entry| entry.is_some())
}

/// The interface on which `address` is a neighbour, where neighbours are resolved.
fn on_link(address: IpAddr, interfaces: &[Interface]) -> Option<u32> {
    let mut found = None;
    for interface in interfaces
        .iter()
        .filter(|interface| interface.up && interface.is_ethernet())
    {
        for own in &interface.addresses {
            if own.address == address {
                return None;
            }
            if same_subnet(own.address, address, own.prefix) {
                found = Some(interface.index);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rping_net::iface::Address;

    fn interface() -> Interface {
        Interface {
            index: 7,
            name: "t0".into(),
            up: true,
            running: true,
            lower_up: true,
            loopback: false,
            resolves: true,
            mtu: 1500,
            mac: Some([2, 0, 0, 0, 0, 1]),
            hardware: 1,
            addresses: vec![Address {
                address: IpAddr::from([10, 80, 0, 1]),
                prefix: 18,
                ifindex: 7,
                broadcast: None,
                tentative: false,
                duplicated: false,
            }],
        }
    }

    fn targets(count: u32) -> Vec<SocketAddr> {
        (0..count)
            .map(|n| SocketAddr::new(IpAddr::from((0x0a50_1000 + n).to_be_bytes()), 9))
            .collect()
    }

    #[test]
    fn few_targets_off_link_ones_and_our_own_are_not_gated() {
        let (_, ids) = Gate::new(&targets(256), &[interface()]);
        assert!(ids.iter().all(Option::is_none));
        let mut all = targets(257);
        all.push("10.80.0.1:9".parse().unwrap());
        all.push("10.90.0.1:9".parse().unwrap());
        all.push("[2001:db8::1]:9".parse().unwrap());
        let (_, ids) = Gate::new(&all, &[interface()]);
        assert_eq!(ids.iter().flatten().count(), 257);
        assert_eq!(ids[257..], [None, None, None]);
    }

    #[test]
    fn ports_of_one_host_share_its_place() {
        let mut all = targets(300);
        all.extend(targets(300).iter().map(|target| SocketAddr::new(target.ip(), 10)));
        let (gate, ids) = Gate::new(&all, &[interface()]);
        assert_eq!(gate.hosts.len(), 300);
        assert_eq!(ids[..300], ids[300..]);
    }

    #[test]
    fn unmet_hosts_wait_at_the_bound_and_met_ones_pass() {
        let (mut gate, ids) = Gate::new(&targets(600), &[interface()]);
        let now = Timestamp::from_nanos(1);
        for id in &ids[..UNRESOLVED] {
            let host = gate.host_mut(*id).unwrap();
            host.in_flight = 1;
            gate.unresolved += 1;
        }
        let next = ids[UNRESOLVED];
        assert!(!gate.may_start(next, now));
        assert!(
            gate.may_start(ids[0], now),
            "a second probe to one that is waited for costs nothing"
        );
        gate.settled(ids[0], false);
        assert!(gate.may_start(next, now) && gate.unresolved == UNRESOLVED - 1);
        gate.settled(ids[1], true);
        gate.settled(ids[1], true);
        assert_eq!(gate.unresolved, UNRESOLVED - 2);
        gate.unresolved = UNRESOLVED;
        assert!(gate.may_start(ids[1], now), "met");
        assert!(!gate.may_start(ids[0], now), "never met");
        gate.unresolved = 0;
        gate.closed_until = now.plus(PAUSE);
        assert!(!gate.may_start(ids[0], now), "the table was full");
        assert!(gate.may_start(ids[0], now.plus(PAUSE)));
    }
}
