//! What strangers may do to the iperf3 side of the server: nothing that costs memory, holds a seat, or sends datagrams
//! to somebody who did not ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rping_net::stream::StreamOptions;
use rping_net::Clock;
use rping_peer::iperf::{Client, End, Parameters, Protocol};
use rping_peer::{Limits, Server, ServerHandle};
use tokio::sync::Notify;

const COOKIE: &[u8; 37] = b"abcdefghijklmnopqrstuvwxyz2345672345\0";
const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;
const SERVER_ERROR: u8 = 0xfe;

struct Serving {
    at: SocketAddr,
    handle: ServerHandle,
    told: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start(limits: Limits) -> Serving {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tell = Arc::clone(&told);
        let log = Arc::new(move |line: &str| tell.lock().unwrap().push(line.to_owned()));
        let server = Server::bind(&["127.0.0.1:0".parse().unwrap()], limits, log).unwrap();
        let (at, handle) = (server.local_addrs().next().unwrap(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Serving {
            at,
            handle,
            told,
            thread: Some(thread),
        }
    }

    /// A control connection up to where the server asks for the parameters.
    fn control(&self, cookie: &[u8; 37]) -> TcpStream {
        let mut control = TcpStream::connect(self.at).unwrap();
        control.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        control.set_nodelay(true).unwrap();
        control.write_all(cookie).unwrap();
        assert_eq!(octet(&mut control), Some(PARAM_EXCHANGE));
        control
    }

    /// Until so many connections were given up.
    fn gave_up(&self, count: u64) {
        let until = Clock.now().plus(Duration::from_secs(15));
        while self.handle.refused() < count {
            assert!(
                Clock.now() < until,
                "{} of {count}: {:?}",
                self.handle.refused(),
                self.told.lock().unwrap()
            );
            rping_net::wait::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn octet(from: &mut TcpStream) -> Option<u8> {
    let mut octet = [0];
    from.read_exact(&mut octet).ok().map(|()| octet[0])
}

fn send(to: &mut TcpStream, text: &str) {
    to.write_all(&(text.len() as u32).to_be_bytes()).unwrap();
    to.write_all(text.as_bytes()).unwrap();
}

fn honest(at: SocketAddr) {
    let client = Client {
        server: at,
        parameters: Parameters::default(),
        end: End::After(Duration::from_millis(300)),
        stream: StreamOptions::default(),
        patience: Duration::from_secs(3),
        interval: Duration::from_secs(1),
        key: None,
    };
    let outcome = client.run(client.prepare(), &mut (), &Notify::new()).unwrap();
    assert_eq!(outcome.failure, None);
    assert!(outcome.sides[0].received.unwrap().bytes > 0);
}

#[test]
fn parameters_at_every_extreme_are_refused_or_clamped() {
    let serving = Serving::start(Limits::default());
    let keys = [
        "omit",
        "time",
        "num",
        "blockcount",
        "parallel",
        "len",
        "MSS",
        "window",
        "bandwidth",
        "fqrate",
        "pacing_timer",
        "burst",
        "TOS",
        "flowlabel",
        "gso",
        "gso_dg_size",
        "gso_bf_size",
        "gro",
        "gro_bf_size",
        "tcp",
        "udp",
        "reverse",
        "bidirectional",
        "udp_counters_64bit",
        "skip_rx_copy",
        "congestion",
        "authtoken",
    ];
    let values = [
        "0",
        "-1",
        "1",
        "127",
        "128",
        "255",
        "256",
        "32767",
        "65535",
        "65536",
        "2147483647",
        "-2147483648",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "1e308",
        "-1e308",
        "5e-324",
        "0.5",
        "null",
        "true",
        "false",
        "\"x\"",
        "[]",
        "{}",
    ];
    for protocol in ["tcp", "udp"] {
        for key in keys {
            for value in values {
                let mut control = serving.control(COOKIE);
                send(
                    &mut control,
                    &format!("{{\"{protocol}\":true,\"{key}\":{value}}}"),
                );
                let answer = octet(&mut control);
                // One client's UDP tests wait for each other: the last one goes at once.
                assert!(
                    matches!(answer, Some(CREATE_STREAMS | SERVER_ERROR)),
                    "{protocol} {key} {value}: {answer:?}"
                );
                drop(control);
            }
        }
    }
    honest(serving.at);
}

#[test]
fn a_length_that_is_announced_costs_nothing() {
    let serving = Serving::start(Limits::default());
    for length in [u32::MAX, 1 << 31, 1 << 20, (8 << 10) + 1] {
        let mut control = serving.control(COOKIE);
        control.write_all(&length.to_be_bytes()).unwrap();
        control.write_all(b"{").unwrap();
        assert_eq!(octet(&mut control), None, "{length}: it is closed");
    }
    serving.gave_up(4);
    honest(serving.at);
}

#[test]
fn a_client_that_vanishes_gives_its_seat_back() {
    let limits = Limits {
        tests: 1,
        ..Limits::default()
    };
    let serving = Serving::start(limits);
    for round in 1..=20u64 {
        let mut control = serving.control(COOKIE);
        if round % 2 == 0 {
            send(&mut control, "{\"tcp\":true,\"time\":3600}");
            assert_eq!(octet(&mut control), Some(CREATE_STREAMS));
            let mut data = TcpStream::connect(serving.at).unwrap();
            data.write_all(COOKIE).unwrap();
            assert_eq!((octet(&mut control), octet(&mut control)), (Some(1), Some(2)));
            data.write_all(&[0; 100_000]).unwrap();
        }
        drop(control);
        serving.gave_up(round);
    }
    honest(serving.at);
}

#[test]
fn no_data_goes_to_who_holds_no_control_connection() {
    let serving = Serving::start(Limits::default());
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [&stranger, &client] {
        socket.connect(serving.at).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // Nobody waits for it yet.
        socket.send(b"9876").unwrap();
    }
    let mut control = serving.control(COOKIE);
    send(
        &mut control,
        "{\"udp\":true,\"reverse\":true,\"time\":1,\"len\":1000,\"bandwidth\":8000000}",
    );
    assert_eq!(octet(&mut control), Some(CREATE_STREAMS));
    let mut room = [0; 2000];
    stranger.send(b"9876").unwrap();
    assert!(stranger.recv(&mut room).is_err(), "another address");
    client.send(b"9876").unwrap();
    assert_eq!(client.recv(&mut room).unwrap(), 4);
    assert_eq!(&room[..4], b"6789");
    assert_eq!((octet(&mut control), octet(&mut control)), (Some(1), Some(2)));
    assert_eq!(client.recv(&mut room).unwrap(), 1000);
    stranger.send(b"9876").unwrap();
    assert!(stranger.recv(&mut room).is_err(), "the test has its streams");
    // The client goes: so does the data.
    drop(control);
    serving.gave_up(1);
    while client.recv(&mut room).is_ok() {}
}

#[test]
fn many_tests_run_at_once() {
    let serving = Serving::start(Limits::default());
    let at = serving.at;
    let all: Vec<_> = (0..12)
        .map(|number| {
            std::thread::spawn(move || {
                let client = Client {
                    server: at,
                    parameters: Parameters {
                        protocol: if number % 2 == 0 {
                            Protocol::Tcp
                        } else {
                            Protocol::Udp
                        },
                        reverse: number % 3 == 0,
                        length: 1000,
                        bandwidth: 2_000_000,
                        ..Parameters::default()
                    },
                    end: End::After(Duration::from_secs(1)),
                    stream: StreamOptions::default(),
                    patience: Duration::from_secs(3),
                    interval: Duration::from_secs(1),
                    key: None,
                };
                client.run(client.prepare(), &mut (), &Notify::new()).unwrap()
            })
        })
        .collect();
    for one in all {
        let outcome = one.join().unwrap();
        assert_eq!(outcome.failure, None);
        let received = outcome.sides[0].received.unwrap();
        assert!(received.bytes > 50_000 && received.lost == 0, "{outcome:#?}");
    }
}
