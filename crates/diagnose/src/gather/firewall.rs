//! This host's own packet filter: its rules, read before and after the probes, so that a counter that rose can be seen.

use rping_net::netlink::nftables::{ruleset, Ruleset};
use rping_net::xtables;

/// What is known of the packet filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirewallFacts {
    /// The rules before the probes, or why they could not be read; those of the older iptables are among them.
    pub(crate) before: Option<Result<Ruleset, String>>,
    pub(crate) after: Option<Ruleset>,
    /// Tables of the older iptables, read.
    pub(crate) older: Vec<String>,
    /// Tables of the older iptables that could not be read, each with the reason.
    pub(crate) unread: Vec<String>,
}

impl FirewallFacts {
    /// Every rule of this host is known.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.before, Some(Ok(_))) && self.unread.is_empty()
    }
}

pub(crate) fn before(may: bool) -> FirewallFacts {
    let mut facts = FirewallFacts::default();
    let mut read = match may {
        true => ruleset().map_err(|error| error.to_string()),
        false => Err("reading them takes CAP_NET_ADMIN".to_owned()),
    };
    older(&mut read, &mut facts.older, &mut facts.unread);
    facts.before = Some(read);
    facts
}

/// Adds what the older iptables has.
fn older(rules: &mut Result<Ruleset, String>, seen: &mut Vec<String>, unread: &mut Vec<String>) {
    for v6 in [false, true] {
        for table in xtables::tables(v6) {
            let name = format!("{} {table}", if v6 { "ip6" } else { "ip" });
            let Ok(rules) = rules else {
                unread.push(name);
                continue;
            };
            match xtables::read(v6, &table) {
                Ok(more) => {
                    rules.chains.extend(more.chains);
                    rules.rules.extend(more.rules);
                    seen.push(name);
                }
                Err(why) => unread.push(format!("{name} ({why})")),
            }
        }
    }
}

pub(crate) fn after(mut facts: FirewallFacts) -> FirewallFacts {
    if matches!(facts.before, Some(Ok(_))) {
        let mut again = ruleset().map_err(|error| error.to_string());
        older(&mut again, &mut Vec::new(), &mut Vec::new());
        facts.after = again.ok();
    }
    facts
}
