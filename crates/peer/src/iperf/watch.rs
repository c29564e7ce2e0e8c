//! What all streams of a test come to: read at instants, less the start-up phase, as results.

use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::usage::CpuTime;

use super::mover::{Mover, Schedule};
use super::params::{Parameters, Protocol};
use super::results::{Results, StreamResult};
use super::stream_id;
use super::tally::Figures;

/// The streams of one side of a running test.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) movers: Vec<Mover>,
    pub(crate) omitted: Vec<Figures>,
    /// Segments sent again within the start-up phase, by stream.
    retransmits_omitted: Vec<u64>,
    pub(crate) began: Timestamp,
    /// When the start-up phase was over.
    pub(crate) counts_from: Timestamp,
}

impl Watch {
    pub(crate) fn new(movers: Vec<Mover>, began: Timestamp) -> Watch {
        Watch {
            omitted: vec![Figures::default(); movers.len()],
            retransmits_omitted: vec![0; movers.len()],
            movers,
            began,
            counts_from: began,
        }
    }

    /// The start-up phase is over: what has been moved so far counts for nothing.
    pub(crate) fn omit(&mut self, now: Timestamp) {
        for (place, mover) in self.movers.iter().enumerate() {
            if let Some(slot) = self.omitted.get_mut(place) {
                *slot = mover.tally.read();
            }
            if let Some(slot) = self.retransmits_omitted.get_mut(place) {
                *slot = mover.tcp_info().map_or(0, |info| u64::from(info.retransmits));
            }
        }
        self.counts_from = now;
    }

    /// What the stream with this place has come to without the start-up phase.
    pub(crate) fn figures(&self, place: usize) -> Figures {
        let before = self.omitted.get(place).copied().unwrap_or_default();
        let now = self.movers.get(place).map(|mover| mover.tally.read());
        now.unwrap_or_default().since(before)
    }

    /// Segments sent again on the stream with this place without the start-up phase; `None` where it is not known.
    pub(crate) fn retransmits(&self, place: usize) -> Option<u64> {
        let mover = self.movers.get(place).filter(|mover| mover.sends)?;
        let before = self.retransmits_omitted.get(place).copied().unwrap_or(0);
        Some(u64::from(mover.tcp_info()?.retransmits).saturating_sub(before))
    }

    /// For how long nothing has moved on any stream.
    pub(crate) fn idle(&self, now: Timestamp) -> Duration {
        let moved = self.movers.iter().map(|mover| mover.tally.last());
        now.since(moved.fold(self.began, Timestamp::max))
    }

    /// How the senders of this side kept their schedule.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        let all = self.movers.iter().filter_map(|mover| mover.schedule.clone());
        all.reduce(Schedule::plus)
    }

    /// Whether every thread has ended by itself.
    pub(crate) fn all_done(&self) -> bool {
        self.movers.iter().all(|mover| mover.tally.is_done())
    }

    /// Ends every stream; returns the processor time that moving the data took.
    pub(crate) fn end(&mut self) -> CpuTime {
        // All are told before the first is waited for.
        self.movers.iter().for_each(|mover| mover.tally.stop());
        let ended = self.movers.iter_mut().map(Mover::end);
        ended.fold(CpuTime::default(), CpuTime::plus)
    }

    /// Ends every stream of a test that failed, whatever was still to come; waits for the threads beside the event loop, so
    /// that they are gone when the next test takes this one's place.
    pub(crate) async fn give_up(self) {
        self.movers.iter().for_each(Mover::abandon);
        let mut watch = self;
        // One that panicked has told so.
        let _ = tokio::task::spawn_blocking(move || watch.end()).await;
    }

    /// The results as iperf3 writes them: `figures` and `retransmits` by stream, as they were at the end.
    pub(crate) fn results(
        &self,
        parameters: &Parameters,
        figures: &[Figures],
        retransmits: &[Option<u64>],
        cpu: CpuTime,
        took: Duration,
    ) -> Results {
        let streams = figures.iter().enumerate().map(|(place, of)| {
            let before = self.omitted.get(place).copied().unwrap_or_default();
            let is_udp = parameters.protocol == Protocol::Udp;
            let receives = self.movers.get(place).is_some_and(|mover| !mover.sends);
            StreamResult {
                id: stream_id(place),
                bytes: of.bytes,
                retransmits: retransmits.get(place).copied().flatten(),
                jitter: of.jitter_ns as f64 / 1e9,
                errors: of.lost.saturating_add(before.lost),
                packets: of.packets.saturating_add(before.packets),
                omitted_errors: is_udp.then_some(before.lost),
                omitted_packets: is_udp.then_some(before.packets),
                reordered: (is_udp && receives).then_some(of.reordered),
                dropped: (is_udp && receives).then_some(of.dropped),
                start: 0.0,
                end: took.as_secs_f64(),
            }
        });
        let sends_any = self.movers.iter().any(|mover| mover.sends);
        let receives_any = self.movers.iter().any(|mover| !mover.sends);
        Results {
            cpu: percent(cpu, took),
            has_retransmits: parameters.protocol == Protocol::Tcp && sends_any,
            congestion: self.movers.iter().find_map(Mover::congestion),
            discards: receives_any.then_some(parameters.skip_receive_copy),
            streams: streams.collect(),
        }
    }
}

/// Processor time against wall time, per cent: all, user, system.
pub(crate) fn percent(cpu: CpuTime, took: Duration) -> [f64; 3] {
    let of = |part: Duration| {
        if took.is_zero() {
            0.0
        } else {
            100.0 * part.as_secs_f64() / took.as_secs_f64()
        }
    };
    [of(cpu.total()), of(cpu.user), of(cpu.system)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iperf::mover::tests::stuck;
    use rping_net::Clock;

    #[test]
    fn a_test_that_is_given_up_leaves_the_event_loop_to_the_others() {
        let (movers, let_go): (Vec<_>, Vec<_>) = (0..128).map(|_| stuck()).unzip();
        let watch = Watch::new(movers, Clock.now());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let given_up = tokio::spawn(watch.give_up());
            tokio::task::yield_now().await;
            // Who else lives on this loop goes on, and here it is somebody that the threads wait for.
            for one in let_go {
                one.send(()).unwrap();
            }
            given_up.await.unwrap();
        });
    }
}
