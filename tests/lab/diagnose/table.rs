//! The table: a fault, how it is brought about and removed, and the layer that is to be named.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rping_lab::{Acceptor, Bridge, FullListener, Lab, Namespace, Pair, Routed};

use super::bench::{address, filter, filtered_pair, filtered_router, serve, Etc, Keep, Place};
use super::dns::NameServer;

/// A fault, or none (`none`), and the layer it belongs to.
pub(super) struct Case {
    pub name: &'static str,
    pub layer: &'static str,
    pub place: fn() -> Place,
}

const fn case(name: &'static str, layer: &'static str, place: fn() -> Place) -> Case {
    Case { name, layer, place }
}

const PAIR: &str = "10.77.0.2:445";
const NAMED: &str = "fileserver.test:445";
const AT_ONCE: Duration = Duration::ZERO;

pub(super) const CASES: &[Case] = &[
    case("closed port", "port", || {
        let Pair { client, server } = Lab::pair();
        let serving = server.clone();
        Place::new(&client, PAIR, vec![Box::new(server)], move || {
            vec![serve(&serving)]
        })
    }),
    case("listening on 127.0.0.1 alone", "port", || {
        let Pair { client, server } = Lab::pair();
        let inside = Acceptor::start(&server, address([127, 0, 0, 1], 445));
        let serving = server.clone();
        Place::new(
            &client,
            PAIR,
            vec![Box::new(inside), Box::new(server)],
            move || vec![Box::new(Acceptor::start(&serving, address(Pair::SERVER_V4, 445)))],
        )
    }),
    case("firewall on the way: reset", "port", || {
        filtered_router(Lab::routed(), "forward", "tcp dport 445 reject with tcp reset")
    }),
    case("firewall on the way: 3/3", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp port-unreachable",
        )
    }),
    case("firewall on the way: 3/13", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp admin-prohibited",
        )
    }),
    case("firewall on the way: 3/10", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp host-prohibited",
        )
    }),
    case("firewall on the way: 3/1", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp host-unreachable",
        )
    }),
    case("firewall on the way: 3/0", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp net-unreachable",
        )
    }),
    case("firewall on the way: 3/2", "port", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "tcp dport 445 reject with icmp prot-unreachable",
        )
    }),
    case("firewall on the way: drop", "port", || {
        filtered_router(Lab::routed(), "forward", "tcp dport 445 drop")
    }),
    case("firewall on the way: 3/13 to everything", "path", || {
        filtered_router(
            Lab::routed(),
            "forward",
            "ip daddr 10.77.2.1 reject with icmp admin-prohibited",
        )
    }),
    case("firewall on the way: drops everything", "host", || {
        filtered_router(Lab::routed(), "forward", "ip daddr 10.77.2.1 drop")
    }),
    case("firewall of the host: drop", "port", || {
        filtered_pair(Lab::pair(), false, "input", "tcp dport 445 drop", PAIR)
    }),
    case("firewall of the host: drops all but ARP", "port", || {
        filtered_pair(Lab::pair(), false, "input", "drop", PAIR)
    }),
    case("firewall of the host: 3/13", "port", || {
        let rule = "tcp dport 445 reject with icmp admin-prohibited";
        filtered_pair(Lab::pair(), false, "input", rule, PAIR)
    }),
    case("nobody has the address", "neighbour", || {
        let Pair { client, server } = Lab::pair();
        let there = server.clone();
        Place::new(
            &client,
            "10.77.0.99:445",
            vec![serve(&server), Box::new(server)],
            move || {
                there.ip("addr add 10.77.0.99/24 dev s0");
                Vec::new()
            },
        )
    }),
    case("nobody has the IPv6 address", "neighbour", || {
        let Pair { client, server } = Lab::pair();
        let there = server.clone();
        Place::new(
            &client,
            "[fd77::99]:445",
            vec![serve(&server), Box::new(server)],
            move || {
                there.ip("addr add fd77::99/64 dev s0 nodad");
                Vec::new()
            },
        )
    }),
    case("nobody has the address, no port asked", "neighbour", || {
        let Pair { client, server } = Lab::pair();
        let there = server.clone();
        Place::new(&client, "10.77.0.99", vec![Box::new(server)], move || {
            there.ip("addr add 10.77.0.99/24 dev s0");
            Vec::new()
        })
    }),
    case("no carrier", "link", || {
        let Pair { client, server } = Lab::pair();
        let sink = serve(&server);
        server.link_down("s0");
        client.wait_carrier("c0", false);
        let (near, far) = (client.clone(), server.clone());
        Place::new(&client, PAIR, vec![sink, Box::new(server)], move || {
            far.link_up("s0");
            near.wait_carrier("c0", true);
            Vec::new()
        })
    }),
    case("own interface switched off", "link", || {
        let Pair { client, server } = Lab::pair();
        let sink = serve(&server);
        client.link_down("c0");
        let near = client.clone();
        Place::new(&client, PAIR, vec![sink, Box::new(server)], move || {
            near.link_up("c0");
            near.wait_carrier("c0", true);
            Vec::new()
        })
    }),
    case("no route", "route", || {
        let Pair { client, server } = Lab::pair();
        let keep: Keep = vec![serve(&server), Box::new(server.clone())];
        let near = client.clone();
        Place::new(&client, "203.0.113.1:445", keep, move || {
            server.ip("addr add 203.0.113.1/32 dev lo");
            near.ip("route add default via 10.77.0.2");
            Vec::new()
        })
    }),
    case("a router without a route", "path", || {
        let lab = Lab::routed();
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server.clone())];
        let (router, server) = (lab.router, lab.server);
        // Two kinds of probe are refused within a second: a router that limits its refusals answers one of them.
        router.sysctl("net.ipv4.icmp_ratelimit", "0");
        Place::new(&lab.client, "203.0.113.1:445", keep, move || {
            server.ip("addr add 203.0.113.1/32 dev lo");
            router.ip("route add 203.0.113.0/24 via 10.77.2.1");
            vec![Box::new(router)]
        })
    }),
    case("route of type blackhole", "route", || refusing_route("blackhole")),
    case("route of type unreachable", "route", || {
        refusing_route("unreachable")
    }),
    case("route of type prohibit", "route", || refusing_route("prohibit")),
    case("route of type throw", "route", || refusing_route("throw")),
    case("mask too wide", "route", || {
        let lab = Lab::routed();
        lab.client.ip(
            "addr del 10.77.1.1/24 dev c0\naddr add 10.77.1.1/16 dev c0\nroute add default via 10.77.1.254",
        );
        let near = lab.client.clone();
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::new(&lab.client, "10.77.2.1:445", keep, move || {
            near.ip("addr del 10.77.1.1/16 dev c0\naddr add 10.77.1.1/24 dev c0\nroute add default via 10.77.1.254");
            Vec::new()
        })
    }),
    case("gateway dead", "gateway", || {
        let lab = Lab::routed();
        lab.router.ip("addr del 10.77.1.254/24 dev r0");
        let router = lab.router.clone();
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::new(&lab.client, "10.77.2.1:445", keep, move || {
            router.ip("addr add 10.77.1.254/24 dev r0");
            Vec::new()
        })
    }),
    case("gateway in no network of ours", "gateway", || {
        let lab = Lab::routed();
        lab.client
            .ip("route replace default via 192.169.0.1 dev c0 onlink");
        let near = lab.client.clone();
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::new(&lab.client, "10.77.2.1:445", keep, move || {
            near.ip("route replace default via 10.77.1.254");
            Vec::new()
        })
    }),
    case("gateway silent to ping, alive", "none", || {
        let lab = Lab::routed();
        filter(&lab.router, "input", "icmp type echo-request drop");
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::sound(&lab.client, "10.77.2.1:445", keep)
    }),
    case("host behind the router is off", "host", || {
        let lab = Lab::routed();
        let (server, router) = (lab.server.clone(), lab.router.clone());
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::new(&lab.client, "10.77.2.99:445", keep, move || {
            server.ip("addr add 10.77.2.99/24 dev s0");
            router.forget_neighbours();
            Vec::new()
        })
    }),
    case("two hosts have the target's address", "neighbour", || {
        let mut lab = Lab::bridge(3);
        let (third, second, first) = (lab.hosts.remove(2), lab.hosts.remove(1), lab.hosts.remove(0));
        third.ip("addr add 10.79.0.2/24 dev eth0");
        let keep: Keep = vec![serve(&second), serve(&third), Box::new(second), Box::new(lab)];
        let target = format!("{}:445", Bridge::v4(1));
        Place::new(&first, &target, keep, move || {
            third.ip("addr del 10.79.0.2/24 dev eth0");
            Vec::new()
        })
    }),
    case("another host has our address", "self", || {
        let mut lab = Lab::bridge(3);
        let (third, second, first) = (lab.hosts.remove(2), lab.hosts.remove(1), lab.hosts.remove(0));
        third.ip("addr add 10.79.0.1/24 dev eth0");
        let keep: Keep = vec![serve(&second), Box::new(second), Box::new(lab)];
        let target = format!("{}:445", Bridge::v4(1));
        let (near, other) = (first.clone(), third);
        Place::new(&first, &target, keep, move || {
            other.ip("addr del 10.79.0.1/24 dev eth0");
            near.forget_neighbours();
            vec![Box::new(other)]
        })
    }),
    case("two interfaces of this host on one link", "none", || {
        let mut lab = Lab::bridge(2);
        let (second, first) = (lab.hosts.remove(1), lab.hosts.remove(0));
        first.ip(&format!(
            "link add eth1 type veth peer name p9\nlink set p9 netns {}\naddr add 10.79.0.50/24 dev eth1\nlink set eth1 up",
            lab.switch.name()
        ));
        lab.switch.ip("link set p9 master br0 up");
        let target = format!("{}:445", Bridge::v4(1));
        Place::sound(
            &first,
            &target,
            vec![serve(&second), Box::new(second), Box::new(lab)],
        )
    }),
    case("own firewall: output drop", "local_firewall", || {
        filtered_pair(Lab::pair(), true, "output", "tcp dport 445 drop", PAIR)
    }),
    case("own firewall: output drops everything", "local_firewall", || {
        filtered_pair(
            Lab::pair(),
            true,
            "output",
            "meta l4proto { tcp, udp, icmp } drop",
            PAIR,
        )
    }),
    case("own firewall: output reject", "local_firewall", || {
        filtered_pair(Lab::pair(), true, "output", "tcp dport { 139, 445 } reject", PAIR)
    }),
    case("own firewall: output policy drop", "local_firewall", || {
        let pair = Lab::pair();
        pair.client.nft(
            "table inet lab {\nchain out {\ntype filter hook output priority 0; policy drop;\noif lo accept\n\
             tcp dport 22 accept\nicmp type echo-request accept\n}\n}",
        );
        let near = pair.client.clone();
        Place::new(
            &pair.client,
            PAIR,
            vec![serve(&pair.server), Box::new(pair.server)],
            move || {
                near.nft_flush();
                Vec::new()
            },
        )
    }),
    case(
        "own firewall of the older iptables: output drop",
        "local_firewall",
        || older(Lab::pair(), "-A OUTPUT -p tcp --dport 445 -j DROP"),
    ),
    case(
        "own firewall of the older iptables: drops the answers",
        "local_firewall",
        || older(Lab::pair(), "-A INPUT -s 10.77.0.2 -i c+ -p tcp -j DROP"),
    ),
    case("own firewall: drops the answers", "local_firewall", || {
        filtered_pair(Lab::pair(), true, "input", "tcp sport 445 drop", PAIR)
    }),
    case(
        "own firewall: drops echo requests, no port asked",
        "local_firewall",
        || {
            let rule = "meta l4proto { tcp, icmp } drop";
            filtered_pair(Lab::pair(), true, "output", rule, "10.77.0.2")
        },
    ),
    case("local ports used up", "local_ports", || {
        let Pair { client, server } = Lab::pair();
        client.sysctl("net.ipv4.ip_local_port_range", "40000 40009");
        let sink = Acceptor::start(&server, address(Pair::SERVER_V4, 445));
        let to = sink.address();
        let held: Vec<TcpStream> = client.run(|| {
            (0..10)
                .map(|_| TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap())
                .collect()
        });
        let near = client.clone();
        let keep: Keep = vec![Box::new(held), Box::new(sink), Box::new(server)];
        Place::new(&client, PAIR, keep, move || {
            near.sysctl("net.ipv4.ip_local_port_range", "40000 40100");
            Vec::new()
        })
    }),
    case("server's accept queue full", "port", || {
        let Pair { client, server } = Lab::pair();
        let full = FullListener::start(&server, address(Pair::SERVER_V4, 445), &client);
        let serving = server.clone();
        Place::new(&client, PAIR, vec![Box::new(server)], move || {
            drop(full);
            vec![serve(&serving)]
        })
    }),
    case("path MTU black hole", "mtu", || {
        let lab = Lab::routed();
        lab.router.mtu("r1", 1400);
        filtered_router(lab, "output", "icmp type destination-unreachable drop")
    }),
    case("narrow path, working discovery", "none", || {
        let lab = Lab::routed();
        lab.router.mtu("r1", 1400);
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::sound(&lab.client, "10.77.2.1:445", keep)
    }),
    case("ICMP filtered everywhere, TCP fine", "none", || {
        let lab = Lab::routed();
        for namespace in [&lab.client, &lab.router, &lab.server] {
            for hook in ["input", "output", "forward"] {
                filter(namespace, hook, "meta l4proto icmp drop");
            }
        }
        let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
        Place::sound(&lab.client, "10.77.2.1:445", keep)
    }),
    case("a middlebox answers for a host that is off", "host", || {
        let lab = Lab::routed();
        lab.router.nft(
            "table ip lab {\nchain pre {\ntype nat hook prerouting priority -100\ntcp dport 445 redirect to :4450\n}\n}",
        );
        let proxy = Acceptor::start(&lab.router, address([0, 0, 0, 0], 4450));
        let (router, server) = (lab.router.clone(), lab.server.clone());
        let keep: Keep = vec![
            Box::new(proxy),
            serve(&lab.server),
            Box::new(lab.server),
            Box::new(lab.router),
        ];
        Place::new(&lab.client, "10.77.2.99:445", keep, move || {
            router.nft_flush();
            server.ip("addr add 10.77.2.99/24 dev s0");
            router.forget_neighbours();
            Vec::new()
        })
    }),
    case("IPv6 filtered, IPv4 fine", "port", || {
        let pair = Lab::pair();
        global_six(&pair);
        filter(
            &pair.server,
            "input",
            "ip6 daddr 2001:db8::2 meta l4proto tcp drop",
        );
        let etc = Etc::new(
            &pair.client,
            "2001:db8::2 fileserver.test\n10.77.0.2 fileserver.test\n",
            "",
        );
        let server = pair.server.clone();
        let keep: Keep = vec![Box::new(etc), serve(&pair.server), Box::new(pair.server)];
        Place::new(&pair.client, NAMED, keep, move || {
            server.nft_flush();
            Vec::new()
        })
    }),
    case("IPv6 address out of date, IPv4 fine", "neighbour", || {
        let pair = Lab::pair();
        global_six(&pair);
        let etc = Etc::new(
            &pair.client,
            "2001:db8::99 fileserver.test\n10.77.0.2 fileserver.test\n",
            "",
        );
        let server = pair.server.clone();
        let keep: Keep = vec![Box::new(etc), serve(&pair.server), Box::new(pair.server)];
        Place::new(&pair.client, NAMED, keep, move || {
            server.ip("addr add 2001:db8::99/64 dev s0 nodad");
            Vec::new()
        })
    }),
    case("DNS server dead", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.53"]);
        let server = pair.server.clone();
        Place::new(&pair.client, NAMED, kept(&pair, etc), move || {
            server.ip("addr add 10.77.0.53/24 dev s0");
            vec![name_server(
                &server,
                [10, 77, 0, 53],
                Some(Pair::SERVER_V4),
                AT_ONCE,
            )]
        })
    }),
    case("DNS server refuses", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.2"]);
        let server = pair.server.clone();
        Place::new(&pair.client, NAMED, kept(&pair, etc), move || {
            vec![name_server(
                &server,
                [10, 77, 0, 2],
                Some(Pair::SERVER_V4),
                AT_ONCE,
            )]
        })
    }),
    case("DNS does not know the name", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.2"]);
        let server = pair.server.clone();
        let empty = NameServer::start(&server, [10, 77, 0, 2], None, AT_ONCE);
        let client = pair.client.clone();
        Place::new(&client, NAMED, kept(&pair, etc), move || {
            drop(empty);
            server.ip("addr add 10.77.0.53/24 dev s0");
            let known = Etc::new(&pair.client, "", "nameserver 10.77.0.53\n");
            let serves = name_server(&server, [10, 77, 0, 53], Some(Pair::SERVER_V4), AT_ONCE);
            vec![Box::new(known), serves]
        })
    }),
    case("DNS slow", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.2"]);
        let server = pair.server.clone();
        let slow = NameServer::start(
            &server,
            [10, 77, 0, 2],
            Some(Pair::SERVER_V4),
            Duration::from_millis(1_800),
        );
        let client = pair.client.clone();
        Place::new(&client, NAMED, kept(&pair, etc), move || {
            drop(slow);
            server.ip("addr add 10.77.0.53/24 dev s0");
            let quick = Etc::new(&pair.client, "", "nameserver 10.77.0.53\n");
            let serves = name_server(&server, [10, 77, 0, 53], Some(Pair::SERVER_V4), AT_ONCE);
            vec![Box::new(quick), serves]
        })
    }),
    case("first DNS server dead, second fine", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.53", "10.77.0.2"]);
        let server = pair.server.clone();
        let mut keep = kept(&pair, etc);
        keep.push(name_server(
            &server,
            [10, 77, 0, 2],
            Some(Pair::SERVER_V4),
            AT_ONCE,
        ));
        Place::new(&pair.client, NAMED, keep, move || {
            server.ip("addr add 10.77.0.53/24 dev s0");
            vec![name_server(
                &server,
                [10, 77, 0, 53],
                Some(Pair::SERVER_V4),
                AT_ONCE,
            )]
        })
    }),
    case("DNS servers contradict each other", "name", || {
        let (pair, etc) = with_dns("", &["10.77.0.53", "10.77.0.2"]);
        let server = pair.server.clone();
        server.ip("addr add 10.77.0.53/24 dev s0");
        let wrong = Ipv4Addr::new(10, 77, 0, 99);
        let stale = NameServer::start(&server, [10, 77, 0, 53], Some(wrong), AT_ONCE);
        let mut keep = kept(&pair, etc);
        keep.push(name_server(
            &server,
            [10, 77, 0, 2],
            Some(Pair::SERVER_V4),
            AT_ONCE,
        ));
        let client = pair.client.clone();
        Place::new(&client, NAMED, keep, move || {
            drop(stale);
            vec![Box::new(Etc::new(&pair.client, "", "nameserver 10.77.0.2\n"))]
        })
    }),
    case("hosts file contradicts DNS", "name", || {
        let (pair, etc) = with_dns("10.77.0.99 fileserver.test\n", &["10.77.0.2"]);
        let mut keep = kept(&pair, etc);
        keep.push(name_server(
            &pair.server,
            [10, 77, 0, 2],
            Some(Pair::SERVER_V4),
            AT_ONCE,
        ));
        let client = pair.client.clone();
        Place::new(&client, NAMED, keep, move || {
            vec![Box::new(Etc::new(&pair.client, "", "nameserver 10.77.0.2\n"))]
        })
    }),
    case("hosts file instead of DNS, both work", "none", || {
        let (pair, etc) = with_dns("10.77.0.2 fileserver.test\n", &["10.77.0.2"]);
        pair.server.ip("addr add 10.77.0.3/24 dev s0");
        let mut keep = kept(&pair, etc);
        let other = Ipv4Addr::new(10, 77, 0, 3);
        keep.push(name_server(&pair.server, [10, 77, 0, 2], Some(other), AT_ONCE));
        Place::sound(&pair.client, NAMED, keep)
    }),
    case("no link, and so no DNS", "link", || {
        let (pair, etc) = with_dns("", &["10.77.0.2"]);
        let mut keep = kept(&pair, etc);
        keep.push(name_server(
            &pair.server,
            [10, 77, 0, 2],
            Some(Pair::SERVER_V4),
            AT_ONCE,
        ));
        pair.client.link_down("c0");
        let near = pair.client.clone();
        Place::new(&pair.client, NAMED, keep, move || {
            near.link_up("c0");
            near.wait_carrier("c0", true);
            Vec::new()
        })
    }),
];

fn name_server(
    namespace: &Namespace,
    at: [u8; 4],
    address: Option<Ipv4Addr>,
    delay: Duration,
) -> Box<dyn std::any::Any + Send> {
    Box::new(NameServer::start(namespace, at, address, delay))
}

/// A pair whose client asks these DNS servers behind this hosts file.
fn with_dns(hosts: &str, servers: &[&str]) -> (Pair, Etc) {
    let pair = Lab::pair();
    let resolv: String = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    let etc = Etc::new(&pair.client, hosts, &resolv);
    (pair, etc)
}

fn kept(pair: &Pair, etc: Etc) -> Keep {
    vec![Box::new(etc), serve(&pair.server), Box::new(pair.server.clone())]
}

/// A rule of the older iptables on the client of a pair that serves.
fn older(pair: Pair, rule: &str) -> Place {
    let words = |rule: &str| {
        let words = ["iptables-legacy"].into_iter().chain(rule.split(' '));
        words.map(str::to_owned).collect::<Vec<String>>()
    };
    let run = move |namespace: &Namespace, rule: &str| {
        let words = words(rule);
        namespace.exec(&words.iter().map(String::as_str).collect::<Vec<_>>());
    };
    run(&pair.client, rule);
    let near = pair.client.clone();
    let keep: Keep = vec![serve(&pair.server), Box::new(pair.server)];
    Place::new(&pair.client, PAIR, keep, move || {
        run(&near, "-F");
        Vec::new()
    })
}

/// Addresses that are preferred to IPv4 (RFC 6724 section 2.1), as the lab's own are not.
fn global_six(pair: &Pair) {
    pair.client.ip("addr add 2001:db8::1/64 dev c0 nodad");
    pair.server.ip("addr add 2001:db8::2/64 dev s0 nodad");
}

fn refusing_route(kind: &str) -> Place {
    let lab = Lab::routed();
    lab.client
        .ip(&format!("route add {kind} 10.77.2.1/32\nroute del default"));
    lab.client
        .ip(&format!("route add default via {} table 100", Routed::ROUTER_V4));
    let (near, kind) = (lab.client.clone(), kind.to_owned());
    let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
    Place::new(&lab.client, "10.77.2.1:445", keep, move || {
        near.ip(&format!(
            "route del {kind} 10.77.2.1/32\nroute add default via 10.77.1.254"
        ));
        Vec::new()
    })
}
