//! The stream: one JSON document a line for each finished probe and each event beside the outcomes, described by
//! `docs/schema/rping.probe-1.json`, and the run's document last.

use std::io::{self, Write};
use std::sync::Arc;

use rping_engine::{Record, Refusal};

use super::event::{number, Event, Names, ProbeFields};
use super::{clock, escape, json, Out, Render};
use crate::job::{show_ip, Job, Target};
use crate::report::{Epoch, Report};

/// `-o ndjson`.
pub(super) struct Ndjson {
    out: Out,
    epoch: Epoch,
    names: Names,
}

impl Ndjson {
    pub(super) fn new(out: Out, job: Arc<Job>) -> Ndjson {
        Ndjson {
            out,
            epoch: super::UNSET,
            names: Names::new(job, write_name),
        }
    }

    fn probe(&mut self, probe: &ProbeFields) -> io::Result<()> {
        let out = &mut self.out;
        out.write_all(if probe.warmup {
            b",\"warmup\":true"
        } else {
            b",\"warmup\":false"
        })?;
        out.write_all(b",\"due_ns\":")?;
        number(out, probe.due.nanos_since(self.epoch.started))?;
        match probe.sent {
            Some(sent) => write!(out, ",\"sent_at\":\"{}\"", clock::nanos(&self.epoch, sent))?,
            None => out.write_all(b",\"sent_at\":null")?,
        }
        out.write_all(b",\"outcome\":\"")?;
        out.write_all(probe.outcome.as_bytes())?;
        out.write_all(b"\",\"rtt_ns\":")?;
        opt(out, probe.rtt_ns)
    }

    fn probe_details(&mut self, probe: &ProbeFields) -> io::Result<()> {
        let out = &mut self.out;
        word(out, b",\"reason\":", probe.reason().map(|r| r.as_str()))?;
        word(out, b",\"tx\":", probe.stamps.map(|s| s.0.as_str()))?;
        word(out, b",\"rx\":", probe.stamps.map(|s| s.1.as_str()))?;
        out.write_all(b",\"ttl\":")?;
        opt(out, probe.ttl.map(u64::from))?;
        out.write_all(if probe.truncated {
            b",\"truncated\":true"
        } else {
            b",\"truncated\":false"
        })?;
        out.write_all(if probe.reordered {
            b",\"reordered\":true"
        } else {
            b",\"reordered\":false"
        })?;
        out.write_all(b",\"syn_retransmits\":")?;
        number(out, probe.syn_retransmits.into())?;
        refusal(out, probe.refusal)
    }
}

/// The part of a line that names its target.
pub(super) fn write_name(out: &mut dyn Write, target: Option<&Target>) -> io::Result<()> {
    let Some(target) = target else {
        return out.write_all(b",\"target\":\"?\",\"address\":null,\"port\":null");
    };
    out.write_all(b",\"target\":")?;
    escape::json_string(out, &target.label())?;
    match target.address {
        Some(address) => write!(out, ",\"address\":\"{}\"", show_ip(address))?,
        None => out.write_all(b",\"address\":null")?,
    }
    out.write_all(b",\"port\":")?;
    opt(out, target.port().map(u64::from))
}

pub(super) fn opt(out: &mut (impl Write + ?Sized), value: Option<u64>) -> io::Result<()> {
    match value {
        Some(n) => number(out, n),
        None => out.write_all(b"null"),
    }
}

fn word(out: &mut impl Write, key: &[u8], value: Option<&'static str>) -> io::Result<()> {
    out.write_all(key)?;
    match value {
        Some(word) => {
            out.write_all(b"\"")?;
            out.write_all(word.as_bytes())?;
            out.write_all(b"\"")
        }
        None => out.write_all(b"null"),
    }
}

fn refusal(out: &mut impl Write, refusal: Option<Refusal>) -> io::Result<()> {
    match refusal.and_then(|r| r.icmp) {
        Some((kind, code)) => write!(out, ",\"icmp\":{{\"type\":{kind},\"code\":{code}}}")?,
        None => out.write_all(b",\"icmp\":null")?,
    }
    out.write_all(b",\"mtu\":")?;
    opt(out, refusal.and_then(|r| r.mtu).map(u64::from))?;
    match refusal.and_then(|r| r.errno) {
        Some(errno) => write!(out, ",\"errno\":{errno}"),
        None => out.write_all(b",\"errno\":null"),
    }
}

impl Render for Ndjson {
    fn begin(&mut self, _: &Job, epoch: &Epoch) -> io::Result<()> {
        self.epoch = *epoch;
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let event = Event::of(record);
        self.out.write_all(b"{\"type\":\"")?;
        self.out.write_all(event.kind.as_bytes())?;
        self.out.write_all(b"\"")?;
        self.names.put(&mut self.out, event.target)?;
        self.out.write_all(b",\"seq\":")?;
        opt(&mut self.out, event.seq.map(|s| s.0))?;
        if let Some(probe) = &event.probe {
            self.probe(probe)?;
        }
        self.out.write_all(b",\"after_ns\":")?;
        opt(&mut self.out, event.after_ns)?;
        match event.from {
            Some(from) => write!(self.out, ",\"from\":\"{from}\"")?,
            None => self.out.write_all(b",\"from\":null")?,
        }
        if let Some(probe) = &event.probe {
            self.probe_details(probe)?;
        }
        self.out.write_all(b"}\n")
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        json::summary(&mut self.out, report)?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
