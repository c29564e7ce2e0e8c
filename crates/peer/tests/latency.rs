//! The latency exchange over TCP: both ends of ours, and a client whose far end is silent, broken, foreign or dying.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rping_engine::{
    drive, Drove, Engine, Left, Pace, Plan, Probe as _, RunReport, Stop, TargetId, TargetReport,
};
use rping_net::stream::StreamOptions;
use rping_net::{Clock, Pacing, Wait};
use rping_peer::latency::{Fault, LatencyProbe, Options};
use rping_peer::{Key, Limits, Listen, Server, ServerHandle};
use rping_wire::latency::{ClientHello, Response, ServerHello, Status, HELLO_LEN, LARGEST};

struct Serving {
    at: SocketAddr,
    handle: ServerHandle,
    said: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start(limits: Limits) -> Serving {
        Serving::listen(None, limits)
    }

    fn listen(key: Option<Key>, limits: Limits) -> Serving {
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&said);
        let server = Server::open(
            &Listen {
                tests: vec!["127.0.0.1:0".parse().unwrap()],
                key,
                ..Listen::default()
            },
            limits,
            Arc::new(move |line| log.lock().unwrap().push(line.to_owned())),
        )
        .unwrap();
        let (at, handle) = (server.local_addrs().next().unwrap(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Serving {
            at,
            handle,
            said,
            thread: Some(thread),
        }
    }

    /// Waits for a line of the log that holds this.
    fn says(&self, what: &str) -> String {
        loop {
            let found = self
                .said
                .lock()
                .unwrap()
                .iter()
                .find(|line| line.contains(what))
                .cloned();
            match found {
                Some(line) => return line,
                None => rping_net::wait::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn options() -> Options {
    Options {
        request: 64,
        response: 64,
        wait: Wait::Auto,
        stream: StreamOptions::default(),
        patience: Duration::from_secs(20),
        idle: Duration::from_secs(5),
        key: None,
        pacing: Pacing::Precise,
        waker: None,
    }
}

fn plan(count: u64) -> Plan {
    Plan {
        pace: Pace::WhenSettled,
        stop: Stop::Count(count),
        timeout: Duration::from_secs(20),
        ..Plan::default()
    }
}

/// Runs `plan` over `probe` to its end.
fn measure(plan: Plan, targets: usize, probe: &mut LatencyProbe) -> RunReport {
    let mut engine = Engine::new(plan, targets, Clock.now()).unwrap();
    let mut drove = Drove::default();
    drive(&mut engine, probe, &mut Clock, &mut (), &mut (), &mut drove).unwrap();
    engine.into_report(Clock.now())
}

fn one(of: RunReport) -> TargetReport {
    of.targets.into_iter().next().unwrap()
}

#[test]
fn every_request_is_answered_whatever_the_sizes_and_however_both_ends_wait() {
    let server = Serving::start(Limits::default());
    for (request, response) in [(16, 16), (64, 64), (16, 70_000), (70_000, 16), (LARGEST, LARGEST)] {
        for wait in [Wait::Auto, Wait::Busy, Wait::Block] {
            let asked = Options {
                request,
                response,
                wait,
                ..options()
            };
            let mut probe = LatencyProbe::open(&[server.at], &asked);
            let of = one(measure(plan(20), 1, &mut probe));
            assert_eq!(
                of.counts.received, 20,
                "{request} {response} {wait:?}: {:?}",
                of.counts
            );
            assert_eq!(of.counts.attempted(), 20);
            let residence = of.residence.expect("the server says how long it held requests");
            assert_eq!(residence.moments.count(), 20);
            if wait == Wait::Block {
                assert_eq!(
                    probe.server_wait(TargetId(0)),
                    Some(Wait::Block),
                    "as it was asked"
                );
            }
            assert!(probe.fault(TargetId(0)).is_none());
            drop(probe);
            let line = server.says(&format!(
                "20 requests of {request} bytes answered with {response}"
            ));
            assert!(line.starts_with("127.0.0.1:"), "{line}");
            server.said.lock().unwrap().clear();
        }
    }
    assert_eq!(server.handle.exchanges(), 15);
}

#[test]
fn paced_requests_overtake_nothing_and_each_has_its_answer() {
    let server = Serving::start(Limits::default());
    let mut probe = LatencyProbe::open(&[server.at], &options());
    let paced = Plan {
        pace: Pace::Every(Duration::from_micros(100)),
        ..plan(500)
    };
    let of = one(measure(paced, 1, &mut probe));
    // On a busy machine slots may be left out; what was sent is answered.
    assert_eq!(of.counts.received, of.counts.attempted(), "{:?}", of.counts);
    assert_eq!(
        (of.counts.reordered, of.counts.unexpected, of.counts.corrupt),
        (0, 0, 0)
    );
}

#[test]
fn a_target_that_is_not_there_does_not_keep_the_others_from_being_measured() {
    let server = Serving::start(Limits::default());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut probe = LatencyProbe::open(&[nobody, server.at], &options());
    let report = measure(plan(10), 2, &mut probe);
    assert_eq!(report.targets[0].counts.received, 0);
    assert_eq!(report.targets[1].counts.received, 10);
    let (fault, stood) = probe.fault(TargetId(0)).expect("nobody is there");
    assert!(
        !stood && fault.to_string().contains("nothing listens on TCP port"),
        "{fault}"
    );
    assert_eq!(fault.refusal().reason.as_str(), "port_closed");
}

#[test]
fn a_server_has_as_many_exchanges_as_it_allows_and_takes_the_next_when_one_ends() {
    let server = Serving::start(Limits {
        tests: 1,
        ..Limits::default()
    });
    let first = LatencyProbe::open(&[server.at], &options());
    assert!(first.fault(TargetId(0)).is_none());
    let second = LatencyProbe::open(&[server.at], &options());
    let (fault, _) = second.fault(TargetId(0)).expect("there is one already");
    assert!(fault.to_string().contains("the server is busy"), "{fault}");
    server.says("turned away: too many tests");
    drop(first);
    server.says("0 requests of 64 bytes");
    let mut third = LatencyProbe::open(&[server.at], &options());
    assert_eq!(one(measure(plan(3), 1, &mut third)).counts.received, 3);
}

#[test]
fn a_test_longer_than_the_server_allows_ends_and_says_so() {
    let server = Serving::start(Limits {
        duration: Duration::from_millis(300),
        ..Limits::default()
    });
    let mut probe = LatencyProbe::open(&[server.at], &options());
    let endless = Plan {
        stop: Stop::Never,
        ..plan(1)
    };
    let of = one(measure(endless, 1, &mut probe));
    assert!(of.counts.received > 0, "what was measured before stands");
    let (fault, stood) = probe.fault(TargetId(0)).expect("an end");
    assert!(stood && fault.to_string().contains("--max-duration"), "{fault}");
}

#[test]
fn a_server_that_is_stopped_ends_its_exchanges_and_says_so() {
    let server = Serving::start(Limits::default());
    let mut probe = LatencyProbe::open(&[server.at], &options());
    let handle = server.handle.clone();
    let stopping = std::thread::spawn(move || {
        rping_net::wait::sleep(Duration::from_millis(100));
        handle.stop();
    });
    let endless = Plan {
        stop: Stop::Never,
        ..plan(1)
    };
    let of = one(measure(endless, 1, &mut probe));
    assert!(of.counts.received > 0);
    let (fault, _) = probe.fault(TargetId(0)).expect("an end");
    assert!(fault.to_string().contains("being stopped"), "{fault}");
    stopping.join().unwrap();
}

/// A far end that does as the test says, on one connection.
fn far_end(acts: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (done, ended) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        acts(stream);
        done.send(()).unwrap();
    });
    (at, ended)
}

fn hello(status: Status) -> [u8; HELLO_LEN] {
    ServerHello {
        status,
        spins: false,
        largest: LARGEST,
        longest: 3600,
    }
    .to_bytes()
}

/// Agrees as a server does.
fn agree(stream: &mut TcpStream) -> ClientHello {
    let mut asked = [0; HELLO_LEN];
    stream.read_exact(&mut asked).unwrap();
    stream.write_all(&hello(Status::Ready)).unwrap();
    ClientHello::parse(&asked).unwrap()
}

/// Answers so many requests of 64 bytes.
fn serve(stream: &mut TcpStream, count: u64) {
    let mut request = [0; 64];
    for seq in 0..count {
        stream.read_exact(&mut request).unwrap();
        let mut response = [0; 64];
        response[..16].copy_from_slice(&Response::Answer { seq, residence: 1 }.to_bytes());
        stream.write_all(&response).unwrap();
    }
}

/// What the exchange with such a far end comes to.
fn against(
    patience: Duration,
    acts: impl FnOnce(TcpStream) + Send + 'static,
) -> (TargetReport, String, bool) {
    let (at, ended) = far_end(acts);
    let asked = Options {
        patience,
        ..options()
    };
    let mut probe = LatencyProbe::open(&[at], &asked);
    let of = one(measure(plan(1000), 1, &mut probe));
    let (fault, stood) = probe.fault(TargetId(0)).expect("a fault");
    let said = fault.to_string();
    drop(probe);
    ended.recv().unwrap();
    (of, said, stood)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_no_rping_server_is_named_in_one_line() {
    let cases: [(&[u8], &str); 5] = [
        (b"\x09", "an iperf3 server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server"),
        (
            b"220 mail\x1b[31m ESMTP\r\n",
            "it begins with \"220 mail\\x1b[31m ES\"",
        ),
        (b"", "without a hello"),
    ];
    for (says, named) in cases {
        let (of, said, stood) = against(LONG, move |mut stream| {
            stream.write_all(says).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        });
        assert!(said.contains(named) && !said.contains('\n'), "{said}");
        assert!(!stood && of.counts.received == 0);
    }
    let (_, said, _) = against(LONG, |mut stream| {
        let mut all = [0; HELLO_LEN];
        stream.read_exact(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    assert!(said.contains("an echo service"), "{said}");
}

#[test]
fn a_far_end_that_says_nothing_is_given_up_when_the_time_is_over() {
    let (of, said, stood) = against(Duration::from_millis(200), |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(said.contains("says nothing for 200ms"), "{said}");
    assert!(!stood && of.counts.received == 0);
}

#[test]
fn a_server_that_dies_leaves_what_was_measured() {
    let (of, said, stood) = against(LONG, |mut stream| {
        agree(&mut stream);
        serve(&mut stream, 20);
    });
    assert_eq!(of.counts.received, 20);
    let counts = &of.counts;
    assert_eq!(
        counts.attempted(),
        counts.received + counts.rejected + counts.not_sent
    );
    assert!(stood && said.contains("connection"), "{said}");
}

#[test]
fn what_is_asked_of_an_exchange_that_has_ended_was_never_sent() {
    let (at, ended) = far_end(|mut stream| {
        agree(&mut stream);
        serve(&mut stream, 1);
    });
    let mut probe = LatencyProbe::open(&[at], &options());
    assert_eq!(one(measure(plan(1), 1, &mut probe)).counts.received, 1);
    ended.recv().unwrap();
    let out = |seq| rping_engine::Outgoing {
        target: TargetId(0),
        seq: rping_engine::Sequence(seq),
        due: Clock.now(),
    };
    // The first may still be taken by this host, and tells that nobody is there.
    let mut left = Vec::new();
    for seq in 1..=4 {
        probe.send(&[out(seq)], &mut left).unwrap();
        let soon = Clock.now().plus(Duration::from_secs(20));
        probe.recv(soon, &mut Vec::new()).unwrap();
        if probe.fault(TargetId(0)).is_some() {
            break;
        }
    }
    left.clear();
    probe.send(&[out(9)], &mut left).unwrap();
    assert!(matches!(left[0].left, Left::NotSent(_)), "{left:?}");
}

#[test]
fn nonsense_ends_the_exchange_and_no_figure_comes_from_it() {
    for wrong in [
        Response::Answer {
            seq: 999,
            residence: 0,
        }
        .to_bytes(),
        [0xff; 16],
    ] {
        let (of, said, _) = against(LONG, move |mut stream| {
            agree(&mut stream);
            serve(&mut stream, 5);
            stream.read_exact(&mut [0; 64]).unwrap();
            let mut response = [0; 64];
            response[..16].copy_from_slice(&wrong);
            stream.write_all(&response).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        assert_eq!(of.counts.received, 5);
        assert!(said.contains("no response to any request"), "{said}");
    }
}

#[test]
fn a_damaged_response_is_corrupt_and_settles_nothing() {
    let (at, ended) = far_end(|mut stream| {
        agree(&mut stream);
        stream.read_exact(&mut [0; 64]).unwrap();
        let mut response = [0; 64];
        response[..16].copy_from_slice(&Response::Answer { seq: 0, residence: 1 }.to_bytes());
        response[63] = 1;
        stream.write_all(&response).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut probe = LatencyProbe::open(&[at], &options());
    let short = Plan {
        timeout: Duration::from_millis(300),
        ..plan(1)
    };
    let of = one(measure(short, 1, &mut probe));
    assert_eq!((of.counts.received, of.counts.lost, of.counts.corrupt), (0, 1, 1));
    drop(probe);
    ended.recv().unwrap();
}

#[test]
fn a_hello_that_announces_four_gigabytes_is_only_a_number() {
    let (at, ended) = far_end(|mut stream| {
        stream.read_exact(&mut [0; HELLO_LEN]).unwrap();
        let boasting = ServerHello {
            status: Status::Ready,
            spins: true,
            largest: u32::MAX,
            longest: u32::MAX,
        };
        stream.write_all(&boasting.to_bytes()).unwrap();
        serve(&mut stream, 10);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut probe = LatencyProbe::open(&[at], &options());
    assert_eq!(one(measure(plan(10), 1, &mut probe)).counts.received, 10);
    drop(probe);
    ended.recv().unwrap();
}

#[test]
fn a_client_that_announces_more_than_there_is_gets_a_refusal_of_the_same_length() {
    let server = Serving::start(Limits::default());
    for (request, response) in [
        (u32::MAX, 16),
        (16, u32::MAX),
        (LARGEST + 1, 64),
        (0, 64),
        (64, 15),
    ] {
        let mut stream = TcpStream::connect(server.at).unwrap();
        let asked = ClientHello {
            block: false,
            request,
            response,
            idle: u32::MAX,
        };
        stream.write_all(&asked.to_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let hello = ServerHello::parse(answer.first_chunk().unwrap()).unwrap();
        assert_eq!((hello.status, answer.len()), (Status::Size, HELLO_LEN));
    }
}

#[test]
fn a_request_of_another_size_than_agreed_on_ends_the_exchange() {
    let server = Serving::start(Limits::default());
    let mut stream = TcpStream::connect(server.at).unwrap();
    let asked = ClientHello {
        block: true,
        request: 64,
        response: 64,
        idle: 1,
    };
    stream.write_all(&asked.to_bytes()).unwrap();
    stream.read_exact(&mut [0; HELLO_LEN]).unwrap();
    let mut request = [0; 64];
    request[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let farewell = Response::parse(rest.first_chunk().unwrap()).unwrap();
    assert!(
        matches!(farewell, Response::Farewell(_)) && rest.len() == 16,
        "{farewell:?}"
    );
    server.says("what came in is no request");
}

fn key(octet: u8) -> Key {
    Key::new(&[octet; 32]).unwrap()
}

#[test]
fn with_a_key_the_same_key_alone_is_served() {
    let server = Serving::listen(Some(key(1)), Limits::default());
    let fault = |key: Option<Key>| {
        let probe = LatencyProbe::open(&[server.at], &Options { key, ..options() });
        probe.fault(TargetId(0)).map(|(fault, _)| fault.to_string())
    };
    assert_eq!(fault(Some(key(1))), None);
    assert!(fault(Some(key(2))).is_some_and(|said| said.contains("the same key")));
    assert!(fault(None).is_some_and(|said| said.contains("--key-file")));
}

#[test]
fn a_client_with_a_key_measures_nothing_with_a_server_that_has_none() {
    let server = Serving::start(Limits::default());
    let asked = Options {
        key: Some(key(1)),
        ..options()
    };
    let probe = LatencyProbe::open(&[server.at], &asked);
    let (fault, stood) = probe.fault(TargetId(0)).expect("no proof");
    assert!(matches!(fault, Fault::Key(_)) && !stood, "{fault}");
}
