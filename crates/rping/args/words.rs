//! Words that are the values of flags, as clap lists them.

use clap::ValueEnum;

use super::output::{Color, Format};
use crate::job::{Close, Pacing, UdpProtocol, Wait};

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

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum WaitWord {
    Auto,
    Busy,
    Block,
}

impl From<WaitWord> for Wait {
    fn from(word: WaitWord) -> Wait {
        match word {
            WaitWord::Auto => Wait::Auto,
            WaitWord::Busy => Wait::Busy,
            WaitWord::Block => Wait::Block,
        }
    }
}
