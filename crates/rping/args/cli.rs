//! The flags and their help, as clap derives them. What they mean together is judged in [`super::request`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::bandwidth::BandwidthArgs;
use super::diagnose::DiagnoseArgs;
use super::evidence::{PcapArgs, SocketsArgs, TraceArgs};
use super::latency::{LatencyArgs, WaitWord};
use super::output::{Buckets, Color, Format};
use super::source::{Family, Source};
use super::{help, value};
use crate::job::{Close, Pacing, Stop, UdpProtocol};

#[derive(Parser, Debug)]
#[command(
    name = "rping",
    version,
    about = help::ABOUT,
    after_help = help::TOP,
    override_usage = "rping <COMMAND> [FLAGS] HOST…\n       rping [FLAGS] HOST…          ICMP echo\n       rping [FLAGS] HOST:PORT…     TCP connect",
    subcommand_required = true,
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// ICMP or ICMPv6 echo: does the host answer, and how fast
    #[command(visible_alias = "ping", override_usage = "rping icmp [FLAGS] HOST…", after_help = help::ICMP)]
    Icmp(ProbeArgs),
    /// TCP connect: the handshake is the probe; nothing is sent on the connection
    #[command(override_usage = "rping tcp [FLAGS] HOST:PORT…", after_help = help::TCP)]
    Tcp(TcpArgs),
    /// UDP echo: RFC 862 echo, or STAMP (RFC 8762) to a reflector or to `rping server`
    #[command(override_usage = "rping udp [FLAGS] HOST[:PORT]…", after_help = help::UDP)]
    Udp(UdpArgs),
    /// ARP request (IPv4) or NDP neighbour solicitation (IPv6) to hosts on the same link
    #[command(visible_alias = "neigh", override_usage = "rping arp [FLAGS] HOST…", after_help = help::ARP)]
    Arp(ProbeArgs),
    /// Request/response latency over TCP or UDP with `rping server`, to p99.99
    #[command(override_usage = "rping latency [FLAGS] HOST[:PORT]…", after_help = help::LATENCY)]
    Latency(LatencyArgs),
    /// Throughput over TCP or UDP, in either direction or both, against `rping server` or iperf3's server
    #[command(visible_alias = "bw", override_usage = "rping bandwidth [FLAGS] HOST[:PORT]", after_help = help::BANDWIDTH)]
    Bandwidth(BandwidthArgs),
    /// Show a saved run as if it had just been made
    #[command(override_usage = "rping show [FLAGS] FILE", after_help = help::SHOW)]
    Show(ShowArgs),
    /// Join saved runs to one: counts and histograms add up exactly
    #[command(override_usage = "rping merge FILE… --save FILE", after_help = help::MERGE)]
    Merge(MergeArgs),
    /// Walks the troubleshooting ladder and names the failing layer, why that is believed, and what to do next
    #[command(visible_alias = "doctor", override_usage = "rping diagnose [FLAGS] HOST[:PORT]", after_help = help::DIAGNOSE)]
    Diagnose(DiagnoseArgs),
    /// The sockets of this host: state, queues, retransmissions, process, and who holds stuck data up
    #[command(override_usage = "rping sockets [FLAGS] [HOST[:PORT]]", after_help = help::SOCKETS)]
    Sockets(SocketsArgs),
    /// Compare two saved runs: better, worse or the same, and how sure that is
    #[command(override_usage = "rping compare [FLAGS] BEFORE AFTER", after_help = help::COMPARE)]
    Compare(CompareArgs),
    /// A page with pictures of saved runs: one file that needs no network
    #[command(override_usage = "rping report FILE… --html FILE.html", after_help = help::REPORT)]
    Report(ReportArgs),
    /// Two captures of the same traffic: what left one side and never arrived at the other, and what was changed
    #[command(override_usage = "rping trace [FLAGS] A.pcapng B.pcapng", after_help = help::TRACE)]
    Trace(TraceArgs),
    /// The far end of every two-ended test: STAMP, and iperf3's protocol, for many clients at once
    #[command(override_usage = "rping server [FLAGS] [BIND[:PORT]]", after_help = help::SERVER)]
    Server(ServerArgs),
    /// PsPing's command line and output, unchanged; also when the program is called psping
    #[command(disable_help_flag = true, override_usage = "rping psping [SWITCHES] destination[:port]", after_help = help::PSPING)]
    Psping {
        /// PsPing's switches and destination; `rping psping -?` explains them
        #[arg(value_name = "SWITCHES", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Completions for a shell, on standard output
    #[command(override_usage = "rping completions SHELL", after_help = help::COMPLETIONS)]
    Completions {
        /// bash, zsh, fish, elvish or powershell
        #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
    /// The manual page, or a command's, on standard output
    #[command(override_usage = "rping man [COMMAND]", after_help = help::MAN)]
    Man {
        /// Whose page [default: the program's]
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
        /// Write every page into this directory instead
        #[arg(long, value_name = "DIR", conflicts_with = "of")]
        all: Option<PathBuf>,
    },
}

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

/// What both ends of an authenticated test share.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// File with the key that both ends share, mode 600: STAMP's authenticated mode and nothing else [default: the environment's RPING_KEY, else no key]
    #[arg(
        long,
        value_name = "FILE",
        allow_hyphen_values = true,
        help_heading = "Authentication"
    )]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
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

/// How what is shown out of a file is shown.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// A file that --save wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Format on standard output: text, json (one document), ndjson and csv (a line for each stretch of the run) [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true
    )]
    pub(crate) output: Option<FormatWord>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Print a histogram: this many buckets, or these bounds in ms [default without a value: 20]
    #[arg(short = 'H', long, value_name = "N|a,b,c", value_parser = value::buckets, num_args = 0..=1,
        default_missing_value = "20")]
    pub(crate) histogram: Option<Buckets>,
    /// Over a block or range: totals only
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// List every target of a block or range, the silent ones too
    #[arg(long)]
    pub(crate) all: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub(crate) color: Option<ColorWord>,
    /// What the run must amount to, in place of what it was made with: 'p99<5ms', 'loss<0.1%'; repeatable; exit code 1 when it does not hold
    #[arg(long = "assert", value_name = "EXPR", value_parser = value::assertions, action = clap::ArgAction::Append)]
    pub(crate) assertions: Vec<value::Assertions>,
    /// For HdrHistogram's tools: FILE.hgrm, the percentile distribution in ms
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) hdr: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// Files that --save wrote, two or more, of the same kind of probe
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the one run goes; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// A file that --save wrote
    #[arg(value_name = "BEFORE")]
    pub(crate) before: Option<PathBuf>,
    /// Another, to be compared with it
    #[arg(value_name = "AFTER")]
    pub(crate) after: Option<PathBuf>,
    /// Exit with 1 when the verdict is worse [default: 0 whatever the verdict]
    #[arg(long)]
    pub(crate) fail_if_worse: bool,
    /// The least shift that matters, in percent of BEFORE: less is the same, however sure [default: 1]
    #[arg(long, value_name = "PERCENT", value_parser = value::percent, allow_hyphen_values = true)]
    pub(crate) least: Option<f64>,
    /// Format on standard output: text or json [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true
    )]
    pub(crate) output: Option<DocumentWord>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub(crate) color: Option<ColorWord>,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Files that --save wrote; several are laid over each other
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the page goes; an existing file is replaced [default: standard output]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) html: Option<PathBuf>,
}

/// Where there is one document, there are two formats.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum DocumentWord {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum CloseWord {
    Reset,
    Fin,
}

impl From<CloseWord> for Close {
    fn from(word: CloseWord) -> Close {
        match word {
            CloseWord::Reset => Close::Reset,
            CloseWord::Fin => Close::Fin,
        }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum PacingWord {
    Auto,
    Precise,
    Spin,
    Eco,
}

impl PacingWord {
    pub(crate) fn forced(self) -> Option<Pacing> {
        match self {
            PacingWord::Auto => None,
            PacingWord::Precise => Some(Pacing::Precise),
            PacingWord::Spin => Some(Pacing::Spin),
            PacingWord::Eco => Some(Pacing::Eco),
        }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum ProtocolWord {
    Auto,
    Echo,
    Stamp,
}

impl From<ProtocolWord> for UdpProtocol {
    fn from(word: ProtocolWord) -> UdpProtocol {
        match word {
            ProtocolWord::Auto => UdpProtocol::Auto,
            ProtocolWord::Echo => UdpProtocol::Echo,
            ProtocolWord::Stamp => UdpProtocol::Stamp,
        }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum FormatWord {
    Text,
    Json,
    Ndjson,
    Csv,
}

impl From<FormatWord> for Format {
    fn from(word: FormatWord) -> Format {
        match word {
            FormatWord::Text => Format::Text,
            FormatWord::Json => Format::Json,
            FormatWord::Ndjson => Format::Ndjson,
            FormatWord::Csv => Format::Csv,
        }
    }
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum ColorWord {
    Auto,
    Always,
    Never,
}

impl From<ColorWord> for Color {
    fn from(word: ColorWord) -> Color {
        match word {
            ColorWord::Auto => Color::Auto,
            ColorWord::Always => Color::Always,
            ColorWord::Never => Color::Never,
        }
    }
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
    /// IPv4 only [default: the resolver's order]
    #[arg(short = '4', conflicts_with = "six", help_heading = "Targets")]
    pub(crate) four: bool,
    /// IPv6 only [default: the resolver's order]
    #[arg(short = '6', help_heading = "Targets")]
    pub(crate) six: bool,
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
    /// TTL or hop limit, 1 to 255 [default: the system's]
    #[arg(long, value_name = "N", value_parser = value::ttl, allow_hyphen_values = true, help_heading = "What is sent")]
    pub(crate) ttl: Option<u8>,
    /// DSCP by number, 0 to 63, or name: CS0-CS7, AF11-AF43, EF, VA, LE [default: 0]
    #[arg(long, value_name = "NAME|N", value_parser = value::dscp, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) dscp: Option<u8>,
    /// Do not fragment
    #[arg(long, help_heading = "What is sent")]
    pub(crate) df: bool,
    /// Firewall mark (SO_MARK), decimal or 0x…; needs CAP_NET_ADMIN
    #[arg(long, value_name = "N", value_parser = value::mark, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) mark: Option<u32>,
    /// Local address, and for tcp and udp also port, that probes leave from: 10.0.0.1, 10.0.0.1:4000, [fe80::1%eth0]:4000 [default: the route's]
    #[arg(short = 'S', long, value_name = "ADDR[:PORT]", value_parser = Source::parse, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) source: Option<Source>,
    /// Interface that probes leave by [default: the route's]
    #[arg(
        short = 'I',
        long,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "What is sent"
    )]
    pub(crate) interface: Option<String>,

    /// Format on standard output: text, json (one document), ndjson (one a probe), csv [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) output: Option<FormatWord>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output", help_heading = "Output")]
    pub(crate) json: bool,
    /// Print a histogram: this many buckets, or these bounds in ms [default without a value: 20]
    #[arg(short = 'H', long, value_name = "N|a,b,c", value_parser = value::buckets, num_args = 0..=1,
        default_missing_value = "20", help_heading = "Output")]
    pub(crate) histogram: Option<Buckets>,
    /// No line per probe; over a block or range: totals only
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// List every target of a block or range, the silent ones too
    #[arg(long, help_heading = "Output")]
    pub(crate) all: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never [default: auto]
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) color: Option<ColorWord>,
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
    /// Save the run, with its histograms and its course second by second, for rping show, compare, merge and report; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = "Files")]
    pub(crate) save: Option<PathBuf>,
    /// A page with pictures of the run, FILE.html: one file that needs no network; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = "Files")]
    pub(crate) report: Option<PathBuf>,
    /// For HdrHistogram's tools: FILE.hgrm is the percentile distribution in ms, FILE.hlog an interval log, a line a second and target; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = "Files")]
    pub(crate) hdr: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pcap: PcapArgs,
}

impl ProbeArgs {
    pub(crate) fn family(&self) -> Option<Family> {
        match (self.four, self.six) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }
}

/// The whole command line as clap knows it: for help, completions and manual pages.
///
/// Parsing goes through [`super::parse`], which also knows the bare forms `rping HOST` and `rping HOST:PORT`.
pub fn command() -> clap::Command {
    let timeout = |c: clap::Command, default: &str| {
        c.mut_arg("timeout", |a| {
            a.help(format!(
                "A probe not answered by then is lost, up to 1 day [default: {default}]"
            ))
        })
    };
    let size = |c: clap::Command, help: &'static str| c.mut_arg("size", |a| a.help(help));
    // Flags that mean nothing to a kind of probe are not advertised; typed anyway, they are refused with the reason.
    let hide = |mut c: clap::Command, flags: &[&'static str]| {
        for flag in flags {
            c = c.mut_arg(flag, |a| a.hide(true));
        }
        c
    };
    Cli::command()
        .max_term_width(100)
        .mut_subcommand("icmp", |c| {
            let size_help = "Payload bytes, up to 65507 (IPv4) or 65527 (IPv6); k = 1024 [default: 32]";
            size(timeout(c, "1s"), size_help)
        })
        .mut_subcommand("tcp", |c| {
            let host = "As for icmp, with a port: number, service name, list or range (host:22,80,5000-5010)";
            let c = c.mut_arg("hosts", |a| a.value_name("HOST:PORT").help(host));
            hide(timeout(c, "3s"), &["size", "broadcast"])
        })
        .mut_subcommand("udp", |c| {
            let host = "As for icmp; port: number, service name, list or range [default: 5201; echo 7, stamp 862]";
            let c = c.mut_arg("hosts", |a| a.value_name("HOST[:PORT]").help(host));
            let size_help =
                "Payload bytes, up to 65507 (IPv4) or 65527 (IPv6); echo at least 16, stamp sends at least 44; k = 1024 [default: 32]";
            size(timeout(c, "1s"), size_help)
        })
        .mut_subcommand("latency", |c| {
            let c = super::latency::describe(c);
            hide(c, &["broadcast"])
        })
        .mut_subcommand("arp", |c| {
            let host = "Name, address, block or range of hosts on a link of ours";
            let c = c.mut_arg("hosts", |a| a.help(host));
            hide(timeout(c, "1s"), &["size", "broadcast", "ttl", "dscp", "df", "link"])
        })
}
