//! Pipes and devices, opened for writing without waiting for anybody.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens what is no regular file for writing; `None` for a regular file. What is found there is decided on the open file,
/// so nothing can be put in its place meanwhile. With `no_link` a link is not followed.
///
/// # Errors
/// When it cannot be opened; of a pipe that nobody reads in words; `ELOOP` for a link.
pub fn open_special(path: &Path, no_link: bool) -> io::Result<Option<File>> {
    // A pipe without a reader would be waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | if no_link { libc::O_NOFOLLOW } else { 0 };
    let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::other("nobody reads from it: start the reader first"),
        _ => error,
    })?;
    if file.metadata()?.is_file() {
        return Ok(None);
    }
    // SAFETY: fcntl on an open descriptor, without pointers.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Some(file))
}
