//! Round trips on loopback through the same engine and probe kinds that the program uses: what one probe costs from
//! its send to its record, in a closed loop.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use rping::{Job, Kind, Pace, Stop, UdpProtocol};
use rping_net::{Clock, Pacing, Waiter, Woken};

const PROBES: u64 = 1000;

/// Sends `PROBES` probes one after another; all must be answered.
fn run(kind: Kind, target: &str) {
    let job = Job::to(kind, [target]).expect("a target");
    let report = Job {
        stop: Stop::Count(PROBES),
        pace: Pace::WhenSettled,
        ..job
    }
    .run()
    .expect("a run");
    assert_eq!(report.run.targets[0].counts.received, PROBES);
}

/// A plain RFC 862 echo.
fn echo() -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = socket.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&packet[..length], from);
        }
    });
    address
}

/// Takes connections as they come.
fn acceptor() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

fn reflector() -> String {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let mut reflector = rping::peer::Reflector::bind(any).expect("a reflector");
    let address = reflector.local_addr().expect("an address").to_string();
    std::thread::spawn(move || reflector.run());
    address
}

fn loopback(c: &mut Criterion) {
    let mut group = c.benchmark_group("loopback");
    group.throughput(Throughput::Elements(PROBES)).sample_size(20);
    let (echo, reflector, acceptor) = (echo(), reflector(), acceptor());
    group.bench_function("UDP echo", |b| {
        b.iter(|| run(Kind::Udp(UdpProtocol::Echo), &echo))
    });
    group.bench_function("STAMP", |b| {
        b.iter(|| run(Kind::Udp(UdpProtocol::Stamp), &reflector))
    });
    group.bench_function("TCP connect", |b| b.iter(|| run(Kind::Tcp, &acceptor)));
    // Where ICMP is not allowed there is nothing to measure.
    if Job::to(Kind::Icmp, ["127.0.0.1"]).is_ok_and(|job| {
        Job {
            stop: Stop::Count(1),
            ..job
        }
        .run()
        .is_ok()
    }) {
        group.bench_function("ICMP echo", |b| b.iter(|| run(Kind::Icmp, "127.0.0.1")));
    }
    group.finish();
}

/// How late a wait of 0.5 ms ends: the figure is the lateness, not the wait.
fn waiting(c: &mut Criterion) {
    let mut group = c.benchmark_group("wait");
    group.sample_size(20);
    for (name, pacing) in [("precise", Pacing::Precise), ("eco", Pacing::Eco)] {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut waiter = Waiter::new(pacing);
                (0..times)
                    .map(|_| {
                        let until = Clock.now().plus(Duration::from_micros(500));
                        while waiter.wait(&[], until) != Woken::Due {}
                        Clock.now().since(until)
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, loopback, waiting);
criterion_main!(benches);
