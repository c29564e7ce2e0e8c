//! `rping server`: one port number. On UDP the STAMP reflector, and iperf3's datagram streams once their test stands;
//! on TCP whatever a connection turns out to begin with: iperf3's cookie, the latency exchange's hello,
//! or the agent's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::agent::server::Desk;
use crate::answers::Service;
use crate::claims::Claims;
use crate::crowd::{Beyond, Crowd};
use crate::iperf::server::Tests;
use crate::latency::Exchanges;
use crate::reflector::{Handle, OwnPorts, Reflector};
use crate::{echo, Error, Key};

mod greet;
mod limits;

pub use limits::{Limits, Listen};

/// Takes a line about what happened; called from several threads.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

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
    agent: Option<Desk>,
    log: Log,
    claims: Claims,
    tests: Tests,
    exchanges: Arc<Exchanges>,
    running: Mutex<HashMap<IpAddr, usize>>,
    /// Connections that have not said yet what they are.
    waiting: Arc<Crowd>,
    pub(crate) echoes: Arc<Crowd>,
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
    /// The address that cannot be had; an echo beside a key; an agent without one.
    pub fn open(listen: &Listen, limits: Limits, log: Log) -> Result<Server, Error> {
        if listen.key.is_some() && !listen.echo.is_empty() {
            return Err(Error::OpenEcho);
        }
        let agent = match (&listen.agent, &listen.key) {
            (Some(agent), Some(key)) => Some(Desk::new(Arc::clone(agent), key.clone())),
            (Some(_), None) => return Err(Error::OpenAgent),
            (None, _) => None,
        };
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
        let crowd = |beyond| Crowd::new(limits.connections, limits.connections_per_source, beyond);
        let shared = Shared {
            waiting: crowd(Beyond::Displaces),
            echoes: crowd(Beyond::Waits),
            exchanges: Arc::new(Exchanges::new(limits.wait, limits.duration)),
            limits,
            key: listen.key.clone(),
            agent,
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
                    greet::greet(stream, from, port, shared).await;
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
