//! The bar that long silent work shows on a terminal.

use std::io::{self, Write};

use rping_engine::{Clock, Timestamp};

use crate::job::{Job, Stop};

/// Work that is done sooner shows no bar; and how often the bar is drawn.
const PATIENCE_NS: u64 = 1_000_000_000;
const REDRAW_NS: u64 = 100_000_000;

/// How wide the bar is, in characters.
const WIDTH: u64 = 30;

/// A bar on standard error.
#[derive(Debug)]
pub struct Progress {
    /// Probes in all, where the job says.
    total: Option<u64>,
    settled: u64,
    clock: rping_net::Clock,
    drawn: Timestamp,
    visible: bool,
}

impl Progress {
    /// The bar of a job that begins now.
    pub fn new(job: &Job) -> Progress {
        let live = job.targets.iter().filter(|target| target.error.is_none()).count() as u64;
        let total = match job.stop {
            Stop::Count(n) => Some(n.saturating_add(job.warmup).saturating_mul(live)),
            Stop::After(_) | Stop::Never => None,
        };
        let clock = rping_net::Clock::new();
        Progress {
            total,
            settled: 0,
            drawn: clock.now(),
            clock,
            visible: false,
        }
    }

    /// So many more probes were settled.
    pub(crate) fn advance(&mut self, settled: u64) {
        self.settled = self.settled.saturating_add(settled);
        let now = Clock::now(&mut self.clock);
        if now.nanos_since(self.drawn) < if self.visible { REDRAW_NS } else { PATIENCE_NS } {
            return;
        }
        self.drawn = now;
        self.visible = true;
        // Nobody looking at standard error is no reason to stop.
        let _ = write!(io::stderr().lock(), "\r{}\x1b[K", line(self.settled, self.total));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if self.visible {
            self.visible = false;
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(settled: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{settled} probes");
    };
    let share = (settled.min(total) as f64 / total as f64).clamp(0.0, 1.0);
    let filled = (share * WIDTH as f64) as usize;
    let empty = WIDTH as usize - filled;
    format!(
        "[{}{}] {settled} of {total} probes, {:.0} %",
        "#".repeat(filled),
        "-".repeat(empty),
        share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_bar_fills_from_left_to_right() {
        assert_eq!(
            line(0, Some(4)),
            "[------------------------------] 0 of 4 probes, 0 %"
        );
        assert_eq!(
            line(2, Some(4)),
            "[###############---------------] 2 of 4 probes, 50 %"
        );
        assert_eq!(
            line(4, Some(4)),
            "[##############################] 4 of 4 probes, 100 %"
        );
        assert_eq!(line(7, None), "7 probes");
    }
}
