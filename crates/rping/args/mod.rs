//! What was typed: from the command line to a [`Request`], and from there, with names resolved, to a
//! [`Job`](crate::job::Job). Parsing does no work: nothing is opened, resolved or sent before the request stands.

mod argv;
mod bandwidth;
mod bundle;
mod cli;
mod diagnose;
mod evidence;
mod flags;
mod help;
mod latency;
pub mod output;
pub(crate) mod pages;
mod probe;
mod psping;
mod request;
mod saved;
mod server;
mod source;
mod topics;
mod usage;
pub(crate) mod value;
mod words;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::FromArgMatches;

pub use bandwidth::{BandwidthRequest, Plan, Show, Warmup};
pub use bundle::{BundleRequest, Make, Watch};
pub use cli::command;
pub use diagnose::DiagnoseRequest;
pub use evidence::{SocketsRequest, TraceRequest};
pub use output::OutputOptions;
pub(crate) use psping::BANNER as PSPING_BANNER;
pub use request::{List, Request};
pub use saved::SavedRequest;
pub use server::{Place, ServerArgs, PORT as SERVER_PORT};
pub use source::{Family, Source};
pub use usage::Usage;

pub(crate) use usage::{plain, shown};

use crate::job::{Kind, UdpProtocol};
use argv::Words;
use cli::{Cli, Command};
use probe::{output, request, ProbeArgs};

/// What a command line asks for.
// There is one of these in a run: its size is no matter, and a box would only be in the way.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Debug)]
pub enum Invocation {
    /// Probes.
    Probe {
        /// To whom, how and when.
        request: Request,
        /// How results are shown.
        output: OutputOptions,
    },
    /// Throughput.
    Bandwidth(BandwidthRequest),
    /// Something with saved runs.
    Saved(SavedRequest),
    /// A walk up the troubleshooting ladder.
    Diagnose(DiagnoseRequest),
    /// An evidence bundle, or what changed between two.
    Bundle(BundleRequest),
    /// The sockets of this host.
    Sockets(SocketsRequest),
    /// Two captures of the same traffic.
    Trace(TraceRequest),
    /// The far end of two-ended tests.
    Server(ServerArgs),
    /// Help, the version, completions or a manual page, for standard output; exit code 0.
    Print(String),
    /// Every manual page, into this directory.
    ManualPages(std::path::PathBuf),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// Everything that can be told to be wrong without asking the system: one line, to be shown after `rping: `.
pub fn parse(argv: impl Iterator<Item = OsString>) -> Result<Invocation, Usage> {
    let mut argv = argv;
    let called = argv.next().unwrap_or_default();
    let mut typed = Vec::new();
    for (at, word) in argv.enumerate() {
        typed.push(word.into_string().map_err(|word| {
            let word = word.to_string_lossy().into_owned();
            Usage::new(format_args!(
                "argument {} is not valid UTF-8: {}",
                at + 1,
                shown(&word)
            ))
        })?);
    }
    match psping::words(&called, &typed) {
        Some(words) => psping::parse(words),
        None => parse_words(typed),
    }
}

/// Reads the words after the program's name.
fn parse_words(typed: Vec<String>) -> Result<Invocation, Usage> {
    if let Some(topic) = topics::asked(&typed) {
        return Ok(Invocation::Print(topic.to_owned()));
    }
    // What is right by the one command alone is right; whatever else there is to say, the whole command line says.
    if let Some(alone) = typed.first().and_then(|name| cli::alone(name)) {
        if let Ok(probe @ Invocation::Probe { .. }) = parse_by(alone, typed.clone()) {
            return Ok(probe);
        }
    }
    parse_by(command(), typed)
}

/// Reads the words as these commands understand them.
fn parse_by(commands: clap::Command, typed: Vec<String>) -> Result<Invocation, Usage> {
    let mut command_line = vec!["rping".to_owned()];
    command_line.extend(typed.iter().cloned());
    let (argv, help, then) = match argv::rewrite(typed, &commands)? {
        Words::Clap { argv, help, then } => (argv, help, then),
        Words::Nobody => {
            return Err(Usage::new(
                "say whom to probe: rping HOST, rping HOST:PORT, or rping --help for everything",
            ))
        }
    };
    let parsed = commands
        .try_get_matches_from(argv)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Invocation::Print(error.render().to_string()))
                }
                _ => Err(usage::flatten(&error, &help)),
            }
        }
    };
    if let Some(usage) = then {
        return Err(usage);
    }
    let probe = |kind, args: ProbeArgs| -> Result<(Request, OutputOptions), Usage> {
        let output = output(&args)?;
        let request = request(kind, args)?;
        Ok((request, output))
    };
    let (request, mut output) = match cli.command {
        Command::Show(args) => return saved::show(args).map(Invocation::Saved),
        Command::Merge(args) => return saved::merge(args).map(Invocation::Saved),
        Command::Compare(args) => return saved::compare(args).map(Invocation::Saved),
        Command::Report(args) => return saved::report(args).map(Invocation::Saved),
        Command::Server(args) => return server::parse(&args).map(Invocation::Server),
        Command::Trace(args) => return Ok(Invocation::Trace(evidence::trace(args)?)),
        Command::Bundle(args) => return bundle::parse(args).map(Invocation::Bundle),
        Command::Sockets(args) => return evidence::sockets(args).map(Invocation::Sockets),
        Command::Psping { words } => return psping::parse(&words),
        Command::Completions { shell } => return Ok(Invocation::Print(pages::completions(shell))),
        Command::Man { all: Some(dir), .. } => return Ok(Invocation::ManualPages(dir)),
        Command::Man { of, all: None } => return pages::manual(of.as_deref()).map(Invocation::Print),
        Command::Diagnose(args) => return diagnose::parse(&args).map(Invocation::Diagnose),
        Command::Bandwidth(args) => {
            let mut request = bandwidth::parse(args)?;
            saved::check(&request.show.keep, request.show.pcap.as_ref())?;
            request.show.keep.command_line = command_line;
            return Ok(Invocation::Bandwidth(request));
        }
        Command::Latency(args) => latency::parse(args),
        Command::Icmp(args) => probe(Kind::Icmp, args),
        Command::Arp(args) => probe(Kind::Arp, args),
        Command::Udp(args) => {
            let kind = Kind::Udp(args.protocol.map(UdpProtocol::from).unwrap_or_default());
            let key_file = args.key.key_file;
            probe(kind, args.probe).map(|(request, output)| (Request { key_file, ..request }, output))
        }
        Command::Tcp(args) => {
            let close = args.close.map(Into::into).unwrap_or_default();
            let syn = args.syn;
            probe(Kind::Tcp, args.probe).map(|(request, output)| {
                (
                    Request {
                        close,
                        syn,
                        ..request
                    },
                    output,
                )
            })
        }
    }?;
    request.check()?;
    saved::check(&output.keep, output.pcap.as_ref())?;
    if output.keep.is_anything() {
        output.keep.command_line = command_line;
    }
    Ok(Invocation::Probe { request, output })
}

#[cfg(test)]
mod tests;
