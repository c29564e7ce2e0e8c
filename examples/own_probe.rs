//! A probe kind of one's own: how long does a name server take to answer? Twenty lines of DNS over a plain socket,
//! and the engine does the rest: schedule, timeouts, duplicates, late answers, percentiles.
//!
//! `cargo run --example own_probe` asks a name server that it starts itself.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rping::engine::{
    drive, Answer, Arrival, Clock, Departure, Drained, Drove, Engine, Event, Left, Origin, Outgoing, Pace,
    Plan, Probe, SeqRef, Stamp, Stop, TargetId, Timestamp,
};

/// Asks one server for the root's name servers.
struct Dns {
    socket: UdpSocket,
    clock: Machine,
}

#[derive(Clone, Copy)]
struct Machine(rping::net::Clock);

impl Clock for Machine {
    fn now(&mut self) -> Timestamp {
        self.0.now()
    }
}

impl Probe for Dns {
    type Error = io::Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> io::Result<()> {
        for out in due {
            let mut query = [0u8; 17];
            query[..2].copy_from_slice(&out.seq.low16().to_be_bytes());
            query[5] = 1; // one question: name ".", type NS, class IN
            query[14] = 2;
            query[16] = 1;
            let at = self.clock.now();
            self.socket.send(&query)?;
            left.push(Departure {
                target: out.target,
                seq: out.seq,
                left: Left::At(Stamp::user(at)),
            });
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> io::Result<Drained> {
        let wait = until
            .since(self.clock.now())
            .clamp(Duration::from_micros(1), Duration::from_secs(1));
        self.socket.set_read_timeout(Some(wait))?;
        let mut answer = [0u8; 512];
        match self.socket.recv(&mut answer) {
            Ok(length) => {
                let at = Stamp::user(self.clock.now());
                let event = if length >= 12 && answer[2] & 0x80 != 0 {
                    let seq = SeqRef::Low16(u16::from_be_bytes([answer[0], answer[1]]));
                    Event::Reply(Answer::new(seq, Origin::Ip(self.socket.peer_addr()?.ip())))
                } else {
                    Event::Unexpected
                };
                arrived.push(Arrival {
                    target: TargetId(0),
                    at,
                    event,
                });
                Ok(Drained::More)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(Drained::All)
            }
            Err(error) => Err(error),
        }
    }
}

/// Answers each query with itself, marked as an answer.
fn serve() -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut packet = [0u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            packet[2] |= 0x80;
            let _ = socket.send_to(&packet[..length], from);
        }
    });
    Ok(address)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut clock = Machine(rping::net::Clock::new());
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(serve()?)?;
    let plan = Plan {
        pace: Pace::Every(Duration::from_millis(2)),
        stop: Stop::Count(100),
        ..Plan::default()
    };
    let mut engine = Engine::new(plan, 1, clock.now())?;
    let mut dns = Dns { socket, clock };
    drive(
        &mut engine,
        &mut dns,
        &mut clock,
        &mut (),
        &mut (),
        &mut Drove::default(),
    )?;
    let report = engine.into_report(clock.now());
    let target = &report.targets[0];
    let median = target.stats.rtt_quantile(0.5).map(Duration::from_nanos);
    println!(
        "{} of {} answered, median {median:?}",
        target.counts.received,
        target.counts.attempted()
    );
    Ok(())
}
