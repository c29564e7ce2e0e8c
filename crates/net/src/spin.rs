//! How an end of a request/response exchange waits for the other: looking without sleeping, sleeping, or first the one
//! and then the other; and how many threads may look at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use rping_engine::Timestamp;

use crate::pacing::{quota_allows_one, spinning_allowed};

/// How long one looks for what comes before one sleeps. Sleeping costs about 28 µs at each end, so that traffic which
/// flows went nine times as fast with this; while nothing flows it costs nothing.
pub const SPIN: Duration = Duration::from_micros(50);

/// How to wait for the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// Look for a while ([`SPIN`]), then sleep; where there is one processor alone, sleep at once.
    #[default]
    Auto,
    /// Look until it comes, without sleeping: a whole core.
    Busy,
    /// Sleep at once.
    Block,
}

impl Wait {
    /// What of it can be done here: nobody spins on the only processor, or under a quota of less than one. Bound to one
    /// of several (`taskset`), a thread spins only where that was asked for: the other end may be bound to the same.
    pub fn here(self) -> Wait {
        match self {
            Wait::Busy if processors() < 2 || !quota_allows_one() => Wait::Block,
            Wait::Auto if !spinning_allowed() => Wait::Block,
            other => other,
        }
    }

    /// The word used in output: `busy`, `spin_then_block` or `block`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Wait::Auto => "spin_then_block",
            Wait::Busy => "busy",
            Wait::Block => "block",
        }
    }
}

/// Processors of this machine that run, whether or not this thread may use them.
fn processors() -> usize {
    // The C library opens and reads a file each time: several microseconds, once is enough.
    static THERE: OnceLock<usize> = OnceLock::new();
    *THERE.get_or_init(|| {
        // SAFETY: asks for a number; no pointers are passed.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
    })
}

static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// The right to spin, given to one thread for each two processors: more of them would hold up what they wait for.
#[derive(Debug)]
pub struct SpinTurn(());

impl SpinTurn {
    /// The right, until it is dropped; `None` where as many as may have it.
    pub fn take(most: usize) -> Option<SpinTurn> {
        if SPINNING.fetch_add(1, Ordering::Relaxed) < most {
            return Some(SpinTurn(()));
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// How many threads of this process may spin at once.
    pub fn most() -> usize {
        (processors() / 2).max(1)
    }
}

impl Drop for SpinTurn {
    fn drop(&mut self) {
        SPINNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stretch of looking for packets by trying to receive them, see `Waiter::look`.
#[derive(Debug)]
pub(crate) struct Look {
    until: Timestamp,
    yielded: Timestamp,
    _turn: SpinTurn,
}

impl Look {
    /// From now until then, if it is this thread's turn.
    pub(crate) fn begin(now: Timestamp, until: Timestamp) -> Option<Look> {
        Some(Look {
            until,
            yielded: now,
            _turn: SpinTurn::take(SpinTurn::most())?,
        })
    }

    /// Whether to look once more. From time to time somebody else gets a chance at this processor first.
    pub(crate) fn goes_on(&mut self, now: Timestamp) -> bool {
        if now >= self.until {
            return false;
        }
        if now.since(self.yielded) >= SPIN {
            std::thread::yield_now();
            self.yielded = now;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_threads_spin_than_may() {
        let first = SpinTurn::take(2);
        let second = SpinTurn::take(2);
        assert!(first.is_some() && second.is_some() && SpinTurn::take(2).is_none());
        drop(first);
        assert!(SpinTurn::take(2).is_some());
        assert!(SpinTurn::most() >= 1);
    }

    #[test]
    fn sleeping_is_always_possible_and_is_what_it_says() {
        assert_eq!(Wait::Block.here(), Wait::Block);
        assert_eq!(Wait::Block.as_str(), "block");
    }
}
