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
}

/// The packets whose stamps may still come: the last [`Stamps::ROOM`] that were sent.
#[derive(Debug)]
pub(crate) struct Stamps {
    ring: Vec<Option<Awaited>>,
    next: u32,
    awaited: usize,
}

impl Stamps {
    /// Up to 20 000 packets a second are stamped, nearly all within the send call; what waits longer waits for a
    /// neighbour, and a socket's buffer holds some 500 of those.
    const ROOM: usize = 4096;

    pub(crate) fn new() -> Stamps {
        Stamps {
            ring: vec![None; Stamps::ROOM],
            next: 0,
            awaited: 0,
        }
    }

    /// The number of the packet to be sent `ahead` packets from now.
    pub(crate) fn number(&self, ahead: usize) -> u32 {
        self.next.wrapping_add(ahead as u32)
    }

    /// The next number belongs to `tag`, sent at `sent`.
    pub(crate) fn sent(&mut self, tag: u64, sent: Timestamp) {
        let slot = &mut self.ring[self.next as usize % Stamps::ROOM];
        if slot
            .replace(Awaited {
                number: self.next,
                tag,
                sent,
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
    pub(crate) fn take(&mut self, number: u32) -> Option<Awaited> {
        let slot = &mut self.ring[number as usize % Stamps::ROOM];
        if slot.is_none_or(|awaited| awaited.number != number) {
            return None;
        }
        self.awaited -= 1;
        slot.take()
    }

    /// Whether any stamp may still come.
    pub(crate) fn awaited(&self) -> bool {
        self.awaited > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stamp_finds_its_packet_once_across_the_wrap() {
        let mut stamps = Stamps::new();
        stamps.next = u32::MAX;
        assert_eq!((stamps.number(0), stamps.number(1)), (u32::MAX, 0));
        stamps.sent(10, Timestamp::from_nanos(1));
        stamps.sent(11, Timestamp::from_nanos(2));
        assert_eq!(stamps.take(0).map(|a| (a.tag, a.sent.as_nanos())), Some((11, 2)));
        assert!(stamps.take(0).is_none());
        assert!(stamps.awaited());
        assert_eq!(stamps.take(u32::MAX).map(|a| a.tag), Some(10));
        assert!(!stamps.awaited());
    }

    #[test]
    fn a_skipped_number_and_one_long_gone_belong_to_nobody() {
        let mut stamps = Stamps::new();
        stamps.sent(1, Timestamp::ZERO);
        stamps.skip();
        for tag in 2..=Stamps::ROOM as u64 {
            stamps.sent(tag, Timestamp::ZERO);
        }
        assert!(stamps.take(0).is_none(), "overwritten");
        assert!(stamps.take(1).is_none(), "skipped");
        assert_eq!(stamps.take(2).map(|a| a.tag), Some(2));
    }

    proptest! {
        #[test]
        fn what_is_awaited_is_what_is_in_the_ring(steps in proptest::collection::vec((0u8..3, any::<u32>()), 0..300)) {
            let mut stamps = Stamps::new();
            for (step, number) in steps {
                match step {
                    0 => stamps.sent(7, Timestamp::ZERO),
                    1 => stamps.skip(),
                    _ => drop(stamps.take(number % 300)),
                }
                prop_assert_eq!(stamps.awaited, stamps.ring.iter().flatten().count());
            }
        }
    }
}
