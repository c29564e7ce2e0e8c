//! This host's own packet filter: its rules, read before and after the probes, so that a counter that rose can be seen.

use rping_net::netlink::nftables::{ruleset, Ruleset};

/// What is known of the packet filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirewallFacts {
    /// The rules before the probes, or why they could not be read.
    pub(crate) before: Option<Result<Ruleset, String>>,
    pub(crate) after: Option<Ruleset>,
    /// Tables of the older iptables, which are not read.
    pub(crate) legacy: Vec<String>,
}

pub(crate) fn before(may: bool) -> FirewallFacts {
    let read = match may {
        true => ruleset().map_err(|error| error.to_string()),
        false => Err("reading them takes CAP_NET_ADMIN".to_owned()),
    };
    let names = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let legacy = [
        "/proc/thread-self/net/ip_tables_names",
        "/proc/thread-self/net/ip6_tables_names",
    ]
    .iter()
    .flat_map(|file| names(file).lines().map(str::to_owned).collect::<Vec<_>>())
    .collect();
    FirewallFacts {
        before: Some(read),
        after: None,
        legacy,
    }
}

pub(crate) fn after(mut facts: FirewallFacts) -> FirewallFacts {
    if matches!(facts.before, Some(Ok(_))) {
        facts.after = ruleset().ok();
    }
    facts
}
