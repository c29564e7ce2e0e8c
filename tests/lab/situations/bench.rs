//! Places to probe from, each with its fault.

use std::any::Any;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rping_lab::{Acceptor, Background, Lab, Namespace, Pair, Routed, UdpService};

/// A place to probe from, and what must stay alive meanwhile.
pub(super) struct Bench {
    pub client: Namespace,
    _rest: Vec<Box<dyn Any + Send>>,
}

impl Bench {
    pub(super) fn new(client: Namespace, rest: Vec<Box<dyn Any + Send>>) -> Self {
        Self { client, _rest: rest }
    }

    pub(super) fn pair(pair: Pair) -> Self {
        Self::new(pair.client, vec![Box::new(pair.server)])
    }

    pub(super) fn routed(lab: Routed) -> Self {
        Self::new(lab.client, vec![Box::new(lab.router), Box::new(lab.server)])
    }
}

pub(super) fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// A host that answers everything.
pub(super) fn all_is_well() -> Bench {
    let pair = Lab::pair();
    let mut server = crate::support::command(&pair.server);
    server.arg("server");
    let mut server = Background::spawn(server);
    server.wait_for("5201", Duration::from_secs(20));
    let mut rest: Vec<Box<dyn Any + Send>> = vec![Box::new(server)];
    for ip in [IpAddr::from(Pair::SERVER_V4), IpAddr::from(Pair::SERVER_V6)] {
        rest.push(Box::new(UdpService::echo(&pair.server, address(ip, 7))));
        rest.push(Box::new(Acceptor::start(&pair.server, address(ip, 445))));
    }
    rest.push(Box::new(pair.server));
    Bench::new(pair.client, rest)
}

/// Rules of one chain, one per line.
pub(super) fn filter(namespace: &Namespace, hook: &str, rules: &str) {
    namespace.nft(&format!(
        "table inet lab {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n{rules}\n}}\n}}"
    ));
}

/// A router that rejects everything for the server, in each family in its manner.
pub(super) fn reject(v4: &str, v6: &str) -> Bench {
    let lab = Lab::routed();
    let matched = if v4 == "tcp reset" {
        "meta l4proto tcp"
    } else {
        "meta l4proto { tcp, udp, icmp, icmpv6 }"
    };
    let rules = format!(
        "ip daddr {} {matched} reject with {v4}\nip6 daddr {} {matched} reject with {v6}",
        Routed::SERVER_V4,
        Routed::SERVER_V6
    );
    filter(&lab.router, "forward", &rules);
    Bench::routed(lab)
}

/// A range of ten local ports, each of them connected to the port that will be probed.
pub(super) fn ports_used_up() -> Bench {
    let pair = Lab::pair();
    pair.client.sysctl("net.ipv4.ip_local_port_range", "40000 40009");
    let sink = Acceptor::start(&pair.server, address(Pair::SERVER_V4, 445));
    let to = sink.address();
    let held: Vec<TcpStream> = pair.client.run(|| {
        (0..10)
            .map(|_| TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap())
            .collect()
    });
    Bench::new(
        pair.client,
        vec![Box::new(held), Box::new(sink), Box::new(pair.server)],
    )
}
