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

/// `SO_MEMINFO`'s field `SK_MEMINFO_DROPS`: datagrams dropped because the receive buffer was full.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    const DROPS: usize = 8;
    let mut values = [0u32; 16];
    let mut length = mem::size_of_val(&values) as libc::socklen_t;
    retry(|| {
        // SAFETY: `values` and `length` are valid for writes during the call, and `length` says the size of `values`.
        unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        }
    })?;
    Ok(values[DROPS])
}

/// Takes a datagram socket's peer, and the source address that came with it, away again.
pub(crate) fn disconnect(fd: BorrowedFd<'_>) {
    // SAFETY: all-zero bytes are a valid address, of family AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { mem::zeroed() };
    // A socket that was not connected says so; that is as good.
    // SAFETY: `nobody` is valid for reads of its own size; the descriptor is borrowed, so open.
    unsafe {
        libc::connect(
            fd.as_raw_fd(),
            &raw const nobody,
            mem::size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
}
