//! LINK: the interface that the packets leave by, its cable, and its counters.

use std::time::Duration;

use rping_net::iface::{same_subnet, Interface};

use super::words::count;
use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::own::Watched;
use crate::gather::Facts;

pub(crate) struct Link;

impl Check for Link {
    fn name(&self) -> &'static str {
        Layer::Link.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let finding = Finding::new(self.name(), Outcome::Pass);
        let Some(way) = &facts.way else {
            return skipped(self.name(), "no address, so no interface to look at");
        };
        if way.is_own {
            return skipped(
                self.name(),
                "the target is this host: nothing leaves by an interface",
            );
        }
        if way.usable().is_none() {
            return without_route(finding, facts);
        }
        let Some(egress) = &way.egress else {
            return skipped(self.name(), "the route names no interface that is known");
        };
        with_route(finding, facts, egress)
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.way
    }
}

fn describe(interface: &Interface, watched: Option<&Watched>) -> String {
    let word = |is: bool, yes: &'static str, no: &'static str| if is { yes } else { no };
    let mut text = format!(
        "{}: {}, {}, MTU {}",
        interface.name,
        word(interface.up, "switched on", "switched off"),
        word(interface.lower_up, "carrier", "no carrier"),
        interface.mtu
    );
    if let Some(watched) = watched {
        if let Some(speed) = watched.speed {
            text.push_str(&format!(", {speed} Mbit/s"));
        }
        if let Some(duplex) = &watched.duplex {
            text.push_str(&format!(", {duplex} duplex"));
        }
    }
    text
}

fn with_route(mut finding: Finding, facts: &Facts, egress: &Interface) -> Judged {
    let watched = facts.own.watched(egress.index);
    finding.evidence.push(describe(egress, watched));
    if !(egress.loopback || egress.up && egress.lower_up) {
        finding.result = Outcome::Fail;
        let finding = finding
            .proves(
                format!("nothing leaves by {}: it has no carrier", egress.name),
                "whether cable, switch port, or the other end is to blame",
            )
            .next("Check the cable, the switch port and the device at the other end; try another port and cable.");
        let mut seen = vec![Seen::Table];
        // The neighbour behind it did not answer either, or the connect could not be made.
        if super::next_hop_is_there(facts) != Some(true) && !facts.works() {
            seen.push(Seen::Answer);
        }
        let summary = format!(
            "{} has no carrier: the cable is out, or what is at its other end is off. Nothing leaves this host by it.",
            egress.name
        );
        return Judged::fault(finding, Layer::Link, seen, summary);
    }
    let Some(Watched {
        before,
        after: Some(after),
        duplex,
        ..
    }) = watched
    else {
        return finding
            .proves(
                "the interface is up",
                "that its cable and the switch are free of errors",
            )
            .into();
    };
    finding.evidence.push(format!(
        "since it is there: {} received, {} sent, {} bad, {} not sent for errors, {} dropped on the way in, {} on the \
         way out; carrier changed {}",
        after.received,
        after.sent,
        after.receive_errors,
        after.send_errors,
        after.receive_drops,
        after.send_drops,
        count(after.carrier_changes as usize, "time", "times")
    ));
    let grew = |of: fn(&rping_net::iface::Condition) -> u64| of(after).saturating_sub(of(before));
    let errors = grew(|c| c.receive_errors) + grew(|c| c.send_errors) + grew(|c| c.crc_errors);
    let flaps = after.carrier_changes.saturating_sub(before.carrier_changes);
    if errors > 0 || flaps > 0 {
        finding.result = Outcome::Fail;
        let what = match flaps {
            0 => format!("{} came up", count(errors as usize, "error", "errors")),
            _ => format!("the carrier changed {}", count(flaps as usize, "time", "times")),
        };
        let summary = format!("{} is unsteady: {what} while it was looked at.", egress.name);
        let finding = finding
            .saw(format!("during this diagnosis {what}"))
            .proves(
                "the link itself loses packets",
                "that this alone explains the fault",
            )
            .next("Change the cable and the switch port; compare speed and duplex at both ends.");
        return Judged::fault(finding, Layer::Link, vec![Seen::Counter], summary).ambiguous();
    }
    if duplex.as_deref() == Some("half") {
        finding.evidence.push(format!(
            "half duplex, {} collisions: unusual today; compare the settings at both ends",
            after.collisions
        ));
    }
    finding
        .proves(
            "the interface is up, has a carrier and counted no error while it was looked at",
            "that the switch port is in the right VLAN",
        )
        .into()
}

/// There is no route: is it because an interface is off?
fn without_route(mut finding: Finding, facts: &Facts) -> Judged {
    let interfaces: Vec<&Interface> = facts.own.interfaces.iter().filter(|i| !i.loopback).collect();
    finding.evidence.extend(
        interfaces
            .iter()
            .take(8)
            .map(|i| describe(i, facts.own.watched(i.index))),
    );
    let target = facts.way_target();
    let has_subnet = |interface: &&&Interface| {
        let addresses = &interface.addresses;
        target.is_some_and(|to| {
            addresses
                .iter()
                .any(|own| same_subnet(own.address, to, own.prefix))
        })
    };
    let usable = |interface: &Interface| interface.up && interface.lower_up;
    let culprit = interfaces
        .iter()
        .filter(|interface| !usable(interface))
        .find(has_subnet)
        .or_else(|| {
            // Routes through an interface go when it is switched off, the default route among them.
            let has_default = facts
                .way
                .as_ref()
                .is_some_and(|way| way.routes.iter().any(|route| route.prefix == 0));
            let mut off = interfaces
                .iter()
                .filter(|interface| !interface.up && !interface.addresses.is_empty());
            off.next().filter(|_| !has_default)
        });
    let none_is_up = !interfaces.is_empty() && !interfaces.iter().any(|interface| usable(interface));
    let called = match facts.subject {
        Some(_) => "the target".to_owned(),
        None => facts.way_words(),
    };
    let summary = match (culprit, interfaces.is_empty()) {
        (Some(culprit), _) if !culprit.up => format!(
            "{} is switched off, and the route to {} went with it (Windows would say: General failure).",
            culprit.name, called
        ),
        (Some(culprit), _) => format!(
            "{} has no carrier, and no other way leads to {called}.",
            culprit.name
        ),
        (None, true) => {
            "This host has no network interface but the loopback one (Windows would say: General failure)."
                .to_owned()
        }
        (None, false) if none_is_up => {
            "No network interface is up (Windows would say: General failure).".to_owned()
        }
        _ => {
            return finding
                .proves(
                    "at least one interface is up",
                    "that any of them leads to the target",
                )
                .into()
        }
    };
    finding.result = Outcome::Fail;
    let next = match culprit {
        Some(culprit) if !culprit.up => format!("Switch it on: ip link set {} up.", culprit.name),
        Some(_) => "Check the cable, the switch port and the device at the other end.".to_owned(),
        None => "Switch an interface on, or look for its driver (ip link, dmesg).".to_owned(),
    };
    let finding = finding
        .proves(
            "no valid interface is there to send by",
            "that the hardware is broken",
        )
        .next(next);
    // The table of interfaces, and the look-up that found no route.
    Judged::fault(finding, Layer::Link, vec![Seen::Table, Seen::Errno], summary)
}
