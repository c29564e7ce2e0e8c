//! Wrong usage in one line: what was wrong and what to do.

use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::render::escape::Escaped;

/// A request that cannot be carried out as it was made. Nothing was sent.
///
/// `Display` is one line without the program's name and without a line break, safe to show on a terminal whatever was
/// typed. The program prints it after `rping: ` and ends with [`Usage::EXIT_CODE`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}")]
pub struct Usage {
    line: String,
}

impl Usage {
    /// What a program ends with that was used wrongly.
    pub const EXIT_CODE: u8 = 2;

    /// One line out of any text. Everything a terminal would obey, line breaks included, is made visible.
    pub fn new(what: impl fmt::Display) -> Usage {
        Usage {
            line: Escaped(&what.to_string()).to_string(),
        }
    }

    /// The line with what it is about in front: `--targets hosts.txt: line 3: …`.
    pub(crate) fn about(subject: impl fmt::Display, what: impl fmt::Display) -> Usage {
        Usage::new(format_args!("{subject}: {what}"))
    }
}

impl From<String> for Usage {
    fn from(what: String) -> Usage {
        Usage::new(what)
    }
}

/// What the system said, without the number behind it.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What was typed, in quotes, and no more of it than a line can carry.
pub(crate) fn shown(typed: &str) -> String {
    const MOST: usize = 80;
    if typed.chars().count() <= MOST {
        format!("'{typed}'")
    } else {
        format!("'{}…'", typed.chars().take(MOST).collect::<String>())
    }
}

/// Clap's errors are paragraphs; this is the sentence in them. `help` is the command that explains more.
pub(crate) fn flatten(error: &clap::Error, help: &str) -> Usage {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(s)) => Some(s.clone()),
        Some(ContextValue::Strings(all)) if !all.is_empty() => Some(all.join(", ")),
        Some(ContextValue::StyledStr(s)) => Some(s.to_string()),
        _ => None,
    };
    // Clap names an argument with its value's name behind it; the flag alone says it.
    let flag = |kind| text(kind).map(|s| s.split(' ').next().unwrap_or_default().to_owned());
    let arg = flag(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UnknownArgument => {
            let hint = match flag(ContextKind::SuggestedArg) {
                Some(near) => format!(" (did you mean {near}?)"),
                None => String::new(),
            };
            format!("no such flag here: {}{hint}", shown(&arg))
        }
        ErrorKind::ArgumentConflict => match flag(ContextKind::PriorArg) {
            Some(other) if other != arg => {
                format!("{arg} and {other} contradict each other: give one of them")
            }
            _ => format!("{arg} is given twice: once is enough"),
        },
        ErrorKind::InvalidValue | ErrorKind::NoEquals if value.is_empty() => {
            let among = text(ContextKind::ValidValue)
                .map(|all| format!(": one of {all}"))
                .unwrap_or_default();
            format!("{arg} needs a value{among}")
        }
        ErrorKind::InvalidValue => {
            let among = text(ContextKind::ValidValue).unwrap_or_default();
            format!("{arg} {}: give one of {among}", shown(&value))
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{arg} {}: {why}", shown(&value))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = text(ContextKind::InvalidArg).unwrap_or_default();
            format!("{missing} is missing")
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("no such command: {}", shown(&name))
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or("wrong usage");
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    Usage::new(format_args!("{what}; try {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_typed_stays_one_harmless_line() {
        let usage = Usage::new("a\nb\x1b[31m\u{202e}c");
        assert_eq!(usage.to_string(), "a\\x0ab\\x1b[31m\\u{202e}c");
    }

    #[test]
    fn a_long_word_is_cut_at_a_character() {
        let long = "ä".repeat(500);
        assert_eq!(shown(&long).chars().count(), 83);
    }
}
