//! `rping latency`: what was typed, and what it means.

use std::time::Duration;

use clap::Args;

use super::flags::KeyArgs;
use super::probe::{self, ProbeArgs};
use super::words::WaitWord;
use super::{OutputOptions, Request, Usage};
use crate::job::{Carrier, Job, Kind, Pace, Wait};

#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// STAMP packets (RFC 8762) over UDP instead of a TCP connection
    #[arg(short = 'u', long, help_heading = "What is sent")]
    pub(crate) udp: bool,
    /// The server sends the payload: small requests, responses of the size (TCP)
    #[arg(short = 'r', visible_short_alias = 'R', long, help_heading = "What is sent")]
    pub(crate) reverse: bool,
    /// How responses are waited for: auto (look for 50 us, then sleep), busy (never sleep: a whole core) or block (sleep at once, at the server too) [default: auto]
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        hide_possible_values = true,
        help_heading = "When"
    )]
    pub(crate) wait: Option<WaitWord>,
}

/// The defaults that differ from those of other probes, for help.
pub(super) fn describe(command: clap::Command) -> clap::Command {
    let help = [
        ("hosts", "As for icmp; port: number, service name, list or range [default: 5201]"),
        (
            "count",
            "Stop after N measured requests per target, or after a time: 100, 10s, 1m30s [default: 1000]",
        ),
        (
            "interval",
            "Time between the scheduled requests to one target, 10us to 1 day: 10ms, or seconds such as 0.2; 0 = the next as soon as the last is answered or lost [default: 0]",
        ),
        (
            "timeout",
            "A request not answered by then is lost, up to 1 day [default: 3s, with -u 1s]",
        ),
        (
            "warmup",
            "Requests sent first, one after another, and left out of every figure; in addition to -n [default: 5]",
        ),
        (
            "size",
            "Bytes of each message, TCP 16 to 1m, UDP 44 to 65507 (IPv4) or 65527 (IPv6); k = 1024 [default: 64]",
        ),
        ("key_file", super::flags::SERVERS_KEY),
        ("df", "Do not fragment (with -u)"),
        ("quiet", "No line per request; where the next follows the last response there is none anyway"),
    ];
    help.into_iter().fold(
        command.mut_arg("hosts", |a| a.value_name("HOST[:PORT]")),
        |command, (arg, help)| command.mut_arg(arg, |a| a.help(help)),
    )
}

/// Reads what was typed.
pub(super) fn parse(args: LatencyArgs) -> Result<(Request, OutputOptions), Usage> {
    let LatencyArgs {
        mut probe,
        key,
        udp,
        reverse,
        wait,
    } = args;
    let kind = Kind::Latency(if udp { Carrier::Udp } else { Carrier::Tcp });
    let usual = Job::new(kind);
    if !probe.forever {
        probe.count = probe.count.or(Some(usual.stop));
    }
    if probe.rate.is_none() {
        probe.interval = probe.interval.or(Some(Duration::ZERO));
    }
    probe.warmup = probe.warmup.or(Some(usual.warmup));
    let mut output = probe::output(&probe)?;
    let request = probe::request(kind, probe)?;
    // A line for each of a hundred thousand a second is for nobody.
    output.quiet |= !matches!(request.pace, Pace::Every(_));
    Ok((
        Request {
            reverse,
            key_file: key.key_file,
            wait: wait.map(Wait::from).unwrap_or_default(),
            ..request
        },
        output,
    ))
}
