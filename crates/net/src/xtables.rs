//! The rules of the older iptables, which the kernel keeps beside nf_tables; reading them takes `CAP_NET_ADMIN`.
//!
//! Layouts are `linux/netfilter_ipv4/ip_tables.h`, its twin for IPv6, and `linux/netfilter/x_tables.h`: one block of bytes
//! with the rules of all chains, in which jumps are byte offsets. What is read is told in the words of
//! [`nftables`](crate::netlink::nftables), so that one judge does for both.

mod parse;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};

use crate::netlink::nftables::Ruleset;
use crate::sys;

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`; the numbers of IPv6 are the same.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `struct ipt_getinfo`: name, hooks in use, five entries, five policies, count, size.
const INFO: usize = NAME + 4 + 20 + 20 + 4 + 4;
/// `struct ipt_get_entries` before its rules.
const ENTRIES: usize = 40;
/// More rules than that are not read, bytes.
const MOST: usize = 8 << 20;

/// The tables that are there in the calling thread's network namespace, IPv4 or IPv6. Asking for one that is not would
/// make it.
pub fn tables(v6: bool) -> Vec<String> {
    let name = if v6 { "ip6_tables_names" } else { "ip_tables_names" };
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Reads one of [`tables`].
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`; [`io::ErrorKind::InvalidData`] for a table of more than 8 MiB, or one that cannot be made
/// sense of; what the kernel said otherwise.
pub fn read(v6: bool, table: &str) -> io::Result<Ruleset> {
    let socket = match v6 {
        false => UdpSocket::bind("0.0.0.0:0")?,
        true => UdpSocket::bind("[::]:0")?,
    };
    let level = if v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    let mut info = vec![0; INFO];
    name(&mut info, table)?;
    ask(&socket, level, GET_INFO, &mut info)?;
    let size = parse::word(&info, INFO - 4).unwrap_or(0) as usize;
    if size > MOST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more rules than are read",
        ));
    }
    let mut entries = vec![0; ENTRIES + size];
    name(&mut entries, table)?;
    if let Some(place) = entries.get_mut(NAME..NAME + 4) {
        place.copy_from_slice(&(size as u32).to_ne_bytes());
    }
    ask(&socket, level, GET_ENTRIES, &mut entries)?;
    parse::ruleset(v6, table, &info, entries.get(ENTRIES..).unwrap_or_default())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a layout that is not known"))
}

fn name(bytes: &mut [u8], table: &str) -> io::Result<()> {
    let text = table.as_bytes();
    match bytes.get_mut(..text.len()) {
        Some(place) if text.len() < NAME => place.copy_from_slice(text),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(())
}

fn ask(socket: &UdpSocket, level: i32, what: i32, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = bytes.len() as libc::socklen_t;
    sys::retry(|| {
        // SAFETY: `bytes` and `length` are valid for writes during the call, and `length` says the size of `bytes`.
        unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                level,
                what,
                bytes.as_mut_ptr().cast(),
                &raw mut length,
            )
        }
    })
    .map(drop)
}

/// Reads any bytes as a table, its description first: for the fuzzer.
pub(crate) fn read_all(bytes: &[u8]) {
    if let Some((info, entries)) = bytes.split_at_checked(INFO) {
        for v6 in [false, true] {
            let _ = parse::ruleset(v6, "filter", info, entries);
        }
    }
}
