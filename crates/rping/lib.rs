//! rping: connectivity probes that measure. See the README for the program; this is the library behind it.
//!
//! A [`Job`] says what to ask whom, and when; [`Job::run`] asks and returns a [`Report`].
//!
//! ```no_run
//! use rping::{Job, Kind, Stop};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let job = Job { stop: Stop::Count(5), ..Job::to(Kind::Tcp, ["127.0.0.1:22"])? };
//! let report = job.run()?;
//! let target = &report.run.targets[0];
//! println!("{} of {} answered", target.counts.received, target.counts.attempted());
//! println!("median {:?} ns", target.stats.rtt_quantile(0.5));
//! # Ok(())
//! # }
//! ```
//!
//! [`Job::run_with`] hands over every probe as it is settled and takes wishes meanwhile. A probe kind of one's own
//! implements [`engine::Probe`] and is driven by [`engine::drive()`], as the examples show.
#![forbid(unsafe_code)]

pub mod args;
pub mod assertion;
mod bandwidth;
mod bundle;
pub mod cli;
pub mod compare;
mod complain;
mod diagnose;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod hdr;
pub mod job;
mod keep;
pub mod key;
mod latency;
mod open;
mod page;
mod pcap;
mod printer;
mod progress;
pub mod render;
pub mod report;
mod run;
pub mod saved;
pub mod series;
mod server;
mod show;
mod signals;
mod sockets;
pub mod targets;
mod trace;
mod warnings;

pub use rping_diagnose as diagnosis;
pub use rping_engine as engine;
pub use rping_evidence as evidence;
pub use rping_net as net;
pub use rping_peer as peer;
pub use rping_stats as stats;

pub use assertion::Assertion;
pub use job::{Carrier, Close, Job, Kind, Pace, Stop, Target, UdpProtocol};
pub use open::OpenError;
pub use report::{Epoch, Instrument, Report};
pub use run::{Hooks, Opened, RunError};
