//! SELF: this host's own stack and addresses.

use std::time::Duration;

use super::words::{list, mac};
use super::{Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::Facts;

pub(crate) struct Own;

impl Check for Own {
    fn name(&self) -> &'static str {
        Layer::Own.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        let addresses: Vec<String> = facts
            .own
            .interfaces
            .iter()
            .filter(|interface| !interface.loopback)
            .flat_map(|interface| {
                interface
                    .addresses
                    .iter()
                    .map(move |own| format!("{}/{} on {}", own.address, own.prefix, interface.name))
            })
            .collect();
        finding
            .evidence
            .push(format!("own addresses: {}", list(&addresses)));
        let source = facts.way.as_ref().and_then(|way| way.source);
        if let Some(source) = source {
            finding
                .evidence
                .push(format!("packets to the target leave from {source}"));
        }
        match facts.own.loopback {
            Some(true) => finding.evidence.push("127.0.0.1 answers".to_owned()),
            Some(false) => return dead_loopback(finding),
            None => finding
                .evidence
                .push("whether 127.0.0.1 answers could not be told".to_owned()),
        }
        let all = || {
            facts
                .own
                .interfaces
                .iter()
                .flat_map(|i| i.addresses.iter().map(move |a| (i, a)))
        };
        // A duplicate is a fault where it is the address in use, or where it keeps the only address from being used.
        let duplicate =
            all().find(|(_, own)| own.duplicated && (source == Some(own.address) || source.is_none()));
        if let Some((interface, own)) = duplicate {
            let summary = format!(
                "This host's own address {} is a duplicate: another host on {} has it, so the kernel does not use it.",
                own.address, interface.name
            );
            let finding = fail(
                finding,
                &format!("{} is marked duplicate (dadfailed)", own.address),
            );
            return Judged::fault(finding, Layer::Own, vec![Seen::Table], summary).whatever_works();
        }
        let claims = facts.way.as_ref().and_then(|way| way.asked.own.as_ref());
        if let (Some(source), Some([claim, ..])) = (source, claims.map(Vec::as_slice)) {
            let line = format!(
                "{source} is ours, and {} answers ARP requests for it, too ({} of 2)",
                mac(claim.mac),
                claim.answers
            );
            let summary = format!(
                "This host's own address {source} is a duplicate: {} has it, too. Answers meant for this host go astray.",
                mac(claim.mac)
            );
            let mut seen = vec![Seen::Wire];
            if claim.answers >= 2 {
                seen.push(Seen::Answer);
            }
            return Judged::fault(fail(finding, &line), Layer::Own, seen, summary).whatever_works();
        }
        if let Some((_, own)) = all().find(|(_, own)| own.tentative && source == Some(own.address)) {
            let summary = format!(
                "The address {} is tentative: the kernel still checks whether another host has it, and sends nothing from it.",
                own.address
            );
            let line = format!("{} is tentative", own.address);
            return Judged::fault(fail(finding, &line), Layer::Own, vec![Seen::Table], summary);
        }
        if claims.is_some() {
            finding
                .evidence
                .push("nobody else answers ARP requests for our address".to_owned());
        }
        finding
            .proves(
                "the local stack works, and the address in use is ours alone as far as it can be seen",
                "that anything leaves this host",
            )
            .into()
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.own
    }
}

fn fail(mut finding: Finding, line: &str) -> Finding {
    finding.result = Outcome::Fail;
    finding
        .saw(line)
        .proves("the address in use is not ours alone, or not usable yet", "who is right to have it")
        .next("Give one of the two hosts another address; if addresses come by DHCP, look for a host with a fixed one.")
}

fn dead_loopback(mut finding: Finding) -> Judged {
    finding.result = Outcome::Fail;
    let finding = finding
        .saw("127.0.0.1 does not answer, neither TCP nor ICMP")
        .proves("the local stack does not work", "why")
        .next("Bring the loopback interface up (ip link set lo up); look for firewall rules on it.");
    let summary =
        "This host does not answer itself: packets to 127.0.0.1 are lost, so its own stack is not working."
            .to_owned();
    // Plenty works without a loopback interface.
    Judged::fault(finding, Layer::Own, vec![Seen::Answer], summary)
}
