//! iperf3's client: a throughput test against any server that speaks it.

mod open;
mod running;
mod sums;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rping_net::stream::StreamOptions;
use rping_wire::iperf::{Cookie, State};
use tokio::sync::Notify;

use super::control::{Control, STEP};
use super::mover::{Carrier, Mover, Schedule};
use super::params::{Parameters, Protocol};
use super::spare::Spare;
use super::tally::{Budget, Figures};
use super::Error;
use crate::auth::random;
use crate::Key;
use running::Running;

/// When the client ends the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// After this time, the start-up phase not counted; [`Duration::MAX`]: when it is told to.
    After(Duration),
    /// After this many bytes over all streams of the direction.
    Bytes(u64),
}

/// A test to be run.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the server listens.
    pub server: SocketAddr,
    /// What both sides have to know. `time`, `bytes` and `blocks` are set from `end`.
    pub parameters: Parameters,
    /// When it ends.
    pub end: End,
    /// Where the connections leave from, and what they ask the network for.
    pub stream: StreamOptions,
    /// How long the server may take to answer the connect.
    pub patience: Duration,
    /// The time between two reports to the observer; not zero.
    pub interval: Duration,
    /// The key that the server was started with: every connection begins with a proof of it.
    pub key: Option<Key>,
}

/// What one direction came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Side {
    /// Whether this end sent.
    pub is_forward: bool,
    /// What the sender says: bytes and datagrams; `None` when the far end sent and did not say.
    pub sent: Option<Figures>,
    /// What the receiver says; `None` when the far end received and did not say.
    pub received: Option<Figures>,
    /// Segments that the sender sent again, where it is known.
    pub retransmits: Option<u64>,
    /// How long the receiver received, start-up phase not counted; the sender's time where the receiver did not say.
    pub took: Duration,
    /// How long the sender sent.
    pub sent_for: Duration,
    /// Whether the receiver is rping, which tells which datagrams came out of order, and waits for the last: iperf3 does
    /// neither.
    pub knows_order: bool,
    /// Datagrams that were sent after the last that the far end saw: lost at the very end, or, where it is iperf3, which
    /// stops at once, left unread. `None` where the far end sent, which goes on until it is told to stop.
    pub unseen: Option<u64>,
    /// Whether the receiver left the payload unread; `None` where it was asked to and does not say whether it did.
    pub discarded: Option<bool>,
}

/// How late the messages of this end left, against a schedule that was kept throughout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lateness {
    /// Nanoseconds; `None` where too few were sent to tell.
    pub p50_ns: Option<u64>,
    /// Nanoseconds; `None` where too few were sent to tell.
    pub p99_ns: Option<u64>,
    /// Nanoseconds.
    pub max_ns: u64,
    /// By how much the schedule was missed beyond what is caught up, and moved.
    pub skipped: Duration,
}

impl Lateness {
    fn of(schedule: &Schedule) -> Option<Lateness> {
        let all = &schedule.lateness;
        (!all.is_empty()).then(|| Lateness {
            p50_ns: all.quantile(0.5),
            p99_ns: all.quantile(0.99),
            max_ns: schedule.latest,
            skipped: schedule.skipped,
        })
    }
}

/// A test that has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// One direction, or both: forward first.
    pub sides: Vec<Side>,
    /// Processor time of this end against wall time, per cent: all, user, system.
    pub cpu_local: [f64; 3],
    /// The same of the far end; `None` when it did not say.
    pub cpu_remote: Option<[f64; 3]>,
    /// The congestion control in use at the sending end.
    pub congestion: Option<String>,
    /// The maximum segment size in use, bytes, where it is known.
    pub mss: Option<u32>,
    /// How this end kept its schedule, where it sent at a rate.
    pub lateness: Option<Lateness>,
    /// Ended by the person before its time.
    pub interrupted: bool,
    /// What kept the test from its regular end; what was measured until then stands.
    pub failure: Option<String>,
}

/// What happened in one interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// When it began and ended, since the data began to flow.
    pub span: (Duration, Duration),
    /// Whether this end sent.
    pub is_forward: bool,
    /// It belongs to the start-up phase that counts for nothing.
    pub omitted: bool,
    /// Sent, where this end sends; else received.
    pub figures: Figures,
    /// Segments sent again, where this end sends by TCP.
    pub retransmits: Option<u64>,
    /// The kernel's smoothed round-trip time, where this end sends by TCP.
    pub rtt: Option<Duration>,
    /// The congestion window in bytes, where this end sends by TCP: of all streams together.
    pub congestion_window: Option<u64>,
}

/// Is told how the test goes.
pub trait Observer {
    /// The streams stand and data begins to flow.
    fn started(&mut self) {}
    /// The start-up phase is over: what moves from now on counts.
    fn counting(&mut self) {}
    /// The data has stopped flowing.
    fn ended(&mut self) {}
    /// An interval is over.
    fn interval(&mut self, _interval: &Interval) {}
}

impl Observer for () {}

/// What a test needs that takes privileges, made while there are some.
#[derive(Debug, Default)]
pub struct Prepared(Spare);

impl Client {
    /// Makes what takes privileges: UDP sockets with receive buffers beyond the system's limit. Without privileges it is
    /// of no use and does no harm.
    pub fn prepare(&self) -> Prepared {
        Prepared(match self.parameters.protocol {
            Protocol::Tcp => Spare::default(),
            Protocol::Udp => Spare::of(self.server.is_ipv6(), self.parameters.streams()),
        })
    }

    /// Runs the test to its end; `stop` ends it early.
    ///
    /// # Errors
    /// When no data ever flowed: whatever happened later is in [`Outcome::failure`].
    pub fn run(
        &self,
        prepared: Prepared,
        observer: &mut dyn Observer,
        stop: &Notify,
    ) -> Result<Outcome, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Local {
                what: "start the event loop",
                source,
            })?;
        let ended = runtime.block_on(self.test(&prepared.0, observer, stop));
        // A connect that nobody waits for any more is left to its time limit.
        runtime.shutdown_background();
        ended
    }

    /// The parameters with this end in them.
    fn complete(&self) -> Parameters {
        let mut all = self.parameters.clone();
        (all.time, all.bytes, all.blocks) = match self.end {
            // Without any limit iperf3's server goes on until the client ends the test.
            End::After(Duration::MAX) => (0, 0, 0),
            End::After(time) => (time.as_secs_f64().ceil() as u32, 0, 0),
            End::Bytes(bytes) => (0, bytes, 0),
        };
        all
    }

    async fn test(
        &self,
        spare: &Spare,
        observer: &mut dyn Observer,
        stop: &Notify,
    ) -> Result<Outcome, Error> {
        let ready = tokio::select! {
            biased;
            () = stop.notified() => return Err(Error::Stopped),
            ready = self.set_up(spare) => ready?,
        };
        let Ready {
            mut control,
            parameters,
            carriers,
        } = ready;
        let budget = Budget::new(parameters.bytes);
        let movers: Result<Vec<Mover>, Error> = carriers
            .into_iter()
            .enumerate()
            .map(|(at, carrier)| Mover::start(carrier, parameters.client_sends(at), &parameters, &budget))
            .collect();
        let mut running = Running::new(self, parameters, movers?);
        observer.started();
        let flowed = running.flow(&mut control, observer, &budget, stop).await;
        Ok(running.conclude(control, flowed).await)
    }

    /// From the connect to where data may flow.
    async fn set_up(&self, spare: &Spare) -> Result<Ready, Error> {
        let parameters = Arc::new(self.complete());
        let mut control = Control::new(self.connect().await?);
        let random = random().map_err(|source| Error::Local {
            what: "make a cookie",
            source,
        })?;
        let cookie = Cookie::new(random);
        control.send_cookie(&cookie).await?;
        let asks = "the server was to ask for the parameters (a busy iperf3 before 3.15 says nothing; an rping server with a key hears nobody without it)";
        control.expect(State::ParamExchange, STEP, asks).await?;
        control.send_text(&parameters.to_json()).await?;
        let asks = "the server was to ask for the streams";
        control.expect(State::CreateStreams, STEP, asks).await?;
        let mut carriers = Vec::with_capacity(parameters.streams());
        for place in 0..parameters.streams() {
            carriers.push(self.open_stream(place, &cookie, &parameters, spare).await?);
        }
        for state in [State::TestStart, State::TestRunning] {
            control
                .expect(state, STEP, "the server was to start the test")
                .await?;
        }
        Ok(Ready {
            control,
            parameters,
            carriers,
        })
    }
}

/// A test that is set up.
struct Ready {
    control: Control,
    parameters: Arc<Parameters>,
    carriers: Vec<Carrier>,
}
