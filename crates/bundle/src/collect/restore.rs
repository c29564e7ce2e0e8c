//! `netconfig.restore`: the addresses, routes and rules that somebody has set, as lines for `ip -batch`.

use rping_net::iface::{interfaces, Interface};
use rping_net::netlink::{every_route, policy, PolicyRule, RouteEntry, RouteKind};

use crate::Bundle;

/// `RTPROT_KERNEL`, `RTPROT_RA`: what the kernel makes by itself comes back by itself.
const OWN: [u8; 2] = [2, 9];
/// The tables that are always there, and the rules that ask them.
const LOCAL: u32 = 255;
const USUAL: [u32; 3] = [0, 32_766, 32_767];

pub(super) fn restore(bundle: &mut Bundle) {
    let links = interfaces().unwrap_or_default();
    let mut lines = vec!["# ip -batch netconfig.restore; nothing is taken away by it".to_owned()];
    for link in links.iter().filter(|link| !link.loopback) {
        let state = if link.up { "up" } else { "down" };
        lines.push(format!("link set dev {} mtu {} {state}", link.name, link.mtu));
        for address in &link.addresses {
            // The kernel makes these from the interface's own address.
            let is_made = matches!(address.address, std::net::IpAddr::V6(six) if six.is_unicast_link_local());
            if !is_made {
                lines.push(format!(
                    "address replace {}/{} dev {}",
                    address.address, address.prefix, link.name
                ));
            }
        }
    }
    for v6 in [false, true] {
        let family = if v6 { "-6 " } else { "" };
        let routes = every_route(v6).unwrap_or_default();
        let set = routes
            .iter()
            .filter(|entry| entry.table != LOCAL && !OWN.contains(&entry.protocol));
        lines.extend(
            set.filter_map(|entry| {
                route(entry, &links).map(|route| format!("{family}route replace {route}"))
            }),
        );
        let rules = policy(v6).unwrap_or_default();
        let set = rules
            .iter()
            .filter(|rule| !USUAL.contains(&rule.priority) && rule.action == 1);
        lines.extend(set.map(|found| format!("{family}rule add {}", rule(found))));
    }
    let source = "rtnetlink RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE";
    super::add_lines(bundle, "netconfig.restore", source, lines);
}

fn route(entry: &RouteEntry, links: &[Interface]) -> Option<String> {
    let kind = match entry.kind {
        RouteKind::Unicast => "",
        RouteKind::Blackhole => "blackhole ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Prohibit => "prohibit ",
        RouteKind::Throw => "throw ",
        _ => return None,
    };
    let to = match entry.network {
        Some(network) => format!("{network}/{}", entry.prefix),
        None => "default".to_owned(),
    };
    let mut line = format!("{kind}{to}");
    if let Some(gateway) = entry.gateway {
        line.push_str(&format!(" via {gateway}"));
    }
    let link = links.iter().find(|link| link.index == entry.ifindex);
    if let Some(link) = link.filter(|_| kind.is_empty()) {
        line.push_str(&format!(" dev {}", link.name));
    }
    line.push_str(&format!(" table {}", entry.table));
    if let Some(source) = entry.prefsrc {
        line.push_str(&format!(" src {source}"));
    }
    if entry.metric != 0 {
        line.push_str(&format!(" metric {}", entry.metric));
    }
    line.push_str(if entry.on_link { " onlink" } else { "" });
    Some(line)
}

fn rule(rule: &PolicyRule) -> String {
    let mut line = format!("priority {}", rule.priority);
    line.push_str(if rule.inverted { " not" } else { "" });
    for (word, network) in [("from", rule.from), ("to", rule.to)] {
        if let Some((address, bits)) = network {
            line.push_str(&format!(" {word} {address}/{bits}"));
        }
    }
    for (word, interface) in [("iif", &rule.came_by), ("oif", &rule.leaves_by)] {
        if let Some(interface) = interface {
            line.push_str(&format!(" {word} {interface}"));
        }
    }
    if let Some((mark, mask)) = rule.mark {
        line.push_str(&format!(" fwmark {mark:#x}/{mask:#x}"));
    }
    line.push_str(&format!(" lookup {}", rule.table));
    line
}
