//! What is out of bounds, contradicts itself or is not allowed.

use std::net::IpAddr;
use std::time::Duration;

use super::{refuse, DAY, LEAST_INTERVAL, NONCE};
use crate::args::{Family, Request, Usage};
use crate::job::{Carrier, Close, Kind, Pace, Stop, Target, UdpProtocol};
use crate::targets::{LocalNet, Spec};

/// The longest run by time, a hundred years: far from where 64-bit nanoseconds end.
const LONGEST_RUN: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Probes in flight that may be asked for.
const MOST_AT_ONCE: u32 = 65_536;
/// Probes in place of lost ones that may be asked for.
const MOST_RETRIES: u64 = 1000;
/// The largest message of a latency exchange over TCP, bytes.
const MESSAGE: usize = rping_wire::latency::LARGEST as usize;
/// Shorter intervals to other hosts are a flood, which stays root's where file capabilities open the raw sockets.
const FLOOD: Duration = Duration::from_millis(2);

impl Request {
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
        let takes_ports = match self.kind {
            Kind::Icmp | Kind::Arp => "tcp",
            _ => command,
        };
        crate::args::argv::host_and_port(takes_ports, &self.targets)?;
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

    /// Sizes beyond what the protocol carries to some target.
    pub(super) fn check_sizes(&self, targets: &[Target]) -> Result<(), Usage> {
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
    pub(super) fn check_flood(&self, targets: &[Target], local: &LocalNet) -> Result<(), Usage> {
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
