//! PATH: the routers on the way, and who among them says no.

use std::net::IpAddr;
use std::time::Duration;

use rping_engine::Reason;

use super::words::time;
use super::{connect_blame, echo_blame, icmp_words, next_hop_is_there, skipped, Blame, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::path::Said;
use crate::gather::Facts;

pub(crate) struct Path;

/// A router that has asked for its neighbour in vain says so after three seconds, a firewall at once.
pub(super) const AT_ONCE: Duration = Duration::from_millis(900);

impl Check for Path {
    fn name(&self) -> &'static str {
        Layer::Path.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        if facts.subject.is_some() {
            let mut finding = Finding::new(self.name(), Outcome::Pass);
            finding.evidence = lines(facts);
            if let Some(judged) = crate::far::judge::path(&finding, facts) {
                return judged;
            }
        }
        let is_routed = facts.way.as_ref().is_some_and(|way| way.is_routed());
        if !is_routed || facts.subject.is_none() {
            return skipped(self.name(), "no router is on the way");
        }
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        finding.evidence = lines(facts);
        if let Some(judged) = refused_by_all(&finding, facts) {
            return judged;
        }
        if let Some(router) = facts.path.loops() {
            finding.result = Outcome::Fail;
            let finding = finding
                .proves("packets go round in circles", "which of the routers is wrong")
                .next("Compare the routing tables of the routers in the circle for this destination.");
            let summary =
                format!("The way to the target is a circle: packets come by {router} again and again until their TTL runs out.");
            let mut seen = vec![Seen::Answer];
            if expired(facts) {
                seen.push(Seen::SecondAnswer);
            }
            return Judged::fault(finding, Layer::Path, seen, summary);
        }
        if let Some((hop, router)) = facts.path.answered_on_the_way() {
            finding.evidence.push(format!(
                "TCP is answered after {hop} hop(s), where {router} sends ICMP or UDP on: a middlebox answers in the \
                 target's name"
            ));
        }
        if facts.host_answers() {
            return finding
                .proves("packets reach the target and come back", "that every packet does")
                .into();
        }
        finding.result = Outcome::Unknown;
        if next_hop_is_there(facts) == Some(false) {
            return finding
                .proves(String::new(), "anything about what is behind the gateway")
                .into();
        }
        finding
            .proves(
                String::new(),
                "where the packets end: behind the last router that was heard of may be a silent one, or the target",
            )
            .into()
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.path
    }
}

fn expired(facts: &Facts) -> bool {
    let is = |blame: Option<(Blame, &rping_net::errqueue::SocketError, Duration)>| {
        matches!(blame, Some((Blame::Between(Reason::TimeExceeded, _), ..)))
    };
    is(connect_blame(facts)) || is(echo_blame(facts))
}

fn lines(facts: &Facts) -> Vec<String> {
    let path = &facts.path;
    path.hops
        .iter()
        .map(|hop| {
            let with_tcp = match path.with_tcp {
                true => format!(", TCP {}", words(hop.tcp)),
                false => String::new(),
            };
            format!(
                "hop {}: ICMP {}, UDP {}{with_tcp}",
                hop.ttl,
                words(hop.icmp),
                words(hop.udp)
            )
        })
        .collect()
}

fn words(said: Said) -> String {
    match said {
        Said::Expired(from) => from.to_string(),
        Said::Reached => "the target".to_owned(),
        Said::Refused(from, kind, code) => format!("refused by {from} ({kind}/{code})"),
        Said::Nothing => "-".to_owned(),
    }
}

/// A router says no, to TCP and ICMP alike (or to what was asked, without a port).
fn refused_by_all(finding: &Finding, facts: &Facts) -> Option<Judged> {
    if facts.host_answers() {
        return None;
    }
    let connect = connect_blame(facts);
    let echo = echo_blame(facts);
    let (blame, error, after) = connect.or(echo)?;
    let Blame::Between(reason, from) = blame else {
        return None;
    };
    let slow = after > AT_ONCE;
    let summary = match reason {
        Reason::NetworkUnreachable => format!(
            "The router {from} has no route to the target's network ({}).",
            icmp_words(error)
        ),
        Reason::AdminProhibited => format!(
            "A policy on the way forbids it: {from} says so ({}).",
            icmp_words(error)
        ),
        Reason::TimeExceeded => format!("Packets run out of hops at {from}: a circle, or a very long way."),
        // The last router asked for its neighbour in vain: that is the host's fault.
        Reason::HostUnreachable if slow => return None,
        Reason::HostUnreachable => {
            format!(
                "{from} refuses at once to deliver to the target ({}), as a firewall does.",
                icmp_words(error)
            )
        }
        Reason::PortClosed | Reason::ProtocolUnreachable => {
            format!(
                "A firewall on the way rejects it: {from} says so ({}).",
                icmp_words(error)
            )
        }
        _ => return None,
    };
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    finding
        .evidence
        .push(format!("{from} says {} after {}", icmp_words(error), time(after)));
    let mut seen = vec![Seen::Answer];
    // A second kind of packet met the same refusal of the same router.
    if agrees(echo, from) && connect.is_some() || on_path(facts, from) {
        seen.push(Seen::SecondAnswer);
    }
    let finding = finding
        .proves(
            format!("the packets get as far as {from} and no further"),
            "that the target itself is well",
        )
        .next(match reason {
            Reason::NetworkUnreachable => {
                format!("Look at the routing table of {from}: its route to the target's network is missing.")
            }
            Reason::TimeExceeded => format!("Look at the routing table of {from} and of its neighbours."),
            _ => format!("Ask whoever runs {from} to let this flow pass, if it is meant to."),
        });
    Some(Judged::fault(finding, Layer::Path, seen, summary))
}

fn agrees(echo: Option<(Blame, &rping_net::errqueue::SocketError, Duration)>, from: IpAddr) -> bool {
    matches!(echo, Some((Blame::Between(_, other), ..)) if other == from)
}

/// The hop-by-hop probes met the same router's refusal.
fn on_path(facts: &Facts, from: IpAddr) -> bool {
    facts.path.hops.iter().any(|hop| {
        [hop.icmp, hop.udp]
            .into_iter()
            .any(|said| matches!(said, Said::Refused(other, ..) if other == from))
    })
}
