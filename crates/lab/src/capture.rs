//! A second opinion on what was on the wire: tcpdump, started before the probe and read to the last packet.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::namespace::{Background, Namespace};
use crate::pcap::{self, Packet};
use crate::wait::wait_until;

/// Not a limit to be met: what is waited for comes, later on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Background,
    file: PathBuf,
    // Deleted with its file after tcpdump has ended.
    _directory: TempDir,
}

/// What a capture gave.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The packets, in the order of the file.
    pub packets: Vec<Packet>,
}

impl Capture {
    /// Starts capturing on an interface, with a filter in tcpdump's language; returns when packets are being caught.
    #[must_use]
    pub fn start(namespace: &Namespace, interface: &str, filter: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("capture.pcap");
        let mut command = namespace.command("tcpdump");
        command
            .args([
                "-i",
                interface,
                "-n",
                "-p",
                "-U",
                "--immediate-mode",
                "--time-stamp-precision=nano",
            ])
            // As root, tcpdump would change to a user that cannot write to our directory.
            .args(["-Z", "root", "-B", "16384", "-w"])
            .arg(&file)
            .args(filter.split_whitespace());
        let mut tcpdump = Background::spawn(command);
        // It says so after the socket is bound and the filter set.
        tcpdump.wait_for("listening on", PATIENCE);
        Self {
            tcpdump,
            file,
            _directory: directory,
        }
    }

    /// Ends the capture after the last packet that the kernel has taken for it is in the file.
    ///
    /// # Panics
    /// When tcpdump missed packets.
    #[must_use]
    pub fn stop(mut self) -> Captured {
        let mut asked = 0;
        wait_until("tcpdump has written all that it has received", PATIENCE, || {
            // On SIGUSR1 it tells its figures and goes on.
            self.tcpdump.signal(Signal::SIGUSR1);
            asked += 1;
            wait_until("tcpdump tells its figures", PATIENCE, || {
                figures(&self.tcpdump.log()).len() >= asked
            });
            figures(&self.tcpdump.log())
                .last()
                .is_some_and(|figures| figures.captured == figures.received)
        });
        self.tcpdump.signal(Signal::SIGINT);
        let status = self.tcpdump.finish(PATIENCE);
        let log = self.tcpdump.log();
        let last = figures(&log).pop();
        assert!(status.success(), "tcpdump: {status}: {log}");
        assert!(
            last.is_some_and(|last| last.missed == 0),
            "tcpdump missed packets: {log}"
        );
        let bytes = std::fs::read(&self.file).expect("the file that tcpdump wrote");
        Captured {
            packets: pcap::read(&bytes),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    captured: u64,
    received: u64,
    missed: u64,
}

/// Reads tcpdump's figures, once per time it told them: on one line after SIGUSR1, on three at its end.
fn figures(log: &str) -> Vec<Figures> {
    let before = |words: &str| -> Vec<u64> {
        log.match_indices(words)
            .filter_map(|(at, _)| {
                log[..at]
                    .trim_end()
                    .rsplit(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .collect()
    };
    let captured = before(" packets captured")
        .into_iter()
        .chain(before(" packet captured"));
    let mut captured: Vec<u64> = captured.collect();
    // Singular and plural are looked for apart, so put them back into order: the figures only grow.
    captured.sort_unstable();
    let mut received: Vec<u64> = before(" packets received by filter")
        .into_iter()
        .chain(before(" packet received by filter"))
        .collect();
    received.sort_unstable();
    let mut missed: Vec<u64> = before(" packets dropped by kernel")
        .into_iter()
        .chain(before(" packet dropped by kernel"))
        .collect();
    missed.sort_unstable();
    captured
        .into_iter()
        .zip(received)
        .zip(missed)
        .map(|((captured, received), missed)| Figures {
            captured,
            received,
            missed,
        })
        .collect()
}
