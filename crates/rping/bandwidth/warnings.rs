//! When not to trust a throughput test's result.

use rping_peer::beside::Findings;
use rping_peer::iperf::{Client, Outcome};

/// When not to trust the result.
pub(super) fn warnings(outcome: Option<&Outcome>, client: &Client, found: Option<&Findings>) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(found) = found.filter(|found| found.idle.received + found.loaded.received == 0) {
        all.push(format!(
            "latency: no STAMP reflector answered at {}: iperf3's server is none; --latency=HOST:PORT names another",
            found.reflector
        ));
    }
    let Some(outcome) = outcome else { return all };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let busy = outcome.cpu_local[0] / 100.0;
    let streams = client.parameters.streams() as f64;
    if busy >= 0.95 * cores.min(streams) {
        all.push(format!(
            "cpu: this host's processors were busy ({:.0}% of {cores:.0}): the figure may be theirs, not the network's",
            outcome.cpu_local[0]
        ));
    }
    for side in &outcome.sides {
        let dropped = side.received.map_or(0, |received| received.dropped);
        if dropped > 0 {
            let who = if side.is_forward {
                "the far end"
            } else {
                "this host"
            };
            all.push(format!(
                "receive_buffer: {who} dropped {dropped} datagrams itself, its buffer being full: run it as root or \
                 raise net.core.rmem_max there"
            ));
        }
        if side.discarded.is_none() {
            all.push(
                "skip_rx_copy: the far end was asked to leave the payload unread and does not say whether it did"
                    .to_owned(),
            );
        }
    }
    if let Some(lateness) = outcome.lateness.filter(|lateness| !lateness.skipped.is_zero()) {
        all.push(format!(
            "schedule: the sender was held up, by this host or by a path that is slower than the rate; {:?} of it \
             were left out",
            lateness.skipped
        ));
    }
    if outcome.interrupted {
        all.push("interrupted: ended before its time".to_owned());
    }
    all
}
