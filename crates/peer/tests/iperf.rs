//! Debian's iperf3 on the other side, in both roles, unmodified: both ends must agree on what was moved.

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rping_net::stream::StreamOptions;
use rping_peer::iperf::{Client, End, Interval, Observer, Outcome, Parameters, Protocol};
use rping_peer::{Limits, Server, ServerHandle};
use serde_json::Value;
use tokio::sync::Notify;

/// Whether iperf3 is here; in CI it must be.
fn has_iperf3() -> bool {
    let there = Command::new("iperf3").arg("--version").output().is_ok();
    if !there {
        assert!(
            std::env::var_os("CI").is_none(),
            "iperf3 is missing: scripts/setup installs it"
        );
        eprintln!("skipped: no iperf3");
    }
    there
}

struct Serving {
    port: u16,
    handle: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start(limits: Limits) -> Serving {
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(&[address], limits, Arc::new(|line| eprintln!("server: {line}"))).unwrap();
        let (port, handle) = (server.local_addrs().next().unwrap().port(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Serving {
            port,
            handle,
            thread: Some(thread),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Runs iperf3 as a client; its JSON.
fn iperf3(port: u16, flags: &str) -> Value {
    let output: Output = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-J", "-p", &port.to_string()])
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{flags}: {json:#}");
    assert!(json.get("error").is_none(), "{flags}: {json:#}");
    json
}

/// Datagrams that this host dropped so far for want of room in somebody's receive buffer: iperf3's own holds a few dozen, which
/// a busy machine lets overflow. Whatever else is lost here would be a fault.
fn overflowed() -> f64 {
    let table = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut rows = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "RcvbufErrors").unwrap();
    value.parse().unwrap()
}

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{path} in {json:#}"))
}

#[test]
fn iperf3_as_client_measures_against_the_server_in_every_mode() {
    if !has_iperf3() {
        return;
    }
    let serving = Serving::start(Limits::default());
    let modes = [
        "-t 1",
        "-t 1 -R",
        "-t 1 -P 4",
        "-t 1 -P 2 --bidir",
        "-t 1 -O 1",
        "-n 3M",
        "-n 3M -R",
        "-k 20 -l 64K",
        "-t 1 -b 20M",
        "-t 1 -C reno -M 1000",
        "-u -t 1 -b 20M -l 1000",
        "-u -t 1 -b 20M -l 1000 -R",
        "-u -t 1 -b 5M -P 3 --bidir --udp-counters-64bit",
        "-u -n 200K -l 1000 -b 50M",
        "-u -k 100 -l 1400 -b 50M -P 2",
        "-t 1 -R -P 4 -w 256K -S 0x10",
    ];
    for (done, flags) in modes.iter().enumerate() {
        let overflowed_before = overflowed();
        let json = iperf3(serving.port, flags);
        if flags.contains("-u") {
            let all = json.pointer("/end/sum").unwrap();
            assert!(number(all, "/packets") > 50.0, "{flags}: {all:#}");
            assert!(
                number(all, "/lost_packets") <= overflowed() - overflowed_before,
                "{flags}: {all:#}"
            );
        } else {
            let (sent, received) = (
                number(&json, "/end/sum_sent/bytes"),
                number(&json, "/end/sum_received/bytes"),
            );
            assert!(received > 1e5, "{flags}: {received}");
            // Each side times the start-up phase by its own clock; who receives stops while the other still sends.
            if !flags.contains("-O") {
                assert!(sent >= received, "{flags}: {sent} {received}");
                if !flags.contains("-R") {
                    assert_eq!(sent, received, "the server takes all that was sent: {flags}");
                }
            }
        }
        // The end is logged once the client has gone.
        while serving.handle.tests() + serving.handle.refused() < done as u64 + 1 {
            rping_net::wait::sleep(Duration::from_millis(5));
        }
        assert_eq!(serving.handle.tests(), done as u64 + 1, "{flags}");
    }
    assert_eq!(serving.handle.refused(), 0);
}

/// What came in for one client must not count for the other, although iperf3's datagrams say nothing of whose they are.
#[test]
fn udp_tests_of_two_clients_behind_one_address_do_not_mix() {
    if !has_iperf3() {
        return;
    }
    let serving = Serving::start(Limits::default());
    let port = serving.port;
    for _ in 0..4 {
        let overflowed_before = overflowed();
        let both = [("-l 300 -P 4", 300.0), ("-l 1100 -P 3", 1100.0)].map(|(flags, length)| {
            std::thread::spawn(move || (iperf3(port, &format!("-u -t 1 -b 4M {flags}")), length))
        });
        for one in both {
            let (json, length) = one.join().unwrap();
            let all = json.pointer("/end/sum").unwrap();
            assert!(
                number(all, "/lost_packets") <= overflowed() - overflowed_before,
                "{all:#}"
            );
            for stream in json.pointer("/end/streams").and_then(Value::as_array).unwrap() {
                let (bytes, packets) = (number(stream, "/udp/bytes"), number(stream, "/udp/packets"));
                assert_eq!(bytes, packets * length, "{stream:#}");
                assert!(packets > 100.0);
            }
        }
    }
    while serving.handle.tests() + serving.handle.refused() < 8 {
        rping_net::wait::sleep(Duration::from_millis(5));
    }
    assert_eq!((serving.handle.tests(), serving.handle.refused()), (8, 0));
}

/// iperf3's own server, on a port of its own.
struct Theirs(Child, u16);

impl Theirs {
    fn start(port: u16) -> Theirs {
        let child = Command::new("iperf3")
            .args(["-s", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let theirs = Theirs(child, port);
        theirs.wait();
        theirs
    }

    /// Until it listens: between two tests iperf3 closes its listening socket for a moment.
    fn wait(&self) {
        // It is not asked over TCP: a connection without a cookie would block it for good.
        let wanted = format!(":{:04X} ", self.1);
        let listens = || {
            ["/proc/net/tcp6", "/proc/net/tcp"].iter().any(|path| {
                let table = std::fs::read_to_string(path).unwrap();
                table
                    .lines()
                    .any(|line| line.contains(&wanted) && line.contains(" 0A "))
            })
        };
        while !listens() {
            rping_net::wait::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(port: u16, parameters: Parameters, end: End) -> Client {
    Client {
        server: SocketAddr::from(([127, 0, 0, 1], port)),
        parameters,
        end,
        stream: StreamOptions::default(),
        patience: Duration::from_secs(3),
        interval: Duration::from_millis(250),
        key: None,
    }
}

#[derive(Default)]
struct Seen(Vec<Interval>);

impl Observer for Seen {
    fn interval(&mut self, interval: &Interval) {
        self.0.push(*interval);
    }
}

fn run(client: &Client) -> (Outcome, Vec<Interval>) {
    let mut seen = Seen::default();
    let outcome = client.run(client.prepare(), &mut seen, &Notify::new()).unwrap();
    assert_eq!(outcome.failure, None, "{outcome:#?}");
    (outcome, seen.0)
}

/// Every mode of the client against the server on this port.
fn every_mode(port: u16, is_theirs: bool, ready: impl Fn()) {
    let udp = Parameters {
        protocol: Protocol::Udp,
        bandwidth: 20_000_000,
        length: 1000,
        ..Parameters::default()
    };
    let half = End::After(Duration::from_millis(1000));
    let modes = [
        (Parameters::default(), half),
        (
            Parameters {
                reverse: true,
                ..Parameters::default()
            },
            half,
        ),
        (
            Parameters {
                parallel: 2,
                bidirectional: true,
                ..Parameters::default()
            },
            half,
        ),
        (
            Parameters {
                omit: 1,
                parallel: 4,
                ..Parameters::default()
            },
            half,
        ),
        (Parameters::default(), End::Bytes(100_000_000)),
        (
            Parameters {
                reverse: true,
                ..Parameters::default()
            },
            End::Bytes(100_000_000),
        ),
        (udp.clone(), half),
        (
            Parameters {
                reverse: true,
                ..udp.clone()
            },
            half,
        ),
        (
            Parameters {
                bidirectional: true,
                wide_counters: true,
                parallel: 2,
                ..udp.clone()
            },
            half,
        ),
        (
            Parameters {
                bidirectional: true,
                ..udp.clone()
            },
            End::Bytes(1_000_000),
        ),
    ];
    // What iperf3 of this version does not know.
    let ours = [
        (
            Parameters {
                skip_receive_copy: true,
                bidirectional: true,
                ..Parameters::default()
            },
            half,
        ),
        (
            Parameters {
                segments: true,
                coalesces: true,
                bidirectional: true,
                ..udp.clone()
            },
            half,
        ),
        (
            Parameters {
                segments: true,
                coalesces: true,
                skip_receive_copy: true,
                bidirectional: true,
                ..udp
            },
            half,
        ),
    ];
    let modes = modes.into_iter().chain(ours.into_iter().filter(|_| !is_theirs));
    for (parameters, end) in modes {
        ready();
        let (outcome, intervals) = run(&client(port, parameters.clone(), end));
        let expected = if parameters.bidirectional { 2 } else { 1 };
        assert_eq!(outcome.sides.len(), expected, "{parameters:?}");
        assert!(outcome.cpu_remote.is_some());
        for side in &outcome.sides {
            let (sent, received) = (side.sent.unwrap(), side.received.unwrap());
            assert!(received.bytes > 100_000, "{parameters:?} {side:#?}");
            // Without a start-up phase, which both ends time by their own clocks, nothing arrives that was not sent.
            if parameters.omit == 0 {
                assert!(received.bytes <= sent.bytes, "{parameters:?} {side:#?}");
                if !is_theirs && side.is_forward {
                    assert_eq!(received.bytes, sent.bytes, "{parameters:?} {side:#?}");
                }
            }
            if parameters.protocol == Protocol::Udp {
                assert_eq!(side.knows_order, !is_theirs || !side.is_forward);
            }
            assert_eq!(side.discarded, Some(parameters.skip_receive_copy));
            if parameters.protocol == Protocol::Udp {
                // A busy machine's sockets overflow; what was not received is then lost, by iperf3's own count too.
                let lost = u64::try_from(received.lost).unwrap();
                assert_eq!(
                    received.received + lost,
                    received.packets,
                    "{parameters:?} {side:#?}"
                );
                // And a full buffer is all that loses here: both ends of ours say how much of it that was.
                if !is_theirs && !parameters.segments {
                    assert_eq!(received.dropped, lost, "{parameters:?} {side:#?}");
                }
                assert!(
                    sent.packets >= received.packets && received.packets > 500,
                    "{side:#?}"
                );
            }
            if let End::Bytes(wanted) = end {
                // iperf3's server closes its connections unread as soon as the client has sent all.
                let enough = if is_theirs && side.is_forward {
                    sent.bytes
                } else {
                    received.bytes
                };
                assert!(enough >= wanted, "{side:#?}");
            }
        }
        if matches!(end, End::After(_)) {
            let counted = intervals.iter().filter(|i| !i.omitted).count();
            assert!(counted >= 3 * expected, "{intervals:#?}");
        }
    }
}

#[test]
fn the_client_measures_against_iperf3s_own_server_in_every_mode() {
    if has_iperf3() {
        // Below the range that the system gives out.
        let port = 20_000 + (std::process::id() % 10_000) as u16;
        let theirs = Theirs::start(port);
        every_mode(port, true, || theirs.wait());
    }
}

#[test]
fn the_client_measures_against_our_own_server_in_every_mode() {
    let serving = Serving::start(Limits::default());
    every_mode(serving.port, false, || {});
    while serving.handle.tests() < 13 {
        rping_net::wait::sleep(Duration::from_millis(5));
    }
    assert_eq!(serving.handle.refused(), 0);
}
