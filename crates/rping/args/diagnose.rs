//! `rping diagnose`: what was typed, and what it means.

use std::path::PathBuf;

use clap::Args;
use rping_diagnose::{Host as Whom, Peer, Question};

use super::flags::{DocumentArgs, FamilyArgs, KeyArgs};
use super::output::Color;
use super::server::PORT;
use super::{shown, Family, Usage};
use crate::targets::{service_port, Host, LocalNet, Ports, Spec};

#[derive(Args, Debug)]
pub(crate) struct DiagnoseArgs {
    /// Name or address; with a TCP port (number or service name) the port and what is behind it are looked at, too
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Vec<String>,
    #[command(flatten, next_help_heading = "Target")]
    pub(crate) family: FamilyArgs,
    /// Ask the far end, too: where rping server --agent runs with the same key; port 5201 unless it is given. Tells which way packets are lost
    #[arg(
        long,
        value_name = "SERVER[:PORT]",
        allow_hyphen_values = true,
        help_heading = "Far end"
    )]
    pub(crate) peer: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,

    #[command(flatten, next_help_heading = "Output")]
    pub(crate) document: DocumentArgs,
    /// The verdict alone, on one line
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// An agent as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FarRequest {
    /// Where it runs.
    pub server: Spec,
    /// The file that holds the key for it.
    pub key_file: Option<PathBuf>,
}

/// A diagnosis as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiagnoseRequest {
    /// The target as it was written.
    pub target: Spec,
    /// The agent that is asked.
    pub peer: Option<Box<FarRequest>>,
    /// One family only.
    pub family: Option<Family>,
    /// One JSON document instead of text.
    pub json: bool,
    /// The verdict alone.
    pub quiet: bool,
    /// Colours.
    pub color: Color,
}

/// Reads what was typed.
pub(super) fn parse(args: &DiagnoseArgs) -> Result<DiagnoseRequest, Usage> {
    let [host] = args.host.as_slice() else {
        return Err(Usage::new(match args.host.len() {
            0 => "say what to diagnose: rping diagnose HOST or HOST:PORT; try rping diagnose --help",
            _ => "one target at a time: each diagnosis looks at this host's own counters, which another would move",
        }));
    };
    let target = one(host)?;
    Ok(DiagnoseRequest {
        target,
        peer: far(args.peer.as_deref(), &args.key)?,
        family: args.family.family(),
        json: args.document.is_json(),
        quiet: args.quiet,
        color: args.document.color(),
    })
}

/// A target that is one host and one port at most.
pub(super) fn one(host: &str) -> Result<Spec, Usage> {
    let target = Spec::parse(host).map_err(Usage::new)?;
    if matches!(target.host(), Host::Span { .. }) {
        return Err(Usage::new(format_args!(
            "{} is more than one host: diagnose one of them",
            shown(host)
        )));
    }
    let several =
        target.ports().len() > 1 || matches!(target.ports(), [Ports::Range(low, high)] if low != high);
    if several {
        return Err(Usage::new(format_args!(
            "{} has more than one port: diagnose one of them",
            shown(host)
        )));
    }
    Ok(target)
}

/// Which agent is to be asked, with which key.
pub(super) fn far(typed: Option<&str>, key: &KeyArgs) -> Result<Option<Box<FarRequest>>, Usage> {
    let Some(typed) = typed else {
        return match key.key_file {
            Some(_) => Err(Usage::new(
                "--key-file is for --peer: say which agent is to be asked, or leave it away",
            )),
            None => Ok(None),
        };
    };
    Ok(Some(Box::new(FarRequest {
        server: peer(typed)?,
        key_file: key.key_file.clone(),
    })))
}

/// Reads `SERVER[:PORT]`.
fn peer(typed: &str) -> Result<Spec, Usage> {
    let spec = Spec::parse(typed).map_err(|why| Usage::about("--peer", why))?;
    match (spec.host(), spec.single_port()) {
        (Host::Span { .. }, _) | (_, None) => Err(Usage::new(format_args!(
            "--peer: {} is not one host and one port",
            shown(typed)
        ))),
        _ => Ok(spec),
    }
}

impl DiagnoseRequest {
    /// The question behind it.
    ///
    /// # Errors
    /// A zone that is no interface, a service without a port, an address of the other family, a multicast address.
    pub fn question(&self, local: &LocalNet) -> Result<Question, Usage> {
        let port = match self.target.ports() {
            [Ports::Range(port, _)] => Some(*port),
            [Ports::Service(name)] => {
                let port = service_port(&local.services, name, "tcp");
                let unknown = || {
                    Usage::new(format_args!(
                        "no service is called {}: give its port",
                        shown(name)
                    ))
                };
                Some(port.ok_or_else(unknown)?)
            }
            _ => None,
        };
        let peer = self.peer.as_ref().map(|peer| peer.agent(local)).transpose()?;
        let v6 = self.family.map(|family| family == Family::V6);
        let host = match self.target.host() {
            Host::Name(name) => Whom::Name(name.clone()),
            Host::Address { ip, zone } => {
                let is_broadcast = *ip == std::net::IpAddr::from([255; 4]);
                if ip.is_multicast() || is_broadcast {
                    return Err(Usage::new(format_args!(
                        "{ip} is no single host: diagnose one of its members"
                    )));
                }
                if v6.is_some_and(|v6| v6 != ip.is_ipv6()) {
                    return Err(Usage::new(format_args!(
                        "{ip} is not of the family that was asked for"
                    )));
                }
                let scope = zone.as_deref().map(|zone| local.zone(zone)).transpose();
                let scope = scope.map_err(Usage::new)?.unwrap_or(0);
                Whom::Address(crate::targets::socket_address(*ip, 0, scope))
            }
            Host::Span { .. } => return Err(Usage::new("more than one host: diagnose one of them")),
        };
        Ok(Question {
            text: self.target.text().to_owned(),
            host,
            port,
            v6,
            peer,
        })
    }
}

impl FarRequest {
    fn agent(&self, local: &LocalNet) -> Result<Peer, Usage> {
        let key = crate::key::load(self.key_file.as_deref())?.ok_or_else(|| {
            Usage::new(format_args!(
                "--peer takes the key that the agent was started with: give --key-file FILE, or the key in {}",
                crate::key::VARIABLE
            ))
        })?;
        let peer = &self.server;
        let host = match peer.host() {
            Host::Name(name) => Whom::Name(name.clone()),
            Host::Address { ip, zone } => {
                let scope = zone.as_deref().map(|zone| local.zone(zone)).transpose();
                let scope = scope.map_err(Usage::new)?.unwrap_or(0);
                Whom::Address(crate::targets::socket_address(*ip, 0, scope))
            }
            Host::Span { .. } => return Err(Usage::new("--peer: more than one host")),
        };
        Ok(Peer {
            text: peer.text().to_owned(),
            host,
            port: peer.single_port().flatten().unwrap_or(PORT),
            key,
        })
    }
}
