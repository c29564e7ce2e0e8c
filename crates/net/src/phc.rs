//! A network interface's own clock, and the way from its stamps onto the monotonic scale.
//!
//! Such a clock (`/dev/ptpN`) counts on its own: some seconds apart (it may keep TAI), some millionths faster or slower.
//! It is read against the system's clocks now and then, and a [`Line`] through those readings places stamps. The line
//! bends at each reading and never jumps, so the difference of two stamps is as good as the clock's own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rping_engine::Timestamp;

use crate::clock::{Clock, Realtime};
use crate::sys;

/// How long one reading is good for.
const AGAIN: Duration = Duration::from_millis(100);
/// A clock of this kind runs wrong by at most so much, and is steered by at most so much: nanoseconds per nanosecond.
const MOST_RATE: f64 = 500e-6;
/// What a reading may be off beyond its own bounds, nanoseconds: the system's two clocks are known to within a fraction.
const SLACK: i64 = 1_000;
/// How much of what a reading shows is believed: of the clock's rate, and of how far the line is off.
const OF_RATE: f64 = 0.125;
const OF_OFFSET: f64 = 0.25;
/// How many readings the kernel is asked for at once, of which the tightest counts.
const READINGS: u32 = 5;

/// `struct ptp_clock_time`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
struct Time {
    seconds: i64,
    nanos: u32,
    reserved: u32,
}

impl Time {
    fn nanos(self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(self.nanos))
    }
}

/// `struct ptp_sys_offset_precise`: device, realtime and raw monotonic, captured by the hardware at one instant.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Precise {
    device: Time,
    realtime: Time,
    monotonic_raw: Time,
    reserved: [u32; 4],
}

/// `struct ptp_sys_offset_extended`: realtime, device, realtime; and again.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extended {
    count: u32,
    reserved: [u32; 3],
    times: [[Time; 3]; 25],
}

/// `_IOWR('=', number, T)` of `linux/ptp_clock.h`.
const fn request<T>(number: u64) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | (b'=' as u64) << 8 | number
}

const PTP_SYS_OFFSET_PRECISE: u64 = request::<Precise>(8);
const PTP_SYS_OFFSET_EXTENDED: u64 = request::<Extended>(9);

/// One reading: the interface's clock showed `device` when the wall clock showed `real`, give or take half of `width`;
/// all in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    device: i64,
    real: i64,
    width: i64,
}

/// The tightest of readings between two of the wall clock.
fn tightest(times: &[[Time; 3]]) -> Option<Reading> {
    times
        .iter()
        .map(|[before, device, after]| {
            let (before, after) = (before.nanos(), after.nanos());
            let width = after.saturating_sub(before);
            Reading {
                device: device.nanos(),
                real: before.saturating_add(width / 2),
                width,
            }
        })
        .filter(|reading| reading.width >= 0)
        .min_by_key(|reading| reading.width)
}

/// From the interface's clock to the monotonic one: a straight line from the last reading on.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Line {
    device: i64,
    mono: i64,
    /// How many nanoseconds the monotonic clock gains on each of the interface's.
    rate: f64,
    /// The part of it that is the interface clock's own, smoothed over readings; `None` before there were two.
    own: Option<f64>,
    /// The last reading as it was: what the next is compared with for the interface clock's own rate.
    read: (i64, i64),
}

impl Line {
    const fn from(device: i64, mono: i64) -> Line {
        Line {
            device,
            mono,
            rate: 0.0,
            own: None,
            read: (device, mono),
        }
    }

    /// The monotonic instant of `device`, nanoseconds.
    fn at(&self, device: i64) -> i64 {
        let apart = device.saturating_sub(self.device);
        let gained = apart as f64 * self.rate;
        self.mono
            .saturating_add(apart)
            .saturating_add(gained.round() as i64)
    }

    /// Bends toward a new reading that is good to within `width`; `None` when the clock was stepped since the last.
    fn bent(&self, device: i64, mono: i64, width: i64) -> Option<Line> {
        let passed = mono.saturating_sub(self.read.1);
        let counted = device.saturating_sub(self.read.0);
        if passed <= 0 {
            return Some(*self);
        }
        let foretold = self.at(device);
        let off = mono.saturating_sub(foretold);
        let drift = passed as f64 * MOST_RATE;
        let bound = width.max(0).saturating_add(SLACK).saturating_add(drift as i64);
        if counted <= 0
            || off.saturating_abs() > bound
            || passed.saturating_sub(counted).saturating_abs() > bound
        {
            return None;
        }
        let seen = passed.saturating_sub(counted) as f64 / counted as f64;
        // What is off is made good by and by, for a reading has errors of its own; but the first time it is the rate, which
        // was not known.
        let (own, made_good) = match self.own {
            Some(own) => (own + (seen - own) * OF_RATE, OF_OFFSET),
            None => (seen, 1.0),
        };
        let rate = own + off as f64 * made_good / counted as f64;
        Some(Line {
            device,
            mono: foretold,
            rate: rate.clamp(-MOST_RATE, MOST_RATE),
            own: Some(own.clamp(-MOST_RATE, MOST_RATE)),
            read: (device, mono),
        })
    }
}

/// An interface's clock, open.
#[derive(Debug)]
pub struct Phc {
    fd: OwnedFd,
    line: Option<Line>,
    read: Timestamp,
    is_precise: bool,
}

impl Phc {
    /// Opens clock number `index` (`/dev/ptpN`) and reads it once.
    ///
    /// # Errors
    /// When there is none, it may not be opened, or cannot be compared with the system's clocks.
    pub fn open(index: u32) -> io::Result<Phc> {
        let fd = File::open(format!("/dev/ptp{index}"))?.into();
        let mut phc = Phc {
            fd,
            line: None,
            read: Timestamp::ZERO,
            is_precise: true,
        };
        phc.reading()?;
        Ok(phc)
    }

    /// One that opens and cannot be read.
    #[cfg(test)]
    pub(crate) fn unreadable() -> Phc {
        Phc {
            fd: File::open("/dev/null").expect("there is one").into(),
            line: None,
            read: Timestamp::ZERO,
            is_precise: true,
        }
    }

    fn reading(&mut self) -> io::Result<Reading> {
        if self.is_precise {
            let mut precise = Precise::default();
            let got = sys::retry(|| {
                // SAFETY: `precise` is valid for writes, and the request's number says its size.
                unsafe { libc::ioctl(self.fd.as_raw_fd(), PTP_SYS_OFFSET_PRECISE as _, &raw mut precise) }
            });
            if got.is_ok() {
                return Ok(Reading {
                    device: precise.device.nanos(),
                    real: precise.realtime.nanos(),
                    width: 0,
                });
            }
            // Few interfaces can; asking again would not help.
            self.is_precise = false;
        }
        let mut extended = Extended {
            count: READINGS,
            reserved: [0; 3],
            times: [[Time::default(); 3]; 25],
        };
        sys::retry(|| {
            // SAFETY: `extended` is valid for writes, and the request's number says its size.
            unsafe {
                libc::ioctl(
                    self.fd.as_raw_fd(),
                    PTP_SYS_OFFSET_EXTENDED as _,
                    &raw mut extended,
                )
            }
        })?;
        let count = (extended.count as usize).min(extended.times.len());
        tightest(&extended.times[..count]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Makes sure that the last reading is fresh; to be called after [`Realtime::check`]. `false` when the clock cannot be
    /// trusted any more: it was stepped, or cannot be read.
    pub(crate) fn check(&mut self, realtime: &Realtime, now: Timestamp) -> bool {
        if self.line.is_some() && now.since(self.read) < AGAIN {
            return true;
        }
        let Ok(reading) = self.reading() else {
            return false;
        };
        // Both readings on one scale: the wall clock's offset has just been checked, or is checked with the next batch.
        let mono = realtime.monotonic(reading.real);
        self.read = Clock.now();
        self.line = match self.line {
            Some(line) => line.bent(reading.device, mono, reading.width),
            None => Some(Line::from(reading.device, mono)),
        };
        self.line.is_some()
    }

    /// The instant of a stamp of this clock, or `None` where it is not between `not_before` and `now`: another clock's.
    pub(crate) fn instant(&self, device: i64, not_before: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let at = Timestamp::from_nanos(u64::try_from(self.line?.at(device)).ok()?);
        let slack = Duration::from_nanos(5 * SLACK as u64);
        (at.plus(slack) >= not_before && at <= now.plus(slack)).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn time(nanos: i64) -> Time {
        Time {
            seconds: nanos / SECOND,
            nanos: (nanos % SECOND) as u32,
            reserved: 0,
        }
    }

    #[test]
    fn the_requests_are_numbered_as_the_kernels() {
        assert_eq!((size_of::<Precise>(), size_of::<Extended>()), (64, 1216));
        assert_eq!(PTP_SYS_OFFSET_PRECISE, 0xc040_3d08);
        assert_eq!(PTP_SYS_OFFSET_EXTENDED, 0xc4c0_3d09);
    }

    #[test]
    fn the_tightest_reading_counts_and_one_across_a_step_back_does_not() {
        let readings = [
            [time(100_000), time(37 * SECOND), time(101_000)],
            [time(200_000), time(37 * SECOND + 100_200), time(200_300)],
            [time(300_000), time(37 * SECOND + 200_000), time(290_000)],
        ];
        let want = Reading {
            device: 37 * SECOND + 100_200,
            real: 200_150,
            width: 300,
        };
        assert_eq!(tightest(&readings), Some(want));
        assert_eq!(tightest(&[]), None);
        assert_eq!(tightest(&readings[2..]), None);
    }

    /// A clock 37 s ahead that runs fast by `ppm` millionths, read each 100 ms with an error of up to `noise`.
    fn followed(ppm: i64, noise: i64, readings: i64, mut each: impl FnMut(i64, &Line, i64)) -> Option<Line> {
        let device = |mono: i64| 37 * SECOND + mono + mono / 1_000_000 * ppm;
        let mut line = Line::from(device(SECOND), SECOND + noise);
        for n in 1..readings {
            let mono = SECOND + n * 100_000_000;
            let error = if n % 2 == 0 { noise } else { -noise };
            let next = line.bent(device(mono), mono + error, 2 * noise)?;
            each(n, &next, mono);
            line = next;
        }
        Some(line)
    }

    #[test]
    fn a_clock_that_runs_fast_is_followed_and_a_round_trip_is_as_long_as_it_was() {
        for ppm in [-100, -30, 0, 30, 100] {
            let device = |mono: i64| 37 * SECOND + mono + mono / 1_000_000 * ppm;
            followed(ppm, 0, 100, |n, line, mono| {
                if n < 3 {
                    return;
                }
                let (left, came) = (mono + 10_000_000, mono + 60_000_000);
                assert!(
                    (line.at(device(left)) - left).abs() <= 2,
                    "{ppm} ppm, reading {n}"
                );
                let rtt = line.at(device(came)) - line.at(device(left));
                assert!((rtt - 50_000_000).abs() <= 2, "{ppm} ppm, reading {n}: {rtt}");
            })
            .expect("no step");
        }
    }

    #[test]
    fn the_line_never_jumps_and_is_off_by_little_more_than_its_readings() {
        let mut before: Option<Line> = None;
        let device = |mono: i64| 37 * SECOND + mono + mono / 1_000_000 * 20;
        followed(20, 400, 200, |n, line, mono| {
            if let Some(before) = before {
                let here = device(mono);
                assert!((line.at(here) - before.at(here)).abs() <= 1, "continuous");
            }
            before = Some(*line);
            if n < 20 {
                return;
            }
            assert!(
                (line.at(device(mono)) - mono).abs() < 2 * 400,
                "{}",
                line.at(device(mono)) - mono
            );
            // A round trip of 1 ms, off by no more than the rate is.
            let rtt = line.at(device(mono + 1_000_000)) - line.at(device(mono));
            assert!((rtt - 1_000_000).abs() <= 5, "{rtt}");
        })
        .expect("no step");
    }

    #[test]
    fn a_stepped_or_stopped_clock_is_not_believed() {
        let line = followed(10, 200, 20, |_, _, _| {}).expect("no step");
        let (device, mono) = (line.read.0 + 100_000_000, line.read.1 + 100_000_000);
        assert!(line.bent(device, mono, 500).is_some());
        for (name, device) in [
            ("forward", device + 100_000),
            ("back", device - 100_000),
            ("far", device + 37 * SECOND),
            ("stopped", line.read.0),
            ("backward", line.read.0 - 5),
        ] {
            assert!(line.bent(device, mono, 500).is_none(), "{name}");
        }
    }

    #[test]
    fn a_stamp_outside_what_is_possible_is_another_clocks() {
        let at = |nanos: u64| Timestamp::from_nanos(nanos);
        let phc = |line| Phc {
            line,
            ..Phc::unreadable()
        };
        let known = phc(Some(Line::from(37 * SECOND, SECOND)));
        let (begin, now) = (at(1_000_050_000), at(1_000_200_000));
        assert_eq!(
            known.instant(37 * SECOND + 100_000, begin, now),
            Some(at(1_000_100_000))
        );
        for device in [0, SECOND, 37 * SECOND, 37 * SECOND + 300_000, i64::MIN, i64::MAX] {
            assert_eq!(known.instant(device, begin, now), None, "{device}");
        }
        assert_eq!(phc(None).instant(37 * SECOND + 100_000, begin, now), None);
    }

    #[test]
    fn what_is_no_such_clock_cannot_be_opened_as_one() {
        assert!(Phc::open(u32::MAX).is_err());
        let mut null = Phc::unreadable();
        assert!(null.reading().is_err());
        assert!(!null.check(&Realtime::new(), Clock.now()), "and is not trusted");
    }

    proptest! {
        #[test]
        fn no_readings_make_the_arithmetic_panic(a in any::<[i64; 5]>(), rate in -MOST_RATE..MOST_RATE) {
            let mut line = Line::from(a[0], a[1]);
            line.rate = rate;
            let _ = line.at(a[2]);
            if let Some(bent) = line.bent(a[2], a[3], a[4]) {
                prop_assert!(bent.rate.abs() <= MOST_RATE);
                let _ = bent.at(a[0]);
            }
        }

        #[test]
        fn no_times_make_reading_panic(times in proptest::collection::vec(any::<[(i64, u32); 3]>(), 0..8)) {
            let times: Vec<_> = times
                .iter()
                .map(|t| t.map(|(seconds, nanos)| Time { seconds, nanos, reserved: 0 }))
                .collect();
            let _ = tightest(&times);
        }
    }
}
