//! NEIGHBOUR: a target on this host's own link, asked by ARP or neighbour discovery.

use std::time::Duration;

use super::gateway::{absence, question};
use super::words::{list, mac, time};
use super::{next_hop_is_there, skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::Facts;

pub(crate) struct Neighbour;

impl Check for Neighbour {
    fn name(&self) -> &'static str {
        Layer::Neighbour.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let Some(way) = facts.way.as_ref().filter(|way| way.usable().is_some()) else {
            return skipped(self.name(), "no route, so no neighbour to ask");
        };
        if facts.subject.is_none() {
            return skipped(self.name(), "no address to ask for");
        }
        if way.is_own || way.is_routed() {
            return skipped(
                self.name(),
                "the target is not a neighbour: it is this host, or behind a router",
            );
        }
        if !way.resolves() {
            return skipped(self.name(), "no neighbour is resolved on this kind of link");
        }
        let (Some(to), Some(egress)) = (way.next_hop, &way.egress) else {
            return skipped(self.name(), "no neighbour to ask");
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        match way.asked.next_hop.as_deref() {
            Some([]) => finding.evidence.push(format!(
                "{to} answers no {} on {} (3 asked)",
                question(facts),
                egress.name
            )),
            Some(claims) => finding.evidence.extend(
                claims
                    .iter()
                    .map(|claim| format!("{to} is at {}, answered in {}", mac(claim.mac), time(claim.after))),
            ),
            None => finding.evidence.extend(way.asked.why_not.clone()),
        }
        if let Some(state) = way.entry[1] {
            let at = way
                .entry_mac
                .map(|m| format!(" at {}", mac(m)))
                .unwrap_or_default();
            finding
                .evidence
                .push(format!("the kernel's entry for {to} is {}{at}", state.as_str()));
        }
        let claims = way.asked.next_hop.as_deref().unwrap_or_default();
        if claims.len() > 1 {
            return duplicate(finding, &to.to_string(), claims);
        }
        match next_hop_is_there(facts) {
            Some(true) => finding
                .proves(
                    "the target, or whoever answers for it, is alive on this link",
                    "that its own stack or firewall lets anything through",
                )
                .into(),
            Some(false) => {
                finding.result = Outcome::Fail;
                let finding = finding
                    .proves(
                        "nobody on this link answers for the address (Windows would say: Destination host unreachable)",
                        "whether the host is down, has another address, or is on another VLAN",
                    )
                    .next(
                        "Is the host up, is its address right, are both in the same VLAN and switch (trunk or access \
                         port)? A capture at both ends shows how far the request gets.",
                    );
                let summary = format!(
                    "{to} answers no {} on {} (3 requests, 0 replies): the host is down, has another address, or is on \
                     another VLAN.",
                    question(facts),
                    egress.name
                );
                let seen = absence(facts);
                Judged::fault(finding, Layer::Neighbour, seen, summary)
            }
            None => {
                finding.result = Outcome::Unknown;
                finding
                    .proves(String::new(), "whether the target is on this link")
                    .into()
            }
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.neighbour
    }
}

fn duplicate(mut finding: Finding, to: &str, claims: &[rping_arp::Claim]) -> Judged {
    finding.result = Outcome::Fail;
    let macs: Vec<String> = claims.iter().map(|claim| mac(claim.mac)).collect();
    let finding = finding
        .proves(
            "more than one link-layer address claims the same IP address",
            "that these are two hosts: one host with two cards on this link can look like this",
        )
        .next(
            "Find both by their MAC addresses in the switch's table, and give one of them another address.",
        );
    let summary = format!(
        "{to} is a duplicate address: {} both answer for it. Packets reach now one, now the other.",
        list(&macs)
    );
    let often = claims.iter().all(|claim| claim.answers >= 2);
    let mut seen = vec![Seen::Wire];
    if often {
        seen.push(Seen::Answer);
    }
    Judged::fault(finding, Layer::Neighbour, seen, summary)
        .whatever_works()
        .ambiguous()
}
