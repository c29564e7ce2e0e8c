//! Where names come from on this host: the hosts file, the DNS servers, and the order in which they are asked.
//!
//! Parsing alone: files in, facts out.

pub mod dns;

use std::net::IpAddr;

/// One line of the hosts file that names the target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostsEntry {
    pub(crate) line: usize,
    pub(crate) address: IpAddr,
}

/// All entries for `name` in a hosts file (`hosts(5)`), in their order, and how many lines it has.
pub(crate) fn in_hosts(text: &str, name: &str) -> (Vec<HostsEntry>, usize) {
    let wanted = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    let mut lines = 0;
    for (number, line) in text.lines().enumerate() {
        lines = number + 1;
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(address) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(wanted)) {
            found.push(HostsEntry {
                line: number + 1,
                address,
            });
        }
    }
    (found, lines)
}

/// An address, perhaps with a zone, which says nothing about another host's name.
fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// How names are looked up (`nsswitch.conf(5)`, the line `hosts:`), by the words of that file.
pub(crate) fn order(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("hosts:"));
    let words = line.unwrap_or("files dns").split('#').next().unwrap_or_default();
    let mut order: Vec<String> = Vec::new();
    let mut in_action = false;
    for word in words.split_whitespace() {
        in_action |= word.starts_with('[');
        if !in_action {
            order.push(word.to_owned());
        }
        if word.ends_with(']') {
            in_action = false;
        }
    }
    order
}

/// What `resolv.conf(5)` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resolv {
    /// The servers in the order in which they are asked; the C library asks the first three.
    pub(crate) servers: Vec<(IpAddr, Option<String>)>,
    /// Domains tried behind a name.
    pub(crate) search: Vec<String>,
    /// With fewer dots than this a name is tried in the search domains first.
    pub(crate) ndots: usize,
}

/// The C library's `MAXNS`.
pub(crate) const SERVERS: usize = 3;
/// Search domains that are tried here.
const DOMAINS: usize = 6;

impl Resolv {
    pub(crate) fn parse(text: &str) -> Resolv {
        let mut found = Resolv {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let Some(word) = words.next() else { continue };
                    let (text, zone) = match word.split_once('%') {
                        Some((text, zone)) => (text, Some(zone.to_owned())),
                        None => (word, None),
                    };
                    if let (Ok(address), true) = (text.parse(), found.servers.len() < SERVERS) {
                        found.servers.push((address, zone));
                    }
                }
                Some("search" | "domain") => {
                    found.search = words.take(DOMAINS).map(str::to_owned).collect();
                }
                Some("options") => {
                    for option in words {
                        if let Some(dots) = option.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                            found.ndots = dots;
                        }
                    }
                }
                _ => {}
            }
        }
        // Without a server the one on this host is asked.
        if found.servers.is_empty() {
            found.servers.push((IpAddr::from([127, 0, 0, 1]), None));
        }
        found
    }

    /// The full names that are asked for `name`, in order.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut all: Vec<String> = self
            .search
            .iter()
            .map(|domain| domain.trim_matches('.'))
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{name}.{domain}"))
            .collect();
        let dots = name.matches('.').count();
        let place = if dots >= self.ndots { 0 } else { all.len() };
        all.insert(place, name.to_owned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_hosts_file_that_bears_the_name_counts() {
        let text = "127.0.0.1 localhost\n10.0.0.1 a File-Server # b\n#10.0.0.9 fileserver\nfe80::1%eth0 x\n\
                    10.0.0.2\tfile-server\nnonsense file-server\n";
        let (found, lines) = in_hosts(text, "FILE-SERVER.");
        let found: Vec<_> = found.iter().map(|e| (e.line, e.address)).collect();
        assert_eq!(
            found,
            [(2, IpAddr::from([10, 0, 0, 1])), (5, IpAddr::from([10, 0, 0, 2]))]
        );
        assert_eq!(lines, 6);
        assert!(in_hosts(text, "b").0.is_empty(), "behind the comment sign");
    }

    #[test]
    fn the_order_is_that_of_nsswitch_without_its_actions() {
        assert_eq!(
            order("passwd: files\nhosts: files mdns4_minimal [NOTFOUND=return] dns # x\n"),
            ["files", "mdns4_minimal", "dns"]
        );
        assert_eq!(order("hosts: files [ NOTFOUND = return ] dns"), ["files", "dns"]);
        assert_eq!(order(""), ["files", "dns"]);
    }

    #[test]
    fn servers_domains_and_dots_are_read() {
        let resolv = Resolv::parse(
            "# x\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 timeout:1\n",
        );
        assert_eq!(resolv.servers.len(), 2);
        assert_eq!(resolv.servers[1].1.as_deref(), Some("eth0"));
        assert_eq!(
            resolv.candidates("x.y"),
            ["x.y.a.example", "x.y.b.example", "x.y"]
        );
        assert_eq!(
            resolv.candidates("x.y.z"),
            ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]
        );
        assert_eq!(resolv.candidates("x."), ["x"]);
        assert_eq!(Resolv::parse("").servers[0].0, IpAddr::from([127, 0, 0, 1]));
    }
}
