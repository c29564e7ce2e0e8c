//! The commands that work on saved runs.

use std::path::{Path, PathBuf};

use super::cli::{CompareArgs, DocumentWord, MergeArgs, ReportArgs, ShowArgs};
use super::output::{Color, Format, OutputOptions, Wanted};
use super::{shown, Usage};
use crate::assertion::Assertion;
use crate::hdr::Form;

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
    let format = if args.json {
        Format::Json
    } else {
        args.output.map(Format::from).unwrap_or_default()
    };
    Ok(SavedRequest::Show {
        file,
        output: OutputOptions {
            format,
            quiet: args.quiet,
            all: args.all,
            histogram: args.histogram,
            color: args.color.map(Color::from).unwrap_or_default(),
            timestamps: false,
            graph: false,
            pcap: None,
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
        json: args.json || args.output == Some(DocumentWord::Json),
        color: args.color.map(Color::from).unwrap_or_default(),
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
pub(super) fn check(keep: &Wanted) -> Result<(), Usage> {
    if let Some(path) = &keep.hdr {
        if Form::of(path).is_none() {
            return Err(Usage::new(format_args!(
                "--hdr {}: the extension says what is written: .hgrm for the percentile distribution, .hlog for the interval log",
                shown(&path.to_string_lossy())
            )));
        }
    }
    let named: Vec<(&str, &Path)> = [
        ("--save", &keep.save),
        ("--hdr", &keep.hdr),
        ("--report", &keep.report),
    ]
    .into_iter()
    .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
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
