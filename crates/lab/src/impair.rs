//! What a direction of the emulated link does to packets: a pure function of the seed and of their order.

use std::time::Duration;

use crate::packet::Flow;
use crate::rng::Rng;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Client to server.
    Forward,
    /// Server to client.
    Reverse,
}

/// Loss in bursts: the Gilbert–Elliott chain with loss probability 0 in the good state and `loss` in the bad one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Probability, per packet, of going from good to bad.
    pub enter: f64,
    /// Probability, per packet, of going from bad to good; bursts last 1/`leave` packets on average.
    pub leave: f64,
    /// Probability of loss while bad.
    pub loss: f64,
}

/// The ways in which a packet is damaged on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A bit flipped, the checksum left as it was: the receiving kernel drops it, only a raw socket sees it.
    Checksum,
    /// A payload bit flipped and the checksum put right: only a comparison of the payload finds it.
    Payload,
}

/// Why a packet did not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// [`Impairment::loss`].
    Random,
    /// [`Impairment::burst`].
    Burst,
    /// [`Impairment::drop_at`].
    Listed,
    /// [`Impairment::mtu`].
    TooBig,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was never delivered.
    Dropped(DropCause),
    /// It was delivered after `delay`, and a second time after `again` where there is one.
    Delivered {
        /// From arrival at the emulator to the first delivery, as planned.
        delay: Duration,
        /// The same for the second copy.
        again: Option<Duration>,
        /// What was done to it.
        damage: Option<Damage>,
        /// Whether [`Impairment::reorder`] held it back.
        held_back: bool,
    },
}

/// How one direction misbehaves. Probabilities are per packet, in `[0, 1]`.
///
/// ```
/// use std::time::Duration;
/// use rping_lab::Impairment;
/// let link = Impairment { loss: 0.1, delay: Duration::from_millis(5), ..Impairment::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Impairment {
    /// Added to every packet.
    pub delay: Duration,
    /// Added beside it: uniform in `[0, jitter)`. More than the send interval reorders.
    pub jitter: Duration,
    /// Probability of loss, each packet by itself.
    pub loss: f64,
    /// Loss in bursts.
    pub burst: Option<Burst>,
    /// Packets to drop by their number in this direction, from 0.
    pub drop_at: Vec<u64>,
    /// Probability of a second copy.
    pub duplicate: f64,
    /// How long after the first the second copy follows.
    pub duplicate_gap: Duration,
    /// Probability of being held back by `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// How long it is held back.
    pub reorder_by: Duration,
    /// Probability of [`Damage::Checksum`].
    pub corrupt_checksum: f64,
    /// Probability of [`Damage::Payload`].
    pub corrupt_payload: f64,
    /// Damage spares this many bytes at the start of the payload.
    pub corrupt_after: usize,
    /// From this packet of the direction on, counted from 0, nothing happens but `delay` and `jitter`: a run whose
    /// end is undisturbed leaves no answer behind.
    pub until: Option<u64>,
    /// IP packets longer than this vanish without a word (a path MTU black hole). Bytes.
    pub mtu: Option<usize>,
}

impl Impairment {
    /// A link that only takes its time.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// The state of one direction.
#[derive(Debug, Clone)]
pub struct Model {
    impairment: Impairment,
    rng: Rng,
    bad: bool,
    index: u64,
}

impl Model {
    /// A direction that starts in the good state.
    #[must_use]
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            rng: Rng::new(seed),
            bad: false,
            index: 0,
        }
    }

    /// Misbehaves differently from the next packet on; the stream of chance goes on where it was.
    pub fn set(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// Decides about the next packet and damages its bytes if it comes to that.
    pub fn decide(&mut self, flow: &Flow, packet: &mut [u8]) -> Fate {
        let with = &self.impairment;
        let index = self.index;
        self.index += 1;
        // Every packet draws the same number of values in the same order, whatever is switched on: so more
        // duplicates under one seed do not change which packets are lost.
        let [lost, chain, in_burst, doubled, held, damaged, jitter] =
            std::array::from_fn(|_| self.rng.unit());
        let place = self.rng.next_u64();

        let mut delay = with.delay + with.jitter.mul_f64(jitter);
        if with.until.is_some_and(|until| index >= until) {
            return Fate::Delivered {
                delay,
                again: None,
                damage: None,
                held_back: false,
            };
        }
        if let Some(burst) = with.burst {
            self.bad = if self.bad {
                chain >= burst.leave
            } else {
                chain < burst.enter
            };
        }
        if with.mtu.is_some_and(|mtu| packet.len() > mtu) {
            return Fate::Dropped(DropCause::TooBig);
        }
        if with.drop_at.contains(&index) {
            return Fate::Dropped(DropCause::Listed);
        }
        if lost < with.loss {
            return Fate::Dropped(DropCause::Random);
        }
        if self.bad && with.burst.is_some_and(|burst| in_burst < burst.loss) {
            return Fate::Dropped(DropCause::Burst);
        }
        let damage = if damaged < with.corrupt_checksum {
            Some(Damage::Checksum)
        } else if damaged < with.corrupt_checksum + with.corrupt_payload {
            Some(Damage::Payload)
        } else {
            None
        };
        let damage = damage.filter(|&damage| inflict(damage, flow, packet, with.corrupt_after, place));
        let held_back = held < with.reorder;
        if held_back {
            delay += with.reorder_by;
        }
        let again = (doubled < with.duplicate).then(|| delay + with.duplicate_gap);
        Fate::Delivered {
            delay,
            again,
            damage,
            held_back,
        }
    }
}

/// Flips a bit of the payload beyond its first `spare` bytes; says whether there was one to flip.
fn inflict(damage: Damage, flow: &Flow, packet: &mut [u8], spare: usize, place: u64) -> bool {
    let start = flow.payload.start + spare;
    let Some(length) = flow.payload.end.checked_sub(start).filter(|&length| length > 0) else {
        return false;
    };
    // The remainder is below the payload's length, which fits.
    let bit = (place % (length as u64 * 8)) as usize;
    packet[start + bit / 8] ^= 1 << (bit % 8);
    if damage == Damage::Payload {
        flow.fix_checksum(packet);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::echo_request;

    fn fates(impairment: &Impairment, seed: u64, count: u16) -> Vec<Fate> {
        let mut model = Model::new(impairment.clone(), seed);
        (0..count)
            .map(|sequence| {
                let mut packet = echo_request(sequence, &[0x55; 32]);
                let flow = Flow::parse(&packet).unwrap();
                model.decide(&flow, &mut packet)
            })
            .collect()
    }

    fn dropped(fate: &Fate) -> bool {
        matches!(fate, Fate::Dropped(_))
    }

    #[test]
    fn equal_seeds_give_equal_fates_and_others_do_not() {
        let link = Impairment {
            loss: 0.2,
            duplicate: 0.1,
            jitter: Duration::from_millis(3),
            corrupt_payload: 0.1,
            ..Impairment::default()
        };
        assert_eq!(fates(&link, 1, 500), fates(&link, 1, 500));
        assert_ne!(fates(&link, 1, 500), fates(&link, 2, 500));
    }

    #[test]
    fn switching_duplicates_on_does_not_change_which_packets_are_lost() {
        let lossy = Impairment {
            loss: 0.2,
            ..Impairment::default()
        };
        let both = Impairment {
            duplicate: 0.5,
            ..lossy.clone()
        };
        let lost = |link| fates(link, 9, 500).iter().map(dropped).collect::<Vec<_>>();
        assert_eq!(lost(&lossy), lost(&both));
    }

    #[test]
    fn loss_comes_at_its_rate() {
        let link = Impairment {
            loss: 0.3,
            ..Impairment::default()
        };
        let count = fates(&link, 5, 10_000)
            .iter()
            .filter(|fate| dropped(fate))
            .count();
        assert!((2_850..3_150).contains(&count), "{count}");
    }

    #[test]
    fn bursts_last_as_long_as_the_chain_says() {
        let burst = Burst {
            enter: 0.01,
            leave: 0.25,
            loss: 1.0,
        };
        let link = Impairment {
            burst: Some(burst),
            ..Impairment::default()
        };
        let fates = fates(&link, 5, 60_000);
        let runs: Vec<usize> = fates
            .chunk_by(|a, b| dropped(a) == dropped(b))
            .filter(|run| dropped(&run[0]))
            .map(<[_]>::len)
            .collect();
        let mean = runs.iter().sum::<usize>() as f64 / runs.len() as f64;
        assert!((3.6..4.4).contains(&mean), "mean burst {mean}");
    }

    #[test]
    fn listed_packets_are_dropped_and_no_others() {
        let link = Impairment {
            drop_at: vec![0, 3],
            ..Impairment::default()
        };
        let lost: Vec<bool> = fates(&link, 5, 6).iter().map(dropped).collect();
        assert_eq!(lost, [true, false, false, true, false, false]);
    }

    #[test]
    fn the_end_of_a_run_is_undisturbed_where_that_is_asked() {
        let link = Impairment {
            loss: 1.0,
            until: Some(4),
            ..Impairment::default()
        };
        let lost: Vec<bool> = fates(&link, 5, 6).iter().map(dropped).collect();
        assert_eq!(lost, [true, true, true, true, false, false]);
    }

    #[test]
    fn damage_with_a_right_checksum_changes_one_payload_bit_and_the_sum_still_holds() {
        let link = Impairment {
            corrupt_payload: 1.0,
            corrupt_after: 16,
            ..Impairment::default()
        };
        let mut model = Model::new(link, 3);
        for sequence in 0..200 {
            let original = echo_request(sequence, &[0x55; 32]);
            let mut packet = original.clone();
            let flow = Flow::parse(&packet).unwrap();
            let fate = model.decide(&flow, &mut packet);
            assert!(matches!(
                fate,
                Fate::Delivered {
                    damage: Some(Damage::Payload),
                    ..
                }
            ));
            assert_eq!(flow.checksum(&packet), 0);
            let changed: Vec<usize> = (28..60).filter(|&at| packet[at] != original[at]).collect();
            assert_eq!(changed.len(), 1);
            assert!(changed[0] >= 28 + 16, "the first 16 payload bytes are spared");
        }
    }

    #[test]
    fn damage_without_it_leaves_a_wrong_checksum() {
        let link = Impairment {
            corrupt_checksum: 1.0,
            ..Impairment::default()
        };
        let mut packet = echo_request(1, &[0x55; 32]);
        let flow = Flow::parse(&packet).unwrap();
        Model::new(link, 3).decide(&flow, &mut packet);
        assert_ne!(flow.checksum(&packet), 0);
    }

    #[test]
    fn a_packet_without_payload_is_not_said_to_be_damaged() {
        let link = Impairment {
            corrupt_payload: 1.0,
            ..Impairment::default()
        };
        let mut packet = echo_request(1, &[]);
        let flow = Flow::parse(&packet).unwrap();
        let fate = Model::new(link, 3).decide(&flow, &mut packet);
        assert!(matches!(fate, Fate::Delivered { damage: None, .. }));
    }
}
