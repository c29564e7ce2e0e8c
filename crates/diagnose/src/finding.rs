//! What a check found, and what all of them together amount to.

use std::time::Duration;

use serde::Serialize;

/// A layer of the ladder, from the bottom of what a connection needs to its top; the order in which they are judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The name, and how it becomes an address.
    Name,
    /// This host's own stack and addresses.
    #[serde(rename = "self")]
    Own,
    /// The interface, its cable and what is at the other end of it.
    Link,
    /// This host's routing tables.
    Route,
    /// The router that takes the packets.
    Gateway,
    /// The target itself, on this host's own link: ARP and neighbour discovery.
    Neighbour,
    /// This host's own packet filter.
    LocalFirewall,
    /// This host's local ports.
    LocalPorts,
    /// The routers, and what else stands on the way.
    Path,
    /// The target as a host.
    Host,
    /// The port asked for.
    Port,
    /// The size of packets that get through.
    Mtu,
    /// What the program behind the port says.
    Application,
    /// Something fails, and nothing shows what.
    Inconclusive,
}

impl Layer {
    /// The word in the JSON document and in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Name => "name",
            Layer::Own => "self",
            Layer::Link => "link",
            Layer::Route => "route",
            Layer::Gateway => "gateway",
            Layer::Neighbour => "neighbour",
            Layer::LocalFirewall => "local_firewall",
            Layer::LocalPorts => "local_ports",
            Layer::Path => "path",
            Layer::Host => "host",
            Layer::Port => "port",
            Layer::Mtu => "mtu",
            Layer::Application => "application",
            Layer::Inconclusive => "inconclusive",
        }
    }
}

/// The outcome of one check.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// In order, as far as this check can see.
    Pass,
    /// A fault.
    Fail,
    /// It could not be told.
    Unknown,
    /// Not asked: it does not apply, or an earlier fault makes the question moot.
    Skipped,
}

/// What one check found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The check, by its layer's word; `arguments` for what was typed.
    pub name: &'static str,
    /// Its outcome.
    pub result: Outcome,
    /// What was seen, a line each. May hold text from outside: escape it where it is shown.
    pub evidence: Vec<String>,
    /// What that proves; empty where it proves nothing.
    pub proves: String,
    /// What it does not prove.
    pub does_not_prove: String,
    /// What to do next; empty where there is nothing to do.
    pub next: String,
    /// How long it took to find out.
    #[serde(rename = "duration_ns", serialize_with = "nanos")]
    pub duration: Duration,
}

impl Finding {
    /// A finding without evidence yet.
    pub fn new(name: &'static str, result: Outcome) -> Finding {
        Finding {
            name,
            result,
            evidence: Vec::new(),
            proves: String::new(),
            does_not_prove: String::new(),
            next: String::new(),
            duration: Duration::ZERO,
        }
    }

    /// The same with a line of evidence.
    #[must_use]
    pub fn saw(mut self, line: impl Into<String>) -> Finding {
        self.evidence.push(line.into());
        self
    }

    /// The same with what it proves and what it does not.
    #[must_use]
    pub fn proves(mut self, proves: impl Into<String>, not: impl Into<String>) -> Finding {
        self.proves = proves.into();
        self.does_not_prove = not.into();
        self
    }

    /// The same with the next step.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Finding {
        self.next = next.into();
        self
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A guess that should be checked.
    Low,
    /// One observation, or several that leave room for another explanation.
    Medium,
    /// Two independent observations at least (a packet, a counter, a table, a rule) that agree.
    High,
}

impl Confidence {
    /// The word in the JSON document and in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }
}

/// What all checks together amount to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// The first failing layer; `None` where no fault was found.
    pub layer: Option<Layer>,
    /// How sure that is.
    pub confidence: Confidence,
    /// In two sentences at most: what fails, and why that is believed.
    pub summary: String,
    /// What to do next.
    pub next: String,
}

/// A diagnosis.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnosis {
    /// The target as it was asked for.
    pub target: String,
    /// The checks in their order.
    pub checks: Vec<Finding>,
    /// What they amount to.
    pub verdict: Verdict,
    /// What the agent at the far end said; `None` where none was asked.
    pub peer: Option<crate::far::FarView>,
    /// Everything was asked; `false` when it ended before, by [`Stop`](crate::Stop) or because its time was up.
    pub complete: bool,
}

impl Diagnosis {
    /// 0 no fault was found, 1 a fault was named, or something fails and nothing shows what.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.verdict.layer.is_some())
    }
}

/// What a check holds against its layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Suspicion {
    pub(crate) layer: Layer,
    /// Kinds of observation that agree on it, named: `packet`, `counter`, `table`, `rule`.
    pub(crate) observations: Vec<Seen>,
    /// A working connection shows that it does no harm.
    pub(crate) cancelled_by_success: bool,
    /// Something else would look the same.
    pub(crate) ambiguous: bool,
    pub(crate) summary: String,
    pub(crate) next: String,
}

/// A kind of observation. Two of the same kind are independent only if they were made by different means, which is
/// then said by different words here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    /// What came back to a probe, or the lack of it, as the socket told.
    Answer,
    /// What came back to a second kind of probe.
    SecondAnswer,
    /// What a packet socket saw on the interface.
    Wire,
    /// A counter of the kernel.
    Counter,
    /// A table of the kernel: routes, neighbours, addresses, sockets, interfaces.
    Table,
    /// A rule of the packet filter.
    Rule,
    /// A file of this host.
    File,
    /// How long something took, or that it came at once.
    Time,
    /// The error number of a system call.
    Errno,
    /// What packet sockets saw at the far end's interfaces.
    FarWire,
    /// A table of the far end's kernel.
    FarTable,
    /// A counter of the far end's kernel.
    FarCounter,
    /// A rule of the far end's packet filter.
    FarRule,
}

pub(crate) fn nanos<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
