//! What a host shows of itself and of its packets: evidence for a verdict, for people and for scripts.
//!
//! [`sockets`] is the article's `netstat`: where data is held up, and by whom. [`capture`] writes the packets of a run
//! down, and reads captures of any origin; [`trace`] compares two of them. All of it reads kernel interfaces and files; nothing here sends a packet.
#![forbid(unsafe_code)]

pub mod capture;
pub mod sockets;
pub mod trace;
