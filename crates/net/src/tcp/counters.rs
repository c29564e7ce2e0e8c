//! What the kernel counts of all its connections together.

/// How often, since the calling thread's network namespace began, this host failed to hand a retransmission to the
/// network (`TCPRetransFail`): a local firewall that drops SYNs on their way out shows here, a remote one does not.
/// `None` where the counter cannot be read. Costs some 50 µs.
pub fn retransmit_failures() -> Option<u64> {
    parse_netstat(&netstat()?, "TCPRetransFail")
}

/// How often, since the calling thread's network namespace began, an attempt to connect met a full accept queue
/// (`ListenOverflows`), and how often one was dropped for whatever reason (`ListenDrops`); of all listeners together.
/// `None` where the counters cannot be read.
pub fn listen_overflows() -> Option<(u64, u64)> {
    let text = netstat()?;
    Some((
        parse_netstat(&text, "ListenOverflows")?,
        parse_netstat(&text, "ListenDrops")?,
    ))
}

fn netstat() -> Option<String> {
    std::fs::read_to_string("/proc/thread-self/net/netstat").ok()
}

/// The file holds pairs of lines: names, then values, each after the same first word.
fn parse_netstat(text: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if names.starts_with("TcpExt:") {
            let place = names.split(' ').position(|name| name == counter)?;
            return values.split(' ').nth(place)?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_failed_retransmissions_is_read() {
        assert!(retransmit_failures().is_some() && listen_overflows().is_some());
        let text = "TcpExt: A TCPRetransFail B\nTcpExt: 1 23 4\nIpExt: X\nIpExt: 9\n";
        assert_eq!(parse_netstat(text, "TCPRetransFail"), Some(23));
        for bad in [
            "",
            "TcpExt: A\nTcpExt: 1\n",
            "TcpExt: TCPRetransFail\nTcpExt:\n",
            "TcpExt: TCPRetransFail",
        ] {
            assert_eq!(parse_netstat(bad, "TCPRetransFail"), None, "{bad:?}");
        }
    }
}
