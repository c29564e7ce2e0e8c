//! What changed between two bundles, by what each file means: lines that came and went, settings and counters that moved,
//! another verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::counters::{self, Counters};
use crate::Archive;

/// Files of entries, a line each; and what an entry is called.
const LISTS: [(&str, &str); 13] = [
    ("links.txt", "link"),
    ("addresses.txt", "address"),
    ("routes.txt", "route"),
    ("rules.txt", "rule"),
    ("neighbours.txt", "neighbour"),
    ("firewall.txt", "firewall"),
    ("firewall-legacy.txt", "firewall"),
    ("driver.txt", "driver"),
    ("offload.txt", "offload"),
    ("dns/resolv.conf", "resolver"),
    ("dns/hosts", "hosts file"),
    ("dns/nsswitch.conf", "name sources"),
    ("dns/gai.conf", "address order"),
];
/// Files of names and values; and what one is called.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("sysctl.txt", "sysctl", " = "),
    ("machine.txt", "machine", " "),
    ("time.txt", "time", " "),
    ("ports.txt", "ports", " "),
];
/// What is never twice the same and means nothing.
const RESTLESS: [&str; 9] = [
    "uptime_and_idle_s",
    "load",
    "memory_available",
    "offset_ns",
    "frequency_ppb",
    "largest_error_us",
    "likely_error_us",
    "network_namespace",
    "net.netfilter.nf_conntrack_count",
];
/// Ends of entries that change by themselves: counts, ages.
const MOST_SHOWN: usize = 10_000;

/// How something changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is in B alone.
    Added,
    /// It is in A alone.
    Removed,
    /// It has another value.
    Changed,
}

/// One change. All texts come out of the bundles: escape them where they are shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// What kind of thing: `route`, `sysctl`, `verdict`.
    pub what: String,
    /// The file it stands in.
    pub file: String,
    /// How.
    pub how: How,
    /// Its name, where it has one: of a setting, a link.
    pub name: Option<String>,
    /// In A.
    pub before: Option<String>,
    /// In B.
    pub after: Option<String>,
}

/// A counter in both bundles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// In A, at its end.
    pub before: Option<i64>,
    /// In B, at its beginning.
    pub after: Option<i64>,
}

/// What changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What does not change by itself.
    pub changes: Vec<Change>,
    /// Counters that moved from the end of A to the beginning of B.
    pub counters: Vec<Counted>,
    /// What limits the comparison, in words.
    pub notes: Vec<String>,
}

/// Compares A with B.
pub fn compare(a: &Archive, b: &Archive) -> Difference {
    let mut changes = Vec::new();
    verdict(a, b, &mut changes);
    for (file, what) in LISTS {
        list(a, b, file, what, &mut changes);
    }
    for (file, what, sign) in SETTINGS {
        settings(a, b, file, what, sign, &mut changes);
    }
    let mut notes = notes(a, b);
    if changes.len() > MOST_SHOWN {
        notes.push(format!(
            "{} more changes are left out",
            changes.len() - MOST_SHOWN
        ));
        changes.truncate(MOST_SHOWN);
    }
    Difference {
        changes,
        counters: counted(a, b),
        notes,
    }
}

fn notes(a: &Archive, b: &Archive) -> Vec<String> {
    let mut notes = Vec::new();
    for (which, archive) in [("A", a), ("B", b)] {
        let first = archive.altered.iter().take(5);
        notes.extend(first.map(|altered| format!("{which}: {altered}: it was changed after it was made")));
    }
    if a.is_redacted() || b.is_redacted() {
        notes.push(
            "a redacted bundle has tokens of its own: addresses and names of two of them cannot be compared"
                .to_owned(),
        );
    }
    if a.about("host") != b.about("host") && !(a.is_redacted() || b.is_redacted()) {
        notes.push("the bundles are of two hosts".to_owned());
    }
    let listed = LISTS
        .iter()
        .map(|(file, _)| *file)
        .chain(SETTINGS.iter().map(|(file, ..)| *file));
    for file in listed {
        match (a.file(file), b.file(file)) {
            _ if a.is_long(file) || b.is_long(file) => {
                notes.push(format!("{file} is too long to be compared"))
            }
            (Some(_), None) => notes.push(format!("B holds no {file}: what it would show is not compared")),
            (None, Some(_)) => notes.push(format!("A holds no {file}: what it would show is not compared")),
            _ => {}
        }
    }
    notes
}

fn verdict(a: &Archive, b: &Archive, changes: &mut Vec<Change>) {
    let of = |archive: &Archive| -> Option<(String, Vec<(String, String)>)> {
        let document: Value = serde_json::from_str(&archive.text("diagnosis.json")?).ok()?;
        let verdict = &document["verdict"];
        let layer = verdict["layer"].as_str().unwrap_or("no fault found");
        let summary = verdict["summary"].as_str().unwrap_or_default();
        let checks = document["checks"].as_array().into_iter().flatten();
        let checks = checks
            .filter_map(|check| {
                Some((
                    check["name"].as_str()?.to_owned(),
                    check["result"].as_str()?.to_owned(),
                ))
            })
            .collect();
        Some((format!("{layer}: {summary}"), checks))
    };
    let (before, after) = (of(a), of(b));
    let words = |of: &Option<(String, Vec<(String, String)>)>| of.as_ref().map(|(words, _)| words.clone());
    push(
        changes,
        "verdict",
        "diagnosis.json",
        None,
        words(&before),
        words(&after),
    );
    let (Some((_, before)), Some((_, after))) = (before, after) else {
        return;
    };
    let after: BTreeMap<String, String> = after.into_iter().collect();
    for (name, result) in before {
        let now = after.get(&name).cloned();
        push(changes, "check", "diagnosis.json", Some(name), Some(result), now);
    }
}

fn push(
    changes: &mut Vec<Change>,
    what: &str,
    file: &str,
    name: Option<String>,
    before: Option<String>,
    after: Option<String>,
) {
    let how = match (&before, &after) {
        (Some(before), Some(after)) if before != after => How::Changed,
        (None, Some(_)) => How::Added,
        (Some(_), None) => How::Removed,
        _ => return,
    };
    changes.push(Change {
        what: what.to_owned(),
        file: file.to_owned(),
        how,
        name,
        before,
        after,
    });
}

/// An entry without what changes by itself.
fn steady(what: &str, line: &str) -> String {
    let line = line.trim();
    match what {
        // States of neighbours come and go; an address without an answer is something else.
        "neighbour" => ["reachable", "stale", "delay", "probe"]
            .iter()
            .find_map(|state| line.strip_suffix(state))
            .map_or_else(|| line.to_owned(), |rest| format!("{rest}known")),
        "firewall" => match line.rfind(" (").filter(|_| line.ends_with(" packets)")) {
            Some(at) => line[..at].to_owned(),
            None => line.to_owned(),
        },
        "resolver" | "hosts file" | "name sources" | "address order" => {
            let text = line.split(['#', ';']).next().unwrap_or_default();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        }
        _ => line.to_owned(),
    }
}

/// Entries in the one that the other has not. What bears the same name in both has changed.
fn list(a: &Archive, b: &Archive, file: &str, what: &str, changes: &mut Vec<Change>) {
    let (Some(before), Some(after)) = (a.text(file), b.text(file)) else {
        return;
    };
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines()
            .map(|line| steady(what, line))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    };
    let (before, after) = (lines(&before), lines(&after));
    let key = |line: &str| -> Option<String> {
        let mut words = line.split(' ');
        let first = words.next()?.to_owned();
        match what {
            "link" | "driver" => Some(first),
            "offload" | "neighbour" => Some(format!("{first} {}", words.next()?)),
            _ => None,
        }
    };
    let mut removed: BTreeSet<&String> = before.difference(&after).collect();
    let named: BTreeMap<String, &String> = removed
        .iter()
        .filter_map(|line| Some((key(line)?, *line)))
        .collect();
    for line in after.difference(&before) {
        let name = key(line);
        let same = name.as_ref().and_then(|name| named.get(name).copied());
        let old = same.filter(|old| removed.remove(old)).cloned();
        push(changes, what, file, name, old, Some(line.clone()));
    }
    for line in removed {
        push(changes, what, file, key(line), Some(line.clone()), None);
    }
}

fn settings(a: &Archive, b: &Archive, file: &str, what: &str, sign: &str, changes: &mut Vec<Change>) {
    let (Some(before), Some(after)) = (a.text(file), b.text(file)) else {
        return;
    };
    let read = |text: &str| -> BTreeMap<String, String> {
        text.lines()
            // Of the ports in use the settings alone.
            .filter(|line| what != "ports" || line.starts_with("range ") || line.starts_with("reserved "))
            .filter_map(|line| line.split_once(sign))
            .filter(|(name, _)| !RESTLESS.contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (before, after) = (read(&before), read(&after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let of = |all: &BTreeMap<String, String>| all.get(name).cloned();
        push(changes, what, file, Some(name.clone()), of(&before), of(&after));
    }
}

fn counted(a: &Archive, b: &Archive) -> Vec<Counted> {
    let read = |archive: &Archive, names: [&str; 2]| -> Counters {
        names
            .iter()
            .find_map(|name| archive.text(name))
            .map(|text| counters::parse(&text))
            .unwrap_or_default()
    };
    let before = read(a, ["counters-after.txt", "counters-before.txt"]);
    let after = read(b, ["counters-before.txt", "counters-after.txt"]);
    let number = |value: Option<i128>| value.map(clamped);
    counters::difference(&before, &after)
        .into_iter()
        .take(MOST_SHOWN)
        .map(|(name, before, after)| Counted {
            name,
            before: number(before),
            after: number(after),
        })
        .collect()
}

/// What is beyond the range is its end on that side.
fn clamped(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
