//! `rping server`: one port number. On UDP the STAMP reflector, and iperf3's datagram streams once their test stands;
//! on TCP whatever a connection turns out to begin with.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rping_wire::iperf::{begins_cookie, Cookie, COOKIE_LEN};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::claims::Claims;
use crate::iperf::server::{serve, Place, Summary, Tests};
use crate::iperf::Protocol;
use crate::reflector::{Handle, Reflector};
use crate::Error;

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
        }
    }
}

/// Takes a line about what happened; called from several threads.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How long a connection may be silent before it has said what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting rests when there is no descriptor left.
const REST: Duration = Duration::from_millis(100);

/// A server that listens and does not answer yet.
pub struct Server {
    reflectors: Vec<Reflector>,
    listeners: Vec<StdListener>,
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    log: Log,
    claims: Claims,
    tests: Tests,
    running: Mutex<HashMap<IpAddr, usize>>,
    connections: Semaphore,
    finished: AtomicU64,
    refused: AtomicU64,
    stop: Notify,
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

    /// Throughput tests that came to their end so far.
    pub fn tests(&self) -> u64 {
        self.shared.finished.load(Ordering::Relaxed)
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
        let (mut reflectors, mut listeners) = (Vec::new(), Vec::new());
        let claims = Claims::default();
        for &address in addresses {
            let at = |error: Error| Error::At {
                address,
                source: Box::new(error),
            };
            let (listener, mut reflector) = one_port(address).map_err(at)?;
            listener
                .set_nonblocking(true)
                .map_err(rping_net::Error::os("listen without blocking"))?;
            reflector.set_claims(claims.clone());
            reflectors.push(reflector);
            listeners.push(listener);
        }
        let shared = Shared {
            connections: Semaphore::new(limits.connections),
            limits,
            log,
            claims,
            tests: Tests::default(),
            running: Mutex::default(),
            finished: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stop: Notify::new(),
        };
        Ok(Server {
            reflectors,
            listeners,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
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
        let accepted = accept_all(self.listeners, &self.shared);
        handle.stop();
        for thread in threads {
            thread.join().map_err(|_| Error::Thread)??;
        }
        accepted
    }
}

/// TCP and UDP on the same number, also where the number is left to the system.
fn one_port(address: SocketAddr) -> Result<(StdListener, Reflector), Error> {
    // A number that is free for one may be taken for the other: then the next.
    for _ in 0..16 {
        let listener = rping_net::stream::listen(address)?;
        let got = listener
            .local_addr()
            .map_err(rping_net::Error::os("ask for the port"))?;
        match Reflector::bind(SocketAddr::new(address.ip(), got.port())) {
            Ok(reflector) => return Ok((listener, reflector)),
            Err(_) if address.port() == 0 => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::NoPort)
}

fn accept_all(listeners: Vec<StdListener>, shared: &Arc<Shared>) -> Result<(), Error> {
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
                tokio::spawn(async move { greet(stream, from, port, shared).await });
            }
            // Without descriptors the connection stays in the backlog; asking again at once would spin.
            Err(error) if rping_net::stream::is_exhaustion(&error) => sleep(REST).await,
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
    let Ok(Ok(first)) = timeout(PATIENCE, stream.read_u8()).await else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
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

/// One client's addresses: IPv4 one by one, IPv6 by /64, of which every client has all.
fn prefix(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}
