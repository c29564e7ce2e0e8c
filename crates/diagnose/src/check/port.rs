//! PORT: whether the port accepts, and who says no.

use std::time::Duration;

use rping_engine::Reason;

use super::words::{count, list, time};
use super::{connect_blame, icmp_words, next_hop_is_there, skipped, Blame, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::Facts;

pub(crate) struct Port;

impl Check for Port {
    fn name(&self) -> &'static str {
        Layer::Port.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let Some(port) = facts.port else {
            return skipped(self.name(), "no port was asked for");
        };
        if facts.subject.is_none() {
            return skipped(self.name(), "no address to connect to");
        }
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        finding.evidence = lines(facts, port);
        if let Some(judged) = crate::far::judge::port(&finding, facts, port) {
            return judged;
        }
        match &facts.connect {
            Tried::Open { lost_syns, .. } => {
                let not = match lost_syns {
                    0 => "what is behind it",
                    _ => "that the way is free of loss: a SYN was lost, and the connect took seconds for that reason alone",
                };
                finding
                    .proves(format!("TCP port {port} accepts connections"), not)
                    .into()
            }
            Tried::Reset { .. } => closed(finding, facts, port),
            Tried::Icmp { .. } => refused(finding, facts, port),
            Tried::Silent { resent, .. } => silent(finding, facts, port, *resent),
            Tried::Errno { .. } | Tried::Untried => {
                finding.result = Outcome::Unknown;
                finding
                    .proves(
                        String::new(),
                        "whether the port is open: the connect did not leave this host",
                    )
                    .into()
            }
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.port
    }
}

fn of(tried: &Tried) -> String {
    match tried {
        Tried::Open {
            rtt,
            lost_syns,
            after,
            ..
        } => match (rtt, lost_syns) {
            (Some(rtt), 0) => format!("accepted in {}", time(*rtt)),
            (_, 0) => format!("accepted in {}", time(*after)),
            (_, lost) => format!("accepted, {} lost before", count(*lost as usize, "SYN", "SYNs")),
        },
        Tried::Reset { after } => format!("reset after {}", time(*after)),
        Tried::Icmp { error, after } => format!(
            "{} from {} after {}",
            icmp_words(error),
            error.offender.map_or("nobody".to_owned(), |o| o.to_string()),
            time(*after)
        ),
        Tried::Errno { errno, after } => format!("error number {errno} after {}", time(*after)),
        Tried::Silent { resent, waited } => format!(
            "silence for {}, {} sent again",
            time(*waited),
            count(*resent as usize, "SYN", "SYNs")
        ),
        Tried::Untried => "not tried".to_owned(),
    }
}

fn lines(facts: &Facts, port: u16) -> Vec<String> {
    let mut lines = vec![format!(
        "TCP {}: {}",
        facts.subject.map_or(port.to_string(), |s| s.to_string()),
        of(&facts.connect)
    )];
    let others: Vec<&(std::net::SocketAddr, Tried)> = facts
        .survey
        .iter()
        .filter(|(to, _)| Some(*to) != facts.subject)
        .collect();
    if !others.is_empty() {
        let open = facts.survey.iter().filter(|(_, tried)| tried.is_open()).count();
        lines.push(format!(
            "of {} addresses {} at port {port}",
            facts.survey.len(),
            match open {
                0 => "none accepts".to_owned(),
                open => format!("{open} accept"),
            }
        ));
        lines.extend(
            others
                .iter()
                .take(8)
                .map(|(to, tried)| format!("TCP {to}: {}", of(tried))),
        );
        if others.len() > 8 {
            lines.push(format!("and {} more", others.len() - 8));
        }
    }
    let wire = &facts.wire;
    if wire.why_not.is_none() {
        if let (Some(ttl), true) = (wire.reset_ttl, wire.reset_in > 0) {
            lines.push(format!("the reset arrived with TTL {ttl}"));
        }
        if let Some(ttl) = wire.syn_ack_ttl {
            lines.push(format!("the SYN-ACK arrived with TTL {ttl}"));
        }
    }
    lines
}

/// Other addresses of the name that accept, as an afterthought.
fn elsewhere(facts: &Facts) -> String {
    let open: Vec<String> = facts
        .survey
        .iter()
        .filter(|(to, tried)| tried.is_open() && Some(*to) != facts.subject)
        .map(|(to, _)| to.ip().to_string())
        .collect();
    match open.is_empty() {
        true => String::new(),
        false => format!(" {} of the same name accepts there.", list(&open)),
    }
}

/// The TTL that an answer of the target itself arrives with, by ICMP.
fn host_ttl(facts: &Facts) -> Option<u8> {
    facts.echo.iter().find_map(|hit| hit.answered()?.1)
}

fn closed(mut finding: Finding, facts: &Facts, port: u16) -> Judged {
    finding.result = Outcome::Fail;
    let mut seen = vec![Seen::Answer];
    if facts.wire.why_not.is_none() && facts.wire.reset_in > 0 {
        seen.push(Seen::Wire);
    }
    if facts.echo.iter().any(|hit| hit.answered().is_some()) {
        seen.push(Seen::SecondAnswer);
    }
    let foreign = match (host_ttl(facts), facts.wire.reset_ttl) {
        (Some(host), Some(reset)) if host != reset => Some((host, reset)),
        _ => None,
    };
    let who = match foreign {
        Some((host, reset)) => {
            finding.evidence.push(format!(
                "the reset's TTL is {reset}, the echo reply's {host}: it may come from a firewall and not from the target"
            ));
            "the target, or a firewall before it,"
        }
        None => "the target",
    };
    let own = facts.way.as_ref().is_some_and(|way| way.is_own);
    if own {
        let elsewhere = facts
            .subject
            .map(|to| facts.ports.listening_elsewhere(to))
            .unwrap_or_default();
        if !elsewhere.is_empty() {
            seen.push(Seen::Table);
            finding.evidence.push(format!(
                "this host listens on port {port} only at {}",
                list(&elsewhere)
            ));
        }
    }
    let finding = finding
        .proves(
            format!("the packets get there and back; TCP port {port} is refused"),
            "whether nothing listens there, or only on another of its addresses (127.0.0.1, IPv6), or a firewall sends resets",
        )
        .next(format!(
            "On the target: is the service running, and on which address does it listen (rping sockets --listening, or ss -ltn \
             'sport = :{port}')? One that listens on 127.0.0.1 alone looks like this from outside.",
        ));
    let summary = format!(
        "TCP port {port} is closed: {who} answers with a reset, so the network is fine and nothing listens there, or only on \
         another address.{}",
        elsewhere(facts)
    );
    Judged::fault(finding, Layer::Port, seen, summary)
}

fn refused(mut finding: Finding, facts: &Facts, port: u16) -> Judged {
    let Some((blame, error, _)) = connect_blame(facts) else {
        return finding.into();
    };
    let by = match blame {
        // The local firewall's, the neighbour's or the route's business.
        Blame::Own(_) => {
            finding.result = Outcome::Unknown;
            return finding
                .proves(
                    String::new(),
                    "whether the port is open: this host itself said no",
                )
                .into();
        }
        Blame::Target(_) => "the target itself".to_owned(),
        Blame::Between(_, from) => from.to_string(),
    };
    let from_target = matches!(blame, Blame::Target(_));
    // What is refused altogether is the path's or the host's business.
    let others_answer = facts.echo.iter().any(|hit| hit.answered().is_some())
        || facts.others.iter().any(|(_, tried)| tried.is_answer());
    if !from_target && !others_answer {
        finding.result = Outcome::Unknown;
        return finding
            .proves(
                String::new(),
                "whether the port is open: everything to this host is refused on the way",
            )
            .into();
    }
    finding.result = Outcome::Fail;
    let mut seen = vec![Seen::Answer];
    if others_answer {
        seen.push(Seen::SecondAnswer);
    }
    if facts.wire.why_not.is_none() && facts.wire.syn_out > 0 && facts.wire.syn_ack_in == 0 {
        seen.push(Seen::Wire);
    }
    let policy = match blame {
        Blame::Target(Reason::AdminProhibited) | Blame::Between(Reason::AdminProhibited, _) => " by policy",
        _ => "",
    };
    let finding = finding
        .proves(
            format!("a firewall refuses TCP port {port}: a closed port would send a reset, not ICMP"),
            "whether anything listens behind it",
        )
        .next(format!("Have the firewall at {by} let TCP port {port} pass."));
    let summary = format!(
        "A firewall rejects TCP port {port}{policy}: {by} says so ({}). The host itself is reachable.{}",
        icmp_words(error),
        elsewhere(facts)
    );
    Judged::fault(finding, Layer::Port, seen, summary)
}

fn silent(mut finding: Finding, facts: &Facts, port: u16, resent: u32) -> Judged {
    let way = facts.way.as_ref();
    let routed = way.is_some_and(|way| way.is_routed());
    let others_answer = facts.echo.iter().any(|hit| hit.answered().is_some())
        || facts.others.iter().any(|(_, tried)| tried.is_answer());
    let on_link_alive = !routed && next_hop_is_there(facts) == Some(true);
    let own = way.is_some_and(|way| way.is_own);
    if !(others_answer || on_link_alive || own) {
        finding.result = Outcome::Unknown;
        return finding
            .proves(
                String::new(),
                "whether the port is open: nothing from the host came back",
            )
            .into();
    }
    finding.result = Outcome::Fail;
    let mut seen = vec![Seen::Answer];
    if facts.wire.why_not.is_none() && facts.wire.syn_out > 0 && facts.wire.syn_ack_in == 0 {
        finding.evidence.push(format!(
            "{} left by the interface, no answer arrived",
            count(facts.wire.syn_out as usize, "SYN", "SYNs")
        ));
        seen.push(Seen::Wire);
    }
    if others_answer {
        seen.push(Seen::SecondAnswer);
    }
    if let Some(full) = own.then(|| facts.ports.waiting(facts.subject?)).flatten() {
        seen.push(Seen::Table);
        finding.evidence.push(full);
    }
    let alive = match (others_answer, on_link_alive) {
        (true, _) => "the host answers otherwise",
        _ => "the host is alive on its link",
    };
    // Somebody who may neither watch packets nor read rules cannot tell this host's own filter from another's.
    let is_blind = facts.wire.why_not.is_some() && !facts.firewall.is_known() && !own;
    if is_blind {
        finding.evidence.push(
            "neither packets nor all of this host's own filter rules were seen: they may be what drops the answers"
                .to_owned(),
        );
    }
    let finding = finding
        .proves(
            format!("SYNs to port {port} get no answer, and {alive}"),
            "who drops them: a firewall on the way or on the host, or a server whose accept queue is full",
        )
        .next(format!(
            "On the target: does a firewall drop port {port}; does the server accept (ss -ltn: Recv-Q above Send-Q, ListenOverflows \
             in nstat)? A capture there tells whether the SYN arrives."
        ));
    let summary = format!(
        "TCP port {port} is silent ({} sent again, no answer) while {alive}: filtered, or the server's accept queue is full.{}",
        count(resent as usize, "SYN", "SYNs"),
        elsewhere(facts)
    );
    let judged = Judged::fault(finding, Layer::Port, seen, summary);
    match is_blind {
        true => judged.ambiguous(),
        false => judged,
    }
}
