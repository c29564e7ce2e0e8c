//! The few system-call idioms that several files share.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Repeats `call` while it fails with EINTR; turns −1 into the system's error.
pub(crate) fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        let got = call();
        if got >= 0 {
            return Ok(got);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// `setsockopt` with a plain-old-data value.
pub(crate) fn set<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    retry(|| {
        // SAFETY: `value` is valid for reads of its own size during the call; the descriptor is borrowed, so open.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                mem::size_of::<T>() as libc::socklen_t,
            )
        }
    })
    .map(drop)
}

/// `getsockopt` of an integer option.
pub(crate) fn get_int(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut length = mem::size_of::<i32>() as libc::socklen_t;
    retry(|| {
        // SAFETY: `value` and `length` are valid for writes during the call, and `length` says the size of `value`.
        unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_mut(&mut value).cast(),
                &raw mut length,
            )
        }
    })?;
    Ok(value)
}
