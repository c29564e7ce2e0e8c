//! Which packet a transmit stamp belongs to.
//!
//! The kernel numbers stamps (`SOF_TIMESTAMPING_OPT_ID`). Since Linux 6.13 the sender may choose the number; before, the
//! kernel counts packets itself, and a send that fails half-way may or may not have been counted.

use rping_engine::Timestamp;

/// A packet that was sent and whose stamp has not come yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    number: u32,
    pub(crate) tag: u64,
    /// When, by our own clock, the send call began: its stamp cannot be earlier.
    pub(crate) sent: Timestamp,
    /// The kernel's stamp may still come.
    kernel: bool,
    /// The interface's may.
    interface: bool,
}

/// Who took a transmit stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taker {
    Kernel,
    Interface,
}

/// The packets whose stamps may still come: the last [`Stamps::ROOM`] that were sent.
#[derive(Debug)]
pub(crate) struct Stamps {
    ring: Vec<Option<Awaited>>,
    next: u32,
    awaited: usize,
    /// Each packet is stamped twice.
    by_interface: bool,
}

impl Stamps {
    /// Up to 20 000 packets a second are stamped, nearly all within the send call; what waits longer waits for a
    /// neighbour, and a socket's buffer holds some 500 of those. Both are powers of two.
    const ROOM: usize = 4096;
    /// What the ring begins with: the most have their stamps before the next is sent.
    const FIRST_ROOM: usize = 64;

    /// As many packets as may be on their way out of the interface when an answer comes in: a batch.
    const LOOKED_BACK: u32 = rping_engine::BATCH as u32;

    pub(crate) fn new(by_interface: bool) -> Stamps {
        Stamps {
            by_interface,
            ring: vec![None; Stamps::FIRST_ROOM],
            next: 0,
            awaited: 0,
        }
    }

    #[inline]
    fn place(&self, number: u32) -> usize {
        number as usize & (self.ring.len() - 1)
    }

    /// Twice the room. Of the packets that it holds no two have one place in the larger ring, for they had not in the smaller.
    #[cold]
    fn grow(&mut self) {
        let held = std::mem::take(&mut self.ring);
        self.ring = vec![None; held.len() * 2];
        for awaited in held.into_iter().flatten() {
            let place = self.place(awaited.number);
            self.ring[place] = Some(awaited);
        }
    }

    /// Whether each packet is stamped by the interface too.
    pub(crate) const fn are_by_interface(&self) -> bool {
        self.by_interface
    }

    /// The number of the packet to be sent `ahead` packets from now.
    pub(crate) fn number(&self, ahead: usize) -> u32 {
        self.next.wrapping_add(ahead as u32)
    }

    /// The next number belongs to `tag`, sent at `sent`.
    pub(crate) fn sent(&mut self, tag: u64, sent: Timestamp) {
        while self.ring.len() < Stamps::ROOM && self.ring[self.place(self.next)].is_some() {
            self.grow();
        }
        let place = self.place(self.next);
        let slot = &mut self.ring[place];
        if slot
            .replace(Awaited {
                number: self.next,
                tag,
                sent,
                kernel: true,
                interface: self.by_interface,
            })
            .is_none()
        {
            self.awaited += 1;
        }
        self.next = self.next.wrapping_add(1);
    }

    /// The next number belongs to nobody: its packet did not leave.
    pub(crate) fn skip(&mut self) {
        self.next = self.next.wrapping_add(1);
    }

    /// Counting starts again from 0; what was awaited is not any more.
    pub(crate) fn restart(&mut self) {
        self.ring.fill(None);
        self.awaited = 0;
        self.next = 0;
    }

    /// A stamp with this number came: whose is it?
    pub(crate) fn take(&mut self, number: u32, taker: Taker) -> Option<Awaited> {
        let place = self.place(number);
        let slot = &mut self.ring[place];
        let awaited = slot.as_mut().filter(|awaited| awaited.number == number)?;
        let owed = match taker {
            Taker::Kernel => &mut awaited.kernel,
            Taker::Interface => &mut awaited.interface,
        };
        if !std::mem::take(owed) {
            return None;
        }
        let taken = *awaited;
        if !taken.kernel && !taken.interface {
            self.awaited -= 1;
            *slot = None;
        }
        Some(taken)
    }

    /// Whether the interface owes the stamp of a packet that was handed over since `since`, of the last
    /// [`Stamps::LOOKED_BACK`].
    pub(crate) fn is_owed_by_interface(&self, since: Timestamp) -> bool {
        (1..=Stamps::LOOKED_BACK)
            .map(|back| self.next.wrapping_sub(back))
            .filter_map(|number| self.ring[self.place(number)].filter(|awaited| awaited.number == number))
            .any(|awaited| awaited.interface && awaited.sent >= since)
    }

    /// The interface's stamps are of no use any more.
    pub(crate) fn expect_kernels_alone(&mut self) {
        self.by_interface = false;
        for slot in &mut self.ring {
            if let Some(awaited) = slot {
                awaited.interface = false;
                if !awaited.kernel {
                    *slot = None;
                    self.awaited -= 1;
                }
            }
        }
    }

    /// Whether any stamp may still come.
    pub(crate) fn awaited(&self) -> bool {
        self.awaited > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Taker::{Interface, Kernel};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stamp_finds_its_packet_once_across_the_wrap() {
        let mut stamps = Stamps::new(false);
        stamps.next = u32::MAX;
        assert_eq!((stamps.number(0), stamps.number(1)), (u32::MAX, 0));
        stamps.sent(10, Timestamp::from_nanos(1));
        stamps.sent(11, Timestamp::from_nanos(2));
        assert_eq!(
            stamps.take(0, Kernel).map(|a| (a.tag, a.sent.as_nanos())),
            Some((11, 2))
        );
        assert!(stamps.take(0, Kernel).is_none());
        assert!(stamps.awaited());
        assert_eq!(stamps.take(u32::MAX, Kernel).map(|a| a.tag), Some(10));
        assert!(!stamps.awaited());
    }

    #[test]
    fn a_skipped_number_and_one_long_gone_belong_to_nobody() {
        let mut stamps = Stamps::new(false);
        stamps.sent(1, Timestamp::ZERO);
        stamps.skip();
        for tag in 2..=Stamps::ROOM as u64 {
            stamps.sent(tag, Timestamp::ZERO);
        }
        assert!(stamps.take(0, Kernel).is_none(), "overwritten");
        assert!(stamps.take(1, Kernel).is_none(), "skipped");
        assert_eq!(stamps.take(2, Kernel).map(|a| a.tag), Some(2));
    }

    #[test]
    fn a_packet_stamped_twice_is_awaited_until_both_came_and_owed_no_longer_than_asked() {
        let at = Timestamp::from_nanos;
        let mut stamps = Stamps::new(true);
        stamps.sent(1, at(10));
        stamps.sent(2, at(20));
        assert!(stamps.take(0, Kernel).is_some() && stamps.take(0, Kernel).is_none());
        assert!(stamps.take(1, Kernel).is_some());
        assert!(stamps.awaited() && stamps.is_owed_by_interface(at(20)));
        assert_eq!(
            stamps.take(1, Interface).map(|a| (a.tag, a.sent)),
            Some((2, at(20)))
        );
        assert!(!stamps.is_owed_by_interface(at(20)) && stamps.is_owed_by_interface(at(10)));
        assert!(stamps.take(0, Interface).is_some() && !stamps.awaited());
        for tag in 0..=u64::from(Stamps::LOOKED_BACK) {
            stamps.sent(tag, at(30));
        }
        for number in 3..=2 + Stamps::LOOKED_BACK {
            assert!(stamps.take(number, Interface).is_some());
        }
        assert!(!stamps.is_owed_by_interface(at(0)), "the oldest is too long ago");
    }

    #[test]
    fn once_the_interfaces_stamps_are_of_no_use_the_kernels_alone_are_awaited() {
        let mut stamps = Stamps::new(true);
        stamps.sent(1, Timestamp::ZERO);
        stamps.sent(2, Timestamp::ZERO);
        assert!(stamps.take(0, Kernel).is_some());
        stamps.expect_kernels_alone();
        assert!(stamps.awaited() && !stamps.is_owed_by_interface(Timestamp::ZERO));
        assert!(stamps.take(0, Interface).is_none() && stamps.take(1, Interface).is_none());
        assert!(stamps.take(1, Kernel).is_some() && !stamps.awaited());
        stamps.sent(3, Timestamp::ZERO);
        assert!(stamps.take(2, Kernel).is_some() && !stamps.awaited());
    }

    proptest! {
        #[test]
        fn what_is_awaited_is_what_is_in_the_ring(
            steps in proptest::collection::vec((0u8..4, any::<u32>()), 0..300),
            twice in any::<bool>(),
        ) {
            let mut stamps = Stamps::new(twice);
            for (step, number) in steps {
                match step {
                    0 => stamps.sent(7, Timestamp::ZERO),
                    1 => stamps.skip(),
                    2 => drop(stamps.take(number % 300, Interface)),
                    _ => drop(stamps.take(number % 300, Kernel)),
                }
                prop_assert_eq!(stamps.awaited, stamps.ring.iter().flatten().count());
            }
        }
    }
}
