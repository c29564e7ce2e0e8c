//! Which compromise between exact sends and a free CPU is the right one, here and at this rate.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How the time until the next send is spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// Sleep, then spin for the last stretch: exact; about 4 % of a core at 1 kHz, half a core at 10 kHz.
    Precise,
    /// Spin all the time: exact at any rate; a whole core.
    Spin,
    /// Sleep alone, waking about each 200 µs: late by up to that, cheap at any rate.
    Eco,
}

/// Up to this share of a core goes into spinning before sleeping makes no sense any more, and the stretch that one
/// exact wake-up spins on average: together they put the change-over at 15 000 wake-ups per second, where a
/// sleeping engine was measured to burn the whole core anyway.
const SPIN_SHARE: f64 = 0.6;
const SPIN_PER_WAKE: f64 = 40e-6;

impl Pacing {
    /// The sensible choice for this many sends per second in all; infinity means "as fast as possible".
    pub fn choose(rate_hz: f64) -> Pacing {
        Pacing::choose_for(rate_hz, spinning_allowed())
    }

    fn choose_for(rate_hz: f64, may_spin: bool) -> Pacing {
        if rate_hz * SPIN_PER_WAKE < SPIN_SHARE {
            Pacing::Precise
        } else if may_spin {
            Pacing::Spin
        } else {
            Pacing::Eco
        }
    }

    /// The word used in output: `precise`, `spin` or `eco`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pacing::Precise => "precise",
            Pacing::Spin => "spin",
            Pacing::Eco => "eco",
        }
    }
}

/// How many CPUs this thread may run on.
pub fn allowed_cpus() -> usize {
    // SAFETY: an all-zero set is a valid value of this plain array of bits.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes of the size given; 0 means this thread.
    let failed =
        unsafe { libc::sched_getaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &raw mut set) } != 0;
    if failed {
        // More CPUs than the set has bits for.
        return std::thread::available_parallelism().map_or(1, usize::from);
    }
    // SAFETY: `set` was filled in above and is only read.
    usize::try_from(unsafe { libc::CPU_COUNT(&set) }).unwrap_or(1)
}

/// The CPU that the calling thread runs on just now.
pub fn current_cpu() -> Option<usize> {
    // SAFETY: no pointers are passed.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Whether spinning is harmless: more than one CPU, and the control group allows at least a whole one.
pub(crate) fn spinning_allowed() -> bool {
    allowed_cpus() > 1 && quota_allows_one()
}

/// Whether the control group allows at least a whole CPU.
pub(crate) fn quota_allows_one() -> bool {
    static QUOTA_BELOW_ONE: OnceLock<bool> = OnceLock::new();
    !*QUOTA_BELOW_ONE.get_or_init(|| group_quota().is_some_and(|cpus| cpus < 1.0))
}

/// The least CPU quota along this process's control groups, of either version, in CPUs; `None` where there is none.
fn group_quota() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least: Option<f64> = None;
    for line in groups.lines() {
        // number:controllers:path, without controllers for version 2.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, read): (_, fn(&Path) -> Option<f64>) = match controllers {
            "" => ("/sys/fs/cgroup", quota_v2),
            _ if controllers.split(',').any(|c| c == "cpu") => ("/sys/fs/cgroup/cpu", quota_v1),
            _ => continue,
        };
        let mut folder = PathBuf::from(root);
        folder.extend(Path::new(path).iter().skip(1));
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
            least = match (least, read(folder)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    least
}

fn quota_v2(folder: &Path) -> Option<f64> {
    parse_quota(&std::fs::read_to_string(folder.join("cpu.max")).ok()?)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let read = |name| std::fs::read_to_string(folder.join(name)).ok();
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    // No quota is −1.
    parse_quota(&format!("{} {}", quota.trim(), period.trim())).filter(|&cpus| cpus > 0.0)
}

/// `cpu.max`: "quota period" in microseconds, or "max period".
fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pacing_follows_from_the_rate_and_from_whether_spinning_is_allowed() {
        assert_eq!(Pacing::choose_for(1.0, true), Pacing::Precise);
        assert_eq!(Pacing::choose_for(10_000.0, true), Pacing::Precise);
        assert_eq!(Pacing::choose_for(15_001.0, true), Pacing::Spin);
        assert_eq!(Pacing::choose_for(f64::INFINITY, true), Pacing::Spin);
        assert_eq!(Pacing::choose_for(100_000.0, false), Pacing::Eco);
    }

    #[test]
    fn a_quota_is_read_in_cpus_and_max_is_none() {
        assert_eq!(parse_quota("50000 100000\n"), Some(0.5));
        assert_eq!(parse_quota("max 100000\n"), None);
        assert_eq!(parse_quota("7 0"), None);
        assert_eq!(parse_quota(""), None);
    }
}
