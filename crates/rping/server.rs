//! `rping server`: the far end.

use crate::args::ServerArgs;

/// Serves until it is interrupted; returns the exit code.
pub(crate) fn run(args: &ServerArgs) -> u8 {
    let _ = args;
    crate::cli::complain("not yet")
}
