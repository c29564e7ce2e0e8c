//! `rping bundle` and `rping bundle diff`: what was typed, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::diagnose::{self, DiagnoseRequest};
use super::flags::{DocumentArgs, FamilyArgs, KeyArgs};
use super::output::Color;
use super::{help, request, value, Usage};
use crate::job::Stop;

/// Makes a bundle, or compares two.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    diff: Option<BundleCommand>,
    /// Name or address, with a TCP port or without: diagnosed, and its packets captured [default: the state of this host alone]
    #[arg(value_name = "HOST[:PORT]")]
    host: Vec<String>,
    #[command(flatten, next_help_heading = "Target")]
    family: FamilyArgs,
    /// Ask the far end, too: where rping server --agent runs with the same key; port 5201 unless it is given. Its side goes into the diagnosis
    #[arg(
        long,
        value_name = "SERVER[:PORT]",
        allow_hyphen_values = true,
        help_heading = "Far end"
    )]
    peer: Option<String>,
    #[command(flatten)]
    key: KeyArgs,

    /// Probe the target (TCP connect with a port, ICMP echo without one), keep the last packets and counters, and collect when a probe is lost, rejected or not sent
    #[arg(long, help_heading = "When")]
    until_failure: bool,
    /// --until-failure: time between probes, 10ms to 1 day [default: 1s]
    #[arg(short = 'i', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        requires = "until_failure", help_heading = "When")]
    interval: Option<Duration>,
    /// --until-failure: a probe not answered by then is lost [default: 1s; with a port 3s]
    #[arg(short = 'W', long, value_name = "TIME", value_parser = value::duration, allow_hyphen_values = true,
        requires = "until_failure", help_heading = "When")]
    timeout: Option<Duration>,
    /// --until-failure: end after N probes or this time, also without a failure: 100, 10m [default: until interrupted]
    #[arg(short = 'n', visible_short_alias = 'c', long, value_name = "N|TIME", value_parser = value::stop,
        allow_hyphen_values = true, requires = "until_failure", help_heading = "When")]
    count: Option<Stop>,

    /// Replace addresses, link-layer addresses and names in every file, captured packets included, by tokens of a key that is kept nowhere
    #[arg(long, help_heading = "Bundle")]
    redact: bool,
    /// Where the bundle goes: a new file, which only its owner can read [default: rping-bundle-HOST-TIME.tar.gz, here]
    #[arg(
        long,
        value_name = "FILE",
        allow_hyphen_values = true,
        help_heading = "Bundle"
    )]
    save: Option<PathBuf>,
    /// The most that its files hold together, before they are compressed, 256k to 256m; k = 1024 [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = value::size, allow_hyphen_values = true, help_heading = "Bundle")]
    limit: Option<usize>,

    #[command(flatten, next_help_heading = "Output")]
    document: DocumentArgs,
    /// The bundle's name alone
    #[arg(short = 'q', long, help_heading = "Output")]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum BundleCommand {
    /// What changed between two bundles: routes, addresses, rules, settings, drivers, the verdict; and which counters moved
    #[command(override_usage = "rping bundle diff [FLAGS] A B", after_help = help::BUNDLE_DIFF)]
    Diff(DiffArgs),
}

#[derive(Args, Debug)]
struct DiffArgs {
    /// A bundle
    #[arg(value_name = "A")]
    a: Option<PathBuf>,
    /// Another, of the same host at another time, or of another host
    #[arg(value_name = "B")]
    b: Option<PathBuf>,
    #[command(flatten)]
    document: DocumentArgs,
}

/// Probing until something fails.
#[derive(Clone, PartialEq, Debug)]
pub struct Watch {
    /// The time between probes.
    pub interval: Duration,
    /// A probe not answered by then is lost; `None` is the kind's own.
    pub timeout: Option<Duration>,
    /// When to end without a failure.
    pub stop: Stop,
}

/// What `rping bundle` was asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum BundleRequest {
    /// A bundle.
    Make(Make),
    /// What changed between two.
    Diff {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
        /// One JSON document instead of text.
        json: bool,
        /// Colours.
        color: Color,
    },
}

/// A bundle as it was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Make {
    /// Whom to diagnose.
    pub target: Option<DiagnoseRequest>,
    /// Wait for a failure first.
    pub watch: Option<Watch>,
    /// Replace addresses and names.
    pub redact: bool,
    /// Where it goes.
    pub save: Option<PathBuf>,
    /// The most bytes of all files together.
    pub limit: u64,
    /// One JSON document instead of text.
    pub json: bool,
    /// The name alone.
    pub quiet: bool,
    /// Colours.
    pub color: Color,
}

/// What a bundle may hold where nobody says otherwise.
const LIMIT: u64 = 64 << 20;
const LEAST: u64 = 256 << 10;
const MOST: u64 = 256 << 20;
const SECOND: Duration = Duration::from_secs(1);
/// More than a hundred probes a second find no failure that fewer do not.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// Reads what was typed.
pub(super) fn parse(args: BundleArgs) -> Result<BundleRequest, Usage> {
    if let Some(BundleCommand::Diff(args)) = args.diff {
        return diff(args);
    }
    let target = match args.host.as_slice() {
        [] if args.peer.is_some() || args.key.key_file.is_some() => {
            return Err(Usage::new(
                "--peer sees the other end of the way to a target: name a target",
            ))
        }
        [] => None,
        [host] => Some(DiagnoseRequest {
            target: diagnose::one(host)?,
            peer: diagnose::far(args.peer.as_deref(), &args.key)?,
            family: args.family.family(),
            json: false,
            quiet: false,
            color: Color::default(),
        }),
        _ => {
            return Err(Usage::new(
                "one target at a time: a bundle holds this host's own counters, which another would move",
            ))
        }
    };
    if target.is_none() && args.family.family().is_some() {
        return Err(Usage::new(
            "-4 and -6 choose among a target's addresses: name a target",
        ));
    }
    let watch = match (args.until_failure, &target) {
        (false, _) => None,
        (true, None) => {
            return Err(Usage::new(
                "--until-failure probes a target: rping bundle HOST or HOST:PORT --until-failure",
            ))
        }
        (true, Some(_)) => {
            let interval = args.interval.unwrap_or(SECOND);
            if !(LEAST_INTERVAL..=request::DAY).contains(&interval) {
                return Err(Usage::new("--interval is from 10ms to 1 day here"));
            }
            if args
                .timeout
                .is_some_and(|timeout| timeout.is_zero() || timeout > request::DAY)
            {
                return Err(Usage::new("--timeout is above 0 and at most 1 day"));
            }
            Some(Watch {
                interval,
                timeout: args.timeout,
                stop: args.count.unwrap_or(Stop::Never),
            })
        }
    };
    let limit = args.limit.map_or(LIMIT, |limit| limit as u64);
    if !(LEAST..=MOST).contains(&limit) {
        return Err(Usage::new("--limit is from 256k to 256m"));
    }
    Ok(BundleRequest::Make(Make {
        target,
        watch,
        redact: args.redact,
        save: args.save,
        limit,
        json: args.document.is_json(),
        quiet: args.quiet,
        color: args.document.color(),
    }))
}

fn diff(args: DiffArgs) -> Result<BundleRequest, Usage> {
    let (Some(a), Some(b)) = (args.a, args.b) else {
        return Err(Usage::new(
            "say which two bundles: rping bundle diff A.tar.gz B.tar.gz; try rping bundle diff --help",
        ));
    };
    Ok(BundleRequest::Diff {
        a,
        b,
        json: args.document.is_json(),
        color: args.document.color(),
    })
}
