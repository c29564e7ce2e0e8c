//! What the agent told, in words.

use std::net::IpAddr;

use rping_peer::agent::message::{Back, Listener, Rules, Taken, View};

use super::{judge, FarView, Loss};
use crate::check::words::{count, list};
use crate::gather::Facts;

/// Listeners that are shown.
const LISTENERS: usize = 6;

/// Whether a socket that listens at `address` takes what comes for `to`. One that listens at `::` usually takes IPv4, too.
pub(crate) fn covers(address: IpAddr, to: IpAddr) -> bool {
    address == to || address.is_unspecified() && (address.is_ipv6() || to.is_ipv4())
}

/// The far end's section of the diagnosis; `None` where no agent was asked.
pub(crate) fn view(facts: &Facts) -> Option<FarView> {
    let peer = facts.peer.as_ref()?;
    let loss = judge::loss(facts);
    let mut evidence = Vec::new();
    match (&peer.view, &peer.error) {
        (Some(view), _) => evidence = lines(view, facts),
        (None, Some(why)) => evidence.push(format!("nothing is known from there: {why}")),
        (None, None) => evidence.push("it was not asked to its end".to_owned()),
    }
    match loss {
        Some(Loss::Forward) => evidence.push("packets are lost on the way there".to_owned()),
        Some(Loss::Reverse) => evidence.push("packets are lost on the way back".to_owned()),
        Some(Loss::FarEnd) => evidence.push("packets arrive there, and no answer leaves".to_owned()),
        None => {}
    }
    let missing = || "the diagnosis ended before it had told what it saw".to_owned();
    let error = peer.error.clone().or_else(|| peer.view.is_none().then(missing));
    Some(FarView {
        server: peer.server.clone(),
        error,
        loss,
        evidence,
        seen: peer.view.clone(),
        duration: peer.took,
    })
}

fn lines(view: &View, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let to = facts.subject.map(|to| to.ip());
    if let Some(client) = view.client {
        lines.push(format!("it sees this host as {client}"));
    }
    if let (Some(to), false) = (to, view.own) {
        lines.push(format!(
            "{to} is no address of its own: it is another host, or a translator or balancer stands before it"
        ));
    }
    lines.push(wire(view, facts));
    if facts.port.is_some() {
        lines.push(listeners(&view.listeners, view.listeners_why_not.as_deref()));
        if let Some(rose) = view.overflows.filter(|rose| rose.overflows > 0 || rose.drops > 0) {
            lines.push(format!(
                "its counters rose meanwhile, all its ports together: ListenOverflows by {}, ListenDrops by {}",
                rose.overflows, rose.drops
            ));
        }
    }
    lines.extend(rules(&view.rules));
    lines.push(back(&view.back));
    lines
}

fn wire(view: &View, facts: &Facts) -> String {
    let wire = &view.wire;
    if let Some(why) = &wire.why_not {
        return format!("packets were not watched there: {why}");
    }
    let words = match facts.port {
        Some(_) => [("SYN", "SYNs"), ("SYN-ACK", "SYN-ACKs")],
        None => [("echo request", "echo requests"), ("echo reply", "echo replies")],
    };
    let of = |number: u32, (one, many): (&str, &str)| count(number as usize, one, many);
    let mut line = format!("arrived there from this host: {}", of(wire.asked, words[0]));
    if wire.asked_by_others > 0 {
        line.push_str(&format!(" (and {} from others)", wire.asked_by_others));
    }
    line.push_str(&format!(
        "; left there to this host: {}",
        of(wire.answered, words[1])
    ));
    if wire.reset > 0 {
        line.push_str(&format!(" and {}", of(wire.reset, ("reset", "resets"))));
    }
    if wire.missed > 0 {
        line.push_str(&format!("; {} packets were missed", wire.missed));
    }
    line
}

fn listeners(listeners: &[Listener], why_not: Option<&str>) -> String {
    if let Some(why) = why_not {
        return format!("who listens there is not known: {why}");
    }
    if listeners.is_empty() {
        return "nothing listens on the port there".to_owned();
    }
    let shown: Vec<String> = listeners
        .iter()
        .take(LISTENERS)
        .map(|listener| {
            format!(
                "{} ({} of {} wait to be accepted)",
                listener.address, listener.waiting, listener.backlog
            )
        })
        .collect();
    let more = match listeners.len().saturating_sub(LISTENERS) {
        0 => String::new(),
        n => format!(" and at {n} more"),
    };
    format!("it listens at {}{more}", list(&shown))
}

fn rules(rules: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    match &rules.why_not {
        Some(why) => lines.push(format!("its packet filter was not read: {why}")),
        None => lines.push(format!(
            "its packet filter: {} read",
            count(
                usize::try_from(rules.rules).unwrap_or(usize::MAX),
                "rule",
                "rules"
            )
        )),
    }
    if !rules.legacy.is_empty() {
        lines.push(format!(
            "tables of the older iptables are there and could not be read: {}",
            list(&rules.legacy)
        ));
    }
    for (taken, way) in [(&rules.incoming, "in"), (&rules.outgoing, "out")] {
        if let Some(taken) = taken {
            lines.push(rule(taken, way));
        }
    }
    lines
}

fn rule(taken: &Taken, way: &str) -> String {
    let certainty = if taken.surely { "are" } else { "may be" };
    let what = if taken.rejects { "rejected" } else { "dropped" };
    let counted = match taken.counted {
        0 => String::new(),
        n => format!("; its counter rose by {n}"),
    };
    format!(
        "by its rules, packets of this flow on their way {way} {certainty} {what} by {}{counted}",
        taken.by
    )
}

fn back(back: &Back) -> String {
    if let Some(errno) = back.errno {
        return format!("it has no way back to this host (error number {errno})");
    }
    let by = back.interface.as_deref().unwrap_or("an interface without a name");
    let through = match back.gateway {
        Some(gateway) => format!(" through {gateway}"),
        None => String::new(),
    };
    let neighbour = match &back.neighbour {
        Some(state) => format!(", whose neighbour entry is {state}"),
        None => String::new(),
    };
    format!("its way back is by {by}{through}{neighbour}")
}
