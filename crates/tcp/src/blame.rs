//! Who is to blame: what a failed or silent connect amounts to, once the kernel has been asked.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::{Origin, Reason, Refusal, Timestamp};
use rping_net::errqueue::{send_refusal, SocketError, Verdict};
use rping_net::iface::{self, same_subnet, Interface};
use rping_net::netlink::{self, RouteKind};
use rping_net::tcp::{retransmit_failures, Connection};

/// What a connect that failed after it began amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// Somebody refused.
    Rejected(Refusal),
    /// It never left.
    NotSent(Refusal),
    /// The handshake had been done when the other side reset the connection.
    Established,
    /// Nothing that settles it: it stays silent.
    Nothing,
}

/// Reads off a connection's error queue and error what ended it; `known` is the error where it has been taken already.
pub(crate) fn of_failed(
    connection: &Connection,
    to: SocketAddr,
    route: &RouteAsk<'_>,
    known: Option<i32>,
) -> Failure {
    if let Some(error) = connection.queued_error(to) {
        return match of_icmp(&error) {
            Failure::NotSent(refusal)
                if refusal.reason == Reason::NoNeighbour && next_hop(to, route) == NextHop::NoCarrier =>
            {
                Failure::NotSent(Refusal {
                    reason: Reason::InterfaceDown,
                    ..refusal
                })
            }
            failure => failure,
        };
    }
    match known.or_else(|| connection.take_error().ok().flatten()) {
        // RFC 9293 section 3.10.7.3: only a reset refuses in SYN-SENT. It comes from the target's address.
        Some(errno @ libc::ECONNREFUSED) => Failure::Rejected(Refusal {
            from: Some(Origin::Ip(to.ip())),
            ..Refusal::of(Reason::PortClosed).errno(errno)
        }),
        Some(libc::ECONNRESET | libc::EPIPE) => Failure::Established,
        // The kernel gave up sending SYNs: as silent as before.
        Some(libc::ETIMEDOUT) | None => Failure::Nothing,
        // An ICMP error whose message was lost (a socket that is bound to an interface does not hear of our own).
        Some(errno) => match next_hop(to, route) {
            NextHop::Unresolved => Failure::NotSent(Refusal::of(Reason::NoNeighbour).errno(errno)),
            NextHop::NoCarrier => Failure::NotSent(Refusal::of(Reason::InterfaceDown).errno(errno)),
            NextHop::Fine | NextHop::NoEntry => {
                Failure::Rejected(Refusal::of(remote_reason(errno)).errno(errno))
            }
        },
    }
}

/// What an ICMP message in the error queue amounts to: from our own address, it never left.
pub(crate) fn of_icmp(error: &SocketError) -> Failure {
    match error.verdict(|address| iface::is_own(address).unwrap_or(false)) {
        Verdict::Rejected(refusal) => Failure::Rejected(refusal),
        Verdict::NotSent(refusal) => Failure::NotSent(refusal),
    }
}

fn remote_reason(errno: i32) -> Reason {
    match errno {
        libc::EHOSTUNREACH => Reason::HostUnreachable,
        libc::ENETUNREACH => Reason::NetworkUnreachable,
        libc::ENOPROTOOPT => Reason::ProtocolUnreachable,
        _ => Reason::Other,
    }
}

/// How a connect's packets are routed: what the route lookup is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteAsk<'a> {
    pub(crate) source: Option<IpAddr>,
    pub(crate) interface: Option<&'a str>,
    pub(crate) mark: Option<u32>,
}

/// What the neighbour table says of the way towards a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NextHop {
    /// Nothing against it.
    Fine,
    /// It has not answered ARP or neighbour solicitation.
    Unresolved,
    /// The interface towards it has no carrier: nobody can answer.
    NoCarrier,
    /// There is no entry where one would have to be: the table is full.
    NoEntry,
}

impl NextHop {
    /// Why a probe that was silent for `waited` never left, if so.
    ///
    /// An entry that a SYN used stays for 5 s at least, so its absence says something for that long only.
    pub(crate) fn refusal(self, waited: Duration) -> Option<Refusal> {
        const KEPT: Duration = Duration::from_secs(5);
        match self {
            NextHop::Unresolved => Some(Refusal::of(Reason::NoNeighbour)),
            NextHop::NoCarrier => Some(Refusal::of(Reason::InterfaceDown)),
            NextHop::NoEntry if waited < KEPT => Some(Refusal::of(Reason::NoBuffer).errno(libc::ENOBUFS)),
            NextHop::Fine | NextHop::NoEntry => None,
        }
    }
}

/// Looks up the next hop towards `to` and its neighbour entry.
pub(crate) fn next_hop(to: SocketAddr, ask: &RouteAsk<'_>) -> NextHop {
    look_up(to, ask).unwrap_or(NextHop::Fine)
}

fn look_up(to: SocketAddr, ask: &RouteAsk<'_>) -> Option<NextHop> {
    let scope = match to {
        SocketAddr::V6(six) if six.scope_id() != 0 => Some(six.scope_id()),
        _ => None,
    };
    let bound = ask
        .interface
        .and_then(|name| iface::interface(name).ok().flatten())
        .map(|found| found.index);
    let source = ask.source.filter(|source| !source.is_unspecified());
    let route = netlink::route(to.ip(), source, bound.or(scope), ask.mark).ok()?;
    if route.kind != RouteKind::Unicast {
        return None;
    }
    let entry = netlink::neighbour(route.next_hop(to.ip()), route.ifindex).ok()?;
    if entry.as_ref().is_some_and(|entry| !entry.state.is_unresolved()) {
        return None;
    }
    let interface = iface::interface_by_index(route.ifindex).ok().flatten()?;
    // Losing the carrier throws away what was being resolved.
    if interface.is_ethernet() && !interface.lower_up {
        return Some(NextHop::NoCarrier);
    }
    if entry.is_some() {
        return Some(NextHop::Unresolved);
    }
    // Elsewhere than on Ethernet the table may hold nothing.
    if !interface.is_ethernet() {
        return None;
    }
    // A firewall that drops the SYN on its way out keeps it from asking for an entry, too.
    let fill = netlink::table_fill(to.is_ipv6()).ok()?;
    (fill.entries >= fill.most - fill.most / 16).then_some(NextHop::NoEntry)
}

/// Why a connect that failed instantly never left.
#[derive(Debug, Default)]
pub(crate) struct Instant {
    interfaces: Option<(Timestamp, Vec<Interface>)>,
}

/// For how long a reading of the interfaces is good when many connects fail at once.
const FRESH: Duration = Duration::from_millis(10);

impl Instant {
    /// `ENETUNREACH` says "no route" and "interface down" alike: the interfaces tell them apart.
    pub(crate) fn refusal(&mut self, errno: i32, to: IpAddr, ask: &RouteAsk<'_>, now: Timestamp) -> Refusal {
        let refusal = send_refusal(errno, None);
        if refusal.reason == Reason::NoRoute && errno == libc::ENETUNREACH && self.is_down(to, ask, now) {
            return Refusal {
                reason: Reason::InterfaceDown,
                ..refusal
            };
        }
        refusal
    }

    /// Whether the interface is switched off that the probe was bound to, or whose subnet the target is in, or
    /// which has the source address.
    fn is_down(&mut self, to: IpAddr, ask: &RouteAsk<'_>, now: Timestamp) -> bool {
        if self
            .interfaces
            .as_ref()
            .is_none_or(|(at, _)| now.since(*at) > FRESH)
        {
            self.interfaces = iface::interfaces().ok().map(|found| (now, found));
        }
        let Some((_, interfaces)) = &self.interfaces else {
            return false;
        };
        interfaces
            .iter()
            .filter(|interface| !interface.up)
            .any(|interface| {
                ask.interface == Some(interface.name.as_str())
                    || interface.addresses.iter().any(|own| {
                        ask.source == Some(own.address) || same_subnet(own.address, to, own.prefix)
                    })
            })
    }
}

/// Convicts the local firewall of SYNs that it dropped on their way out.
///
/// To the sender such a drop looks like a remote one, but for a counter of the namespace, `TCPRetransFail`, that
/// rises with each SYN that is sent again and dropped again. It is not per socket, so a probe is convicted only where
/// the rise equals the retransmissions of all connects under way: nobody else's can then be among it.
#[derive(Debug, Default)]
pub(crate) struct LocalDrops {
    /// The part of the counter that is settled: from before the run, or attributed.
    accounted: Option<u64>,
}

/// The first SYN is sent again after 1 s (RFC 6298 section 2); the counter must have been read before.
pub(crate) const BASELINE_AFTER: Duration = Duration::from_millis(500);

impl LocalDrops {
    /// Whether the counter has yet to be read for the first time.
    pub(crate) fn wants_baseline(&self) -> bool {
        self.accounted.is_none()
    }

    /// Reads the counter for the first time.
    pub(crate) fn take_baseline(&mut self) {
        // Where it cannot be read, nobody is ever convicted.
        self.accounted = Some(retransmit_failures().unwrap_or(u64::MAX));
    }

    /// Whether a probe that was silent to its timeout, with `retransmits` SYNs sent again, was dropped locally.
    /// `others` counts those of all other connects under way.
    pub(crate) fn convict(&mut self, retransmits: u32, others: impl FnOnce() -> u64) -> bool {
        self.judge(retransmits, others, || retransmit_failures().unwrap_or(0))
    }

    fn judge(
        &mut self,
        retransmits: u32,
        others: impl FnOnce() -> u64,
        mut counter: impl FnMut() -> u64,
    ) -> bool {
        let Some(accounted) = self.accounted else {
            return false;
        };
        let before = counter();
        if retransmits == 0 || before <= accounted {
            return false;
        }
        let others = others();
        // Retransmissions may have failed while the connects were counted.
        let after = counter();
        let wanted = others.saturating_add(u64::from(retransmits));
        let convicted = (before - accounted..=after.saturating_sub(accounted)).contains(&wanted);
        // What the other connects do not claim can convict nobody later.
        self.accounted = Some(after.saturating_sub(others).max(accounted));
        convicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(accounted: u64) -> LocalDrops {
        LocalDrops {
            accounted: Some(accounted),
        }
    }

    #[test]
    fn a_rise_that_equals_the_retransmissions_convicts_and_is_used_up() {
        let mut local = drops(10);
        assert!(local.judge(2, || 0, || 12));
        assert!(
            !local.judge(2, || 0, || 12),
            "the same rise does not convict twice"
        );
        assert!(local.judge(1, || 0, || 13));
    }

    #[test]
    fn no_rise_or_an_ambiguous_one_convicts_nobody() {
        assert!(!drops(10).judge(2, || 0, || 10));
        assert!(!drops(10).judge(0, || 0, || 12));
        assert!(
            !drops(10).judge(2, || 2, || 12),
            "the other connect may have been the one"
        );
        assert!(!drops(10).judge(2, || 0, || 13), "somebody else's failed too");
        assert!(!LocalDrops::default().judge(2, || 0, || 12), "without a baseline");
    }

    #[test]
    fn an_ambiguous_rise_does_not_convict_the_next() {
        let mut local = drops(10);
        assert!(!local.judge(2, || 0, || 13));
        assert!(!local.judge(3, || 0, || 13));
    }

    #[test]
    fn all_of_several_are_convicted_when_all_retransmissions_failed() {
        let mut local = drops(0);
        assert!(local.judge(2, || 4, || 6));
        assert!(local.judge(2, || 2, || 6));
        assert!(local.judge(2, || 0, || 6));
    }

    #[test]
    fn a_missing_entry_is_a_full_table_only_while_it_would_still_be_there() {
        let soon = Duration::from_secs(3);
        let refusal = NextHop::NoEntry.refusal(soon).expect("a reason");
        assert_eq!(
            (refusal.reason, refusal.errno),
            (Reason::NoBuffer, Some(libc::ENOBUFS))
        );
        assert_eq!(NextHop::NoEntry.refusal(2 * soon), None);
        assert_eq!(
            NextHop::Unresolved.refusal(2 * soon),
            Some(Refusal::of(Reason::NoNeighbour))
        );
        assert_eq!(NextHop::Fine.refusal(soon), None);
    }

    #[test]
    fn instant_errors_have_their_reasons() {
        let nowhere = IpAddr::from([192, 0, 2, 1]);
        let mut instant = Instant::default();
        let mut reason = |errno| {
            instant
                .refusal(errno, nowhere, &RouteAsk::default(), Timestamp::ZERO)
                .reason
        };
        assert_eq!(reason(libc::ENETUNREACH), Reason::NoRoute);
        assert_eq!(reason(libc::EHOSTUNREACH), Reason::NoRoute);
        assert_eq!(reason(libc::EACCES), Reason::NoRoute);
        assert_eq!(reason(libc::EINVAL), Reason::NoRoute);
        assert_eq!(reason(libc::EPERM), Reason::LocalFirewall);
        assert_eq!(reason(libc::EADDRNOTAVAIL), Reason::NoLocalPort);
    }
}
