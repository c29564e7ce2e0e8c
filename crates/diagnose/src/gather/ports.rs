//! This host's local ports: how many there are, and how many are used toward the target.

use std::net::SocketAddr;

/// What is known of local ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortsFacts {
    /// `net.ipv4.ip_local_port_range`; it holds for IPv6, too.
    pub(crate) range: Option<(u16, u16)>,
}

pub(crate) fn gather(_to: SocketAddr) -> PortsFacts {
    PortsFacts { range: range() }
}

impl PortsFacts {
    pub(crate) fn look_again(&mut self, _to: SocketAddr) {}
}

fn range() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

impl PortsFacts {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.range
            .map(|(low, high)| format!("local ports: {low} to {high}"))
            .into_iter()
            .collect()
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        false
    }

    pub(crate) fn in_words(&self) -> String {
        String::new()
    }

    pub(crate) fn forecast(&self) -> Option<String> {
        None
    }

    pub(crate) fn listening_elsewhere(&self, _port: u16) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn full_queue(&self, _port: u16) -> Option<String> {
        None
    }
}
