//! What a host can run into, and what rping makes of it: each situation has its own outcome, reason and words.
//!
//! The situations are those that Linux answers in ways of its own, measured between two namespaces on Linux 6.18:
//! one error number stands for several layers, and only the error queue and the local tables tell them apart.

mod bench;
mod table;

use std::sync::Mutex;

use rping_lab::{require_program, require_root};
use serde_json::Value;

use crate::support::{count, rping, show};
use bench::Bench;
use table::{Ask, SITUATIONS};

const OUTCOMES: [&str; 4] = ["received", "rejected", "lost", "not_sent"];

#[test]
fn each_situation_has_its_own_outcome_reason_and_words() {
    let name = "each_situation_has_its_own_outcome_reason_and_words";
    if !require_root(name) || !require_program(name, "nft") {
        return;
    }
    let next = Mutex::new(SITUATIONS.iter().enumerate());
    let results = Mutex::new(Vec::new());
    // Most of the time is waiting for silence, so several at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| loop {
                let Some((number, situation)) = next.lock().unwrap().next() else {
                    return;
                };
                let bench = (situation.bench)();
                for (place, ask) in situation.asks.iter().enumerate() {
                    let verdict =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bench, ask)));
                    let verdict = verdict.unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().map_or("it panicked", |text| text);
                        Err(text.lines().next().unwrap_or_default().to_owned())
                    });
                    results
                        .lock()
                        .unwrap()
                        .push(((number, place), situation, ask, verdict));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(order, ..)| *order);
    let mut rows = vec![
        ["situation", "rping …", "outcome", "reason", "stamps", "as wanted"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut faults = Vec::new();
    for (_, situation, ask, verdict) in results {
        let (outcome, reason) = ask.verdict();
        let met = if verdict.is_ok() { "yes" } else { "NO" };
        let stamps = verdict.as_ref().map_or("?", String::as_str);
        let row = [
            situation.name,
            ask.command(),
            outcome,
            reason.unwrap_or("-"),
            stamps,
            met,
        ];
        rows.push(row.map(str::to_owned).to_vec());
        if let Err(fault) = verdict {
            faults.push(format!("{}: {}: {fault}", situation.name, ask.command()));
        }
    }
    show("What each situation is told apart as:", &rows);
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        rows.len() - 1,
        faults.join("\n")
    );
}

/// Asks twice: for the document, then for the words. Who took the stamps, or `-`.
fn check(bench: &Bench, ask: &Ask) -> Result<String, String> {
    let mut args: Vec<&str> = ask.command().split(' ').collect();
    args.extend(["-n", "1"]);
    if !args.contains(&"-W") {
        args.extend(["-W", "400ms"]);
    }
    let run = rping(&bench.client, &[&args[..], &["-o", "json"]].concat());
    if run.stdout.is_empty() {
        return Err(format!(
            "no document: exit {:?}: {}",
            run.status,
            run.stderr.trim()
        ));
    }
    let document = run.json();
    let target = &document["targets"][0];
    let (outcome, reason) = ask.verdict();
    let seen: Vec<&str> = OUTCOMES
        .into_iter()
        .filter(|outcome| count(target, outcome) == 1)
        .collect();
    let reasons: Vec<&String> = target["reasons"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
        .collect();
    if seen != [outcome] || reasons != Vec::from_iter(reason) {
        return Err(format!(
            "{seen:?} {reasons:?} instead of {outcome} {}",
            reason.unwrap_or_default()
        ));
    }
    let answered = outcome == "received";
    if run.status != Some(if answered { 0 } else { 1 }) {
        return Err(format!("exit {:?}", run.status));
    }
    let stamps = &document["instrument"]["timestamps"];
    let stamps = ["tx", "rx"].map(|side| stamps[side].as_str().unwrap_or("-"));
    if stamps != [ask.stamps().unwrap_or("-"); 2] {
        return Err(format!("stamps {stamps:?}"));
    }
    if answered && ask.stamps().is_none() {
        lost_syn(target)?;
    }
    let text = rping(&bench.client, &args);
    // Lines may be wrapped: words are looked for with every run of blanks as one.
    let said = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    match ask.words().find(|words| !said.contains(words)) {
        Some(missing) => Err(format!("not said: {missing:?}; said: {said}")),
        None => Ok(stamps[0].to_owned()),
    }
}

/// A handshake after a lost SYN is an open port and no round trip.
fn lost_syn(target: &Value) -> Result<(), String> {
    let (lost, round_trips) = (count(target, "syn_lost"), &target["rtt_ns"]);
    if lost == 1 && count(round_trips, "count") == 0 && round_trips["max"].is_null() {
        Ok(())
    } else {
        Err(format!("{lost} SYN lost, round trips {round_trips}"))
    }
}
