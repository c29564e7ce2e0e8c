//! `rping server`: what was typed, and where it listens.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rping_peer::Limits;

use super::flags::KeyArgs;
use super::words::WaitWord;
use super::{shown, value, Usage};
use crate::targets::{is_number, parse_port, Host, LocalNet, Resolver, Spec, PATIENCE};

/// The port of every two-ended test.
pub const PORT: u16 = 5201;
/// STAMP's own (RFC 8762 section 4.1).
const STAMP_PORT: u16 = 862;
/// The echo service's (RFC 862).
const ECHO_PORT: u16 = 7;

#[derive(Args, Debug)]
pub(crate) struct ServerFlags {
    /// Address and port to listen on: 10.0.0.1, [::1]:5201, :5201 [default: every address, port 5201]
    #[arg(value_name = "BIND[:PORT]")]
    pub(crate) bind: Option<String>,
    /// Also a reflector for any STAMP or TWAMP Light sender: an address or :PORT [default port: 862; off without this flag]
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        allow_hyphen_values = true,
        help_heading = "More listeners"
    )]
    pub(crate) stamp: Option<String>,
    /// Also a plain RFC 862 echo, TCP and UDP: an address or :PORT [default port: 7; off without this flag]
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        allow_hyphen_values = true,
        help_heading = "More listeners"
    )]
    pub(crate) echo: Option<String>,
    /// Also tells clients with the key what this host sees of their flows, for rping diagnose --peer: packets, listeners, packet filter, way back [off without this flag; needs a key]
    #[arg(long, help_heading = "More listeners")]
    pub(crate) agent: bool,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Tests at once [default: 64]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_tests: Option<u64>,
    /// Tests at once from one address, or one /64 of IPv6 [default: 16]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_tests_per_source: Option<u64>,
    /// Parallel streams of a test in each direction, up to 128 [default: 128]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_streams: Option<u64>,
    /// How long a test may be [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "Limits")]
    pub(crate) max_duration: Option<Duration>,
    /// Bits per second that a client may ask for of one stream; k = 1000 [default: 1000g]
    #[arg(long, value_name = "BITS", value_parser = value::bits, help_heading = "Limits")]
    pub(crate) max_bitrate: Option<u64>,
    /// Connections that have not said yet what they want [default: 4096]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_connections: Option<u64>,
    /// The same from one address, or one /64 of IPv6: one more takes the oldest's place [default: 1024]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_connections_per_source: Option<u64>,
    /// STAMP sessions that are counted at once; more are answered without own numbers [default: 16384]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_sessions: Option<u64>,
    /// The same from one address, or one /64 of IPv6 [default: 4096]
    #[arg(long, value_name = "N", value_parser = value::whole, help_heading = "Limits")]
    pub(crate) max_sessions_per_source: Option<u64>,
    /// Datagrams per second that are answered to one address, or one /64 of IPv6; k = 1000 [default: 1m]
    #[arg(long, value_name = "HZ", value_parser = value::rate, help_heading = "Limits")]
    pub(crate) max_packet_rate: Option<f64>,
    /// How long a STAMP session or an echo connection may be silent, 1s to 1 day [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "Limits")]
    pub(crate) max_idle: Option<Duration>,
    /// How requests of a latency test are waited for: auto (look for 50 us, then sleep), busy (also where bound to one processor) or block (sleep at once) [default: auto]
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        hide_possible_values = true,
        help_heading = "Limits"
    )]
    pub(crate) wait: Option<WaitWord>,
}

/// Where a listener is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// An address or a name of this host; `None` is every address of both families.
    pub bind: Option<String>,
    /// The port.
    pub port: u16,
}

/// What `rping server` was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerArgs {
    /// Where every test is served, TCP and UDP. Default: every address, port 5201.
    pub tests: Place,
    /// Where any STAMP or TWAMP Light sender is answered, UDP.
    pub stamp: Option<Place>,
    /// Where everything is echoed, TCP and UDP.
    pub echo: Option<Place>,
    /// Clients with the key are told what this host sees of their flows.
    pub agent: bool,
    /// The file that holds the key.
    pub key_file: Option<PathBuf>,
    /// What is allowed to clients.
    pub limits: Limits,
}

impl Default for ServerArgs {
    fn default() -> ServerArgs {
        ServerArgs {
            tests: Place {
                bind: None,
                port: PORT,
            },
            stamp: None,
            echo: None,
            agent: false,
            key_file: None,
            limits: Limits::default(),
        }
    }
}

impl Place {
    /// The addresses to listen on; without one of its own `[::]`, which is every address of both families.
    ///
    /// # Errors
    /// What is no address, a name that does not resolve, a zone that is no interface.
    pub fn addresses(&self, resolver: &dyn Resolver, local: &LocalNet) -> Result<Vec<SocketAddr>, Usage> {
        let Some(bind) = &self.bind else {
            return Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.port)]);
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
pub(super) fn parse(args: &ServerFlags) -> Result<ServerArgs, Usage> {
    let more = |flag: &str, typed: Option<&str>, usual| {
        let place = typed.map(|typed| parse_bind(Some(typed), usual).map_err(|why| Usage::about(flag, why)));
        place.transpose()
    };
    let parsed = ServerArgs {
        tests: parse_bind(args.bind.as_deref(), PORT)?,
        stamp: more("--stamp", args.stamp.as_deref(), STAMP_PORT)?,
        echo: more("--echo", args.echo.as_deref(), ECHO_PORT)?,
        agent: args.agent,
        key_file: args.key.key_file.clone(),
        limits: limits(args)?,
    };
    if parsed.echo.is_some() && parsed.key_file.is_some() {
        return Err(Usage::new(
            "--echo answers everybody, and with --key-file nobody unknown is to be answered: leave one away",
        ));
    }
    Ok(parsed)
}

fn limits(args: &ServerFlags) -> Result<Limits, Usage> {
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
    let idle = args.max_idle.unwrap_or(usual.idle);
    if idle < Duration::from_secs(1) || idle > Duration::from_secs(86_400) {
        return Err(Usage::new("--max-idle is from one second to one day"));
    }
    // Above what any network carries: the cast saturates.
    let packet_rate = args.max_packet_rate.map_or(usual.packet_rate, |hz| hz as u64);
    if packet_rate == 0 {
        return Err(Usage::new(
            "--max-packet-rate 0 answers nobody: give datagrams per second, 1 or more",
        ));
    }
    if args.max_bitrate == Some(0) {
        return Err(Usage::new(
            "--max-bitrate 0 allows nothing: give bits per second such as 1g",
        ));
    }
    Ok(Limits {
        wait: args.wait.map_or(usual.wait, Into::into),
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
        connections_per_source: most(
            "--max-connections-per-source",
            args.max_connections_per_source,
            usual.connections_per_source,
            65_536,
        )?,
        sessions: most("--max-sessions", args.max_sessions, usual.sessions, 1 << 20)?,
        sessions_per_source: most(
            "--max-sessions-per-source",
            args.max_sessions_per_source,
            usual.sessions_per_source,
            1 << 20,
        )?,
        packet_rate,
        idle,
    })
}

/// Reads `BIND[:PORT]`.
fn parse_bind(typed: Option<&str>, usual: u16) -> Result<Place, Usage> {
    let form =
        format!("give an address and a port as in 10.0.0.1, 10.0.0.1:{usual}, [::1]:{usual} or :{usual}");
    let Some(typed) = typed else {
        return Ok(Place {
            bind: None,
            port: usual,
        });
    };
    if is_number(typed) {
        return Err(Usage::new(format_args!(
            "{} is a number, not an address: did you mean :{typed}?",
            shown(typed)
        )));
    }
    if let Some(port) = typed.strip_prefix(':').filter(|rest| is_number(rest)) {
        return Ok(Place {
            bind: None,
            port: parse_port(port).map_err(Usage::new)?,
        });
    }
    let spec = Spec::parse_any(typed).map_err(|why| Usage::new(format_args!("{why}; {form}")))?;
    let port = match (spec.host(), spec.single_port()) {
        (Host::Span { .. }, _) | (_, None) => {
            return Err(Usage::new(format_args!(
                "{} is not one address and one port: {form}",
                shown(typed)
            )))
        }
        (_, Some(None)) => usual,
        (_, Some(Some(port))) => port,
    };
    Ok(Place {
        bind: Some(spec.host_text().to_owned()),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_listens_where_it_is_told_and_else_everywhere() {
        let of = |text| parse_bind(text, PORT).map(|args| (args.bind, args.port));
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
            assert!(parse_bind(Some(text), PORT).is_err(), "{text}");
        }
        assert!(parse_bind(Some("5201"), PORT)
            .is_err_and(|usage| usage.to_string().contains("did you mean :5201?")));
    }
}
