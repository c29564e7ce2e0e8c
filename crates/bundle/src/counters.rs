//! What the kernel counts: protocols, interfaces, queues, tracked connections; read twice, the difference tells what a
//! run did.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::collect::read_bounded;

/// The files, as the calling thread's network namespace shows them; and how each is read.
const FILES: [(&str, Reader); 9] = [
    ("/proc/thread-self/net/snmp", pairs),
    ("/proc/thread-self/net/netstat", pairs),
    ("/proc/thread-self/net/snmp6", names),
    ("/proc/thread-self/net/dev", interfaces),
    ("/proc/thread-self/net/softnet_stat", softnet),
    ("/proc/thread-self/net/sockstat", sockstat),
    ("/proc/thread-self/net/sockstat6", sockstat),
    ("/proc/thread-self/net/stat/nf_conntrack", conntrack),
    ("/proc/sys/net/netfilter/nf_conntrack_count", conntrack_count),
];

/// Reads one file's text.
type Reader = fn(&str, &mut Counters);

/// What is behind the counters, for the manifest.
pub const SOURCE: &str =
    "/proc/net/{snmp,netstat,snmp6,dev,softnet_stat,sockstat,sockstat6,stat/nf_conntrack}, \
                          /proc/sys/net/netfilter/nf_conntrack_count";

/// Counters by name: `tcp.RetransSegs`, `eth0.rx_drop`, `softnet.0.dropped`.
pub type Counters = BTreeMap<String, i128>;

/// Reads them all. What is not there (IPv6, connection tracking) has no counters.
pub fn read() -> Counters {
    let mut counters = Counters::new();
    for (path, parse) in FILES {
        if let Ok((bytes, _)) = read_bounded(path) {
            parse(&String::from_utf8_lossy(&bytes), &mut counters);
        }
    }
    counters
}

/// One a line: name and value.
pub fn text(counters: &Counters) -> String {
    let mut text = String::new();
    for (name, value) in counters {
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

/// Reads what [`text`] has written. What is no counter is left out.
pub fn parse(text: &str) -> Counters {
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// A counter that moved: its name, the value before and after; `None` where it was not there.
pub type Moved = (String, Option<i128>, Option<i128>);

/// Those that moved.
pub fn difference(before: &Counters, after: &Counters) -> Vec<Moved> {
    let mut moved: Vec<Moved> = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), before.get(name).copied(), Some(*value)))
        .collect();
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    moved.extend(gone.map(|(name, value)| (name.clone(), Some(*value), None)));
    moved.sort();
    moved
}

/// One a line: name, before, after, by how much.
pub fn difference_text(moved: &[Moved]) -> String {
    let mut text = String::from("# counter before after difference; what did not move is left out\n");
    let shown = |value: Option<i128>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for (name, before, after) in moved {
        let by = match (before, after) {
            (Some(before), Some(after)) => format!("{:+}", after - before),
            (None, _) => "new".to_owned(),
            (_, None) => "gone".to_owned(),
        };
        let _ = writeln!(text, "{name} {} {} {by}", shown(*before), shown(*after));
    }
    text
}

fn put(counters: &mut Counters, name: String, value: &str) {
    if let Ok(value) = value.parse() {
        counters.insert(name, value);
    }
}

/// Two lines for each protocol: names, then values.
fn pairs(text: &str, counters: &mut Counters) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((of, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':')) else {
            return;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            put(counters, format!("{}.{name}", of.to_ascii_lowercase()), value);
        }
    }
}

/// A name and a value a line, which begins with the protocol: `Ip6InReceives 7`.
fn names(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(value)) = (words.next(), words.next()) {
            let name = match name.split_once('6') {
                Some((of, rest)) => format!("{}6.{rest}", of.to_ascii_lowercase()),
                None => name.to_owned(),
            };
            put(counters, name, value);
        }
    }
}

fn interfaces(text: &str, counters: &mut Counters) {
    const NAMES: [&str; 16] = [
        "rx_bytes",
        "rx_packets",
        "rx_errors",
        "rx_drop",
        "rx_fifo",
        "rx_frame",
        "rx_compressed",
        "rx_multicast",
        "tx_bytes",
        "tx_packets",
        "tx_errors",
        "tx_drop",
        "tx_fifo",
        "tx_collisions",
        "tx_carrier",
        "tx_compressed",
    ];
    for line in text.lines() {
        let Some((interface, values)) = line.split_once(':') else {
            continue;
        };
        for (name, value) in NAMES.iter().zip(values.split_whitespace()) {
            put(counters, format!("{}.{name}", interface.trim()), value);
        }
    }
}

/// A line for each processor, in hexadecimal: packets, dropped for a full queue, stopped for want of time, …
fn softnet(text: &str, counters: &mut Counters) {
    for (processor, line) in text.lines().enumerate() {
        let values: Vec<&str> = line.split_whitespace().collect();
        for (place, name) in [(0, "packets"), (1, "dropped"), (2, "squeezed")] {
            let value = values
                .get(place)
                .and_then(|value| i128::from_str_radix(value, 16).ok());
            if let Some(value) = value {
                counters.insert(format!("softnet.{processor}.{name}"), value);
            }
        }
    }
}

/// `TCP: inuse 3 orphan 0 tw 1`.
fn sockstat(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some((of, values)) = line.split_once(':') else {
            continue;
        };
        let words: Vec<&str> = values.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            put(
                counters,
                format!("sockets.{}.{}", of.to_ascii_lowercase(), pair[0]),
                pair[1],
            );
        }
    }
}

/// Names in the first line, then a line for each processor, in hexadecimal.
fn conntrack(text: &str, counters: &mut Counters) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    for line in lines {
        for (name, value) in names.iter().zip(line.split_whitespace()) {
            // The number of entries stands in every line.
            if let (false, Ok(value)) = (*name == "entries", i128::from_str_radix(value, 16)) {
                *counters.entry(format!("conntrack.{name}")).or_default() += value;
            }
        }
    }
}

fn conntrack_count(text: &str, counters: &mut Counters) {
    put(counters, "conntrack.entries".to_owned(), text.trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_hosts_counters_are_read_and_what_is_written_is_read_again() {
        let counters = read();
        for name in [
            "ip.InReceives",
            "tcp.ActiveOpens",
            "tcpext.ListenDrops",
            "lo.rx_bytes",
            "softnet.0.packets",
        ] {
            assert!(counters.contains_key(name), "{name} in {counters:?}");
        }
        assert_eq!(parse(&text(&counters)), counters);
    }

    #[test]
    fn each_form_of_the_kernels_tables_is_understood() {
        let mut counters = Counters::new();
        pairs("Tcp: RtoMin MaxConn\nTcp: 200 -1\n", &mut counters);
        names("Ip6InReceives\t12\nUdpLite6InErrors 1\n", &mut counters);
        interfaces(
            "Inter-| x\n eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
            &mut counters,
        );
        softnet("0000000a 00000001 00000002 0\n", &mut counters);
        sockstat("TCP: inuse 3 orphan 0\n", &mut counters);
        conntrack("entries found drop\n0a 1 2\n0a 1 f\n", &mut counters);
        for (name, value) in [
            ("tcp.MaxConn", -1),
            ("ip6.InReceives", 12),
            ("udplite6.InErrors", 1),
            ("eth0.tx_drop", 12),
            ("softnet.0.dropped", 1),
            ("sockets.tcp.inuse", 3),
            ("conntrack.drop", 17),
        ] {
            assert_eq!(counters.get(name), Some(&value), "{name} in {counters:?}");
        }
        assert_eq!(counters.get("conntrack.entries"), None);
    }

    #[test]
    fn what_moved_is_told_with_its_sign_and_what_came_and_went() {
        let before = parse("a 1\nb 5\nc 7\n");
        let after = parse("a 1\nb 3\nd 9\n");
        let moved = difference(&before, &after);
        let text = difference_text(&moved);
        assert!(
            text.contains("b 5 3 -2\n") && text.contains("c 7 - gone\n"),
            "{text}"
        );
        assert!(text.contains("d - 9 new\n") && !text.contains("\na "), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,200}") {
            let mut counters = Counters::new();
            for (_, parse) in FILES {
                parse(&text, &mut counters);
            }
            let _ = difference(&parse(&text), &counters);
        }
    }
}
