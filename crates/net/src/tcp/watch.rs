//! Many connects watched at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Connection;
use crate::{sys, Error, Result};

/// Watches many connects at once. Its descriptor is readable while one of them has something to say, so it can be
/// given to [`crate::Waiter::wait`].
#[derive(Debug)]
pub struct Watch {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// A connect that has something to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The number that it was watched under.
    pub key: u64,
    /// Whether an error is among it; without one the handshake is done.
    pub failed: bool,
}

impl Watch {
    /// Begins with nothing to watch; [`Watch::ready`] returns at most `batch` at a time.
    ///
    /// # Errors
    /// When the descriptor limit is reached.
    pub fn new(batch: usize) -> Result<Watch> {
        // SAFETY: no pointers are passed.
        let fd = sys::retry(|| unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
            .map_err(Error::os("open an epoll descriptor"))?;
        // SAFETY: `fd` was just returned by epoll_create1() and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Watch {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; batch.max(1)],
        })
    }

    /// Watches `connection`, under the number `key`, until it is dropped.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC`: the limit of watches is reached.
    pub fn add(&self, connection: &Connection, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLOUT as u32,
            u64: key,
        };
        // SAFETY: `event` is valid for reads during the call; both descriptors are open.
        sys::retry(|| unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                connection.as_fd().as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(())
    }

    /// Stops watching a connection that is to be kept open.
    ///
    /// # Errors
    /// `ENOENT` where it was not watched.
    pub fn remove(&self, connection: &Connection) -> io::Result<()> {
        // SAFETY: a null event is allowed for this operation; both descriptors are open.
        sys::retry(|| unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                connection.as_fd().as_raw_fd(),
                std::ptr::null_mut(),
            )
        })?;
        Ok(())
    }

    /// Appends those that have something to say now, without waiting, up to the batch; returns how many.
    ///
    /// # Errors
    /// Not expected.
    pub fn ready(&mut self, ready: &mut Vec<Ready>) -> io::Result<usize> {
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` is valid for writes of `room` entries during the call.
        let got = sys::retry(|| unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, 0)
        })?;
        let got = usize::try_from(got).unwrap_or(0);
        ready.extend(self.events.iter().take(got).map(|event| {
            let (key, flags) = (event.u64, event.events);
            Ready {
                key,
                failed: flags & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
            }
        }));
        Ok(got)
    }

    /// How many [`Watch::ready`] returns at most.
    pub fn batch(&self) -> usize {
        self.events.len()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
