//! What was asked for, before names are looked up: the base of the command line and of programs that build a job.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{plain, Family, Source, Usage};
use crate::assertion::Assertion;
use crate::job::{Carrier, Close, Job, Kind, Order, Pace, Pacing, Stop, Target, UdpProtocol, Wait};
use crate::targets::{self, LocalNet, Resolver, Rules, Spec};

/// The shortest interval: a hundred thousand probes per second and target.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_micros(10);
/// The longest interval and timeout.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The longest run by time, a hundred years: far from where 64-bit nanoseconds end.
const LONGEST_RUN: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Probes per second over all targets together, where there is more than one.
const MAX_RATE: f64 = 1000.0;
/// Probes in flight that may be asked for.
const MOST_AT_ONCE: u32 = 65_536;
/// Probes in place of lost ones that may be asked for.
const MOST_RETRIES: u64 = 1000;
/// The largest message of a latency exchange over TCP, bytes.
const MESSAGE: usize = rping_wire::latency::LARGEST as usize;
/// Targets with which exchanges over TCP run at once.
const MOST_EXCHANGES: usize = 256;
/// Payload from which an echo carries a nonce and the whole sequence, bytes.
const NONCE: usize = 16;
/// Shorter intervals to other hosts are a flood, which stays root's where file capabilities open the raw sockets.
const FLOOD: Duration = Duration::from_millis(2);

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

    /// Judges everything that can be judged without asking the system.
    ///
    /// # Errors
    /// What is out of bounds or contradicts itself.
    pub fn check(&self) -> Result<(), Usage> {
        let command = self.kind.as_str();
        if self.targets.is_empty() && self.list.is_none() {
            let host = if self.kind == Kind::Tcp {
                "HOST:PORT"
            } else {
                "HOST"
            };
            return Err(Usage::new(format_args!(
                "say whom to probe: rping {command} {host}; try rping {command} --help"
            )));
        }
        for target in &self.targets {
            Spec::parse(target).map_err(Usage::new)?;
        }
        match self.stop {
            Stop::Count(0) => {
                return refuse("--count 0 measures nothing: give 1 or more, or -t to go on until interrupted")
            }
            Stop::After(Duration::ZERO) => {
                return refuse("--count: no time is left to measure in: give a time above 0")
            }
            Stop::After(time) if time > LONGEST_RUN => {
                return refuse("--count: longer than a hundred years: use -t to go on until interrupted")
            }
            _ => {}
        }
        if let Pace::Every(interval) = self.pace {
            if interval < LEAST_INTERVAL {
                return refuse(format_args!(
                    "--interval {interval:?} is below 10us, the shortest: use -i 0 for as fast as answers come"
                ));
            }
            if interval > DAY {
                return refuse("--interval is above one day, the longest");
            }
        }
        match self.timeout {
            Some(Duration::ZERO) => return refuse("--timeout 0 loses every probe: give a time above 0"),
            Some(timeout) if timeout > DAY => return refuse("--timeout is above one day, the longest"),
            _ => {}
        }
        if self.max_rate.is_some_and(|rate| !rate.is_finite() || rate < 0.0) {
            return refuse("--max-rate is a finite number of probes per second, or 0 for no bound");
        }
        if let Pace::Window(window) = self.pace {
            if !(1..=MOST_AT_ONCE).contains(&window.most) {
                return refuse(format_args!("--in-flight is 1 to {MOST_AT_ONCE}"));
            }
        }
        if self.retries > MOST_RETRIES {
            return refuse(format_args!("--retries is at most {MOST_RETRIES}"));
        }
        if self.enough == Some(0) {
            return refuse("--stop-after 0 would end before it began: give 1 or more");
        }
        if self.ttl == Some(0) {
            return refuse("--ttl 0 goes nowhere: give 1 to 255");
        }
        if self.dscp.is_some_and(|dscp| dscp > 63) {
            return refuse("--dscp is at most 63");
        }
        self.check_kind()?;
        self.check_source()
    }

    /// Flags that mean nothing to this kind of probe.
    fn check_kind(&self) -> Result<(), Usage> {
        match (self.kind, self.size) {
            (Kind::Tcp, Some(_)) => {
                return refuse("--size: a TCP connect carries no payload; use rping icmp or rping udp")
            }
            (Kind::Arp, Some(_)) => {
                return refuse("--size: ARP and NDP carry no payload; use rping icmp or rping udp")
            }
            (Kind::Udp(UdpProtocol::Echo), Some(size)) if size < NONCE => {
                return refuse(format_args!(
                    "--size {size}: a UDP echo needs {NONCE} bytes or more to be told apart"
                ))
            }
            (Kind::Latency(Carrier::Tcp), Some(size)) if size > MESSAGE => {
                return refuse(format_args!(
                    "--size {size}: a latency message over TCP has at most 1m ({MESSAGE} bytes)"
                ))
            }
            (Kind::Latency(Carrier::Tcp), _) => {}
            (_, Some(size)) if size > most_payload(self.family.unwrap_or(Family::V6)) => {
                return Err(too_large(size))
            }
            _ => {}
        }
        if self.broadcast && matches!(self.kind, Kind::Tcp | Kind::Arp) {
            let name = if self.kind == Kind::Tcp { "TCP" } else { "ARP" };
            return refuse(format_args!(
                "--broadcast: {name} asks one host; use rping icmp or rping udp"
            ));
        }
        if self.kind == Kind::Arp {
            let flags = [
                ("--ttl", self.ttl.is_some()),
                ("--dscp", self.dscp.is_some()),
                ("--df", self.df),
            ];
            if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
                return refuse(format_args!(
                    "{flag}: ARP and NDP do not leave the link; there is nothing to set"
                ));
            }
        }
        if self.link && !(self.kind == Kind::Icmp || self.syn) {
            return refuse("--link: only icmp and tcp --syn send frames of their own (arp always does)");
        }
        if self.syn && self.kind != Kind::Tcp {
            return refuse("--syn: only TCP has a handshake to begin");
        }
        if matches!(self.kind, Kind::Latency(_)) && self.broadcast {
            return refuse("--broadcast: latency is measured with one host; use rping icmp or rping udp");
        }
        if self.kind == Kind::Latency(Carrier::Tcp) && self.df {
            return refuse("--df: TCP fits its segments to the path itself; with -u it can be set");
        }
        if self.kind == Kind::Latency(Carrier::Udp) && self.reverse {
            return refuse(
                "--reverse: over UDP no answer is longer than what it answers, or the server could be used \
                 against others; over TCP it may be",
            );
        }
        if self.kind == Kind::Udp(UdpProtocol::Echo) && self.key_file.is_some() {
            return refuse("--key-file: an echo has no way to authenticate; use --protocol stamp");
        }
        if self.kind != Kind::Tcp && self.close != Close::default() {
            return refuse("--close: only TCP has connections to end");
        }
        Ok(())
    }

    fn check_source(&self) -> Result<(), Usage> {
        let Some(source) = &self.source else { return Ok(()) };
        if source.port.is_some() && matches!(self.kind, Kind::Icmp | Kind::Arp) {
            return refuse(format_args!(
                "--source: {} has no ports: give the address alone",
                self.kind.as_str()
            ));
        }
        if source.port == Some(0) {
            return refuse("--source: there is no port 0: leave it away for the system's choice");
        }
        if source.ip.is_multicast() || matches!(source.ip, IpAddr::V4(v4) if v4.is_broadcast()) {
            return refuse(format_args!("--source {}: no host sends from there", source.ip));
        }
        match self.family {
            Some(family) if !family.holds(source.ip) => refuse(format_args!(
                "--source {} is not {family}, which was asked for",
                source.ip
            )),
            _ => Ok(()),
        }
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
        notes.extend(self.raised());
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

    /// Sizes beyond what the protocol carries to some target.
    fn check_sizes(&self, targets: &[Target]) -> Result<(), Usage> {
        let Some(size) = self.size else { return Ok(()) };
        if self.kind == Kind::Latency(Carrier::Tcp) {
            return Ok(());
        }
        for address in targets.iter().filter_map(|target| target.address) {
            let family = Family::of(address.ip());
            if size > most_payload(family) {
                return Err(too_large(size));
            }
            if self.kind == Kind::Udp(UdpProtocol::Auto) && address.port() == 7 && size < NONCE {
                return refuse(format_args!(
                    "--size {size}: port 7 speaks echo, which needs {NONCE} bytes or more to be told apart"
                ));
            }
        }
        Ok(())
    }

    /// Floods of other people's hosts, by a user whom file capabilities made more than a user.
    fn check_flood(&self, targets: &[Target], local: &LocalNet) -> Result<(), Usage> {
        let flood = match self.pace {
            Pace::WhenSettled | Pace::Window(_) => true,
            Pace::Every(interval) => interval < FLOOD,
        };
        let raw = matches!(self.kind, Kind::Icmp | Kind::Arp) || self.syn;
        if local.root || !local.elevated || !flood || !raw {
            return Ok(());
        }
        match targets
            .iter()
            .filter_map(|target| target.address)
            .find(|address| !local.is_own(address.ip()))
        {
            Some(address) => refuse(format_args!(
                "intervals below 2ms to other hosts ({}) are root's: use -i 2ms or longer",
                address.ip()
            )),
            None => Ok(()),
        }
    }

    /// A latency message holds its sequence number and the residence time, or a STAMP packet.
    fn raised(&self) -> Option<String> {
        let least = match self.kind {
            Kind::Latency(Carrier::Tcp) => rping_wire::latency::HEADER_LEN,
            Kind::Latency(Carrier::Udp) => rping_wire::stamp::BASE_LEN,
            _ => return None,
        };
        let size = self.size.filter(|&size| size < least)?;
        Some(format!(
            "with {size} bytes asked for, messages have {least}, the least there is"
        ))
    }

    fn thin_echo(&self) -> Option<String> {
        let size = self
            .size
            .filter(|&size| self.kind == Kind::Icmp && size < NONCE)?;
        Some(format!(
            "with {size} bytes of payload, under {NONCE}, answers are matched by id and sequence alone"
        ))
    }

    /// Says so when the bound over all targets is what sets the pace.
    fn stretched(&self, max_rate: Option<f64>, targets: usize) -> Option<String> {
        let (Some(rate), Pace::Every(interval)) = (max_rate, self.pace) else {
            return None;
        };
        let round = targets as f64 / rate;
        if self.stop == Stop::Count(1) || round <= interval.as_secs_f64() * 1.0001 {
            return None;
        }
        Some(format!(
            "{targets} targets at {rate} probes per second in all: each is probed every {round:.3} s, not every \
             {interval:?}; --max-rate sets the bound"
        ))
    }
}

fn refuse<T>(why: impl fmt::Display) -> Result<T, Usage> {
    Err(Usage::new(why))
}

/// The most payload of an ICMP echo or UDP datagram, both with eight bytes of header. IPv4: the total length of 65535
/// holds a header of 20 (RFC 791 section 3.1). IPv6: the payload length of 65535 does not count the header (RFC 8200
/// section 3).
const fn most_payload(family: Family) -> usize {
    match family {
        Family::V4 => 65_535 - 20 - 8,
        Family::V6 => 65_535 - 8,
    }
}

fn too_large(size: usize) -> Usage {
    Usage::new(format_args!(
        "--size {size}: a probe carries at most {} bytes over IPv4, {} over IPv6",
        most_payload(Family::V4),
        most_payload(Family::V6)
    ))
}
