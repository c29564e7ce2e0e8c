//! What was typed, and what this process may do about it.

use std::time::Duration;

use super::{Check, Judged};
use crate::finding::{Finding, Outcome};
use crate::gather::Facts;

pub(crate) struct Arguments;

impl Check for Arguments {
    fn name(&self) -> &'static str {
        "arguments"
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let what = match (facts.name.is_address, facts.port) {
            (true, Some(port)) => format!("{}: an address, TCP port {port}", facts.text),
            (true, None) => format!(
                "{}: an address, no port: the host itself is asked for",
                facts.text
            ),
            (false, Some(port)) => format!("{}: the name {}, TCP port {port}", facts.text, facts.name.name),
            (false, None) => format!("{}: a name, no port: the host itself is asked for", facts.text),
        };
        let rights = match (facts.rights.raw, facts.rights.admin) {
            (true, true) => {
                "privileges: CAP_NET_RAW and CAP_NET_ADMIN are kept, all others were given up".to_owned()
            }
            (raw, admin) => {
                let mut missing = Vec::new();
                if !raw {
                    missing.push("CAP_NET_RAW (own ARP requests, a look at the packets themselves)");
                }
                if !admin {
                    missing.push("CAP_NET_ADMIN (the packet filter's rules)");
                }
                format!("privileges: runs without {}", missing.join(" and "))
            }
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass).saw(what).saw(rights);
        if let Some(after) = facts.cut_short {
            finding = finding.saw(format!(
                "cut short after {:.1} s: what was not asked by then is not known",
                after.as_secs_f64()
            ));
        }
        finding
            .proves(
                "the target is well-formed",
                "that it is the one that was meant: check the spelling",
            )
            .into()
    }

    fn took(&self, _: &Facts) -> Duration {
        Duration::ZERO
    }
}
