//! When a probe leaves, which are in flight, and what became of each.
//!
//! A state machine without a clock and without a socket: time is an argument, packets are the business of a
//! [`Probe`]. The same code runs a day of probes in a test within a second and a run on real sockets.
#![forbid(unsafe_code)]

pub mod drive;
mod engine;
pub mod outcome;
pub mod plan;
pub mod probe;
mod rare;
mod ring;
mod session;
mod settle;
pub mod time;
mod window;

pub use drive::{drive, Clock, Control, Drove, Wish};
pub use engine::{Engine, Next};
pub use outcome::{
    Aside, Counts, Oddities, Outcome, Record, Residence, RunReport, Sample, Sink, TargetReport, ANSWERERS,
};
pub use plan::{Detail, LatePolicy, Order, Pace, Plan, PlanError, Stop, Window};
pub use probe::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, Reason, Refusal, SeqRef,
    Sequence, Silence, TargetId,
};
pub use rare::{Answerers, Blank, Rare, Stamps};
pub use time::{Stamp, StampSource, Timestamp};

/// The most probes handed to [`Probe::send`] at once: one `sendmmsg` of this size costs a third less per packet than
/// single sends, and more brings nothing.
pub const BATCH: usize = 32;
