//! From what targets are called to where probes go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::spec::needs_zone;
use super::{services, socket_address, Host, LocalNet, Ports, Resolver, Spec, MOST, PATIENCE};
use crate::args::{shown, Family, Usage};
use crate::job::{Kind, Target, UdpProtocol};

/// How long a name may take where no other target waits for it.
const ALONE: Duration = Duration::from_secs(20);

/// What holds for all targets of a run.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    pub(crate) family: Option<Family>,
    /// It is the family of the source address, which nobody asked for by itself.
    pub(crate) by_source: bool,
    pub(crate) all_addresses: bool,
    pub(crate) broadcast: bool,
    /// The index of the interface that probes leave by, where one was named.
    pub(crate) interface: Option<u32>,
}

/// The targets, and what is to be said about how they came about.
#[derive(Default, Debug)]
pub(crate) struct Expanded {
    pub(crate) targets: Vec<Target>,
    pub(crate) notes: Vec<String>,
}

/// One port and how it was written; the text is empty where none was.
type Port = (u16, Box<str>);

/// Resolves and expands. The number of targets is bounded before anything is allocated for them.
///
/// # Errors
/// A target that cannot be meant with this kind of probe; more targets than a run may have. A name that does not
/// resolve is a target with an error instead, so that the others run.
pub(crate) fn expand(
    specs: &[Spec],
    rules: &Rules,
    resolver: &dyn Resolver,
    local: &LocalNet,
) -> Result<Expanded, Usage> {
    let total = specs
        .iter()
        .fold(0u128, |sum, spec| sum.saturating_add(spec.count()));
    if total > MOST.into() {
        let subject = match specs {
            [only] => shown(only.text()),
            _ => "these".to_owned(),
        };
        let total = if total == u128::MAX {
            "more than can be counted".to_owned()
        } else {
            total.to_string()
        };
        return Err(Usage::new(format_args!(
            "{subject}: {total} targets; a run has at most {MOST}: probe a smaller block"
        )));
    }
    let answers = resolve(specs, resolver);
    let mut services = HashMap::new();
    let mut out = Expanded {
        targets: Vec::with_capacity(usize::try_from(total).unwrap_or(0)),
        notes: Vec::new(),
    };
    for spec in specs {
        let ports = ports(spec, rules.kind, local, &mut services)?;
        let one = Member {
            spec,
            ports: &ports,
            rules,
            local,
        };
        match spec.host() {
            Host::Address { ip, zone } => {
                let scope = zone.as_deref().map(|zone| local.zone(zone)).transpose();
                let placed = scope.and_then(|scope| one.place(*ip, scope));
                one.push(
                    placed.map_err(|why| Usage::about(shown(spec.text()), why))?,
                    &mut out.targets,
                );
            }
            Host::Name(name) => {
                let answer = answers
                    .get(name.as_str())
                    .cloned()
                    .unwrap_or_else(|| Err("not looked up".to_owned()));
                match answer.and_then(|found| one.choose(&found)) {
                    Ok(found) => found
                        .into_iter()
                        .for_each(|address| one.push(address, &mut out.targets)),
                    Err(why) => one.push_error(&why, &mut out.targets),
                }
            }
            Host::Span { first, last } => one.span(*first, *last, &mut out)?,
        }
        if out.targets.len() as u64 > MOST {
            return Err(Usage::new(format_args!(
                "more than {MOST} targets: probe them in several runs"
            )));
        }
    }
    if out.targets.is_empty() {
        return Err(Usage::new(
            "nothing is left to probe: network and broadcast addresses of our subnets are skipped",
        ));
    }
    Ok(out)
}

/// Looks each distinct name up once.
fn resolve<'a>(
    specs: &'a [Spec],
    resolver: &dyn Resolver,
) -> HashMap<&'a str, Result<Vec<SocketAddr>, String>> {
    let mut seen = HashMap::new();
    let mut names: Vec<String> = Vec::new();
    for spec in specs {
        if let Host::Name(name) = spec.host() {
            seen.entry(name.as_str()).or_insert_with(|| {
                names.push(name.clone());
                names.len() - 1
            });
        }
    }
    if names.is_empty() {
        return HashMap::new();
    }
    let patience = if specs.len() == 1 { ALONE } else { PATIENCE };
    let mut answers = resolver.resolve(&names, patience);
    answers.resize(names.len(), Err("name does not resolve (no answer)".to_owned()));
    seen.into_iter()
        .map(|(name, at)| (name, answers[at].clone()))
        .collect()
}

/// The ports of a target: as written, or the default of what is spoken.
fn ports(
    spec: &Spec,
    kind: Kind,
    local: &LocalNet,
    services: &mut HashMap<String, Option<u16>>,
) -> Result<Vec<Port>, Usage> {
    let refuse = |why: String| Err(Usage::about(shown(spec.text()), why));
    let host = spec.host_text();
    let (protocol, default) = match kind {
        Kind::Icmp | Kind::Arp if spec.ports().is_empty() => return Ok(vec![(0, "".into())]),
        Kind::Icmp => {
            return refuse(format!(
                "ICMP knows no ports: give {host} alone, or use rping tcp"
            ))
        }
        Kind::Arp => {
            return refuse(format!(
                "ARP and NDP know no ports: give {host} alone, or use rping tcp"
            ))
        }
        Kind::Tcp => ("tcp", None),
        Kind::Udp(UdpProtocol::Auto) => ("udp", Some(crate::args::SERVER_PORT)),
        Kind::Udp(UdpProtocol::Echo) => ("udp", Some(7)),
        Kind::Udp(UdpProtocol::Stamp) => ("udp", Some(862)),
        Kind::Latency(carrier) => (carrier.as_str(), Some(crate::args::SERVER_PORT)),
    };
    if spec.ports().is_empty() {
        return match default {
            Some(port) => Ok(vec![(port, "".into())]),
            None if host.contains(':') => refuse(match port_without_brackets(host) {
                Some((address, port)) => format!(
                    "that is an address without a port; with a port it is written [{address}]:{port}, or [{host}]:445"
                ),
                None => format!("a TCP probe needs a port, as in [{host}]:445"),
            }),
            None => refuse(format!("a TCP probe needs a port, as in {host}:445")),
        };
    }
    let mut ports = Vec::new();
    for entry in spec.ports() {
        match entry {
            Ports::Range(low, high) => {
                ports.extend((*low..=*high).map(|port| (port, port.to_string().into())))
            }
            Ports::Service(name) => {
                let known = *services
                    .entry(name.clone())
                    .or_insert_with(|| services::port(&local.services, name, protocol));
                match known {
                    Some(port) => ports.push((port, name.as_str().into())),
                    None => {
                        return refuse(format!(
                            "no service is called {}: give the port's number",
                            shown(name)
                        ))
                    }
                }
            }
        }
    }
    Ok(ports)
}

/// One target's way to its addresses.
struct Member<'a> {
    spec: &'a Spec,
    ports: &'a [Port],
    rules: &'a Rules,
    local: &'a LocalNet,
}

/// Where an IPv6 address ends in what looks like a port, the address before it and the port: `::1:7778`.
fn port_without_brackets(host: &str) -> Option<(&str, u16)> {
    let (address, port) = host.rsplit_once(':')?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    let port = super::parse_port(port).ok().filter(|_| super::is_number(port))?;
    Some((address, port))
}

impl Member<'_> {
    /// The address as probes need it, or why it cannot be probed.
    fn place(&self, ip: IpAddr, scope: Option<u32>) -> Result<SocketAddr, String> {
        if ip.is_unspecified() {
            return Err("it stands for every address, not for a host".to_owned());
        }
        self.refuse_family(ip)?;
        if !self.rules.broadcast {
            self.refuse_many(ip)?;
        }
        self.on_link(ip, scope)
    }

    fn refuse_family(&self, ip: IpAddr) -> Result<(), String> {
        match self.rules.family.filter(|family| !family.holds(ip)) {
            Some(family) if self.rules.by_source => {
                Err(format!("not {family}, as the address given with --source is"))
            }
            Some(family) => Err(format!("not {family}, which -{} asks for", family.digit())),
            None => Ok(()),
        }
    }

    /// The address with the link it is on, where it needs one.
    fn on_link(&self, ip: IpAddr, scope: Option<u32>) -> Result<SocketAddr, String> {
        match ip {
            IpAddr::V6(v6) if needs_zone(v6) => {
                match (scope.filter(|&scope| scope != 0), self.rules.interface) {
                    (Some(scope), Some(named)) if scope != named => {
                        Err("its zone and -I name two different interfaces".to_owned())
                    }
                    (Some(scope), _) | (None, Some(scope)) => Ok(socket_address(ip, 0, scope)),
                    (None, None) => Err(format!(
                    "a link-local address exists on every link: say which one, as in {v6}%eth0, or with -I"
                )),
                }
            }
            _ => Ok(socket_address(ip, 0, 0)),
        }
    }

    /// Refuses addresses behind which stands more than one host.
    fn refuse_many(&self, ip: IpAddr) -> Result<(), String> {
        let remedy = if self.rules.kind == Kind::Tcp || self.rules.kind == Kind::Arp {
            format!(
                "{} asks one host",
                if self.rules.kind == Kind::Tcp {
                    "TCP"
                } else {
                    "ARP"
                }
            )
        } else {
            "--broadcast allows it".to_owned()
        };
        if ip.is_multicast() {
            return Err(format!("a multicast address: {remedy}"));
        }
        let IpAddr::V4(v4) = ip else { return Ok(()) };
        if v4.is_broadcast() {
            return Err(format!("the broadcast address: {remedy}"));
        }
        match self.local.subnets().find(|(_, broadcast, _)| *broadcast == v4) {
            Some((_, _, on)) => Err(format!("the broadcast address of {}'s subnet: {remedy}", on.name)),
            None => Ok(()),
        }
    }

    /// The addresses of a name that are probed.
    fn choose(&self, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, String> {
        let of_family =
            |address: &&SocketAddr| self.rules.family.is_none_or(|family| family.holds(address.ip()));
        let mut chosen = Vec::new();
        let mut refusal = None;
        for address in found.iter().filter(of_family) {
            let scope = match address {
                SocketAddr::V6(v6) => Some(v6.scope_id()),
                SocketAddr::V4(_) => None,
            };
            match self.place(address.ip(), scope) {
                Ok(address) if chosen.contains(&address) => {}
                Ok(address) => chosen.push(address),
                Err(why) => refusal = refusal.or(Some(format!("resolves to {}: {why}", address.ip()))),
            }
            if !self.rules.all_addresses && !chosen.is_empty() {
                break;
            }
        }
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        Err(match (refusal, self.rules.family) {
            (Some(why), _) => why,
            (None, Some(family)) if !found.is_empty() => {
                format!("name does not resolve (it has no {family} address)")
            }
            (None, _) => "name does not resolve (it has no address)".to_owned(),
        })
    }

    /// What the target at this port is called; `None` if its address says it.
    fn name(&self, port: &Port) -> Option<Box<str>> {
        let listed = self.ports.len() > 1;
        match self.spec.host() {
            Host::Span { .. } | Host::Address { zone: None, .. } if listed => None,
            Host::Span { .. } => None,
            _ if !listed => Some(self.spec.text().into()),
            Host::Address { .. } => Some(format!("[{}]:{}", self.spec.host_text(), port.1).into()),
            Host::Name(name) => Some(format!("{name}:{}", port.1).into()),
        }
    }

    /// Whether it has a range of ports. Ports that were listed one by one are each wanted by name, the silent too.
    fn has_range(&self) -> bool {
        self.spec
            .ports()
            .iter()
            .any(|ports| matches!(ports, Ports::Range(first, last) if first < last))
    }

    fn push(&self, address: SocketAddr, targets: &mut Vec<Target>) {
        for port in self.ports {
            let mut address = address;
            address.set_port(port.0);
            let from_block = self.has_range() || matches!(self.spec.host(), Host::Span { .. });
            targets.push(Target {
                name: self.name(port),
                address: Some(address),
                error: None,
                from_block,
            });
        }
    }

    fn push_error(&self, why: &str, targets: &mut Vec<Target>) {
        for port in self.ports {
            let name = self.name(port);
            targets.push(Target {
                name,
                address: None,
                error: Some(why.into()),
                from_block: self.has_range(),
            });
        }
    }

    /// Every address of a block or range, but for the network and broadcast addresses of subnets of ours.
    fn span(&self, first: IpAddr, last: IpAddr, out: &mut Expanded) -> Result<(), Usage> {
        let refuse = |why: String| Usage::about(shown(self.spec.text()), why);
        self.refuse_family(first).map_err(refuse)?;
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                if !self.rules.broadcast
                    && (first.is_multicast() || last.is_multicast() || last.is_broadcast())
                {
                    return Err(refuse(
                        "it holds multicast or broadcast addresses: --broadcast allows them".to_owned(),
                    ));
                }
                let skipped = self.skipped(first, last, &mut out.notes);
                for bits in first.to_bits()..=last.to_bits() {
                    if skipped.binary_search(&bits).is_err() {
                        self.push(
                            socket_address(Ipv4Addr::from_bits(bits).into(), 0, 0),
                            &mut out.targets,
                        );
                    }
                }
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                for bits in first.to_bits()..=last.to_bits() {
                    let placed = self
                        .place(Ipv6Addr::from_bits(bits).into(), None)
                        .map_err(refuse)?;
                    self.push(placed, &mut out.targets);
                }
            }
            _ => return Err(refuse("its ends are of two families".to_owned())),
        }
        Ok(())
    }

    /// The addresses left out, in order; says so.
    fn skipped(&self, first: Ipv4Addr, last: Ipv4Addr, notes: &mut Vec<String>) -> Vec<u32> {
        let mut skipped = Vec::new();
        for (network, broadcast, on) in self.local.subnets() {
            let inside = |ip: &Ipv4Addr| (first..=last).contains(ip);
            let said = match (inside(&network), inside(&broadcast)) {
                (true, true) => format!("{network} and {broadcast} are the network and broadcast address"),
                (true, false) => format!("{network} is the network address"),
                (false, true) => format!("{broadcast} is the broadcast address"),
                (false, false) => continue,
            };
            let note = format!("{said} of {}'s subnet: skipped", on.name);
            if !notes.contains(&note) {
                notes.push(note);
            }
            skipped.extend(
                [network, broadcast]
                    .iter()
                    .filter(|ip| inside(ip))
                    .map(|ip| ip.to_bits()),
            );
        }
        skipped.sort_unstable();
        skipped
    }
}

#[cfg(test)]
mod tests;
