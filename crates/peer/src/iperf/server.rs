//! iperf3's server: one test from the client's cookie to its end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rping_net::bulk::Bulk;
use rping_net::{stream, Clock, Options, SharePort};
use rping_wire::iperf::{errors, Cookie, State, PARAMETERS_MOST, RESULTS_MOST};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::control::{Control, STEP};
use super::mover::{Carrier, Mover, LOOK};
use super::params::{Parameters, Protocol};
use super::results::Results;
use super::spare::Spare;
use super::tally::{Budget, Figures};
use super::udp::{self, Datagrams};
use super::watch::Watch;
use super::Error;
use crate::claims::{Claim, Claims};
use crate::server::Limits;

/// How much longer than it said a client may take: what iperf3's own server allows.
const GRACE: Duration = Duration::from_secs(40);

/// For how long nothing may move on any stream of a test before its client is taken to have vanished.
const IDLE: Duration = Duration::from_secs(60);

/// How often that is looked at.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Sockets of each family that are kept at hand with large buffers, at most; one in so many descriptors.
const SPARE: u64 = 16;
const SPARE_SHARE: u64 = 64;

/// The tests that are being set up or run, by cookie: where their data connections go.
#[derive(Clone, Debug)]
pub(crate) struct Tests {
    waiting: Arc<Mutex<HashMap<Cookie, mpsc::Sender<TcpStream>>>>,
    spare: Spare,
}

impl Default for Tests {
    /// To be made while there are privileges, if there are any: large receive buffers take some.
    fn default() -> Tests {
        let descriptors = rping_net::caps::raise_nofile().unwrap_or(0);
        Tests {
            waiting: Arc::default(),
            spare: Spare::stocked((descriptors / SPARE_SHARE).min(SPARE) as usize),
        }
    }
}

impl Tests {
    /// Sockets for UDP streams.
    pub(crate) fn spare(&self) -> Spare {
        self.spare.clone()
    }

    /// Where a data connection with this cookie belongs, if it does.
    pub(crate) fn of(&self, cookie: &Cookie) -> Option<mpsc::Sender<TcpStream>> {
        self.lock().get(cookie).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Cookie, mpsc::Sender<TcpStream>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on data connections with this cookie come here, until what is returned is dropped.
    pub(crate) fn begin(&self, cookie: Cookie, room: usize) -> (Entry, mpsc::Receiver<TcpStream>) {
        let (here, streams) = mpsc::channel(room);
        self.lock().insert(cookie, here);
        (Entry(self.clone(), cookie), streams)
    }
}

/// Takes the test off the list.
#[derive(Debug)]
pub(crate) struct Entry(Tests, Cookie);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// What a test came to, for the log.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) parameters: Parameters,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) took: Duration,
}

/// What a test has to do with.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) limits: Limits,
    pub(crate) claims: Claims,
    /// The UDP and TCP port.
    pub(crate) port: u16,
    /// Sockets for UDP streams.
    pub(crate) spare: Spare,
}

/// Runs one test over a control connection whose cookie was read.
pub(crate) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    mut streams: mpsc::Receiver<TcpStream>,
    place: &Place,
) -> Result<Summary, Error> {
    // A client that vanishes without a word is noticed.
    rping_net::stream::keep_alive(&stream);
    let mut control = Control::new(stream);
    control.send_state(State::ParamExchange).await?;
    let text = control
        .text(PARAMETERS_MOST, "its parameters were awaited")
        .await?;
    let parameters = match Parameters::parse(&text).and_then(|all| allowed(all, &place.limits)) {
        Ok(parameters) => Arc::new(parameters),
        Err(number) => {
            control.send_error(number).await?;
            return Err(Error::Nonsense("its parameters are none that are taken here"));
        }
    };
    let carriers = match parameters.protocol {
        Protocol::Tcp => {
            control.send_state(State::CreateStreams).await?;
            while_there(&mut control, tcp_streams(&mut streams, client.ip(), &parameters)).await?
        }
        Protocol::Udp => {
            let turn = async {
                let turn = timeout(STEP, place.claims.turn(client.ip())).await;
                turn.map_err(|_| silent("other tests of this client began"))
            };
            let mut turn = while_there(&mut control, turn).await?;
            control.send_state(State::CreateStreams).await?;
            while_there(&mut control, udp_streams(&mut turn.heard, &parameters, place)).await?
        }
    };
    drop(streams);
    control.send_state(State::TestStart).await?;
    control.send_state(State::TestRunning).await?;
    let budget = Budget::new(limit(&parameters));
    let movers: Result<Vec<Mover>, Error> = carriers
        .into_iter()
        .enumerate()
        .map(|(at, carrier)| Mover::start(carrier, !parameters.client_sends(at), &parameters, &budget))
        .collect();
    let mut watch = Watch::new(movers?, Clock.now());
    if let Err(error) = until_end(&mut control, &mut watch, &parameters, &place.limits).await {
        watch.give_up().await;
        if matches!(error, Error::Silent { .. }) {
            control.send_error(errors::TIME_LIMIT).await?;
        }
        return Err(error);
    }
    conclude(control, watch, &parameters).await
}

/// What becomes of `work`, unless the client leaves meanwhile, or says what it has no reason to.
async fn while_there<T>(
    control: &mut Control,
    work: impl std::future::Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        done = work => done,
        octet = control.hear() => Err(match octet.map(State::from_octet) {
            Ok(Some(state)) => Error::unexpected(state),
            Ok(None) => Error::Nonsense("an unknown state"),
            Err(_) => Error::Closed("its streams were awaited"),
        }),
    }
}

fn silent(what: &'static str) -> Error {
    Error::Silent {
        what,
        seconds: STEP.as_secs(),
    }
}

/// What the operator set may be narrower than what iperf3 takes.
fn allowed(parameters: Parameters, limits: &Limits) -> Result<Parameters, i32> {
    let seconds = u64::from(parameters.time) + u64::from(parameters.omit);
    if parameters.parallel > limits.streams {
        Err(errors::STREAMS)
    } else if seconds > limits.duration.as_secs() {
        Err(errors::TOO_LONG)
    } else if parameters.bandwidth > limits.bandwidth {
        Err(errors::RATE)
    } else {
        Ok(parameters)
    }
}

/// Bytes after which a sending server ends by itself; 0: never.
fn limit(parameters: &Parameters) -> u64 {
    match (parameters.bytes, parameters.blocks) {
        (0, blocks) => blocks.saturating_mul(parameters.length as u64),
        (bytes, _) => bytes,
    }
}

async fn tcp_streams(
    streams: &mut mpsc::Receiver<TcpStream>,
    client: IpAddr,
    parameters: &Parameters,
) -> Result<Vec<Carrier>, Error> {
    let mut carriers = Vec::with_capacity(parameters.streams());
    while carriers.len() < parameters.streams() {
        let stream = timeout(STEP, streams.recv()).await;
        let stream = stream
            .map_err(|_| silent("its streams were awaited"))?
            .ok_or(Error::Closed("its streams were awaited"))?;
        // Who has the cookie but another address is not the client.
        if stream
            .peer_addr()
            .map_or(true, |peer| peer.ip().to_canonical() != client.to_canonical())
        {
            continue;
        }
        let stream = stream.into_std().map_err(Error::io("a stream was taken over"))?;
        stream
            .set_nonblocking(false)
            .map_err(Error::io("a stream was taken over"))?;
        stream::oblige(&stream, parameters.congestion.as_deref(), parameters.tos);
        carriers.push(Carrier::Tcp(stream));
    }
    Ok(carriers)
}

async fn udp_streams(
    heard: &mut mpsc::Receiver<Claim>,
    parameters: &Parameters,
    place: &Place,
) -> Result<Vec<Carrier>, Error> {
    let mut carriers = Vec::with_capacity(parameters.streams());
    let mut known = Vec::new();
    while carriers.len() < parameters.streams() {
        let claim = timeout(STEP, heard.recv()).await;
        let claim = claim
            .map_err(|_| silent("its streams were awaited"))?
            .ok_or(Error::Closed("its streams were awaited"))?;
        // Sent again while its socket was being made.
        if known.contains(&claim.from) {
            continue;
        }
        known.push(claim.from);
        let mut socket = connected(&claim, parameters, place)?;
        udp::accept(&mut socket);
        let home = Some(place.spare.clone());
        carriers.push(Carrier::Udp(Box::new(Datagrams::new(socket, Vec::new(), home))));
    }
    Ok(carriers)
}

/// A socket on the shared port for this client alone.
fn connected(claim: &Claim, parameters: &Parameters, place: &Place) -> Result<Bulk, Error> {
    let port = place.port;
    let source = claim.to.map(|(to, interface)| match (to, claim.from) {
        (IpAddr::V6(six), SocketAddr::V6(from)) if from.scope_id() != 0 => {
            std::net::SocketAddrV6::new(six, port, 0, interface).into()
        }
        _ => SocketAddr::new(to, port),
    });
    let options = Options {
        source,
        share_port: Some(SharePort::ForOne),
        dscp: parameters.tos.map(|tos| tos >> 2),
        ..Options::default()
    };
    let bare = place.spare.take(claim.from.is_ipv6(), source)?;
    Ok(Bulk::new(
        bare,
        claim.from,
        &options,
        udp::shape(parameters),
        LOOK,
    )?)
}

/// Lets the data flow until the client has had enough.
async fn until_end(
    control: &mut Control,
    watch: &mut Watch,
    parameters: &Parameters,
    limits: &Limits,
) -> Result<(), Error> {
    let omit = Duration::from_secs(parameters.omit.into());
    let planned = match parameters.time {
        0 => limits.duration,
        seconds => Duration::from_secs(seconds.into()) + omit + GRACE,
    };
    let mut omits = parameters.omit > 0;
    let (start_up, end) = (sleep(omit), sleep(planned));
    tokio::pin!(start_up, end);
    let most_idle = IDLE.saturating_add(parameters.period().saturating_mul(3));
    loop {
        tokio::select! {
            octet = control.hear() => {
                return match State::from_octet(octet?) {
                    Some(State::TestEnd) => Ok(()),
                    Some(state) => Err(Error::unexpected(state)),
                    None => Err(Error::Nonsense("an unknown state")),
                };
            }
            () = &mut start_up, if omits => {
                watch.omit(Clock.now());
                omits = false;
            }
            () = sleep(IDLE_LOOK) => {
                if watch.idle(Clock.now()) > most_idle {
                    let seconds = most_idle.as_secs();
                    return Err(Error::Silent { what: "data was to move", seconds });
                }
            }
            () = &mut end => {
                return Err(Error::Silent { what: "the client was to end the test", seconds: planned.as_secs() });
            }
        }
    }
}

async fn conclude(
    mut control: Control,
    mut watch: Watch,
    parameters: &Arc<Parameters>,
) -> Result<Summary, Error> {
    let ended_at = Clock.now();
    // A TCP connection is asked before it is closed.
    let places = 0..watch.movers.len();
    let retransmits: Vec<Option<u64>> = places.clone().map(|place| watch.retransmits(place)).collect();
    let ended = tokio::task::spawn_blocking(move || {
        let cpu = watch.end();
        (watch, cpu)
    });
    let Ok((watch, cpu)) = ended.await else {
        return Err(Error::Terminated);
    };
    // What was on its way when the client had enough still counts, and so does the time it took.
    let figures: Vec<Figures> = places.map(|place| watch.figures(place)).collect();
    let receiving = watch.movers.iter().filter(|mover| !mover.sends);
    let last = receiving.fold(ended_at, |last, mover| last.max(mover.tally.last()));
    let took = last.since(watch.counts_from);
    let ours = watch.results(parameters, &figures, &retransmits, cpu, took);
    control.send_state(State::ExchangeResults).await?;
    let theirs = control.text(RESULTS_MOST, "its results were awaited").await?;
    if Results::parse(&theirs).is_err() {
        control.send_error(errors::RESULTS).await?;
        return Err(Error::Nonsense("its results are none"));
    }
    let only_receives = watch.movers.iter().all(|mover| !mover.sends);
    control.send_text(&ours.to_json(only_receives)).await?;
    control.send_state(State::DisplayResults).await?;
    // A client that closes without a word has its results all the same.
    let _ = control.state(STEP, "the client was to say that it is done").await;
    let moved = |sends: bool| {
        let these = watch.movers.iter().zip(&figures);
        these
            .filter(|(mover, _)| mover.sends == sends)
            .fold(0u64, |sum, (_, of)| sum.saturating_add(of.bytes))
    };
    Ok(Summary {
        parameters: Parameters::clone(parameters),
        received: moved(false),
        sent: moved(true),
        took,
    })
}
