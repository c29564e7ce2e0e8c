//! The test bed: real kernels to probe through, and a link that misbehaves by the book.
//!
//! Two kinds of bench, both thrown away at the end of the test that built them:
//!
//! * [`Lab`]: network namespaces joined by veth pairs (client – server, client – router – server, a bridge,
//!   a wide on-link block), with nftables, sysctls, link state and MTU in the test's hand;
//! * [`Emulator`]: two namespaces joined by a pair of TUN devices and a thread that carries the packets between
//!   them, impairing each direction by a seeded [`Impairment`] and writing down the [`Truth`] of every packet, so
//!   that a test can demand counts that are *equal*, not close.
//!
//! Everything here serves tests and needs root. A step of the set-up that fails is a failed test, so the helpers
//! panic with what was tried and what the system said instead of returning errors.
#![forbid(unsafe_code)]

mod capture;
mod emulator;
mod impair;
mod namespace;
mod packet;
mod pcap;
mod rng;
mod service;
mod topology;
mod truth;
mod turn;
mod wait;

pub use capture::{Capture, Captured};
pub use emulator::{Emulator, EmulatorBuilder};
pub use impair::{Burst, Damage, Direction, DropCause, Fate, Impairment, Model};
pub use namespace::{Background, Namespace};
pub use packet::{Flow, Kind};
pub use pcap::{LinkType, Packet};
pub use rng::Rng;
pub use service::{Acceptor, FullListener, UdpService};
pub use topology::{Bridge, Lab, OnLink, Pair, Routed};
pub use truth::{Counts, Entry, Expected, Truth};
pub use wait::{pause, wait_until};

use std::io::Write as _;

/// Whether this process may build namespaces; where it may not, says so on standard error.
///
/// A test begins with `if !require_root("its name") { return; }`.
///
/// # Panics
/// Where the environment variable `CI` is set: there a test that does not run is a failure.
#[must_use]
pub fn require_root(test: &str) -> bool {
    // What counts is the capability, not the user id: root in a container may hold neither.
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const SYS_ADMIN: u64 = 1 << 21;
    let wanted = NET_ADMIN | NET_RAW | SYS_ADMIN;
    let held = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
    available(test, held.is_some_and(|held| held & wanted == wanted), "root")
}

/// Whether `program` is on the `PATH`; where it is not, says so on standard error.
///
/// # Panics
/// Where the environment variable `CI` is set.
#[must_use]
pub fn require_program(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    available(test, found, program)
}

fn available(test: &str, is_there: bool, what: &str) -> bool {
    if !is_there {
        assert!(
            std::env::var_os("CI").is_none(),
            "{test} needs {what}, and in CI every test has to run"
        );
        // Past the capture of the test harness, which would hide it when the test "passes".
        // A closed standard error loses the note, nothing else.
        let _ = writeln!(std::io::stderr(), "{test}: skipped: needs {what}");
    }
    is_there
}
