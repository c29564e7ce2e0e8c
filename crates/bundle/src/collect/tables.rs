//! Tables over netlink and from the drivers: links, addresses, routes, rules, neighbours, offloads, the packet filter.

use std::io;
use std::net::IpAddr;

use rping_net::ethtool::Ethtool;
use rping_net::iface::{condition, interfaces, Interface};
use rping_net::netlink::nftables::ruleset;
use rping_net::netlink::{every_route, neighbours as entries, policy, PolicyRule, RouteEntry, RouteKind};

use super::{add_lines, plain, read_bounded, right_for};
use crate::Bundle;

/// The interfaces, or the reason why none can be told.
fn all(bundle: &mut Bundle, what: &str) -> Vec<Interface> {
    interfaces().unwrap_or_else(|error| {
        bundle.unread(what, "rtnetlink RTM_GETLINK", &plain(&error), right_for(&error));
        Vec::new()
    })
}

fn name_of(all: &[Interface], index: u32) -> String {
    all.iter()
        .find(|interface| interface.index == index)
        .map_or_else(|| format!("if{index}"), |interface| interface.name.clone())
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

pub(super) fn links(bundle: &mut Bundle) {
    let ethtool = Ethtool::open().ok();
    let mut lines = Vec::new();
    for link in all(bundle, "links.txt") {
        let mut line = format!("{} index {}", link.name, link.index);
        for (is, word) in [
            (link.up, " up"),
            (!link.up, " down"),
            (link.running, " running"),
            (link.lower_up, " carrier"),
            (!link.lower_up, " no-carrier"),
            (link.loopback, " loopback"),
            (!link.resolves, " noarp"),
        ] {
            line.push_str(if is { word } else { "" });
        }
        line.push_str(&format!(" mtu {} hardware {}", link.mtu, link.hardware));
        if let Some(address) = link.mac {
            line.push_str(&format!(" mac {}", mac(address)));
        }
        if let Ok(Some(seen)) = condition(link.index) {
            line.push_str(&format!(
                " operational {} carrier_changes {}",
                seen.operational, seen.carrier_changes
            ));
        }
        if let Some(Ok(medium)) = ethtool.as_ref().map(|ethtool| ethtool.medium(&link.name)) {
            if let Some(megabits) = medium.megabits {
                line.push_str(&format!(" speed {megabits}Mb/s"));
            }
            if let Some(full) = medium.full_duplex {
                line.push_str(if full { " duplex full" } else { " duplex half" });
            }
            line.push_str(if medium.negotiated {
                " negotiated"
            } else {
                " fixed"
            });
        }
        lines.push(line);
    }
    let source = "rtnetlink RTM_GETLINK, SIOCETHTOOL (as `ip -d link` and `ethtool` show it)";
    add_lines(bundle, "links.txt", source, lines);
}

pub(super) fn addresses(bundle: &mut Bundle) {
    let mut lines = Vec::new();
    for link in all(bundle, "addresses.txt") {
        for address in &link.addresses {
            let mut line = format!("{} {}/{}", link.name, address.address, address.prefix);
            if let Some(broadcast) = address.broadcast {
                line.push_str(&format!(" broadcast {broadcast}"));
            }
            line.push_str(if address.tentative { " tentative" } else { "" });
            line.push_str(if address.duplicated { " duplicate" } else { "" });
            lines.push(line);
        }
    }
    add_lines(
        bundle,
        "addresses.txt",
        "rtnetlink RTM_GETADDR (as `ip address` shows it)",
        lines,
    );
}

pub(super) fn routes(bundle: &mut Bundle) {
    let known = all(bundle, "the interfaces' names in routes.txt");
    let mut lines = Vec::new();
    for v6 in [false, true] {
        match every_route(v6) {
            Ok(found) => lines.extend(found.iter().map(|entry| route(entry, v6, &known))),
            Err(error) => {
                let what = if v6 { "IPv6 routes" } else { "IPv4 routes" };
                bundle.unread(what, "rtnetlink RTM_GETROUTE", &plain(&error), right_for(&error));
            }
        }
    }
    let source = "rtnetlink RTM_GETROUTE (as `ip route show table all` shows it)";
    add_lines(bundle, "routes.txt", source, lines);
}

fn table_word(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}

fn route(entry: &RouteEntry, v6: bool, known: &[Interface]) -> String {
    let kind = match entry.kind {
        RouteKind::Unicast => String::new(),
        RouteKind::Local => "local ".to_owned(),
        RouteKind::Broadcast => "broadcast ".to_owned(),
        RouteKind::Multicast => "multicast ".to_owned(),
        RouteKind::Blackhole => "blackhole ".to_owned(),
        RouteKind::Unreachable => "unreachable ".to_owned(),
        RouteKind::Prohibit => "prohibit ".to_owned(),
        RouteKind::Throw => "throw ".to_owned(),
        RouteKind::Other(number) => format!("type-{number} "),
    };
    let to = match (entry.network, v6) {
        (Some(network), _) => format!("{network}/{}", entry.prefix),
        (None, false) => "default (IPv4)".to_owned(),
        (None, true) => "default (IPv6)".to_owned(),
    };
    let mut line = format!("{kind}{to}");
    if let Some(gateway) = entry.gateway {
        line.push_str(&format!(" via {gateway}"));
    }
    if entry.ifindex != 0 {
        line.push_str(&format!(" dev {}", name_of(known, entry.ifindex)));
    }
    line.push_str(&format!(" table {}", table_word(entry.table)));
    line.push_str(&match entry.protocol {
        2 => " proto kernel".to_owned(),
        3 => " proto boot".to_owned(),
        4 => " proto static".to_owned(),
        9 => " proto ra".to_owned(),
        16 => " proto dhcp".to_owned(),
        other => format!(" proto {other}"),
    });
    if let Some(source) = entry.prefsrc {
        line.push_str(&format!(" src {source}"));
    }
    if entry.metric != 0 {
        line.push_str(&format!(" metric {}", entry.metric));
    }
    line.push_str(if entry.on_link { " onlink" } else { "" });
    line.push_str(if entry.is_dead { " dead" } else { "" });
    line
}

pub(super) fn rules(bundle: &mut Bundle) {
    let mut lines = Vec::new();
    for v6 in [false, true] {
        match policy(v6) {
            Ok(found) => lines.extend(found.iter().map(|found| rule(found, v6))),
            Err(error) => {
                let what = if v6 {
                    "IPv6 policy rules"
                } else {
                    "IPv4 policy rules"
                };
                bundle.unread(what, "rtnetlink RTM_GETRULE", &plain(&error), right_for(&error));
            }
        }
    }
    add_lines(
        bundle,
        "rules.txt",
        "rtnetlink RTM_GETRULE (as `ip rule` shows it)",
        lines,
    );
}

fn rule(rule: &PolicyRule, v6: bool) -> String {
    let network = |of: Option<(IpAddr, u8)>| {
        of.map_or_else(|| "all".to_owned(), |(address, bits)| format!("{address}/{bits}"))
    };
    let mut line = format!("{} {}", if v6 { "IPv6" } else { "IPv4" }, rule.priority);
    line.push_str(if rule.inverted { " not" } else { "" });
    line.push_str(&format!(" from {}", network(rule.from)));
    if rule.to.is_some() {
        line.push_str(&format!(" to {}", network(rule.to)));
    }
    if let Some(interface) = &rule.came_by {
        line.push_str(&format!(" iif {interface}"));
    }
    if let Some(interface) = &rule.leaves_by {
        line.push_str(&format!(" oif {interface}"));
    }
    if let Some((mark, mask)) = rule.mark {
        line.push_str(&format!(" fwmark {mark:#x}/{mask:#x}"));
    }
    line.push_str(&match rule.action {
        1 => format!(" lookup {}", table_word(rule.table)),
        2 => " goto".to_owned(),
        3 => " nop".to_owned(),
        6 => " blackhole".to_owned(),
        7 => " unreachable".to_owned(),
        8 => " prohibit".to_owned(),
        other => format!(" action {other}"),
    });
    line
}

pub(super) fn neighbours(bundle: &mut Bundle, name: &str) {
    let mut lines = Vec::new();
    for link in all(bundle, name) {
        match entries(link.index) {
            Ok(found) => lines.extend(found.iter().map(|entry| {
                let address = entry.mac.map_or_else(|| "-".to_owned(), mac);
                format!(
                    "{} {} mac {address} {}",
                    link.name,
                    entry.address,
                    entry.state.as_str()
                )
            })),
            Err(error) => {
                let what = format!("neighbours of {}", link.name);
                bundle.unread(&what, "rtnetlink RTM_GETNEIGH", &plain(&error), right_for(&error));
            }
        }
    }
    lines.sort();
    add_lines(
        bundle,
        name,
        "rtnetlink RTM_GETNEIGH (as `ip neighbour` shows it)",
        lines,
    );
}

pub(super) fn drivers(bundle: &mut Bundle) {
    let ethtool = match Ethtool::open() {
        Ok(ethtool) => ethtool,
        Err(error) => {
            bundle.unread(
                "driver.txt and offload.txt",
                "SIOCETHTOOL",
                &plain(&error),
                right_for(&error),
            );
            return;
        }
    };
    let (mut drivers, mut offloads) = (Vec::new(), Vec::new());
    for link in all(bundle, "driver.txt and offload.txt") {
        // Loopback and its like have no driver to tell of.
        if let Ok(driver) = ethtool.driver(&link.name) {
            let word = |text: &str| {
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    text.to_owned()
                }
            };
            drivers.push(format!(
                "{} driver {} version {} firmware {} bus {}",
                link.name,
                word(&driver.name),
                word(&driver.version),
                word(&driver.firmware),
                word(&driver.bus)
            ));
        }
        match ethtool.features(&link.name) {
            Ok(features) => offloads.extend(features.iter().map(|feature| {
                let state = if feature.active { "on" } else { "off" };
                let fixed = if feature.fixed { " [fixed]" } else { "" };
                format!("{} {} {state}{fixed}", link.name, feature.name)
            })),
            Err(error) => {
                let what = format!("offloads of {}", link.name);
                bundle.unread(
                    &what,
                    "SIOCETHTOOL ETHTOOL_GFEATURES",
                    &plain(&error),
                    right_for(&error),
                );
            }
        }
    }
    add_lines(
        bundle,
        "driver.txt",
        "SIOCETHTOOL ETHTOOL_GDRVINFO (as `ethtool -i` shows it)",
        drivers,
    );
    add_lines(
        bundle,
        "offload.txt",
        "SIOCETHTOOL ETHTOOL_GFEATURES (as `ethtool -k` shows it)",
        offloads,
    );
}

pub(super) fn firewall(bundle: &mut Bundle, name: &str) {
    const SOURCE: &str = "netlink nf_tables NFT_MSG_GETCHAIN, GETRULE (as `nft -a list ruleset` shows it)";
    match ruleset() {
        Ok(rules) => {
            let mut lines = Vec::new();
            for chain in &rules.chains {
                let hook = match chain.hook {
                    Some((hook, priority)) => {
                        let policy = if chain.drops_by_policy { "drop" } else { "accept" };
                        format!(
                            " type {} hook {} priority {priority} policy {policy}",
                            chain.kind,
                            hook_word(hook)
                        )
                    }
                    None => String::new(),
                };
                lines.push(format!(
                    "chain {} {} {}{hook}",
                    family_word(chain.family),
                    chain.table,
                    chain.name
                ));
            }
            for rule in &rules.rules {
                let counted = rule
                    .packets()
                    .map_or_else(String::new, |packets| format!(" ({packets} packets)"));
                lines.push(format!("rule {}{counted}", rping_diagnose::describe_rule(rule)));
            }
            for set in &rules.sets {
                let family = family_word(set.family);
                lines.push(format!(
                    "set {family} {} {}: {} elements",
                    set.table,
                    set.name,
                    set.elements.len()
                ));
            }
            add_lines(bundle, name, SOURCE, lines);
        }
        Err(error) => {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            bundle.unread(
                name,
                SOURCE,
                &plain(&error),
                if denied { "CAP_NET_ADMIN or root" } else { "" },
            );
        }
    }
}

/// Tables of the older iptables, by name: their rules are not read.
pub(super) fn legacy(bundle: &mut Bundle) {
    let mut lines = Vec::new();
    for kind in ["ip", "ip6", "arp"] {
        let path = format!("/proc/thread-self/net/{kind}_tables_names");
        match read_bounded(&path) {
            Ok((bytes, _)) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                lines.extend(text.lines().map(|table| format!("{kind} table {table}")));
            }
            // That kind of filter is not in use.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("names of {kind}tables' legacy tables");
                bundle.unread(&what, &path, &plain(&error), right_for(&error));
            }
        }
    }
    add_lines(
        bundle,
        "firewall-legacy.txt",
        "/proc/net/{ip,ip6,arp}_tables_names",
        lines,
    );
}

fn family_word(family: u8) -> String {
    match family {
        1 => "inet".to_owned(),
        2 => "ip".to_owned(),
        10 => "ip6".to_owned(),
        other => other.to_string(),
    }
}

fn hook_word(hook: u32) -> String {
    match hook {
        0 => "prerouting".to_owned(),
        1 => "input".to_owned(),
        2 => "forward".to_owned(),
        3 => "output".to_owned(),
        4 => "postrouting".to_owned(),
        other => other.to_string(),
    }
}
