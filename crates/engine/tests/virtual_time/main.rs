//! The engine in virtual time: days pass in a second, and every count is known beforehand.

mod hardware;
mod outcomes;
mod schedule;
mod sim;
mod sweeps;

use std::time::Duration;

use rping_engine::{Pace, Plan, Record};

fn every(period: Duration) -> Plan {
    Plan {
        pace: Pace::Every(period),
        ..Plan::default()
    }
}

fn settled(record: &Record) -> Option<&rping_engine::Sample> {
    match record {
        Record::Settled(sample) => Some(sample),
        Record::Aside { aside: _, .. } => None,
    }
}
