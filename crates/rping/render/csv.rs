//! The stream as rows: the same lines as NDJSON without the closing document, RFC 4180 with bare line feeds.

use std::io::{self, Write};
use std::sync::Arc;

use rping_engine::Record;

use super::event::{number, Event, Names, ProbeFields};
use super::{clock, escape, Out, Render};
use crate::job::{show_ip, Job, Target};
use crate::report::{Epoch, Report};

const HEADER: &str =
    "type,target,address,port,seq,warmup,due_ns,sent_at,outcome,rtt_ns,after_ns,reason,from,tx,rx,ttl,\
truncated,reordered,syn_retransmits,icmp_type,icmp_code,mtu,errno\n";

/// How many columns stand between `seq` and `after_ns`, and after `from`: empty in rows that are no probe's.
const BEFORE_AFTER: usize = 5;
const BEHIND_FROM: usize = 10;

/// `-o csv`.
pub(super) struct Csv {
    out: Out,
    epoch: Epoch,
    names: Names,
}

impl Csv {
    pub(super) fn new(out: Out, job: Arc<Job>) -> Csv {
        Csv {
            out,
            epoch: super::UNSET,
            names: Names::new(job, write_name),
        }
    }

    fn probe(&mut self, probe: &ProbeFields) -> io::Result<()> {
        let out = &mut self.out;
        flag(out, probe.warmup)?;
        opt(out, Some(probe.due.nanos_since(self.epoch.started)))?;
        out.write_all(b",")?;
        if let Some(sent) = probe.sent {
            write!(out, "{}", clock::nanos(&self.epoch, sent))?;
        }
        text(out, probe.outcome)?;
        opt(out, probe.rtt_ns)
    }

    fn probe_details(&mut self, probe: &ProbeFields) -> io::Result<()> {
        let out = &mut self.out;
        let (tx, rx) = probe
            .stamps
            .map_or(("", ""), |(tx, rx)| (tx.as_str(), rx.as_str()));
        text(out, tx)?;
        text(out, rx)?;
        opt(out, probe.ttl.map(u64::from))?;
        flag(out, probe.truncated)?;
        flag(out, probe.reordered)?;
        opt(out, Some(probe.syn_retransmits.into()))?;
        let refusal = probe.refusal;
        let icmp = refusal.and_then(|r| r.icmp);
        opt(out, icmp.map(|(kind, _)| kind.into()))?;
        opt(out, icmp.map(|(_, code)| code.into()))?;
        opt(out, refusal.and_then(|r| r.mtu).map(u64::from))?;
        match refusal.and_then(|r| r.errno) {
            Some(errno) => write!(out, ",{errno}"),
            None => out.write_all(b","),
        }
    }
}

pub(super) fn opt(out: &mut impl Write, value: Option<u64>) -> io::Result<()> {
    out.write_all(b",")?;
    value.map_or(Ok(()), |n| number(out, n))
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b",")?;
    out.write_all(text.as_bytes())
}

fn flag(out: &mut impl Write, set: bool) -> io::Result<()> {
    text(out, if set { "true" } else { "false" })
}

/// The cells that name the target.
pub(super) fn write_name(mut out: &mut dyn Write, target: Option<&Target>) -> io::Result<()> {
    out.write_all(b",")?;
    escape::csv_cell(&mut out, &target.map_or_else(String::new, |t| t.label()))?;
    out.write_all(b",")?;
    if let Some(address) = target.and_then(|t| t.address) {
        write!(out, "{}", show_ip(address))?;
    }
    opt(&mut out, target.and_then(|t| t.port()).map(u64::from))
}

impl Render for Csv {
    fn begin(&mut self, _: &Job, epoch: &Epoch) -> io::Result<()> {
        self.epoch = *epoch;
        self.out.write_all(HEADER.as_bytes())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let event = Event::of(record);
        self.out.write_all(event.kind.as_bytes())?;
        self.names.put(&mut self.out, event.target)?;
        opt(&mut self.out, event.seq.map(|s| s.0))?;
        match &event.probe {
            Some(probe) => self.probe(probe)?,
            None => self.out.write_all(&[b','; BEFORE_AFTER])?,
        }
        opt(&mut self.out, event.after_ns)?;
        let reason = event.probe.as_ref().and_then(|p| p.reason());
        text(&mut self.out, reason.map_or("", |r| r.as_str()))?;
        self.out.write_all(b",")?;
        if let Some(from) = event.from {
            write!(self.out, "{from}")?;
        }
        match &event.probe {
            Some(probe) => self.probe_details(probe)?,
            None => self.out.write_all(&[b','; BEHIND_FROM])?,
        }
        self.out.write_all(b"\n")
    }

    fn end(&mut self, _: &Report) -> io::Result<()> {
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
