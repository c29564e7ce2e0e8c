//! MTU: whether packets as large as the link allows get through, and if not, whether anybody says so.

use std::time::Duration;

use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::connects::Tried;
use crate::gather::mtu::MtuFacts;
use crate::gather::Facts;

pub(crate) struct Mtu;

impl Check for Mtu {
    fn name(&self) -> &'static str {
        Layer::Mtu.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        match facts.mtu {
            MtuFacts::NotTried => skipped(
                self.name(),
                "no packet that could be made larger is answered (or the target is this host)",
            ),
            MtuFacts::Whole { size } => finding
                .saw(format!(
                    "a packet of {size} bytes that may not be fragmented gets through"
                ))
                .proves(
                    "packets as large as this host's link carries reach the target",
                    "the way back",
                )
                .into(),
            MtuFacts::Told {
                size,
                from,
                fits_through,
            } => {
                let who = from.map_or("this host's own route".to_owned(), |from| from.to_string());
                finding.evidence.push(format!("{who} says that {size} bytes fit"));
                if fits_through {
                    return finding
                        .saw(format!("a packet of {size} bytes gets through"))
                        .proves(
                            "path MTU discovery works: who drops a packet says so",
                            "the way back",
                        )
                        .into();
                }
                finding.result = Outcome::Unknown;
                finding
                    .saw(format!("yet a packet of {size} bytes is not answered"))
                    .proves(String::new(), "what fits")
                    .into()
            }
            MtuFacts::Unclear { size } => {
                finding.result = Outcome::Unknown;
                finding
                    .saw(format!("packets of up to {size} bytes are not answered reliably"))
                    .proves(String::new(), "whether that is their size, or loss")
                    .into()
            }
            MtuFacts::BlackHole {
                passes,
                lost,
                tries,
                by_udp,
            } => black_hole(finding, facts, passes, lost, tries, by_udp),
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.mtu
    }
}

fn black_hole(
    mut finding: Finding,
    facts: &Facts,
    passes: u32,
    lost: u32,
    tries: u32,
    by_udp: Option<bool>,
) -> Judged {
    finding.evidence.push(format!(
        "packets of {passes} bytes get through; of {lost} bytes none of {tries} does, and nobody says why"
    ));
    if by_udp == Some(false) {
        finding.result = Outcome::Unknown;
        return finding
            .saw("UDP datagrams of that size get through: it is large echo requests that are dropped")
            .proves(String::new(), "that anything but large pings is affected")
            .into();
    }
    let mut seen = vec![Seen::Answer];
    if by_udp == Some(true) {
        finding
            .evidence
            .push("UDP datagrams of that size vanish, too".to_owned());
        seen.push(Seen::SecondAnswer);
    }
    // 20 or 40 bytes of IP, 20 of TCP, 12 of time stamps.
    let headers = if facts.subject.is_some_and(|to| to.is_ipv6()) {
        72
    } else {
        52
    };
    let largest_tcp = match facts.connect {
        Tried::Open { mss, .. } if mss > 0 => Some(mss + headers),
        _ => None,
    };
    let spared = largest_tcp.is_some_and(|largest| largest <= passes);
    if let Some(largest) = largest_tcp {
        finding.evidence.push(format!(
            "TCP would send packets of up to {largest} bytes to the target"
        ));
    }
    finding.result = Outcome::Fail;
    let finding = finding
        .proves(
            "a router on the way drops packets that are too big for the next link, and its message to us is lost or not sent",
            "which router",
        )
        .next(format!(
            "Let ICMP \"fragmentation needed\" (3/4; IPv6: \"packet too big\") pass on the way. Until then: an MTU of {passes} on this \
             host's interface, MSS clamping on the router, or net.ipv4.tcp_mtu_probing=1.",
        ));
    let effect = if spared {
        "TCP is spared, because the other side asks for smaller segments; other protocols are not."
    } else {
        "Connections are made and then hang as soon as much data flows."
    };
    let size = match lost - passes {
        0 | 1 => format!("packets above {passes} bytes vanish"),
        _ => format!("packets of {lost} bytes vanish, such of {passes} get through"),
    };
    let summary = format!("A path MTU black hole: {size}, and nobody says so. {effect}");
    let judged = Judged::fault(finding, Layer::Mtu, seen, summary).whatever_works();
    if spared {
        judged.ambiguous()
    } else {
        judged
    }
}
