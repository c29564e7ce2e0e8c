//! Servers that fail, refuse, fall silent or talk nonsense: the client ends by its deadline, says what happened, and
//! keeps what it measured. What it says tells which of the two ended it: each of these servers would stay, or say something else, for
//! longer than the client's deadline.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rping_net::stream::StreamOptions;
use rping_net::Clock;
use rping_peer::iperf::{Client, End, Error, Outcome, Parameters, Protocol};
use rping_peer::{Limits, Server};
use tokio::sync::Notify;

const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;
const TEST_START: u8 = 1;
const TEST_RUNNING: u8 = 2;
const TEST_END: u8 = 4;
const EXCHANGE_RESULTS: u8 = 13;

/// A server that does what `behave` says to the one client that comes.
fn server(behave: impl FnOnce(TcpStream, &TcpListener) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut control, _) = listener.accept().unwrap();
        let mut cookie = [0; 37];
        control.read_exact(&mut cookie).unwrap();
        behave(control, &listener);
    });
    address
}

fn text(from: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    from.read_exact(&mut length).unwrap();
    let mut text = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut text).unwrap();
    text
}

/// Speaks the protocol up to where data flows; the data connection.
fn begin(control: &mut TcpStream, listener: &TcpListener) -> TcpStream {
    control.write_all(&[PARAM_EXCHANGE]).unwrap();
    text(control);
    control.write_all(&[CREATE_STREAMS]).unwrap();
    let (mut data, _) = listener.accept().unwrap();
    data.read_exact(&mut [0; 37]).unwrap();
    control.write_all(&[TEST_START, TEST_RUNNING]).unwrap();
    data
}

/// Takes what comes for a while.
fn take(data: &mut TcpStream, time: Duration) {
    let until = Clock.now().plus(time);
    let mut room = vec![0; 1 << 16];
    while Clock.now() < until && data.read(&mut room).is_ok_and(|got| got > 0) {}
}

fn run(server: SocketAddr, parameters: Parameters, end: End) -> Result<Outcome, Error> {
    let client = Client {
        server,
        parameters,
        end,
        stream: StreamOptions::default(),
        patience: Duration::from_secs(3),
        interval: Duration::from_millis(250),
        key: None,
    };
    client.run(client.prepare(), &mut (), &Notify::new())
}

fn second() -> End {
    End::After(Duration::from_secs(1))
}

#[test]
fn a_silent_server_ends_the_test_by_its_deadline() {
    let address = server(|control, _| {
        rping_net::wait::sleep(Duration::from_secs(20));
        drop(control);
    });
    let ended = run(address, Parameters::default(), second());
    assert!(matches!(ended, Err(Error::Silent { .. })), "{ended:?}");
}

#[test]
fn a_server_that_is_not_there_or_turns_us_away_is_said_to() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(nobody, Parameters::default(), second());
    assert!(
        matches!(&ended, Err(Error::Net(error)) if error.is_refused()),
        "{ended:?}"
    );
    assert!(!ended.unwrap_err().is_local());

    let busy = server(|mut control, _| control.write_all(&[0xff]).unwrap());
    let ended = run(busy, Parameters::default(), second());
    assert!(matches!(ended, Err(Error::Busy)), "{ended:?}");

    let refuses = server(|mut control, _| {
        control.write_all(&[PARAM_EXCHANGE]).unwrap();
        text(&mut control);
        control.write_all(&[0xfe, 0, 0, 0, 37, 0, 0, 0, 104]).unwrap();
    });
    let ended = run(refuses, Parameters::default(), second());
    assert!(
        ended.unwrap_err().to_string().contains("iperf3 error 37"),
        "and nothing of the stale errno"
    );
}

#[test]
fn what_is_no_iperf3_is_said_to_be_none() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"SSH-2.0-x\r\n", &[0; 64]] {
        let address = server(move |mut control, _| {
            let _ = control.write_all(greeting);
            rping_net::wait::sleep(Duration::from_millis(300));
        });
        let ended = run(address, Parameters::default(), second());
        assert!(matches!(ended, Err(Error::Nonsense(_))), "{ended:?}");
    }
}

#[test]
fn what_was_sent_before_the_server_died_is_kept() {
    let address = server(|mut control, listener| {
        let mut data = begin(&mut control, listener);
        take(&mut data, Duration::from_millis(300));
    });
    let ended = run(
        address,
        Parameters::default(),
        End::After(Duration::from_secs(60)),
    );
    let outcome = ended.unwrap();
    let failure = outcome.failure.expect("it died");
    assert!(failure.contains("closed the connection"), "{failure}");
    let side = &outcome.sides[0];
    assert!(side.sent.unwrap().bytes > 0);
    assert_eq!(side.received, None, "it never said");
}

#[test]
fn results_that_announce_4_gb_are_not_waited_for() {
    let address = server(|mut control, listener| {
        let mut data = begin(&mut control, listener);
        take(&mut data, Duration::from_millis(200));
        let draining = std::thread::spawn(move || take(&mut data, Duration::from_secs(10)));
        let mut state = [0];
        control.read_exact(&mut state).unwrap();
        assert_eq!(state, [TEST_END]);
        control.write_all(&[EXCHANGE_RESULTS]).unwrap();
        text(&mut control);
        control.write_all(&[0xff; 4]).unwrap();
        let _ = control.read(&mut state);
        draining.join().unwrap();
    });
    let ended = run(address, Parameters::default(), second());
    let outcome = ended.unwrap();
    assert!(outcome.failure.unwrap().contains("longer than any"));
    assert!(outcome.sides[0].sent.unwrap().bytes > 0);
}

#[test]
fn results_that_never_come_or_are_none_leave_the_figures_of_this_end() {
    for answer in [&b"\0\0\0\x02[]"[..], b"\0\0\0\x05x"] {
        let address = server(move |mut control, listener| {
            let mut data = begin(&mut control, listener);
            let draining = std::thread::spawn(move || take(&mut data, Duration::from_secs(3)));
            let mut state = [0];
            control.read_exact(&mut state).unwrap();
            control.write_all(&[EXCHANGE_RESULTS]).unwrap();
            text(&mut control);
            control.write_all(answer).unwrap();
            drop(control);
            draining.join().unwrap();
        });
        let ended = run(address, Parameters::default(), second());
        let outcome = ended.unwrap();
        assert!(outcome.failure.is_some(), "{outcome:?}");
        assert!(outcome.sides[0].sent.unwrap().bytes > 0);
    }
}

#[test]
fn datagrams_that_stop_coming_end_a_test_of_so_many_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let udp = std::net::UdpSocket::bind(address).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut control, _) = listener.accept().unwrap();
        control.read_exact(&mut [0; 37]).unwrap();
        control.write_all(&[PARAM_EXCHANGE]).unwrap();
        text(&mut control);
        control.write_all(&[CREATE_STREAMS]).unwrap();
        let (_, client) = udp.recv_from(&mut [0; 64]).unwrap();
        udp.send_to(b"6789", client).unwrap();
        control.write_all(&[TEST_START, TEST_RUNNING]).unwrap();
        for count in 1..=10u32 {
            let mut datagram = [0; 1000];
            datagram[8..12].copy_from_slice(&count.to_be_bytes());
            udp.send_to(&datagram, client).unwrap();
        }
        let _ = control.read(&mut [0]);
    });
    let parameters = Parameters {
        protocol: Protocol::Udp,
        reverse: true,
        length: 1000,
        bandwidth: 1_000_000,
        ..Parameters::default()
    };
    let ended = run(address, parameters, End::Bytes(1_000_000));
    let outcome = ended.unwrap();
    assert!(outcome.failure.unwrap().contains("data was to move on"));
    let received = outcome.sides[0].received.unwrap();
    assert_eq!((received.received, received.bytes), (10, 10_000));
    serving.join().unwrap();
}

#[test]
fn a_server_that_is_started_again_serves_the_next_test() {
    let start = |address: SocketAddr| {
        let server = Server::bind(&[address], Limits::default(), Arc::new(|_: &str| ())).unwrap();
        let (at, handle) = (server.local_addrs().next().unwrap(), server.handle());
        (at, handle, std::thread::spawn(move || server.run().unwrap()))
    };
    let (address, handle, thread) = start("127.0.0.1:0".parse().unwrap());
    let stopping = std::thread::spawn(move || {
        rping_net::wait::sleep(Duration::from_millis(700));
        handle.stop();
        thread.join().unwrap();
    });
    let ended = run(
        address,
        Parameters::default(),
        End::After(Duration::from_secs(60)),
    );
    stopping.join().unwrap();
    let outcome = ended.unwrap();
    assert!(outcome.failure.is_some());
    assert!(outcome.sides[0].sent.unwrap().bytes > 0);

    let (address, handle, thread) = start(address);
    let ended = run(address, Parameters::default(), second());
    assert_eq!(ended.unwrap().failure, None);
    handle.stop();
    thread.join().unwrap();
}
