//! Lists of targets: a file or standard input, one target a line.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};

use super::{Spec, MOST};
use crate::args::{plain, Usage};

/// The largest list, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// The longest line: a name, its ports and a comment.
const MOST_LINE: u64 = 4096;

/// Reads a list; `name` is what its errors call it. An empty line is skipped, `#` begins a comment.
///
/// # Errors
/// The first line that is no target, by its number; a list or line too long, or with more targets than a run may have.
pub(crate) fn read(source: impl Read, name: &dyn Display) -> Result<Vec<Spec>, Usage> {
    let mut source = BufReader::new(source.take(MOST_BYTES + 1));
    let mut specs = Vec::new();
    let mut targets = 0u128;
    let mut bytes = 0u64;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let got = (&mut source).take(MOST_LINE + 1).read_until(b'\n', &mut line);
        let got =
            got.map_err(|error| Usage::about(name, format_args!("cannot be read: {}", plain(&error))))?;
        if got == 0 {
            break;
        }
        let wrong = |why: &dyn Display| Usage::about(name, format_args!("line {number}: {why}"));
        bytes = bytes.saturating_add(got as u64);
        if bytes > MOST_BYTES {
            return Err(Usage::about(
                name,
                "more than 64 MiB: no list of targets is that long",
            ));
        }
        if got as u64 > MOST_LINE {
            return Err(wrong(&format_args!(
                "longer than {MOST_LINE} bytes: give one target a line"
            )));
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(wrong(&"not valid UTF-8: give one target a line, as text"));
        };
        let text = if number == 1 {
            text.strip_prefix('\u{feff}').unwrap_or(text)
        } else {
            text
        };
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let spec = Spec::parse(text).map_err(|why| wrong(&why))?;
        targets = targets.saturating_add(spec.count());
        if targets > MOST.into() {
            return Err(wrong(&format_args!(
                "more than {MOST} targets: probe them in several runs"
            )));
        }
        specs.push(spec);
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(list: &[u8]) -> Result<Vec<String>, String> {
        let specs = read(list, &"hosts.txt").map_err(|usage| usage.to_string())?;
        Ok(specs.iter().map(|spec| spec.text().to_owned()).collect())
    }

    #[test]
    fn comments_blank_lines_and_foreign_line_ends_are_no_targets() {
        let list = b"\xef\xbb\xbfa # first\r\n\n  # nothing\n\tb:80  \n10.0.0.0/30#x";
        assert_eq!(
            texts(list),
            Ok(vec!["a".into(), "b:80".into(), "10.0.0.0/30".into()])
        );
        assert_eq!(texts(b""), Ok(vec![]));
    }

    #[test]
    fn a_line_of_rubbish_is_named_by_file_and_number() {
        for (list, begins) in [
            (&b"a\nb c\n"[..], "hosts.txt: line 2: "),
            (b"a\n\n\xff\xfe\n", "hosts.txt: line 3: not valid UTF-8"),
            (b"10.0.0.1/24", "hosts.txt: line 1: "),
            (b"a\0b", "hosts.txt: line 1: "),
            (
                b"10.0.0.0/12:80\n10.16.0.0/12\n",
                "hosts.txt: line 2: more than 1048576 targets",
            ),
        ] {
            let said = texts(list).unwrap_err();
            assert!(said.starts_with(begins), "{said}");
        }
    }

    #[test]
    fn an_endless_line_ends() {
        let said = read(std::io::repeat(b'a'), &"x").unwrap_err().to_string();
        assert!(said.starts_with("x: line 1: longer than 4096"), "{said}");
    }

    #[test]
    fn an_endless_list_ends() {
        struct Lines;
        impl Read for Lines {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill(b' ');
                buffer[buffer.len() - 1] = b'\n';
                buffer.chunks_mut(4000).for_each(|line| line[0] = b'\n');
                Ok(buffer.len())
            }
        }
        assert!(read(Lines, &"x").unwrap_err().to_string().contains("64 MiB"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_list_panic(list in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&list[..], &"x");
        }
    }
}
