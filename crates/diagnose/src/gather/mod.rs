//! Facts: everything that is asked of this host and of the network, before anything is judged.
//!
//! What does not depend on each other is asked at the same time, each with an instant at which it is given up.

pub(crate) mod app;
pub(crate) mod board;
pub(crate) mod connects;
pub(crate) mod detour;
pub(crate) mod firewall;
pub(crate) mod latch;
pub(crate) mod mtu;
pub(crate) mod name;
pub(crate) mod nonce;
pub(crate) mod own;
pub(crate) mod path;
pub(crate) mod ports;
pub(crate) mod volley;
pub(crate) mod way;
pub(crate) mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::caps::{holds, Cap};
use rping_net::tcp::{retransmit_failures, Connection};
use rping_net::{Clock, Woken};

use board::Board;
use connects::{Aim, Connects, Tried};
use latch::Latch;
use volley::{fire, Hit, Kind, Shot};

use crate::far::ask::Asking;
use crate::far::PeerFacts;
use crate::{Host, Question};

/// How long connects and echo requests may take: by then two SYNs were sent again (after 1 and 2 s), and this host and
/// routers have given up on a neighbour that does not answer (after 3.1 s).
const PATIENCE: Duration = Duration::from_millis(3_600);
/// When a silent echo request is sent again.
const SECOND_ECHO: Duration = Duration::from_millis(800);
/// When other ports of a host whose port is silent are tried, and when a silent way is walked.
const SUSPICIOUS: Duration = Duration::from_millis(1_100);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 64;
/// Ports that a host usually has an answer for, if only a reset.
const USUAL: [u16; 8] = [22, 80, 443, 445, 135, 139, 3389, 53];

/// What this process may do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rights {
    /// Raw and packet sockets (`CAP_NET_RAW`).
    pub(crate) raw: bool,
    /// The packet filter's rules (`CAP_NET_ADMIN`).
    pub(crate) admin: bool,
}

/// How long each part took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) name: Duration,
    pub(crate) own: Duration,
    pub(crate) way: Duration,
    pub(crate) neighbour: Duration,
    pub(crate) firewall: Duration,
    pub(crate) ports: Duration,
    pub(crate) path: Duration,
    pub(crate) host: Duration,
    pub(crate) port: Duration,
    pub(crate) mtu: Duration,
    pub(crate) app: Duration,
}

/// Everything that is known before judgement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) text: String,
    pub(crate) port: Option<u16>,
    pub(crate) rights: Rights,
    pub(crate) name: name::NameFacts,
    pub(crate) own: own::OwnFacts,
    /// Whom the rest is about: the address that a program would try first, with the port (0 where none was given).
    pub(crate) subject: Option<SocketAddr>,
    pub(crate) way: Option<way::WayFacts>,
    pub(crate) wire: wire::WireFacts,
    /// The connect to the subject.
    pub(crate) connect: Tried,
    /// All addresses of the name, in their order, the subject among them.
    pub(crate) survey: Vec<(SocketAddr, Tried)>,
    /// Addresses that only other sources give, and that answer as asked.
    pub(crate) works_elsewhere: Vec<IpAddr>,
    /// Usual ports of the subject, where its own port was silent or none was given.
    pub(crate) others: Vec<(u16, Tried)>,
    /// Echo requests to the subject, one after another.
    pub(crate) echo: Vec<Hit>,
    /// Failed retransmissions of this host's TCP, before and after the connects.
    pub(crate) failed: [Option<u64>; 2],
    pub(crate) firewall: firewall::FirewallFacts,
    pub(crate) ports: ports::PortsFacts,
    pub(crate) path: path::PathFacts,
    pub(crate) mtu: mtu::MtuFacts,
    pub(crate) app: app::AppFacts,
    /// The agent at the far end, where one is asked.
    pub(crate) peer: Option<PeerFacts>,
    pub(crate) took: Took,
    /// The diagnosis ended after this time, before everything was asked.
    pub(crate) cut_short: Option<Duration>,
}

impl Facts {
    /// The subject was reached as asked: its port accepts, or, without a port, it answers at all.
    pub(crate) fn works(&self) -> bool {
        match self.port {
            Some(_) => self.connect.is_open(),
            None => self.host_answers(),
        }
    }

    /// Whom the facts about the way are about: the subject, or, without one, the first DNS server.
    pub(crate) fn way_target(&self) -> Option<IpAddr> {
        let server = || self.name.servers.first().map(|server| server.address);
        self.subject.map(|to| to.ip()).or_else(server)
    }

    /// Who that is, in words: what is said of a DNS server's way is not said of the target's.
    pub(crate) fn way_words(&self) -> String {
        match (self.subject, self.way_target()) {
            (None, Some(server)) => format!("the DNS server {server}"),
            (_, Some(to)) => to.to_string(),
            (_, None) => "the target".to_owned(),
        }
    }

    /// Something from the subject itself came back.
    pub(crate) fn host_answers(&self) -> bool {
        self.echo.iter().any(|hit| hit.answered().is_some())
            || self.connect.is_answer()
            || self.others.iter().any(|(_, tried)| tried.is_answer())
    }
}

/// Gathers everything, and puts it onto the board as it becomes known.
pub(crate) fn gather(question: &Question, board: &Board) {
    let began = Clock.now();
    let mut facts = Facts {
        text: question.text.clone(),
        port: question.port,
        rights: Rights {
            raw: holds(Cap::NetRaw).unwrap_or(false),
            admin: holds(Cap::NetAdmin).unwrap_or(false),
        },
        ..Facts::default()
    };
    if let Host::Name(name) = &question.host {
        facts.name.name.clone_from(name);
    }
    let mut asking = question.peer.as_ref().map(Asking::begin);
    facts.peer = asking.as_ref().map(Asking::so_far);
    let show = |facts: &Facts| board.note(|shown| shown.clone_from(facts));
    show(&facts);
    facts.name = match &question.host {
        Host::Address(address) => name::address(*address),
        Host::Name(name) => name::gather(name, question.v6, began.plus(name::PATIENCE)),
    };
    facts.took.name = Clock.now().since(began);
    show(&facts);
    let own_began = Clock.now();
    facts.own = own::gather();
    facts.took.own = Clock.now().since(own_began);
    facts.subject = subject(&facts.name.addresses, question.port);
    show(&facts);
    // Without an address, the way to the first DNS server tells whether it is the name that fails.
    let server = facts.name.servers.first().map(|s| SocketAddr::new(s.address, 53));
    if let Some(to) = facts.subject.or(server.filter(|s| !s.ip().is_loopback())) {
        let way_began = Clock.now();
        facts.way = Some(way::gather(to, &facts.own));
        facts.took.way = Clock.now().since(way_began);
        show(&facts);
    }
    if let Some(subject) = facts.subject {
        // Ready before the first packet leaves, or it would not be seen there.
        facts.peer = asking.as_mut().map(|asking| asking.watch(subject));
        talk(&mut facts, board);
        show(&facts);
        facts.peer = asking.map(Asking::seen);
    }
    facts.own.look_again();
    show(&facts);
}

/// The address that a program would try first: the resolver's first that has a route, else its first.
fn subject(addresses: &[SocketAddr], port: Option<u16>) -> Option<SocketAddr> {
    let routed = |address: &&SocketAddr| way::has_route(**address);
    let mut found = *addresses.iter().find(routed).or(addresses.first())?;
    found.set_port(port.unwrap_or(0));
    Some(found)
}

/// What only some threads have to wait for.
#[derive(Default)]
struct Signals {
    /// The connect to the subject was settled, and whether the port accepted.
    connected: Latch<bool>,
    /// The echo requests were settled, and whether one was answered.
    echoed: Latch<bool>,
    /// The local ports of the connects to the subject.
    local: Mutex<Vec<u16>>,
    stop_wire: AtomicBool,
}

impl Signals {
    /// This connect is one of those that are judged by what the wire shows of them.
    fn is_ours(&self, port: Option<u16>) {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.extend(port);
    }
}

/// Everything that sends packets to the subject.
fn talk(facts: &mut Facts, board: &Board) {
    let Some(subject) = facts.subject else { return };
    let began = Clock.now();
    let until = began.plus(PATIENCE);
    facts.firewall = firewall::before(facts.rights.admin);
    facts.ports = ports::gather(subject);
    facts.failed[0] = retransmit_failures();
    board.note(|shown| shown.clone_from(facts));
    let way = facts.way.clone().unwrap_or_default();
    let tap = way.tap();
    let wire = tap.map(|ifindex| wire::arm(ifindex, subject.is_ipv6()));
    let signals = Signals::default();
    let addresses = facts.name.addresses.clone();
    let rights = facts.rights;
    let ours = facts.own.interfaces.clone();
    std::thread::scope(|scope| {
        let signals = &signals;
        let way = &way;
        let ours = ours.as_slice();
        let wire = wire.map(|armed| {
            armed.map(|socket| scope.spawn(|| wire::listen(socket, subject, &signals.stop_wire)))
        });
        let neighbour = scope.spawn(move || {
            let (asked, took) = timed(|| way::ask_neighbours(way, subject.ip(), ours, rights));
            board.note(|shown| {
                if let Some(way) = &mut shown.way {
                    way.asked = asked.clone();
                }
                shown.took.neighbour = took;
            });
            (asked, took)
        });
        let echo = scope.spawn(move || {
            let echo = timed(|| echo(subject, until));
            let answered = echo.0.iter().find_map(Hit::answered);
            board.note(|shown| (shown.echo, shown.took.host) = echo.clone());
            signals.echoed.set(answered.is_some());
            let mtu = timed(|| mtu::gather(subject, answered.map(|hit| hit.2), &signals.connected, until));
            board.note(|shown| (shown.mtu, shown.took.mtu) = mtu.clone());
            (echo, mtu)
        });
        let others = facts.name.elsewhere.clone();
        let elsewhere = scope.spawn(move || elsewhere(&others, subject.port(), began));
        let path = scope.spawn(move || {
            signals.connected.wait(began.plus(SUSPICIOUS));
            // Routers and hosts ration their ICMP messages: the first ones belong to those who decide.
            signals.echoed.wait(Clock.now().plus(Duration::from_millis(300)));
            let path = timed(|| match way.is_routed() {
                true => path::gather(subject, Clock.now().plus(Duration::from_millis(2_400))),
                false => path::PathFacts::default(),
            });
            board.note(|shown| (shown.path, shown.took.path) = path.clone());
            path
        });
        let (survey, connection) = connect(subject, &addresses, began, until, signals, &mut facts.others);
        facts.took.port = Clock.now().since(began);
        facts.failed[1] = retransmit_failures();
        facts.survey = survey;
        let is_subject = |(to, _): &&(SocketAddr, Tried)| *to == subject;
        facts.connect = facts
            .survey
            .iter()
            .find(is_subject)
            .map(|(_, tried)| tried.clone())
            .unwrap_or_default();
        board.note(|shown| {
            shown.connect.clone_from(&facts.connect);
            shown.survey.clone_from(&facts.survey);
            shown.others.clone_from(&facts.others);
            (shown.took.port, shown.failed) = (facts.took.port, facts.failed);
        });
        if let Some(connection) = connection {
            let app = timed(|| app::gather(connection, subject.port(), &facts.name.name));
            (facts.app, facts.took.app) = app;
            board.note(|shown| (shown.app, shown.took.app) = (facts.app.clone(), facts.took.app));
        }
        // A thread that panicked leaves its facts unknown.
        if let Ok(((echo, echo_took), (mtu, mtu_took))) = echo.join() {
            (facts.echo, facts.took.host) = (echo, echo_took);
            (facts.mtu, facts.took.mtu) = (mtu, mtu_took);
        }
        if let Ok((path, took)) = path.join() {
            (facts.path, facts.took.path) = (path, took);
        }
        if let (Ok((asked, took)), Some(way)) = (neighbour.join(), &mut facts.way) {
            way.asked = asked;
            facts.took.neighbour = took;
        }
        facts.works_elsewhere = elsewhere.join().unwrap_or_default();
        signals.stop_wire.store(true, Ordering::Release);
        facts.wire = match wire {
            Some(Ok(thread)) => thread
                .join()
                .map(|seen| seen.of(&signals.local.lock().unwrap_or_else(PoisonError::into_inner)))
                .unwrap_or_default(),
            Some(Err(why)) => not_armed(why),
            None => not_armed("nothing to listen on: no Ethernet interface is on the way".to_owned()),
        };
    });
    if let Some(way) = &mut facts.way {
        way.look_again();
    }
    let (firewall, took) = timed(|| firewall::after(std::mem::take(&mut facts.firewall)));
    (facts.firewall, facts.took.firewall) = (firewall, took);
    facts.ports.look_again(subject);
}

fn not_armed(why: String) -> wire::WireFacts {
    wire::WireFacts {
        why_not: Some(why),
        ..wire::WireFacts::default()
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Clock.now();
    let done = work();
    (done, Clock.now().since(began))
}

/// One echo request, and another if that is silent.
fn echo(to: SocketAddr, until: Timestamp) -> Vec<Hit> {
    let shots = [Shot::new(Kind::Echo, to)];
    let mut hits = fire(&shots, Clock.now().plus(SECOND_ECHO).min(until));
    if matches!(hits.last(), Some(Hit::Silent)) {
        hits.extend(fire(&shots, until));
    }
    hits
}

/// Connects to all addresses at once; then, where the subject's port was silent or refused by a firewall, or none was
/// asked for, to its usual ports.
fn connect(
    subject: SocketAddr,
    addresses: &[SocketAddr],
    began: Timestamp,
    until: Timestamp,
    signals: &Signals,
    others: &mut Vec<(u16, Tried)>,
) -> (Vec<(SocketAddr, Tried)>, Option<Connection>) {
    let port = subject.port();
    if port == 0 {
        // The first echo request has a second to be answered.
        if signals.echoed.wait(began.plus(SECOND_ECHO)) != Some(true) {
            *others = usual(subject, until);
        }
        signals.connected.set(false);
        return (Vec::new(), None);
    }
    let mut aims: Vec<SocketAddr> = addresses.iter().copied().take(ADDRESSES).collect();
    aims.iter_mut().for_each(|address| address.set_port(port));
    if !aims.contains(&subject) {
        aims.insert(0, subject);
    }
    let mut connects = Connects::start(aims.iter().map(|&to| Aim { to, ttl: None }).collect());
    let place = aims.iter().position(|to| *to == subject).unwrap_or(0);
    signals.is_ours(connects.local_port(place));
    let settled = |connects: &Connects| !matches!(connects.tried(place), Tried::Silent { .. });
    let suspicious = began.plus(SUSPICIOUS);
    // Until the subject is settled; a moment more for the others.
    while !settled(&connects) && connects.wait(suspicious) == Woken::Ready {}
    let (mut beside, mut again) = (None, None);
    if settled(&connects) {
        signals.connected.set(connects.tried(place).is_open());
        let a_moment = Clock.now().plus(Duration::from_millis(300)).min(until);
        while !connects.is_settled() && connects.wait(a_moment) == Woken::Ready {}
        let echoed = || signals.echoed.wait(Clock.now().plus(Duration::from_millis(300)));
        if !connects.tried(place).is_answer() {
            let is_there = echoed() == Some(true);
            let short = Clock.now().plus(Duration::from_millis(700)).min(until);
            match is_there {
                true => again = open_now(subject, short, signals),
                false => *others = usual(subject, short),
            }
        }
    } else {
        let is_there = signals.echoed.wait(Clock.now()) == Some(true);
        beside = (!is_there).then(|| std::thread::spawn(move || usual(subject, until)));
        while !settled(&connects) && connects.wait(until) == Woken::Ready {}
        signals.connected.set(connects.tried(place).is_open());
    }
    if let Some(thread) = beside {
        *others = thread.join().unwrap_or_default();
    }
    let mut survey: Vec<(SocketAddr, Tried)> = aims
        .iter()
        .enumerate()
        .map(|(place, to)| (*to, connects.tried(place)))
        .collect();
    if let Some((tried, connection)) = again {
        if let Some(of_subject) = survey.get_mut(place) {
            of_subject.1 = tried;
        }
        signals.connected.set(true);
        connects.end();
        return (survey, Some(connection));
    }
    let is_open = connects.tried(place).is_open();
    let connection = connects.take(place).filter(|_| is_open);
    connects.end();
    (survey, connection)
}

/// Another connect to a host that answers echo requests and whose port was refused: a router that was just asked about a host
/// that had been away says "unreachable" once more, and a service that starts says "closed" once more.
fn open_now(subject: SocketAddr, until: Timestamp, signals: &Signals) -> Option<(Tried, Connection)> {
    let mut connects = Connects::start(vec![Aim {
        to: subject,
        ttl: None,
    }]);
    signals.is_ours(connects.local_port(0));
    while !connects.is_settled() && connects.wait(until) == Woken::Ready {}
    let tried = connects.tried(0);
    let connection = connects.take(0).filter(|_| tried.is_open());
    connects.end();
    Some((tried, connection?))
}

/// Which of these addresses answer as asked.
fn elsewhere(others: &[name::Elsewhere], port: u16, began: Timestamp) -> Vec<IpAddr> {
    let until = began.plus(Duration::from_millis(1_500));
    let all: Vec<SocketAddr> = others
        .iter()
        .take(ADDRESSES)
        .map(|other| SocketAddr::new(other.address, port))
        .collect();
    let answers: Vec<bool> = if port == 0 {
        let shots: Vec<Shot> = all.iter().map(|&to| Shot::new(Kind::Echo, to)).collect();
        fire(&shots, until)
            .iter()
            .map(|hit| hit.answered().is_some())
            .collect()
    } else {
        let mut connects = Connects::start(all.iter().map(|&to| Aim { to, ttl: None }).collect());
        while !connects.is_settled() && connects.wait(until) == Woken::Ready {}
        let open = (0..all.len())
            .map(|place| connects.tried(place).is_open())
            .collect();
        connects.end();
        open
    };
    let answering = all.iter().zip(answers).filter(|(_, answers)| *answers);
    answering.map(|(to, _)| to.ip()).collect()
}

fn usual(subject: SocketAddr, until: Timestamp) -> Vec<(u16, Tried)> {
    let ports: Vec<u16> = USUAL.into_iter().filter(|port| *port != subject.port()).collect();
    let aims = ports
        .iter()
        .map(|&port| Aim {
            to: at_port(subject, port),
            ttl: None,
        })
        .collect();
    let mut connects = Connects::start(aims);
    while !connects.is_settled() && connects.wait(until) == Woken::Ready {
        // One answer is enough: the host is there.
        if (0..ports.len()).any(|place| connects.tried(place).is_answer()) {
            break;
        }
    }
    let all = ports
        .iter()
        .enumerate()
        .map(|(place, &port)| (port, connects.tried(place)))
        .collect();
    connects.end();
    all
}

fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// Whether an address is one of these.
pub(crate) fn is_among(address: IpAddr, own: &own::OwnFacts) -> bool {
    address.is_loopback()
        || own
            .interfaces
            .iter()
            .any(|interface| interface.addresses.iter().any(|a| a.address == address))
}
