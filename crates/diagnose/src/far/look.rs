//! What an agent looks at, on this host and about one flow alone: its packets, who listens on its port, what the packet
//! filter makes of it, and the way back to the client.

use std::net::IpAddr;

use rping_net::caps::{holds, Cap};
use rping_net::iface::{self, Interface};
use rping_net::netlink::sockets::{sockets, Protocol, State};
use rping_net::netlink::{neighbour, route, Route};
use rping_net::tcp::listen_overflows;
use rping_peer::agent::message::{Back, Begun, Listener, Overflows, Rules, Taken, View};
use rping_peer::agent::{Agent, Flow, Watching};

use super::watch::Watch;
use crate::check::rules::{judge, rise, Packet, Ruled};
use crate::gather::firewall::{self, FirewallFacts};

/// Listeners that are told.
const LISTENERS: usize = 32;
/// Octets of a text that are told.
const LONGEST: usize = 512;
/// Tables of the older iptables that are told.
const TABLES: usize = 16;

/// This host, to be looked at by clients that have proven themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct FarEnd;

struct Looking {
    flow: Flow,
    client: IpAddr,
    own: bool,
    watch: Watch,
    back: Result<Route, i32>,
    interface: Option<Interface>,
    firewall: FirewallFacts,
    overflows: Option<(u64, u64)>,
}

impl Agent for FarEnd {
    fn watch(&self, flow: Flow, client: IpAddr) -> Box<dyn Watching> {
        let interfaces = iface::interfaces().unwrap_or_default();
        let has = |interface: &Interface, address| interface.addresses.iter().any(|a| a.address == address);
        let own = flow.to.is_loopback() || interfaces.iter().any(|interface| has(interface, flow.to));
        // The flow's address may be of the other family than the connection to the agent: then the way back is another, and
        // so is the client's address.
        let back = route(client, None, None, None).map_err(|error| error.errno());
        let index = back.as_ref().map_or(0, |route| route.ifindex);
        let interface = interfaces
            .iter()
            .find(|interface| interface.index == index)
            .cloned();
        let likely = |i: &&Interface| i.index == index || has(i, flow.to);
        let mut listened: Vec<&Interface> = interfaces.iter().filter(likely).collect();
        if listened.is_empty() {
            listened = interfaces.iter().collect();
        }
        Box::new(Looking {
            own,
            firewall: firewall::before(holds(Cap::NetAdmin).unwrap_or(false)),
            overflows: listen_overflows(),
            watch: Watch::begin(&listened, flow, client),
            flow,
            client,
            back,
            interface,
        })
    }
}

impl Watching for Looking {
    fn begun(&self) -> Begun {
        Begun {
            own: self.own,
            why_not: self.watch.why_not(),
        }
    }

    fn seen(self: Box<Self>) -> View {
        let Looking {
            flow,
            client,
            own,
            watch,
            back,
            interface,
            firewall,
            overflows,
        } = *self;
        let wire = watch.end();
        let (listeners, listeners_why_not) = match listeners(flow) {
            Ok(listeners) => (listeners, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let overflows = overflows
            .zip(listen_overflows())
            .map(|(before, after)| Overflows {
                overflows: after.0.saturating_sub(before.0),
                drops: after.1.saturating_sub(before.1),
            });
        let at = interface.as_ref().map(|i| (i.name.clone(), i.index));
        View {
            client: Some(client),
            own,
            wire,
            listeners,
            listeners_why_not,
            overflows,
            rules: rules(firewall, flow, client, own, at),
            back: way_back(back, client, interface),
        }
    }
}

/// Who listens on the port; those that the flow would meet first.
fn listeners(flow: Flow) -> Result<Vec<Listener>, String> {
    let Some(port) = flow.port else {
        return Ok(Vec::new());
    };
    let all = sockets(Protocol::Tcp).map_err(|error| error.to_string())?;
    let mut found: Vec<Listener> = all
        .into_iter()
        .filter(|socket| socket.state == State::Listen && socket.local.port() == port)
        .map(|socket| Listener {
            address: socket.local,
            waiting: socket.receive_queue,
            backlog: socket.send_queue,
        })
        .collect();
    found.sort_by_key(|listener| {
        (
            !super::words::covers(listener.address.ip(), flow.to),
            listener.address,
        )
    });
    found.truncate(LISTENERS);
    Ok(found)
}

fn rules(facts: FirewallFacts, flow: Flow, client: IpAddr, own: bool, at: Option<(String, u32)>) -> Rules {
    let facts = firewall::after(facts);
    let mut told = Rules {
        legacy: facts.unread.into_iter().take(TABLES).map(cut).collect(),
        ..Rules::default()
    };
    let before = match facts.before {
        Some(Ok(before)) => before,
        Some(Err(why)) => {
            told.why_not = Some(cut(why));
            return told;
        }
        None => return told,
    };
    told.rules = before.rules.len() as u64;
    // What a translator makes of the address is not known.
    let here = own.then_some(flow.to);
    let client = (client.is_ipv6() == flow.to.is_ipv6()).then_some(client);
    let taken = |packet: &Packet| match judge(&before, packet) {
        Ruled::Passes => None,
        Ruled::Taken { by, surely, rejects } => Some(Taken {
            counted: facts.after.as_ref().map_or(0, |after| rise(&before, after, &by)),
            by: cut(by),
            surely,
            rejects,
        }),
    };
    let first = Packet {
        leaves: false,
        begins: true,
        source: client,
        destination: here,
        port: flow.port,
        interface: at.clone(),
        v6: flow.to.is_ipv6(),
    };
    told.incoming = taken(&first);
    told.outgoing = taken(&Packet {
        leaves: true,
        begins: false,
        source: here,
        destination: client,
        ..first
    });
    told
}

fn way_back(back: Result<Route, i32>, client: IpAddr, interface: Option<Interface>) -> Back {
    let route = match back {
        Ok(route) => route,
        Err(errno) => {
            return Back {
                errno: Some(errno),
                ..Back::default()
            }
        }
    };
    let entry = interface
        .as_ref()
        .filter(|interface| interface.is_ethernet())
        .and_then(|interface| neighbour(route.next_hop(client), interface.index).ok().flatten());
    Back {
        errno: None,
        interface: interface.map(|interface| cut(interface.name)),
        gateway: route.gateway,
        source: route.prefsrc,
        neighbour: entry.map(|entry| entry.state.as_str().to_owned()),
    }
}

/// The beginning of a text, as much as a message has room for.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_host_says_who_listens_and_how_full_the_queue_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let flow = Flow {
            to: place.ip(),
            port: Some(place.port()),
        };
        let looking = FarEnd.watch(flow, place.ip());
        assert!(looking.begun().own);
        let _client = std::net::TcpStream::connect(place).unwrap();
        let view = looking.seen();
        assert_eq!((view.listeners.len(), view.listeners[0].address), (1, place));
        assert_eq!(view.listeners[0].waiting, 1);
        assert!(view.overflows.is_some() && view.back.errno.is_none());
    }

    #[test]
    fn an_address_of_somebody_else_is_not_claimed() {
        let flow = Flow {
            to: "192.0.2.1".parse().unwrap(),
            port: Some(9),
        };
        let looking = FarEnd.watch(flow, "127.0.0.1".parse().unwrap());
        assert!(!looking.begun().own && !looking.seen().own);
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(cut("é".repeat(400)).len(), LONGEST);
        assert_eq!(cut(format!("x{}", "é".repeat(400))).len(), LONGEST - 1);
        assert_eq!(cut("short".to_owned()), "short");
    }
}
