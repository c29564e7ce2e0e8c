//! What a host can run into, and what rping makes of it: each situation has its own outcome, reason and words.
//!
//! The situations are those that Linux answers in ways of its own, measured between two namespaces on Linux 6.18:
//! one error number stands for several layers, and only the error queue and the local tables tell them apart.

use std::any::Any;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use rping_lab::{
    require_program, require_root, Acceptor, Emulator, FullListener, Impairment, Kind, Lab, Namespace, Pair,
    Routed,
};
use serde_json::Value;

use crate::support::{count, rping, show};

/// A place to probe from, and what must stay alive meanwhile.
struct Bench {
    client: Namespace,
    _rest: Vec<Box<dyn Any + Send>>,
}

impl Bench {
    fn new(client: Namespace, rest: Vec<Box<dyn Any + Send>>) -> Self {
        Self { client, _rest: rest }
    }

    fn pair(pair: Pair) -> Self {
        Self::new(pair.client, vec![Box::new(pair.server)])
    }

    fn routed(lab: Routed) -> Self {
        Self::new(lab.client, vec![Box::new(lab.router), Box::new(lab.server)])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Reply,
    Rejected,
    Lost,
    NotSent,
}

impl Outcome {
    fn key(self) -> &'static str {
        match self {
            Self::Reply => "received",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
            Self::NotSent => "not_sent",
        }
    }
}

/// One probe in one situation, and what must be said of it.
struct Ask {
    /// The command line, without `rping`, count and timeout.
    args: &'static str,
    outcome: Outcome,
    /// The reason's name, for those two outcomes that have one.
    reason: Option<&'static str>,
    /// Each must stand in the text output.
    words: &'static [&'static str],
}

const fn ask(
    args: &'static str,
    outcome: Outcome,
    reason: Option<&'static str>,
    words: &'static [&'static str],
) -> Ask {
    Ask {
        args,
        outcome,
        reason,
        words,
    }
}

struct Situation {
    name: &'static str,
    bench: fn() -> Bench,
    asks: &'static [Ask],
}

const SITUATIONS: &[Situation] = &[
    Situation {
        name: "closed port",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 10.77.0.2:445",
                Outcome::Rejected,
                Some("port_closed"),
                &["TCP reset", "nothing listens on port 445"],
            ),
            ask(
                "tcp [fd77::2]:445",
                Outcome::Rejected,
                Some("port_closed"),
                &["TCP reset", "nothing listens on port 445"],
            ),
            ask(
                "udp 10.77.0.2:9",
                Outcome::Rejected,
                Some("port_closed"),
                &["ICMP 3/3", "nothing listens on UDP port 9"],
            ),
            ask(
                "udp [fd77::2]:9",
                Outcome::Rejected,
                Some("port_closed"),
                &["1/4", "nothing listens on UDP port 9"],
            ),
        ],
    },
    Situation {
        name: "firewall: TCP reset",
        bench: || reject("tcp reset", "tcp reset"),
        asks: &[ask(
            "tcp 10.77.2.1:445",
            Outcome::Rejected,
            Some("port_closed"),
            &["firewall that rejects with resets looks the same"],
        )],
    },
    Situation {
        name: "firewall: port unreachable",
        bench: || reject("icmp port-unreachable", "icmpv6 port-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("port_closed"),
                &["ICMP 3/3", "A firewall rejects port 445: 10.77.1.254"],
            ),
            ask(
                "tcp [fd77:2::1]:445",
                Outcome::Rejected,
                Some("port_closed"),
                &["A firewall rejects port 445: fd77:1::fe"],
            ),
            ask(
                "udp 10.77.2.1:9",
                Outcome::Rejected,
                Some("port_closed"),
                &["A firewall on the way rejects", "10.77.1.254"],
            ),
        ],
    },
    Situation {
        name: "firewall: admin prohibited (3/13)",
        bench: || reject("icmp admin-prohibited", "icmpv6 admin-prohibited"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["ICMP 3/13", "A policy forbids it: 10.77.1.254"],
            ),
            ask(
                "tcp [fd77:2::1]:445",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["A policy forbids it: fd77:1::fe"],
            ),
            ask(
                "udp 10.77.2.1:9",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["A policy forbids it: 10.77.1.254"],
            ),
            ask(
                "icmp 10.77.2.1",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["A policy forbids it: 10.77.1.254"],
            ),
            ask(
                "icmp fd77:2::1",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["A policy forbids it: fd77:1::fe"],
            ),
        ],
    },
    Situation {
        name: "firewall: host prohibited (3/10)",
        bench: || reject("icmp host-prohibited", "icmpv6 admin-prohibited"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["ICMP 3/10", "A policy forbids it"],
            ),
            ask(
                "udp 10.77.2.1:9",
                Outcome::Rejected,
                Some("admin_prohibited"),
                &["ICMP 3/10"],
            ),
        ],
    },
    Situation {
        name: "firewall: host unreachable (3/1)",
        bench: || reject("icmp host-unreachable", "icmpv6 addr-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("host_unreachable"),
                &["ICMP 3/1", "10.77.1.254 cannot deliver"],
            ),
            ask(
                "tcp [fd77:2::1]:445",
                Outcome::Rejected,
                Some("host_unreachable"),
                &["fd77:1::fe cannot deliver"],
            ),
            ask(
                "udp 10.77.2.1:9",
                Outcome::Rejected,
                Some("host_unreachable"),
                &["10.77.1.254 cannot deliver"],
            ),
        ],
    },
    Situation {
        name: "firewall: net unreachable (3/0)",
        bench: || reject("icmp net-unreachable", "icmpv6 no-route"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["ICMP 3/0", "10.77.1.254 has no route"],
            ),
            ask(
                "tcp [fd77:2::1]:445",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["fd77:1::fe has no route"],
            ),
        ],
    },
    Situation {
        name: "firewall: protocol unreachable (3/2)",
        bench: || reject("icmp prot-unreachable", "icmpv6 port-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445",
                Outcome::Rejected,
                Some("protocol_unreachable"),
                &["ICMP 3/2", "refuses the protocol as such"],
            ),
            ask(
                "udp 10.77.2.1:9",
                Outcome::Rejected,
                Some("protocol_unreachable"),
                &["ICMP 3/2"],
            ),
        ],
    },
    Situation {
        name: "firewall: drop",
        bench: || {
            let pair = Lab::pair();
            filter(
                &pair.server,
                "input",
                "meta l4proto { tcp, udp } drop\nicmp type echo-request drop\nicmpv6 type echo-request drop",
            );
            Bench::pair(pair)
        },
        asks: &[
            ask("tcp 10.77.0.2:445", Outcome::Lost, None, &["Filtered or dropped"]),
            ask("tcp [fd77::2]:445", Outcome::Lost, None, &["Filtered or dropped"]),
            ask("udp 10.77.0.2:9", Outcome::Lost, None, &["proves nothing"]),
            ask("icmp 10.77.0.2", Outcome::Lost, None, &["Filtered or dropped"]),
            ask("icmp fd77::2", Outcome::Lost, None, &["Filtered or dropped"]),
        ],
    },
    Situation {
        name: "on-link, no neighbour",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 10.77.0.99:445",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour", "wrong VLAN"],
            ),
            ask(
                "tcp [fd77::99]:445",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour", "wrong VLAN"],
            ),
            ask(
                "udp 10.77.0.99:9",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour"],
            ),
            ask(
                "udp [fd77::99]:9",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour"],
            ),
            ask(
                "icmp 10.77.0.99",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour"],
            ),
            ask(
                "icmp fd77::99",
                Outcome::NotSent,
                Some("no_neighbour"),
                &["No neighbour"],
            ),
            ask(
                "arp 10.77.0.99",
                Outcome::Lost,
                None,
                &["No neighbour", "host down, wrong VLAN or wrong address"],
            ),
            ask("arp fd77::99", Outcome::Lost, None, &["No neighbour"]),
        ],
    },
    Situation {
        name: "no carrier",
        bench: || {
            let pair = Lab::pair();
            pair.server.link_down("s0");
            Bench::pair(pair)
        },
        asks: &[
            ask(
                "tcp 10.77.0.2:445",
                Outcome::NotSent,
                Some("interface_down"),
                &["no carrier"],
            ),
            ask(
                "udp 10.77.0.2:9",
                Outcome::NotSent,
                Some("interface_down"),
                &["no carrier"],
            ),
            ask(
                "icmp 10.77.0.2",
                Outcome::NotSent,
                Some("interface_down"),
                &["no carrier"],
            ),
        ],
    },
    Situation {
        name: "own interface down",
        bench: || {
            let pair = Lab::pair();
            pair.client.link_down("c0");
            Bench::pair(pair)
        },
        asks: &[
            ask(
                "tcp 10.77.0.2:445",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route", "is the interface up"],
            ),
            ask(
                "udp 10.77.0.2:9",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
            ask(
                "icmp 10.77.0.2",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
        ],
    },
    Situation {
        name: "no route",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 203.0.113.1:445",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route", "General failure"],
            ),
            ask(
                "tcp [2001:db8::1]:445",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
            ask(
                "udp 203.0.113.1:9",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
            ask(
                "icmp 203.0.113.1",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
            ask(
                "icmp 2001:db8::1",
                Outcome::NotSent,
                Some("no_route"),
                &["This host has no route"],
            ),
        ],
    },
    Situation {
        name: "a router without a route",
        bench: || Bench::routed(Lab::routed()),
        asks: &[
            ask(
                "tcp 203.0.113.1:445",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["10.77.1.254", "has no route to the network"],
            ),
            ask(
                "tcp [2001:db8::1]:445",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["fd77:1::fe"],
            ),
            ask(
                "udp 203.0.113.1:9",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["10.77.1.254"],
            ),
            ask(
                "icmp 203.0.113.1",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["10.77.1.254"],
            ),
            ask(
                "icmp 2001:db8::1",
                Outcome::Rejected,
                Some("network_unreachable"),
                &["fd77:1::fe"],
            ),
        ],
    },
    Situation {
        name: "behind a router, no neighbour there",
        bench: || Bench::routed(Lab::routed()),
        asks: &[ask(
            "icmp 10.77.2.99 -W 5s",
            Outcome::Rejected,
            Some("host_unreachable"),
            &["10.77.1.254", "cannot deliver"],
        )],
    },
    Situation {
        name: "route type: blackhole, unreachable, prohibit, throw",
        bench: || {
            let pair = Lab::pair();
            for (number, kind) in ["blackhole", "unreachable", "prohibit", "throw"]
                .iter()
                .enumerate()
            {
                pair.client.ip(&format!("route add {kind} 203.0.113.{number}/32"));
            }
            Bench::pair(pair)
        },
        asks: &[
            ask(
                "tcp 203.0.113.0:445",
                Outcome::NotSent,
                Some("no_route"),
                &["route"],
            ),
            ask(
                "tcp 203.0.113.1:445",
                Outcome::NotSent,
                Some("no_route"),
                &["route"],
            ),
            ask(
                "tcp 203.0.113.2:445",
                Outcome::NotSent,
                Some("no_route"),
                &["route"],
            ),
            ask(
                "tcp 203.0.113.3:445",
                Outcome::NotSent,
                Some("no_route"),
                &["route"],
            ),
        ],
    },
    Situation {
        name: "own firewall: output drop",
        bench: || {
            let pair = Lab::pair();
            filter(
                &pair.client,
                "output",
                "meta l4proto { tcp, udp, icmp } drop\nicmpv6 type echo-request drop",
            );
            Bench::pair(pair)
        },
        asks: &[
            ask(
                "udp 10.77.0.2:9",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            ask(
                "udp [fd77::2]:9",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            ask(
                "icmp 10.77.0.2",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            ask(
                "icmp fd77::2",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            // The kernel says nothing of the dropped SYN: from a TCP socket it looks remote, and the words own up to it.
            ask("tcp 10.77.0.2:445", Outcome::Lost, None, &["Filtered or dropped"]),
        ],
    },
    Situation {
        name: "own firewall: output reject",
        bench: || {
            let pair = Lab::pair();
            filter(
                &pair.client,
                "output",
                "meta l4proto { tcp, udp } reject with icmpx port-unreachable",
            );
            Bench::pair(pair)
        },
        asks: &[
            ask(
                "tcp 10.77.0.2:445",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            ask(
                "tcp [fd77::2]:445",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
            ask(
                "udp 10.77.0.2:9",
                Outcome::NotSent,
                Some("local_firewall"),
                &["own firewall"],
            ),
        ],
    },
    Situation {
        name: "local ports used up",
        bench: ports_used_up,
        asks: &[ask(
            "tcp 10.77.0.2:445",
            Outcome::NotSent,
            Some("no_local_port"),
            &["Every local port"],
        )],
    },
    Situation {
        name: "too big for the interface, DF",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "udp 10.77.0.2:9 --df -l 1600",
                Outcome::NotSent,
                Some("packet_too_big"),
                &["1500 bytes", "-l 1472 fits"],
            ),
            ask(
                "icmp 10.77.0.2 --df -l 1600",
                Outcome::NotSent,
                Some("packet_too_big"),
                &["1500 bytes", "-l 1472 fits"],
            ),
            ask(
                "icmp fd77::2 --df -l 1600",
                Outcome::NotSent,
                Some("packet_too_big"),
                &["1500 bytes", "-l 1452 fits"],
            ),
        ],
    },
    Situation {
        name: "too big for the path, DF",
        bench: || {
            let lab = Lab::routed();
            lab.router.mtu("r1", 1400);
            lab.server.mtu("s0", 1400);
            Bench::routed(lab)
        },
        asks: &[ask(
            "icmp 10.77.2.1 --df -l 1450",
            Outcome::Rejected,
            Some("packet_too_big"),
            &["10.77.1.254", "1400 bytes", "-l 1372 fits"],
        )],
    },
    Situation {
        name: "TTL runs out",
        bench: || Bench::routed(Lab::routed()),
        asks: &[
            ask(
                "icmp 10.77.2.1 --ttl 1",
                Outcome::Rejected,
                Some("time_exceeded"),
                &["ran out of hops at 10.77.1.254"],
            ),
            ask(
                "icmp fd77:2::1 --ttl 1",
                Outcome::Rejected,
                Some("time_exceeded"),
                &["ran out of hops at fd77:1::fe"],
            ),
            ask(
                "udp 10.77.2.1:9 --ttl 1",
                Outcome::Rejected,
                Some("time_exceeded"),
                &["ran out of hops at 10.77.1.254"],
            ),
            ask(
                "tcp 10.77.2.1:445 --ttl 1",
                Outcome::Rejected,
                Some("time_exceeded"),
                &["ran out of hops at 10.77.1.254"],
            ),
        ],
    },
    Situation {
        name: "server's accept queue full",
        bench: || {
            let pair = Lab::pair();
            let full = FullListener::start(&pair.server, address(Pair::SERVER_V4, 445), &pair.client);
            Bench::new(pair.client, vec![Box::new(full), Box::new(pair.server)])
        },
        asks: &[ask(
            "tcp 10.77.0.2:445",
            Outcome::Lost,
            None,
            &["Filtered or dropped"],
        )],
    },
    Situation {
        name: "a SYN lost on the way",
        bench: || {
            let emulator = Emulator::seeded(1)
                .only(|flow| matches!(flow.kind, Kind::Tcp { flags, .. } if flags & 0x12 == 2))
                // The first SYN of each of the two runs of this situation: the second is its repetition.
                .forward(Impairment {
                    drop_at: vec![0, 2],
                    ..Impairment::default()
                })
                .start();
            let sink = Acceptor::start(&emulator.server, address(Emulator::SERVER_V4, 445));
            let client = emulator.client.clone();
            Bench::new(client, vec![Box::new(sink), Box::new(emulator)])
        },
        asks: &[ask(
            "tcp 10.78.0.2:445 -W 3s",
            Outcome::Reply,
            None,
            &["1 SYN lost"],
        )],
    },
];

fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Rules of one chain, one per line.
fn filter(namespace: &Namespace, hook: &str, rules: &str) {
    namespace.nft(&format!(
        "table inet lab {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n{rules}\n}}\n}}"
    ));
}

/// A router that rejects everything for the server, in each family in its manner.
fn reject(v4: &str, v6: &str) -> Bench {
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
fn ports_used_up() -> Bench {
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

#[test]
fn each_situation_has_its_own_outcome_reason_and_words() {
    let name = "each_situation_has_its_own_outcome_reason_and_words";
    if !require_root(name) || !require_program(name, "nft") {
        return;
    }
    let next = Mutex::new(SITUATIONS.iter().enumerate());
    let results = Mutex::new(Vec::new());
    // Most of the time is waiting for silence, so several at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| loop {
                let Some((number, situation)) = next.lock().unwrap().next() else {
                    return;
                };
                let bench = (situation.bench)();
                for (place, ask) in situation.asks.iter().enumerate() {
                    let verdict =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bench, ask)));
                    let verdict = verdict.unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().map_or("it panicked", |text| text);
                        Err(text.lines().next().unwrap_or_default().to_owned())
                    });
                    results
                        .lock()
                        .unwrap()
                        .push(((number, place), situation, ask, verdict));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(order, ..)| *order);
    let mut rows = vec![["situation", "rping …", "outcome", "reason", "as wanted"]
        .map(str::to_owned)
        .to_vec()];
    let mut faults = Vec::new();
    for (_, situation, ask, verdict) in results {
        rows.push(vec![
            situation.name.to_owned(),
            ask.args.to_owned(),
            ask.outcome.key().to_owned(),
            ask.reason.unwrap_or("-").to_owned(),
            if verdict.is_ok() { "yes" } else { "NO" }.to_owned(),
        ]);
        if let Err(fault) = verdict {
            faults.push(format!("{}: {}: {fault}", situation.name, ask.args));
        }
    }
    show("What each situation is told apart as:", &rows);
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        rows.len() - 1,
        faults.join("\n")
    );
}

/// Asks twice: for the document, then for the words.
fn check(bench: &Bench, ask: &Ask) -> Result<(), String> {
    let mut args: Vec<&str> = ask.args.split(' ').collect();
    args.extend(["-n", "1"]);
    if !args.contains(&"-W") {
        args.extend(["-W", "400ms"]);
    }
    let run = rping(&bench.client, &[&args[..], &["-o", "json"]].concat());
    if run.stdout.is_empty() {
        return Err(format!(
            "no document: exit {:?}: {}",
            run.status,
            run.stderr.trim()
        ));
    }
    let document = run.json();
    let target = &document["targets"][0];
    let outcomes = [Outcome::Reply, Outcome::Rejected, Outcome::Lost, Outcome::NotSent];
    let seen: Vec<_> = outcomes
        .iter()
        .filter(|outcome| count(target, outcome.key()) == 1)
        .collect();
    if seen != [&ask.outcome] {
        return Err(format!(
            "{seen:?} instead of {:?}; reasons {}",
            ask.outcome, target["reasons"]
        ));
    }
    let reasons: Vec<&str> = target["reasons"]
        .as_object()
        .into_iter()
        .flat_map(|reasons| reasons.keys().map(String::as_str))
        .collect();
    if reasons != Vec::from_iter(ask.reason) {
        return Err(format!("reasons {reasons:?} instead of {:?}", ask.reason));
    }
    let status = if ask.outcome == Outcome::Reply { 0 } else { 1 };
    if run.status != Some(status) {
        return Err(format!("exit {:?} instead of {status}", run.status));
    }
    if ask.outcome == Outcome::Reply {
        lost_syn(target)?;
    }
    let text = rping(&bench.client, &args);
    // Lines may be wrapped: words are looked for with every run of blanks as one.
    let said = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    match ask.words.iter().find(|words| !said.contains(*words)) {
        Some(missing) => Err(format!("not said: {missing:?}; said: {said}")),
        None => Ok(()),
    }
}

/// A handshake after a lost SYN is an open port and no round trip.
fn lost_syn(target: &Value) -> Result<(), String> {
    match (
        count(target, "syn_lost"),
        &target["rtt_ns"]["count"],
        &target["rtt_ns"]["max"],
    ) {
        (1, Value::Number(count), Value::Null) if count.as_u64() == Some(0) => Ok(()),
        (lost, ..) => Err(format!("{lost} SYN lost, round trips {}", target["rtt_ns"])),
    }
}
