//! What was asked of the commands that gather evidence.

use std::time::Duration;

use clap::Args;

use super::flags::FormatArgs;
use super::output::{Color, Format, Pcap};
use super::{value, Usage};
use crate::targets::{is_number, parse_port, Spec};

/// A capture of what a command sends and what comes of it.
#[derive(Args, Debug)]
pub(crate) struct PcapArgs {
    /// Write the run's own packets, and the ICMP errors about them, to this pcapng file; needs root
    #[arg(
        long,
        value_name = "FILE",
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pcap: Option<std::path::PathBuf>,
    /// The most that --pcap writes, bytes; k = 1024; packets beyond are counted [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = value::size, allow_hyphen_values = true, requires = "pcap",
        help_heading = "Output")]
    pcap_limit: Option<usize>,
}

impl PcapArgs {
    pub(super) fn pcap(&self) -> Result<Option<Pcap>, Usage> {
        let limit = self.pcap_limit.map_or(PCAP_LIMIT, |limit| limit as u64);
        if limit < PCAP_LEAST {
            return Err(Usage::new("--pcap-limit is at least 4k: less holds no packets"));
        }
        Ok(self.pcap.clone().map(|file| Pcap { file, limit }))
    }
}

/// Half a million probes of the usual size.
const PCAP_LIMIT: u64 = 64 << 20;
const PCAP_LEAST: u64 = 4 << 10;

#[derive(Args, Debug)]
pub(crate) struct SocketsArgs {
    /// Sockets with this host or port at either end: 10.0.0.2, fileserver:445, [::1]:22, :443 [default: all]
    #[arg(value_name = "HOST[:PORT]", allow_hyphen_values = true)]
    target: Option<String>,
    /// Those alone that wait for others: TCP listeners, UDP sockets without a peer
    #[arg(long, help_heading = "Which")]
    listening: bool,
    /// Look twice and show those alone in which nothing moves, and who holds them up; exit code 1 when there is one
    #[arg(long, help_heading = "Which")]
    stuck: bool,
    /// Time between the two looks of --stuck, up to 1 hour [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true, requires = "stuck",
        help_heading = "Which")]
    over: Option<Duration>,
    #[command(flatten, next_help_heading = "Output")]
    show: FormatArgs,
}

/// What `rping sockets` was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct SocketsRequest {
    /// At either end; `None` is any host.
    pub host: Option<Spec>,
    /// At either end, without a host.
    pub port: Option<u16>,
    /// As it was typed.
    pub typed: Option<String>,
    /// Listeners alone.
    pub listening: bool,
    /// Two looks, so far apart.
    pub stuck: Option<Duration>,
    /// The format.
    pub format: Format,
    /// Colours.
    pub color: Color,
}

#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// A capture taken at one place: pcap or pcapng, of rping --pcap, tcpdump, Wireshark
    #[arg(value_name = "A")]
    a: Option<std::path::PathBuf>,
    /// A capture of the same traffic, taken at another place
    #[arg(value_name = "B")]
    b: Option<std::path::PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    show: FormatArgs,
}

/// What `rping trace` was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceRequest {
    /// One capture.
    pub a: std::path::PathBuf,
    /// The other.
    pub b: std::path::PathBuf,
    /// The format.
    pub format: Format,
    /// Colours.
    pub color: Color,
}

/// Reads what was typed.
pub(super) fn trace(args: TraceArgs) -> Result<TraceRequest, Usage> {
    let (Some(a), Some(b)) = (args.a, args.b) else {
        return Err(Usage::new(
            "say which two captures: rping trace A.pcapng B.pcapng; try rping trace --help",
        ));
    };
    Ok(TraceRequest {
        format: args.show.format(),
        color: args.show.color(),
        a,
        b,
    })
}

/// The time between two looks: a retransmission timer has run out at least once by then on most paths.
const OVER: Duration = Duration::from_secs(2);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads what was typed.
pub(super) fn sockets(args: SocketsArgs) -> Result<SocketsRequest, Usage> {
    let over = args.over.unwrap_or(OVER);
    if over.is_zero() || over > HOUR {
        return Err(Usage::new("--over is above 0 and at most 1 hour"));
    }
    let mut request = SocketsRequest {
        host: None,
        port: None,
        typed: args.target.clone(),
        listening: args.listening,
        stuck: args.stuck.then_some(over),
        format: args.show.format(),
        color: args.show.color(),
    };
    match args.target.as_deref() {
        None => {}
        Some(number) if is_number(number) => {
            return Err(Usage::new(format_args!(
                "{number} is a number, not a host: did you mean :{number}?"
            )));
        }
        Some(target) => match target.strip_prefix(':').filter(|rest| is_number(rest)) {
            Some(port) => request.port = Some(parse_port(port).map_err(Usage::new)?),
            None => request.host = Some(Spec::parse(target).map_err(Usage::new)?),
        },
    }
    Ok(request)
}
