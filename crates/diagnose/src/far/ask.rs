//! Asks the agent, beside everything else: a peer that is slow, silent or wrong delays nothing beyond its share of the time.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;
use rping_peer::agent::message::{Begun, View};
use rping_peer::agent::{Client, Fault, Flow};

use super::{Peer, PeerFacts};
use crate::Host;

/// How long the flow's first packet waits for the agent to be ready.
const READY: Duration = Duration::from_millis(1_500);
/// How long the agent may take to say what it saw.
const TELL: Duration = Duration::from_millis(1_000);
/// When the thread that asks gives up on its own, with nobody waiting for it any more.
const LONGEST: Duration = Duration::from_secs(6);
/// Addresses of the peer's name that are tried.
const ADDRESSES: usize = 4;

enum Ask {
    Watch(Flow, Timestamp),
    Seen(Timestamp),
}

enum Told {
    Watching(Begun),
    Seen(Box<View>),
    Nothing(String),
}

/// An agent that is being asked.
pub(crate) struct Asking {
    ask: Sender<Ask>,
    told: Receiver<Told>,
    facts: PeerFacts,
}

impl Asking {
    /// Begins to connect, on a thread of its own that nobody waits for.
    pub(crate) fn begin(peer: &Peer) -> Asking {
        let (ask, asked) = channel();
        let (tell, told) = channel();
        let facts = PeerFacts {
            server: peer.text.clone(),
            ..PeerFacts::default()
        };
        let peer = peer.clone();
        let until = Clock.now().plus(LONGEST);
        let work = move || {
            if let Err(why) = converse(&peer, until, &asked, &tell) {
                // Nobody may be there to hear it any more.
                let _ = tell.send(Told::Nothing(why));
            }
        };
        // Without a thread nothing is told, and that is what is said.
        let _ = std::thread::Builder::new().name("rping-peer".into()).spawn(work);
        Asking { ask, told, facts }
    }

    /// What is known of it so far.
    pub(crate) fn so_far(&self) -> PeerFacts {
        self.facts.clone()
    }

    /// Has the flow watched; returns when it is, or when it will not be in time.
    pub(crate) fn watch(&mut self, to: SocketAddr) -> PeerFacts {
        let began = Clock.now();
        let flow = Flow {
            to: to.ip(),
            port: Some(to.port()).filter(|port| *port != 0),
        };
        let until = began.plus(READY);
        // A thread that has ended already has said why.
        let _ = self.ask.send(Ask::Watch(flow, until));
        match self.told.recv_timeout(READY) {
            Ok(Told::Watching(begun)) => self.facts.begun = Some(begun),
            Ok(Told::Nothing(why)) => self.facts.error = Some(why),
            Ok(Told::Seen(_)) | Err(_) => self.facts.error = Some(Fault::Late.to_string()),
        }
        self.facts.took = Clock.now().since(began);
        self.facts.clone()
    }

    /// What it saw.
    pub(crate) fn seen(mut self) -> PeerFacts {
        if self.facts.begun.is_none() {
            return self.facts;
        }
        let began = Clock.now();
        let _ = self.ask.send(Ask::Seen(began.plus(TELL)));
        match self.told.recv_timeout(TELL) {
            Ok(Told::Seen(view)) => self.facts.view = Some(*view),
            Ok(Told::Nothing(why)) => self.facts.error = Some(why),
            Ok(Told::Watching(_)) | Err(_) => self.facts.error = Some(Fault::Late.to_string()),
        }
        self.facts.took += Clock.now().since(began);
        self.facts
    }
}

fn converse(peer: &Peer, until: Timestamp, asked: &Receiver<Ask>, tell: &Sender<Told>) -> Result<(), String> {
    let mut client = connect(peer, until)?;
    let Ok(Ask::Watch(flow, until)) = asked.recv() else {
        return Ok(());
    };
    let begun = client.watch(flow, until).map_err(|fault| fault.to_string())?;
    let _ = tell.send(Told::Watching(begun));
    let Ok(Ask::Seen(until)) = asked.recv() else {
        return Ok(());
    };
    let view = client.seen(until).map_err(|fault| fault.to_string())?;
    let _ = tell.send(Told::Seen(Box::new(view)));
    Ok(())
}

/// To the first address that answers.
fn connect(peer: &Peer, until: Timestamp) -> Result<Client, String> {
    let addresses: Vec<SocketAddr> = match &peer.host {
        Host::Address(address) => vec![at_port(*address, peer.port)],
        Host::Name(name) => (name.as_str(), peer.port)
            .to_socket_addrs()
            .map_err(|error| format!("its name does not resolve: {error}"))?
            .take(ADDRESSES)
            .collect(),
    };
    let mut why = "its name has no address".to_owned();
    for (place, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
        let now = Clock.now();
        match Client::connect(*address, &peer.key, now.plus(until.since(now) / left)) {
            Ok(client) => return Ok(client),
            Err(fault) => why = fault.to_string(),
        }
    }
    Err(why)
}

fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}
