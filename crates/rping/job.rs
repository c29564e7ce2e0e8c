//! What is to be done: one kind of probe, its targets, and when to send. Typed in by a person or filled by a program.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::assertion::Assertion;

/// Which layer is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ICMP or ICMPv6 echo.
    Icmp,
    /// TCP connect: the handshake is the probe.
    Tcp,
    /// UDP echo (RFC 862) or STAMP (RFC 8762).
    Udp(UdpProtocol),
    /// ARP request or NDP neighbour solicitation.
    Arp,
    /// Request and response with `rping server`.
    Latency(Carrier),
}

impl Kind {
    /// The command's name: `icmp`, `tcp`, `udp`, `arp` or `latency`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Icmp => "icmp",
            Kind::Tcp => "tcp",
            Kind::Udp(_) => "udp",
            Kind::Arp => "arp",
            Kind::Latency(_) => "latency",
        }
    }

    /// Whose packets these are on the way: what a firewall takes them for.
    pub(crate) const fn on_the_wire(self) -> Kind {
        match self {
            Kind::Latency(Carrier::Udp) => Kind::Udp(UdpProtocol::Stamp),
            other => other,
        }
    }
}

/// What carries requests and responses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Carrier {
    /// One TCP connection for each target.
    #[default]
    Tcp,
    /// STAMP packets (RFC 8762) over UDP.
    Udp,
}

impl Carrier {
    /// The word used in output: `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Carrier::Tcp => "tcp",
            Carrier::Udp => "udp",
        }
    }
}

/// What is spoken over UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UdpProtocol {
    /// Port 7 is spoken to in echo, every other port in STAMP; the answer may be either.
    #[default]
    Auto,
    /// RFC 862 echo.
    Echo,
    /// RFC 8762 STAMP, unauthenticated.
    Stamp,
}

pub use rping_engine::{Order, Pace, Stop, Window};
pub use rping_net::tcp::Close;
pub use rping_net::Pacing;
pub use rping_net::Wait;
pub use rping_peer::Key;

/// One target.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// As it was typed or listed; `None` for a member of a block or range, which is called by its address and port.
    pub name: Option<Box<str>>,
    /// Where probes go. Port 0 for kinds without one. IPv6 link-local addresses carry their scope id.
    /// `None` when the name did not resolve: then `error` says why and the other targets run on.
    pub address: Option<SocketAddr>,
    /// Why this target cannot be probed at all, in words.
    pub error: Option<Box<str>>,
    /// It came out of a CIDR block, an address range or a port range: silent ones are not listed unless asked for.
    pub from_block: bool,
}

impl Target {
    /// The target as output names it: `fileserver:445`, `10.0.0.7`, `[2001:db8::1]:80`.
    pub fn label(&self) -> String {
        match (&self.name, self.address) {
            (Some(name), _) => name.to_string(),
            (None, Some(address)) if address.port() == 0 => show_ip(address),
            (None, Some(address)) => show_socket(address),
            (None, None) => "?".to_owned(),
        }
    }

    /// The address without the port, and without a scope id.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|a| a.ip())
    }

    /// The port, where the kind has one.
    pub fn port(&self) -> Option<u16> {
        self.address.map(|a| a.port()).filter(|&p| p != 0)
    }
}

/// An address without its port, with its zone where it has one: by the interface's name, `fe80::1%eth0`, or by its number
/// where there is none of that number.
pub fn show_ip(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            let index = v6.scope_id();
            // The kernel lets an interface's name hold quotes and escapes, which no output shall.
            let plain = |name: &String| {
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
            };
            let name = rping_net::options::interface_name(index).filter(plain);
            let zone = name.unwrap_or_else(|| index.to_string());
            format!("{}%{zone}", v6.ip())
        }
        other => other.ip().to_string(),
    }
}

/// An address with its port, as [`show_ip`] shows it: `10.0.0.7:80`, `[fe80::1%eth0]:80`.
pub fn show_socket(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("[{}]:{}", show_ip(address), v6.port()),
        other => other.to_string(),
    }
}

/// A run of probes, completely described.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// The kind of probe.
    pub kind: Kind,
    /// To whom; the order is that of the report.
    pub targets: Vec<Target>,
    /// When each target's probes end. Default 4 probes.
    pub stop: Stop,
    /// The time between sends to one target. Default 1 s.
    pub pace: Pace,
    /// A bound over all targets together, probes per second. `None`: no bound.
    pub max_rate: Option<f64>,
    /// A probe not answered by then is lost. Default 1 s; TCP 3 s.
    pub timeout: Duration,
    /// Probes per target that are sent first and left out of every figure. Default 0.
    pub warmup: u64,
    /// How many lost probes per target are made up for by another one. Default 0.
    pub retries: u32,
    /// The run ends when so many measured probes were answered, over all targets.
    pub enough: Option<u64>,
    /// In which order targets have their turns. Default as listed.
    pub order: Order,
    /// How the time until the next send is spent; `None`: by the rate and the CPUs there are.
    pub pacing: Option<Pacing>,
    /// Payload bytes (ICMP, UDP, latency). Default 32, latency 64; STAMP sends at least 44, a latency message over TCP has
    /// at least 16.
    pub size: usize,
    /// Latency over TCP: requests are small, and the responses have the size.
    pub reverse: bool,
    /// Latency: how responses are waited for.
    pub wait: Wait,
    /// Latency and STAMP: the key that both ends share.
    pub key: Option<Key>,
    /// The local address probes leave from.
    pub source: Option<IpAddr>,
    /// The local port probes leave from (TCP, UDP).
    pub source_port: Option<u16>,
    /// The interface probes leave by.
    pub interface: Option<String>,
    /// TTL or hop limit of the probes.
    pub ttl: Option<u8>,
    /// DSCP of the probes, 0 to 63.
    pub dscp: Option<u8>,
    /// Do not fragment.
    pub df: bool,
    /// Firewall mark (`SO_MARK`).
    pub mark: Option<u32>,
    /// Broadcast and multicast targets are allowed.
    pub broadcast: bool,
    /// How TCP connections are ended.
    pub close: Close,
    /// Tell the local port of each TCP connection ([`rping_engine::Outcome::Reply`]): one more system call a probe.
    pub local_ports: bool,
    /// ICMP and half-open TCP: whole frames, past the IP stack, where that can be.
    pub link: bool,
    /// TCP: half-open probes, whose SYNs are our own.
    pub syn: bool,
    /// What the run must amount to; decides the exit code.
    pub assertions: Vec<Assertion>,
    /// Things worth saying about the request itself before anything is sent.
    pub notes: Vec<String>,
}

impl Job {
    /// A job with the defaults of the command line and no targets yet.
    pub fn new(kind: Kind) -> Job {
        let is_latency = matches!(kind, Kind::Latency(_));
        let is_tcp = matches!(kind, Kind::Tcp | Kind::Latency(Carrier::Tcp));
        Job {
            kind,
            targets: Vec::new(),
            stop: Stop::Count(if is_latency { 1000 } else { 4 }),
            pace: match is_latency {
                true => Pace::WhenSettled,
                false => Pace::Every(Duration::from_secs(1)),
            },
            max_rate: None,
            timeout: Duration::from_secs(if is_tcp { 3 } else { 1 }),
            warmup: if is_latency { 5 } else { 0 },
            retries: 0,
            enough: None,
            order: Order::Listed,
            pacing: None,
            size: if is_latency { 64 } else { 32 },
            reverse: false,
            wait: Wait::Auto,
            key: None,
            source: None,
            source_port: None,
            interface: None,
            ttl: None,
            dscp: None,
            df: false,
            mark: None,
            broadcast: false,
            close: Close::default(),
            local_ports: false,
            link: false,
            syn: false,
            assertions: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A job with the defaults of the command line for these targets, written as they are typed: `fileserver:445`,
    /// `10.0.0.0/24`, `[2001:db8::1]:80`. Names are resolved now.
    ///
    /// # Errors
    /// In one line: what is no target, or what may not be probed so.
    pub fn to<T: Into<String>>(
        kind: Kind,
        targets: impl IntoIterator<Item = T>,
    ) -> Result<Job, crate::args::Usage> {
        let request = targets
            .into_iter()
            .fold(crate::args::Request::new(kind), |request, target| {
                request.target(target)
            });
        request.into_job(
            &crate::targets::SystemResolver::default(),
            &crate::targets::LocalNet::system(),
        )
    }
}
