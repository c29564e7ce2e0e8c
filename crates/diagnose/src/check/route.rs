//! ROUTE: the route that is really used, and what the routing tables have against the target.

use std::net::IpAddr;
use std::time::Duration;

use rping_net::iface::same_subnet;
use rping_net::netlink::{RouteEntry, RouteKind};

use super::words::{count, mac};
use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::way::WayFacts;
use crate::gather::Facts;

pub(crate) struct Route;

impl Check for Route {
    fn name(&self) -> &'static str {
        Layer::Route.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let (Some(way), Some(to)) = (&facts.way, facts.way_target()) else {
            return skipped(self.name(), "no address to look up a route for");
        };
        let finding = Finding::new(self.name(), Outcome::Pass);
        match way.usable() {
            None => no_route(finding, facts, way, to),
            Some(_) if way.is_own => finding
                .saw(format!("{to} is this host's own address"))
                .proves("packets to it stay on this host", "anything about the network")
                .into(),
            Some(route) => {
                let egress = way
                    .egress
                    .as_ref()
                    .map_or("an unknown interface", |e| e.name.as_str());
                let from = way
                    .source
                    .map_or("no address of ours".to_owned(), |s| s.to_string());
                let line = match route.gateway {
                    Some(gateway) => {
                        format!("{} goes to {gateway} by {egress}, from {from}", facts.way_words())
                    }
                    None => format!("{} is on the link of {egress}, from {from}", facts.way_words()),
                };
                let finding = others(finding.saw(line), way);
                wide_mask(&finding, way, to).unwrap_or_else(|| {
                    finding
                        .proves(
                            "this host knows where to send the packets",
                            "that somebody is there",
                        )
                        .into()
                })
            }
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.way
    }
}

fn defaults(way: &WayFacts) -> Vec<&RouteEntry> {
    way.routes
        .iter()
        .filter(|route| route.prefix == 0 && route.kind == RouteKind::Unicast)
        .collect()
}

fn others(mut finding: Finding, way: &WayFacts) -> Finding {
    let all = defaults(way);
    if all.len() > 1 {
        let gateways: Vec<String> = all
            .iter()
            .map(|route| {
                let gateway = route.gateway.map_or("the link".to_owned(), |g| g.to_string());
                format!("{gateway} (metric {})", route.metric)
            })
            .collect();
        finding.evidence.push(format!(
            "{} compete: {}",
            count(all.len(), "default route", "default routes"),
            super::words::list(&gateways)
        ));
    }
    finding
}

/// The target is silent on the link, and a router on the link knows the way: the mask is too wide.
fn wide_mask(finding: &Finding, way: &WayFacts, to: IpAddr) -> Option<Judged> {
    let around = way.asked.around.as_ref().filter(|around| around.answered)?;
    let egress = way.egress.as_ref()?;
    let own = egress
        .addresses
        .iter()
        .find(|own| same_subnet(own.address, to, own.prefix))?;
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let finding = finding
        .saw(format!("{to} answers no ARP request on {}", egress.name))
        .saw(format!(
            "the same packet sent to the router {} ({}) is answered by {to}",
            around.router,
            around.mac.map(mac).unwrap_or_default()
        ))
        .proves(
            format!(
                "{to} is behind {}, not on the link of {}",
                around.router, egress.name
            ),
            "which mask is the right one",
        )
        .next(format!(
            "Correct the mask of {} on {}: /{} is too short.",
            own.address, egress.name, own.prefix
        ));
    let summary = format!(
        "The mask /{} on {} is too wide: {to} is taken to be on the link, does not answer there, and does through {}.",
        own.prefix, egress.name, around.router
    );
    Some(Judged::fault(
        finding,
        Layer::Route,
        vec![Seen::Answer, Seen::SecondAnswer, Seen::Table],
        summary,
    ))
}

fn no_route(mut finding: Finding, facts: &Facts, way: &WayFacts, to: IpAddr) -> Judged {
    let errno = match way.route {
        Some(Err(errno)) => errno,
        _ => 0,
    };
    let kind = match way.route {
        Some(Ok(route)) => Some(route.kind),
        _ => None,
    };
    let in_table = way.routes.iter().find(|entry| {
        let matches = match entry.network {
            Some(network) => same_subnet(network, to, entry.prefix),
            None => entry.prefix == 0 && entry.gateway.is_none_or(|g| g.is_ipv4() == to.is_ipv4()),
        };
        matches && crate::gather::way::is_refusing(entry.kind)
    });
    let refusing = kind
        .filter(|kind| crate::gather::way::is_refusing(*kind))
        .or(in_table.map(|e| e.kind));
    finding.result = Outcome::Fail;
    let called = facts.way_words();
    let (what, summary, next) = match (refusing, errno) {
        (Some(RouteKind::Blackhole), _) | (None, libc::EINVAL) => refused(&called, "blackhole"),
        (Some(RouteKind::Unreachable), _) | (None, libc::EHOSTUNREACH) => refused(&called, "unreachable"),
        (Some(RouteKind::Prohibit), _) | (None, libc::EACCES) => refused(&called, "prohibit"),
        (Some(RouteKind::Throw), _) => refused(&called, "throw"),
        _ => none(way, facts, to, &called),
    };
    finding.evidence.push(what);
    if let Some(entry) = in_table {
        finding.evidence.push(format!(
            "in table {}: {}/{}",
            entry.table,
            entry.network.map_or("default".to_owned(), |n| n.to_string()),
            entry.prefix
        ));
    }
    let mut seen = vec![Seen::Table];
    if let Tried::Errno { errno, after } = facts.connect {
        finding.evidence.push(format!(
            "the connect failed at once ({}) with error number {errno}",
            super::words::time(after)
        ));
        seen.push(Seen::Errno);
    } else if facts
        .echo
        .iter()
        .any(|hit| matches!(hit, crate::gather::volley::Hit::NotSent(_)))
    {
        seen.push(Seen::Errno);
    }
    let finding = finding
        .proves(
            "nothing left this host: its own tables refuse",
            "anything about the target",
        )
        .next(next);
    Judged::fault(finding, Layer::Route, seen, summary)
}

fn refused(to: &str, kind: &str) -> (String, String, String) {
    (
        format!("the route to {to} is of type {kind}: this host refuses to send"),
        format!("A {kind} route of this host's own covers {to}: its packets are refused before they leave."),
        format!(
            "Find out who set it (ip route show table all type {kind}), and delete it if it is not meant."
        ),
    )
}

fn none(way: &WayFacts, facts: &Facts, to: IpAddr, called: &str) -> (String, String, String) {
    let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
    let own: Vec<String> = facts
        .own
        .interfaces
        .iter()
        .filter(|i| !i.loopback && i.up)
        .flat_map(|i| i.addresses.iter().map(move |a| (i, a)))
        .filter(|(_, a)| a.address.is_ipv4() == to.is_ipv4() && crate::gather::own::is_global(a.address))
        .map(|(i, a)| format!("{}/{} on {}", a.address, a.prefix, i.name))
        .collect();
    let next = if own.is_empty() {
        format!("Give an interface an {family} address and a default gateway.")
    } else {
        format!(
            "Add a route, or a default gateway; the gateway must be within a network of this host's own ({}).",
            super::words::list(&own)
        )
    };
    let has_default = !defaults(way).is_empty();
    let why = if has_default {
        "its default route cannot be used"
    } else {
        "and there is no default route"
    };
    (
        format!("no route to {called}, {why}"),
        format!("This host has no route to {called}, {why} (Windows would say: General failure)."),
        next,
    )
}
