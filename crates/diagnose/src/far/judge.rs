//! What the agent's view adds to the verdict: which way packets are lost, and what at the far end takes them.
//!
//! Counts of the two ends are compared with nothing but zero: probes with a short TTL leave here and are not meant to
//! arrive there, and a bridge shows a packet twice.

use rping_peer::agent::message::{Listener, Taken, View};

use super::words::covers;
use super::Loss;
use crate::check::words::{count, list};
use crate::check::Judged;
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::Facts;

/// The view, where it is the target's own.
fn view(facts: &Facts) -> Option<&View> {
    let view = facts.peer.as_ref()?.view.as_ref()?;
    view.own.then_some(view)
}

/// Packets were watched at the far end, and none was missed.
fn is_watched_there(view: &View) -> bool {
    view.wire.why_not.is_none() && view.wire.missed == 0
}

/// The same at this end.
fn is_watched_here(facts: &Facts) -> bool {
    facts.wire.why_not.is_none() && facts.wire.missed == 0
}

fn is_silent(facts: &Facts) -> bool {
    match facts.port {
        Some(_) => matches!(facts.connect, Tried::Silent { .. }),
        None => {
            let unanswered = |hit: &crate::gather::volley::Hit| {
                hit.answered().is_none() && !matches!(hit, crate::gather::volley::Hit::NotSent(_))
            };
            !facts.host_answers() && !facts.echo.is_empty() && facts.echo.iter().all(unanswered)
        }
    }
}

/// Where the flow's packets end; `None` where nothing is lost, or it cannot be told.
pub(crate) fn loss(facts: &Facts) -> Option<Loss> {
    let view = view(facts)?;
    let wire = &view.wire;
    if !is_watched_there(view) || !is_silent(facts) {
        return None;
    }
    if wire.asked == 0 {
        // Under another address of ours, or of somebody else: that cannot be told apart.
        let left = match (facts.port, is_watched_here(facts)) {
            (Some(_), true) => facts.wire.syn_out > 0,
            (Some(_), false) => !is_stuck_here(facts),
            (None, _) => true,
        };
        return (wire.asked_by_others == 0 && left).then_some(Loss::Forward);
    }
    if wire.answered == 0 && wire.reset == 0 {
        return Some(Loss::FarEnd);
    }
    let arrived = is_watched_here(facts) && (facts.wire.syn_ack_in > 0 || facts.wire.reset_in > 0);
    (!arrived).then_some(Loss::Reverse)
}

/// The kernel counts what it could not send while the connect was silent.
fn is_stuck_here(facts: &Facts) -> bool {
    match facts.failed {
        [Some(before), Some(after)] => after > before,
        _ => true,
    }
}

/// Loss between the two ends, and answers that no end sent.
pub(crate) fn path(finding: &Finding, facts: &Facts) -> Option<Judged> {
    let view = view(facts)?;
    let what = |number: u32| match facts.port {
        Some(_) => count(number as usize, "SYN", "SYNs"),
        None => count(number as usize, "echo request", "echo requests"),
    };
    let flow = match facts.port {
        Some(port) => format!("to TCP port {port}"),
        None => "of ICMP echo".to_owned(),
    };
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let mut seen = vec![Seen::FarWire, Seen::Answer];
    let here = is_watched_here(facts) && facts.port.is_some();
    if let Some(line) = forged(facts, view) {
        seen.push(Seen::Wire);
        let finding = finding
            .saw(line)
            .proves(
                "somebody between the two ends answers in the target's name",
                "who",
            )
            .next("Look for a firewall, proxy or intrusion prevention on the way that resets this port.");
        let summary = format!(
            "A reset came back for packets {flow}, and the target neither got a SYN nor sent one: a middlebox on the way refuses it."
        );
        return Some(Judged::fault(finding, Layer::Path, seen, summary));
    }
    match loss(facts)? {
        Loss::Forward => {
            match here {
                true => {
                    seen.push(Seen::Wire);
                    finding.evidence.push(format!(
                        "{} left this host's interface, none arrived at the far end's",
                        what(facts.wire.syn_out)
                    ));
                }
                false => finding
                    .evidence
                    .push("packets were sent, none arrived at the far end's interface".to_owned()),
            }
            let finding = finding
                .proves(
                    format!("packets {flow} are lost on the way there; the agent's own connection gets through"),
                    "which of the devices between takes them",
                )
                .next(format!(
                    "Look at firewalls and access lists between the two hosts for packets {flow} in the direction there; a \
                     capture at each hop shows how far they get."
                ));
            let summary = format!(
                "Packets {flow} are lost on the way there: they left this host, and none arrived at the target, as its agent saw."
            );
            Some(judged(finding, seen, summary, !here && facts.port.is_some()))
        }
        Loss::Reverse => {
            let answers = match facts.port {
                Some(_) => count(
                    view.wire.answered.saturating_add(view.wire.reset) as usize,
                    "answer",
                    "answers",
                ),
                None => count(view.wire.answered as usize, "echo reply", "echo replies"),
            };
            let arrived = match here {
                true => {
                    seen.push(Seen::Wire);
                    ", none arrived at this host's"
                }
                false => "",
            };
            finding.evidence.push(format!(
                "{} arrived at the far end's interface, {answers} left it{arrived}",
                what(view.wire.asked)
            ));
            let finding = finding
                .proves(
                    format!("answers to packets {flow} are lost on the way back; the agent's own connection gets through"),
                    "which of the devices between takes them",
                )
                .next(
                    "Look at firewalls between the two hosts for the direction back, and whether the way back is another one \
                     (asymmetric routes through a stateful firewall).",
                );
            let summary = format!(
                "Packets {flow} arrive, and the answers are lost on the way back: they left the target, as its agent saw, and \
                 none arrived here."
            );
            // Unwatched, this host's own filter would look the same.
            Some(judged(finding, seen, summary, !here))
        }
        Loss::FarEnd => None,
    }
}

fn judged(finding: Finding, seen: Vec<Seen>, summary: String, ambiguous: bool) -> Judged {
    let judged = Judged::fault(finding, Layer::Path, seen, summary);
    match ambiguous {
        true => judged.ambiguous(),
        false => judged,
    }
}

/// A reset that the target did not send.
fn forged(facts: &Facts, view: &View) -> Option<String> {
    let wire = &view.wire;
    let nothing_there = wire.asked == 0 && wire.asked_by_others == 0 && wire.reset == 0;
    let is_reset = matches!(facts.connect, Tried::Reset { .. }) && facts.wire.reset_in > 0;
    (is_reset && is_watched_here(facts) && is_watched_there(view) && nothing_there)
        .then(|| "a reset arrived here, and at the far end no SYN arrived and no reset left".to_owned())
}

/// What at the far end keeps the port from accepting; `finding` is as far as this end saw.
pub(crate) fn port(finding: &Finding, facts: &Facts, port: u16) -> Option<Judged> {
    let view = view(facts)?;
    let to = facts.subject?.ip();
    let is_reset = matches!(facts.connect, Tried::Reset { .. });
    let is_refused = matches!(facts.connect, Tried::Icmp { .. });
    if !(is_reset || is_refused || is_silent(facts)) || forged(facts, view).is_some() {
        return None;
    }
    if matches!(loss(facts), Some(Loss::Forward | Loss::Reverse)) {
        return None;
    }
    let watched = is_watched_there(view);
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let mut seen = vec![Seen::Answer];
    if watched && view.wire.asked > 0 {
        seen.push(Seen::FarWire);
        finding.evidence.push(format!(
            "at the far end {} arrived and {} left",
            count(view.wire.asked as usize, "SYN", "SYNs"),
            match (view.wire.answered, view.wire.reset) {
                (0, 0) => "no answer".to_owned(),
                (0, resets) => count(resets as usize, "reset", "resets"),
                (answers, _) => count(answers as usize, "SYN-ACK", "SYN-ACKs"),
            }
        ));
    }
    if let Some((taken, way)) = culprit(view, watched, is_reset || is_refused) {
        seen.push(Seen::FarRule);
        finding.evidence.push(format!("the far end's rule: {}", taken.by));
        let verb = if taken.rejects { "rejects" } else { "drops" };
        let finding = finding
            .proves(
                format!("the target's own firewall {verb} {way} for port {port}"),
                "whether the program behind it is well",
            )
            .next(format!("On the target: look at that rule (nft list ruleset), and allow TCP port {port} if it is meant to be reached."));
        let summary = format!(
            "The target's own firewall {verb} {way} for TCP port {port}: {}.",
            taken.by
        );
        return Some(Judged::fault(finding, Layer::Port, seen, summary));
    }
    if view.listeners_why_not.is_some() {
        return None;
    }
    let (here, elsewhere): (Vec<&Listener>, Vec<&Listener>) = view
        .listeners
        .iter()
        .partition(|listener| covers(listener.address.ip(), to));
    if here.is_empty() && is_reset {
        seen.push(Seen::FarTable);
        return Some(closed(finding, seen, port, to, &elsewhere));
    }
    let full = here.iter().find(|listener| listener.waiting > listener.backlog);
    if let (Some(full), false) = (full, is_reset || is_refused) {
        seen.push(Seen::FarTable);
        finding.evidence.push(format!(
            "the listener at {} has {} in its accept queue, which has room for {}",
            full.address,
            count(full.waiting as usize, "connection", "connections"),
            full.backlog
        ));
        if let Some(rose) = view.overflows.filter(|rose| rose.overflows > 0) {
            seen.push(Seen::FarCounter);
            finding.evidence.push(format!(
                "the far end's ListenOverflows rose by {}",
                rose.overflows
            ));
        }
        let finding = finding
            .proves(
                format!("SYNs arrive, and the accept queue of TCP port {port} is full"),
                "why the program does not accept",
            )
            .next("On the target: look at the program that listens (stopped, blocked, too slow), or give it a longer backlog (net.core.somaxconn).");
        let summary = format!(
            "The program behind TCP port {port} does not accept connections: its accept queue at {} is full ({} wait, room \
             for {}), and the target drops new SYNs.",
            full.address, full.waiting, full.backlog
        );
        return Some(Judged::fault(finding, Layer::Port, seen, summary));
    }
    if loss(facts) == Some(Loss::FarEnd) && facts.port.is_some() {
        let listens = match here.is_empty() {
            true => "nothing listens there",
            false => "a program listens there",
        };
        let finding = finding
            .proves(
                format!("SYNs to port {port} arrive at the target, and it sends no answer"),
                "what there takes them: a filter that the agent cannot read, or a sysctl such as rp_filter",
            )
            .next("On the target: look at its packet filters of other kinds (tc, XDP, older iptables), and at nstat for what it drops.");
        let summary = format!(
            "TCP port {port} is silent because of the target itself: SYNs arrive at its interface, no answer leaves, and {listens}."
        );
        return Some(Judged::fault(finding, Layer::Port, seen, summary).ambiguous());
    }
    None
}

/// The rule that takes the flow's packets, with what it takes. One that only may match convicts nobody, unless it counted.
fn culprit(view: &View, watched: bool, refused: bool) -> Option<(&Taken, &'static str)> {
    let convicts = |taken: &&Taken| (taken.surely || taken.counted > 0) && (taken.rejects || !refused);
    if let Some(taken) = view.rules.incoming.as_ref().filter(convicts) {
        return Some((taken, "what comes in"));
    }
    let no_answer = !watched || view.wire.answered == 0;
    let outgoing = view.rules.outgoing.as_ref().filter(convicts);
    outgoing.filter(|_| no_answer).map(|taken| (taken, "the answers"))
}

fn closed(
    mut finding: Finding,
    seen: Vec<Seen>,
    port: u16,
    to: std::net::IpAddr,
    elsewhere: &[&Listener],
) -> Judged {
    let places: Vec<String> = elsewhere
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    let (what, next) = match places.is_empty() {
        true => (
            format!("nothing listens on TCP port {port} at the target"),
            "On the target: start the service, or ask for the port on which it listens.".to_owned(),
        ),
        false => (
            format!(
                "the program on TCP port {port} listens at {} only, not at {to}",
                list(&places)
            ),
            format!("On the target: have the program listen on {to}, or on every address (0.0.0.0, [::])."),
        ),
    };
    finding
        .evidence
        .push(format!("by the far end's table of sockets, {what}"));
    let finding = finding
        .proves(
            format!("the packets get there and back; {what}"),
            "that the program itself is well",
        )
        .next(next);
    let summary = format!("TCP port {port} is closed at {to}: {what}; the network is fine.");
    Judged::fault(finding, Layer::Port, seen, summary)
}
