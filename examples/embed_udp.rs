//! A program that measures itself: starts the reflector in a thread, sends it STAMP packets, and looks at each record.
//!
//! `cargo run --example embed_udp`

use std::time::Duration;

use rping::engine::{Outcome, Record, Sink};
use rping::{Hooks, Job, Kind, Pace, Stop, UdpProtocol};

struct Slowest(Duration);

impl Sink for Slowest {
    fn record(&mut self, record: &Record) {
        if let Record::Settled(sample) = record {
            if let Outcome::Reply { rtt: Some(rtt), .. } = sample.outcome {
                self.0 = self.0.max(rtt);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reflector = rping::peer::Reflector::bind("127.0.0.1:0".parse()?)?;
    let target = reflector
        .local_addr()
        .ok_or("the reflector has no address")?
        .to_string();
    let handle = reflector.handle();
    let far_end = std::thread::spawn(move || reflector.run());

    let job = Job {
        pace: Pace::Every(Duration::from_millis(1)),
        stop: Stop::Count(500),
        ..Job::to(Kind::Udp(UdpProtocol::Stamp), [target])?
    };
    let mut slowest = Slowest(Duration::ZERO);
    let report = job.run_with(Hooks {
        opened: &mut (),
        sink: &mut slowest,
        control: &mut (),
        waker: None,
    })?;
    let figures = &report.run.targets[0];
    println!(
        "{} of {} answered, p99 {:?}, slowest {:?}, stamps by {}",
        figures.counts.received,
        figures.counts.attempted(),
        figures.stats.rtt_quantile(0.99).map(Duration::from_nanos),
        slowest.0,
        report.rx_stamps().unwrap_or("nobody"),
    );
    handle.stop();
    far_end.join().map_err(|_| "the reflector failed")??;
    Ok(())
}
