//! The table: one entry for each situation, one line for each probe in it.

use rping_lab::{Acceptor, Emulator, FullListener, Impairment, Kind, Lab, Pair};

use super::bench::{address, all_is_well, filter, ports_used_up, reject, Bench};

/// A fault, or none, and what must be said of it.
pub(super) struct Situation {
    pub name: &'static str,
    /// Brings it about.
    pub bench: fn() -> Bench,
    pub asks: &'static [Ask],
}

/// One probe in one situation, and what must come of it.
pub(super) struct Ask {
    /// The command line without `rping`, count and timeout; then outcome and reason, or for a reply whose stamps it has.
    line: &'static str,
    /// What must stand in the text output, `|` between.
    words: &'static str,
}

const fn ask(line: &'static str, words: &'static str) -> Ask {
    Ask { line, words }
}

impl Ask {
    /// The command line.
    pub(super) fn command(&self) -> &'static str {
        self.line.split(" -> ").next().unwrap_or_default()
    }

    /// The outcome by its key in the document, and the reason where there is one.
    pub(super) fn verdict(&self) -> (&'static str, Option<&'static str>) {
        let (outcome, more) = self.expected();
        (outcome, more.filter(|_| outcome != "received"))
    }

    /// Who must have taken both stamps of a reply; `None` where there must be no round trip.
    pub(super) fn stamps(&self) -> Option<&'static str> {
        let (outcome, more) = self.expected();
        more.filter(|_| outcome == "received")
    }

    fn expected(&self) -> (&'static str, Option<&'static str>) {
        let mut expected = self.line.split(" -> ").nth(1).unwrap_or_default().split(' ');
        (expected.next().unwrap_or_default(), expected.next())
    }

    /// What must be said.
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> {
        self.words.split(" | ")
    }
}

pub(super) const SITUATIONS: &[Situation] = &[
    Situation {
        name: "all is well",
        bench: all_is_well,
        asks: &[
            ask("icmp 10.77.0.2 -W 3s -> received kernel", "time stamps kernel"),
            ask("icmp fd77::2 -W 3s -> received kernel", "time stamps kernel"),
            ask("udp 10.77.0.2:7 -W 3s -> received kernel", "time stamps kernel"),
            ask("udp [fd77::2]:7 -W 3s -> received kernel", "time stamps kernel"),
            ask("udp 10.77.0.2 -W 3s -> received kernel", "time stamps kernel"),
            ask("udp fd77::2 -W 3s -> received kernel", "time stamps kernel"),
            ask("arp 10.77.0.2 -W 3s -> received kernel", "time stamps kernel"),
            ask("arp fd77::2 -W 3s -> received kernel", "time stamps kernel"),
            ask(
                "tcp 10.77.0.2:445 -W 3s -> received tcp_info",
                "time stamps tcp_info",
            ),
            ask(
                "tcp [fd77::2]:445 -W 3s -> received tcp_info",
                "time stamps tcp_info",
            ),
        ],
    },
    Situation {
        name: "closed port",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 10.77.0.2:445 -> rejected port_closed",
                "TCP reset | nothing listens on port 445",
            ),
            ask(
                "tcp [fd77::2]:445 -> rejected port_closed",
                "TCP reset | nothing listens on port 445",
            ),
            ask(
                "udp 10.77.0.2:9 -> rejected port_closed",
                "ICMP 3/3 | nothing listens on UDP port 9",
            ),
            ask(
                "udp [fd77::2]:9 -> rejected port_closed",
                "1/4 | nothing listens on UDP port 9",
            ),
        ],
    },
    Situation {
        name: "firewall: TCP reset",
        bench: || reject("tcp reset", "tcp reset"),
        asks: &[ask(
            "tcp 10.77.2.1:445 -> rejected port_closed",
            "firewall that rejects with resets looks the same",
        )],
    },
    Situation {
        name: "firewall: port unreachable",
        bench: || reject("icmp port-unreachable", "icmpv6 port-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected port_closed",
                "ICMP 3/3 | A firewall rejects port 445: 10.77.1.254",
            ),
            ask(
                "tcp [fd77:2::1]:445 -> rejected port_closed",
                "A firewall rejects port 445: fd77:1::fe",
            ),
            ask(
                "udp 10.77.2.1:9 -> rejected port_closed",
                "A firewall on the way rejects | 10.77.1.254",
            ),
        ],
    },
    Situation {
        name: "firewall: admin prohibited (3/13)",
        bench: || reject("icmp admin-prohibited", "icmpv6 admin-prohibited"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected admin_prohibited",
                "ICMP 3/13 | A policy forbids it: 10.77.1.254",
            ),
            ask(
                "tcp [fd77:2::1]:445 -> rejected admin_prohibited",
                "A policy forbids it: fd77:1::fe",
            ),
            ask(
                "udp 10.77.2.1:9 -> rejected admin_prohibited",
                "A policy forbids it: 10.77.1.254",
            ),
            ask(
                "icmp 10.77.2.1 -> rejected admin_prohibited",
                "A policy forbids it: 10.77.1.254",
            ),
            ask(
                "icmp fd77:2::1 -> rejected admin_prohibited",
                "A policy forbids it: fd77:1::fe",
            ),
        ],
    },
    Situation {
        name: "firewall: host prohibited (3/10)",
        bench: || reject("icmp host-prohibited", "icmpv6 admin-prohibited"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected admin_prohibited",
                "ICMP 3/10 | A policy forbids it",
            ),
            ask("udp 10.77.2.1:9 -> rejected admin_prohibited", "ICMP 3/10"),
        ],
    },
    Situation {
        name: "firewall: host unreachable (3/1)",
        bench: || reject("icmp host-unreachable", "icmpv6 addr-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected host_unreachable",
                "ICMP 3/1 | 10.77.1.254 cannot deliver",
            ),
            ask(
                "tcp [fd77:2::1]:445 -> rejected host_unreachable",
                "fd77:1::fe cannot deliver",
            ),
            ask(
                "udp 10.77.2.1:9 -> rejected host_unreachable",
                "10.77.1.254 cannot deliver",
            ),
        ],
    },
    Situation {
        name: "firewall: net unreachable (3/0)",
        bench: || reject("icmp net-unreachable", "icmpv6 no-route"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected network_unreachable",
                "ICMP 3/0 | 10.77.1.254 has no route",
            ),
            ask(
                "tcp [fd77:2::1]:445 -> rejected network_unreachable",
                "fd77:1::fe has no route",
            ),
        ],
    },
    Situation {
        name: "firewall: protocol unreachable (3/2)",
        bench: || reject("icmp prot-unreachable", "icmpv6 port-unreachable"),
        asks: &[
            ask(
                "tcp 10.77.2.1:445 -> rejected protocol_unreachable",
                "ICMP 3/2 | refuses the protocol as such",
            ),
            ask("udp 10.77.2.1:9 -> rejected protocol_unreachable", "ICMP 3/2"),
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
            ask("tcp 10.77.0.2:445 -> lost", "Filtered or dropped"),
            ask("tcp [fd77::2]:445 -> lost", "Filtered or dropped"),
            ask("udp 10.77.0.2:9 -> lost", "proves nothing"),
            ask("icmp 10.77.0.2 -> lost", "Filtered or dropped"),
            ask("icmp fd77::2 -> lost", "Filtered or dropped"),
        ],
    },
    Situation {
        name: "on-link, no neighbour",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 10.77.0.99:445 -> not_sent no_neighbour",
                "No neighbour | wrong VLAN",
            ),
            ask(
                "tcp [fd77::99]:445 -> not_sent no_neighbour",
                "No neighbour | wrong VLAN",
            ),
            ask("udp 10.77.0.99:9 -> not_sent no_neighbour", "No neighbour"),
            ask("udp [fd77::99]:9 -> not_sent no_neighbour", "No neighbour"),
            ask("icmp 10.77.0.99 -> not_sent no_neighbour", "No neighbour"),
            ask("icmp fd77::99 -> not_sent no_neighbour", "No neighbour"),
            ask(
                "arp 10.77.0.99 -> lost",
                "No neighbour | host down, wrong VLAN or wrong address",
            ),
            ask("arp fd77::99 -> lost", "No neighbour"),
        ],
    },
    Situation {
        name: "no carrier",
        bench: || {
            let pair = Lab::pair();
            pair.server.link_down("s0");
            pair.client.wait_carrier("c0", false);
            Bench::pair(pair)
        },
        asks: &[
            ask("tcp 10.77.0.2:445 -> not_sent interface_down", "no carrier"),
            ask("udp 10.77.0.2:9 -> not_sent interface_down", "no carrier"),
            ask("icmp 10.77.0.2 -> not_sent interface_down", "no carrier"),
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
                "tcp 10.77.0.2:445 -> not_sent interface_down",
                "is down or has no carrier",
            ),
            ask(
                "udp 10.77.0.2:9 -> not_sent interface_down",
                "is down or has no carrier",
            ),
            ask(
                "icmp 10.77.0.2 -> not_sent interface_down",
                "is down or has no carrier",
            ),
        ],
    },
    Situation {
        name: "no route",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "tcp 203.0.113.1:445 -> not_sent no_route",
                "This host has no route | General failure",
            ),
            ask(
                "tcp [2001:db8::1]:445 -> not_sent no_route",
                "This host has no route",
            ),
            ask("udp 203.0.113.1:9 -> not_sent no_route", "This host has no route"),
            ask("icmp 203.0.113.1 -> not_sent no_route", "This host has no route"),
            ask("icmp 2001:db8::1 -> not_sent no_route", "This host has no route"),
        ],
    },
    Situation {
        name: "a router without a route",
        bench: || Bench::routed(Lab::routed()),
        asks: &[
            ask(
                "tcp 203.0.113.1:445 -> rejected network_unreachable",
                "10.77.1.254 | has no route to the network",
            ),
            ask(
                "tcp [2001:db8::1]:445 -> rejected network_unreachable",
                "fd77:1::fe",
            ),
            ask("udp 203.0.113.1:9 -> rejected network_unreachable", "10.77.1.254"),
        ],
    },
    // On a bench of its own: a router without a route tells one host five times and then once a second
    // (net.ipv4.route.error_burst, which belongs to the machine and not to the namespace).
    Situation {
        name: "a router without a route, by ICMP",
        bench: || Bench::routed(Lab::routed()),
        asks: &[
            ask("icmp 203.0.113.1 -> rejected network_unreachable", "10.77.1.254"),
            ask("icmp 2001:db8::1 -> rejected network_unreachable", "fd77:1::fe"),
        ],
    },
    Situation {
        name: "behind a router, no neighbour there",
        bench: || Bench::routed(Lab::routed()),
        asks: &[ask(
            "icmp 10.77.2.99 -W 5s -> rejected host_unreachable",
            "10.77.1.254 | cannot deliver",
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
            ask("tcp 203.0.113.0:445 -> not_sent no_route", "blackhole route"),
            ask("tcp 203.0.113.1:445 -> not_sent no_route", "unreachable route"),
            ask("tcp 203.0.113.2:445 -> not_sent no_route", "prohibit route"),
            ask("tcp 203.0.113.3:445 -> not_sent no_route", "has no route"),
            ask("udp 203.0.113.0:9 -> not_sent no_route", "blackhole route"),
            ask("icmp 203.0.113.1 -> not_sent no_route", "unreachable route"),
            ask("icmp 203.0.113.2 -> not_sent no_route", "prohibit route"),
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
            ask("udp 10.77.0.2:9 -> not_sent local_firewall", "own firewall"),
            ask("udp [fd77::2]:9 -> not_sent local_firewall", "own firewall"),
            ask("icmp 10.77.0.2 -> not_sent local_firewall", "own firewall"),
            ask("icmp fd77::2 -> not_sent local_firewall", "own firewall"),
            // A dropped SYN looks remote until it was sent again: then the kernel's counter of failed retransmissions tells.
            ask(
                "tcp 10.77.0.2:445 -W 3s -> not_sent local_firewall",
                "own firewall",
            ),
            ask(
                "tcp [fd77::2]:445 -W 3s -> not_sent local_firewall",
                "own firewall",
            ),
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
            ask("tcp 10.77.0.2:445 -> not_sent local_firewall", "own firewall"),
            ask("tcp [fd77::2]:445 -> not_sent local_firewall", "own firewall"),
            ask("udp 10.77.0.2:9 -> not_sent local_firewall", "own firewall"),
        ],
    },
    Situation {
        name: "local ports used up",
        bench: ports_used_up,
        asks: &[ask(
            "tcp 10.77.0.2:445 -> not_sent no_local_port",
            "Every local port",
        )],
    },
    Situation {
        name: "too big for the interface, DF",
        bench: || Bench::pair(Lab::pair()),
        asks: &[
            ask(
                "udp 10.77.0.2:9 --df -l 1600 -> not_sent packet_too_big",
                "1500 bytes | -l 1472 fits",
            ),
            ask(
                "icmp 10.77.0.2 --df -l 1600 -> not_sent packet_too_big",
                "1500 bytes | -l 1472 fits",
            ),
            ask(
                "icmp fd77::2 --df -l 1600 -> not_sent packet_too_big",
                "1500 bytes | -l 1452 fits",
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
            "icmp 10.77.2.1 --df -l 1450 -> rejected packet_too_big",
            "10.77.1.254 | 1400 bytes | -l 1372 fits",
        )],
    },
    Situation {
        name: "TTL runs out",
        bench: || Bench::routed(Lab::routed()),
        asks: &[
            ask(
                "icmp 10.77.2.1 --ttl 1 -> rejected time_exceeded",
                "ran out of hops at 10.77.1.254",
            ),
            ask(
                "icmp fd77:2::1 --ttl 1 -> rejected time_exceeded",
                "ran out of hops at fd77:1::fe",
            ),
            ask(
                "udp 10.77.2.1:9 --ttl 1 -> rejected time_exceeded",
                "ran out of hops at 10.77.1.254",
            ),
            ask(
                "tcp 10.77.2.1:445 --ttl 1 -> rejected time_exceeded",
                "ran out of hops at 10.77.1.254",
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
        asks: &[ask("tcp 10.77.0.2:445 -> lost", "Filtered or dropped")],
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
        asks: &[ask("tcp 10.78.0.2:445 -W 3s -> received", "1 SYN lost")],
    },
];
