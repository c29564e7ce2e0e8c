//! `rping server`: one port number. On UDP the STAMP reflector, and iperf3's datagram streams once their test stands;
//! on TCP whatever a connection turns out to begin with: iperf3's cookie, or the latency exchange's hello.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rping_net::Wait;
use rping_wire::iperf::{begins_cookie, Cookie, COOKIE_LEN};
use rping_wire::latency::begins_hello;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::answers::Service;
use crate::claims::Claims;
use crate::iperf::server::{serve, Place, Summary, Tests};
use crate::iperf::Protocol;
use crate::latency::{Exchanges, LatencySummary};
use crate::prefix::prefix;
use crate::reflector::{shown, Handle, OwnPorts, Reflector};
use crate::sessions::Bounds;
use crate::{auth, echo, Error, Key};

/// What one server allows, each finite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Tests at once.
    pub tests: usize,
    /// Tests at once from one address (IPv6: from one /64).
    pub tests_per_source: usize,
    /// Parallel streams of a test in each direction.
    pub streams: u16,
    /// How long a test may be.
    pub duration: Duration,
    /// Bits per second that a client may ask for of one stream.
    pub bandwidth: u64,
    /// Connections that have not said yet what they are.
    pub connections: usize,
    /// STAMP sessions that are counted at once, each listener's; more are answered by a reflector without memory.
    pub sessions: usize,
    /// STAMP sessions that are counted at once from one address (IPv6: from one /64).
    pub sessions_per_source: usize,
    /// Datagrams per second that are answered to one address (IPv6: to one /64).
    pub packet_rate: u64,
    /// How long a STAMP session, or an echo connection, may be silent before it is over.
    pub idle: Duration,
    /// How requests of a latency exchange are waited for; a client may ask for [`Wait::Block`] too.
    pub wait: Wait,
}

impl Limits {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            sessions: self.sessions,
            per_source: self.sessions_per_source,
            rate: self.packet_rate,
            idle: self.idle,
        }
    }
}

/// Where a server listens, and what for.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// TCP and UDP, for every test. `[::]` is every address, IPv4 included; port 0 is any free one.
    pub tests: Vec<SocketAddr>,
    /// UDP, for any STAMP or TWAMP Light sender.
    pub stamp: Vec<SocketAddr>,
    /// UDP and TCP, RFC 862 echo. Not with a key: echo has no way to authenticate.
    pub echo: Vec<SocketAddr>,
    /// With it nothing unauthenticated is served.
    pub key: Option<Key>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tests: 64,
            tests_per_source: 16,
            streams: 128,
            duration: Duration::from_secs(3600),
            bandwidth: 1_000_000_000_000,
            connections: 4096,
            sessions: 16_384,
            sessions_per_source: 4096,
            packet_rate: 1_000_000,
            idle: Duration::from_secs(60),
            wait: Wait::Auto,
        }
    }
}

/// Takes a line about what happened; called from several threads.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How long a connection may be silent before it has said what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting rests when there is no descriptor left.
pub(crate) const REST: Duration = Duration::from_millis(100);

/// A server that listens and does not answer yet.
pub struct Server {
    reflectors: Vec<Reflector>,
    listeners: Vec<StdListener>,
    echoes: Vec<StdListener>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    key: Option<Key>,
    log: Log,
    claims: Claims,
    tests: Tests,
    exchanges: Arc<Exchanges>,
    running: Mutex<HashMap<IpAddr, usize>>,
    connections: Semaphore,
    pub(crate) echoes: Semaphore,
    finished: AtomicU64,
    pub(crate) refused: AtomicU64,
    stop: Notify,
    freed: Notify,
}

/// Watches and stops a running server from another thread.
#[derive(Clone)]
pub struct ServerHandle {
    reflectors: Vec<Handle>,
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// Ends [`Server::run`].
    pub fn stop(&self) {
        self.shared.stop.notify_one();
        self.shared.exchanges.stop();
        self.reflectors.iter().for_each(Handle::stop);
    }

    /// Test packets that were answered so far.
    pub fn answered(&self) -> u64 {
        self.reflectors.iter().map(Handle::answered).sum()
    }

    /// Datagrams that got no answer so far.
    pub fn dropped(&self) -> u64 {
        self.reflectors.iter().map(Handle::dropped).sum()
    }

    /// STAMP sessions there are.
    pub fn sessions(&self) -> usize {
        self.reflectors.iter().map(Handle::sessions).sum()
    }

    /// Throughput tests that run.
    pub fn running(&self) -> usize {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().sum()
    }

    /// Throughput tests that came to their end so far.
    pub fn tests(&self) -> u64 {
        self.shared.finished.load(Ordering::Relaxed)
    }

    /// Latency exchanges that came to their end so far.
    pub fn exchanges(&self) -> u64 {
        self.shared.exchanges.finished()
    }

    /// Connections that were turned away or given up so far.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Listens on these addresses, UDP and TCP. `[::]` is every address, IPv4 included; port 0 is any free one.
    ///
    /// # Errors
    /// The address that cannot be had.
    pub fn bind(addresses: &[SocketAddr], limits: Limits, log: Log) -> Result<Server, Error> {
        let listen = Listen {
            tests: addresses.to_vec(),
            ..Listen::default()
        };
        Server::open(&listen, limits, log)
    }

    /// Listens where it is told to.
    ///
    /// # Errors
    /// The address that cannot be had; an echo beside a key.
    pub fn open(listen: &Listen, limits: Limits, log: Log) -> Result<Server, Error> {
        if listen.key.is_some() && !listen.echo.is_empty() {
            return Err(Error::OpenEcho);
        }
        let service = |usual: Service| listen.key.clone().map_or(usual, Service::Sealed);
        let (mut reflectors, mut listeners, mut echoes) = (Vec::new(), Vec::new(), Vec::new());
        let claims = Claims::default();
        for &address in &listen.tests {
            let (listener, mut reflector) =
                one_port(address, &service(Service::Stamp), &limits).map_err(at(address))?;
            reflector.set_claims(claims.clone());
            reflectors.push(reflector);
            listeners.push(listener);
        }
        for &address in &listen.stamp {
            let reflector =
                Reflector::open(address, service(Service::AnyStamp), &limits).map_err(at(address))?;
            reflectors.push(reflector);
        }
        for &address in &listen.echo {
            let (listener, reflector) = one_port(address, &Service::Echo, &limits).map_err(at(address))?;
            reflectors.push(reflector);
            echoes.push(listener);
        }
        let own_ports = OwnPorts::default();
        let ports = reflectors.iter().filter_map(|r| Some(r.local_addr()?.port()));
        // Nobody else has it yet.
        let _ = own_ports.set(ports.collect());
        for reflector in &mut reflectors {
            reflector.set_server(Arc::clone(&own_ports), Arc::clone(&log));
        }
        let shared = Shared {
            connections: Semaphore::new(limits.connections),
            echoes: Semaphore::new(limits.connections),
            exchanges: Arc::new(Exchanges::new(limits.wait, limits.duration)),
            limits,
            key: listen.key.clone(),
            log,
            claims,
            tests: Tests::default(),
            running: Mutex::default(),
            finished: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stop: Notify::new(),
            freed: Notify::new(),
        };
        Ok(Server {
            reflectors,
            listeners,
            echoes,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
    }

    /// Where it answers datagrams: those of [`Listen::tests`] first, then [`Listen::stamp`] and [`Listen::echo`].
    pub fn datagram_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.reflectors.iter().filter_map(Reflector::local_addr)
    }

    /// To watch and stop it by.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            reflectors: self.reflectors.iter().map(Reflector::handle).collect(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Serves until [`ServerHandle::stop`].
    ///
    /// # Errors
    /// When there are no threads to be had, or a socket is of no use any more.
    pub fn run(self) -> Result<(), Error> {
        let handle = self.handle();
        let mut threads = Vec::new();
        for mut reflector in self.reflectors {
            let ends = handle.clone();
            let work = move || {
                let ended = reflector.run();
                // One that fails takes the server with it: half of it would look like a network that loses.
                ends.stop();
                ended
            };
            let thread = std::thread::Builder::new()
                .name("rping-reflect".into())
                .spawn(work)
                .map_err(rping_net::Error::os("start a thread"))?;
            threads.push(thread);
        }
        let accepted = accept_all(self.listeners, self.echoes, &self.shared);
        handle.stop();
        for thread in threads {
            thread.join().map_err(|_| Error::Thread)??;
        }
        accepted
    }
}

fn at(address: SocketAddr) -> impl Fn(Error) -> Error {
    move |error| Error::At {
        address,
        source: Box::new(error),
    }
}

/// The same address, its zone included.
fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// TCP and UDP on the same number, also where the number is left to the system.
fn one_port(
    address: SocketAddr,
    service: &Service,
    limits: &Limits,
) -> Result<(StdListener, Reflector), Error> {
    // A number that is free for one may be taken for the other: then the next.
    for _ in 0..16 {
        let listener = rping_net::stream::listen(address)?;
        let got = listener
            .local_addr()
            .map_err(rping_net::Error::os("ask for the port"))?;
        let here = with_port(address, got.port());
        match Reflector::open(here, service.clone(), limits) {
            Ok(reflector) => {
                listener
                    .set_nonblocking(true)
                    .map_err(rping_net::Error::os("listen without blocking"))?;
                return Ok((listener, reflector));
            }
            Err(_) if address.port() == 0 => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::NoPort)
}

fn accept_all(
    listeners: Vec<StdListener>,
    echoes: Vec<StdListener>,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(rping_net::Error::os("start the event loop"))?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for listener in listeners {
            let listener = TcpListener::from_std(listener).map_err(rping_net::Error::os("listen"))?;
            tasks.spawn(accept(listener, Arc::clone(shared)));
        }
        for listener in echoes {
            let listener = TcpListener::from_std(listener).map_err(rping_net::Error::os("listen"))?;
            tasks.spawn(echo::accept(listener, Arc::clone(shared)));
        }
        shared.stop.notified().await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        let accepted = listener.accept().await;
        match accepted {
            Ok((stream, from)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let ends = Arc::clone(&shared);
                    greet(stream, from, port, shared).await;
                    ends.freed.notify_one();
                });
            }
            // Without descriptors the connection stays in the backlog; asking again at once would spin. One that ends
            // makes room.
            Err(error) if rping_net::stream::is_exhaustion(&error) => {
                let _ = timeout(REST, shared.freed.notified()).await;
            }
            // The connection ended before it was taken.
            Err(_) => {}
        }
    }
}

/// Finds out what a connection is, and serves it.
async fn greet(stream: TcpStream, from: SocketAddr, port: u16, shared: Arc<Shared>) {
    let Ok(waiting) = shared.connections.try_acquire() else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let _ = stream.set_nodelay(true);
    let mut stream = stream;
    if let Some(key) = &shared.key {
        let admitted = timeout(PATIENCE, auth::admit(&mut stream, key)).await;
        if !matches!(admitted, Ok(Ok(()))) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            (shared.log)(&format!("{}: turned away, not authenticated", shown(from)));
            return;
        }
    }
    let Ok(Ok(first)) = timeout(PATIENCE, stream.read_u8()).await else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    if begins_hello(first) {
        return exchange(first, stream, from, &shared).await;
    }
    if !begins_cookie(first) {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut cookie = [first; COOKIE_LEN];
    let Ok(Ok(_)) = timeout(PATIENCE, stream.read_exact(&mut cookie[1..])).await else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let Ok(cookie) = Cookie::parse(&cookie) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    drop(waiting);
    match shared.tests.of(&cookie) {
        Some(test) => {
            // Full or over: one stream too many.
            let _ = test.try_send(stream);
        }
        None => test(stream, from, port, cookie, &shared).await,
    }
}

/// A latency exchange: agreed on here, carried out by a thread of its own.
async fn exchange(first: u8, stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) {
    let client = SocketAddr::new(from.ip().to_canonical(), from.port());
    let agreed = shared
        .exchanges
        .agree(first, stream, || Running::begin(shared, client.ip()))
        .await;
    let refuse = |why: &dyn std::fmt::Display| {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        (shared.log)(&format!("{client}: latency test turned away: {why}"));
    };
    match agreed {
        Ok((agreed, seat)) => {
            let log = Arc::clone(&shared.log);
            let done = move |summary: &LatencySummary| {
                drop(seat);
                log(&format!("{client}: {summary}"));
            };
            if let Err(error) = shared.exchanges.start(agreed, done) {
                refuse(&error);
            }
        }
        Err(why) => refuse(&why),
    }
}

async fn test(stream: TcpStream, from: SocketAddr, port: u16, cookie: Cookie, shared: &Arc<Shared>) {
    let client = SocketAddr::new(from.ip().to_canonical(), from.port());
    let Some(_seat) = Running::begin(shared, client.ip()) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        (shared.log)(&format!("{client}: turned away, too many tests run already"));
        turn_away(stream).await;
        return;
    };
    let (_entry, streams) = shared.tests.begin(cookie, 2 * usize::from(shared.limits.streams));
    let place = Place {
        limits: shared.limits.clone(),
        claims: shared.claims.clone(),
        port,
        spare: shared.tests.spare(),
    };
    let ended = serve(stream, client, streams, &place).await;
    match ended {
        Ok(summary) => {
            shared.finished.fetch_add(1, Ordering::Relaxed);
            (shared.log)(&format!("{client}: {}", describe(&summary)));
        }
        Err(error) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            (shared.log)(&format!("{client}: test given up: {error}"));
        }
    }
}

/// iperf3's word for "busy".
async fn turn_away(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    let denied = [rping_wire::iperf::State::AccessDenied.octet()];
    let _ = timeout(PATIENCE, stream.write_all(&denied)).await;
}

fn describe(summary: &Summary) -> String {
    let protocol = match summary.parameters.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let seconds = summary.took.as_secs_f64();
    let rate = |bytes: u64| {
        let bits = bytes as f64 * 8.0 / seconds.max(1e-9);
        format!("{bytes} bytes, {:.1} Mbit/s", bits / 1e6)
    };
    let mut line = format!(
        "{protocol} test of {} {}, {seconds:.1} s",
        summary.parameters.streams(),
        if summary.parameters.streams() == 1 {
            "stream"
        } else {
            "streams"
        },
    );
    for (word, bytes) in [("received", summary.received), ("sent", summary.sent)] {
        if bytes > 0 {
            line.push_str(&format!("; {word} {}", rate(bytes)));
        }
    }
    line
}

/// Counts a running test.
struct Running {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Running {
    fn begin(shared: &Arc<Shared>, client: IpAddr) -> Option<Running> {
        let source = prefix(client);
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = running.values().sum();
        let of_source = running.get(&source).copied().unwrap_or(0);
        if all >= shared.limits.tests || of_source >= shared.limits.tests_per_source {
            return None;
        }
        running.insert(source, of_source + 1);
        Some(Running {
            shared: Arc::clone(shared),
            source,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.source);
            }
        }
    }
}
