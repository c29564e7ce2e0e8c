//! GATEWAY: the router that takes the packets; judged by ARP or neighbour discovery first.

use std::time::Duration;

use super::words::{mac, time};
use super::{next_hop_is_there, skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::Facts;

pub(crate) struct Gateway;

impl Check for Gateway {
    fn name(&self) -> &'static str {
        Layer::Gateway.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let Some(way) = facts.way.as_ref().filter(|way| way.usable().is_some()) else {
            return skipped(self.name(), "no route, so no gateway to look at");
        };
        let (Some(gateway), Some(egress)) = (way.gateway(), &way.egress) else {
            return skipped(
                self.name(),
                "no gateway is on the way: the target is on the link, or this host",
            );
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        let fits = way.gateway_fits().unwrap_or(true);
        finding.evidence.push(match fits {
            true => format!("{gateway} is within a network of {}", egress.name),
            false => format!("{gateway} is in none of the networks of {}", egress.name),
        });
        let claims = way.asked.next_hop.as_deref();
        match claims {
            Some([]) => finding.evidence.push(format!(
                "{gateway} answers no {} on {} (3 asked)",
                question(facts),
                egress.name
            )),
            Some(claims) => finding.evidence.extend(claims.iter().map(|claim| {
                format!(
                    "{gateway} is at {}, answered in {}",
                    mac(claim.mac),
                    time(claim.after)
                )
            })),
            None => finding.evidence.extend(way.asked.why_not.clone()),
        }
        if let Some(state) = way.entry[1] {
            finding
                .evidence
                .push(format!("the kernel's entry for {gateway} is {}", state.as_str()));
        }
        match way.asked.ping {
            Some(true) => finding.evidence.push(format!("{gateway} answers ping")),
            Some(false) => finding.evidence.push(format!(
                "{gateway} does not answer ping, which alone is no fault: many routers do not"
            )),
            None => {}
        }
        if claims.is_some_and(|claims| claims.len() > 1) {
            finding.evidence.push(
                "more than one link-layer address answers: a duplicate address, or a pair of routers"
                    .to_owned(),
            );
        }
        if !way.resolves() {
            return finding
                .proves(
                    "nothing about the gateway: no neighbour is resolved on this kind of link",
                    "",
                )
                .into();
        }
        match next_hop_is_there(facts) {
            Some(true) => finding
                .proves("the gateway is alive at the link layer", "that it forwards")
                .into(),
            Some(false) => dead(finding, facts, fits),
            None => {
                finding.result = Outcome::Unknown;
                finding
                    .proves(String::new(), "whether the gateway is alive")
                    .into()
            }
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.neighbour
    }
}

pub(super) fn question(facts: &Facts) -> &'static str {
    match facts.way.as_ref().and_then(|way| way.next_hop) {
        Some(hop) if hop.is_ipv6() => "neighbour solicitation",
        _ => "ARP request",
    }
}

/// What agrees on a neighbour's absence: our own questions, the kernel's table, the errors that came of it.
pub(super) fn absence(facts: &Facts) -> Vec<Seen> {
    let mut seen = Vec::new();
    let Some(way) = &facts.way else { return seen };
    if way.asked.next_hop.as_ref().is_some_and(Vec::is_empty) {
        seen.push(Seen::Wire);
    }
    if way.entry[1].is_some_and(|state| state.is_unresolved()) {
        seen.push(Seen::Table);
    }
    let own_error = super::connect_blame(facts)
        .or_else(|| super::echo_blame(facts))
        .is_some_and(|(blame, ..)| matches!(blame, super::Blame::Own(_)));
    if own_error {
        seen.push(Seen::Answer);
    }
    seen
}

fn dead(mut finding: Finding, facts: &Facts, fits: bool) -> Judged {
    finding.result = Outcome::Fail;
    let way = facts.way.as_ref();
    let gateway = way
        .and_then(|way| way.gateway())
        .map(|g| g.to_string())
        .unwrap_or_default();
    let egress = way
        .and_then(|way| way.egress.as_ref())
        .map_or("", |e| e.name.as_str());
    let seen = absence(facts);
    let (summary, next) = if fits {
        (
            format!(
                "The gateway {gateway} answers no {} on {egress}: it is down, on another VLAN, or not at this address.",
                question(facts)
            ),
            "Check the gateway's address, the VLAN and the switch port; is the router up?".to_owned(),
        )
    } else {
        let own: Vec<String> = way
            .and_then(|way| way.egress.as_ref())
            .map(|e| {
                e.addresses
                    .iter()
                    .map(|a| format!("{}/{}", a.address, a.prefix))
                    .collect()
            })
            .unwrap_or_default();
        (
            format!(
                "The gateway {gateway} is in none of the networks of {egress} ({}) and does not answer there.",
                super::words::list(&own)
            ),
            "A gateway must be within the network of the interface: correct its address, or the mask.".to_owned(),
        )
    };
    let finding = finding
        .proves(
            "the packets get no further than this link",
            "whether router, switch or VLAN is to blame",
        )
        .next(next);
    Judged::fault(finding, Layer::Gateway, seen, summary)
}
