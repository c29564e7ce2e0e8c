//! The kernel's own log, as far as it speaks of the network: links that came and went, full tables, dropped packets, memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use rping_net::Clock;

use super::{plain, right_for};
use crate::{Bundle, Content};

const PATH: &str = "/dev/kmsg";
/// `O_NONBLOCK`: at the end of the log a reading says so instead of waiting for more.
const NONBLOCK: i32 = 0o4000;
/// How far back, microseconds.
const BACK: u64 = 15 * 60 * 1_000_000;
/// Records that are read, lines that are kept.
const MOST_RECORDS: usize = 100_000;
const MOST_LINES: usize = 2_000;
/// What a line about the network speaks of.
const WORDS: [&str; 24] = [
    "link",
    "carrier",
    "eth",
    "net",
    "ipv4",
    "ipv6",
    "tcp",
    "udp",
    "icmp",
    "arp",
    "neigh",
    "martian",
    "conntrack",
    "nf_",
    "nft",
    "in=",
    "syn flood",
    "bond",
    "vlan",
    "wlan",
    "out of memory",
    "oom-kill",
    "firmware",
    "duplex",
];

/// The log, opened while the right to it is still held.
#[derive(Debug)]
pub struct KernelLog(io::Result<File>);

impl KernelLog {
    /// Opens it; what keeps it from that is told by [`KernelLog::read`].
    pub fn open() -> KernelLog {
        KernelLog(File::options().read(true).custom_flags(NONBLOCK).open(PATH))
    }

    /// Puts the lines of the last 15 minutes that speak of the network into the bundle.
    pub fn read(self, bundle: &mut Bundle) {
        let name = "kernel.log";
        let mut file = match self.0 {
            Ok(file) => file,
            Err(error) => {
                let right = match error.kind() {
                    io::ErrorKind::PermissionDenied => "CAP_SYSLOG or root",
                    _ => right_for(&error),
                };
                bundle.unread(name, PATH, &plain(&error), right);
                return;
            }
        };
        let since = (Clock.now().as_nanos() / 1_000).saturating_sub(BACK);
        let mut lines = std::collections::VecDeque::new();
        let mut record = [0u8; 8192];
        for _ in 0..MOST_RECORDS {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    if let Some(line) = line(&text, since) {
                        if lines.len() >= MOST_LINES {
                            lines.pop_front();
                        }
                        lines.push_back(line);
                    }
                }
                // Records were overwritten while they were read: it goes on with what is there.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        let text: String = lines.into_iter().collect();
        bundle.add(
            name,
            "/dev/kmsg, lines about the network of the last 15 minutes",
            Content::Words,
            text.into_bytes(),
        );
    }
}

/// `priority,number,microseconds,flags;text`: the line, where it is young enough and about the network.
fn line(record: &str, since: u64) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let at: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = text.lines().next()?;
    let lower = text.to_ascii_lowercase();
    let is_wanted = at >= since && WORDS.iter().any(|word| lower.contains(word));
    is_wanted.then(|| format!("[{}.{:06}] {text}\n", at / 1_000_000, at % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_lines_about_the_network_are_kept() {
        let kept = line("6,1,1500000,-;eth0: Link is Down\n SUBSYSTEM=net\n", 1_000_000);
        assert_eq!(kept.as_deref(), Some("[1.500000] eth0: Link is Down\n"));
        for gone in [
            "6,1,500000,-;eth0: Link is Down",
            "6,1,1500000,-;a disk",
            "no record",
            "6,1;x",
            "",
        ] {
            assert_eq!(line(gone, 1_000_000), None, "{gone}");
        }
    }
}
