//! Sixteen colours, sparingly: what went wrong stands out, what went well stays plain.

use std::fmt;

use crate::args::output::Color;

/// Whether to colour. What was asked for outright wins; otherwise a terminal that can, and nobody who minds.
pub(crate) fn wanted(color: Color, is_terminal: bool, no_color: bool, dumb: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !no_color && !dumb,
    }
}

/// What a piece of text is, as far as colour goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// A heading.
    Head,
    /// Silence, loss.
    Bad,
    /// A refusal, a warning.
    Warn,
    /// Never left this host.
    Own,
    /// Beside the outcomes; explanations.
    Aside,
}

impl Tone {
    const fn sgr(self) -> &'static str {
        match self {
            Tone::Head => "\x1b[1m",
            Tone::Bad => "\x1b[31m",
            Tone::Warn => "\x1b[33m",
            Tone::Own => "\x1b[35m",
            Tone::Aside => "\x1b[36m",
        }
    }
}

/// Colours, or does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style(pub(crate) bool);

impl Style {
    /// `text` in the colour of its tone.
    pub(crate) fn paint<T: fmt::Display>(self, tone: Tone, text: T) -> Painted<T> {
        Painted {
            sgr: self.0.then(|| tone.sgr()),
            text,
        }
    }

    /// Painted if `when` holds, else plain.
    pub(crate) fn paint_if<T: fmt::Display>(self, when: bool, tone: Tone, text: T) -> Painted<T> {
        Style(self.0 && when).paint(tone, text)
    }
}

/// Text that may be between two SGR sequences.
pub(crate) struct Painted<T> {
    sgr: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sgr {
            Some(sgr) => write!(f, "{sgr}{}\x1b[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_that_can_and_nobody_who_minds() {
        assert!(wanted(Color::Auto, true, false, false));
        assert!(!wanted(Color::Auto, false, false, false));
        assert!(!wanted(Color::Auto, true, true, false));
        assert!(!wanted(Color::Auto, true, false, true));
    }

    #[test]
    fn what_was_asked_for_outright_wins() {
        assert!(wanted(Color::Always, false, true, true));
        assert!(!wanted(Color::Never, true, false, false));
    }

    #[test]
    fn without_colour_nothing_is_added() {
        assert_eq!(Style(false).paint(Tone::Bad, "x").to_string(), "x");
        assert_eq!(Style(true).paint(Tone::Bad, "x").to_string(), "\x1b[31mx\x1b[0m");
        assert_eq!(Style(true).paint_if(false, Tone::Bad, "x").to_string(), "x");
    }
}
