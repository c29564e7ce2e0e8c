//! Classic socket filters, built from checks that cannot be put together wrongly.
//!
//! A filter is a chain of comparisons with constants at fixed places of the packet; a packet that fails one is
//! dropped in the kernel, before it wakes anybody. The filter machine is described in the kernel's
//! `Documentation/networking/filter.rst`.

mod capture;

use std::io;
use std::os::fd::BorrowedFd;

pub use capture::Carries;

// Opcodes: class | mode | size, from `linux/bpf_common.h`.
const LD_B_ABS: u16 = 0x30;
const LD_H_ABS: u16 = 0x28;
const LD_W_ABS: u16 = 0x20;
const LD_H_IND: u16 = 0x48;
const LDX_MSH: u16 = 0xb1;
const ALU_AND_K: u16 = 0x54;
const JMP_JEQ_K: u16 = 0x15;
const RET_K: u16 = 0x06;
/// Accept the whole packet.
const WHOLE: u32 = u32::MAX;

/// A filter under construction: packets that pass every check are kept, all others dropped.
///
/// Offsets count from the first byte that the socket sees: the link-layer header on raw packet sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Opcode, operand, and whether it is a comparison (which jumps to the final "drop" when it fails).
    code: Vec<(u16, u32)>,
    /// A program with jumps of its own instead: opcode, jumps, operand.
    whole: Option<Vec<(u16, u8, u8, u32)>>,
}

impl Filter {
    /// Keeps everything.
    pub const fn new() -> Filter {
        Filter {
            code: Vec::new(),
            whole: None,
        }
    }

    /// Keeps nothing. Set while a socket is being made ready, so that it hears nothing from before.
    pub fn nothing() -> Filter {
        // No packet has a byte at this offset; a load outside the packet drops it.
        Filter::new().byte(u32::MAX >> 4, 0)
    }

    /// Keeps packets whose byte at `offset` is `value`.
    pub fn byte(self, offset: u32, value: u8) -> Filter {
        self.load(LD_B_ABS, offset).equals(u32::from(value))
    }

    /// Keeps packets whose 16-bit number at `offset`, in network order, is `value`.
    pub fn half(self, offset: u32, value: u16) -> Filter {
        self.load(LD_H_ABS, offset).equals(u32::from(value))
    }

    /// Keeps packets whose 32-bit number at `offset`, in network order, is `value`.
    pub fn word(self, offset: u32, value: u32) -> Filter {
        self.load(LD_W_ABS, offset).equals(value)
    }

    /// Keeps packets whose 16-bit number at `offset` is `value` in the bits of `mask`.
    pub fn half_masked(mut self, offset: u32, mask: u16, value: u16) -> Filter {
        self = self.load(LD_H_ABS, offset);
        self.code.push((ALU_AND_K, u32::from(mask)));
        self.equals(u32::from(value))
    }

    /// Finds the end of the IPv4 header that begins at `offset`, for [`Filter::half_masked_behind`].
    pub fn behind_ipv4(self, offset: u32) -> Filter {
        self.load(LDX_MSH, offset)
    }

    /// Keeps packets whose 16-bit number is `value` in the bits of `mask`, so many bytes behind the IPv4 header (of which
    /// [`Filter::behind_ipv4`] knows the length): `offset` is counted from the header's beginning.
    pub fn half_masked_behind(mut self, offset: u32, mask: u16, value: u16) -> Filter {
        self = self.load(LD_H_IND, offset);
        self.code.push((ALU_AND_K, u32::from(mask)));
        self.equals(u32::from(value))
    }

    fn load(mut self, opcode: u16, offset: u32) -> Filter {
        self.code.push((opcode, offset));
        self
    }

    fn equals(mut self, value: u32) -> Filter {
        self.code.push((JMP_JEQ_K, value));
        self
    }

    fn program(&self) -> Vec<libc::sock_filter> {
        if let Some(whole) = &self.whole {
            let instruction = |&(code, jt, jf, k): &(u16, u8, u8, u32)| libc::sock_filter { code, jt, jf, k };
            return whole.iter().map(instruction).collect();
        }
        let mut program: Vec<libc::sock_filter> = Vec::with_capacity(self.code.len() + 2);
        for (place, &(code, k)) in self.code.iter().enumerate() {
            // A failed comparison goes to the last instruction: past the rest of the checks and the "keep".
            let jf = match code {
                JMP_JEQ_K => u8::try_from(self.code.len() - place).unwrap_or(u8::MAX),
                _ => 0,
            };
            program.push(libc::sock_filter { code, jt: 0, jf, k });
        }
        program.push(libc::sock_filter {
            code: RET_K,
            jt: 0,
            jf: 0,
            k: WHOLE,
        });
        program.push(libc::sock_filter {
            code: RET_K,
            jt: 0,
            jf: 0,
            k: 0,
        });
        program
    }

    /// Puts the filter on a socket, replacing the one it had.
    ///
    /// # Errors
    /// What the system said: `EINVAL` where the kernel does not take the program (more than 250 checks).
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut program = self.program();
        let fprog = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_mut_ptr(),
        };
        // The kernel copies the program during the call; `program` lives until after it.
        crate::sys::set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &fprog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// The filter of a UDP socket sees the packet from the UDP header on: its payload begins at byte 8.
    fn passes(filter: &Filter, payload: &[u8]) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        filter.attach(socket.as_fd()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket.send_to(payload, socket.local_addr().unwrap()).unwrap();
        socket.recv(&mut [0; 64]).is_ok()
    }

    #[test]
    fn a_packet_passes_only_when_every_check_holds() {
        let filter = Filter::new()
            .byte(8, 1)
            .half(9, 0x0203)
            .word(11, 0x0405_0607)
            .half_masked(15, 0x0ff0, 0x0120);
        let good = [1, 2, 3, 4, 5, 6, 7, 0xf1, 0x2f];
        assert!(passes(&filter, &good));
        for place in 0..good.len() {
            let mut bad = good;
            bad[place] ^= 0x11;
            assert!(!passes(&filter, &bad), "byte {place}");
        }
        assert!(!passes(&filter, &good[..8]), "a load beyond the packet drops it");
        let mut unmasked = good;
        unmasked[8] ^= 0x01;
        assert!(passes(&filter, &unmasked));
    }

    #[test]
    fn an_empty_filter_keeps_everything_and_nothing_keeps_nothing() {
        assert!(passes(&Filter::new(), b"x"));
        assert!(!passes(&Filter::nothing(), b"x"));
    }
}
