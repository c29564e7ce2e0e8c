//! A client's test while its data flows, and its end.

use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::usage::CpuTime;
use rping_net::Clock;
use rping_wire::iperf::{State, RESULTS_MOST};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::sums::Sums;
use super::{Client, End, Interval, Lateness, Observer, Outcome};
use crate::iperf::control::{Control, STEP};
use crate::iperf::mover::Mover;
use crate::iperf::params::{Parameters, Protocol};
use crate::iperf::results::Results;
use crate::iperf::tally::{Budget, Figures};
use crate::iperf::watch::{percent, Watch};
use crate::iperf::Error;

/// How long a server may take to bring the results of an interrupted test: a person waits.
const HURRY: Duration = Duration::from_millis(150);

/// The shortest interval that is shown at the end.
const REST_LEAST: Duration = Duration::from_millis(50);

/// How long nothing may move where a number of bytes, not a time, ends the test.
const STALL: Duration = Duration::from_secs(30);
const STALL_UDP: Duration = Duration::from_secs(3);

/// A test whose data flows.
pub(super) struct Running<'a> {
    client: &'a Client,
    parameters: Arc<Parameters>,
    watch: Watch,
    /// What each stream had come to, and how often it had sent again, when the last interval was shown.
    shown: Vec<(Figures, u64)>,
    last: Duration,
    /// The processor time of this process when the data began to flow.
    cpu_before: CpuTime,
}

/// How the flow of data ended.
pub(super) struct Flowed {
    at: Timestamp,
    interrupted: bool,
    failure: Option<Error>,
}

impl<'a> Running<'a> {
    /// The streams stand, and data begins to flow.
    pub(super) fn new(client: &'a Client, parameters: Arc<Parameters>, movers: Vec<Mover>) -> Running<'a> {
        Running {
            client,
            parameters,
            watch: Watch::new(movers, Clock.now()),
            shown: Vec::new(),
            last: Duration::ZERO,
            cpu_before: CpuTime::of_process(),
        }
    }

    pub(super) async fn flow(
        &mut self,
        control: &mut Control,
        observer: &mut dyn Observer,
        budget: &Budget,
        stop: &Notify,
    ) -> Flowed {
        let omit = Duration::from_secs(self.parameters.omit.into());
        let planned = match self.client.end {
            End::After(time) => omit.saturating_add(time),
            End::Bytes(_) => Duration::MAX,
        };
        let mut flowed = Flowed {
            at: self.watch.began,
            interrupted: false,
            failure: None,
        };
        let mut omits = !omit.is_zero();
        self.shown = vec![Default::default(); self.watch.movers.len()];
        let mut next = self.client.interval;
        if !omits {
            observer.counting();
        }
        loop {
            let now = Clock.now();
            let elapsed = now.since(self.watch.began);
            if omits && elapsed >= omit {
                self.show(observer, elapsed, true);
                self.watch.omit(now);
                self.shown
                    .iter_mut()
                    .for_each(|shown| *shown = Default::default());
                omits = false;
                observer.counting();
                next = omit.saturating_add(self.client.interval);
            }
            if elapsed >= next {
                self.show(observer, elapsed, omits);
                next = next.saturating_add(self.client.interval);
            }
            if elapsed >= planned || self.is_enough() || self.watch.all_done() {
                break;
            }
            // A time has its end; bytes that do not come would be waited for for good.
            let patience = self.patience();
            if self.watch.idle(now) >= patience {
                flowed.failure = Some(Error::Silent {
                    what: "data was to move on",
                    seconds: patience.as_secs(),
                });
                break;
            }
            let until = [planned, next, if omits { omit } else { Duration::MAX }]
                .into_iter()
                .fold(Duration::MAX, Duration::min);
            // Received bytes are looked at often enough to end soon after the last.
            let most = match self.client.end {
                End::Bytes(_) if self.receives_any() => Duration::from_millis(1),
                End::Bytes(_) => Duration::from_secs(1),
                End::After(_) => Duration::from_secs(3600),
            };
            tokio::select! {
                biased;
                () = stop.notified() => {
                    flowed.interrupted = true;
                    break;
                }
                octet = control.hear() => {
                    flowed.failure = Some(match octet.map(State::from_octet) {
                        Ok(Some(State::ServerError)) => control.error_number().await,
                        Ok(Some(state)) => Error::unexpected(state),
                        Ok(None) => Error::Nonsense("an unknown state"),
                        Err(error) => error,
                    });
                    break;
                }
                () = budget.news.notified() => {}
                () = sleep(until.saturating_sub(elapsed).min(most)) => {}
            }
        }
        flowed.at = Clock.now();
        // What the last interval line left over is shown where it is enough to have a rate, or all there is.
        let elapsed = flowed.at.since(self.watch.began);
        if self.last.is_zero() || elapsed.saturating_sub(self.last) >= REST_LEAST {
            self.show(observer, elapsed, omits);
        }
        observer.ended();
        flowed
    }

    /// For how long nothing may move before the test is given up.
    fn patience(&self) -> Duration {
        let stall = match (self.client.end, self.parameters.protocol) {
            (End::After(_), _) => return Duration::MAX,
            (End::Bytes(_), Protocol::Tcp) => STALL,
            // What was lost at the very end does not come any more.
            (End::Bytes(_), Protocol::Udp) => STALL_UDP,
        };
        stall.saturating_add(self.parameters.period().saturating_mul(3))
    }

    fn receives_any(&self) -> bool {
        self.parameters.reverse || self.parameters.bidirectional
    }

    /// Whether all bytes that were asked for were sent and have come.
    fn is_enough(&self) -> bool {
        let End::Bytes(wanted) = self.client.end else {
            return false;
        };
        let of = |sends: bool| {
            let all = self.watch.movers.iter().enumerate();
            all.filter(move |(_, mover)| mover.sends == sends)
        };
        if !of(true).all(|(_, mover)| mover.tally.is_done()) {
            return false;
        }
        let received = of(false).fold(0u64, |sum, (place, _)| {
            let figures = self.watch.figures(place);
            // Of datagrams those that were lost have gone by as well.
            let passed = match self.parameters.protocol {
                Protocol::Tcp => figures.bytes,
                Protocol::Udp => figures.packets.saturating_mul(self.parameters.length as u64),
            };
            sum.saturating_add(passed)
        });
        !self.receives_any() || received >= wanted
    }

    /// Shows what each direction did since the last time.
    fn show(&mut self, observer: &mut dyn Observer, elapsed: Duration, omitted: bool) {
        for is_forward in [true, false] {
            let mut interval = Interval {
                span: (self.last, elapsed),
                is_forward,
                omitted,
                figures: Figures::default(),
                retransmits: None,
                rtt: None,
                congestion_window: None,
            };
            let mut any = false;
            for place in 0..self.watch.movers.len() {
                if self.parameters.client_sends(place) != is_forward {
                    continue;
                }
                any = true;
                let now = self.watch.figures(place);
                let retransmits = self.watch.retransmits(place);
                let Some((before, before_retransmits)) = self.shown.get_mut(place) else {
                    continue;
                };
                interval.figures = interval.figures.plus(now.since(*before));
                *before = now;
                if let Some(count) = retransmits {
                    let more = count.saturating_sub(*before_retransmits);
                    interval.retransmits = Some(interval.retransmits.unwrap_or(0).saturating_add(more));
                    *before_retransmits = count;
                }
                if let Some(info) = is_forward
                    .then(|| self.watch.movers.get(place)?.tcp_info())
                    .flatten()
                {
                    interval.rtt = interval.rtt.max(info.rtt);
                    let windows = interval.congestion_window.unwrap_or(0);
                    interval.congestion_window = Some(windows.saturating_add(info.congestion_window));
                }
            }
            if any {
                observer.interval(&interval);
            }
        }
        self.last = elapsed;
    }

    /// Ends the streams, brings both sides' results together.
    pub(super) async fn conclude(self, mut control: Control, flowed: Flowed) -> Outcome {
        let places = 0..self.watch.movers.len();
        let mut failure = flowed.failure;
        // Senders stop before the server is told, so that it counts all that was sent; what still comes in after
        // the end counts for nothing.
        let received: Vec<Figures> = places.clone().map(|place| self.watch.figures(place)).collect();
        let took_here = flowed.at.since(self.watch.counts_from);
        let sending: Vec<_> = self.watch.movers.iter().filter(|mover| mover.sends).collect();
        sending.iter().for_each(|mover| mover.tally.stop());
        for _ in 0..40 {
            if sending.iter().all(|mover| mover.tally.is_done()) {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let last = sending.iter().map(|mover| mover.tally.last()).max();
        let sent_for = last
            .filter(|&last| last > self.watch.counts_from)
            .map_or(took_here, |last| last.since(self.watch.counts_from));
        let mut figures: Vec<Figures> = places
            .clone()
            .map(|place| match self.parameters.client_sends(place) {
                true => self.watch.figures(place),
                false => received.get(place).copied().unwrap_or_default(),
            })
            .collect();
        let retransmits: Vec<Option<u64>> = places.map(|place| self.watch.retransmits(place)).collect();
        let mss = sending.iter().find_map(|mover| Some(mover.tcp_info()?.mss));
        let congestion = sending.iter().find_map(|mover| mover.congestion());
        let omitted = self.watch.omitted.clone();
        let mut theirs = None;
        if failure.is_none() {
            let exchanged = self.exchange(&mut control, &figures, &retransmits, took_here);
            let most = if flowed.interrupted { HURRY } else { 4 * STEP };
            match timeout(most, exchanged).await {
                Ok(Ok(results)) => theirs = Some(results),
                Ok(Err(error)) => failure = Some(error),
                Err(_) if flowed.interrupted => {}
                Err(_) => {
                    failure = Some(Error::Silent {
                        what: "the server was to bring its results",
                        seconds: most.as_secs(),
                    });
                }
            }
        }
        if theirs.is_some() {
            control.finish().await;
        }
        let parameters = Arc::clone(&self.parameters);
        let began = self.watch.began;
        let mut watch = self.watch;
        let cpu = CpuTime::of_process().since(self.cpu_before);
        let ended = tokio::task::spawn_blocking(move || {
            // What still comes in has been counted as what it is: too late.
            watch.movers.iter().for_each(|mover| mover.tally.abandon());
            watch.end();
            watch
        });
        // Of threads that cannot be joined, which have told why, nothing more is known.
        let schedule = ended.await.ok().and_then(|watch| {
            for (place, figures) in figures.iter_mut().enumerate() {
                // Known when the receiver has ended.
                figures.dropped = watch.figures(place).dropped;
            }
            watch.schedule()
        });
        let sides = [true, false].into_iter().filter_map(|is_forward| {
            let places =
                (0..parameters.streams()).filter(|&place| parameters.client_sends(place) == is_forward);
            let side = Sums {
                figures: &figures,
                omitted: &omitted,
                retransmits: &retransmits,
                theirs: theirs.as_ref(),
                discards: parameters.skip_receive_copy,
            };
            side.side(places, is_forward, took_here, sent_for)
        });
        Outcome {
            sides: sides.collect(),
            cpu_local: percent(cpu, flowed.at.since(began)),
            cpu_remote: theirs.as_ref().map(|results| results.cpu),
            congestion: congestion.or_else(|| theirs.as_ref()?.congestion.clone()),
            mss,
            lateness: schedule.and_then(|schedule| Lateness::of(&schedule)),
            interrupted: flowed.interrupted,
            failure: failure.map(|error| error.to_string()),
        }
    }

    async fn exchange(
        &self,
        control: &mut Control,
        figures: &[Figures],
        retransmits: &[Option<u64>],
        took: Duration,
    ) -> Result<Results, Error> {
        control.send_state(State::TestEnd).await?;
        control
            .expect(
                State::ExchangeResults,
                STEP,
                "the server was to ask for the results",
            )
            .await?;
        let cpu = CpuTime::of_process().since(self.cpu_before);
        let ours = self
            .watch
            .results(&self.parameters, figures, retransmits, cpu, took);
        let only_receives = self.watch.movers.iter().all(|mover| !mover.sends);
        control.send_text(&ours.to_json(only_receives)).await?;
        let theirs = control
            .text(RESULTS_MOST, "the server's results were awaited")
            .await?;
        let theirs = Results::parse(&theirs).map_err(Error::Nonsense)?;
        // The results are here: a server that fails after them takes nothing back.
        let shown = control
            .expect(State::DisplayResults, STEP, "the server was to end the test")
            .await;
        if shown.is_ok() {
            let _ = control.send_state(State::IperfDone).await;
        }
        Ok(theirs)
    }
}
