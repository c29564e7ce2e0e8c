//! Watches a TCP port and says when it comes and goes.
//!
//! `cargo run --example watch_port -- 127.0.0.1:22 5` watches for five probes.

use std::time::Duration;

use rping::engine::{Outcome, Record, Sink};
use rping::{Hooks, Job, Kind, Pace, Stop};

/// Prints a line when the port's state changes.
struct Changes(Option<bool>);

impl Sink for Changes {
    fn record(&mut self, record: &Record) {
        let Record::Settled(sample) = record else { return };
        let is_up = matches!(sample.outcome, Outcome::Reply { .. });
        if self.0.replace(is_up) != Some(is_up) {
            println!(
                "{} after probe {}: {:?}",
                if is_up { "up" } else { "down" },
                sample.seq.0,
                sample.outcome
            );
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let target = args.next().unwrap_or_else(|| "127.0.0.1:22".into());
    let count = args.next().map_or(Ok(5), |n| n.parse())?;
    let job = Job {
        pace: Pace::Every(Duration::from_millis(200)),
        stop: Stop::Count(count),
        ..Job::to(Kind::Tcp, [target])?
    };
    let mut changes = Changes(None);
    let report = job.run_with(Hooks {
        opened: &mut (),
        sink: &mut changes,
        control: &mut (),
        waker: None,
    })?;
    let counts = &report.run.targets[0].counts;
    println!("{} of {} handshakes done", counts.received, counts.attempted());
    Ok(())
}
