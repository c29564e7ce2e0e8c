//! The checks: each looks at the facts and says what it makes of its layer. No check asks the system anything, so each
//! can be tested with made-up facts.

mod application;
mod arguments;
mod gateway;
mod host;
mod link;
mod local_firewall;
mod local_ports;
mod mtu;
mod name;
mod neighbour;
mod own;
mod path;
mod port;
mod route;
mod rule_words;
pub(crate) mod rules;
pub(crate) mod words;

pub use rule_words::describe as describe_rule;

use std::net::IpAddr;
use std::time::Duration;

use rping_engine::Reason;
use rping_net::errqueue::{ErrorOrigin, SocketError, Verdict};

use crate::finding::{Finding, Layer, Outcome, Seen, Suspicion};
use crate::gather::connects::Tried;
use crate::gather::{is_among, Facts};

/// One rung of the ladder.
pub(crate) trait Check {
    /// The word in the document.
    fn name(&self) -> &'static str;
    /// What the facts amount to for this layer.
    fn judge(&self, facts: &Facts) -> Judged;
    /// How long it took to gather what is judged here.
    fn took(&self, facts: &Facts) -> Duration;
}

/// A finding, and what it holds against its layer.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) finding: Finding,
    pub(crate) suspicion: Option<Suspicion>,
}

impl From<Finding> for Judged {
    fn from(finding: Finding) -> Judged {
        Judged {
            finding,
            suspicion: None,
        }
    }
}

impl Judged {
    /// A failed check: its suspicion takes the next step over from the finding.
    pub(crate) fn fault(finding: Finding, layer: Layer, observations: Vec<Seen>, summary: String) -> Judged {
        let suspicion = Suspicion {
            layer,
            observations,
            cancelled_by_success: true,
            ambiguous: false,
            summary,
            next: finding.next.clone(),
        };
        Judged {
            finding,
            suspicion: Some(suspicion),
        }
    }

    /// A working connection does not make it good.
    pub(crate) fn whatever_works(mut self) -> Judged {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.cancelled_by_success = false;
        }
        self
    }

    /// Something else would look the same.
    pub(crate) fn ambiguous(mut self) -> Judged {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.ambiguous = true;
        }
        self
    }
}

/// All checks, in the order of the ladder.
pub(crate) const ALL: [&dyn Check; 14] = [
    &arguments::Arguments,
    &name::Name,
    &own::Own,
    &link::Link,
    &route::Route,
    &gateway::Gateway,
    &neighbour::Neighbour,
    &local_firewall::LocalFirewall,
    &local_ports::LocalPorts,
    &path::Path,
    &host::Host,
    &port::Port,
    &mtu::Mtu,
    &application::Application,
];

/// A check that was not made.
pub(crate) fn skipped(name: &'static str, why: impl Into<String>) -> Judged {
    Finding::new(name, Outcome::Skipped).saw(why).into()
}

/// Whom an error stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blame {
    /// This host said it about itself.
    Own(Reason),
    /// The target said it.
    Target(Reason),
    /// Somebody on the way said it.
    Between(Reason, IpAddr),
}

/// Who said no, and why.
pub(crate) fn blame(error: &SocketError, facts: &Facts) -> Blame {
    let own = |address: IpAddr| is_among(address, &facts.own);
    match error.verdict(own) {
        Verdict::NotSent(refusal) => Blame::Own(refusal.reason),
        Verdict::Rejected(refusal) => match error.offender {
            Some(from) if facts.subject.is_some_and(|to| to.ip() == from) => Blame::Target(refusal.reason),
            Some(from) => Blame::Between(refusal.reason, from),
            None => Blame::Target(refusal.reason),
        },
    }
}

/// The ICMP message that ended the connect, and whom it stands for.
pub(crate) fn connect_blame(facts: &Facts) -> Option<(Blame, &SocketError, Duration)> {
    match &facts.connect {
        Tried::Icmp { error, after } => Some((blame(error, facts), error, *after)),
        _ => None,
    }
}

/// The ICMP message that an echo request met, and whom it stands for.
pub(crate) fn echo_blame(facts: &Facts) -> Option<(Blame, &SocketError, Duration)> {
    facts.echo.iter().find_map(|hit| {
        let (error, after) = hit.error()?;
        Some((blame(error, facts), error, after))
    })
}

/// Type and code as people write them.
pub(crate) fn icmp_words(error: &SocketError) -> String {
    match error.origin {
        ErrorOrigin::Icmp6 => format!("ICMPv6 {}/{}", error.kind, error.code),
        ErrorOrigin::Icmp => format!("ICMP {}/{}", error.kind, error.code),
        ErrorOrigin::Local => "this host".to_owned(),
    }
}

/// The neighbour that the packets go to is known to be there, or known not to be.
pub(crate) fn next_hop_is_there(facts: &Facts) -> Option<bool> {
    let way = facts.way.as_ref()?;
    if let Some(claims) = &way.asked.next_hop {
        if !claims.is_empty() {
            return Some(true);
        }
    }
    let state = way.entry[1].or(way.entry[0]);
    match state {
        Some(state) if state.is_unresolved() => Some(false),
        Some(_) if way.asked.next_hop.is_none() => Some(true),
        _ => way.asked.next_hop.as_ref().map(|claims| !claims.is_empty()),
    }
}
