//! Captures: writing the packets of a run, and reading captures of any origin.

pub mod packet;
mod read;
mod record;
mod select;
mod write;

pub use read::{Interface, ReadError, Reader, Record};
pub use record::{Recorded, Recorder, RecorderError, Settings};
pub use rping_net::bpf::Carries;
pub use select::Selection;
pub use write::{Way, Writer};

/// What a captured packet begins with (`LINKTYPE_…` of the pcap registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkType {
    /// An address family, then IP: BSD's loopback (0, 108).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// IP itself (101, and what the kernel's own headers call it: 12, 14; 228 IPv4, 229 IPv6).
    Raw,
    /// Linux "cooked", version 1 (113).
    Cooked,
    /// Linux "cooked", version 2 (276).
    Cooked2,
    /// Another, which is not read here.
    Other(u16),
}

impl LinkType {
    /// By its number in a file.
    pub fn from_number(number: u16) -> LinkType {
        match number {
            0 | 108 => LinkType::Null,
            1 => LinkType::Ethernet,
            12 | 14 | 101 | 228 | 229 => LinkType::Raw,
            113 => LinkType::Cooked,
            276 => LinkType::Cooked2,
            other => LinkType::Other(other),
        }
    }

    /// Its number in a file.
    pub fn number(self) -> u16 {
        match self {
            LinkType::Null => 0,
            LinkType::Ethernet => 1,
            LinkType::Raw => 101,
            LinkType::Cooked => 113,
            LinkType::Cooked2 => 276,
            LinkType::Other(number) => number,
        }
    }
}
