//! Whose turn it is on the machine.
//!
//! The kernel's neighbour tables are one per machine, not one per namespace: `gc_thresh3` (1024) entries for all of
//! them together. A bench with thousands of on-link addresses fills them, and every other bench then fails with "no
//! buffer space". So such a bench waits until it is alone, and the others wait until it is gone; across processes,
//! because `cargo test` runs one after another but people run more than one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::wait::wait_until;

const PATH: &str = "/run/rping-lab.lock";

/// Held as long as a bench is there. One test that wants both kinds at once waits for itself: it panics in the end.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: Flock<File>,
}

impl Turn {
    /// Beside others.
    pub(crate) fn shared() -> Self {
        Self::take(FlockArg::LockSharedNonblock)
    }

    /// Alone.
    pub(crate) fn alone() -> Self {
        Self::take(FlockArg::LockExclusiveNonblock)
    }

    fn take(how: FlockArg) -> Self {
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(PATH);
        let mut file = Some(open.unwrap_or_else(|error| panic!("open {PATH}: {error}")));
        let mut lock = None;
        wait_until(
            "it is this bench's turn (does one test hold another bench?)",
            Duration::from_secs(300),
            || {
                if let Some(open) = file.take() {
                    match Flock::lock(open, how) {
                        Ok(taken) => lock = Some(taken),
                        Err((back, _)) => file = Some(back),
                    }
                }
                lock.is_some()
            },
        );
        Self {
            _lock: lock.expect("the loop ended because it is there"),
        }
    }
}
