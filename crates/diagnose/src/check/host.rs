//! HOST: whether the target is there at all. ICMP's silence alone is no fault.

use std::time::Duration;

use rping_engine::Reason;

use super::path::AT_ONCE;
use super::words::{count, list, time};
use super::{echo_blame, icmp_words, next_hop_is_there, skipped, Blame, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::volley::Hit;
use crate::gather::Facts;

pub(crate) struct Host;

impl Check for Host {
    fn name(&self) -> &'static str {
        Layer::Host.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let Some(subject) = facts.subject else {
            return skipped(self.name(), "no address to ask");
        };
        let Some(way) = facts.way.as_ref().filter(|way| way.usable().is_some()) else {
            return skipped(self.name(), "no route, so nothing was sent");
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        finding.evidence = lines(facts);
        if let Some(judged) = middlebox(&finding, facts) {
            return judged;
        }
        if facts.echo.iter().any(|hit| hit.answered().is_some()) {
            return finding
                .proves(
                    "the target is alive and its IP stack answers",
                    "that any of its ports is open",
                )
                .into();
        }
        if facts.host_answers() {
            return finding
                .proves(
                    "the target is alive: it answers TCP; ICMP is filtered, which is no fault",
                    "who filters ICMP",
                )
                .into();
        }
        if let Some(judged) = last_router_gave_up(&finding, facts) {
            return judged;
        }
        finding.result = Outcome::Unknown;
        if super::connect_blame(facts).is_some() || matches!(facts.connect, Tried::Errno { .. }) {
            return finding
                .proves(
                    String::new(),
                    "whether the target is alive: something before it said no",
                )
                .into();
        }
        let on_link = !way.is_routed() && !way.is_own;
        if on_link && next_hop_is_there(facts) != Some(true) {
            return finding
                .proves(String::new(), "whether the target is alive")
                .into();
        }
        if on_link && facts.port.is_some() {
            return finding
                .proves(
                    "the target is alive at the link layer; ICMP is filtered, or its firewall drops it (Windows would say: \
                     Request timed out), which alone is no fault",
                    "that its IP stack is well",
                )
                .into();
        }
        silent(finding, facts, on_link, &subject.ip().to_string())
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.host
    }
}

fn lines(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for hit in &facts.echo {
        lines.push(match hit {
            Hit::Answered { ttl, after, .. } => format!(
                "echo request answered in {}{}",
                time(*after),
                ttl.map(|ttl| format!(", TTL {ttl}")).unwrap_or_default()
            ),
            Hit::Error { error, after } => format!(
                "echo request: {} from {} after {}",
                icmp_words(error),
                error.offender.map_or("nobody".to_owned(), |o| o.to_string()),
                time(*after)
            ),
            Hit::NotSent(refusal) => format!("echo request not sent: {}", refusal.reason.as_str()),
            Hit::Denied(why) => format!("no echo request could be sent: {why}"),
            Hit::Silent => "echo request: silence".to_owned(),
        });
    }
    let answered: Vec<String> = facts
        .others
        .iter()
        .filter(|(_, tried)| tried.is_answer())
        .map(|(port, tried)| match tried {
            Tried::Open { .. } => format!("port {port} accepts"),
            _ => format!("port {port} is closed (reset)"),
        })
        .collect();
    if !answered.is_empty() {
        lines.push(format!("TCP: {}", list(&answered)));
    } else if !facts.others.is_empty() {
        lines.push(format!(
            "TCP: {} tried beside, none answers",
            count(facts.others.len(), "usual port", "usual ports")
        ));
    }
    lines
}

/// TCP is answered on the way, in the name of a host that a router cannot find.
fn middlebox(finding: &Finding, facts: &Facts) -> Option<Judged> {
    let (hop, router) = facts.path.answered_on_the_way()?;
    if !facts.connect.is_answer() {
        return None;
    }
    let (blame, error, after) = echo_blame(facts)?;
    let Blame::Between(Reason::HostUnreachable, from) = blame else {
        return None;
    };
    if facts.app.is_understood() {
        return None;
    }
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let finding = finding
        .saw(format!(
            "TCP is answered after {hop} hop(s), by something beside or before {router}, and {from} cannot find the target"
        ))
        .proves(
            "whoever accepts the connection is not the target, and the target is not there for others",
            "that the middlebox is not meant to stand in for it",
        )
        .next("Is the target up? Look for a proxy, load balancer or port redirection on the router that answers.");
    let summary = format!(
        "The target itself is down: {from} cannot find it ({} after {}). Something on the way, {hop} hop(s) off, accepts \
         connections in its name.",
        icmp_words(error),
        time(after)
    );
    let mut seen = vec![Seen::Answer, Seen::SecondAnswer];
    if after > AT_ONCE {
        seen.push(Seen::Time);
    }
    Some(Judged::fault(finding, Layer::Host, seen, summary).whatever_works())
}

/// The last router has asked for the target on its own link, in vain.
fn last_router_gave_up(finding: &Finding, facts: &Facts) -> Option<Judged> {
    let connect = super::connect_blame(facts);
    let echo = echo_blame(facts);
    let (blame, error, after) = connect.or(echo)?;
    let Blame::Between(Reason::HostUnreachable, from) = blame else {
        return None;
    };
    if after <= AT_ONCE {
        return None;
    }
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let finding = finding
        .saw(format!(
            "{from} says {} after {}: it asked for the target in vain",
            icmp_words(error),
            time(after)
        ))
        .proves(
            "the way is fine as far as the target's own network",
            "whether the target is off or has another address",
        )
        .next("Is the host up, and is its address right? Check its cable, VLAN and mask.");
    let summary = format!(
        "The target is down or has another address: {from}, the last router, gets no answer from it on its own link ({} \
         after {}).",
        icmp_words(error),
        time(after)
    );
    let mut seen = vec![Seen::Answer, Seen::Time];
    if connect.is_some() && matches!(echo, Some((Blame::Between(_, other), ..)) if other == from) {
        seen.push(Seen::SecondAnswer);
    }
    Some(Judged::fault(finding, Layer::Host, seen, summary))
}

/// Nothing at all came back.
fn silent(mut finding: Finding, facts: &Facts, on_link: bool, to: &str) -> Judged {
    finding.result = Outcome::Fail;
    let (proves, summary, seen) = if on_link {
        (
            "the target is alive at the link layer and answers nothing above it",
            format!(
                "{to} answers ARP or neighbour discovery and nothing else: its firewall drops everything, or its stack is not well."
            ),
            vec![Seen::Wire, Seen::Answer],
        )
    } else {
        let last = facts
            .path
            .last_router()
            .map(|(ttl, router)| format!("; the last router that was heard of is {router}, hop {ttl}"))
            .unwrap_or_default();
        (
            "nothing from the target came back, by ICMP or TCP",
            format!("{to} is silent: down, or everything to or from it is dropped{last}."),
            vec![Seen::Answer, Seen::SecondAnswer],
        )
    };
    let finding = finding
        .proves(proves, "whether the host is down, or a firewall before it or on it drops everything")
        .next(
            "Try other hosts of the same network: if they answer, it is this host; if none does, look at the last router \
             and the firewalls on the way.",
        );
    Judged::fault(finding, Layer::Host, seen, summary).ambiguous()
}
