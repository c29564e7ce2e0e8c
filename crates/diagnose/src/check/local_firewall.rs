//! LOCAL_FIREWALL: whether this host's own packet filter eats the packets; convicted by what left and what did not.

use std::time::Duration;

use rping_engine::Reason;

use super::rules::{judge, rise, Packet, Ruled};
use super::{connect_blame, echo_blame, icmp_words, skipped, Blame, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::volley::Hit;
use crate::gather::Facts;

pub(crate) struct LocalFirewall;

impl Check for LocalFirewall {
    fn name(&self) -> &'static str {
        Layer::LocalFirewall.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        if facts.subject.is_none() || facts.way.as_ref().is_none_or(|way| way.usable().is_none()) {
            return skipped(
                self.name(),
                "no way to the target, so nothing would leave this host anyway",
            );
        }
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        let mut seen = Vec::new();
        let mut what = None;
        // On its way out: refused, or eaten.
        if let Some((Blame::Own(reason), error, _)) = connect_blame(facts) {
            if reason == Reason::LocalFirewall {
                finding.evidence.push(format!(
                    "the connect was refused by this host itself: {} from an address of its own",
                    icmp_words(error)
                ));
                seen.push(Seen::Answer);
                what = Some("rejects");
            }
        }
        if let Tried::Errno {
            errno: libc::EPERM, ..
        } = facts.connect
        {
            finding.evidence.push("the connect failed with EPERM".to_owned());
            seen.push(Seen::Errno);
            what = Some("drops");
        }
        let echo_forbidden = facts
            .echo
            .iter()
            .any(|hit| matches!(hit, Hit::NotSent(refusal) if refusal.reason == Reason::LocalFirewall))
            || matches!(echo_blame(facts), Some((Blame::Own(Reason::LocalFirewall), ..)));
        let wire = &facts.wire;
        let is_watched = wire.why_not.is_none() && wire.missed == 0;
        if what.is_some() && is_watched && wire.syn_out == 0 {
            finding
                .evidence
                .push("no SYN was seen leaving by the interface".to_owned());
            seen.push(Seen::Wire);
        }
        let resent = match facts.connect {
            Tried::Silent { resent, .. } => Some(resent),
            _ => None,
        };
        if let Some(resent) = resent {
            let failed = match facts.failed {
                [Some(before), Some(after)] => after.saturating_sub(before),
                _ => 0,
            };
            if resent > 0 && failed >= u64::from(resent) {
                finding.evidence.push(format!(
                    "{resent} SYNs were sent again, and the kernel counts {failed} that it could not send (TCPRetransFail)"
                ));
                seen.push(Seen::Counter);
                what = Some("drops");
            }
            let neighbour_known = super::next_hop_is_there(facts) == Some(true)
                || facts.way.as_ref().is_some_and(|way| !way.resolves());
            if is_watched && neighbour_known && wire.syn_out == 0 {
                finding
                    .evidence
                    .push("no SYN was seen leaving by the interface".to_owned());
                seen.push(Seen::Wire);
                what = Some("drops");
            }
            if is_watched && wire.syn_ack_in > 0 {
                finding.evidence.push(format!(
                    "{} SYN-ACKs arrived at the interface, and the connect heard of none",
                    wire.syn_ack_in
                ));
                seen.push(Seen::Wire);
                seen.push(Seen::Answer);
                what = Some("drops answers to");
            }
        }
        if what.is_some() && echo_forbidden {
            finding
                .evidence
                .push("an echo request was refused with EPERM".to_owned());
            seen.push(Seen::SecondAnswer);
        }
        if what.is_none() && echo_forbidden {
            finding.evidence.push(
                "an echo request was refused by this host itself (EPERM); the connect was not".to_owned(),
            );
            if facts.port.is_none() {
                what = Some("drops");
                seen.push(Seen::Errno);
            }
        }
        let rules = read_rules(facts);
        finding.evidence.extend(rules.lines);
        if let Some(culprit) = &rules.culprit {
            let is_silent = matches!(facts.connect, Tried::Silent { .. });
            if what.is_none() && culprit.convicts && is_silent && !is_watched {
                what = Some("drops");
                seen.push(Seen::Answer);
            }
            if what.is_some() {
                seen.push(Seen::Rule);
            }
        }
        if is_watched && facts.port.is_some() && wire.syn_out > 0 && what.is_none() {
            finding.evidence.push(format!(
                "{} seen leaving by the interface",
                super::words::count(wire.syn_out as usize, "SYN was", "SYNs were")
            ));
        }
        if !is_watched {
            finding.evidence.extend(
                wire.why_not
                    .clone()
                    .map(|why| format!("the packets themselves were not watched: {why}")),
            );
        }
        let Some(what) = what else {
            if is_watched && wire.syn_out > 0 || facts.works() {
                return finding
                    .proves(
                        "this host's own filter lets the packets out",
                        "that every packet may pass",
                    )
                    .into();
            }
            finding.result = Outcome::Unknown;
            return finding
                .proves(
                    String::new(),
                    "whether this host's own filter lets the packets out",
                )
                .into();
        };
        finding.result = Outcome::Fail;
        let named = rules
            .culprit
            .map(|culprit| format!(": {}.", culprit.by))
            .unwrap_or_else(|| ".".to_owned());
        let summary = format!("This host's own firewall {what} the packets{named}");
        let finding = finding
            .proves("the packets do not get past this host's own filter", "that anything else is wrong or right")
            .next("Look at the rule (nft list ruleset, or iptables -nvL), and allow this flow if it is meant to pass.");
        Judged::fault(finding, Layer::LocalFirewall, seen, summary)
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.firewall
    }
}

/// The rule that would decide, as far as the rules say.
struct Culprit {
    by: String,
    /// Surely, or its counter rose while the probes ran.
    convicts: bool,
}

#[derive(Default)]
struct Rules {
    lines: Vec<String>,
    culprit: Option<Culprit>,
}

fn read_rules(facts: &Facts) -> Rules {
    let mut found = Rules::default();
    if !facts.firewall.unread.is_empty() {
        found.lines.push(format!(
            "tables of the older iptables are there and were not read: {}",
            super::words::list(&facts.firewall.unread)
        ));
    }
    let before = match &facts.firewall.before {
        Some(Ok(before)) => before,
        Some(Err(why)) => {
            found
                .lines
                .push(format!("the packet filter's rules were not read: {why}"));
            return found;
        }
        None => return found,
    };
    let older = match facts.firewall.older.is_empty() {
        true => String::new(),
        false => format!(
            " and older iptables ({})",
            super::words::list(&facts.firewall.older)
        ),
    };
    found.lines.push(format!(
        "nftables{older}: {} in {} read",
        super::words::count(before.rules.len(), "rule", "rules"),
        super::words::count(before.chains.len(), "chain", "chains")
    ));
    for leaves in [true, false] {
        let Some(packet) = packet(facts, leaves) else {
            continue;
        };
        let Ruled::Taken { by, surely, rejects } = judge(before, &packet) else {
            continue;
        };
        let rise = facts
            .firewall
            .after
            .as_ref()
            .map_or(0, |after| rise(before, after, &by));
        let (way, would) = match (leaves, rejects) {
            (true, true) => ("on the way out", "rejected"),
            (true, false) => ("on the way out", "dropped"),
            (false, true) => ("on the way back", "rejected"),
            (false, false) => ("on the way back", "dropped"),
        };
        let certainty = if surely { "are" } else { "may be" };
        let counted = match rise {
            0 => String::new(),
            n => format!("; its counter rose by {n}"),
        };
        found.lines.push(format!(
            "by the rules, packets {way} {certainty} {would} by {by}{counted}"
        ));
        let convicts = surely || rise > 0;
        if convicts || found.culprit.is_none() {
            found.culprit = Some(Culprit { by, convicts });
        }
        if convicts {
            break;
        }
    }
    found
}

/// The flow's first packet, or the answer to it.
fn packet(facts: &Facts, leaves: bool) -> Option<Packet> {
    let to = facts.subject?;
    let way = facts.way.as_ref()?;
    let (source, destination) = match leaves {
        true => (way.source, Some(to.ip())),
        false => (Some(to.ip()), way.source),
    };
    Some(Packet {
        leaves,
        begins: leaves,
        source,
        destination,
        port: facts.port,
        interface: way
            .egress
            .as_ref()
            .map(|egress| (egress.name.clone(), egress.index)),
        v6: to.is_ipv6(),
    })
}
