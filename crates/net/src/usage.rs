//! What the program itself costs: processor time.

use std::mem::MaybeUninit;
use std::time::Duration;

/// Processor time used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuTime {
    /// In the program's own code.
    pub user: Duration,
    /// In the kernel, on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// By this thread.
    pub fn of_thread() -> CpuTime {
        read(libc::RUSAGE_THREAD)
    }

    /// By this process, all its threads together.
    pub fn of_process() -> CpuTime {
        read(libc::RUSAGE_SELF)
    }

    /// Both kinds together.
    pub fn total(self) -> Duration {
        self.user.saturating_add(self.system)
    }

    /// What was used since `before`.
    pub fn since(self, before: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// This and `other` together.
    #[must_use]
    pub fn plus(self, other: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user.saturating_add(other.user),
            system: self.system.saturating_add(other.system),
        }
    }
}

fn read(who: i32) -> CpuTime {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writes of its size; it was zeroed, and all zeros is a valid value of it, so that
    // it may be read even if the call should fail.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    CpuTime {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_in_the_thread_and_in_the_process() {
        let (thread, process) = (CpuTime::of_thread(), CpuTime::of_process());
        let mut x = 1u64;
        while CpuTime::of_thread().since(thread).total() < Duration::from_millis(3) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(CpuTime::of_process().since(process).total() >= Duration::from_millis(3));
        assert_eq!(thread.since(CpuTime::of_thread()), CpuTime::default());
    }
}
