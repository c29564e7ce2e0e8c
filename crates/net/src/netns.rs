//! Entering a network namespace: for tests, and for programs that probe on behalf of one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Moves the calling thread, alone, into the network namespace at `path` (such as `/run/netns/lab`).
///
/// Sockets stay in the namespace that they were opened in. Threads started later by this one begin in the new
/// namespace.
///
/// # Errors
/// When `path` cannot be opened, is no network namespace, or `CAP_SYS_ADMIN` is missing.
pub fn enter_netns(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    // SAFETY: no pointers are passed; the descriptor is open for the length of the call.
    crate::sys::retry(|| unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}
