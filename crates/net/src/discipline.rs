//! How the wall clock is kept right: what the kernel knows of whoever disciplines it (`adjtimex(2)`).

use std::io;

/// State of the wall clock's discipline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discipline {
    /// Somebody (an NTP or PTP daemon) keeps it right, as far as the kernel knows.
    pub synchronised: bool,
    /// The offset that is being worked off, nanoseconds.
    pub offset_ns: i64,
    /// The rate correction, parts per thousand million.
    pub frequency_ppb: i64,
    /// How wrong it may be at most, microseconds; grows while nobody corrects it.
    pub most_error_us: i64,
    /// How wrong it is thought to be, microseconds.
    pub likely_error_us: i64,
    /// A leap second is announced or under way.
    pub leap: bool,
    /// International atomic time less UTC, seconds; 0 where nobody told the kernel.
    pub tai_seconds: i32,
}

/// Asks the kernel. Takes no privilege and changes nothing.
///
/// # Errors
/// What the system said; not expected.
pub fn discipline() -> io::Result<Discipline> {
    // SAFETY: all-zero bytes are a valid `timex`; `modes` 0 asks alone.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `asked` is valid for reads and writes during the call.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit = if asked.status & libc::STA_NANO != 0 {
        1
    } else {
        1_000
    };
    Ok(Discipline {
        synchronised: asked.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR,
        offset_ns: asked.offset.saturating_mul(unit),
        // Parts per million with 16 bits behind the point.
        frequency_ppb: asked.freq.saturating_mul(1_000) / 65_536,
        most_error_us: asked.maxerror,
        likely_error_us: asked.esterror,
        leap: matches!(
            state,
            libc::TIME_INS | libc::TIME_DEL | libc::TIME_OOP | libc::TIME_WAIT
        ),
        tai_seconds: asked.tai,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells_how_the_clock_is_kept() {
        let state = super::discipline().expect("an answer");
        assert!(
            state.most_error_us >= 0 && state.likely_error_us >= 0,
            "{state:?}"
        );
        assert!(state.frequency_ppb.abs() <= 600_000, "{state:?}");
    }
}
