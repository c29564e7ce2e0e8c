//! This host's local ports: how many there are, how many are used toward the target, and how fast that grows.

use std::collections::HashSet;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;

/// Bytes of a table of sockets that are read: some 400 000 sockets.
const MOST: u64 = 64 << 20;
/// A growth that would use the range up within this time is worth a word.
const SOON: Duration = Duration::from_secs(120);

const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// One line of `/proc/net/tcp` or `tcp6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    /// Bytes not read; of a listener, connections not accepted.
    waiting: u32,
}

/// Ports in use toward the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Use {
    ports: usize,
    in_time_wait: usize,
}

/// What is known of local ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortsFacts {
    /// `net.ipv4.ip_local_port_range`; it holds for IPv6, too.
    range: Option<(u16, u16)>,
    /// Ports within it that are kept for others.
    reserved: usize,
    before: Option<(Use, Timestamp)>,
    after: Option<(Use, Timestamp)>,
    /// Listeners on the target's port of this host, with what waits to be accepted.
    listeners: Vec<(SocketAddr, u32)>,
}

pub(crate) fn gather(to: SocketAddr) -> PortsFacts {
    let range = range();
    let mut facts = PortsFacts {
        range,
        reserved: range.map_or(0, reserved),
        ..PortsFacts::default()
    };
    if to.port() != 0 {
        let lines = table();
        facts.before = lines
            .as_deref()
            .map(|lines| (in_use(lines, to, range), Clock.now()));
        facts.listeners = lines
            .unwrap_or_default()
            .iter()
            .filter(|line| line.state == LISTEN && line.local.port() == to.port())
            .map(|line| (line.local, line.waiting))
            .collect();
    }
    facts
}

impl PortsFacts {
    /// Counts a second time.
    pub(crate) fn look_again(&mut self, to: SocketAddr) {
        if self.before.is_some() {
            self.after = table().map(|lines| (in_use(&lines, to, self.range), Clock.now()));
        }
    }

    fn size(&self) -> Option<usize> {
        let (low, high) = self.range?;
        Some((usize::from(high.saturating_sub(low)) + 1).saturating_sub(self.reserved))
    }

    /// What is to be said of them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some((low, high)), Some(size)) = (self.range, self.size()) {
            let reserved = match self.reserved {
                0 => String::new(),
                n => format!(", {n} of them reserved"),
            };
            lines.push(format!(
                "local ports: {low} to {high}, {size} to choose from{reserved}"
            ));
        }
        if let Some((used, _)) = self.before {
            lines.push(format!(
                "in use toward this address and port: {}, {} of them in TIME_WAIT",
                used.ports, used.in_time_wait
            ));
        }
        lines
    }

    /// Every port is taken, as the table of sockets shows.
    pub(crate) fn is_exhausted(&self) -> bool {
        match (self.before, self.size()) {
            (Some((used, _)), Some(size)) => used.ports >= size,
            _ => false,
        }
    }

    /// How many of how many, for a sentence's end.
    pub(crate) fn in_words(&self) -> String {
        match (self.before, self.size()) {
            (Some((used, _)), Some(size)) => {
                format!(
                    ": {} of {size} are in use toward it, {} in TIME_WAIT",
                    used.ports, used.in_time_wait
                )
            }
            _ => String::new(),
        }
    }

    /// A warning where the ports will not last, or are few.
    pub(crate) fn forecast(&self) -> Option<String> {
        let ((before, at), (after, later)) = (self.before?, self.after?);
        let size = self.size()?;
        let grown = after.ports.saturating_sub(before.ports);
        let took = later.since(at).as_secs_f64();
        let left = size.saturating_sub(after.ports);
        if grown > 1 && took > 0.0 {
            let seconds = left as f64 * took / grown as f64;
            if seconds <= SOON.as_secs_f64() {
                return Some(format!(
                    "{grown} more within {took:.1} s: at that rate they are used up in {seconds:.0} s"
                ));
            }
        }
        (left * 10 < size).then(|| format!("only {left} of {size} are left"))
    }

    /// Where this host listens on its own port, if only elsewhere than at `to`.
    pub(crate) fn listening_elsewhere(&self, to: SocketAddr) -> Vec<String> {
        self.listeners
            .iter()
            .filter(|(at, _)| at.ip() != to.ip() && !at.ip().is_unspecified())
            .map(|(at, _)| at.to_string())
            .collect()
    }

    /// Connections that wait to be accepted at `to` on this host.
    pub(crate) fn waiting(&self, to: SocketAddr) -> Option<String> {
        let listens = |at: IpAddr| at == to.ip() || at.is_unspecified();
        let (at, waiting) = self.listeners.iter().find(|(at, _)| listens(at.ip()))?;
        (*waiting > 0).then(|| format!("{waiting} connections wait to be accepted at {at}"))
    }
}

fn range() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

fn reserved(range: (u16, u16)) -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    count_reserved(&text, range)
}

/// `8080,9148-9150`, within the range.
fn count_reserved(text: &str, (low, high): (u16, u16)) -> usize {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u16, u16) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            let (from, to) = (from.max(low), to.min(high));
            (from <= to).then(|| usize::from(to - from) + 1)
        })
        .sum()
}

/// The sockets of the calling thread's network namespace; `None` where the table cannot be read.
fn table() -> Option<Vec<Line>> {
    let read = |name: &str| {
        let file = std::fs::File::open(format!("/proc/thread-self/net/{name}")).ok()?;
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).ok()?;
        Some(parse(&text))
    };
    let mut lines = read("tcp")?;
    lines.extend(read("tcp6").unwrap_or_default());
    Some(lines)
}

/// The first line is a heading.
fn parse(text: &str) -> Vec<Line> {
    text.lines().skip(1).filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let mut words = text.split_whitespace().skip(1);
    let local = end(words.next()?)?;
    let remote = end(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (_, waiting) = words.next()?.split_once(':')?;
    Some(Line {
        local,
        remote,
        state,
        waiting: u32::from_str_radix(waiting, 16).ok()?,
    })
}

/// An address as words of four bytes in the machine's order, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (place, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(place)?);
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn in_use(lines: &[Line], to: SocketAddr, range: Option<(u16, u16)>) -> Use {
    let (low, high) = range.unwrap_or((1, u16::MAX));
    let mut ports = HashSet::new();
    let mut in_time_wait = 0;
    for line in lines {
        let is_ours = line.remote.ip() == to.ip() && line.remote.port() == to.port() && line.state != LISTEN;
        if is_ours && (low..=high).contains(&line.local.port()) && ports.insert(line.local.port()) {
            in_time_wait += usize::from(line.state == TIME_WAIT);
        }
    }
    Use {
        ports: ports.len(),
        in_time_wait,
    }
}

/// For the fuzzer.
pub(crate) fn read_all(text: &str) {
    let _ = (parse(text), count_reserved(text, (1, 100)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:01BD 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1 1\n\
        1: 01004D0A:9C40 02004D0A:01BD 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n\
        2: 01004D0A:9C41 02004D0A:01BD 06 00000000:00000000 03:00000000 00000000     0        0 0 3\n\
        3: 01004D0A:9C42 02004D0A:0050 01 00000000:00000000 00:00000000 00000000     0        0 4 1\n\
        nonsense\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn ports_toward_a_destination_are_counted_and_others_are_not() {
        let to = SocketAddr::from(([10, 77, 0, 2], 445));
        let lines = parse(TEXT);
        assert_eq!(lines.len(), 4);
        assert_eq!(
            in_use(&lines, to, Some((40_000, 40_009))),
            Use {
                ports: 2,
                in_time_wait: 1
            }
        );
        assert_eq!(
            (lines[0].local, lines[0].waiting),
            (SocketAddr::from(([127, 0, 0, 1], 445)), 3)
        );
    }

    #[test]
    fn reserved_ports_count_only_within_the_range() {
        assert_eq!(count_reserved("8080,9148-9150\n", (9149, 60_000)), 2);
        assert_eq!(count_reserved("\n", (1, 10)), 0);
    }

    #[test]
    fn what_is_used_up_soon_is_foretold() {
        let at = Timestamp::from_nanos;
        let of = |ports| Use {
            ports,
            in_time_wait: 0,
        };
        let facts = PortsFacts {
            range: Some((40_000, 40_099)),
            before: Some((of(20), at(0))),
            after: Some((of(30), at(1_000_000_000))),
            ..PortsFacts::default()
        };
        assert!(facts.forecast().unwrap().contains("used up in 7 s"));
        assert!(!facts.is_exhausted());
        let full = PortsFacts {
            before: Some((of(100), at(0))),
            ..facts
        };
        assert!(full.is_exhausted());
    }
}
