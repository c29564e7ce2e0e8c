//! LOCAL_PORTS: whether a local port is left for another connection to this destination.

use std::time::Duration;

use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::Facts;

pub(crate) struct LocalPorts;

impl Check for LocalPorts {
    fn name(&self) -> &'static str {
        Layer::LocalPorts.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let (Some(port), Some(_)) = (facts.port, facts.subject) else {
            return skipped(self.name(), "no port was asked for: no local port is needed");
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        finding.evidence = facts.ports.lines();
        if matches!(
            facts.connect,
            Tried::Errno {
                errno: libc::EADDRNOTAVAIL | libc::EADDRINUSE,
                ..
            }
        ) {
            finding.result = Outcome::Fail;
            let mut seen = vec![Seen::Errno];
            if facts.ports.is_exhausted() {
                seen.push(Seen::Table);
            }
            let finding = finding
                .saw("the connect failed at once: no local port is left (EADDRNOTAVAIL)")
                .proves(
                    format!("every local port is in use toward this address and port {port}"),
                    "that other destinations fail: each has the whole range to itself",
                )
                .next(
                    "Find the program that holds or leaks the connections (rping sockets); keep connections open and use \
                     them again; widen net.ipv4.ip_local_port_range; net.ipv4.tcp_tw_reuse lets TIME_WAIT ports be used again.",
                );
            let summary = format!(
                "No local port is left for a connection to this address and port {port}{}.",
                facts.ports.in_words()
            );
            return Judged::fault(finding, Layer::LocalPorts, seen, summary);
        }
        if let Some(warning) = facts.ports.forecast() {
            finding.evidence.push(warning);
        }
        match facts.connect {
            Tried::Untried => {
                finding.result = Outcome::Unknown;
                finding
                    .proves(String::new(), "whether a local port is left")
                    .into()
            }
            _ => finding
                .proves(
                    "a local port was left for one more connection",
                    "that there will be one for the next",
                )
                .into(),
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.ports
    }
}
