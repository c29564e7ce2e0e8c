//! Lines for people, as `ping` and `psping` users read them.

use std::io::{self, Write};
use std::sync::Arc;

use rping_engine::{Aside, Outcome, Reason, Record, Refusal, Stop, Timestamp};

use super::style::{Style, Tone};
use super::words::{Happened, Others, Told, Words};
use super::{clock, Out, Render};
use crate::args::output::OutputOptions;
use crate::job::{Job, Kind, Target};
use crate::report::{Epoch, Report};

mod block;
mod header;
mod line;
#[cfg(test)]
mod tests;

pub use block::interim_text;

/// Up to so many targets that were named one by one, there is a line for each probe and a block for each target;
/// with more, or with a block or range among them, one line per target.
const FEW: usize = 8;

/// `-o text`.
pub(super) struct Text {
    out: Out,
    job: Arc<Job>,
    options: OutputOptions,
    style: Style,
    few: bool,
    epoch: Epoch,
    told: Told,
    /// Of the few targets that have a line for each probe, which have answered, and of which an ICMP error came.
    heard: Vec<(bool, bool)>,
}

impl Text {
    pub(super) fn new(out: Out, job: Arc<Job>, options: OutputOptions, colored: bool) -> Text {
        let few = few(&job) && !options.answering;
        Text {
            out,
            job,
            options,
            style: Style(colored),
            few,
            epoch: super::UNSET,
            told: Told::default(),
            heard: Vec::new(),
        }
    }

    fn stamp(&mut self, at: Timestamp) -> io::Result<()> {
        if self.options.timestamps {
            write!(self.out, "{} ", clock::millis(&self.epoch, at))?;
        }
        Ok(())
    }

    /// Explains what happened, the first time that it happens.
    fn explain(&mut self, target: &Target, happened: Happened<'_>) -> io::Result<()> {
        match self.told.once(self.job.kind, target, happened) {
            Some(Words { means, next }) => {
                writeln!(self.out, "  {}", self.style.paint(Tone::Aside, means))?;
                writeln!(self.out, "  {} {next}", self.style.paint(Tone::Aside, "next:"))
            }
            None => Ok(()),
        }
    }

    /// A missing neighbour is the target itself, or the gateway that this host would send to.
    fn not_sent<'a>(&self, target: &Target, refusal: &'a Refusal) -> Happened<'a> {
        // A saved run was made with the routes of another host or day.
        if refusal.reason != Reason::NoNeighbour || !self.options.live || self.job.kind == Kind::Arp {
            return Happened::NotSent(refusal);
        }
        let gateway = target.ip().and_then(|ip| {
            let interface = self
                .job
                .interface
                .as_deref()
                .and_then(|name| rping_net::options::interface_index(name).ok());
            rping_net::netlink::route(ip, self.job.source, interface, self.job.mark)
                .ok()?
                .gateway
        });
        gateway.map_or(Happened::NotSent(refusal), Happened::NoGateway)
    }

    fn settled(&mut self, sample: &rping_engine::Sample) -> io::Result<()> {
        let job = Arc::clone(&self.job);
        let Some(target) = job.targets.get(sample.target.index()) else {
            return Ok(());
        };
        let index = sample.target.index();
        if self.heard.len() <= index {
            self.heard.resize(index + 1, (false, false));
        }
        let heard = &mut self.heard[index];
        let (when, happened) = match &sample.outcome {
            Outcome::Reply {
                rtt, syn_retransmits, ..
            } => {
                heard.0 = true;
                let happened = (*syn_retransmits > 0).then_some(Happened::SynLost(*syn_retransmits));
                (sample.left.plus(rtt.unwrap_or_default()), happened)
            }
            Outcome::Rejected { refusal, after } => {
                heard.1 |= refusal.icmp.is_some();
                (sample.left.plus(*after), Some(Happened::Rejected(refusal)))
            }
            Outcome::Lost => {
                let others = Others::of(heard.0, heard.1);
                (
                    sample.left.plus(job.timeout),
                    Some(Happened::Lost(job.timeout, others)),
                )
            }
            Outcome::NotSent(refusal) => (sample.left, Some(self.not_sent(target, refusal))),
        };
        self.stamp(when)?;
        line::settled(&mut self.out, self.style, &job, target, sample)?;
        match happened {
            Some(happened) => self.explain(target, happened),
            None => Ok(()),
        }
    }
}

impl Render for Text {
    fn begin(&mut self, job: &Job, epoch: &Epoch) -> io::Result<()> {
        self.epoch = *epoch;
        writeln!(self.out, "{}", header::of(job, self.style))?;
        for note in &job.notes {
            writeln!(
                self.out,
                "{} {}",
                self.style.paint(Tone::Warn, "note:"),
                super::escape::Escaped(note)
            )?;
        }
        if !self.few && !self.options.quiet && job.stop == Stop::Never {
            writeln!(
                self.out,
                "one line per target at the end; Ctrl-\\ shows how it stands, Ctrl-C ends it"
            )?;
        }
        Ok(())
    }

    fn wants_records(&self) -> bool {
        self.few && !self.options.quiet
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        if !self.wants_records() {
            return Ok(());
        }
        match record {
            Record::Settled(sample) => self.settled(sample),
            Record::Aside {
                target,
                seq,
                from,
                at,
                aside,
            } => {
                let job = Arc::clone(&self.job);
                let Some(target) = job.targets.get(target.index()) else {
                    return Ok(());
                };
                self.stamp(*at)?;
                line::aside(&mut self.out, self.style, &job, target, *seq, *from, *aside)?;
                match aside {
                    // A stranger's packets are shown; there is nothing to check about one.
                    Aside::Unexpected => Ok(()),
                    _ => self.explain(target, Happened::Aside(*aside)),
                }
            }
        }
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        let listed = block::write(&mut self.out, self.style, &self.options, self.few, report)?;
        self.explain_rest(report, &listed)?;
        block::closing(&mut self.out, self.style, report)?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Text {
    /// Explains what no line of a probe has explained: in quiet runs, and in those of many targets.
    fn explain_rest(&mut self, report: &Report, listed: &[usize]) -> io::Result<()> {
        for &index in listed {
            let (Some(target), Some(of)) = (report.job.targets.get(index), report.run.targets.get(index))
            else {
                continue;
            };
            if let Some(error) = &target.error {
                self.explain(target, Happened::Unusable(error))?;
                continue;
            }
            if let Some(refusal) = &of.last_refusal {
                // Which of the two it was is only known where the other did not happen; the reason says most of it.
                let happened = match of.counts.rejected {
                    0 => self.not_sent(target, refusal),
                    _ => Happened::Rejected(refusal),
                };
                self.explain(target, happened)?;
            }
            if of.counts.lost > 0 {
                let by_icmp = of
                    .last_refusal
                    .as_ref()
                    .is_some_and(|refusal| refusal.icmp.is_some());
                let others = Others::of(of.counts.received > 0, of.counts.rejected > 0 && by_icmp);
                self.explain(target, Happened::Lost(report.job.timeout, others))?;
            }
            if of.counts.syn_lost > 0 {
                self.explain(target, Happened::SynLost(1))?;
            }
        }
        Ok(())
    }
}

/// Whether a run has a line for each probe and a block for each target.
pub(super) fn few(job: &Job) -> bool {
    match job.targets.as_slice() {
        [] | [_] => true,
        targets => targets.len() <= FEW && !targets.iter().any(|t| t.from_block),
    }
}

/// A target's name and, where it was a name, its address: `fileserver:445 (10.77.0.2)`.
fn full_name(target: &Target) -> String {
    let label = target.label();
    let shown = super::escape::Escaped(&label).to_string();
    match target.address {
        Some(address) => {
            let ip = crate::job::show_ip(address);
            // A literal address need not be said twice.
            if label.contains(&ip) {
                shown
            } else {
                format!("{shown} ({ip})")
            }
        }
        None => shown,
    }
}
