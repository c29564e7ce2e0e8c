//! Many datagrams per system call: buffers made once, pointers to them set once.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::address::Name;
use crate::sys;

/// Room for control messages per received datagram: stamp (64), TTL, TOS (24 each), destination (40), or an extended
/// error with its offender (64) beside the stamp.
const RX_CONTROL: usize = 192;
/// Room for control messages per sent datagram: the stamp's number (24), the source address (40).
pub(crate) const TX_CONTROL: usize = 72;

/// A batch of received datagrams.
#[derive(Debug)]
pub(crate) struct RxBatch {
    // `Vec` rather than `Box`: the headers hold pointers into the others, which must survive a move of this struct.
    headers: Vec<libc::mmsghdr>,
    _vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<[u64; RX_CONTROL / 8]>,
    bytes: Vec<u8>,
    size: usize,
    /// How many headers the last call may have written to.
    used: usize,
}

// SAFETY: the raw pointers in `headers` and `_vectors` point into heap buffers that the same struct owns, never hands
// out and never reallocates; nothing is tied to a thread.
unsafe impl Send for RxBatch {}

/// One received datagram, or error-queue entry.
pub(crate) struct Slot<'a> {
    pub(crate) name: &'a Name,
    pub(crate) name_length: usize,
    pub(crate) control: &'a [u8],
    pub(crate) bytes: &'a [u8],
    /// How long it was; beyond the buffer only where `MSG_TRUNC` asked for the whole.
    pub(crate) length: usize,
    /// It was longer than the buffer.
    pub(crate) cut: bool,
}

impl RxBatch {
    /// `slots` datagrams of up to `size` bytes.
    pub(crate) fn new(slots: usize, size: usize) -> RxBatch {
        let mut bytes = vec![0u8; slots * size];
        let mut names = vec![Name::empty(); slots];
        let mut controls = vec![[0u64; RX_CONTROL / 8]; slots];
        // SAFETY: all-zero bytes are a valid value of these plain C structs (null pointers, zero lengths).
        let (mut headers, mut vectors): (Vec<libc::mmsghdr>, Vec<libc::iovec>) =
            unsafe { (vec![zeroed(); slots], vec![zeroed(); slots]) };
        let (base, name, control, vector) = (
            bytes.as_mut_ptr(),
            names.as_mut_ptr(),
            controls.as_mut_ptr(),
            vectors.as_mut_ptr(),
        );
        for (i, header) in headers.iter_mut().enumerate() {
            // SAFETY: `i` is below `slots`, so every pointer stays within its own buffer of `slots` elements; the
            // vector is written before anybody reads it.
            unsafe {
                *vector.add(i) = libc::iovec {
                    iov_base: base.add(i * size).cast(),
                    iov_len: size,
                };
                header.msg_hdr.msg_iov = vector.add(i);
                header.msg_hdr.msg_name = name.add(i).cast();
                header.msg_hdr.msg_control = control.add(i).cast();
            }
            header.msg_hdr.msg_iovlen = 1;
        }
        RxBatch {
            headers,
            _vectors: vectors,
            names,
            controls,
            bytes,
            size,
            used: slots,
        }
    }

    /// Writes to the first page of every slot, so that it is there.
    pub(crate) fn touch(&mut self) {
        self.bytes.chunks_mut(self.size).for_each(|slot| {
            if let Some(first) = slot.first_mut() {
                *first = 0xff;
            }
        });
    }

    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    fn refresh(&mut self) {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = Name::SIZE as libc::socklen_t;
            header.msg_hdr.msg_controllen = RX_CONTROL as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.used = 0;
    }

    /// Receives one and does not look for a second, which takes the kernel as long again as finding none; fails with
    /// EAGAIN when none is there.
    pub(crate) fn receive_one(&mut self, fd: BorrowedFd<'_>, flags: i32) -> io::Result<usize> {
        self.refresh();
        self.used = self.slots().min(1);
        let Some(first) = self.headers.first_mut() else {
            return Ok(0);
        };
        // SAFETY: the header points to a name, a vector and control space of the lengths it says, all owned by `self`, which
        // is borrowed mutably, so nobody looks at them meanwhile.
        let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut first.msg_hdr, flags) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        first.msg_len = got as libc::c_uint;
        Ok(1)
    }

    /// Receives as many as are waiting, up to [`RxBatch::slots`]; fails with EAGAIN when none is.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, flags: i32) -> io::Result<usize> {
        self.refresh();
        let got = sys::retry(|| {
            // SAFETY: every header points to a name, a vector and control space of the lengths it says, all owned by
            // `self`, which is borrowed mutably, so nobody looks at them meanwhile; no timeout is given.
            unsafe {
                libc::recvmmsg(
                    fd.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    self.headers.len() as libc::c_uint,
                    flags as _,
                    std::ptr::null_mut(),
                )
            }
        });
        // A failed call may have touched the first header.
        self.used = got.as_ref().map_or(1, |&n| n as usize).min(self.slots());
        got.map(|_| self.used)
    }

    /// What is in slot `i` of the last call.
    pub(crate) fn slot(&self, i: usize) -> Slot<'_> {
        let header = &self.headers[i];
        let start = i * self.size;
        let length = (header.msg_len as usize).min(self.size);
        let control_length = header.msg_hdr.msg_controllen.min(RX_CONTROL);
        let words: &[u64] = &self.controls[i];
        // SAFETY: the words are initialised, a byte needs no alignment, and the length is within the array's.
        let control = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), control_length) };
        Slot {
            name: &self.names[i],
            name_length: header.msg_hdr.msg_namelen as usize,
            control,
            bytes: &self.bytes[start..start + length],
            length: header.msg_len as usize,
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }
}

/// A batch of datagrams to be sent.
#[derive(Debug)]
pub(crate) struct TxBatch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<[u64; TX_CONTROL / 8]>,
    filled: usize,
}

// SAFETY: as for `RxBatch`; what `vectors` point to belongs to a caller, is set anew by each `fill` and used only while
// that caller's borrow lasts (see `Filled`).
unsafe impl Send for TxBatch {}

/// A batch whose headers point into a caller's bytes.
pub(crate) struct Filled<'a> {
    batch: &'a mut TxBatch,
    bytes: &'a [u8],
}

impl TxBatch {
    /// Room for `slots` datagrams.
    pub(crate) fn new(slots: usize) -> TxBatch {
        // SAFETY: all-zero bytes are a valid value of these plain C structs.
        let (headers, vectors) = unsafe { (vec![zeroed(); slots], vec![zeroed(); slots]) };
        TxBatch {
            headers,
            vectors,
            names: vec![Name::empty(); slots],
            controls: vec![[0; TX_CONTROL / 8]; slots],
            filled: 0,
        }
    }

    /// Starts a batch of parts of `bytes`.
    pub(crate) fn start<'a>(&'a mut self, bytes: &'a [u8]) -> Filled<'a> {
        self.filled = 0;
        Filled { batch: self, bytes }
    }
}

impl Filled<'_> {
    /// Adds a datagram: `range` of the bytes (cut to what there is), to `to` unless the socket is connected; `control` writes
    /// its control messages and returns their length. Does nothing once the batch is full.
    pub(crate) fn push(
        &mut self,
        range: std::ops::Range<usize>,
        to: Option<std::net::SocketAddr>,
        control: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let i = self.batch.filled;
        if i >= self.batch.headers.len() {
            return;
        }
        let part = self.bytes.get(range).unwrap_or_default();
        let name_length = to.map_or(0, |to| self.batch.names[i].write(to));
        let words: &mut [u64] = &mut self.batch.controls[i];
        // SAFETY: the words are initialised, any bytes are valid words, and the length is the array's own.
        let room = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), TX_CONTROL) };
        let control_length = control(room).min(TX_CONTROL);
        self.batch.vectors[i] = libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        };
        // SAFETY: `i` is within each of these vectors, which are never reallocated.
        let (vector, name, control) = unsafe {
            (
                self.batch.vectors.as_mut_ptr().add(i),
                self.batch.names.as_mut_ptr().add(i),
                self.batch.controls.as_mut_ptr().add(i),
            )
        };
        let header = &mut self.batch.headers[i].msg_hdr;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_name = if name_length == 0 {
            std::ptr::null_mut()
        } else {
            name.cast()
        };
        header.msg_namelen = name_length as libc::socklen_t;
        header.msg_control = if control_length == 0 {
            std::ptr::null_mut()
        } else {
            control.cast()
        };
        header.msg_controllen = control_length as _;
        self.batch.filled = i + 1;
    }

    /// Leaves the control messages of all datagrams from `first` on away.
    pub(crate) fn without_control(&mut self, first: usize) {
        for header in self.batch.headers.iter_mut().take(self.batch.filled).skip(first) {
            header.msg_hdr.msg_controllen = 0;
        }
    }

    /// Sends the datagrams from number `first` on, without waiting; returns how many went, or why the first of them did
    /// not.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        self.send_with(fd, first, libc::MSG_DONTWAIT)
    }

    /// The same with these flags.
    pub(crate) fn send_with(&mut self, fd: BorrowedFd<'_>, first: usize, flags: i32) -> io::Result<usize> {
        let Some(headers) = self.batch.headers.get_mut(first..self.batch.filled) else {
            return Ok(0);
        };
        if let [only] = headers {
            let sent = sys::retry(|| {
                // SAFETY: as below, for one header; `retry` is told of a failure by a negative number, as there.
                let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const only.msg_hdr, flags) };
                if sent < 0 {
                    -1
                } else {
                    1
                }
            });
            return sent.map(|sent| sent as usize);
        }
        sys::retry(|| {
            // SAFETY: every header in the range was filled by `push` with pointers into `self.batch`, borrowed mutably,
            // and into `self.bytes`, borrowed as long as `self`; the kernel only reads the latter.
            unsafe {
                libc::sendmmsg(
                    fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as libc::c_uint,
                    flags as _,
                )
            }
        })
        .map(|sent| sent as usize)
    }
}

const _: () = assert!(size_of::<Name>() == Name::SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_batch_arrives_in_order_with_its_sender_and_cut_to_the_buffer() {
        let from = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let to = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = to.local_addr().expect("address");
        let bytes: Vec<u8> = (0..100).collect();
        let mut tx = TxBatch::new(4);
        let mut filled = tx.start(&bytes);
        filled.push(0..10, Some(address), |_| 0);
        filled.push(10..100, Some(address), |_| 0);
        filled.push(90..200, Some(address), |_| 0);
        assert_eq!(filled.send(from.as_fd(), 0).expect("send"), 3);

        let mut rx = RxBatch::new(8, 64);
        let mut moved = Vec::new();
        assert_eq!(rx.receive(to.as_fd(), libc::MSG_DONTWAIT).expect("receive"), 3);
        moved.push(rx);
        let mut rx = moved.pop().expect("just pushed");
        assert_eq!((rx.slot(0).bytes, rx.slot(0).cut), (&bytes[..10], false));
        assert_eq!((rx.slot(1).bytes, rx.slot(1).cut), (&bytes[10..74], true));
        assert!(
            rx.slot(2).bytes.is_empty(),
            "a range beyond the bytes is an empty datagram"
        );
        let sender = from.local_addr().ok();
        assert_eq!(rx.slot(1).name.read(rx.slot(1).name_length), sender);
        let again = rx
            .receive(to.as_fd(), libc::MSG_DONTWAIT)
            .expect_err("nothing is left");
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_full_batch_takes_no_more_and_an_empty_one_sends_nothing() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let to = socket.local_addr().ok();
        let mut tx = TxBatch::new(2);
        assert_eq!(tx.start(&[]).send(socket.as_fd(), 0).expect("nothing to do"), 0);
        let mut filled = tx.start(&[1]);
        for _ in 0..5 {
            filled.push(0..1, to, |_| 0);
        }
        assert_eq!(filled.send(socket.as_fd(), 0).expect("send"), 2);
        assert_eq!(filled.send(socket.as_fd(), 2).expect("nothing left"), 0);
    }
}
