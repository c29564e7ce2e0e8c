//! The flags of every probe command, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rping_engine::Order;

use super::evidence::PcapArgs;
use super::flags::{FamilyArgs, FormatArgs, HeaderArgs, KeepArgs, KeyArgs};
use super::output::Buckets;
use super::request::DAY;
use super::words::{CloseWord, PacingWord, ProtocolWord};
use super::{value, List, OutputOptions, Request, Usage};
use crate::job::{Kind, Pace, Stop, Window};

#[derive(Args, Debug)]
pub(crate) struct TcpArgs {
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
    /// How a connection is ended: reset leaves nothing behind, fin leaves a TIME_WAIT entry each [default: reset]
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        hide_possible_values = true,
        help_heading = "What is sent"
    )]
    pub(crate) close: Option<CloseWord>,
    /// Half-open: a SYN of our own, whose answer is reset; no connection is made. Needs root or CAP_NET_RAW
    #[arg(long, conflicts_with = "close", help_heading = "What is sent")]
    pub(crate) syn: bool,
}

#[derive(Args, Debug)]
pub(crate) struct UdpArgs {
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
    /// What is spoken: auto (port 7 echo, every other port STAMP), echo or stamp [default: auto]
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        hide_possible_values = true,
        help_heading = "What is sent"
    )]
    pub(crate) protocol: Option<ProtocolWord>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

/// The flags of every probe command. Values may begin with a hyphen, so that `-i -1` is told what is wrong with it.
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// Name, IPv4 or IPv6 address (fe80::1%eth0), block (10.0.0.0/24) or range (10.0.0.1-10.0.0.50)
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// More targets, one a line, # begins a comment; - is standard input
    #[arg(
        long,
        value_name = "FILE",
        allow_hyphen_values = true,
        help_heading = "Targets"
    )]
    pub(crate) targets: Option<PathBuf>,
    /// Probe each address of a name, not the first alone
    #[arg(long, help_heading = "Targets")]
    pub(crate) all_addresses: bool,
    #[command(flatten, next_help_heading = "Targets")]
    pub(crate) family: FamilyArgs,
    /// Allow broadcast and multicast targets; root only [default: refused]
    #[arg(long, help_heading = "Targets")]
    pub(crate) broadcast: bool,

    /// Stop after N measured probes per target, or after a time: 100, 10s, 1m30s [default: 4]
    #[arg(short = 'n', visible_short_alias = 'c', long, value_name = "N|TIME", value_parser = value::stop,
        allow_hyphen_values = true, help_heading = "When")]
    pub(crate) count: Option<Stop>,
    /// Until interrupted
    #[arg(short = 't', long, conflicts_with = "count", help_heading = "When")]
    pub(crate) forever: bool,
    /// Time between the scheduled sends to one target, 10us to 1 day: 10ms, or seconds such as 0.2; 0 = the next as soon as the last is answered or lost [default: 1s]
    #[arg(short = 'i', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        help_heading = "When")]
    pub(crate) interval: Option<Duration>,
    /// The same as a frequency: probes per second and target; k = 1000
    #[arg(long, value_name = "HZ", value_parser = value::rate, allow_hyphen_values = true,
        conflicts_with = "interval", help_heading = "When")]
    pub(crate) rate: Option<f64>,
    /// Bound over all targets together, probes per second; 0, or -i 0, lifts it [default: 1000 where there is more than one target]
    #[arg(long, value_name = "HZ", value_parser = value::rate, allow_hyphen_values = true, help_heading = "When")]
    pub(crate) max_rate: Option<f64>,
    /// As fast as answers keep up: many in flight, fewer when this host, the path or the far end drops or queues them
    #[arg(long, conflicts_with_all = ["interval", "rate", "in_flight"], help_heading = "When")]
    pub(crate) flood: bool,
    /// Always so many in flight over all targets, up to 65536: the next leaves when one is settled
    #[arg(long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true,
        conflicts_with_all = ["interval", "rate"], help_heading = "When")]
    pub(crate) in_flight: Option<u64>,
    /// Make up for a lost probe by another one, up to N times per target; each counts [default: 0]
    #[arg(long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true, help_heading = "When")]
    pub(crate) retries: Option<u64>,
    /// End the run when N measured probes were answered, over all targets
    #[arg(long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true, help_heading = "When")]
    pub(crate) stop_after: Option<u64>,
    /// Ask the addresses or ports of a block or range in the order of their numbers [default: shuffled]
    #[arg(long, conflicts_with = "seed", help_heading = "When")]
    pub(crate) in_order: bool,
    /// Shuffle them the same way as every other run with this number
    #[arg(long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true, help_heading = "When")]
    pub(crate) seed: Option<u64>,
    /// How the time until the next send is spent: precise (sleep, then spin), spin (a whole core), eco (sleep alone), auto (by rate and CPUs) [default: auto]
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        hide_possible_values = true,
        help_heading = "When"
    )]
    pub(crate) pacing: Option<PacingWord>,
    /// A probe not answered by then is lost, up to 1 day
    #[arg(short = 'W', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        help_heading = "When")]
    pub(crate) timeout: Option<Duration>,
    /// Probes sent first, one after another, and left out of every figure; in addition to -n [default: 0]
    #[arg(short = 'w', long, value_name = "N", value_parser = value::whole, allow_hyphen_values = true,
        help_heading = "When")]
    pub(crate) warmup: Option<u64>,

    /// icmp and tcp --syn over IPv4: send whole frames, past this host's routing rules, firewall and queues, which then prove nothing; faster by a third. Root
    #[arg(long, help_heading = "What is sent")]
    pub(crate) link: bool,
    /// Payload bytes; k = 1024
    #[arg(short = 'l', visible_short_alias = 's', long, value_name = "BYTES", value_parser = value::size,
        allow_hyphen_values = true, help_heading = "What is sent")]
    pub(crate) size: Option<usize>,
    /// Do not fragment
    #[arg(long, help_heading = "What is sent")]
    pub(crate) df: bool,
    #[command(flatten)]
    pub(crate) header: HeaderArgs,

    #[command(flatten, next_help_heading = "Output")]
    pub(crate) format: FormatArgs,
    /// Print a histogram: this many buckets, or these bounds in ms [default without a value: 20]
    #[arg(short = 'H', long, value_name = "N|a,b,c", value_parser = value::buckets, num_args = 0..=1,
        default_missing_value = "20", help_heading = "Output")]
    pub(crate) histogram: Option<Buckets>,
    /// No line per probe; over a block or range: totals only, unless --all or --answering asks for more
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// List every target of a block or range, the silent ones too
    #[arg(long, help_heading = "Output")]
    pub(crate) all: bool,
    /// List those targets alone that replied, a line each at the end: hosts that are there, ports that are open
    #[arg(long, visible_alias = "open", conflicts_with_all = ["all", "graph"], help_heading = "Output")]
    pub(crate) answering: bool,
    /// What the run must amount to, for every target: 'p99<5ms', 'loss<0.1%', joined by &; repeatable; exit code 1 when it does not hold
    #[arg(long = "assert", value_name = "EXPR", value_parser = value::assertions, action = clap::ArgAction::Append,
        help_heading = "Output")]
    pub(crate) assertions: Vec<value::Assertions>,
    /// A live picture while the run goes on: round trips over time, lost and rejected probes, figures; q ends it
    #[arg(long, conflicts_with_all = ["output", "json", "quiet"], help_heading = "Output")]
    pub(crate) graph: bool,
    /// The wall clock on each line
    #[arg(long, help_heading = "Output")]
    pub(crate) timestamps: bool,
    #[command(flatten, next_help_heading = "Files")]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) pcap: PcapArgs,
}

/// How results are shown.
pub(super) fn output(args: &ProbeArgs) -> Result<OutputOptions, Usage> {
    Ok(OutputOptions {
        format: args.format.format(),
        quiet: args.quiet,
        all: args.all,
        answering: args.answering,
        live: true,
        histogram: args.histogram.clone(),
        color: args.format.color(),
        timestamps: args.timestamps,
        keep: args.keep.wanted(),
        graph: args.graph,
        pcap: args.pcap.pcap()?,
    })
}

/// What is to be sent.
pub(super) fn request(kind: Kind, args: ProbeArgs) -> Result<Request, Usage> {
    let pace = match (args.interval, args.rate) {
        _ if args.flood => Pace::Window(Window::FLOOD),
        _ if args.in_flight.is_some() => {
            let size = args.in_flight.and_then(|n| u32::try_from(n).ok());
            Pace::Window(Window::fixed(size.unwrap_or(u32::MAX)))
        }
        (Some(Duration::ZERO), _) => Pace::WhenSettled,
        (Some(interval), _) => Pace::Every(interval),
        (None, Some(rate)) => Pace::Every(period(rate)?),
        (None, None) => Pace::Every(Duration::from_secs(1)),
    };
    let list = args.targets.clone().map(|path| {
        if path.as_os_str() == "-" {
            List::Stdin
        } else {
            List::File(path)
        }
    });
    Ok(Request {
        stop: if args.forever {
            Stop::Never
        } else {
            args.count.unwrap_or(Stop::Count(4))
        },
        pace,
        max_rate: args.max_rate,
        retries: args.retries.unwrap_or(0),
        enough: args.stop_after,
        order: match (args.in_order, args.seed) {
            (true, _) => Some(Order::Listed),
            (false, Some(seed)) => Some(Order::Shuffled(seed)),
            (false, None) => None,
        },
        pacing: args.pacing.and_then(PacingWord::forced),
        link: args.link,
        timeout: args.timeout,
        warmup: args.warmup.unwrap_or(0),
        size: args.size,
        family: args.family.family(),
        source: args.header.source,
        interface: args.header.interface,
        ttl: args.header.ttl,
        dscp: args.header.dscp,
        df: args.df,
        mark: args.header.mark,
        broadcast: args.broadcast,
        all_addresses: args.all_addresses,
        assertions: args.assertions.into_iter().flat_map(|joined| joined.0).collect(),
        list,
        targets: args.hosts,
        ..Request::new(kind)
    })
}

/// Probes per second and target: one in [`super::request::LEAST_INTERVAL`].
const MOST_RATE: f64 = 100_000.0;

/// The time between probes at this rate.
fn period(rate: f64) -> Result<Duration, Usage> {
    if rate <= 0.0 {
        return Err(Usage::new(
            "--rate 0 sends nothing: give probes per second, or -i 0 for as fast as answers come",
        ));
    }
    if rate > MOST_RATE {
        return Err(Usage::new(
            "--rate is at most 100k probes per second and target; -i 0 is as fast as answers come",
        ));
    }
    let period = 1e9 / rate;
    if period > DAY.as_nanos() as f64 {
        return Err(Usage::new("--rate: that is less than one probe a day"));
    }
    Ok(Duration::from_nanos(period.round() as u64))
}
