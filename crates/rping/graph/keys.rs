//! What is typed while the picture is shown.
//!
//! Read from the terminal byte by byte on a thread of its own: a terminal that is gone ends it, where a library that
//! polls for events was seen to spin.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::SyncSender;

use super::Told;

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Quit,
    Pause,
    ZoomIn,
    ZoomOut,
    Next,
    Previous,
    All,
    Scale,
    Reset,
}

/// Tells what is typed from now on. The thread waits in a read when the program ends, and ends with it.
pub(super) fn listen(tell: SyncSender<Told>) -> io::Result<()> {
    // Standard input may be a list of targets.
    let mut terminal: Box<dyn Read + Send> = match File::open("/dev/tty") {
        Ok(terminal) => Box::new(terminal),
        Err(_) => Box::new(io::stdin()),
    };
    let listener = std::thread::Builder::new().name("rping-keys".into());
    listener.spawn(move || {
        let mut bytes = [0; 64];
        loop {
            let typed = match terminal.read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => bytes.get(..n).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            for key in read(typed) {
                // Waits for room where the picture is busy: that holds nobody else up.
                if tell.send(Told::Key(key)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// The keys in what one read gave. A terminal sends what one key stands for at once.
fn read(mut typed: &[u8]) -> Vec<Key> {
    const ESCAPE: u8 = 0x1b;
    let mut keys = Vec::new();
    while let [first, rest @ ..] = typed {
        typed = rest;
        keys.extend(match first {
            // Control sequences: arrows and the backward tab; of others nothing is meant here.
            &ESCAPE => match rest {
                [b'[' | b'O', tail @ ..] => {
                    let end = tail.iter().position(|byte| (0x40..=0x7e).contains(byte));
                    let last = end.and_then(|end| tail.get(end));
                    typed = end.and_then(|end| tail.get(end + 1..)).unwrap_or_default();
                    match last {
                        Some(b'B' | b'C') => Some(Key::Next),
                        Some(b'A' | b'D' | b'Z') => Some(Key::Previous),
                        _ => None,
                    }
                }
                _ => Some(Key::Quit),
            },
            // Ctrl-C, which a raw terminal hands over as it is.
            3 | b'q' => Some(Key::Quit),
            b'p' | b' ' => Some(Key::Pause),
            b'+' | b'=' => Some(Key::ZoomIn),
            b'-' | b'_' => Some(Key::ZoomOut),
            b'\t' => Some(Key::Next),
            b'a' => Some(Key::All),
            b'l' => Some(Key::Scale),
            b'r' => Some(Key::Reset),
            _ => None,
        });
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_arrows_and_control_characters_are_told_apart() {
        assert_eq!(read(b"q"), [Key::Quit]);
        assert_eq!(read(b"\x03"), [Key::Quit]);
        assert_eq!(read(b"\x1b"), [Key::Quit]);
        assert_eq!(
            read(b"\x1b[A\x1b[B\x1bOC\x1b[Z\t"),
            [Key::Previous, Key::Next, Key::Next, Key::Previous, Key::Next]
        );
        assert_eq!(
            read(b"p+-alr"),
            [
                Key::Pause,
                Key::ZoomIn,
                Key::ZoomOut,
                Key::All,
                Key::Scale,
                Key::Reset
            ]
        );
        // A function key, a letter that means nothing, a sequence cut short.
        assert_eq!(read(b"\x1b[15~zp"), [Key::Pause]);
        assert_eq!(read(b"\x1b[1;"), []);
    }
}
