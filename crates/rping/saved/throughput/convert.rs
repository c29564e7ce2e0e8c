//! From a test to the lines of its file, and back.

use super::*;

impl Asked {
    pub(super) fn of(name: &str, client: &Client, assertions: &[Assertion]) -> Asked {
        let p = &client.parameters;
        Asked {
            target: name.to_owned(),
            address: client.server,
            protocol: match p.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            }
            .to_owned(),
            reverse: p.reverse,
            bidirectional: p.bidirectional,
            parallel: p.parallel,
            size: p.length as u64,
            bits_per_second: p.bandwidth,
            omit_s: p.omit,
            bytes: match client.end {
                End::Bytes(bytes) => Some(bytes),
                End::After(_) => None,
            },
            duration_ns: match client.end {
                End::After(time) if time < Duration::MAX => Some(nanos(time)),
                _ => None,
            },
            interval_ns: nanos(client.interval),
            timeout_ns: nanos(client.patience),
            congestion: p.congestion.clone(),
            mss: p.mss,
            skip_rx_copy: p.skip_receive_copy,
            gso: p.segments,
            assertions: assertions.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn client(&self) -> Client {
        Client {
            server: self.address,
            parameters: Parameters {
                protocol: match self.protocol.as_str() {
                    "udp" => Protocol::Udp,
                    _ => Protocol::Tcp,
                },
                reverse: self.reverse,
                bidirectional: self.bidirectional,
                omit: self.omit_s,
                parallel: self.parallel,
                length: usize::try_from(self.size).unwrap_or(usize::MAX),
                mss: self.mss,
                bandwidth: self.bits_per_second,
                congestion: self.congestion.clone(),
                skip_receive_copy: self.skip_rx_copy,
                segments: self.gso,
                coalesces: self.gso,
                ..Parameters::default()
            },
            end: match (self.bytes, self.duration_ns) {
                (Some(bytes), _) => End::Bytes(bytes),
                (None, Some(ns)) => End::After(Duration::from_nanos(ns)),
                (None, None) => End::After(Duration::MAX),
            },
            stream: StreamOptions::default(),
            patience: Duration::from_nanos(self.timeout_ns),
            interval: Duration::from_nanos(self.interval_ns.max(1)),
            key: None,
        }
    }
}

impl FiguresText {
    pub(super) fn of(figures: &Figures) -> FiguresText {
        FiguresText {
            bytes: figures.bytes,
            packets: figures.packets,
            received: figures.received,
            lost: figures.lost,
            reordered: figures.reordered,
            dropped: figures.dropped,
            jitter_ns: figures.jitter_ns,
        }
    }

    /// The figures again; `None` where they are impossible.
    pub(super) fn read(&self) -> Option<Figures> {
        bounded(self.lost.unsigned_abs())?;
        Some(Figures {
            bytes: bounded(self.bytes)?,
            packets: bounded(self.packets)?,
            received: bounded(self.received)?,
            lost: self.lost,
            reordered: bounded(self.reordered)?,
            dropped: bounded(self.dropped)?,
            jitter_ns: self.jitter_ns,
        })
    }
}

impl Direction {
    pub(super) const fn of(is_forward: bool) -> Direction {
        match is_forward {
            true => Direction::Forward,
            false => Direction::Reverse,
        }
    }
}

impl IntervalText {
    pub(super) fn of(i: &Interval) -> IntervalText {
        IntervalText {
            direction: Direction::of(i.is_forward),
            start_ns: nanos(i.span.0),
            end_ns: nanos(i.span.1),
            omitted: i.omitted,
            figures: FiguresText::of(&i.figures),
            retransmits: i.retransmits,
            rtt_ns: i.rtt.map(nanos),
            congestion_window_bytes: i.congestion_window,
        }
    }

    pub(super) fn read(&self) -> Option<Interval> {
        (self.start_ns <= self.end_ns).then_some(())?;
        Some(Interval {
            span: (
                Duration::from_nanos(self.start_ns),
                Duration::from_nanos(bounded(self.end_ns)?),
            ),
            is_forward: self.direction == Direction::Forward,
            omitted: self.omitted,
            figures: self.figures.read()?,
            retransmits: self
                .retransmits
                .map(bounded)
                .unwrap_or(Some(0))
                .and(self.retransmits),
            rtt: self.rtt_ns.map(Duration::from_nanos),
            congestion_window: self.congestion_window_bytes,
        })
    }
}

impl SideText {
    pub(super) fn of(side: &Side) -> SideText {
        SideText {
            direction: Direction::of(side.is_forward),
            sent: side.sent.as_ref().map(FiguresText::of),
            received: side.received.as_ref().map(FiguresText::of),
            retransmits: side.retransmits,
            took_ns: nanos(side.took),
            sent_for_ns: nanos(side.sent_for),
            knows_order: side.knows_order,
            unseen: side.unseen,
            discarded: side.discarded,
        }
    }

    pub(super) fn read(&self) -> Option<Side> {
        let figures = |text: Option<FiguresText>| match text {
            Some(text) => text.read().map(Some),
            None => Some(None),
        };
        Some(Side {
            is_forward: self.direction == Direction::Forward,
            sent: figures(self.sent)?,
            received: figures(self.received)?,
            retransmits: self.retransmits,
            took: Duration::from_nanos(self.took_ns),
            sent_for: Duration::from_nanos(self.sent_for_ns),
            knows_order: self.knows_order,
            unseen: self.unseen,
            discarded: self.discarded,
        })
    }
}

impl Ending {
    pub(super) fn of(test: &Test) -> Ending {
        let outcome = test.outcome.as_ref();
        Ending {
            duration_ns: nanos(test.duration),
            flowed: outcome.is_some(),
            sides: outcome.map_or_else(Vec::new, |of| of.sides.iter().map(SideText::of).collect()),
            cpu_local: outcome.map(|of| of.cpu_local).unwrap_or_default(),
            cpu_remote: outcome.and_then(|of| of.cpu_remote),
            congestion: outcome.and_then(|of| of.congestion.clone()),
            mss: outcome.and_then(|of| of.mss),
            lateness_ns: outcome
                .and_then(|of| of.lateness)
                .map(|of| (of.p50_ns, of.p99_ns, of.max_ns, nanos(of.skipped))),
            interrupted: outcome.is_some_and(|of| of.interrupted),
            failure: test.failure.clone(),
            warnings: test.warnings.clone(),
            latency: test.latency.as_ref().map(LatencyText::of),
        }
    }

    /// Adds it to the test; `None`, and nothing added, where it is impossible.
    pub(super) fn read(self, test: &mut Test) -> Option<()> {
        let sides: Option<Vec<Side>> = self.sides.iter().take(3).map(SideText::read).collect();
        let sides = sides.filter(|sides| sides.len() <= 2)?;
        let latency = match &self.latency {
            Some(text) => Some(text.read()?),
            None => None,
        };
        let is_percent = |all: &[f64; 3]| all.iter().all(|of| of.is_finite());
        let cpu_local = Some(self.cpu_local).filter(is_percent)?;
        test.outcome = self.flowed.then(|| Outcome {
            sides,
            cpu_local,
            cpu_remote: self.cpu_remote.filter(is_percent),
            congestion: self.congestion,
            mss: self.mss,
            lateness: self
                .lateness_ns
                .map(|(p50_ns, p99_ns, max_ns, skipped)| Lateness {
                    p50_ns,
                    p99_ns,
                    max_ns,
                    skipped: Duration::from_nanos(skipped),
                }),
            interrupted: self.interrupted,
            failure: self.failure.clone(),
        });
        test.duration = Duration::from_nanos(self.duration_ns);
        test.failure = self.failure;
        test.warnings = self.warnings;
        test.latency = latency;
        Some(())
    }
}

impl LatencyText {
    pub(super) fn of(found: &Findings) -> LatencyText {
        let phase = |of: &Latency| PhaseText {
            sent: of.sent,
            received: of.received,
            rtt: Sampled::whole(&of.round_trip.moments, Some(&of.round_trip.histogram)),
            forward: Sampled::whole(&of.forward.moments, Some(&of.forward.histogram)),
            reverse: Sampled::whole(&of.reverse.moments, Some(&of.reverse.histogram)),
            clock_error_ns: of.clock_error,
        };
        LatencyText {
            reflector: found.reflector,
            interval_ns: nanos(found.interval),
            idle: phase(&found.idle),
            loaded: phase(&found.loaded),
        }
    }

    pub(super) fn read(&self) -> Option<Findings> {
        let delays = |of: &Sampled| {
            let (moments, histogram) = of.read(3)?;
            Some(Delays { moments, histogram })
        };
        let phase = |of: &PhaseText| {
            Some(Latency {
                sent: bounded(of.sent)?,
                received: bounded(of.received)?,
                round_trip: delays(&of.rtt)?,
                forward: delays(&of.forward)?,
                reverse: delays(&of.reverse)?,
                clock_error: of.clock_error_ns,
            })
        };
        Some(Findings {
            reflector: self.reflector,
            interval: Duration::from_nanos(self.interval_ns),
            idle: phase(&self.idle)?,
            loaded: phase(&self.loaded)?,
        })
    }
}
