//! Flags that several commands share. The heading they stand under is each command's own.

use std::path::PathBuf;

use clap::Args;

use super::output::{Color, Format, Wanted};
use super::words::{ColorWord, DocumentWord, FormatWord};
use super::{value, Family, Source};

/// Which address family.
#[derive(Args, Debug)]
pub(crate) struct FamilyArgs {
    /// IPv4 only [default: the resolver's order]
    #[arg(short = '4', conflicts_with = "six")]
    four: bool,
    /// IPv6 only [default: the resolver's order]
    #[arg(short = '6')]
    six: bool,
}

impl FamilyArgs {
    pub(super) fn family(&self) -> Option<Family> {
        match (self.four, self.six) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }
}

/// What stands in the headers of what is sent, and where it leaves from. Values may begin with a hyphen, so that `--ttl
/// -1` is told what is wrong with it.
#[derive(Args, Debug)]
pub(crate) struct HeaderArgs {
    /// TTL or hop limit, 1 to 255 [default: the system's]
    #[arg(long, value_name = "N", value_parser = value::ttl, allow_hyphen_values = true, help_heading = "What is sent")]
    pub(crate) ttl: Option<u8>,
    /// DSCP by number, 0 to 63, or name: CS0-CS7, AF11-AF43, EF, VA, LE [default: 0]
    #[arg(long, value_name = "NAME|N", value_parser = value::dscp, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) dscp: Option<u8>,
    /// Firewall mark (SO_MARK), decimal or 0x…; needs CAP_NET_ADMIN
    #[arg(long, value_name = "N", value_parser = value::mark, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) mark: Option<u32>,
    /// Local address, and for tcp and udp also port, that probes leave from: 10.0.0.1, 10.0.0.1:4000, [fe80::1%eth0]:4000 [default: the route's]
    #[arg(short = 'S', long, value_name = "ADDR[:PORT]", value_parser = Source::parse, allow_hyphen_values = true,
        help_heading = "What is sent")]
    pub(crate) source: Option<Source>,
    /// Interface that they leave by [default: the route's]
    #[arg(
        short = 'I',
        long,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "What is sent"
    )]
    pub(crate) interface: Option<String>,
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

/// Help for the key where the other end is `rping server`.
pub(super) const SERVERS_KEY: &str =
    "File with the key that the server was started with, mode 600 [default: the environment's RPING_KEY, else no key]";

/// The format on standard output, where a run is also a stream.
#[derive(Args, Debug)]
pub(crate) struct FormatArgs {
    /// Format on standard output: text, json (one document), ndjson (one a line), csv [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true
    )]
    output: Option<FormatWord>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
}

impl FormatArgs {
    pub(super) fn format(&self) -> Format {
        match self.output {
            _ if self.json => Format::Json,
            Some(word) => word.into(),
            None => Format::Text,
        }
    }

    pub(super) fn color(&self) -> Color {
        self.color.color()
    }
}

/// The format on standard output, where there is one document.
#[derive(Args, Debug)]
pub(crate) struct DocumentArgs {
    /// Format on standard output: text or json [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true
    )]
    output: Option<DocumentWord>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
}

impl DocumentArgs {
    pub(super) fn is_json(&self) -> bool {
        self.json || self.output == Some(DocumentWord::Json)
    }

    pub(super) fn color(&self) -> Color {
        self.color.color()
    }
}

#[derive(Args, Debug)]
struct ColorArgs {
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    color: Option<ColorWord>,
}

impl ColorArgs {
    fn color(&self) -> Color {
        self.color.map(Color::from).unwrap_or_default()
    }
}

/// The files that every kind of run can leave behind.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// Save the run, with its histograms and its course second by second, for rping show, compare, merge and report; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    save: Option<PathBuf>,
    /// A page with pictures of the run, FILE.html: one file that needs no network; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    report: Option<PathBuf>,
}

impl SaveArgs {
    /// Without the command line, which the whole knows.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            save: self.save.clone(),
            report: self.report.clone(),
            ..Wanted::default()
        }
    }
}

/// The files that a run of probes leaves behind.
#[derive(Args, Debug)]
pub(crate) struct KeepArgs {
    #[command(flatten)]
    save: SaveArgs,
    /// For HdrHistogram's tools: FILE.hgrm is the percentile distribution in ms, FILE.hlog an interval log, a line a second and target; an existing file is replaced
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    hdr: Option<PathBuf>,
}

impl KeepArgs {
    /// Without the command line, which the whole knows.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            hdr: self.hdr.clone(),
            ..self.save.wanted()
        }
    }
}
