//! What was asked for, before names are looked up: the base of the command line and of programs that build a job.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

mod check;
mod notes;

use super::{plain, Family, Source, Usage};
use crate::assertion::Assertion;
use crate::job::{Carrier, Close, Job, Kind, Order, Pace, Pacing, Stop, UdpProtocol, Wait};
use crate::targets::{self, LocalNet, Resolver, Rules, Spec};

/// The shortest interval: a hundred thousand probes per second and target.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_micros(10);
/// The longest interval and timeout.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Probes per second over all targets together, where there is more than one.
const MAX_RATE: f64 = 1000.0;
/// Targets with which exchanges over TCP run at once.
const MOST_EXCHANGES: usize = 256;

/// Payload from which an echo carries a nonce and the whole sequence, bytes.
const NONCE: usize = 16;

/// A list of targets outside the command line, one a line, `#` begins a comment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum List {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// Probes as they were asked for. [`Request::into_job`] looks names up and checks the whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The kind of probe.
    pub kind: Kind,
    /// Targets as they are written on the command line.
    pub targets: Vec<String>,
    /// More targets.
    pub list: Option<List>,
    /// When each target's probes end. Default 4 probes.
    pub stop: Stop,
    /// The time between sends to one target, 10 µs to a day. Default 1 s.
    pub pace: Pace,
    /// Bound over all targets together, probes per second; 0 is none. Default 1000 where there is more than one
    /// target and the pace is an interval.
    pub max_rate: Option<f64>,
    /// A probe not answered by then is lost; at most a day. Default 1 s; TCP 3 s.
    pub timeout: Option<Duration>,
    /// Probes per target sent first and left out of every figure. Default 0.
    pub warmup: u64,
    /// How many lost probes per target are made up for by another one. Default 0.
    pub retries: u64,
    /// End when so many measured probes were answered, over all targets.
    pub enough: Option<u64>,
    /// In which order targets have their turns. Default: shuffled where there is a block or range, else as listed.
    pub order: Option<Order>,
    /// How the time until the next send is spent. Default: by the rate and the CPUs there are.
    pub pacing: Option<Pacing>,
    /// Payload bytes, ICMP, UDP and latency. Default 32, latency 64.
    pub size: Option<usize>,
    /// Latency over TCP: requests are small, and the responses have the size.
    pub reverse: bool,
    /// Latency: how responses are waited for.
    pub wait: Wait,
    /// Latency and STAMP: the file with the key that both ends share. Default: the key in the environment's `RPING_KEY`, if there is one.
    pub key_file: Option<PathBuf>,
    /// One family only. Default: the resolver's order.
    pub family: Option<Family>,
    /// Where probes leave from.
    pub source: Option<Source>,
    /// The interface that probes leave by.
    pub interface: Option<String>,
    /// TTL or hop limit, 1 or above.
    pub ttl: Option<u8>,
    /// DSCP, 0 to 63.
    pub dscp: Option<u8>,
    /// Do not fragment.
    pub df: bool,
    /// Firewall mark.
    pub mark: Option<u32>,
    /// Allow broadcast and multicast targets; root only.
    pub broadcast: bool,
    /// Probe each address of a name.
    pub all_addresses: bool,
    /// How TCP connections are ended.
    pub close: Close,
    /// Tell the local port of each TCP connection.
    pub local_ports: bool,
    /// Whole frames, past the IP stack.
    pub link: bool,
    /// TCP: half-open probes.
    pub syn: bool,
    /// What the run must amount to.
    pub assertions: Vec<Assertion>,
}

impl Request {
    /// A request with the defaults of the command line and no targets yet.
    pub fn new(kind: Kind) -> Request {
        let usual = Job::new(kind);
        Request {
            kind,
            targets: Vec::new(),
            list: None,
            stop: usual.stop,
            pace: usual.pace,
            max_rate: None,
            timeout: None,
            warmup: usual.warmup,
            retries: 0,
            enough: None,
            order: None,
            pacing: None,
            size: None,
            reverse: false,
            wait: Wait::Auto,
            key_file: None,
            family: None,
            source: None,
            interface: None,
            ttl: None,
            dscp: None,
            df: false,
            mark: None,
            broadcast: false,
            all_addresses: false,
            close: Close::default(),
            local_ports: false,
            link: false,
            syn: false,
            assertions: Vec::new(),
        }
    }

    /// Adds a target, written as on the command line.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Request {
        self.targets.push(target.into());
        self
    }

    /// Reads the list, resolves the names and checks the whole against this host.
    ///
    /// A name that does not resolve becomes a target with an error; when there is no other, nothing will be sent.
    ///
    /// # Errors
    /// What cannot be carried out as it was asked.
    pub fn into_job(self, resolver: &dyn Resolver, local: &LocalNet) -> Result<Job, Usage> {
        self.check()?;
        if self.broadcast && !local.root {
            return refuse("--broadcast is root's: broadcast and multicast make others answer");
        }
        let (interface, scope) = self.bound_interface(local)?;
        if let Some(source) = &self.source {
            let address = targets::socket_address(source.ip, 0, scope.unwrap_or(0));
            if !source.ip.is_unspecified() && !local.is_own(source.ip) && !(local.can_bind)(address) {
                return refuse(format_args!(
                    "--source {} is no address of this host: `ip address` lists them",
                    source.ip
                ));
            }
        }
        let specs = self.specs()?;
        let rules = Rules {
            kind: self.kind,
            family: self
                .family
                .or(self.source.as_ref().map(|source| Family::of(source.ip))),
            by_source: self.family.is_none(),
            all_addresses: self.all_addresses,
            broadcast: self.broadcast,
            interface: scope,
        };
        let targets::Expanded { targets, mut notes } = targets::expand(&specs, &rules, resolver, local)?;
        self.check_sizes(&targets)?;
        if self.kind == Kind::Latency(Carrier::Tcp) && targets.len() > MOST_EXCHANGES {
            return refuse(format_args!(
                "{} targets: latency over TCP keeps a connection to each, at most {MOST_EXCHANGES}; use rping tcp, or -u",
                targets.len()
            ));
        }
        self.check_flood(&targets, local)?;
        let key = match self.kind {
            Kind::Latency(_) | Kind::Udp(UdpProtocol::Auto | UdpProtocol::Stamp) => {
                crate::key::load(self.key_file.as_deref())?
            }
            _ => None,
        };
        let max_rate = match (self.max_rate, self.pace) {
            (Some(0.0), _) | (None, Pace::WhenSettled | Pace::Window(_)) => None,
            (Some(rate), _) => Some(rate),
            (None, Pace::Every(_)) => (targets.len() > 1).then_some(MAX_RATE),
        };
        notes.extend(self.thin_echo());
        notes.extend(self.raised(&targets, key.is_some()));
        notes.extend(self.stretched(max_rate, targets.len()));
        let is_sweep = || targets.iter().any(|target| target.from_block);
        let order = self.order.unwrap_or_else(|| match is_sweep() {
            // A number of its own for each run.
            true => Order::Shuffled(RandomState::new().hash_one(0u8)),
            false => Order::Listed,
        });
        let defaults = Job::new(self.kind);
        Ok(Job {
            kind: self.kind,
            targets,
            stop: self.stop,
            pace: self.pace,
            max_rate,
            retries: self.retries as u32,
            enough: self.enough,
            order,
            pacing: self.pacing,
            timeout: self.timeout.unwrap_or(defaults.timeout),
            warmup: self.warmup,
            size: self.size.unwrap_or(defaults.size),
            reverse: self.reverse,
            wait: self.wait,
            key,
            source: self
                .source
                .as_ref()
                .map(|source| source.ip)
                .filter(|ip| !ip.is_unspecified()),
            source_port: self.source.as_ref().and_then(|source| source.port),
            interface,
            ttl: self.ttl,
            dscp: self.dscp,
            df: self.df,
            mark: self.mark,
            broadcast: self.broadcast,
            close: self.close,
            local_ports: self.local_ports,
            link: self.link,
            syn: self.syn,
            assertions: self.assertions,
            notes,
        })
    }

    /// The interface named by `-I` or by the zone of the source: its name, even where a number was given, and index.
    fn bound_interface(&self, local: &LocalNet) -> Result<(Option<String>, Option<u32>), Usage> {
        let zone = self.source.as_ref().and_then(|source| source.zone.as_deref());
        if local.interfaces.is_empty() {
            // The system would not list them; whoever binds to it will find out.
            let name = self.interface.as_deref().or(zone).map(str::to_owned);
            return Ok((name, None));
        }
        let find = |flag: &str, name: &str| local.interface(name).map_err(|why| Usage::about(flag, why));
        let named = self
            .interface
            .as_deref()
            .map(|name| find("--interface", name))
            .transpose()?;
        let zoned = zone.map(|zone| find("--source", zone)).transpose()?;
        match (named, zoned) {
            (Some(a), Some(b)) if a.index != b.index => refuse(format_args!(
                "--interface {} and the zone of --source contradict each other",
                a.name
            )),
            (a, b) => {
                let bound = a.or(b);
                Ok((
                    bound.map(|interface| interface.name.clone()),
                    bound.map(|interface| interface.index),
                ))
            }
        }
    }

    /// All targets, as far as the grammar reads them.
    fn specs(&self) -> Result<Vec<Spec>, Usage> {
        let mut specs = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            specs.push(Spec::parse(target).map_err(Usage::new)?);
        }
        let listed = match &self.list {
            None => return Ok(specs),
            Some(List::Stdin) => targets::read(std::io::stdin().lock(), &"--targets -")?,
            Some(List::File(path)) => {
                let name = format!("--targets {}", path.display());
                let file = File::open(path).map_err(|error| {
                    Usage::about(
                        &name,
                        format_args!(
                            "cannot be opened: {}; give a file with one target a line",
                            plain(&error)
                        ),
                    )
                })?;
                targets::read(file, &name)?
            }
        };
        specs.extend(listed);
        if specs.is_empty() {
            return refuse("--targets: the list names no target: give one a line");
        }
        Ok(specs)
    }
}

fn refuse<T>(why: impl fmt::Display) -> Result<T, Usage> {
    Err(Usage::new(why))
}
