//! Instants as plain numbers. Nothing here reads a clock: time is an argument everywhere but in `rping-net`.

use std::time::Duration;

/// An instant on the machine's monotonic clock, in nanoseconds since that clock's own origin.
///
/// Kernel time stamps, which are wall-clock, are brought onto this scale by `rping-net` before anybody else
/// sees them, so two `Timestamp`s can always be subtracted. All arithmetic saturates: no difference is negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Timestamp = Timestamp(0);
    /// Later than any instant that is ever reached: "wait for events alone".
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// An instant `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds from `earlier` to `self`, zero when `earlier` is not earlier.
    pub const fn nanos_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `by` later; stays at [`Timestamp::NEVER`] when that is beyond the scale.
    pub const fn plus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos(by)))
    }

    /// The instant `nanos` nanoseconds later.
    pub const fn plus_nanos(self, nanos: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos))
    }

    /// The instant `by` earlier; stays at [`Timestamp::ZERO`].
    pub const fn minus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(nanos(by)))
    }
}

/// A `Duration` in whole nanoseconds, saturating at `u64::MAX` (584 years).
pub const fn nanos(d: Duration) -> u64 {
    d.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(d.subsec_nanos() as u64)
}

/// Who took a time stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StampSource {
    /// rping itself: before the send call, or after the receive call returned.
    User,
    /// The kernel, as the packet passed to or from the driver (`SO_TIMESTAMPING`, software).
    Kernel,
    /// The network interface's own clock.
    Hardware,
    /// The kernel's TCP: `tcpi_rtt`, taken at the SYN-ACK, with a grain of 1 µs.
    TcpInfo,
}

impl StampSource {
    /// The word used in output: `user`, `kernel`, `hardware` or `tcp_info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            StampSource::User => "user",
            StampSource::Kernel => "kernel",
            StampSource::Hardware => "hardware",
            StampSource::TcpInfo => "tcp_info",
        }
    }
}

/// An instant and who took it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stamp {
    /// When.
    pub at: Timestamp,
    /// According to whom.
    pub source: StampSource,
}

impl Stamp {
    /// A stamp that rping took itself.
    pub const fn user(at: Timestamp) -> Stamp {
        Stamp {
            at,
            source: StampSource::User,
        }
    }

    /// A stamp that the kernel took.
    pub const fn kernel(at: Timestamp) -> Stamp {
        Stamp {
            at,
            source: StampSource::Kernel,
        }
    }

    /// A stamp of the network interface's own clock, brought onto this scale.
    pub const fn hardware(at: Timestamp) -> Stamp {
        Stamp {
            at,
            source: StampSource::Hardware,
        }
    }
}
