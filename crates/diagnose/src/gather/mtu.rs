//! The largest packet that gets through, and whether anybody tells.

use std::net::SocketAddr;
use std::time::Duration;

use rping_engine::{Reason, Timestamp};
use rping_net::options::path_mtu;
use rping_net::Clock;

use super::latch::Latch;
use super::volley::{fire, Hit, Kind, Shot};

/// Sizes tried at once; each round narrows the range to a sixteenth.
const AT_ONCE: u32 = 16;
/// What every link carries: RFC 791 (IPv4: 68, but 576 is what hosts take), RFC 8200 (IPv6).
const LEAST_V4: u32 = 576;
const LEAST_V6: u32 = 1280;
/// UDP ports that nobody listens on: a whole datagram that arrives is answered by "port unreachable".
const UDP_PORT: u16 = 33_500;

/// What became of big packets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum MtuFacts {
    /// Nothing was tried: nothing that is small came back either.
    #[default]
    NotTried,
    /// Packets as large as this host's link carries get through.
    Whole { size: u32 },
    /// Too big ones are told of: by whom (this host's own table where `None`), and what fits; and packets of that size
    /// get through.
    Told {
        size: u32,
        from: Option<std::net::IpAddr>,
        fits_through: bool,
    },
    /// Packets above `passes` bytes vanish and nobody says so; `lost` were tried `tries` times.
    BlackHole {
        passes: u32,
        lost: u32,
        tries: u32,
        /// Whether UDP datagrams of that size vanish, too.
        by_udp: Option<bool>,
    },
    /// Big ones were silent, but not always, or not to say at what size.
    Unclear { size: u32 },
}

/// Finds the size. `echo` is the round-trip time of a small echo request, if one was answered.
pub(crate) fn gather(
    to: SocketAddr,
    echo: Option<Duration>,
    connected: &Latch<bool>,
    until: Timestamp,
) -> MtuFacts {
    let Some(first_hop) = path_mtu_of_link(to) else {
        return MtuFacts::NotTried;
    };
    match echo {
        Some(rtt) => search(Kind::Echo, to, rtt, first_hop),
        // Where echo requests are filtered, UDP to a closed port may tell, if the port that was asked for works.
        None => match connected.wait(until) {
            Some(true) => by_udp(to, first_hop),
            _ => MtuFacts::NotTried,
        },
    }
}

/// The MTU of the link that packets leave by, whatever is known of the way behind it.
fn path_mtu_of_link(to: SocketAddr) -> Option<u32> {
    let route = rping_net::netlink::route(to.ip(), None, None, None).ok();
    let link = route.and_then(|route| rping_net::iface::interface_by_index(route.ifindex).ok().flatten());
    let mut to = to;
    to.set_port(UDP_PORT);
    let known = path_mtu(to);
    match (link, known) {
        // Loopback has packets of 64 KiB; nothing is to be learnt there.
        (Some(link), _) if !link.loopback => Some(link.mtu.min(9_216)),
        _ => None,
    }
}

fn shot(kind: Kind, to: SocketAddr, size: u32) -> Shot {
    let mut to = to;
    if kind == Kind::Udp {
        to.set_port(UDP_PORT);
    }
    Shot {
        size: size as usize,
        df: true,
        ..Shot::new(kind, to)
    }
}

fn patience(rtt: Duration) -> Duration {
    rtt.saturating_mul(4)
        .saturating_add(Duration::from_millis(120))
        .min(Duration::from_millis(600))
}

/// What became of one packet of this size.
enum Fate {
    Through,
    TooBig {
        fits: Option<u32>,
        from: Option<std::net::IpAddr>,
    },
    Silent,
    Other,
}

fn fate(kind: Kind, hit: &Hit) -> Fate {
    match hit {
        Hit::Answered { .. } => Fate::Through,
        Hit::Silent => Fate::Silent,
        Hit::NotSent(refusal) if refusal.reason == Reason::PacketTooBig => Fate::TooBig {
            fits: refusal.mtu,
            from: None,
        },
        Hit::Error { error, .. } if error.errno == libc::EMSGSIZE => Fate::TooBig {
            fits: error.mtu,
            from: error.offender,
        },
        // "Port unreachable": it arrived.
        Hit::Error { error, .. } if kind == Kind::Udp && error.errno == libc::ECONNREFUSED => Fate::Through,
        _ => Fate::Other,
    }
}

fn try_one(kind: Kind, to: SocketAddr, size: u32, wait: Duration) -> Fate {
    let hits = fire(&[shot(kind, to, size)], Clock.now().plus(wait));
    hits.first().map_or(Fate::Other, |hit| fate(kind, hit))
}

fn search(kind: Kind, to: SocketAddr, rtt: Duration, largest: u32) -> MtuFacts {
    let wait = patience(rtt);
    let least = if to.is_ipv6() { LEAST_V6 } else { LEAST_V4 };
    if largest <= least {
        return MtuFacts::Whole { size: largest };
    }
    // One lost packet is no black hole.
    for _ in 0..2 {
        match try_one(kind, to, largest, wait) {
            Fate::Through => return MtuFacts::Whole { size: largest },
            Fate::TooBig { fits, from } => return told(kind, to, fits, from, wait),
            Fate::Other => return MtuFacts::NotTried,
            Fate::Silent => {}
        }
    }
    let (mut passes, mut fails) = (least, largest);
    if !matches!(try_one(kind, to, passes, wait), Fate::Through) {
        return MtuFacts::Unclear { size: largest };
    }
    while fails - passes > 1 {
        let step = (fails - passes).div_ceil(AT_ONCE + 1).max(1);
        let sizes: Vec<u32> = (1..=AT_ONCE)
            .map(|n| passes + n * step)
            .take_while(|size| *size < fails)
            .collect();
        let shots: Vec<Shot> = sizes.iter().map(|size| shot(kind, to, *size)).collect();
        let hits = fire(&shots, Clock.now().plus(wait));
        let through = |hit: &Hit| matches!(fate(kind, hit), Fate::Through);
        let best = hits.iter().rposition(through);
        let next_passes = best.map_or(passes, |place| sizes[place]);
        // The smallest above it that was silent.
        fails = best
            .map_or(sizes.first(), |place| sizes.get(place + 1))
            .copied()
            .unwrap_or(fails);
        passes = next_passes;
    }
    let tries = 3;
    let again: Vec<Shot> = (0..tries)
        .flat_map(|_| [shot(kind, to, passes), shot(kind, to, fails)])
        .collect();
    let hits = fire(&again, Clock.now().plus(wait));
    let small = hits
        .iter()
        .step_by(2)
        .filter(|hit| matches!(fate(kind, hit), Fate::Through));
    let big = hits
        .iter()
        .skip(1)
        .step_by(2)
        .filter(|hit| matches!(fate(kind, hit), Fate::Silent));
    let (small, big) = (small.count(), big.count());
    if big < tries || small == 0 {
        return MtuFacts::Unclear { size: largest };
    }
    MtuFacts::BlackHole {
        passes,
        lost: fails,
        tries: tries as u32 + 1,
        by_udp: (kind == Kind::Echo)
            .then(|| second_opinion(to, passes, fails, wait))
            .flatten(),
    }
}

/// Whether UDP datagrams of a size vanish, too; `None` where small ones are silent as well.
fn second_opinion(to: SocketAddr, passes: u32, fails: u32, wait: Duration) -> Option<bool> {
    match (
        try_one(Kind::Udp, to, passes, wait),
        try_one(Kind::Udp, to, fails, wait),
    ) {
        (Fate::Through, Fate::Silent) => Some(true),
        (Fate::Through, Fate::Through) => Some(false),
        _ => None,
    }
}

fn told(
    kind: Kind,
    to: SocketAddr,
    fits: Option<u32>,
    from: Option<std::net::IpAddr>,
    wait: Duration,
) -> MtuFacts {
    let Some(size) = fits else {
        return MtuFacts::Unclear { size: 0 };
    };
    let mut size = size;
    let mut through = false;
    // Further on may be a narrower link still.
    for _ in 0..4 {
        match try_one(kind, to, size, wait) {
            Fate::Through => {
                through = true;
                break;
            }
            Fate::TooBig { fits: Some(fits), .. } if fits < size => size = fits,
            _ => break,
        }
    }
    MtuFacts::Told {
        size,
        from,
        fits_through: through,
    }
}

/// Few packets: "port unreachable" is rationed (RFC 1812 section 4.3.2.8).
fn by_udp(to: SocketAddr, largest: u32) -> MtuFacts {
    let wait = Duration::from_millis(350);
    let small = if to.is_ipv6() { LEAST_V6 } else { LEAST_V4 };
    if !matches!(try_one(Kind::Udp, to, small, wait), Fate::Through) {
        return MtuFacts::NotTried;
    }
    let mut silent = 0;
    for _ in 0..3 {
        match try_one(Kind::Udp, to, largest, wait) {
            Fate::Through => return MtuFacts::Whole { size: largest },
            Fate::TooBig { fits, from } => return told(Kind::Udp, to, fits, from, wait),
            Fate::Silent => silent += 1,
            Fate::Other => return MtuFacts::NotTried,
        }
    }
    // Is it the size, or are answers rationed by now?
    match try_one(Kind::Udp, to, small, Duration::from_millis(1_100)) {
        Fate::Through => MtuFacts::BlackHole {
            passes: small,
            lost: largest,
            tries: silent,
            by_udp: Some(true),
        },
        _ => MtuFacts::Unclear { size: largest },
    }
}
