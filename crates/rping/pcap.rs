//! `--pcap FILE`: the run's own packets in a file that Wireshark opens.

use std::fs::File;
use std::io::BufWriter;
use std::net::SocketAddr;

use rping_evidence::capture::{Carries, Recorder, Selection, Settings};

use crate::args::output::Pcap;
use crate::files::Aside;
use crate::job::{Carrier, Job, Kind};
use crate::render::escape;

/// A capture that runs beside a run.
pub(crate) struct Capture {
    recorder: Recorder<BufWriter<File>>,
    file: String,
    limit: u64,
}

impl Capture {
    /// Of the packets of a job.
    ///
    /// # Errors
    /// In one line: no permission, no such directory.
    pub(crate) fn of_job(pcap: &Pcap, job: &Job) -> Result<Capture, String> {
        let carries = match job.kind {
            Kind::Icmp => Carries::Icmp,
            Kind::Tcp | Kind::Latency(Carrier::Tcp) => Carries::Tcp,
            // The session is agreed upon over TCP, on the same port.
            Kind::Latency(Carrier::Udp) => Carries::Both,
            Kind::Udp(_) => Carries::Udp,
            Kind::Arp => Carries::Neighbour,
        };
        let targets = job.live().map(|(_, address)| address);
        let what = match job.targets.len() {
            1 => job.targets[0].label(),
            many => format!("{many} targets"),
        };
        let comment = format!("rping {} {what}: the run's own packets", job.kind.as_str());
        Capture::start(pcap, carries, targets, comment)
    }

    /// Of what goes to and comes from these targets.
    ///
    /// # Errors
    /// As for [`Capture::of_job`].
    pub(crate) fn start(
        pcap: &Pcap,
        carries: Carries,
        targets: impl IntoIterator<Item = SocketAddr>,
        comment: String,
    ) -> Result<Capture, String> {
        let file = format!("--pcap {}", pcap.file.display());
        // The filter knows addresses and ports, not whose packets they are: a right that the program's file lends to
        // everybody is not one to read what other users send to the same place.
        if rping_net::caps::real_user() != 0 {
            return Err(escape::line(&format!(
                "{file}: other users' packets to the same place would be seen: run it as root"
            )));
        }
        let unwritable = |error: std::io::Error| {
            let why = crate::args::plain(&error);
            escape::line(&format!("{file}: cannot be written: {why}"))
        };
        // It takes its name when something is captured: an empty file would say that nothing was sent.
        let mut aside = Aside::create(&pcap.file).map_err(unwritable)?;
        let out = aside.file().try_clone().map_err(unwritable)?;
        let settings = Settings {
            selection: Selection::new(carries, targets),
            out: BufWriter::with_capacity(1 << 18, out),
            program: format!("rping {}", env!("CARGO_PKG_VERSION")),
            comment: escape::line(&comment),
            limit: pcap.limit,
            ring: false,
        };
        let recorder =
            Recorder::start(settings).map_err(|error| escape::line(&format!("{file}: {error}")))?;
        aside.settle().map_err(unwritable)?;
        Ok(Capture {
            recorder,
            file: escape::line(&file),
            limit: pcap.limit,
        })
    }

    /// Ends it. What is worth a warning, and why the file is not what was asked for.
    pub(crate) fn finish(self) -> (Vec<String>, Option<String>) {
        let (recorded, _) = self.recorder.finish();
        let mut notes = Vec::new();
        if recorded.left_out > 0 {
            notes.push(format!(
                "pcap_full: {} packets are not in the capture, which ends at {} bytes (--pcap-limit); every probe is \
                 counted",
                recorded.left_out, self.limit
            ));
        }
        if recorded.dropped > 0 {
            notes.push(format!(
                "pcap_dropped: the kernel dropped {} packets before they could be captured; every probe is counted",
                recorded.dropped
            ));
        }
        let failure = recorded
            .failure
            .map(|error| format!("{}: {}", self.file, crate::args::plain(&error)));
        (notes, failure)
    }
}
