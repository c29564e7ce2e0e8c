//! The log of what really happened, packet by packet, and what an echo client must therefore have counted.

use std::collections::HashMap;
use std::time::Duration;

use crate::impair::{Damage, Direction, Fate};
use crate::packet::{Flow, Kind};

/// One packet that the emulator impaired, or could have.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which way it went.
    pub direction: Direction,
    /// Its number in that direction, from 0.
    pub index: u64,
    /// When it came to the emulator, since the emulator's start.
    pub at: Duration,
    /// Addresses and kind.
    pub flow: Flow,
    /// Length of the IP packet in bytes.
    pub length: usize,
    /// The first 64 bytes of its payload, as it came.
    pub head: Vec<u8>,
    /// A fingerprint of the payload as it came …
    pub came: u64,
    /// … and as it went; the same where nothing was damaged.
    pub went: u64,
    /// What was decided.
    pub fate: Fate,
    /// When each copy was really handed over, since the emulator's start; shorter than planned while some wait.
    pub released: Vec<Release>,
}

/// One hand-over of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Position among all hand-overs of the emulator: a total order even within one clock tick.
    pub order: u64,
    /// When, since the emulator's start.
    pub at: Duration,
}

/// Packets and copies of one direction, by fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came to the emulator and matched.
    pub seen: u64,
    /// … of which never handed over.
    pub dropped: u64,
    /// Copies handed over.
    pub delivered: u64,
    /// Packets handed over twice.
    pub duplicated: u64,
    /// Packets that [`crate::Impairment::reorder`] held back.
    pub held_back: u64,
    /// Packets damaged so that the checksum tells.
    pub bad_checksum: u64,
    /// Packets damaged so that only the payload tells.
    pub bad_payload: u64,
}

/// What a client that sends echo requests (ICMP, or UDP to a service that sends every datagram back) must count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// Probes that left the client.
    pub sent: u64,
    /// Probes with an intact answer within the timeout.
    pub received: u64,
    /// Probes without one.
    pub lost: u64,
    /// Intact answers beyond the first, in time or late.
    pub duplicates: u64,
    /// First intact answers to lost probes: they came after the timeout.
    pub late: u64,
    /// Answers with a wrong checksum: a datagram socket never sees them.
    pub bad_checksum: u64,
    /// Answers with a right checksum and a payload that is not the one sent.
    pub bad_payload: u64,
    /// First answers that came after the first answer to a later probe (RFC 4737 section 3.3).
    pub reordered: u64,
    /// Round-trip time as the emulator saw it, of each received probe, in the order of sending.
    pub round_trips: Vec<Duration>,
}

/// The log of one run.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// Every packet that matched, in the order of arrival at the emulator, both directions.
    pub entries: Vec<Entry>,
    /// Packets that did not match and were handed on at once.
    pub passed: u64,
    /// Packets that the receiving TUN device refused (it was down); they are in no other figure.
    pub undeliverable: u64,
}

impl Truth {
    /// The entries of one direction, in order.
    pub fn of(&self, direction: Direction) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.direction == direction)
    }

    /// The figures of one direction.
    #[must_use]
    pub fn counts(&self, direction: Direction) -> Counts {
        let mut counts = Counts::default();
        for entry in self.of(direction) {
            counts.seen += 1;
            counts.delivered += entry.released.len() as u64;
            match entry.fate {
                Fate::Dropped(_) => counts.dropped += 1,
                Fate::Delivered {
                    again,
                    damage,
                    held_back,
                    ..
                } => {
                    counts.duplicated += u64::from(again.is_some());
                    counts.held_back += u64::from(held_back);
                    counts.bad_checksum += u64::from(damage == Some(Damage::Checksum));
                    counts.bad_payload += u64::from(damage == Some(Damage::Payload));
                }
            }
        }
        counts
    }

    /// What the client must have counted with this timeout; times are the emulator's, so choose delays that stay
    /// well clear of it.
    ///
    /// Answers find their probe by ports or identifier and sequence, and by the payload that went out to the
    /// server: payloads must differ from probe to probe, as rping's and ping's do.
    #[must_use]
    pub fn expected(&self, timeout: Duration) -> Expected {
        let requests: Vec<&Entry> = self
            .of(Direction::Forward)
            .filter(|entry| !matches!(entry.flow.kind, Kind::Echo { reply: true, .. }))
            .collect();
        let by_payload: HashMap<_, usize> = requests
            .iter()
            .enumerate()
            .map(|(number, entry)| ((question(entry.flow.kind), entry.went), number))
            .collect();
        let mut expected = Expected {
            sent: requests.len() as u64,
            ..Expected::default()
        };

        // Per probe, its intact copies in the order in which the client got them.
        let mut answers: Vec<Vec<Release>> = vec![Vec::new(); requests.len()];
        for reply in self.of(Direction::Reverse) {
            let Some(&number) = by_payload.get(&(question(reply.flow.kind), reply.came)) else {
                continue;
            };
            let copies = reply.released.len() as u64;
            if matches!(
                reply.fate,
                Fate::Delivered {
                    damage: Some(Damage::Checksum),
                    ..
                }
            ) {
                expected.bad_checksum += copies;
            } else if reply.went != requests[number].came {
                expected.bad_payload += copies;
            } else {
                answers[number].extend(&reply.released);
            }
        }

        let mut first_answers = Vec::new();
        for (number, copies) in answers.iter_mut().enumerate() {
            copies.sort_unstable();
            let sent = requests[number].at;
            match copies.first() {
                Some(first) if first.at.saturating_sub(sent) <= timeout => {
                    expected.received += 1;
                    expected.duplicates += copies.len() as u64 - 1;
                    expected.round_trips.push(first.at.saturating_sub(sent));
                    first_answers.push((first.order, number));
                }
                Some(_) => {
                    expected.lost += 1;
                    expected.late += 1;
                    expected.duplicates += copies.len() as u64 - 1;
                }
                None => expected.lost += 1,
            }
        }
        first_answers.sort_unstable();
        let mut next_expected = 0;
        for (_, number) in first_answers {
            if number < next_expected {
                expected.reordered += 1;
            } else {
                next_expected = number + 1;
            }
        }
        expected
    }
}

/// The same value for a probe and its answer.
fn question(kind: Kind) -> Kind {
    match kind {
        Kind::Echo { id, sequence, .. } => Kind::Echo {
            reply: false,
            id,
            sequence,
        },
        Kind::Udp { from, to } => Kind::Udp {
            from: from.min(to),
            to: from.max(to),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::echo_request;

    const MS: Duration = Duration::from_millis(1);

    fn entry(direction: Direction, sequence: u16, at: u32, came: u64, releases: &[(u64, u32)]) -> Entry {
        let packet = echo_request(sequence, &[]);
        let mut flow = Flow::parse(&packet).unwrap();
        if direction == Direction::Reverse {
            flow.kind = Kind::Echo {
                reply: true,
                id: 0x1234,
                sequence,
            };
        }
        Entry {
            direction,
            index: 0,
            at: MS * at,
            flow,
            length: 28,
            head: Vec::new(),
            came,
            went: came,
            fate: Fate::Delivered {
                delay: MS,
                again: None,
                damage: None,
                held_back: false,
            },
            released: releases
                .iter()
                .map(|&(order, at)| Release { order, at: MS * at })
                .collect(),
        }
    }

    fn exchange(sequence: u16, at: u32, replies: &[(u64, u32)]) -> [Entry; 2] {
        let payload = u64::from(sequence) + 100;
        [
            entry(Direction::Forward, sequence, at, payload, &[(0, at)]),
            entry(Direction::Reverse, sequence, at, payload, replies),
        ]
    }

    fn expected(entries: impl IntoIterator<Item = Entry>) -> Expected {
        Truth {
            entries: entries.into_iter().collect(),
            ..Truth::default()
        }
        .expected(MS * 100)
    }

    #[test]
    fn every_probe_is_received_or_lost() {
        let counted = expected([exchange(0, 0, &[(1, 5)]), exchange(1, 10, &[])].concat());
        assert_eq!((counted.sent, counted.received, counted.lost), (2, 1, 1));
        assert_eq!(counted.round_trips, [MS * 5]);
    }

    #[test]
    fn an_answer_after_the_timeout_is_late_and_a_second_one_a_duplicate() {
        let counted = expected([exchange(0, 0, &[(9, 150)]), exchange(1, 10, &[(1, 15), (2, 16)])].concat());
        assert_eq!((counted.received, counted.lost), (1, 1));
        assert_eq!((counted.late, counted.duplicates), (1, 1));
    }

    #[test]
    fn an_overtaken_answer_is_reordered() {
        let counted = expected(
            [
                exchange(0, 0, &[(3, 30)]),
                exchange(1, 10, &[(1, 15)]),
                exchange(2, 20, &[(2, 25)]),
            ]
            .concat(),
        );
        assert_eq!(counted.reordered, 1);
    }

    #[test]
    fn an_answer_damaged_on_the_way_there_is_not_intact_though_it_came_back_as_it_was_sent() {
        let mut pair = exchange(0, 0, &[(1, 5)]);
        pair[0].went = 7;
        pair[1].came = 7;
        pair[1].went = 7;
        let counted = expected(pair);
        assert_eq!((counted.lost, counted.bad_payload), (1, 1));
    }
}
