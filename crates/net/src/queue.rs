//! Emptying a socket's error queue: transmit stamps, and what became of packets that failed on the way.

use std::io;
use std::os::fd::BorrowedFd;

use rping_engine::Timestamp;

use crate::batch::RxBatch;
use crate::cmsg::Control;
use crate::errqueue::{ErrorOrigin, SocketError};
use crate::stamp::{Stamps, Taker};
use crate::sys;

/// Stamps and errors per call.
const SLOTS: usize = 32;
/// More of the packet than [`SocketError::quoted`] keeps is not read.
const BYTES: usize = 128;

/// A transmit stamp as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub(crate) tag: u64,
    /// When the send call began.
    pub(crate) sent: Timestamp,
    /// Nanoseconds of `CLOCK_REALTIME` since 1970.
    pub(crate) real: Option<i64>,
    /// The interface's stamp instead, nanoseconds by its own clock.
    pub(crate) device: Option<i64>,
}

/// What is to be known about a socket's error queue.
#[derive(Debug)]
pub(crate) struct ErrorQueue {
    batch: RxBatch,
    /// `None` where no transmit stamps are asked for.
    pub(crate) stamps: Option<Stamps>,
    /// Something may be waiting beside awaited stamps.
    pub(crate) look: bool,
    /// Read and not handed over yet.
    pub(crate) stamped: Vec<Stamped>,
    /// Errors, each with the arrival stamp of the ICMP message, nanoseconds of `CLOCK_REALTIME` since 1970.
    pub(crate) failed: Vec<(SocketError, Option<i64>)>,
    /// What the kernel last said fits, for a send that failed with EMSGSIZE.
    pub(crate) local_mtu: Option<u32>,
}

/// What is asked for beside the kernel's stamps where the interface takes some too: one that is taken on the way out shall
/// not take the place of the kernel's, for an answer may bear the kernel's alone.
pub(crate) const fn by_interface(wanted: bool) -> u32 {
    if wanted {
        libc::SOF_TIMESTAMPING_RX_HARDWARE
            | libc::SOF_TIMESTAMPING_TX_HARDWARE
            | libc::SOF_TIMESTAMPING_RAW_HARDWARE
            | libc::SOF_TIMESTAMPING_OPT_TX_SWHW
    } else {
        0
    }
}

impl ErrorQueue {
    pub(crate) fn new(stamps: Option<Stamps>) -> ErrorQueue {
        ErrorQueue {
            batch: RxBatch::new(SLOTS, BYTES),
            stamps,
            look: false,
            stamped: Vec::with_capacity(SLOTS),
            failed: Vec::new(),
            local_mtu: None,
        }
    }

    /// Whether reading it may bring anything.
    pub(crate) fn worth_a_look(&self) -> bool {
        self.look || self.stamps.as_ref().is_some_and(Stamps::awaited)
    }

    /// Asks for receive stamps, and for transmit stamps if they are wanted, counted from 0.
    pub(crate) fn ask_for_stamps(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let receive = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        sys::set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &receive)?;
        if self.stamps.is_none() {
            return Ok(());
        }
        let transmit = libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        let both =
            receive | transmit | by_interface(self.stamps.as_ref().is_some_and(Stamps::are_by_interface));
        sys::set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &both)
    }

    /// Whether the interface owes the stamp of a packet that was handed over since `since`.
    pub(crate) fn is_owed_by_interface(&self, since: Timestamp) -> bool {
        self.stamps
            .as_ref()
            .is_some_and(|stamps| stamps.is_owed_by_interface(since))
    }

    /// The next `count` packets did not leave.
    pub(crate) fn not_sent(&mut self, count: usize) {
        if let Some(stamps) = &mut self.stamps {
            (0..count).for_each(|_| stamps.skip());
        }
    }

    /// Makes the kernel count from 0 again.
    pub(crate) fn restart_stamps(&mut self, fd: BorrowedFd<'_>) {
        if let Some(stamps) = &mut self.stamps {
            stamps.restart();
        }
        if self.ask_for_stamps(fd).is_err() {
            self.stamps = None;
        }
    }

    /// Reads all that is waiting into `stamped` and `failed`.
    pub(crate) fn drain(&mut self, fd: BorrowedFd<'_>) {
        self.look = false;
        // Whatever the error is, there is nothing to be read, and asking again would not help.
        while let Ok(count) = self.batch.receive(fd, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) {
            for i in 0..count {
                self.take(i);
            }
            if count < self.batch.slots() {
                break;
            }
        }
    }

    fn take(&mut self, i: usize) {
        let slot = self.batch.slot(i);
        let control = Control::read(slot.control);
        if let Some(number) = control.sent {
            let taker = match control.hardware {
                Some(_) => Taker::Interface,
                None => Taker::Kernel,
            };
            if let Some(awaited) = self.stamps.as_mut().and_then(|stamps| stamps.take(number, taker)) {
                self.stamped.push(Stamped {
                    tag: awaited.tag,
                    sent: awaited.sent,
                    real: control.stamp,
                    device: control.hardware,
                });
            }
        } else if let Some(error) = control.error {
            let destination = slot.name.read(slot.name_length);
            match SocketError::new(error, destination, slot.bytes) {
                // The send call that caused it said so itself.
                Some(error) if error.origin == ErrorOrigin::Local => self.local_mtu = error.mtu,
                Some(error) => self.failed.push((error, control.stamp)),
                None => {}
            }
        }
    }
}
