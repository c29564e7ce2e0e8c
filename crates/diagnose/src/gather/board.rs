//! Where facts are put as they become known, for whoever will not wait for all of them.

use std::sync::{Mutex, PoisonError};

use rping_engine::Timestamp;

use super::latch::Latch;
use super::Facts;

/// See the module.
#[derive(Default)]
pub(crate) struct Board {
    facts: Mutex<Facts>,
    /// Set when nothing more is to be waited for; `true` when everything was gathered.
    over: Latch<bool>,
}

impl Board {
    /// Changes what is known so far.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Nobody is to wait any longer; `whole` when everything was gathered. The first time counts.
    pub(crate) fn close(&self, whole: bool) {
        self.over.set_once(whole);
    }

    /// What is known when the board is closed, or at `until`, and whether that is everything.
    pub(crate) fn read(&self, until: Timestamp) -> (Facts, bool) {
        let whole = self.over.wait(until).unwrap_or(false);
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (facts, whole)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rping_net::Clock;

    use super::*;

    #[test]
    fn what_was_noted_until_then_is_there_and_said_to_be_a_part() {
        let board = Board::default();
        board.note(|facts| facts.port = Some(445));
        let soon = Clock.now().plus(Duration::from_millis(10));
        let (facts, whole) = board.read(soon);
        assert_eq!((facts.port, whole), (Some(445), false));
        board.close(true);
        assert!(board.read(soon).1);
    }

    #[test]
    fn closing_wakes_who_waits() {
        let board = Board::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| board.read(Clock.now().plus(Duration::from_secs(3_600))).1);
            board.close(false);
            assert!(!reader.join().expect("the reader"));
        });
    }
}
