//! The memory of what is in flight: one slot a probe, found by its sequence number, never by a search.

use crate::probe::{Sequence, TargetId};
use crate::time::{Stamp, StampSource, Timestamp};

/// What a slot's probe is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// No probe yet.
    Free,
    /// Handed to the probe kind; has not left.
    Offered,
    /// Left, and not settled.
    InFlight,
    /// Settled by an answer or a refusal: a further answer is a duplicate.
    Answered,
    /// Settled by silence or as not sent: an answer now is late.
    Silent,
}

/// One probe in flight or lately settled: 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) due: Timestamp,
    pub(crate) left: Timestamp,
    tag: u32,
    pub(crate) state: State,
    pub(crate) source: StampSource,
    /// When the interface let it go: so many steps of [`HARDWARE_STEP`] after `left`; 0 where it did not say.
    hardware: u16,
}

/// What the departure by the interface's clock is kept in, nanoseconds: the grain of most such clocks. It follows the
/// kernel's stamp by up to half a millisecond, else it is not kept.
const HARDWARE_STEP: u64 = 8;

impl Slot {
    /// When it left, by the kernel or by rping itself.
    pub(crate) fn leave(&mut self, at: Stamp) {
        self.left = at.at;
        self.source = at.source;
        self.hardware = 0;
    }

    /// When it left the interface, by the interface's own clock.
    pub(crate) fn leave_hardware(&mut self, at: Timestamp) {
        let steps = (at.nanos_since(self.left) + HARDWARE_STEP / 2) / HARDWARE_STEP;
        self.hardware = u16::try_from(steps).unwrap_or(0);
    }

    /// What is known of it, whose it is added.
    pub(crate) fn flight(&self, target: TargetId, seq: Sequence) -> Flight {
        let after = u64::from(self.hardware) * HARDWARE_STEP;
        Flight {
            target,
            seq,
            due: self.due,
            left: self.left,
            source: self.source,
            left_hardware: (after > 0).then(|| self.left.plus_nanos(after)),
        }
    }
}

/// One probe that has left and is not settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) target: TargetId,
    pub(crate) seq: Sequence,
    pub(crate) due: Timestamp,
    pub(crate) left: Timestamp,
    pub(crate) source: StampSource,
    /// When it left by the interface's clock, where that said so.
    pub(crate) left_hardware: Option<Timestamp>,
}

const EMPTY: Slot = Slot {
    due: Timestamp::ZERO,
    left: Timestamp::ZERO,
    tag: 0,
    state: State::Free,
    source: StampSource::User,
    hardware: 0,
};

/// The rings of all targets, side by side in one allocation.
#[derive(Debug)]
pub(crate) struct Rings {
    slots: Vec<Slot>,
    /// One bit a probe of a much longer past, for runs of few targets: was it answered?
    answered: Vec<u64>,
    per_target: u32,
    history: u32,
}

/// How many times longer than the ring the history of answered probes reaches.
const HISTORY: u32 = 8;

impl Rings {
    pub(crate) fn new(targets: usize, per_target: u32) -> Rings {
        let history = if targets <= 64 {
            per_target.max(64) * HISTORY
        } else {
            0
        };
        Rings {
            slots: vec![EMPTY; targets * per_target as usize],
            answered: vec![0; targets * history as usize / 64],
            per_target,
            history,
        }
    }

    fn index(&self, target: usize, seq: Sequence) -> usize {
        target * self.per_target as usize + (seq.0 & u64::from(self.per_target - 1)) as usize
    }

    /// Takes the slot for a new probe; `false` while the probe before it there is not settled.
    pub(crate) fn offer(&mut self, target: usize, seq: Sequence, due: Timestamp) -> bool {
        let index = self.index(target, seq);
        let slot = &mut self.slots[index];
        if matches!(slot.state, State::Offered | State::InFlight) {
            return false;
        }
        *slot = Slot {
            due,
            left: due,
            tag: seq.low32(),
            state: State::Offered,
            source: StampSource::User,
            hardware: 0,
        };
        if let Some((word, bit)) = self.bit(target, seq) {
            self.answered[word] &= !bit;
        }
        true
    }

    /// The slot of a probe that was sent, unless a later probe has taken it.
    pub(crate) fn get(&mut self, target: usize, seq: Sequence) -> Option<&mut Slot> {
        let index = self.index(target, seq);
        let slot = &mut self.slots[index];
        (slot.tag == seq.low32() && slot.state != State::Free).then_some(slot)
    }

    /// Remembers that a probe was answered, in time or late.
    pub(crate) fn mark_answered(&mut self, target: usize, seq: Sequence) {
        if let Some((word, bit)) = self.bit(target, seq) {
            self.answered[word] |= bit;
        }
    }

    /// Whether a probe whose slot is gone was answered, as far as the history reaches; beyond it, no.
    pub(crate) fn was_answered(&self, target: usize, seq: Sequence, next: Sequence) -> bool {
        next.0.saturating_sub(seq.0) <= u64::from(self.history)
            && self
                .bit(target, seq)
                .is_some_and(|(word, bit)| self.answered[word] & bit != 0)
    }

    fn bit(&self, target: usize, seq: Sequence) -> Option<(usize, u64)> {
        if self.history == 0 {
            return None;
        }
        let at = (seq.0 & u64::from(self.history - 1)) as usize;
        Some((target * self.history as usize / 64 + at / 64, 1 << (at % 64)))
    }

    pub(crate) fn per_target(&self) -> u64 {
        u64::from(self.per_target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_costs_twenty_four_bytes() {
        assert_eq!(std::mem::size_of::<Slot>(), 24);
    }

    #[test]
    fn a_probe_is_found_until_a_later_one_takes_its_slot() {
        let mut rings = Rings::new(2, 4);
        rings.offer(1, Sequence(1), Timestamp::ZERO);
        assert!(rings.get(1, Sequence(1)).is_some());
        assert!(rings.get(0, Sequence(1)).is_none());
        assert!(!rings.offer(1, Sequence(5), Timestamp::ZERO));
        rings.mark_answered(1, Sequence(1));
        rings
            .get(1, Sequence(1))
            .into_iter()
            .for_each(|slot| slot.state = State::Answered);
        assert!(rings.offer(1, Sequence(5), Timestamp::ZERO));
        assert!(rings.get(1, Sequence(1)).is_none());
        assert!(rings.was_answered(1, Sequence(1), Sequence(6)));
        assert!(!rings.was_answered(0, Sequence(1), Sequence(6)));
    }
}
