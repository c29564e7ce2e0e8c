//! Whose clock stands behind a round trip, and whether it is the same round trip that a capture shows.

use std::net::SocketAddr;
use std::time::Duration;

use rping_lab::{
    require_program, require_root, Acceptor, Background, Capture, Lab, Packet, Pair, UdpService,
};

use crate::support::{command, count, rping, show};

struct Case {
    name: &'static str,
    args: &'static [&'static str],
    /// `instrument.timestamps`, transmit and receive.
    stamps: &'static str,
    /// A capture filter for probes and answers, alternating.
    filter: &'static str,
    /// Packets that are no probes may follow the last one: they tell on which way the last probes were lost.
    closes: bool,
    /// Probe, then answer: what a frame is, by its bytes.
    is_probe: fn(&Packet) -> bool,
}

const COUNT: usize = 100;

const CASES: &[Case] = &[
    Case {
        name: "ICMP",
        args: &["icmp", "10.77.0.2"],
        stamps: "kernel",
        filter: "icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[20] == 8),
    },
    Case {
        name: "ICMPv6",
        args: &["icmp", "fd77::2"],
        stamps: "kernel",
        filter: "icmp6 and (ip6[40] == 128 or ip6[40] == 129)",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[40] == 128),
    },
    Case {
        name: "UDP echo",
        args: &["udp", "10.77.0.2:7"],
        stamps: "kernel",
        filter: "udp port 7",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[22..24] == [0, 7]),
    },
    Case {
        name: "UDP echo, IPv6",
        args: &["udp", "[fd77::2]:7"],
        stamps: "kernel",
        filter: "udp port 7",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[42..44] == [0, 7]),
    },
    Case {
        name: "STAMP",
        args: &["udp", "10.77.0.2"],
        stamps: "kernel",
        filter: "udp port 5201",
        closes: true,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[22..24] == 5201u16.to_be_bytes()),
    },
    Case {
        name: "STAMP, IPv6",
        args: &["udp", "fd77::2"],
        stamps: "kernel",
        filter: "udp port 5201",
        closes: true,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[42..44] == 5201u16.to_be_bytes()),
    },
    Case {
        name: "ARP",
        args: &["arp", "10.77.0.2"],
        stamps: "kernel",
        filter: "arp",
        closes: false,
        is_probe: |packet| packet.arp().is_some_and(|arp| arp[7] == 1),
    },
    Case {
        name: "NDP",
        args: &["arp", "fd77::2"],
        stamps: "kernel",
        filter: "icmp6 and (ip6[40] == 135 or ip6[40] == 136)",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[40] == 135),
    },
    Case {
        name: "TCP connect",
        args: &["tcp", "10.77.0.2:445"],
        stamps: "tcp_info",
        filter: "tcp port 445 and tcp[tcpflags] & tcp-syn != 0",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[33] & 0x10 == 0),
    },
    Case {
        name: "TCP connect, IPv6",
        args: &["tcp", "[fd77::2]:445"],
        stamps: "tcp_info",
        filter: "tcp port 445 and ip6[53] & 2 != 0",
        closes: false,
        is_probe: |packet| packet.ip().is_some_and(|ip| ip[53] & 0x10 == 0),
    },
];

#[test]
fn the_kernel_stamps_what_the_capture_saw() {
    let name = "the_kernel_stamps_what_the_capture_saw";
    if !require_root(name) || !require_program(name, "tcpdump") {
        return;
    }
    let pair = Lab::pair();
    // Nobody but rping asks for neighbours here.
    let entries = [
        (&pair.client, "c0", &pair.server, "s0", "2"),
        (&pair.server, "s0", &pair.client, "c0", "1"),
    ];
    for (here, interface, there, peer, host) in entries {
        let mac = there.mac(peer);
        here.ip(&format!(
            "neigh replace 10.77.0.{host} lladdr {mac} dev {interface} nud permanent\n\
             neigh replace fd77::{host} lladdr {mac} dev {interface} nud permanent\n"
        ));
    }
    let v4 = |port| SocketAddr::from((Pair::SERVER_V4, port));
    let v6 = |port| SocketAddr::from((Pair::SERVER_V6, port));
    let _echoes = [
        UdpService::echo(&pair.server, v4(7)),
        UdpService::echo(&pair.server, v6(7)),
    ];
    let _sinks = [
        Acceptor::start(&pair.server, v4(445)),
        Acceptor::start(&pair.server, v6(445)),
    ];
    let mut server = command(&pair.server);
    server.arg("server");
    let mut server = Background::spawn(server);
    server.wait_for("5201", Duration::from_secs(5));

    let mut rows = vec![[
        "probe",
        "transmit",
        "receive",
        "replies",
        "median: rping − capture",
    ]
    .map(str::to_owned)
    .to_vec()];
    let mut faults = Vec::new();
    for case in CASES {
        let (row, fault) = measure(&pair, case);
        rows.push(row);
        faults.extend(fault.map(|fault| format!("{}: {fault}", case.name)));
    }
    show(
        "Time stamps, and round trips beside those of a capture on the client's interface:",
        &rows,
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn measure(pair: &Pair, case: &Case) -> (Vec<String>, Option<String>) {
    let capture = Capture::start(&pair.client, "c0", case.filter);
    let run = rping(
        &pair.client,
        &[case.args, &["-n", "100", "-i", "0", "-o", "ndjson"]].concat(),
    );
    let packets = capture.stop().packets;
    let mut row = vec![case.name.to_owned()];
    let mut records = run.ndjson();
    let Some(summary) = records.pop() else {
        return (
            row,
            Some(format!(
                "nothing on standard output: exit {:?}: {}",
                run.status,
                run.stderr.trim()
            )),
        );
    };
    let stamps = &summary["instrument"]["timestamps"];
    let words = ["tx", "rx"].map(|side| stamps[side].as_str().unwrap_or("null").to_owned());
    row.extend(words.clone());
    row.push(count(&summary["totals"], "received").to_string());
    let shown: Vec<i128> = records
        .iter()
        .filter_map(|record| record["rtt_ns"].as_u64())
        .map(i128::from)
        .collect();
    let mut captured = round_trips(&packets, case.is_probe);
    if case.closes {
        captured.truncate(COUNT);
    }
    if shown.len() != COUNT || captured.len() != COUNT {
        return (
            row,
            Some(format!(
                "{} round trips shown, {} captured, of {COUNT}",
                shown.len(),
                captured.len()
            )),
        );
    }
    let mut apart: Vec<i128> = shown
        .iter()
        .zip(&captured)
        .map(|(shown, captured)| shown - captured)
        .collect();
    apart.sort_unstable();
    let median = apart[COUNT / 2];
    row.push(format!("{median:+} ns"));
    // Not a benchmark: a hundred times what is aimed at still tells kernel stamps from a busy machine's user time.
    let fault = if words != [case.stamps; 2] {
        Some(format!("stamps {words:?} instead of {:?}", case.stamps))
    } else if median.abs() > 200_000 {
        Some(format!("round trips differ by {median} ns at the median"))
    } else {
        None
    };
    (row, fault)
}

/// From each probe to the frame that follows it, nanoseconds; each probe waits for the last one's answer, however busy the
/// machine is.
fn round_trips(packets: &[Packet], is_probe: fn(&Packet) -> bool) -> Vec<i128> {
    packets
        .windows(2)
        .filter(|pair| is_probe(&pair[0]) && !is_probe(&pair[1]))
        .map(|pair| i128::from(pair[1].ts_ns) - i128::from(pair[0].ts_ns))
        .collect()
}
