//! What an outcome proves, and what to check next: the troubleshooting checklist, one rung at a time.
//!
//! A person is told once per run for each thing that can happen, not once per probe: [`Told`] remembers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use rping_engine::{Aside, Origin, Reason, Refusal};

use super::{escape::Escaped, icmp, units};
use crate::job::{show_ip, Kind, Target, UdpProtocol};

/// By then the kernel has sent a first SYN again (after 1 s, RFC 6298 section 2), and knows whether it could.
const SYN_AGAIN: Duration = Duration::from_millis(1_100);

mod refused;

/// Something worth explaining.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Happened<'a> {
    /// Silence until the timeout, which is given, and what became of other probes to the same target.
    Lost(Duration, Others),
    /// A handshake that was completed after so many SYNs had been sent again.
    SynLost(u8),
    /// Somebody said no.
    Rejected(&'a Refusal),
    /// It never left this host.
    NotSent(&'a Refusal),
    /// It never left this host, because this gateway on the way to the target does not answer.
    NoGateway(IpAddr),
    /// The target cannot be probed at all; why, in words.
    Unusable(&'a str),
    /// Something beside the outcomes.
    Aside(Aside),
}

/// What became of other probes to a target of which one was lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Others {
    /// Nothing was heard of it yet.
    Silent,
    /// Some were answered.
    Answered,
    /// Some were rejected by ICMP, none was answered.
    Rejected,
}

impl Others {
    /// By how many were answered and rejected.
    pub const fn of(answered: bool, rejected: bool) -> Others {
        match (answered, rejected) {
            (true, _) => Others::Answered,
            (_, true) => Others::Rejected,
            _ => Others::Silent,
        }
    }
}

/// An explanation: two sentences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Words {
    /// What it proves, and what it does not.
    pub means: String,
    /// What to check next.
    pub next: String,
}

impl Words {
    fn new(means: impl Into<String>, next: impl Into<String>) -> Words {
        Words {
            means: means.into(),
            next: next.into(),
        }
    }
}

/// What `happened` to a probe of this kind to `target` means.
pub fn explain(kind: Kind, target: &Target, happened: Happened<'_>) -> Words {
    let about = About::new(kind, target);
    match happened {
        Happened::Lost(timeout, Others::Silent) => about.lost(timeout),
        Happened::Lost(timeout, Others::Answered) => about.lost_among_replies(timeout),
        Happened::Lost(timeout, Others::Rejected) => about.lost_among_refusals(timeout),
        Happened::SynLost(_) => Words::new(
            "The port is open, but a SYN or its answer was lost on the way and had to be sent again. The time that \
             took is the sender's retransmission timer and no round trip, so none is shown.",
            format!(
                "See how much the path loses with more probes: {} -n 100 -i 0.2. A link in error, a full queue or a \
                 busy server's accept queue are the usual causes.",
                about.command(Kind::Tcp)
            ),
        ),
        Happened::Rejected(refusal) => refused::rejected(&about, refusal),
        Happened::NotSent(refusal) => refused::not_sent(&about, refusal),
        Happened::NoGateway(gateway) => refused::no_gateway(&about, gateway),
        Happened::Unusable(_) if target.address.is_none() => Words::new(
            format!("{} was not probed: without an address there is nobody to ask.", about.host),
            format!(
                "Is the name spelled right? getent hosts shows what this host makes of it (/etc/hosts, then the \
                 servers in /etc/resolv.conf). Probing {} by its address tells a name fault from a network fault.",
                about.host
            ),
        ),
        Happened::Unusable(_) => Words::new(
            format!("{} was not probed; the other targets are not affected.", about.host),
            "Correct what the message names and run it again.",
        ),
        Happened::Aside(aside) => about.aside(aside),
    }
}

/// In a few words what a refusal is: `port closed (TCP reset)`, `communication prohibited (ICMP 3/13)`.
pub fn brief(kind: Kind, target: &Target, refusal: &Refusal) -> String {
    let v6 = About::new(kind, target).v6;
    let what = match refusal.reason {
        Reason::PortClosed if refusal.icmp.is_some() => "port unreachable",
        Reason::PortClosed if kind == Kind::Tcp => return "port closed (TCP reset)".to_owned(),
        reason => phrase(reason),
    };
    let mtu = refusal.mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default();
    match (refusal.icmp, refusal.errno) {
        (Some((t, c)), _) => {
            // The message's own name where the reason is coarser than it.
            let named = icmp::name(v6, t, c)
                .filter(|_| refusal.reason != Reason::PortClosed)
                .unwrap_or(what);
            format!("{named} ({}{mtu})", icmp::number(v6, t, c))
        }
        (None, Some(errno)) if refusal.reason == Reason::Other => {
            std::io::Error::from_raw_os_error(errno).to_string()
        }
        (None, _) if !mtu.is_empty() => format!("{what} (MTU {})", refusal.mtu.unwrap_or_default()),
        (None, _) => what.to_owned(),
    }
}

/// A reason as people say it.
pub const fn phrase(reason: Reason) -> &'static str {
    match reason {
        Reason::PortClosed => "port closed",
        Reason::HostUnreachable => "host unreachable",
        Reason::NetworkUnreachable => "network unreachable",
        Reason::AdminProhibited => "prohibited by policy",
        Reason::ProtocolUnreachable => "protocol unreachable",
        Reason::TimeExceeded => "time exceeded",
        Reason::PacketTooBig => "packet too big",
        Reason::NoRoute => "no route",
        Reason::NoNeighbour => "no neighbour",
        Reason::LocalFirewall => "refused by this host's firewall",
        Reason::NoBuffer => "this host's send buffers are full",
        Reason::NoLocalPort => "no local port left",
        Reason::InterfaceDown => "interface down",
        Reason::Other => "failed",
    }
}

/// Remembers what was explained already.
#[derive(Debug, Default)]
pub struct Told(HashSet<Key>);

#[derive(PartialEq, Eq, Hash, Debug)]
enum Key {
    Lost(Others),
    SynLost,
    NoGateway,
    Refused {
        reason: Reason,
        icmp: Option<(u8, u8)>,
        errno: Option<i32>,
        by_target: bool,
    },
    Unusable {
        unresolved: bool,
    },
    Late,
    Duplicate,
    Corrupt,
    Unexpected,
}

impl Told {
    /// The explanation, unless one for the same thing was given before: for a refusal, the same reason, said by the
    /// same ICMP message, by the target itself or by another.
    pub fn once(&mut self, kind: Kind, target: &Target, happened: Happened<'_>) -> Option<Words> {
        let refused = |refusal: &Refusal| Key::Refused {
            reason: refusal.reason,
            icmp: refusal.icmp,
            // The kinds of routes that refuse differ in nothing else.
            errno: refusal.errno.filter(|_| refusal.reason == Reason::NoRoute),
            by_target: About::new(kind, target).is_target(refusal.from),
        };
        let key = match happened {
            Happened::Lost(_, others) => Key::Lost(others),
            Happened::NoGateway(_) => Key::NoGateway,
            Happened::SynLost(_) => Key::SynLost,
            Happened::Rejected(refusal) | Happened::NotSent(refusal) => refused(refusal),
            Happened::Unusable(_) => Key::Unusable {
                unresolved: target.address.is_none(),
            },
            Happened::Aside(Aside::Late(_)) => Key::Late,
            Happened::Aside(Aside::Duplicate) => Key::Duplicate,
            Happened::Aside(Aside::Corrupt) => Key::Corrupt,
            Happened::Aside(Aside::Unexpected) => Key::Unexpected,
        };
        self.0.insert(key).then(|| explain(kind, target, happened))
    }
}

/// What the sentences are about.
struct About<'a> {
    kind: Kind,
    target: &'a Target,
    /// The target's address, or its name where it has none; safe to show.
    host: String,
    port: Option<u16>,
    v6: bool,
}

impl About<'_> {
    fn new(kind: Kind, target: &Target) -> About<'_> {
        About {
            kind: kind.on_the_wire(),
            target,
            host: target
                .address
                .map_or_else(|| Escaped(&target.label()).to_string(), show_ip),
            port: target.port(),
            v6: target.address.is_some_and(|a| a.is_ipv6()),
        }
    }

    fn is_target(&self, from: Option<Origin>) -> bool {
        match from {
            None => true,
            Some(Origin::Ip(ip)) => self.target.ip() == Some(ip),
            Some(Origin::Mac(_)) => false,
        }
    }

    /// Who refused: an address other than the target's, or the target.
    fn who(&self, refusal: &Refusal) -> String {
        refusal
            .from
            .map_or_else(|| self.host.clone(), |from| from.to_string())
    }

    /// What a firewall calls this kind of packet.
    fn traffic(&self) -> String {
        match (self.kind, self.port) {
            (Kind::Tcp | Kind::Latency(_), Some(port)) => format!("TCP port {port}"),
            (Kind::Tcp | Kind::Latency(_), None) => "TCP".to_owned(),
            (Kind::Udp(_), Some(port)) => format!("UDP port {port}"),
            (Kind::Udp(_), None) => "UDP".to_owned(),
            (Kind::Icmp, _) => if self.v6 { "ICMPv6 echo" } else { "ICMP echo" }.to_owned(),
            (Kind::Arp, _) => self.asking().to_owned(),
        }
    }

    /// How a neighbour is asked for in this family.
    fn asking(&self) -> &'static str {
        if self.v6 {
            "neighbour solicitation"
        } else {
            "ARP"
        }
    }

    fn port_or_a_port(&self) -> String {
        self.port
            .map_or_else(|| "PORT".to_owned(), |port| port.to_string())
    }

    /// A command to try, for this target: with its own port, or with the article's 445.
    fn command(&self, kind: Kind) -> String {
        let host = if self.v6 && kind != Kind::Icmp && kind != Kind::Arp {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match kind {
            Kind::Tcp => format!(
                "rping tcp {host}:{}",
                self.port
                    .filter(|_| matches!(self.kind, Kind::Tcp | Kind::Latency(_)))
                    .unwrap_or(445)
            ),
            _ => format!("rping {} {host}", kind.as_str()),
        }
    }

    fn lost(&self, timeout: Duration) -> Words {
        let host = &self.host;
        let within = units::setting(timeout);
        match self.kind {
            Kind::Icmp => Words::new(
                format!(
                    "Request timed out: the packet left this host, and no echo reply came within {within}. Filtered \
                     or dropped on the way, or {host} does not answer echo; that alone is no fault."
                ),
                format!(
                    "ICMP is often blocked: connect to a port that {host} is known to listen on, as telnet and PsPing \
                     do: {}.",
                    self.command(Kind::Tcp)
                ),
            ),
            Kind::Tcp => Words::new(
                match timeout < SYN_AGAIN {
                    // That this host's own firewall keeps SYNs shows when the kernel sends the first one again.
                    true => format!(
                        "Filtered or dropped: neither a connection nor a refusal came within {within}. An open or a closed \
                         port answers at once, so a firewall, a lossy path or a full accept queue swallowed the SYN; \
                         whether it left this host at all shows with a timeout of 2s (-W 2)."
                    ),
                    false => format!(
                        "Filtered or dropped: the SYN left this host, and neither a connection nor a refusal came within \
                         {within}. An open or a closed port answers at once, so a firewall, a lossy path or a full accept \
                         queue swallowed it."
                    ),
                },
                format!(
                    "Try other ports of {host} (22, 80, 443, 445): an answer from any, even a refusal, proves the path \
                     and leaves a firewall in front of this one; if none answers, trace on both ends."
                ),
            ),
            Kind::Latency(_) => Words::new(
                format!(
                    "No response within {within}, on a connection that stands: TCP sends what is lost again, so either the \
                     path lost much or was cut, or {host} is held up. A response that comes later is counted as late."
                ),
                format!(
                    "See whether the host still takes connections: {}.",
                    self.command(Kind::Tcp)
                ),
            ),
            Kind::Udp(_) => Words::new(
                format!(
                    "Silence proves nothing over UDP: {} may be open without an echo service, filtered, or the packet \
                     was lost.",
                    self.traffic()
                ),
                format!(
                    "Start `{}` on {host}, so that somebody answers{}, or test the path with TCP: {}.",
                    self.server(),
                    match self.speaks_echo() {
                        true => "",
                        false => " (one that runs with --key-file answers only who has the key)",
                    },
                    self.command(Kind::Tcp)
                ),
            ),
            Kind::Arp => {
                let asking = self.asking();
                Words::new(
                    format!(
                        "No neighbour: host down, wrong VLAN or wrong address. Nobody on this segment answered \
                         {asking} for {host} within {within}."
                    ),
                    NEIGHBOUR_NEXT,
                )
            }
        }
    }

    /// Silence from a target that answered other probes.
    fn lost_among_replies(&self, timeout: Duration) -> Words {
        let host = &self.host;
        let within = units::setting(timeout);
        let means = format!(
            "No answer within {within}, from a target that answered others: {} is not blocked. The probe or its answer was \
             lost on the way, or {host} was too busy or limits how often it answers.",
            self.traffic()
        );
        let next = match self.kind {
            Kind::Arp => format!(
                "More probes show how much is lost: {} -n 100 -i 0.1. A radio link, a host asleep or a link in error (ip -s \
                 link) are the usual causes.",
                self.command(Kind::Arp)
            ),
            _ => format!(
                "Slower probes (-i 1) tell a limit on answers from loss on the path: a limit stops to bite, loss does not. Links in \
                 error (ip -s link) and full queues lose packets; rping diagnose {host} looks for the former here."
            ),
        };
        Words::new(means, next)
    }

    /// Silence from a target of which others were rejected.
    fn lost_among_refusals(&self, timeout: Duration) -> Words {
        let within = units::setting(timeout);
        Words::new(
            format!(
                "No answer within {within}, where others were rejected: hosts and routers limit how many ICMP errors they send \
                 (Linux: about one a second to one address after the first six), so silence between refusals is most likely the \
                 same refusal, unsaid."
            ),
            "Probe at least a second apart (-i 1) to have every refusal said.",
        )
    }

    /// Whether this target is asked for an echo, and not with STAMP.
    fn speaks_echo(&self) -> bool {
        match self.kind {
            Kind::Udp(UdpProtocol::Echo) => true,
            Kind::Udp(UdpProtocol::Auto) => self.port == Some(7),
            _ => false,
        }
    }

    /// What answers these UDP probes, as it is started on the target.
    fn server(&self) -> String {
        match (self.speaks_echo(), self.port) {
            (true, port) => format!("rping server --echo :{}", port.unwrap_or(7)),
            (false, None | Some(crate::args::SERVER_PORT)) => "rping server".to_owned(),
            (false, Some(862)) => "rping server --stamp :862".to_owned(),
            (false, Some(port)) => format!("rping server :{port}"),
        }
    }

    fn aside(&self, aside: Aside) -> Words {
        match aside {
            Aside::Late(after) => Words::new(
                "An answer after the timeout: the path works but is slower than was allowed for. The probe stays lost.",
                format!("A longer timeout counts such answers: -W {}.", units::setting(roomy(after))),
            ),
            Aside::Duplicate => Words::new(
                "One probe was answered twice: something doubles packets, or two hosts answer for one address.",
                format!(
                    "On the same segment, {} shows whether two MACs claim the address; else look for a loop or a \
                     mirrored port on the way.",
                    self.command(Kind::Arp)
                ),
            ),
            Aside::Corrupt => Words::new(
                "An answer arrived damaged, its checksum or its payload is wrong: something between the two hosts \
                 changes packets. It counts as no answer.",
                "Look at the error counters of the interfaces on the way (ip -s link), and switch checksum offloading \
                 off for a test (ethtool -K).",
            ),
            Aside::Unexpected => Words::new(
                "A packet that answers nothing that was asked: an old answer, another program's, or a forged one. It \
                 changes no figure.",
                "No need to act unless they are many; a trace shows who sends them.",
            ),
        }
    }
}

/// What to do about a neighbour that does not answer.
const NEIGHBOUR_NEXT: &str =
    "Check its power and cable, the switch port's VLAN (trunk or access), its address and prefix length (ip neigh shows \
     the entry that failed); then trace on both ends: does the request arrive, does the reply come back?";

/// Twice a duration, in whole seconds, at least one.
fn roomy(after: Duration) -> Duration {
    Duration::from_secs(after.as_secs().saturating_mul(2).max(1).saturating_add(1))
}

#[cfg(test)]
mod tests;
