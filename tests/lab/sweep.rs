//! Many on-link targets, half of them silent: the silent ones take nothing from the others.

use std::collections::HashSet;

use rping_lab::{require_root, Lab, OnLink};
use serde_json::Value;

use crate::support::{count, rping};

/// Sweeps the block once; returns the document.
fn sweep(lab: &OnLink, args: &[&str]) -> Value {
    let cidr = lab.cidr();
    let target = if args[0] == "tcp" {
        format!("{cidr}:445")
    } else {
        cidr
    };
    let run = rping(
        &lab.client,
        &[&[args[0], &target], &args[1..], &["-n", "1", "-o", "json"]].concat(),
    );
    run.json()
}

fn addresses_with<'a>(document: &'a Value, outcome: &str) -> HashSet<&'a str> {
    let targets = document["targets"].as_array().expect("an array of targets");
    let with = targets.iter().filter(|target| count(target, outcome) == 1);
    with.map(|target| target["address"].as_str().expect("an address"))
        .collect()
}

/// Those that are live and only those; a failure names a few of each kind, not four thousand.
fn assert_live(lab: &OnLink, document: &Value, outcome: &str) {
    let (seen, live) = (addresses_with(document, outcome), live(lab));
    let missing: Vec<_> = live
        .iter()
        .filter(|address| !seen.contains(address.as_str()))
        .take(5)
        .collect();
    let extra: Vec<_> = seen
        .iter()
        .filter(|address| !live.contains(**address))
        .take(5)
        .collect();
    let totals = &document["totals"];
    assert_eq!(
        seen.len(),
        live.len(),
        "{outcome}; missing {missing:?} …, not live {extra:?} …: {totals:#}"
    );
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:?} …, not live {extra:?} …"
    );
}

fn live(lab: &OnLink) -> HashSet<String> {
    lab.addresses()
        .filter(|&address| lab.is_live(address))
        .map(|address| address.to_string())
        .collect()
}

#[test]
fn every_live_address_of_4096_answers_an_icmp_sweep() {
    if !require_root("every_live_address_of_4096_answers_an_icmp_sweep") {
        return;
    }
    let lab = Lab::on_link(4096);
    let document = sweep(&lab, &["icmp"]);
    assert_live(&lab, &document, "received");
    assert_eq!(count(&document["totals"], "attempted"), 4096);
    assert_eq!(
        count(&document["totals"], "not_sent"),
        2048,
        "nobody has the others: {:#}",
        document["totals"]
    );
}

#[test]
fn every_live_address_of_4096_answers_an_arp_sweep_without_a_bound_on_the_rate() {
    if !require_root("every_live_address_of_4096_answers_an_arp_sweep_without_a_bound_on_the_rate") {
        return;
    }
    let lab = Lab::on_link(4096);
    let document = sweep(&lab, &["arp", "--max-rate", "0"]);
    assert_live(&lab, &document, "received");
    assert_eq!(count(&document["totals"], "lost"), 2048);
}

#[test]
fn every_live_address_of_1024_refuses_a_tcp_sweep() {
    if !require_root("every_live_address_of_1024_refuses_a_tcp_sweep") {
        return;
    }
    let lab = Lab::on_link(1024);
    let document = sweep(&lab, &["tcp", "-W", "1s"]);
    assert_live(&lab, &document, "rejected");
    assert_eq!(
        count(&document["totals"], "not_sent"),
        512,
        "nobody has the others: {:#}",
        document["totals"]
    );
}

#[test]
fn every_port_of_one_neighbour_refuses_a_sweep_of_its_ports() {
    if !require_root("every_port_of_one_neighbour_refuses_a_sweep_of_its_ports") {
        return;
    }
    let lab = Lab::pair();
    let run = rping(
        &lab.client,
        &[
            "tcp",
            "10.77.0.2:1-600",
            "10.77.0.3:1-200",
            "-n",
            "1",
            "--max-rate",
            "0",
            "-o",
            "json",
        ],
    );
    let document = run.json();
    let totals = &document["totals"];
    assert_eq!(
        (count(totals, "rejected"), count(totals, "not_sent")),
        (600, 200),
        "nobody has the second address: {totals:#}"
    );
}

#[test]
fn a_sweep_ends_at_the_answers_that_were_asked_for_and_asks_silent_hosts_again() {
    if !require_root("a_sweep_ends_at_the_answers_that_were_asked_for_and_asks_silent_hosts_again") {
        return;
    }
    let lab = Lab::on_link(64);
    let cidr = lab.cidr();
    let base = ["icmp", &cidr, "-n", "1", "-W", "200ms", "-o", "json"];
    let ended = rping(&lab.client, &[&base[..], &["--stop-after", "5"]].concat()).json();
    // What was on the way when the fifth answer came still counts.
    let totals =
        ["received", "rejected", "lost", "not_sent", "attempted"].map(|key| count(&ended["totals"], key));
    assert!(totals[0] >= 5 && totals[4] < 64, "{:#}", ended["totals"]);
    assert_eq!(
        totals[..4].iter().sum::<u64>(),
        totals[4],
        "{:#}",
        ended["totals"]
    );
    let again = rping(&lab.client, &[&["arp"], &base[1..], &["--retries", "2"]].concat()).json();
    assert_live(&lab, &again, "received");
    assert_eq!(
        (
            count(&again["totals"], "lost"),
            count(&again["totals"], "attempted")
        ),
        (96, 128),
        "32 silent hosts, three times each"
    );
}
