//! The commands and their help, as clap derives them. What a command's flags mean together is judged in its own module.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::bandwidth::BandwidthArgs;
use super::bundle::BundleArgs;
use super::diagnose::DiagnoseArgs;
use super::evidence::{SocketsArgs, TraceArgs};
use super::help;
use super::latency::LatencyArgs;
use super::probe::{ProbeArgs, TcpArgs, UdpArgs};
use super::saved::{CompareArgs, MergeArgs, ReportArgs, ShowArgs};
use super::server::ServerFlags;

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
    /// Everything that explains this host's network, and a diagnosis, in one archive to hand on; or what changed between two
    #[command(override_usage = "rping bundle [FLAGS] [HOST[:PORT]]\n       rping bundle diff [FLAGS] A B", after_help = help::BUNDLE)]
    Bundle(BundleArgs),
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
    Server(ServerFlags),
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

/// One kind of probe by itself, with all that its parsing needs and none of what help shows: a run that is started many
/// times a minute does not describe twenty other commands each time. `None` for what is no kind of probe.
pub(crate) fn alone(name: &str) -> Option<clap::Command> {
    let it = match name {
        "icmp" => ProbeArgs::augment_args(clap::Command::new("icmp")),
        "arp" => ProbeArgs::augment_args(clap::Command::new("arp")),
        "tcp" => TcpArgs::augment_args(clap::Command::new("tcp")),
        "udp" => UdpArgs::augment_args(clap::Command::new("udp")),
        "latency" => LatencyArgs::augment_args(clap::Command::new("latency")),
        _ => return None,
    };
    Some(
        clap::Command::new("rping")
            .subcommand_required(true)
            .subcommand(it),
    )
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
        .mut_subcommand("show", |c| {
            let streams = "Format on standard output: text, json (one document), ndjson and csv (a line for each stretch of the run) [default: text]";
            c.mut_arg("output", |a| a.help(streams))
        })
        .mut_subcommand("bandwidth", super::bandwidth::describe)
        .mut_subcommand("arp", |c| {
            let host = "Name, address, block or range of hosts on a link of ours";
            let c = c.mut_arg("hosts", |a| a.help(host));
            hide(timeout(c, "1s"), &["size", "broadcast", "ttl", "dscp", "df", "link"])
        })
}
