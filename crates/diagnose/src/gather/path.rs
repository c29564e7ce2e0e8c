//! The way to the target, hop by hop, as ICMP, UDP and TCP to the port see it, side by side.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;

use super::connects::{Aim, Connects, Tried};
use super::volley::{fire, Hit, Kind, Shot};

/// TTLs tried at once, wave by wave: most ways are short, and nobody is asked twice.
const WAVES: [std::ops::RangeInclusive<u8>; 3] = [1..=6, 7..=14, 15..=24];
/// How long a wave waits.
const PATIENCE: Duration = Duration::from_millis(800);
/// Where traceroute begins; ports that nobody listens on.
const UDP_PORT: u16 = 33_434;

/// Who said what about a packet with a certain TTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// A router: the TTL ran out there.
    Expired(IpAddr),
    /// The target itself (or whoever answers in its name).
    Reached,
    /// Somebody refused it, with this ICMP type and code.
    Refused(IpAddr, u8, u8),
    Nothing,
}

/// One hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    pub(crate) ttl: u8,
    pub(crate) icmp: Said,
    pub(crate) udp: Said,
    pub(crate) tcp: Said,
}

/// The whole way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathFacts {
    pub(crate) asked: bool,
    /// TCP was tried, too.
    pub(crate) with_tcp: bool,
    pub(crate) hops: Vec<Hop>,
}

impl PathFacts {
    fn first(&self, of: impl Fn(&Hop) -> Said, is: impl Fn(Said) -> bool) -> Option<u8> {
        self.hops.iter().find(|hop| is(of(hop))).map(|hop| hop.ttl)
    }

    /// After how many hops TCP is answered in the target's name.
    pub(crate) fn tcp_reached(&self) -> Option<u8> {
        self.first(|hop| hop.tcp, |said| said == Said::Reached)
    }

    /// The last router that was heard of, and how far away it is.
    pub(crate) fn last_router(&self) -> Option<(u8, IpAddr)> {
        self.hops.iter().rev().find_map(|hop| {
            [hop.icmp, hop.udp, hop.tcp]
                .into_iter()
                .find_map(|said| match said {
                    Said::Expired(from) => Some((hop.ttl, from)),
                    _ => None,
                })
        })
    }

    /// TCP is answered at a hop where ICMP or UDP to the same address is sent on by a router.
    pub(crate) fn answered_on_the_way(&self) -> Option<(u8, IpAddr)> {
        let at = self.tcp_reached()?;
        let hop = self.hops.iter().find(|hop| hop.ttl == at)?;
        [hop.icmp, hop.udp].into_iter().find_map(|said| match said {
            Said::Expired(from) => Some((at, from)),
            _ => None,
        })
    }

    /// A router that comes up twice, with another between: packets go round in circles.
    pub(crate) fn loops(&self) -> Option<IpAddr> {
        let of = |hop: &Hop| match (hop.icmp, hop.udp) {
            (Said::Expired(from), _) | (_, Said::Expired(from)) => Some(from),
            _ => None,
        };
        self.hops.iter().enumerate().find_map(|(place, hop)| {
            let from = of(hop)?;
            let mut later = self.hops.iter().skip(place + 2);
            later.any(|other| of(other) == Some(from)).then_some(from)
        })
    }
}

/// Sends packets with rising TTLs to `to`; TCP only where it has a port.
pub(crate) fn gather(to: SocketAddr, until: Timestamp) -> PathFacts {
    let with_tcp = to.port() != 0;
    let mut facts = PathFacts {
        asked: true,
        with_tcp,
        hops: Vec::new(),
    };
    for wave in WAVES {
        if Clock.now() >= until {
            break;
        }
        let ttls: Vec<u8> = wave.collect();
        let wave_until = Clock.now().plus(PATIENCE).min(until);
        let hops = fly(to, &ttls, with_tcp, wave_until);
        let is_over = hops
            .iter()
            .any(|hop| [hop.icmp, hop.udp].contains(&Said::Reached) || is_refused(hop));
        let goes_on = hops
            .last()
            .is_some_and(|hop| matches!(hop.icmp, Said::Expired(_)) || matches!(hop.udp, Said::Expired(_)));
        facts.hops.extend(hops);
        if is_over || !goes_on {
            break;
        }
    }
    // Behind the first hop that answers as the target, or the last that says anything, there is nothing to tell.
    let last = facts.hops.iter().rposition(|hop| {
        matches!(hop.icmp, Said::Expired(_))
            || matches!(hop.udp, Said::Expired(_))
            || matches!(hop.tcp, Said::Expired(_))
    });
    facts.hops.truncate(last.map_or(1, |last| last + 2));
    facts
}

fn is_refused(hop: &Hop) -> bool {
    matches!(hop.icmp, Said::Refused(..)) && matches!(hop.udp, Said::Refused(..))
}

fn fly(to: SocketAddr, ttls: &[u8], with_tcp: bool, until: Timestamp) -> Vec<Hop> {
    let aims = match with_tcp {
        true => ttls.iter().map(|&ttl| Aim { to, ttl: Some(ttl) }).collect(),
        false => Vec::new(),
    };
    let mut connects = Connects::start(aims);
    let shots: Vec<Shot> = ttls
        .iter()
        .flat_map(|&ttl| {
            let mut udp_to = to;
            udp_to.set_port(UDP_PORT + u16::from(ttl));
            [(Kind::Echo, to), (Kind::Udp, udp_to)].map(|(kind, to)| Shot {
                ttl: Some(ttl),
                ..Shot::new(kind, to)
            })
        })
        .collect();
    let hits = fire(&shots, until);
    while !connects.is_settled() && connects.wait(until) == rping_net::Woken::Ready {}
    let hops = ttls
        .iter()
        .enumerate()
        .map(|(place, &ttl)| Hop {
            ttl,
            icmp: said(hits.get(place * 2), to.ip()),
            udp: said(hits.get(place * 2 + 1), to.ip()),
            tcp: match connects.tried(place) {
                _ if !with_tcp => Said::Nothing,
                Tried::Open { .. } | Tried::Reset { .. } => Said::Reached,
                Tried::Icmp { error, .. } => of_error(&error, to.ip()),
                _ => Said::Nothing,
            },
        })
        .collect();
    connects.end();
    hops
}

fn said(hit: Option<&Hit>, to: IpAddr) -> Said {
    match hit {
        Some(Hit::Answered { .. }) => Said::Reached,
        Some(Hit::Error { error, .. }) => of_error(error, to),
        _ => Said::Nothing,
    }
}

fn of_error(error: &rping_net::errqueue::SocketError, to: IpAddr) -> Said {
    use rping_net::errqueue::ErrorOrigin;
    let Some(from) = error.offender else {
        return Said::Nothing;
    };
    let expired = match error.origin {
        ErrorOrigin::Icmp => error.kind == 11,
        ErrorOrigin::Icmp6 => error.kind == 3,
        ErrorOrigin::Local => return Said::Nothing,
    };
    let port_closed = matches!(
        (error.origin, error.kind, error.code),
        (ErrorOrigin::Icmp, 3, 3) | (ErrorOrigin::Icmp6, 1, 4)
    );
    if expired {
        Said::Expired(from)
    } else if port_closed && from == to {
        Said::Reached
    } else {
        Said::Refused(from, error.kind, error.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 254));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 254));

    fn hop(ttl: u8, icmp: Said, tcp: Said) -> Hop {
        Hop {
            ttl,
            icmp,
            udp: Said::Nothing,
            tcp,
        }
    }

    fn path(hops: Vec<Hop>) -> PathFacts {
        PathFacts {
            asked: true,
            with_tcp: true,
            hops,
        }
    }

    #[test]
    fn tcp_that_is_answered_where_icmp_is_sent_on_is_answered_on_the_way() {
        let middlebox = path(vec![
            hop(1, Said::Expired(ROUTER), Said::Reached),
            hop(2, Said::Nothing, Said::Reached),
        ]);
        assert_eq!(middlebox.answered_on_the_way(), Some((1, ROUTER)));
        let plain = path(vec![
            hop(1, Said::Expired(ROUTER), Said::Expired(ROUTER)),
            hop(2, Said::Reached, Said::Reached),
        ]);
        assert_eq!(plain.answered_on_the_way(), None);
        assert_eq!(plain.tcp_reached(), Some(2));
    }

    #[test]
    fn a_router_that_comes_up_again_is_a_loop() {
        let round = path(vec![
            hop(1, Said::Expired(ROUTER), Said::Nothing),
            hop(2, Said::Expired(OTHER), Said::Nothing),
            hop(3, Said::Expired(ROUTER), Said::Nothing),
        ]);
        assert_eq!(round.loops(), Some(ROUTER));
        assert_eq!(round.last_router(), Some((3, ROUTER)));
        let straight = path(vec![
            hop(1, Said::Expired(ROUTER), Said::Nothing),
            hop(2, Said::Expired(OTHER), Said::Nothing),
        ]);
        assert_eq!(straight.loops(), None);
    }
}
