//! What a stream has come to, written by the thread that moves its data and read by whoever watches.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;

use rping_engine::Timestamp;
use tokio::sync::Notify;

/// What a stream had come to at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Payload bytes.
    pub bytes: u64,
    /// The highest count sent or seen.
    pub packets: u64,
    /// Datagrams that a receiver got; of a sender those that left this host.
    pub received: u64,
    /// Datagrams lost, as iperf3 counts them: gaps, less those that came later.
    pub lost: i64,
    /// Datagrams that came after a later one.
    pub reordered: u64,
    /// Of the lost, those that this host dropped itself, its receive buffer being full; known at the end alone.
    pub dropped: u64,
    /// Jitter at this instant (RFC 1889, appendix A.8), nanoseconds.
    pub jitter_ns: u64,
}

impl Figures {
    /// What was added since `before`; the jitter is this one's.
    #[must_use]
    pub fn since(self, before: Figures) -> Figures {
        Figures {
            bytes: self.bytes.saturating_sub(before.bytes),
            packets: self.packets.saturating_sub(before.packets),
            received: self.received.saturating_sub(before.received),
            lost: self.lost.saturating_sub(before.lost),
            reordered: self.reordered.saturating_sub(before.reordered),
            dropped: self.dropped.saturating_sub(before.dropped),
            jitter_ns: self.jitter_ns,
        }
    }

    /// Both together; of the jitters the greater.
    #[must_use]
    pub fn plus(self, other: Figures) -> Figures {
        Figures {
            bytes: self.bytes.saturating_add(other.bytes),
            packets: self.packets.saturating_add(other.packets),
            received: self.received.saturating_add(other.received),
            lost: self.lost.saturating_add(other.lost),
            reordered: self.reordered.saturating_add(other.reordered),
            dropped: self.dropped.saturating_add(other.dropped),
            jitter_ns: self.jitter_ns.max(other.jitter_ns),
        }
    }
}

/// The shared part of one stream. Each field has one writer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: AtomicU64,
    packets: AtomicU64,
    received: AtomicU64,
    lost: AtomicI64,
    reordered: AtomicU64,
    dropped: AtomicU64,
    jitter_ns: AtomicU64,
    /// When the last byte was moved, nanoseconds of the monotonic clock.
    last: AtomicU64,
    stop: AtomicBool,
    abandoned: AtomicBool,
    done: AtomicBool,
}

impl Tally {
    /// Called by the moving thread alone.
    pub(crate) fn write(&self, figures: &Figures, now: Timestamp) {
        self.bytes.store(figures.bytes, Ordering::Relaxed);
        self.packets.store(figures.packets, Ordering::Relaxed);
        self.received.store(figures.received, Ordering::Relaxed);
        self.lost.store(figures.lost, Ordering::Relaxed);
        self.reordered.store(figures.reordered, Ordering::Relaxed);
        self.dropped.store(figures.dropped, Ordering::Relaxed);
        self.jitter_ns.store(figures.jitter_ns, Ordering::Relaxed);
        self.last.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Figures {
        Figures {
            bytes: self.bytes.load(Ordering::Relaxed),
            packets: self.packets.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            reordered: self.reordered.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            jitter_ns: self.jitter_ns.load(Ordering::Relaxed),
        }
    }

    /// When the last byte was moved; zero before the first.
    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Asks the moving thread to end: a sender at once, a receiver when it has taken what is there.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks a receiver to end whatever is still to come: nobody counts it.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn set_done(&self) {
        self.done.store(true, Ordering::Release);
    }
}

/// What all senders of one side may send together.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    left: Arc<AtomicI64>,
    /// Told whenever a thread ends.
    pub(crate) news: Arc<Notify>,
}

impl Budget {
    /// So many bytes; 0: without end.
    pub(crate) fn new(bytes: u64) -> Budget {
        let left = match bytes {
            0 => i64::MAX,
            some => i64::try_from(some).unwrap_or(i64::MAX),
        };
        Budget {
            left: Arc::new(AtomicI64::new(left)),
            news: Arc::default(),
        }
    }

    /// Takes this many bytes, if any are left: the last message is sent whole, as iperf3 does.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let taken = i64::try_from(bytes).unwrap_or(i64::MAX);
        let of_unlimited = self.left.load(Ordering::Relaxed) > i64::MAX / 2;
        of_unlimited || self.left.fetch_sub(taken, Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_a_whole_message_and_none_never_ends() {
        let budget = Budget::new(250);
        assert!(budget.take(100) && budget.take(100) && budget.take(100));
        assert!(!budget.take(100) && !budget.take(1));
        let endless = Budget::new(0);
        assert!((0..1000).all(|_| endless.take(usize::MAX)));
        assert!(Budget::new(u64::MAX).take(1));
    }

    #[test]
    fn figures_add_and_subtract_without_going_below_nothing() {
        let more = Figures {
            bytes: 10,
            packets: 5,
            received: 4,
            lost: 1,
            reordered: 2,
            dropped: 1,
            jitter_ns: 7,
        };
        assert_eq!(more.since(Figures::default()), more);
        assert_eq!(Figures::default().since(more).bytes, 0);
        assert_eq!(more.plus(more).packets, 10);
        let tally = Tally::default();
        tally.write(&more, Timestamp::from_nanos(3));
        assert_eq!((tally.read(), tally.last()), (more, Timestamp::from_nanos(3)));
    }
}
