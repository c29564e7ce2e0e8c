//! `rping bandwidth`: what was typed, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rping_peer::iperf::{Parameters, Protocol};

pub(crate) mod server;

use super::evidence::PcapArgs;
use super::flags::{FamilyArgs, FormatArgs, HeaderArgs, KeyArgs, SaveArgs};
use super::output::{Buckets, Color, Format, Pcap, Wanted};
use super::{value, Family, Source, Usage};
use crate::assertion::Assertion;
use crate::job::Stop;

pub use server::Plan;

/// Bytes of one TCP write.
const TCP_LENGTH: usize = 128 << 10;
/// Bits per second of a UDP stream, as iperf3.
const UDP_RATE: u64 = 1_000_000;
#[derive(Args, Debug)]
pub(crate) struct BandwidthArgs {
    /// Name or address of the server; port 5201 unless it is given
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Vec<String>,
    #[command(flatten, next_help_heading = "Target")]
    pub(crate) family: FamilyArgs,
    /// How long the server may take to answer the connect [default: 3s]
    #[arg(short = 'W', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        help_heading = "Target")]
    pub(crate) timeout: Option<Duration>,

    /// UDP instead of TCP
    #[arg(short = 'u', long, help_heading = "What is sent")]
    pub(crate) udp: bool,
    /// The server sends
    #[arg(
        short = 'r',
        visible_short_alias = 'R',
        long,
        conflicts_with = "bidir",
        help_heading = "What is sent"
    )]
    pub(crate) reverse: bool,
    /// Both send, at the same time
    #[arg(long, help_heading = "What is sent")]
    pub(crate) bidir: bool,
    /// Streams at once in each direction, 1 to 128 [default: 1]
    #[arg(short = 'P', long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) parallel: Option<u64>,
    /// Bytes of one write, or of one datagram's payload; k = 1024 [default: 128k; UDP: what fits the path MTU]
    #[arg(short = 'l', visible_short_alias = 's', long, value_name = "BYTES", value_parser = value::size,
        allow_hyphen_values = true, help_heading = "What is sent")]
    pub(crate) size: Option<usize>,
    /// Bits per second of each stream; k = 1000; 0 = unlimited [default: unlimited; UDP: 1m]
    #[arg(short = 'b', long, value_name = "BITS", value_parser = value::bits, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) bitrate: Option<u64>,
    /// Congestion control by name, as in sysctl net.ipv4.tcp_available_congestion_control [default: the system's]
    #[arg(long, value_name = "NAME", help_heading = "What is sent")]
    pub(crate) congestion: Option<String>,
    /// Maximum segment size, bytes [default: the path's]
    #[arg(long, value_name = "BYTES", value_parser = value::whole, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) mss: Option<u64>,
    #[command(flatten)]
    pub(crate) header: HeaderArgs,
    /// Many datagrams in one piece between program and kernel, cut and put together there (UDP; GSO and GRO): ten times
    /// as many; paced in bursts of one piece
    #[arg(long, help_heading = "What is sent")]
    pub(crate) gso: bool,
    /// The receiver leaves the payload in the kernel, unread: what the network carries, not what a program would get
    #[arg(long, help_heading = "What is sent")]
    pub(crate) skip_rx_copy: bool,
    /// Probe latency beside the load, before it and under it, with STAMP to the server or to another reflector
    #[arg(long, value_name = "HOST[:PORT]", num_args = 0..=1, require_equals = true, default_missing_value = "",
        help_heading = "What is sent")]
    pub(crate) latency: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,

    /// Stop after N messages in all, or after a time: 10000, 10s, 1m [default: 10s]
    #[arg(short = 'n', visible_short_alias = 'c', long, value_name = "N|TIME", value_parser = value::stop,
        allow_hyphen_values = true, help_heading = "When")]
    pub(crate) count: Option<Stop>,
    /// Until interrupted
    #[arg(short = 't', long, conflicts_with = "count", help_heading = "When")]
    pub(crate) forever: bool,
    /// Start-up phase that counts for nothing, whole seconds; in addition to -n [default: 1s; 0 with a count]
    #[arg(long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        help_heading = "When")]
    pub(crate) omit: Option<Duration>,
    /// Time between two interval lines, 100ms or more [default: 1s]
    #[arg(short = 'i', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        help_heading = "When")]
    pub(crate) interval: Option<Duration>,

    #[command(flatten, next_help_heading = "Output")]
    pub(crate) format: FormatArgs,
    /// Print a histogram of the rates of the intervals: this many buckets [default without a value: 20]
    #[arg(short = 'H', long, value_name = "N", value_parser = value::buckets, num_args = 0..=1,
        default_missing_value = "20", help_heading = "Output")]
    pub(crate) histogram: Option<Buckets>,
    /// No line per interval
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// What the test must amount to: 'rate>900m' (bits per second), 'loss<0.1%', 'jitter<2ms'; repeatable
    #[arg(long = "assert", value_name = "EXPR", value_parser = value::assertions, action = clap::ArgAction::Append,
        help_heading = "Output")]
    pub(crate) assertions: Vec<value::Assertions>,
    /// The wall clock on each line
    #[arg(long, help_heading = "Output")]
    pub(crate) timestamps: bool,
    #[command(flatten, next_help_heading = "Files")]
    pub(crate) keep: SaveArgs,
    #[command(flatten)]
    pub(crate) pcap: PcapArgs,
}

/// Where the flags that it shares with the probes mean something else, for help.
pub(super) fn describe(command: clap::Command) -> clap::Command {
    let help = [
        ("source", "Local address that connections leave from [default: the route's]"),
        (
            "output",
            "Format on standard output: text, json, ndjson (a line per interval) or csv (a row per interval) [default: text]",
        ),
        ("key_file", super::flags::SERVERS_KEY),
        (
            "save",
            "Save the test, with its course and both ends' figures, for rping show, compare and report; an existing file is replaced",
        ),
    ];
    help.into_iter().fold(
        command.mut_arg("source", |a| a.value_name("ADDR")),
        |command, (arg, help)| command.mut_arg(arg, |a| a.help(help)),
    )
}

/// A throughput test as it was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct BandwidthRequest {
    /// The server, as it was typed: `HOST[:PORT]`.
    pub host: String,
    /// One family only.
    pub family: Option<Family>,
    /// How long the server may take to answer the connect.
    pub patience: Duration,
    /// What both sides have to know. A length of 0 is chosen when the path is known.
    pub parameters: Parameters,
    /// When it ends: a count is of messages.
    pub stop: Stop,
    /// Time between two interval lines.
    pub interval: Duration,
    /// The local address that connections leave from.
    pub source: Option<Source>,
    /// The interface that connections leave by.
    pub interface: Option<String>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// DSCP.
    pub dscp: Option<u8>,
    /// Firewall mark.
    pub mark: Option<u32>,
    /// The file with the key that the server was started with. Default: the key in the environment's `RPING_KEY`, if there is one.
    pub key_file: Option<PathBuf>,
    /// Latency is probed beside the load: of the server, or of the reflector named here.
    pub latency: Option<Option<String>>,
    /// What the test must amount to.
    pub assertions: Vec<Assertion>,
    /// How results are shown.
    pub show: Show,
}

/// The messages that PsPing sends first and calls its warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Warmup {
    /// How many; the test's count holds them.
    pub messages: u64,
    /// Nobody asked for this number.
    pub is_usual: bool,
}

/// How a throughput test's results are shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Show {
    /// The format.
    pub format: Format,
    /// No line per interval.
    pub quiet: bool,
    /// A histogram of the intervals' rates with so many buckets.
    pub histogram: Option<usize>,
    /// Colours.
    pub color: Color,
    /// The wall clock on each line.
    pub timestamps: bool,
    /// Files that the test leaves behind.
    pub keep: Wanted,
    /// For PsPing's form alone.
    pub warmup: Option<Warmup>,
    /// A capture of the test's own packets.
    pub pcap: Option<Pcap>,
}

/// Reads what was typed.
pub(super) fn parse(args: BandwidthArgs) -> Result<BandwidthRequest, Usage> {
    super::argv::host_and_port("bandwidth", &args.host)?;
    let [host] = args.host.as_slice() else {
        let number = args.host.iter().find(|word| crate::targets::is_number(word));
        if let (Some(number), true) = (number, args.forever) {
            return Err(Usage::new(format_args!(
                "-t goes on until interrupted and takes no time; {number} seconds are -n {number}s"
            )));
        }
        return Err(Usage::new(match args.host.len() {
            0 => "say which server to measure against: rping bandwidth HOST; try rping bandwidth --help",
            _ => "one server at a time: throughput tests side by side would measure each other",
        }));
    };
    let protocol = if args.udp { Protocol::Udp } else { Protocol::Tcp };
    let stop = match args.forever {
        true => Stop::Never,
        false => args.count.unwrap_or(Stop::After(Duration::from_secs(10))),
    };
    let omit = omitted(args.omit, stop)?;
    match stop {
        Stop::Count(0) => return refuse("--count 0 moves nothing: give 1 or more, or a time such as 10s"),
        Stop::After(Duration::ZERO) => return refuse("--count: no time is left to measure in"),
        Stop::After(time) if time > Duration::from_secs(86_400) => {
            return refuse("--count: longer than a day, the longest that iperf3's protocol knows")
        }
        _ => {}
    }
    let interval = args.interval.unwrap_or(Duration::from_secs(1));
    if interval < Duration::from_millis(100) {
        return refuse("--interval: interval lines are at least 100ms apart");
    }
    let patience = args.timeout.unwrap_or(Duration::from_secs(3));
    if patience.is_zero() || patience > Duration::from_secs(86_400) {
        return refuse("--timeout is above 0 and at most one day");
    }
    if args.udp {
        let flags = [
            ("--congestion", args.congestion.is_some()),
            ("--mss", args.mss.is_some()),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
            return Err(Usage::new(format_args!("{flag}: only TCP has one to set")));
        }
    } else if args.gso {
        return refuse("--gso: TCP is always cut up by the kernel; the flag is for UDP (-u)");
    }
    let histogram = match args.histogram {
        None => None,
        Some(Buckets::Equal(n)) => Some(n),
        Some(Buckets::Bounds(_)) => {
            return refuse("--histogram: rates have no bounds in ms: give a number of buckets")
        }
    };
    let parameters = Parameters {
        protocol,
        reverse: args.reverse,
        bidirectional: args.bidir,
        omit,
        parallel: parallel(args.parallel)?,
        length: length(args.size, protocol)?,
        mss: mss(args.mss)?,
        bandwidth: args.bitrate.unwrap_or(if args.udp { UDP_RATE } else { 0 }),
        tos: args.header.dscp.filter(|&dscp| dscp > 0).map(|dscp| dscp << 2),
        congestion: args.congestion,
        wide_counters: false,
        skip_receive_copy: args.skip_rx_copy,
        segments: args.gso,
        coalesces: args.gso,
        ..Parameters::default()
    };
    Ok(BandwidthRequest {
        host: host.clone(),
        family: args.family.family(),
        patience,
        parameters,
        stop,
        interval,
        source: args.header.source,
        interface: args.header.interface,
        ttl: args.header.ttl,
        dscp: args.header.dscp,
        mark: args.header.mark,
        key_file: args.key.key_file,
        latency: args
            .latency
            .map(|host| Some(host).filter(|host| !host.is_empty())),
        assertions: args.assertions.into_iter().flat_map(|all| all.0).collect(),
        show: Show {
            format: args.format.format(),
            quiet: args.quiet,
            histogram,
            color: args.format.color(),
            timestamps: args.timestamps,
            keep: args.keep.wanted(),
            warmup: None,
            pcap: args.pcap.pcap()?,
        },
    })
}

fn omitted(typed: Option<Duration>, stop: Stop) -> Result<u32, Usage> {
    let omit = match (typed, stop) {
        (Some(omit), _) => omit,
        (None, Stop::Count(_)) => Duration::ZERO,
        (None, _) => Duration::from_secs(1),
    };
    if omit.subsec_nanos() != 0 {
        return refuse("--omit: iperf3's protocol counts the start-up phase in whole seconds");
    }
    if omit > Duration::from_secs(60) {
        return refuse("--omit: the start-up phase is at most 60s");
    }
    Ok(omit.as_secs() as u32)
}

fn parallel(typed: Option<u64>) -> Result<u16, Usage> {
    match typed.unwrap_or(1) {
        n @ 1..=128 => Ok(n as u16),
        _ => refuse("--parallel is from 1 to 128"),
    }
}

fn length(typed: Option<usize>, protocol: Protocol) -> Result<usize, Usage> {
    match (protocol, typed) {
        (Protocol::Tcp, None) => Ok(TCP_LENGTH),
        (Protocol::Tcp, Some(1..=0x10_0000)) => Ok(typed.unwrap_or(TCP_LENGTH)),
        (Protocol::Tcp, Some(_)) => refuse("--size: a TCP write is of 1 byte to 1m"),
        (Protocol::Udp, None) => Ok(0),
        (Protocol::Udp, Some(n @ 16..=65_507)) => Ok(n),
        (Protocol::Udp, Some(_)) => refuse("--size: a datagram of the test carries 16 to 65507 bytes"),
    }
}

fn mss(typed: Option<u64>) -> Result<Option<u32>, Usage> {
    match typed {
        None => Ok(None),
        Some(mss @ 88..=65_495) => Ok(Some(mss as u32)),
        Some(_) => refuse("--mss is from 88 to 65495"),
    }
}

fn refuse<T>(why: &str) -> Result<T, Usage> {
    Err(Usage::new(why))
}
