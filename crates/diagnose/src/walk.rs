//! A diagnosis under way. It ends when everything was asked, when somebody ends it, or when its time is up, whatever the
//! system calls of a busy machine are waiting for.

use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;

use crate::finding::Diagnosis;
use crate::gather::board::Board;
use crate::{gather, verdict, Question};

/// When a diagnosis is cut short, so that it has been shown within the 10 s that it promises.
const TIME: Duration = Duration::from_millis(9_300);

/// A diagnosis under way.
pub struct Walk {
    board: Arc<Board>,
    began: Timestamp,
}

/// Ends a [`Walk`] before its time, from any thread.
#[derive(Clone)]
pub struct Stop(Arc<Board>);

impl Walk {
    /// Starts to gather, on threads of its own: they have the rights of the one that calls.
    pub fn begin(question: &Question) -> Walk {
        let board = Arc::new(Board::default());
        let walk = Walk {
            board: Arc::clone(&board),
            began: Clock.now(),
        };
        let question = question.clone();
        let gathering = move || {
            // Also when something in there panics: nobody waits for what does not come.
            let _closes = Closes(&board);
            gather::gather(&question, &board);
            board.close(true);
        };
        let started = std::thread::Builder::new()
            .name("rping-diagnose".into())
            .spawn(gathering);
        if started.is_err() {
            walk.board.close(false);
        }
        walk
    }

    /// What ends it early.
    pub fn stop(&self) -> Stop {
        Stop(Arc::clone(&self.board))
    }

    /// Waits for the end and judges what is known by then. What was asked too late goes on in the background and tells
    /// nobody.
    pub fn end(self) -> Diagnosis {
        let (mut facts, whole) = self.board.read(self.began.plus(TIME));
        if !whole {
            facts.cut_short = Some(Clock.now().since(self.began));
        }
        verdict::judge(&facts)
    }
}

impl Stop {
    /// The diagnosis ends now, with what is known.
    pub fn now(&self) {
        self.0.close(false);
    }
}

struct Closes<'a>(&'a Board);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(false);
        }
    }
}
