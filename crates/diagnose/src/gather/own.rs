//! This host by itself: its interfaces and what they have been through, its addresses, its loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rping_engine::Reason;
use rping_net::iface::{self, Condition, Interface};
use rping_net::Clock;

use super::connects::{Aim, Connects, Tried};
use super::volley::{fire, Hit, Kind, Shot};

/// Interfaces whose counters are read.
const WATCHED: usize = 64;

/// What an interface has been through, at the beginning and at the end of the diagnosis.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) index: u32,
    pub(crate) before: Condition,
    pub(crate) after: Option<Condition>,
    /// `full` or `half`, where the driver tells.
    pub(crate) duplex: Option<String>,
    /// Mbit/s, where the driver tells.
    pub(crate) speed: Option<u32>,
}

/// This host by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnFacts {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) watched: Vec<Watched>,
    /// Whether packets to 127.0.0.1 come back.
    pub(crate) loopback: Option<bool>,
}

impl OwnFacts {
    pub(crate) fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    pub(crate) fn watched(&self, index: u32) -> Option<&Watched> {
        self.watched.iter().find(|watched| watched.index == index)
    }

    /// Reads the counters a second time.
    pub(crate) fn look_again(&mut self) {
        for watched in &mut self.watched {
            watched.after = iface::condition(watched.index).ok().flatten();
        }
    }
}

pub(crate) fn gather() -> OwnFacts {
    let interfaces = iface::interfaces().unwrap_or_default();
    let watched = interfaces
        .iter()
        .filter(|interface| !interface.loopback)
        .take(WATCHED)
        .filter_map(|interface| {
            let file = |name: &str| {
                let path = format!("/sys/class/net/{}/{name}", interface.name);
                Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
            };
            Some(Watched {
                index: interface.index,
                before: iface::condition(interface.index).ok().flatten()?,
                after: None,
                duplex: file("duplex").filter(|word| word != "unknown"),
                speed: file("speed").and_then(|text| text.parse().ok()),
            })
        })
        .collect();
    OwnFacts {
        interfaces,
        watched,
        loopback: loopback(),
    }
}

/// A connect to a port of 127.0.0.1 that nobody listens on is answered by a reset: that needs no right. Where it is not,
/// an echo request has the last word.
fn loopback() -> Option<bool> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let until = Clock.now().plus(Duration::from_millis(200));
    let mut connects = Connects::start(vec![Aim { to, ttl: None }]);
    while !connects.is_settled() && connects.wait(until) == rping_net::Woken::Ready {}
    let tried = connects.tried(0);
    connects.end();
    if tried.is_answer() {
        return Some(true);
    }
    let no_route = matches!(tried, Tried::Errno { .. });
    match fire(
        &[Shot::new(Kind::Echo, to)],
        Clock.now().plus(Duration::from_millis(200)),
    )
    .pop()
    {
        Some(Hit::Answered { .. }) => Some(true),
        // The packet filter's business, not the stack's.
        Some(Hit::NotSent(refusal)) if refusal.reason == Reason::LocalFirewall => None,
        Some(Hit::Denied(_)) | None => no_route.then_some(false),
        _ => Some(false),
    }
}

/// Whether an address can be reached beyond its own link.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local() && six != Ipv6Addr::UNSPECIFIED,
    }
}
