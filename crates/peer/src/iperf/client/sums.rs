//! What both ends say, brought together by direction.

use std::time::Duration;

use super::Side;
use crate::iperf::results::Results;
use crate::iperf::stream_id;
use crate::iperf::tally::Figures;

/// What both sides say of all streams.
pub(super) struct Sums<'a> {
    pub(super) figures: &'a [Figures],
    /// What the figures leave out: the start-up phase.
    pub(super) omitted: &'a [Figures],
    pub(super) retransmits: &'a [Option<u64>],
    pub(super) theirs: Option<&'a Results>,
    /// Whether receivers were asked to leave the payload unread.
    pub(super) discards: bool,
}

impl Sums<'_> {
    pub(super) fn side(
        &self,
        places: impl Iterator<Item = usize> + Clone,
        is_forward: bool,
        took_here: Duration,
        sent_for: Duration,
    ) -> Option<Side> {
        places.clone().next()?;
        let ours = places.clone().fold(Figures::default(), |sum, place| {
            sum.plus(self.figures.get(place).copied().unwrap_or_default())
        });
        let ids = places.clone().map(stream_id);
        let streams = || ids.clone().filter_map(|id| self.theirs?.stream(id));
        let theirs = self.theirs.map(|_| {
            streams().fold(Figures::default(), |sum, stream| {
                let omitted = stream.omitted_packets.unwrap_or(0);
                let lost = stream
                    .errors
                    .saturating_sub(stream.omitted_errors.unwrap_or(0))
                    .max(0);
                let packets = stream.packets.saturating_sub(omitted);
                sum.plus(Figures {
                    bytes: stream.bytes,
                    packets,
                    received: packets.saturating_sub(lost.unsigned_abs()),
                    lost,
                    reordered: stream.reordered.unwrap_or(0),
                    dropped: stream.dropped.unwrap_or(0),
                    jitter_ns: (stream.jitter * 1e9) as u64,
                })
            })
        });
        let their_time = streams()
            .map(|stream| stream.end - stream.start)
            .filter(|seconds| seconds.is_finite() && *seconds > 0.0 && *seconds < 1e9)
            .fold(0.0, f64::max);
        let their_time = Some(Duration::from_secs_f64(their_time)).filter(|time| !time.is_zero());
        let our_retransmits = places
            .clone()
            .filter_map(|place| self.retransmits.get(place).copied().flatten())
            .reduce(u64::saturating_add);
        let their_retransmits = streams()
            .filter_map(|stream| stream.retransmits)
            .reduce(u64::saturating_add)
            .filter(|_| self.theirs.is_some_and(|results| results.has_retransmits));
        let knows_order = streams().next().is_some() && streams().all(|stream| stream.reordered.is_some());
        let unless_asked = if self.discards { None } else { Some(false) };
        // Counts run through the start-up phase, which each end leaves out by its own clock.
        let unseen = places.clone().try_fold(0u64, |sum, place| {
            let highest = self.figures.get(place)?.plus(*self.omitted.get(place)?).packets;
            let theirs = self.theirs?.stream(stream_id(place))?.packets;
            Some(sum.saturating_add(highest.saturating_sub(theirs)))
        });
        Some(if is_forward {
            Side {
                is_forward,
                knows_order,
                unseen,
                discarded: self.theirs.and_then(|results| results.discards).or(unless_asked),
                sent: Some(ours),
                received: theirs,
                retransmits: our_retransmits,
                took: their_time.unwrap_or(took_here),
                sent_for,
            }
        } else {
            Side {
                is_forward,
                knows_order: true,
                unseen: None,
                discarded: Some(self.discards),
                sent: theirs,
                received: Some(ours),
                retransmits: their_retransmits,
                took: took_here,
                sent_for: their_time.unwrap_or(took_here),
            }
        })
    }
}
