//! Asks each source of names apart, and times each.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::{iface, Clock};

use super::nonce::nonce;
use crate::names::dns::{self, Answer, Kind};
use crate::names::{in_hosts, order, HostsEntry, Resolv};

/// How long the name phase may take.
pub(crate) const PATIENCE: Duration = Duration::from_millis(3_200);
/// When an unanswered query is sent again.
const AGAIN: Duration = Duration::from_millis(1_000);
const DNS_PORT: u16 = 53;

/// What the sources of names say.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameFacts {
    /// No name was given, but an address.
    pub(crate) is_address: bool,
    pub(crate) name: String,
    /// The sources in the order in which this host asks them, by the words of `nsswitch.conf`.
    pub(crate) order: Vec<String>,
    pub(crate) hosts: Vec<HostsEntry>,
    pub(crate) hosts_lines: usize,
    pub(crate) servers: Vec<Server>,
    /// What programs get: the system's resolver.
    pub(crate) system: System,
    /// The addresses to go on with, in the order in which a program would try them.
    pub(crate) addresses: Vec<SocketAddr>,
    /// What a source says that is not the one in use.
    pub(crate) elsewhere: Vec<Elsewhere>,
}

/// An address that a source gives which programs do not get to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) address: IpAddr,
    /// Which source that is, in words.
    pub(crate) source: String,
}

/// What the system's resolver said.
#[derive(Clone, Debug, Default)]
pub(crate) enum System {
    /// It was not asked.
    #[default]
    NotAsked,
    Addresses(Vec<SocketAddr>, Duration),
    Failed(String, Duration),
    /// Nothing yet, after this long.
    Late(Duration),
}

/// One DNS server, asked apart.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: IpAddr,
    /// One for each full name that was asked for, in order; the first with addresses is the last.
    pub(crate) asked: Vec<Asked>,
}

/// One full name, asked for at one server, both families at once.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// A and AAAA, each with the time until its answer.
    pub(crate) answers: [Option<(Answer, Duration)>; 2],
    /// The server's host or this one said no.
    pub(crate) error: Option<i32>,
    pub(crate) waited: Duration,
}

impl Server {
    /// The addresses it gave, IPv6 behind IPv4.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.asked
            .iter()
            .flat_map(|asked| asked.answers.iter().flatten())
            .flat_map(|(answer, _)| answer.addresses.iter().copied())
            .collect()
    }

    /// Whether it said anything at all.
    pub(crate) fn is_alive(&self) -> bool {
        self.asked
            .iter()
            .any(|asked| asked.answers.iter().any(Option::is_some))
    }

    /// The longest it took to answer.
    pub(crate) fn slowest(&self) -> Option<Duration> {
        let all = self.asked.iter().flat_map(|asked| asked.answers.iter().flatten());
        all.map(|(_, after)| *after).max()
    }

    /// What it says of the name: the code of its last answer.
    pub(crate) fn code(&self) -> Option<u8> {
        let last = self
            .asked
            .iter()
            .rev()
            .flat_map(|asked| asked.answers.iter().flatten());
        last.map(|(answer, _)| answer.code).next()
    }
}

/// For a target that is an address.
pub(crate) fn address(address: SocketAddr) -> NameFacts {
    NameFacts {
        is_address: true,
        addresses: vec![address],
        ..NameFacts::default()
    }
}

/// Asks them all at once. `wanted` says which family is wanted, if only one.
pub(crate) fn gather(name: &str, wants_v6: Option<bool>, until: Timestamp) -> NameFacts {
    let read = |path: &str| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let order = order(&read("/etc/nsswitch.conf").unwrap_or_default());
    let (hosts, hosts_lines) = in_hosts(&read("/etc/hosts").unwrap_or_default(), name);
    let resolv = Resolv::parse(&read("/etc/resolv.conf").unwrap_or_default());
    let system = ask_system(name);
    let began = Clock.now();
    let names = resolv.candidates(name);
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let asked: Vec<_> = resolv
            .servers
            .iter()
            .map(|(address, zone)| {
                let names = &names;
                scope.spawn(move || Server {
                    address: *address,
                    asked: ask_server(at(*address, zone.as_deref()), names, until),
                })
            })
            .collect();
        asked
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    let left = until.since(Clock.now()).max(Duration::from_millis(1));
    let system = match system.recv_timeout(left) {
        Ok((Ok(addresses), took)) => System::Addresses(addresses, took),
        Ok((Err(why), took)) => System::Failed(why, took),
        Err(_) => System::Late(Clock.now().since(began)),
    };
    let addresses = choose(&system, &hosts, &servers, wants_v6);
    let mut facts = NameFacts {
        is_address: false,
        name: name.to_owned(),
        order,
        hosts,
        hosts_lines,
        servers,
        system,
        addresses,
        elsewhere: Vec::new(),
    };
    facts.elsewhere = elsewhere(&facts);
    facts
}

/// What to go on with: the system's addresses; where it has none in time, those that the sources gave to us.
fn choose(
    system: &System,
    hosts: &[HostsEntry],
    servers: &[Server],
    wants_v6: Option<bool>,
) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = match system {
        System::Addresses(addresses, _) => addresses.clone(),
        _ => hosts
            .iter()
            .map(|entry| entry.address)
            .chain(servers.iter().flat_map(Server::addresses))
            .map(|address| SocketAddr::new(address, 0))
            .collect(),
    };
    addresses.retain(|address| wants_v6.is_none_or(|v6| address.is_ipv6() == v6));
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    addresses
}

/// Addresses that a source other than the one in use gives, each with the source in words.
fn elsewhere(names: &NameFacts) -> Vec<Elsewhere> {
    let used: Vec<IpAddr> = names.addresses.iter().map(SocketAddr::ip).collect();
    let hosts = names
        .hosts
        .iter()
        .map(|entry| (entry.address, format!("line {} of the hosts file", entry.line)));
    let servers = names.servers.iter().flat_map(|server| {
        let source = format!("DNS server {}", server.address);
        server
            .addresses()
            .into_iter()
            .map(move |address| (address, source.clone()))
    });
    let mut found: Vec<Elsewhere> = Vec::new();
    for (address, source) in hosts.chain(servers) {
        let is_new = !used.contains(&address) && found.iter().all(|other| other.address != address);
        if is_new {
            found.push(Elsewhere { address, source });
        }
    }
    found
}

type Looked = (Result<Vec<SocketAddr>, String>, Duration);

/// The system's resolver cannot be stopped; a thread that it holds on to is left behind.
fn ask_system(name: &str) -> mpsc::Receiver<Looked> {
    let (sender, receiver) = mpsc::channel();
    let name = name.to_owned();
    let ask = move || {
        // The name service's modules need none of what is kept for sockets. Failing is no worse than before.
        let _ = rping_net::caps::drop_all();
        let began = Clock.now();
        let found = (name.as_str(), 0).to_socket_addrs();
        let took = Clock.now().since(began);
        let found = found.map(Iterator::collect).map_err(|error| {
            let text = error.to_string();
            let why = text.strip_prefix("failed to lookup address information: ");
            why.unwrap_or(&text).to_owned()
        });
        // Nobody listens any more once the time is up.
        let _ = sender.send((found, took));
    };
    // Without a thread there is no answer, which is what will be said.
    let _ = std::thread::Builder::new().name("resolve".into()).spawn(ask);
    receiver
}

fn at(address: IpAddr, zone: Option<&str>) -> SocketAddr {
    match (address, zone) {
        (IpAddr::V6(six), Some(zone)) => {
            let index = zone
                .parse()
                .ok()
                .or_else(|| iface::interface(zone).ok().flatten().map(|found| found.index));
            SocketAddrV6::new(six, DNS_PORT, 0, index.unwrap_or(0)).into()
        }
        _ => SocketAddr::new(address, DNS_PORT),
    }
}

fn ask_server(server: SocketAddr, names: &[String], until: Timestamp) -> Vec<Asked> {
    let mut all = Vec::new();
    for name in names {
        let asked = ask(server, name, until);
        let found = asked
            .answers
            .iter()
            .flatten()
            .any(|(answer, _)| !answer.addresses.is_empty());
        let is_silent = asked.answers.iter().all(Option::is_none);
        all.push(asked);
        // A server that did not answer for one name will not for the next.
        if found || is_silent {
            break;
        }
    }
    all
}

fn ask(server: SocketAddr, name: &str, until: Timestamp) -> Asked {
    let began = Clock.now();
    let mut asked = Asked {
        name: name.to_owned(),
        answers: [None, None],
        error: None,
        waited: Duration::ZERO,
    };
    let result = converse(server, name, began, until, &mut asked.answers);
    asked.error = result.err().and_then(|error| error.raw_os_error());
    asked.waited = Clock.now().since(began);
    asked
}

fn converse(
    server: SocketAddr,
    name: &str,
    began: Timestamp,
    until: Timestamp,
    answers: &mut [Option<(Answer, Duration)>; 2],
) -> std::io::Result<()> {
    // An identifier that an outsider cannot guess; the port is the kernel's choice.
    let id = nonce() as u16;
    let queries =
        [(id, Kind::A), (id.wrapping_add(1), Kind::Aaaa)].map(|(id, kind)| dns::query(id, name, kind));
    let local: IpAddr = match server {
        SocketAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    let mut again = began;
    let mut buffer = [0; 4096];
    loop {
        let now = Clock.now();
        if answers.iter().all(Option::is_some) || now >= until {
            return Ok(());
        }
        if now >= again {
            again = now.plus(AGAIN);
            for (query, answer) in queries.iter().zip(answers.iter()) {
                if let (Some(query), None) = (query, answer) {
                    socket.send(query)?;
                }
            }
        }
        let wait = again.min(until).since(now).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let after = Clock.now().since(began);
                let message = buffer.get(..length).unwrap_or_default();
                for (query, answer) in queries.iter().zip(answers.iter_mut()) {
                    if let (Some(query), None) = (query, &answer) {
                        *answer = dns::answer(query, message).map(|read| (read, after));
                    }
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if queries.iter().any(Option::is_none) {
            return Ok(());
        }
    }
}
