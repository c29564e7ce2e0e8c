//! iperf3's client: a throughput test against any server that speaks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::stream::StreamOptions;
use rping_net::usage::CpuTime;
use rping_net::{receive_from_any, Clock, Datagram, Incoming, Options, Pacing, Packet, Waiter};
use rping_wire::iperf::{
    Cookie, DatagramHeader, State, COOKIE_LEN, RESULTS_MOST, UDP_ACCEPT, UDP_ACCEPT_OLD, UDP_CONNECT,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::control::{Control, STEP};
use super::mover::{Carrier, Early, Mover};
use super::params::{Parameters, Protocol};
use super::results::Results;
use super::tally::{Budget, Figures};
use super::watch::{percent, Watch};
use super::{stream_id, Error};

/// How long a server may take to bring the results of an interrupted test: a person waits.
const HURRY: Duration = Duration::from_millis(150);

/// How often a stream that was not answered is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a server may take to answer for a UDP stream.
const UDP_PATIENCE: Duration = Duration::from_secs(10);

/// How many datagrams of data may come before the answer for their stream was read.
const EARLY_MOST: usize = 4096;

/// When the client ends the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// After this time, the start-up phase not counted.
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
    /// An interval is over.
    fn interval(&mut self, _interval: &Interval) {}
}

impl Observer for () {}

impl Client {
    /// Runs the test to its end; `stop` ends it early.
    ///
    /// # Errors
    /// When no data ever flowed: whatever happened later is in [`Outcome::failure`].
    pub fn run(&self, observer: &mut dyn Observer, stop: &Notify) -> Result<Outcome, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Local {
                what: "start the event loop",
                source,
            })?;
        runtime.block_on(self.test(observer, stop))
    }

    /// The parameters with this end in them.
    fn complete(&self) -> Parameters {
        let mut all = self.parameters.clone();
        (all.time, all.bytes, all.blocks) = match self.end {
            End::After(time) => (time.as_secs_f64().ceil() as u32, 0, 0),
            End::Bytes(bytes) => (0, bytes, 0),
        };
        all
    }

    async fn test(&self, observer: &mut dyn Observer, stop: &Notify) -> Result<Outcome, Error> {
        let parameters = Arc::new(self.complete());
        let connection = self.connect().await?;
        let mut control = Control::new(connection);
        let cookie = Cookie::new(random());
        control.send_cookie(&cookie).await?;
        control
            .expect(
                State::ParamExchange,
                STEP,
                "the server was to ask for the parameters",
            )
            .await?;
        control.send_text(&parameters.to_json()).await?;
        control
            .expect(
                State::CreateStreams,
                STEP,
                "the server was to ask for the streams",
            )
            .await?;
        let mut carriers = Vec::with_capacity(parameters.streams());
        for _ in 0..parameters.streams() {
            carriers.push(self.open_stream(&cookie, &parameters).await?);
        }
        control
            .expect(State::TestStart, STEP, "the server was to start the test")
            .await?;
        control
            .expect(State::TestRunning, STEP, "the server was to start the test")
            .await?;
        let budget = Budget::new(parameters.bytes);
        let movers: Result<Vec<Mover>, Error> = carriers
            .into_iter()
            .enumerate()
            .map(|(at, carrier)| Mover::start(carrier, parameters.client_sends(at), &parameters, &budget))
            .collect();
        let mut running = Running {
            client: self,
            parameters: Arc::clone(&parameters),
            watch: Watch::new(movers?, Clock.now()),
            shown: Vec::new(),
            last: Duration::ZERO,
            cpu_before: CpuTime::of_process(),
        };
        observer.started();
        let flowed = running.flow(&mut control, observer, &budget, stop).await;
        Ok(running.conclude(control, flowed).await)
    }

    async fn connect(&self) -> Result<tokio::net::TcpStream, Error> {
        let (options, server, patience) = (self.stream.clone(), self.server, self.patience);
        let connected = tokio::task::spawn_blocking(move || options.connect(server, patience)).await;
        let stream = connected.map_err(|_| Error::Terminated)??;
        let taken = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream));
        taken.map_err(Error::io("the connection was taken over"))
    }

    async fn open_stream(&self, cookie: &Cookie, parameters: &Parameters) -> Result<Carrier, Error> {
        let (options, server, patience) = (self.stream.clone(), self.server, self.patience);
        match parameters.protocol {
            Protocol::Tcp => {
                let cookie = *cookie;
                let opened = tokio::task::spawn_blocking(move || {
                    use std::io::Write;
                    let mut stream = options.connect(server, patience)?;
                    stream
                        .write_all(cookie.as_bytes())
                        .map_err(Error::io("a stream was opened"))?;
                    Ok::<_, Error>(stream)
                });
                Ok(Carrier::Tcp(opened.await.map_err(|_| Error::Terminated)??))
            }
            Protocol::Udp => {
                let parameters = parameters.clone();
                let opened =
                    tokio::task::spawn_blocking(move || open_datagrams(server, &options, &parameters));
                opened.await.map_err(|_| Error::Terminated)?
            }
        }
    }
}

/// 36 octets that nobody can guess.
fn random() -> [u8; COOKIE_LEN - 1] {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    std::array::from_fn(|at| state.hash_one(at) as u8)
}

/// A UDP stream: asked for until it is answered, so that a lost datagram is no failed test.
fn open_datagrams(
    server: SocketAddr,
    stream: &StreamOptions,
    parameters: &Parameters,
) -> Result<Carrier, Error> {
    let options = Options {
        source: stream.source,
        interface: stream.interface.clone(),
        ttl: stream.ttl,
        dscp: stream.dscp,
        mark: stream.mark,
        transmit_stamps: false,
        payload: parameters.length,
        ..Options::default()
    };
    let mut socket = Datagram::udp(server.is_ipv6(), Some(server), &options)?;
    let mut waiter = Waiter::new(Pacing::Eco);
    let packet = [Packet {
        bytes: 0..UDP_CONNECT.len(),
        to: None,
        from: None,
        tag: 0,
    }];
    let until = Clock.now().plus(UDP_PATIENCE);
    let mut early = Vec::new();
    while Clock.now() < until {
        socket.send(&UDP_CONNECT, &packet, |_, _| {});
        let again = Clock.now().plus(ASK_AGAIN);
        while Clock.now() < again {
            let mut stands = false;
            let mut each = |incoming: Incoming<'_>| {
                let Incoming::Packet(received) = incoming else {
                    return;
                };
                stands |= [UDP_ACCEPT, UDP_ACCEPT_OLD]
                    .iter()
                    .any(|answer| received.payload == answer);
                // With -R data may come with the answer, or overtake it: it proves the stream as well.
                let header = DatagramHeader::parse(received.payload, parameters.wide_counters);
                if let Some(header) = header.ok().filter(|_| early.len() < EARLY_MOST) {
                    stands = true;
                    early.push(Early {
                        header,
                        length: received.payload.len(),
                        at: received.at.at,
                    });
                }
            };
            receive_from_any(
                std::slice::from_mut(&mut socket),
                &mut waiter,
                again,
                |_, incoming| {
                    each(incoming);
                },
            )?;
            if stands {
                return Ok(Carrier::Udp(Box::new(socket), early));
            }
        }
    }
    Err(Error::Silent {
        what: "the server was to answer for a UDP stream (is UDP to its port filtered?)",
        seconds: UDP_PATIENCE.as_secs(),
    })
}

/// A test whose data flows.
struct Running<'a> {
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
struct Flowed {
    at: Timestamp,
    interrupted: bool,
    failure: Option<Error>,
}

impl Running<'_> {
    async fn flow(
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
                next = elapsed.saturating_add(self.client.interval);
            }
            if elapsed >= next {
                self.show(observer, elapsed, omits);
                next = next.saturating_add(self.client.interval);
            }
            if elapsed >= planned || self.is_enough() || self.watch.all_done() {
                break;
            }
            let until = [planned, next, if omits { omit } else { Duration::MAX }]
                .into_iter()
                .fold(Duration::MAX, Duration::min);
            // Received bytes are looked at often enough to end soon after the last.
            let most = match self.client.end {
                End::Bytes(_) if self.parameters.reverse => Duration::from_millis(1),
                _ => Duration::from_secs(3600),
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
        flowed
    }

    /// Whether all bytes that were asked for have come, where the far end sends.
    fn is_enough(&self) -> bool {
        let End::Bytes(wanted) = self.client.end else {
            return false;
        };
        let received = (0..self.watch.movers.len())
            .filter(|&place| !self.parameters.client_sends(place))
            .fold(0u64, |sum, place| {
                sum.saturating_add(self.watch.figures(place).bytes)
            });
        self.parameters.reverse && received >= wanted
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
    async fn conclude(self, mut control: Control, flowed: Flowed) -> Outcome {
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
        let figures: Vec<Figures> = places
            .clone()
            .map(|place| match self.parameters.client_sends(place) {
                true => self.watch.figures(place),
                false => received.get(place).copied().unwrap_or_default(),
            })
            .collect();
        let retransmits: Vec<Option<u64>> = places.map(|place| self.watch.retransmits(place)).collect();
        let mss = sending.iter().find_map(|mover| Some(mover.tcp_info()?.mss));
        let congestion = sending.iter().find_map(|mover| mover.congestion());
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
        // A thread that cannot be joined has told why.
        let _ = tokio::task::spawn_blocking(move || watch.end()).await;
        let sides = [true, false].into_iter().filter_map(|is_forward| {
            let places =
                (0..parameters.streams()).filter(|&place| parameters.client_sends(place) == is_forward);
            let side = Sums {
                figures: &figures,
                retransmits: &retransmits,
                theirs: theirs.as_ref(),
            };
            side.side(places, is_forward, took_here, sent_for)
        });
        Outcome {
            sides: sides.collect(),
            cpu_local: percent(cpu, flowed.at.since(began)),
            cpu_remote: theirs.as_ref().map(|results| results.cpu),
            congestion: congestion.or_else(|| theirs.as_ref()?.congestion.clone()),
            mss,
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

/// What both sides say of all streams.
struct Sums<'a> {
    figures: &'a [Figures],
    retransmits: &'a [Option<u64>],
    theirs: Option<&'a Results>,
}

impl Sums<'_> {
    fn side(
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
                    reordered: 0,
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
        Some(if is_forward {
            Side {
                is_forward,
                sent: Some(ours),
                received: theirs,
                retransmits: our_retransmits,
                took: their_time.unwrap_or(took_here),
                sent_for,
            }
        } else {
            Side {
                is_forward,
                sent: theirs,
                received: Some(ours),
                retransmits: their_retransmits,
                took: took_here,
                sent_for: their_time.unwrap_or(took_here),
            }
        })
    }
}
