//! Loss, reordering and jitter as iperf3's receiver counts them.

use rping_engine::Timestamp;
use rping_net::bulk::Part;
use rping_wire::iperf::DatagramHeader;

use super::tally::Figures;

/// What a receiver has counted of one stream.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) figures: Figures,
    transit: Option<i128>,
    jitter: f64,
    pub(super) last: Timestamp,
}

impl Counting {
    /// One datagram.
    pub(super) fn add(&mut self, header: DatagramHeader, length: usize, at: Timestamp) {
        self.add_run(header, 1, length, at);
    }

    /// `count` datagrams of `length` bytes together, whose counts follow upon the first one's.
    fn add_run(&mut self, header: DatagramHeader, count: u64, length: usize, at: Timestamp) {
        let f = &mut self.figures;
        f.received = f.received.saturating_add(count);
        f.bytes = f.bytes.saturating_add(length as u64);
        match header.count.checked_sub(f.packets.saturating_add(1)) {
            Some(gap) => {
                f.lost = f.lost.saturating_add(i64::try_from(gap).unwrap_or(i64::MAX));
                f.packets = header.count.saturating_add(count - 1);
            }
            // They fill a gap that was taken for a loss.
            None => {
                f.reordered = f.reordered.saturating_add(count);
                let filled = i64::try_from(count).unwrap_or(i64::MAX);
                f.lost = f.lost.saturating_sub(filled).max(0);
            }
        }
        // RFC 1889, appendix A.8, with a gain of 1/16; the two clocks' offset falls out.
        let transit = i128::from(at.as_nanos()) - i128::from(header.nanos());
        if let Some(before) = self.transit.replace(transit) {
            let off = (transit - before).unsigned_abs() as f64;
            self.jitter += (off - self.jitter) / 16.0;
            f.jitter_ns = self.jitter as u64;
        }
        self.last = self.last.max(at);
    }

    /// What came in together. Where heads alone were read, the datagrams behind the first are taken for those that
    /// follow upon it: they were cut from one piece, or put together because they came one behind the other. What
    /// was lost among them shows in the next one's count.
    pub(super) fn add_part(&mut self, part: &Part<'_>, wide: bool) {
        let whole = part.bytes.len() >= part.length;
        if !whole || part.count() == 1 {
            if let Ok(header) = DatagramHeader::parse(part.bytes, wide) {
                self.add_run(header, part.count() as u64, part.length, part.at);
            }
            return;
        }
        for datagram in part.bytes.chunks(part.segment) {
            if let Ok(header) = DatagramHeader::parse(datagram, wide) {
                self.add(header, datagram.len(), part.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(counts: &[u64]) -> Figures {
        let mut counting = Counting::default();
        for (place, &count) in counts.iter().enumerate() {
            let at = place as u64 * 1_000_000;
            counting.add(
                DatagramHeader::at(at, count),
                100,
                Timestamp::from_nanos(at + 5_000),
            );
        }
        counting.figures
    }

    #[test]
    fn gaps_are_losses_until_the_missing_come() {
        let f = counted(&[1, 2, 5, 6, 3]);
        assert_eq!((f.lost, f.reordered, f.received, f.packets), (1, 1, 5, 6));
        assert_eq!(counted(&[1, 2, 2]).lost, 0, "a duplicate is no negative loss");
        assert_eq!(counted(&[4]).lost, 3);
    }

    #[test]
    fn even_spacing_has_no_jitter_and_a_late_one_a_sixteenth_of_its_delay() {
        assert_eq!(counted(&[1, 2, 3]).jitter_ns, 0);
        let mut counting = Counting::default();
        counting.add(DatagramHeader::at(0, 1), 9, Timestamp::from_nanos(100));
        counting.add(DatagramHeader::at(1_000, 2), 9, Timestamp::from_nanos(17_100));
        assert_eq!(counting.figures.jitter_ns, 1000);
    }

    fn together(counts: std::ops::Range<u64>) -> Vec<u8> {
        counts
            .flat_map(|count| {
                let mut datagram = vec![0; 100];
                DatagramHeader::at(0, count).write(&mut datagram, false).unwrap();
                datagram
            })
            .collect()
    }

    #[test]
    fn datagrams_that_came_together_count_one_by_one_read_or_not() {
        let (first, second) = (together(1..11), together(13..15));
        for head in [usize::MAX, 64] {
            let mut counting = Counting::default();
            for bytes in [&first, &second] {
                counting.add_part(
                    &Part {
                        bytes: &bytes[..bytes.len().min(head)],
                        length: bytes.len(),
                        segment: 100,
                        at: Timestamp::ZERO,
                    },
                    false,
                );
            }
            let f = counting.figures;
            assert_eq!(
                (f.received, f.packets, f.lost, f.bytes),
                (12, 14, 2, 1200),
                "{head}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_counts_make_it_panic(counts in proptest::collection::vec(any::<u64>(), 0..50)) {
            let f = counted(&counts);
            prop_assert!(f.lost >= 0);
            prop_assert_eq!(f.received, counts.len() as u64);
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), length in 0usize..70_000, segment in 1usize..2000
        ) {
            let mut counting = Counting::default();
            let part = Part { bytes: &bytes, length, segment, at: Timestamp::ZERO };
            counting.add_part(&part, false);
            counting.add_part(&part, true);
            prop_assert!(counting.figures.lost >= 0);
        }
    }
}
