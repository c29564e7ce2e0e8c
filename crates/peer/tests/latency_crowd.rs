//! The latency exchange beside two thousand connections that only hold on: an honest client's run is whole.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rping_engine::{drive, Drove, Engine, Pace, Plan, Stop, TargetId};
use rping_net::stream::StreamOptions;
use rping_net::{Clock, Pacing, Wait};
use rping_peer::latency::{LatencyProbe, Options};
use rping_peer::{Limits, Server};
use rping_wire::latency::{ClientHello, ServerHello, Status, HELLO_LEN};

const CROWD: usize = 2000;

/// What one of the crowd sends, and nothing after it.
fn opening(number: usize) -> Vec<u8> {
    let hello = ClientHello {
        block: true,
        request: 64,
        response: 64,
        idle: 3600,
    }
    .to_bytes();
    match number % 4 {
        // Open, and silent.
        0 => Vec::new(),
        // A hello that does not go on.
        1 => hello[..HELLO_LEN - 1].to_vec(),
        // The beginning of an iperf3 cookie.
        2 => b"abcdefg".to_vec(),
        // A whole hello, and a request that does not go on.
        _ => [&hello[..], &[0; 20]].concat(),
    }
}

fn join_from(source: Ipv4Addr, server: SocketAddr, number: usize) -> TcpStream {
    let from = StreamOptions {
        source: Some(SocketAddr::from((source, 0))),
        ..StreamOptions::default()
    };
    let mut stream = from.connect(server, Duration::from_secs(60)).unwrap();
    stream.write_all(&opening(number)).unwrap();
    stream
}

#[test]
fn two_thousand_slow_and_half_open_connections_leave_an_honest_run_whole() {
    rping_net::caps::raise_nofile().unwrap();
    let server = Server::bind(
        &["127.0.0.1:0".parse().unwrap()],
        Limits::default(),
        Arc::new(|_| {}),
    )
    .unwrap();
    let (at, handle) = (server.local_addrs().next().unwrap(), server.handle());
    let serving = std::thread::spawn(move || server.run().unwrap());
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|number| join_from(Ipv4Addr::new(127, 0, 0, 2), at, number))
        .collect();

    let options = Options {
        request: 64,
        response: 64,
        wait: Wait::Auto,
        stream: StreamOptions::default(),
        patience: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        key: None,
        pacing: Pacing::Precise,
        waker: None,
    };
    let mut probe = LatencyProbe::open(&[at], &options);
    assert!(
        probe.fault(TargetId(0)).is_none(),
        "{:?}",
        probe.fault(TargetId(0))
    );
    let plan = Plan {
        pace: Pace::WhenSettled,
        stop: Stop::Count(2000),
        timeout: Duration::from_secs(60),
        ..Plan::default()
    };
    let mut engine = Engine::new(plan, 1, Clock.now()).unwrap();
    drive(
        &mut engine,
        &mut probe,
        &mut Clock,
        &mut (),
        &mut (),
        &mut Drove::default(),
    )
    .unwrap();
    let report = engine.into_report(Clock.now());
    let counts = &report.targets[0].counts;
    assert_eq!((counts.attempted(), counts.received), (2000, 2000), "{counts:?}");
    assert!(probe.fault(TargetId(0)).is_none(), "the exchange still stands");

    // Of the crowd's whole hellos as many got a place as one address may have (on a slow machine some of these have been
    // given up by then, and their places given to others), and all were told.
    let mut placed = 0;
    for mut stream in crowd.into_iter().skip(3).step_by(4) {
        let mut answer = [0; HELLO_LEN];
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.read_exact(&mut answer).unwrap();
        let hello = ServerHello::parse(&answer).unwrap();
        placed += usize::from(hello.status == Status::Ready);
    }
    let most = Limits::default().tests_per_source;
    assert!((most..CROWD / 4).contains(&placed), "{placed}");
    handle.stop();
    serving.join().unwrap();
}
