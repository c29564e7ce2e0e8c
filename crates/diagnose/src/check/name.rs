//! NAME: how the name becomes an address, source by source.

use std::net::IpAddr;
use std::time::Duration;

use super::words::{count, list, time};
use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::name::{NameFacts, Server, System};
use crate::gather::Facts;
use crate::names::dns;

/// A look-up that takes longer is felt at each connect.
const SLOW: Duration = Duration::from_millis(1_000);

pub(crate) struct Name;

impl Check for Name {
    fn name(&self) -> &'static str {
        Layer::Name.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let names = &facts.name;
        if names.is_address {
            return skipped(self.name(), "an address was given: no name to look up");
        }
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        finding.evidence = evidence(names);
        if names.addresses.is_empty() {
            return no_address(finding, facts);
        }
        if let Some(judged) = wrong(&finding, facts) {
            return judged;
        }
        if let Some(judged) = slow(&finding, names) {
            return judged;
        }
        let addresses: Vec<String> = names.addresses.iter().map(|a| a.ip().to_string()).collect();
        finding
            .proves(
                format!("{} is {}", names.name, list(&addresses)),
                "that this is the host that is meant: a source may be out of date",
            )
            .into()
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.name
    }
}

fn evidence(names: &NameFacts) -> Vec<String> {
    let mut lines = vec![format!(
        "order in force (nsswitch.conf): {}",
        names.order.join(", ")
    )];
    match names.hosts.as_slice() {
        [] => lines.push(format!(
            "hosts file ({}): no entry for {}",
            count(names.hosts_lines, "line", "lines"),
            names.name
        )),
        entries => lines.extend(entries.iter().map(|entry| {
            format!(
                "hosts file, line {} of {}: {} is {}",
                entry.line, names.hosts_lines, names.name, entry.address
            )
        })),
    }
    lines.extend(names.servers.iter().flat_map(of_server));
    lines.push(match &names.system {
        System::NotAsked => "the system's resolver was not asked".to_owned(),
        System::Addresses(addresses, took) => {
            let all: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
            format!("the system's resolver: {} in {}", list(&all), time(*took))
        }
        System::Failed(why, took) => format!("the system's resolver: {why}, after {}", time(*took)),
        System::Late(took) => format!("the system's resolver: no answer within {}", time(*took)),
    });
    lines
}

fn of_server(server: &Server) -> Vec<String> {
    server
        .asked
        .iter()
        .map(|asked| {
            let said: Vec<String> = asked
                .answers
                .iter()
                .zip(["A", "AAAA"])
                .map(|(answer, kind)| match answer {
                    None => format!("{kind} no answer"),
                    Some((answer, after)) => {
                        let all: Vec<String> = answer.addresses.iter().map(IpAddr::to_string).collect();
                        let what = match (answer.code, all.is_empty()) {
                            (0, false) => list(&all),
                            (0, true) => "no address of this kind".to_owned(),
                            (code, _) => dns::code_in_words(code).to_owned(),
                        };
                        format!("{kind} {what} in {}", time(*after))
                    }
                })
                .collect();
            let alias = asked
                .answers
                .iter()
                .flatten()
                .find_map(|(answer, _)| answer.alias.as_ref())
                .map(|alias| format!(" (an alias of {alias})"))
                .unwrap_or_default();
            match asked.error {
                Some(errno) => format!(
                    "DNS server {}, {}: {}",
                    server.address,
                    asked.name,
                    errno_words(errno)
                ),
                None => format!(
                    "DNS server {}, {}{alias}: {}",
                    server.address,
                    asked.name,
                    said.join("; ")
                ),
            }
        })
        .collect()
}

fn errno_words(errno: i32) -> &'static str {
    match errno {
        libc::ECONNREFUSED => "nothing listens on its port 53, or a firewall refuses",
        libc::EHOSTUNREACH => "its host cannot be reached",
        libc::ENETUNREACH => "this host has no route to it",
        libc::EPERM | libc::EACCES => "this host's own firewall or a route forbids it",
        _ => "asking it failed",
    }
}

/// The system's own faults are not the name's: without a link or a route no server can be asked.
fn is_own_fault(facts: &Facts) -> bool {
    let Some(way) = &facts.way else { return false };
    let no_route = way.usable().is_none();
    let no_carrier = way
        .egress
        .as_ref()
        .is_some_and(|link| !(link.loopback || link.up && link.lower_up));
    no_route || no_carrier
}

fn no_address(mut finding: Finding, facts: &Facts) -> Judged {
    let names = &facts.name;
    let name = &names.name;
    let alive: Vec<&Server> = names.servers.iter().filter(|server| server.is_alive()).collect();
    let servers: Vec<String> = names.servers.iter().map(|s| s.address.to_string()).collect();
    let is_loopback = names.servers.iter().all(|server| server.address.is_loopback());
    if alive.is_empty() && !is_loopback && is_own_fault(facts) {
        finding.result = Outcome::Unknown;
        return finding
            .proves(
                String::new(),
                "that the name is wrong: no server could be asked, because this host has no way to it (see below)",
            )
            .into();
    }
    finding.result = Outcome::Fail;
    // The servers' packets, the hosts file and the system's resolver.
    let mut observations = vec![Seen::Answer, Seen::File];
    if !matches!(names.system, System::NotAsked) {
        observations.push(Seen::SecondAnswer);
    }
    let summary = if alive.is_empty() {
        finding.next = format!(
            "Check the servers in /etc/resolv.conf ({}): rping diagnose {}:53. Meanwhile diagnose by address.",
            list(&servers),
            servers.first().map_or("SERVER", String::as_str)
        );
        finding = finding.proves(
            "no DNS server that this host is set up with answers, and the hosts file has no entry",
            "that the name is wrong, or that its host is down",
        );
        format!(
            "{name} does not resolve: no DNS server answers ({}), and the hosts file has no entry.",
            list(&servers)
        )
    } else {
        let codes: Vec<String> = alive
            .iter()
            .map(|server| {
                let words = server.code().map_or("no address", |code| match code {
                    0 => "no address",
                    code => dns::code_in_words(code),
                });
                format!("{} says {words}", server.address)
            })
            .collect();
        finding.next = format!(
            "Check the spelling and the search domains; if the name is right, have it entered in DNS or in /etc/hosts. \
             If you know its address, rping diagnose ADDRESS{} tells whether only the name is wrong.",
            facts.port.map(|port| format!(":{port}")).unwrap_or_default()
        );
        finding = finding.proves(
            "the sources of names were reached and do not know this one (Windows would say: system error 53)",
            "that its host is down",
        );
        format!(
            "{name} does not resolve: {}, and the hosts file has no entry.",
            list(&codes)
        )
    };
    Judged::fault(finding, Layer::Name, observations, summary).whatever_works()
}

/// Another source's address works, and the one in use does not.
fn wrong(finding: &Finding, facts: &Facts) -> Option<Judged> {
    if facts.works() {
        return None;
    }
    let names = &facts.name;
    let subject = facts.subject?;
    let right = names
        .elsewhere
        .iter()
        .find(|other| facts.works_elsewhere.contains(&other.address))?;
    let used = names
        .hosts
        .iter()
        .find(|entry| entry.address == subject.ip())
        .map_or_else(
            || "the first DNS server".to_owned(),
            |entry| format!("line {} of the hosts file", entry.line),
        );
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    finding.evidence.push(format!(
        "{} answers as asked, {} does not",
        right.address,
        subject.ip()
    ));
    let finding = finding
        .proves(
            format!(
                "{used} gives an address that does not work, {} gives one that does",
                right.source
            ),
            "that the other address is the host that is meant",
        )
        .next(format!(
            "Correct or remove the entry for {} in {used}; then flush caches, if there are any.",
            names.name
        ));
    let summary = format!(
        "{} is looked up wrongly: {used} says {}, which does not answer, while {} says {}, which does.",
        names.name,
        subject.ip(),
        right.source,
        right.address
    );
    let seen = vec![Seen::Answer, Seen::SecondAnswer, Seen::File];
    Some(Judged::fault(finding, Layer::Name, seen, summary).whatever_works())
}

fn slow(finding: &Finding, names: &NameFacts) -> Option<Judged> {
    let took = match &names.system {
        System::Addresses(_, took) | System::Late(took) if *took >= SLOW => *took,
        _ => return None,
    };
    let mut finding = finding.clone();
    finding.result = Outcome::Fail;
    let silent: Vec<String> = names
        .servers
        .iter()
        .filter(|server| !server.is_alive())
        .map(|server| server.address.to_string())
        .collect();
    let lagging: Vec<String> = names
        .servers
        .iter()
        .filter(|server| server.slowest().is_some_and(|slowest| slowest >= SLOW))
        .map(|server| server.address.to_string())
        .collect();
    let (why, next) = match (silent.is_empty(), lagging.is_empty()) {
        (false, _) => (
            format!("DNS server {} does not answer, and each look-up waits for it", list(&silent)),
            "Take the silent server out of /etc/resolv.conf, or move it behind one that answers.",
        ),
        (true, false) => (
            format!("DNS server {} takes that long", list(&lagging)),
            "Find out what keeps that DNS server waiting, or put a quicker one before it in /etc/resolv.conf.",
        ),
        (true, true) => (
            "no single source that was asked apart is that slow".to_owned(),
            "Look at the other sources in nsswitch.conf (mDNS, LDAP), which are asked before or between.",
        ),
    };
    let is_explained = !silent.is_empty() || !lagging.is_empty();
    let finding = finding
        .proves(
            format!("looking the name up takes {}", time(took)),
            "that anything is wrong with the host itself",
        )
        .next(next);
    let summary = format!(
        "Looking up {} takes {}{}: {why}.",
        names.name,
        match names.system {
            System::Late(_) => "more than ",
            _ => "",
        },
        time(took)
    );
    let mut seen = vec![Seen::Time];
    if is_explained {
        seen.push(Seen::Answer);
    }
    Some(Judged::fault(finding, Layer::Name, seen, summary).whatever_works())
}
