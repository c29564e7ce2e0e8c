//! Ctrl-C, SIGTERM, SIGHUP and SIGQUIT: all but the last end a run with its summary, the last shows it so far.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rping_engine::Wish;
use rping_net::Waker;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    snapshot: AtomicBool,
    waker: Waker,
}

/// What signals have asked for.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<Shared>);

impl Signals {
    /// Signals wake the sending loop through `waker`.
    pub(crate) fn new(waker: Waker) -> Signals {
        Signals(Arc::new(Shared {
            stop: AtomicBool::new(false),
            snapshot: AtomicBool::new(false),
            waker,
        }))
    }

    /// The same as Ctrl-C, for a terminal that hands keys over in place of signals.
    pub(crate) fn interrupt(&self) {
        if self.0.stop.swap(true, Ordering::AcqRel) {
            crate::graph::restore_at_once();
            let _ = emulate_default_handler(SIGINT);
        }
        self.0.waker.wake();
    }

    /// Starts to listen, on a thread of its own. Until then signals end the process at once, as they should while
    /// nothing has been measured.
    pub(crate) fn listen(&self) -> io::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let shared = Arc::clone(&self.0);
        std::thread::Builder::new()
            .name("rping-signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    if signal == SIGQUIT {
                        shared.snapshot.store(true, Ordering::Release);
                    } else if shared.stop.swap(true, Ordering::AcqRel) {
                        // A second one aborts, whatever the output waits for.
                        crate::graph::restore_at_once();
                        let _ = emulate_default_handler(signal);
                    }
                    shared.waker.wake();
                }
            })?;
        Ok(())
    }

    /// What to do now. A request for a snapshot is given out once.
    pub(crate) fn wish(&self) -> Wish {
        // The common case costs two plain loads in each turn of the sending loop.
        if self.0.stop.load(Ordering::Relaxed) {
            Wish::Stop
        } else if self.0.snapshot.load(Ordering::Relaxed) {
            self.0.snapshot.store(false, Ordering::Relaxed);
            Wish::Snapshot
        } else {
            Wish::Nothing
        }
    }
}

/// Has Ctrl-C and SIGTERM call `end`, on a thread of its own; a second one aborts, whatever the end waits for.
pub(crate) fn end_by(end: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("rping-signals".into())
        .spawn(move || {
            for (times, signal) in signals.forever().enumerate() {
                if times > 0 {
                    let _ = emulate_default_handler(signal);
                }
                end();
            }
        })?;
    Ok(())
}
