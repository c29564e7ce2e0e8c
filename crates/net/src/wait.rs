//! Waiting until an instant or until a socket has something, to within a microsecond where that is wanted.
//!
//! A sleeping thread wakes 35–100 µs late on a virtual machine; spinning is exact but burns a core. [`Pacing`] names
//! the three compromises, [`Waiter`] carries them out.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;

use crate::clock::Clock;
use crate::pacing::spinning_allowed;
pub use crate::pacing::{allowed_cpus, Pacing};
use crate::spin::{Look, SpinTurn, Wait, SPIN};
use crate::{Error, Result};

/// Why [`Waiter::wait`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// A descriptor has something; [`Waiter::readiness`] says which and what.
    Ready,
    /// The instant has come (or had passed already).
    Due,
    /// A [`Waker`] called.
    Interrupted,
}

/// What a descriptor had when [`Waiter::wait`] last returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Data, or end of file.
    pub readable: bool,
    /// Something in the error queue (transmit stamps too), or an error.
    pub error: bool,
}

#[derive(Debug)]
struct WakerInner {
    event: OwnedFd,
    // Checked on entry, so that a wake is seen even by a waiter that is always late and so never polls.
    called: AtomicBool,
}

/// Makes a waiting thread return at once. Cheap to clone; may be called from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<WakerInner>);

impl Waker {
    /// A waker of its own, to be given to [`Waiter::with_waker`].
    ///
    /// # Errors
    /// When the descriptor limit is reached.
    pub fn new() -> Result<Waker> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last("open an event descriptor"));
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Waker(Arc::new(WakerInner {
            event,
            called: AtomicBool::new(false),
        })))
    }

    /// Wakes the waiting thread, or makes its next wait return at once.
    pub fn wake(&self) {
        self.0.called.store(true, Ordering::Release);
        let one: u64 = 1;
        // A full counter (EAGAIN) wakes just as well, so the result does not matter.
        // SAFETY: `one` is valid for reads of eight bytes; the descriptor is owned by `self`.
        unsafe { libc::write(self.0.event.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    /// The descriptor that becomes readable on a wake, for a poll of one's own.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }

    /// Whether somebody called since this was last asked; resets it.
    pub fn take(&self) -> bool {
        let called = self.0.called.load(Ordering::Acquire);
        if called {
            self.reset();
        }
        called
    }

    fn reset(&self) {
        self.0.called.store(false, Ordering::Release);
        let mut count: u64 = 0;
        // An empty counter (EAGAIN) is as reset as can be, so the result does not matter.
        // SAFETY: `count` is valid for writes of eight bytes; the descriptor is owned by `self`.
        unsafe { libc::read(self.0.event.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8) };
    }
}

/// Longer than any wait.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// From this length on a sleep lets an idle processor fall into deeper rest.
const LONG_SLEEP: Duration = Duration::from_millis(8);

/// As long a stretch is spun whatever share of the time that is.
const MOST_OFTEN: Duration = Duration::from_micros(60);

/// The stretch before the deadline that is spun: adapts to how late sleeps turn out to end.
#[derive(Clone, Copy, Debug)]
struct Margin {
    mean: f64,
    variance: f64,
    most: f64,
}

impl Margin {
    const LEAST: f64 = 20_000.0;
    const GAIN: f64 = 1.0 / 16.0;

    /// For sleeps of less than [`LONG_SLEEP`]. 60 µs was measured right for an idle virtual machine, before anything is
    /// known.
    const fn short() -> Margin {
        Margin {
            mean: 45_000.0,
            variance: 5_000.0 * 5_000.0,
            most: 150_000.0,
        }
    }

    /// For longer ones, from which an idle processor comes back much later (200 to 500 µs were measured on a virtual
    /// machine), and few enough to spin for longer.
    const fn long() -> Margin {
        Margin {
            mean: 400_000.0,
            variance: 100_000.0 * 100_000.0,
            most: 1_000_000.0,
        }
    }

    fn observe(&mut self, oversleep: Duration) {
        // A stall of the host says nothing about the next sleep; unclamped it would drive the margin to its
        // maximum for seconds.
        let nanos = (oversleep.as_nanos() as f64).min(2.0 * self.most);
        let off = nanos - self.mean;
        self.mean += Margin::GAIN * off;
        self.variance = (1.0 - Margin::GAIN) * (self.variance + Margin::GAIN * off * off);
    }

    fn get(&self) -> Duration {
        let nanos = (self.mean + 3.0 * self.variance.sqrt()).clamp(Margin::LEAST, self.most);
        Duration::from_nanos(nanos as u64)
    }
}

/// The longest that an [`Pacing::Eco`] wait for sockets sleeps at once while sends are due soon.
const QUANTUM: Duration = Duration::from_micros(200);

/// Waits for descriptors and instants. One per thread.
#[derive(Debug)]
pub struct Waiter {
    pacing: Pacing,
    short: Margin,
    long: Margin,
    may_spin: bool,
    linger: Duration,
    waker: Option<Waker>,
    polled: Vec<libc::pollfd>,
    /// What came last had to be waited for: there will be nothing yet the next time either.
    pub(crate) is_quiet: bool,
}

impl Waiter {
    /// A waiter with this pacing. Where this thread may run on one CPU alone, or its control group allows less than one,
    /// it never spins, whatever was asked: spinning would hold up the very packets it waits for.
    pub fn new(pacing: Pacing) -> Waiter {
        let may_spin = spinning_allowed();
        let pacing = if pacing == Pacing::Spin && !may_spin {
            Pacing::Eco
        } else {
            pacing
        };
        Waiter {
            pacing,
            short: Margin::short(),
            long: Margin::long(),
            may_spin,
            linger: Duration::ZERO,
            waker: None,
            polled: Vec::with_capacity(4),
            is_quiet: false,
        }
    }

    /// The same, woken by `waker` too.
    pub fn with_waker(mut self, waker: Waker) -> Waiter {
        self.waker = Some(waker);
        self
    }

    /// Looks at the descriptors for this long without sleeping before it sleeps (not with [`Pacing::Eco`]): while answers
    /// come back faster than that, no wake-up is paid for (50 µs gave nine times the round trips per second, and
    /// costs nothing when idle). Zero, the default, sleeps at once.
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = if self.may_spin && self.pacing != Pacing::Eco {
            linger
        } else {
            Duration::ZERO
        };
    }

    /// Waits for packets as it is told. Bound to one of several processors it spins too, where [`Wait::here`] lets it.
    pub fn set_wait(&mut self, wait: Wait) {
        self.linger = match wait.here() {
            Wait::Block => Duration::ZERO,
            Wait::Auto => SPIN,
            Wait::Busy => ENDLESS,
        };
        self.may_spin |= !self.linger.is_zero();
    }

    /// Looks for what comes for a while ([`SPIN`]) and then sleeps, also where this thread is bound to one of several
    /// processors: for an end that serves, and idles.
    pub fn set_wait_of_server(&mut self, wait: Wait) {
        self.set_wait(wait);
        self.linger = self.linger.min(SPIN);
    }

    /// Whether a packet may be held, spinning, for the last microseconds before it is due.
    pub fn may_hold(&self) -> bool {
        self.may_spin && self.pacing != Pacing::Eco
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// What descriptor number `index` of the last [`Waiter::wait`] had, if that returned [`Woken::Ready`].
    pub fn readiness(&self, index: usize) -> Readiness {
        let revents = self.polled.get(index).map_or(0, |p| p.revents);
        Readiness {
            readable: revents & (libc::POLLIN | libc::POLLHUP) != 0,
            error: revents & (libc::POLLERR | libc::POLLNVAL) != 0,
        }
    }

    /// Waits until one of `fds` is readable or has an error, or until `until`. Does not look at the descriptors when
    /// `until` has passed already. Signals do not end it.
    pub fn wait(&mut self, fds: &[BorrowedFd<'_>], until: Timestamp) -> Woken {
        let interest = |fd: &BorrowedFd<'_>| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        self.polled.clear();
        if self.waker.as_ref().is_some_and(Waker::take) {
            return Woken::Interrupted;
        }
        let start = Clock.now();
        if start >= until {
            return Woken::Due;
        }
        self.polled.extend(fds.iter().map(interest));
        self.polled
            .extend(self.waker.as_ref().map(|w| interest(&w.descriptor())));
        match self.pacing {
            Pacing::Spin => self.spin_polling(fds.len(), until).unwrap_or(Woken::Due),
            Pacing::Precise => self.sleep_then_spin(fds.len(), start, until),
            Pacing::Eco => self.sleep_in_quanta(fds.len(), start, until),
        }
    }

    fn spin_polling(&mut self, sockets: usize, until: Timestamp) -> Option<Woken> {
        loop {
            if let Some(woken) = self.poll(sockets, Some(Duration::ZERO)) {
                return Some(woken);
            }
            if Clock.now() >= until {
                return None;
            }
            std::hint::spin_loop();
        }
    }

    fn margin(&mut self, is_long: bool) -> &mut Margin {
        if is_long {
            &mut self.long
        } else {
            &mut self.short
        }
    }

    /// Where the sleep of a precise wait ends, and the spinning for its last stretch begins.
    fn asleep_until(&mut self, start: Timestamp, until: Timestamp) -> Timestamp {
        if !self.may_spin {
            return until;
        }
        let is_long = until.since(start) >= LONG_SLEEP;
        // A thread that wakes often must not spin for most of the time between: a twelfth of it, but for a stretch
        // that nearly every sleep ends within.
        let most = (until.since(start) / 12).max(MOST_OFTEN);
        until.minus(self.margin(is_long).get().min(most))
    }

    fn sleep_then_spin(&mut self, sockets: usize, start: Timestamp, until: Timestamp) -> Woken {
        let asleep_until = self.asleep_until(start, until);
        if let Some(woken) = self.look_first(sockets, start, asleep_until) {
            return woken;
        }
        if let Some(woken) = self.sleep(sockets, asleep_until, until == Timestamp::NEVER) {
            return woken;
        }
        while Clock.now() < until {
            std::hint::spin_loop();
        }
        Woken::Due
    }

    /// Looks at the descriptors without sleeping, as long as that was asked for and this thread's turn it is.
    fn look_first(&mut self, sockets: usize, start: Timestamp, until: Timestamp) -> Option<Woken> {
        if self.linger.is_zero() {
            return None;
        }
        let _turn = SpinTurn::take(SpinTurn::most())?;
        self.spin_polling(sockets, until.min(start.plus(self.linger)))
    }

    /// The right to look for packets by trying to receive them, which is one system call where a poll and a receive are
    /// two: as long as it was asked for, and if it is this thread's turn.
    pub(crate) fn look(&mut self, start: Timestamp, until: Timestamp) -> Option<Look> {
        if self.linger.is_zero() {
            return None;
        }
        let until = match self.pacing {
            Pacing::Spin => return None,
            Pacing::Precise => self.asleep_until(start, until),
            Pacing::Eco => until,
        };
        Look::begin(start, until.min(start.plus(self.linger)))
    }

    /// Whether the waker called; it is asked by who looks instead of waiting.
    pub(crate) fn is_called(&self) -> bool {
        self.waker.as_ref().is_some_and(Waker::take)
    }

    /// As [`Waiter::wait`], by who has looked already.
    pub(crate) fn wait_after_look(&mut self, fds: &[BorrowedFd<'_>], until: Timestamp) -> Woken {
        let linger = std::mem::take(&mut self.linger);
        let woken = self.wait(fds, until);
        self.linger = linger;
        woken
    }

    fn sleep_in_quanta(&mut self, sockets: usize, start: Timestamp, until: Timestamp) -> Woken {
        // What falls due within one quantum is worth no wake-up of its own: it leaves together with the next.
        let until = if until < start.plus(QUANTUM) {
            start.plus(QUANTUM)
        } else {
            until
        };
        if let Some(woken) = self.look_first(sockets, start, until) {
            return woken;
        }
        self.sleep(sockets, until, until == Timestamp::NEVER)
            .unwrap_or(Woken::Due)
    }

    /// Sleeps on the descriptors until `until`; `None` when that has come.
    fn sleep(&mut self, sockets: usize, until: Timestamp, forever: bool) -> Option<Woken> {
        least_timer_slack();
        loop {
            let now = Clock.now();
            if now >= until {
                return None;
            }
            let is_long = until.since(now) >= LONG_SLEEP;
            let woken = self.poll(sockets, (!forever).then(|| until.since(now)));
            if woken.is_some() {
                return woken;
            }
            let awake = Clock.now();
            if awake >= until {
                self.margin(is_long).observe(awake.since(until));
                return None;
            }
        }
    }

    /// One look at the descriptors, of at most `timeout`; `None` when there was nothing, or a signal came.
    fn poll(&mut self, sockets: usize, timeout: Option<Duration>) -> Option<Woken> {
        let timeout = timeout.map(timespec);
        let pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.polled.len() as libc::nfds_t;
        // SAFETY: the array is valid for reads and writes of `count` entries; the timeout is null or valid; no signal
        // mask is given. Every descriptor in it is borrowed for the length of `wait`, or is the waker's.
        let got = unsafe { libc::ppoll(self.polled.as_mut_ptr(), count, pointer, std::ptr::null()) };
        if got <= 0 {
            // After a signal the kernel leaves `revents` as they were: zero.
            return None;
        }
        if self.polled.get(sockets).is_some_and(|p| p.revents != 0) {
            if let Some(waker) = &self.waker {
                waker.reset();
            }
            return Some(Woken::Interrupted);
        }
        Some(Woken::Ready)
    }
}

fn timespec(d: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(d.subsec_nanos() as i32),
    }
}

/// The default lets every sleep end up to 50 µs late so that wake-ups can be gathered.
fn least_timer_slack() {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    DONE.with(|done| {
        if !done.replace(true) {
            // SAFETY: sets a number of this thread; no pointers are passed. It cannot fail.
            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
        }
    });
}

/// Sleeps for `d` on the monotonic clock, whatever signals come.
pub fn sleep(d: Duration) {
    least_timer_slack();
    let until = timespec(Duration::from_nanos(Clock.now().plus(d).as_nanos()));
    loop {
        // SAFETY: `until` is valid for reads; with an absolute deadline nothing is written back.
        let error = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const until,
                std::ptr::null_mut(),
            )
        };
        if error != libc::EINTR {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
