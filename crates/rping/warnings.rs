//! When not to trust the result: one sentence each.

use rping_engine::{Origin, RunReport, StampSource};

use crate::job::{Job, Kind};

/// Sends this late at the median make a schedule a fiction.
const LATE_NS: u64 = 1_000_000;

/// A pause this long in the sending loop is worth a word.
const STALL_NS: u64 = 100_000_000;

/// Appends what there is to say about a run.
pub(crate) fn collect(job: &Job, run: &RunReport, interrupted: bool, warnings: &mut Vec<String>) {
    warnings.extend(job.notes.iter().cloned());
    if job.kind == Kind::Arp {
        for (target, report) in job.targets.iter().zip(&run.targets) {
            let macs: Vec<String> = report
                .from
                .iter()
                .filter(|from| matches!(from, Origin::Mac(_)))
                .map(Origin::to_string)
                .collect();
            if macs.len() > 1 {
                warnings.push(format!(
                    "duplicate_address: {} is claimed by {}: two machines use one address",
                    target.label(),
                    macs.join(" and by ")
                ));
            }
        }
    }
    let sum =
        |count: fn(&rping_engine::Counts) -> u64| run.targets.iter().map(|t| count(&t.counts)).sum::<u64>();
    let skipped = sum(|c| c.skipped);
    if skipped > 0 {
        warnings.push(format!(
            "skipped: rping was held up for {} ms, and {skipped} probes that were due meanwhile were left out",
            run.longest_stall_ns / 1_000_000
        ));
    } else if run.longest_stall_ns >= STALL_NS {
        warnings.push(format!(
            "stalled: rping was held up for {} ms",
            run.longest_stall_ns / 1_000_000
        ));
    }
    // Many targets without a bound are sent to as fast as it goes: there is no schedule to miss.
    let has_schedule = job.targets.len() == 1 || job.max_rate.is_some();
    if has_schedule && run.lateness_ns.0.is_some_and(|late| late >= LATE_NS) {
        warnings.push(
            "late: half of the probes left more than 1 ms after they were due; this machine cannot keep the schedule"
                .to_owned(),
        );
    }
    if run.clock_steps > 0 {
        warnings.push(format!(
            "clock_stepped: the wall clock was set {} times during the run; round trips across it were stamped by rping itself",
            run.clock_steps
        ));
    }
    if run.local_drops > 0 {
        warnings.push(format!(
            "local_drops: this host dropped {} packets on the way in because the socket's buffer was full; they may be counted as lost",
            run.local_drops
        ));
    }
    let user: u64 = run
        .targets
        .iter()
        .map(|t| t.rx_stamps[StampSource::User as usize])
        .sum();
    let all: u64 = run.targets.iter().flat_map(|t| t.rx_stamps).sum();
    if user > 0 && user < all {
        warnings.push(format!(
            "user_stamps: {user} of {all} answers bore no kernel stamp; their round trips include rping's own wake-up"
        ));
    }
    if run.unexpected_elsewhere > 0 {
        warnings.push(format!(
            "unexpected: {} answers came from addresses that were not asked",
            run.unexpected_elsewhere
        ));
    }
    if interrupted && run.unsettled > 0 {
        warnings.push(format!(
            "unsettled: {} probes were still on their way when the run was ended; they are not counted",
            run.unsettled
        ));
    }
}
