//! When not to trust the result: one sentence each.

use std::time::Duration;

use rping_engine::{Origin, Reason, RunReport, StampSource};

use crate::job::{Job, Kind, Pace, Pacing};

/// Sends this late at the median make a schedule a fiction.
const LATE_NS: u64 = 1_000_000;

/// A pause this long in the sending loop is worth a word.
const STALL_NS: u64 = 100_000_000;

/// Appends what there is to say about a run.
pub(crate) fn collect(job: &Job, run: &RunReport, warnings: &mut Vec<String>) {
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
            "clock_stepped: the wall clock, or the interface's own, was set {} times during the run; no round trip across that is measured with its stamps",
            run.clock_steps
        ));
    }
    if run.local_drops > 0 {
        warnings.push(format!(
            "local_drops: this host dropped {} packets on the way in because the socket's buffer was full; they may be counted as lost",
            run.local_drops
        ));
    }
    warnings.extend(flood_loss(job, run));
    let user: u64 = run
        .targets
        .iter()
        .map(|t| t.stamps.rx()[StampSource::User as usize])
        .sum();
    let all: u64 = run.targets.iter().flat_map(|t| t.stamps.rx()).sum();
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
    if run.unsettled > 0 {
        warnings.push(format!(
            "unsettled: {} probes were still on their way when the run was ended; they are not counted",
            run.unsettled
        ));
    }
}

/// Whose loss a flood met, as far as counters tell.
fn flood_loss(job: &Job, run: &RunReport) -> Option<String> {
    if !matches!(job.pace, Pace::Window(window) if window.adapts()) {
        return None;
    }
    let sum = |count: fn(&rping_engine::TargetReport) -> u64| run.targets.iter().map(count).sum::<u64>();
    let lost = sum(|t| t.counts.lost);
    let kept_back = sum(|t| {
        t.reasons
            .get(Reason::NoBuffer as usize)
            .copied()
            .unwrap_or(0)
            .into()
    });
    if lost + kept_back == 0 {
        return None;
    }
    let sent = sum(|t| t.counts.sent());
    Some(match (run.local_drops, kept_back) {
        (0, 0) => format!(
            "flood_loss: {lost} of {sent} probes stayed unanswered; this host dropped nothing on the way in or out, so the path or the far end did"
        ),
        (dropped, kept_back) => format!(
            "flood_loss: {lost} of {sent} probes stayed unanswered; this host dropped {dropped} packets on the way in and let {kept_back} probes not leave for want of buffers, and the path or the far end lost the rest"
        ),
    })
}

/// The least share of its processor that a spinning thread must get to be alone there.
const ALONE: f64 = 0.95;

/// Runs this short say nothing about shares: one tick of the scheduler would.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// What the way of waiting that ran says against itself: it is not the one that was asked for, or a spinning thread had
/// to share its processor.
pub(crate) fn pacing(
    asked: Option<Pacing>,
    ran: Pacing,
    (used, wall): (Duration, Duration),
    cpu: Option<usize>,
    warnings: &mut Vec<String>,
) {
    if asked.is_some_and(|asked| asked != ran) {
        warnings.push(format!(
            "pacing: {} was asked for, but rping may use one processor or less: {} instead",
            asked.unwrap_or(ran).as_str(),
            ran.as_str()
        ));
    }
    let share = used.as_secs_f64() / wall.as_secs_f64();
    if ran == Pacing::Spin && wall >= LONG_ENOUGH && share < ALONE {
        let cpu = cpu.map_or("its processor".to_owned(), |cpu| format!("CPU {cpu}"));
        warnings.push(format!(
            "shared_core: the sending thread spun on {cpu} but got {:.0} % of it: something else runs there, and sends are late by its turns",
            share * 100.0
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(asked: Option<Pacing>, ran: Pacing, used_ms: u64, wall_ms: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let times = (Duration::from_millis(used_ms), Duration::from_millis(wall_ms));
        pacing(asked, ran, times, Some(1), &mut warnings);
        warnings
    }

    #[test]
    fn a_spinning_thread_that_shares_its_processor_says_so_and_which() {
        let said_of_shared = said(None, Pacing::Spin, 500, 1000);
        assert!(said_of_shared[0].starts_with("shared_core: the sending thread spun on CPU 1 but got 50 %"));
        assert!(said(None, Pacing::Spin, 960, 1000).is_empty());
        assert!(said(None, Pacing::Spin, 50, 100).is_empty(), "too short to tell");
        assert!(said(None, Pacing::Precise, 100, 1000).is_empty(), "it sleeps");
    }

    #[test]
    fn another_pacing_than_the_one_asked_for_is_said() {
        assert!(said(Some(Pacing::Spin), Pacing::Eco, 1, 1000)[0].starts_with("pacing: spin was asked for"));
        assert!(said(Some(Pacing::Eco), Pacing::Eco, 1, 1000).is_empty());
    }
}
