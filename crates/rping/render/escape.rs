//! Whatever came from outside (names, errors, payloads) is shown so that it cannot act on a terminal or a spreadsheet.

use std::fmt::{self, Write as _};
use std::io;

/// Text from outside, with everything that could move a cursor, change a colour or turn the reading direction made
/// visible: `\x1b`, `\u{202e}`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.bytes().all(|b| (b' '..0x7f).contains(&b)) {
            return f.pad(self.0);
        }
        for c in self.0.chars() {
            if !acts(c) {
                f.write_char(c)?;
            } else if (c as u32) < 0x100 {
                write!(f, "\\x{:02x}", c as u32)?;
            } else {
                write!(f, "\\u{{{:x}}}", c as u32)?;
            }
        }
        Ok(())
    }
}

/// Text from outside as a single harmless line.
pub fn line(text: &str) -> String {
    Escaped(text).to_string()
}

/// Bytes from outside as text: UTF-8 as it is, invalid bytes as `\xff`, and the result escaped like [`Escaped`].
pub fn bytes(raw: &[u8]) -> String {
    let mut shown = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        // Writing to a String cannot fail.
        let _ = write!(shown, "{}", Escaped(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Whether a character does something instead of being seen: control characters, marks of direction and joining,
/// line separators, tags.
pub const fn acts(c: char) -> bool {
    matches!(c as u32,
        0..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x180e
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

/// Writes `text` as a JSON string, quotes included. Lossless: what a terminal would obey is written as `\uXXXX`.
pub fn json_string(out: &mut (impl io::Write + ?Sized), text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    json_fragment(out, text)?;
    out.write_all(b"\"")
}

/// The inside of a JSON string: everything that JSON or prudence wants escaped, escaped.
pub fn json_fragment(out: &mut (impl io::Write + ?Sized), text: &str) -> io::Result<()> {
    if text
        .bytes()
        .all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\')
    {
        return out.write_all(text.as_bytes());
    }
    let mut utf8 = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.write_all(b"\\\"")?,
            '\\' => out.write_all(b"\\\\")?,
            '\n' => out.write_all(b"\\n")?,
            '\t' => out.write_all(b"\\t")?,
            '\r' => out.write_all(b"\\r")?,
            c if acts(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            c => out.write_all(c.encode_utf8(&mut utf8).as_bytes())?,
        }
    }
    Ok(())
}

/// Writes text from outside as a CSV cell (RFC 4180), so that a spreadsheet takes it for text: a cell that would begin
/// a formula gets a leading `'`, what would act on a terminal is made visible.
pub fn csv_cell(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    let shown = Escaped(text).to_string();
    let formula = shown.starts_with(['=', '+', '-', '@']);
    let guard = if formula { "'" } else { "" };
    if shown.contains(['"', ',']) {
        write!(out, "\"{guard}{}\"", shown.replace('"', "\"\""))
    } else {
        write!(out, "{guard}{shown}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        json_string(&mut out, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn csv(text: &str) -> String {
        let mut out = Vec::new();
        csv_cell(&mut out, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_reaches_it() {
        assert_eq!(
            Escaped("\x1b[31mred\x07\r\n").to_string(),
            "\\x1b[31mred\\x07\\x0d\\x0a"
        );
        assert_eq!(
            Escaped("a\u{202e}b\u{9b}c\u{7f}").to_string(),
            "a\\u{202e}b\\x9bc\\x7f"
        );
        assert_eq!(Escaped("Bücher.example").to_string(), "Bücher.example");
    }

    #[test]
    fn invalid_utf_8_is_shown_byte_by_byte() {
        assert_eq!(bytes(b"ok\xff\xfe\xc3\xa9\x1b"), "ok\\xff\\xfeé\\x1b");
    }

    #[test]
    fn every_character_survives_json_unchanged() {
        let all: String = (0..0x3000)
            .chain(0xe0000..0xe0080)
            .chain([0xfeff])
            .filter_map(char::from_u32)
            .collect();
        let back: String = serde_json::from_str(&json(&all)).unwrap();
        assert_eq!(back, all);
        assert!(!json(&all).contains(acts));
    }

    #[test]
    fn cells_that_would_begin_a_formula_are_defused() {
        assert_eq!(csv("=1+1"), "'=1+1");
        assert_eq!(csv("@x,y"), "\"'@x,y\"");
        assert_eq!(csv("-a"), "'-a");
        assert_eq!(csv("+a"), "'+a");
        assert_eq!(csv("\t=1"), "\\x09=1");
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        assert_eq!(csv("plain:445"), "plain:445");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv("two\nlines"), "two\\x0alines");
    }
}
