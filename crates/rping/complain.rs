//! What cannot be done, in one line.

use std::io::{self, Write};

/// One line on standard error, and exit code 2.
pub(crate) fn complain(what: &str) -> u8 {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(
        io::stderr().lock(),
        "rping: {}",
        what.trim_start_matches("rping: ")
    );
    2
}
