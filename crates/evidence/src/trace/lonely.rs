//! Flows that one capture alone holds: lost, unless the other capture never looked at them.

use std::collections::{BTreeMap, HashSet};

use super::flow::{empty, lose, retransmits};
use super::pair::Flows;
use super::{Flow, Report};

impl Report {
    /// Adds the flows that one capture alone holds, and says what they leave open.
    pub(super) fn add_lonely(
        &mut self,
        in_a: &Flows,
        in_b: &Flows,
        map: &BTreeMap<Flow, Flow>,
        from_a: &[bool],
        apart: i128,
    ) -> Vec<String> {
        let mut at_a = HashSet::new();
        let mut at_b = HashSet::new();
        for ((one, other), from_a) in map.iter().zip(from_a) {
            // As either side knows the ends: a translator between them gives them other names.
            let (mine, theirs) = if *from_a {
                ([one.source, other.source], [one.destination, other.destination])
            } else {
                ([one.destination, other.destination], [one.source, other.source])
            };
            at_a.extend(mine);
            at_b.extend(theirs);
        }
        let taken: HashSet<&Flow> = map.values().collect();
        let lonely_a: Flows = lonely(in_a, |flow| !map.contains_key(flow));
        let lonely_b: Flows = lonely(in_b, |flow| !taken.contains(flow));
        let mut notes = Vec::new();
        for (is_a, lonely, theirs, other) in [(true, lonely_a, &at_b, in_b), (false, lonely_b, &at_a, in_a)] {
            let is_alone = other.is_empty() && map.is_empty();
            let (sender, receiver) = if is_a {
                (&self.a, &self.b)
            } else {
                (&self.b, &self.a)
            };
            let (mut unseen, mut open) = (0, 0);
            let mut reports = Vec::new();
            for (flow, packets) in &lonely {
                let came_here = packets
                    .iter()
                    .all(|&place| sender.seen[place].sent_here == Some(false));
                // Towards the other side, or to anywhere where the other capture is empty.
                let is_between = (theirs.contains(&flow.destination) || is_alone) && !came_here;
                if !is_between {
                    self.elsewhere += packets.len() as u64;
                    continue;
                }
                let back = lonely.get(&flow.reversed());
                // The other side began it, and its capture does not hold even that: it did not look at this.
                if back.is_some_and(|back| back.first() < packets.first()) {
                    self.elsewhere += packets.len() as u64;
                    unseen += packets.len() as u64;
                    continue;
                }
                let mut report = empty(is_a, *flow);
                report.left = packets.len() as u64;
                report.retransmits = retransmits(&sender.seen, packets);
                let lost: Vec<(usize, u64)> = packets
                    .iter()
                    .map(|&place| {
                        let span = sender.seen[place].range.map_or(0, |(_, span)| span.into());
                        (place, span)
                    })
                    .collect();
                lose(
                    &mut report,
                    &sender.seen,
                    &lost,
                    receiver.span,
                    if is_a { apart } else { -apart },
                );
                if back.is_some() {
                    open += report.lost;
                }
                reports.push(report);
            }
            for report in reports {
                self.push(report);
            }
            let (here, there) = if is_a { ("A", "B") } else { ("B", "A") };
            if unseen > 0 {
                notes.push(format!(
                    "{unseen} packets of {here} answer packets of {there}'s side that {there}'s capture does not hold: its \
                     filter left them out, or they went another way; they are not compared"
                ));
            }
            if open > 0 {
                notes.push(format!(
                    "{open} packets of {here} count as lost although they were answered: {there}'s capture holds nothing \
                     of these conversations; something on the way answered, or a filter kept them out of it"
                ));
            }
        }
        notes
    }
}

fn lonely(flows: &Flows, is_lonely: impl Fn(&Flow) -> bool) -> Flows {
    flows
        .iter()
        .filter(|(flow, _)| is_lonely(flow))
        .map(|(flow, packets)| (*flow, packets.clone()))
        .collect()
}
