//! The commands that work on saved runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::flags::{DocumentArgs, FormatArgs};
use super::output::Pcap;
use super::output::{Buckets, Color, OutputOptions, Wanted};
use super::{shown, value, Usage};
use crate::assertion::Assertion;
use crate::hdr::Form;

/// How what is shown out of a file is shown.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// A file that --save wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
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
    /// List those alone that replied, a line each
    #[arg(long, visible_alias = "open", conflicts_with = "all")]
    pub(crate) answering: bool,
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
    #[command(flatten)]
    pub(crate) document: DocumentArgs,
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

/// What is to be done with saved runs.
#[derive(Clone, PartialEq, Debug)]
pub enum SavedRequest {
    /// Show one as if it had just been made.
    Show {
        /// The file.
        file: PathBuf,
        /// How it is shown.
        output: OutputOptions,
        /// What it must amount to; empty for what it was made with.
        assertions: Vec<Assertion>,
    },
    /// Join several to one.
    Merge {
        /// The files.
        files: Vec<PathBuf>,
        /// Where the one goes.
        save: PathBuf,
    },
    /// Compare two.
    Compare {
        /// The first file.
        before: PathBuf,
        /// The second file.
        after: PathBuf,
        /// Exit with 1 when the verdict is worse.
        fail_if_worse: bool,
        /// The least shift that matters, a part of 1.
        least: f64,
        /// One JSON document instead of text.
        json: bool,
        /// Colours.
        color: Color,
    },
    /// Make a page of one or more.
    Report {
        /// The files.
        files: Vec<PathBuf>,
        /// Where it goes; `None` is standard output.
        html: Option<PathBuf>,
    },
}

/// The least shift that matters without `--least`.
const LEAST: f64 = 0.01;

pub(super) fn show(args: ShowArgs) -> Result<SavedRequest, Usage> {
    let Some(file) = args.file else {
        return Err(Usage::new(
            "say which saved run: rping show FILE; try rping show --help",
        ));
    };
    if let Some(path) = &args.hdr {
        if Form::of(path) != Some(Form::Distribution) {
            return Err(Usage::new(format_args!(
                "--hdr {}: out of a saved run comes the distribution: name a file with .hgrm",
                shown(&path.to_string_lossy())
            )));
        }
    }
    Ok(SavedRequest::Show {
        file,
        output: OutputOptions {
            format: args.format.format(),
            quiet: args.quiet,
            all: args.all,
            histogram: args.histogram,
            color: args.format.color(),
            timestamps: false,
            graph: false,
            pcap: None,
            answering: args.answering,
            live: false,
            keep: Wanted {
                hdr: args.hdr,
                ..Wanted::default()
            },
        },
        assertions: args.assertions.into_iter().flat_map(|joined| joined.0).collect(),
    })
}

pub(super) fn merge(args: MergeArgs) -> Result<SavedRequest, Usage> {
    if args.files.len() < 2 {
        return Err(Usage::new(
            "say what to merge: rping merge FILE FILE… --save FILE; try rping merge --help",
        ));
    }
    let Some(save) = args.save else {
        return Err(Usage::new("say where the merged run goes: --save FILE"));
    };
    Ok(SavedRequest::Merge {
        files: args.files,
        save,
    })
}

pub(super) fn compare(args: CompareArgs) -> Result<SavedRequest, Usage> {
    let (Some(before), Some(after)) = (args.before, args.after) else {
        return Err(Usage::new(
            "say which two saved runs: rping compare BEFORE AFTER; try rping compare --help",
        ));
    };
    Ok(SavedRequest::Compare {
        before,
        after,
        fail_if_worse: args.fail_if_worse,
        least: args.least.map_or(LEAST, |percent| percent / 100.0),
        json: args.document.is_json(),
        color: args.document.color(),
    })
}

pub(super) fn report(args: ReportArgs) -> Result<SavedRequest, Usage> {
    if args.files.is_empty() {
        return Err(Usage::new(
            "say which saved runs: rping report FILE… --html FILE.html; try rping report --help",
        ));
    }
    Ok(SavedRequest::Report {
        files: args.files,
        html: args.html,
    })
}

/// Judges the files that a run is to leave behind.
pub(super) fn check(keep: &Wanted, pcap: Option<&Pcap>) -> Result<(), Usage> {
    if let Some(path) = keep.hdr.as_ref().filter(|path| Form::of(path).is_none()) {
        return Err(Usage::new(format_args!(
            "--hdr {}: the extension says what is written: .hgrm for the percentile distribution, .hlog for the interval log",
            shown(&path.to_string_lossy())
        )));
    }
    let wanted = [
        ("--save", &keep.save),
        ("--report", &keep.report),
        ("--hdr", &keep.hdr),
    ];
    let named: Vec<(&str, &Path)> = wanted
        .into_iter()
        .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
        .chain(pcap.map(|pcap| ("--pcap", pcap.file.as_path())))
        .collect();
    for (at, (flag, path)) in named.iter().enumerate() {
        if path.as_os_str().is_empty() {
            return Err(Usage::new(format_args!("{flag} needs the name of a file")));
        }
        // What is not kept may bear one name: /dev/null.
        let twin = named[..at]
            .iter()
            .find(|(_, other)| other == path && !path.starts_with("/dev"));
        if let Some((other, _)) = twin {
            return Err(Usage::new(format_args!(
                "{other} and {flag} name one file, {}: give each its own",
                shown(&path.to_string_lossy())
            )));
        }
    }
    Ok(())
}
