//! Where the server listens.

use std::net::SocketAddr;
use std::time::Duration;

use rping_peer::Limits;

use super::{shown, Usage};
use crate::targets::{is_number, parse_port, Host, LocalNet, Resolver, Spec, PATIENCE};

/// The port of every two-ended test.
pub const PORT: u16 = 5201;

/// What `rping server` was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerArgs {
    /// An address or a name of this host; `None` is every address of both families.
    pub bind: Option<String>,
    /// The port, TCP and UDP. Default 5201.
    pub port: u16,
    /// What is allowed to clients.
    pub limits: Limits,
}

impl Default for ServerArgs {
    fn default() -> ServerArgs {
        ServerArgs {
            bind: None,
            port: PORT,
            limits: Limits::default(),
        }
    }
}

impl ServerArgs {
    /// The addresses to listen on. Empty: every address of both families, on [`ServerArgs::port`].
    ///
    /// # Errors
    /// What is no address, a name that does not resolve, a zone that is no interface.
    pub fn addresses(&self, resolver: &dyn Resolver, local: &LocalNet) -> Result<Vec<SocketAddr>, Usage> {
        let Some(bind) = &self.bind else {
            return Ok(Vec::new());
        };
        let spec = Spec::parse_any(bind).map_err(Usage::new)?;
        match spec.host() {
            Host::Address { ip, zone } => {
                let scope = zone
                    .as_deref()
                    .map(|zone| local.zone(zone))
                    .transpose()
                    .map_err(Usage::new)?;
                Ok(vec![crate::targets::socket_address(
                    *ip,
                    self.port,
                    scope.unwrap_or(0),
                )])
            }
            Host::Span { .. } => Err(Usage::new(format_args!("{} is not one address", shown(bind)))),
            Host::Name(name) => {
                let answer = resolver.resolve(std::slice::from_ref(name), PATIENCE).pop();
                let mut found = answer
                    .unwrap_or_else(|| Err("no answer".to_owned()))
                    .map_err(|e| Usage::about(name, e))?;
                found.iter_mut().for_each(|address| address.set_port(self.port));
                Ok(found)
            }
        }
    }
}

/// Reads what was typed.
pub(super) fn parse(args: &super::cli::ServerArgs) -> Result<ServerArgs, Usage> {
    let ServerArgs { bind, port, .. } = parse_bind(args.bind.as_deref())?;
    Ok(ServerArgs {
        bind,
        port,
        limits: limits(args)?,
    })
}

fn limits(args: &super::cli::ServerArgs) -> Result<Limits, Usage> {
    let usual = Limits::default();
    let most = |flag: &str, typed: Option<u64>, usual: usize, most: usize| match typed {
        None => Ok(usual),
        Some(n) if n >= 1 && n <= most as u64 => Ok(n as usize),
        Some(_) => Err(Usage::new(format_args!("{flag} is from 1 to {most}"))),
    };
    let duration = args.max_duration.unwrap_or(usual.duration);
    if duration.is_zero() || duration > Duration::from_secs(86_400) {
        return Err(Usage::new("--max-duration is above 0 and at most one day"));
    }
    if args.max_bitrate == Some(0) {
        return Err(Usage::new(
            "--max-bitrate 0 allows nothing: give bits per second such as 1g",
        ));
    }
    Ok(Limits {
        tests: most("--max-tests", args.max_tests, usual.tests, 4096)?,
        tests_per_source: most(
            "--max-tests-per-source",
            args.max_tests_per_source,
            usual.tests_per_source,
            4096,
        )?,
        streams: most("--max-streams", args.max_streams, usual.streams.into(), 128)? as u16,
        duration,
        bandwidth: args.max_bitrate.unwrap_or(usual.bandwidth),
        connections: most(
            "--max-connections",
            args.max_connections,
            usual.connections,
            65_536,
        )?,
    })
}

/// Reads `BIND[:PORT]`.
fn parse_bind(typed: Option<&str>) -> Result<ServerArgs, Usage> {
    const FORM: &str = "give an address and a port as in 10.0.0.1, 10.0.0.1:5201, [::1]:5201 or :5201";
    let Some(typed) = typed else {
        return Ok(ServerArgs::default());
    };
    if is_number(typed) {
        return Err(Usage::new(format_args!(
            "{} is a number, not an address: did you mean :{typed}?",
            shown(typed)
        )));
    }
    if let Some(port) = typed.strip_prefix(':').filter(|rest| is_number(rest)) {
        return Ok(ServerArgs {
            bind: None,
            port: parse_port(port).map_err(Usage::new)?,
            ..ServerArgs::default()
        });
    }
    let spec = Spec::parse_any(typed).map_err(|why| Usage::new(format_args!("{why}; {FORM}")))?;
    let port = match (spec.host(), spec.single_port()) {
        (Host::Span { .. }, _) | (_, None) => {
            return Err(Usage::new(format_args!(
                "{} is not one address and one port: {FORM}",
                shown(typed)
            )))
        }
        (_, Some(None)) => PORT,
        (_, Some(Some(port))) => port,
    };
    Ok(ServerArgs {
        bind: Some(spec.host_text().to_owned()),
        port,
        ..ServerArgs::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_listens_where_it_is_told_and_else_everywhere() {
        let of = |text| parse_bind(text).map(|args| (args.bind, args.port));
        let at = |bind: &str, port| Ok((Some(bind.to_owned()), port));
        assert_eq!(of(None), Ok((None, 5201)));
        assert_eq!(of(Some(":6000")), Ok((None, 6000)));
        assert_eq!(of(Some("10.0.0.1")), at("10.0.0.1", 5201));
        assert_eq!(of(Some("0.0.0.0:7")), at("0.0.0.0", 7));
        assert_eq!(of(Some("[::1]:6000")), at("::1", 6000));
        assert_eq!(of(Some("fe80::1%eth0")), at("fe80::1%eth0", 5201));
        assert_eq!(of(Some("localhost:6000")), at("localhost", 6000));
    }

    #[test]
    fn what_is_not_one_address_and_one_port_is_refused() {
        for text in [
            "5201",
            ":0",
            ":65536",
            "10.0.0.0/24",
            "10.0.0.1:1,2",
            "10.0.0.1:",
            "",
            "a b",
            "10.0.0.256",
        ] {
            assert!(parse_bind(Some(text)).is_err(), "{text}");
        }
        assert!(
            parse_bind(Some("5201")).is_err_and(|usage| usage.to_string().contains("did you mean :5201?"))
        );
    }
}
