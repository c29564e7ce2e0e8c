//! Giving up privilege for good, and raising the one limit that needs none.
//!
//! Capabilities belong to threads: what is dropped here is dropped for the calling thread and for the threads it
//! starts afterwards. Call [`drop_all`] after the sockets are open and before the first other thread is started, or
//! in each thread. `/proc/self/task/*/status` shows the outcome (lines `CapInh` to `CapAmb` and `NoNewPrivs`). A
//! process of user 0 still owns root's files: that right comes from the user id, not from a capability.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words per set.
const VERSION: u32 = 0x2008_0522;

/// The capabilities that a part of rping may have reason to keep (`capabilities(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cap {
    /// `CAP_DAC_OVERRIDE`: root's right to every file.
    DacOverride = 1,
    /// `CAP_NET_BIND_SERVICE`: ports below 1024.
    NetBindService = 10,
    /// `CAP_NET_ADMIN`: firewall marks, counters of the packet filter.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: raw and packet sockets.
    NetRaw = 13,
}

/// Whether binding this port takes [`Cap::NetBindService`], unless the system was told otherwise
/// (`net.ipv4.ip_unprivileged_port_start`).
pub fn is_reserved(port: u16) -> bool {
    (1..1024).contains(&port)
}

/// The user who started the process, whatever rights the program's file lends it.
pub fn real_user() -> u32 {
    // SAFETY: no pointers are passed; it cannot fail.
    unsafe { libc::getuid() }
}

/// The user whose rights to files the process has.
pub fn effective_user() -> u32 {
    // SAFETY: no pointers are passed; it cannot fail.
    unsafe { libc::geteuid() }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether the calling thread may use `cap` now.
///
/// # Errors
/// What the system said; not expected.
pub fn holds(cap: Cap) -> io::Result<bool> {
    let [low, high] = get()?;
    let effective = u64::from(low.effective) | u64::from(high.effective) << 32;
    Ok(effective & (1 << cap as u8) != 0)
}

/// Whether the calling thread may use any capability at all.
///
/// # Errors
/// What the system said; not expected.
pub fn holds_any() -> io::Result<bool> {
    Ok(get()?.iter().any(|word| word.permitted != 0))
}

/// Gives up every capability of the calling thread for good (effective, permitted, inheritable and ambient sets;
/// the bounding set too where `CAP_SETPCAP` is held) and sets `no_new_privs`, so that no program run from here gets
/// any back.
///
/// # Errors
/// What the system said; not expected, and then what could be dropped is dropped.
pub fn drop_all() -> io::Result<()> {
    drop_all_but(&[])
}

/// The same, but keeps those of `keep` that the thread holds, in its effective and permitted sets.
///
/// # Errors
/// What the system said; not expected, and then what could be dropped is dropped.
pub fn drop_all_but(keep: &[Cap]) -> io::Result<()> {
    // Bounding first: it needs CAP_SETPCAP, which goes with the rest below. Numbers beyond the kernel's last
    // capability are refused with EINVAL, a missing CAP_SETPCAP with EPERM: either ends the loop.
    for number in 0..64 {
        if prctl(libc::PR_CAPBSET_DROP, number, 0).is_err() {
            break;
        }
    }
    let ambient = match prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
        0,
    ) {
        // Kernels before 4.3 have no ambient set.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    };
    let kept = keep.iter().fold(0u64, |set, cap| set | 1 << *cap as u8);
    let words = match get() {
        Ok(held) => [
            reduced(held[0], kept as u32),
            reduced(held[1], (kept >> 32) as u32),
        ],
        Err(_) => [Word::default(); 2],
    };
    let sets = set(&words);
    let no_new = prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0);
    ambient.and(sets).and(no_new)
}

fn reduced(held: Word, kept: u32) -> Word {
    let permitted = held.permitted & kept;
    Word {
        effective: permitted,
        permitted,
        inheritable: 0,
    }
}

fn prctl(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used in this file take numbers alone, no pointers.
    if unsafe { libc::prctl(option, first, second, zero, zero) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn get() -> io::Result<[Word; 2]> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: version 3 has the kernel write two words; both pointers are valid for that during the call. Pid 0 is
    // the calling thread.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(words)
}

fn set(words: &[Word; 2]) -> io::Result<()> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: version 3 has the kernel read two words; both pointers are valid for that during the call. Pid 0 is
    // the calling thread.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Raises the soft limit of open descriptors to the hard one and returns it; each connect in flight holds one.
///
/// # Errors
/// What the system said; not expected.
pub fn raise_nofile() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writes during the call.
    crate::sys::retry(|| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: `raised` is valid for reads during the call.
        crate::sys::retry(|| unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) })?;
        limit = raised;
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a line of this thread's own status file.
    fn status(name: &str) -> String {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }

    fn in_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn after_the_drop_the_thread_and_its_children_show_zeros_and_no_new_privs() {
        in_a_thread(|| {
            // Without CAP_SETPCAP the bounding set stays, and no_new_privs alone shuts that door.
            let setpcap = get().unwrap()[0].effective & 1 << 8 != 0;
            drop_all().unwrap();
            let zeros = move || {
                for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                    assert_eq!(status(set), "0000000000000000", "{set}");
                }
                if setpcap {
                    assert_eq!(status("CapBnd"), "0000000000000000");
                }
                assert_eq!(status("NoNewPrivs"), "1");
                assert!(!holds(Cap::NetRaw).unwrap() && !holds_any().unwrap());
            };
            zeros();
            in_a_thread(zeros);
        });
    }

    #[test]
    fn what_is_kept_is_kept_alone_and_only_if_it_was_held() {
        in_a_thread(|| {
            let held = holds(Cap::NetRaw).unwrap();
            drop_all_but(&[Cap::NetRaw]).unwrap();
            let expected = if held {
                "0000000000002000"
            } else {
                "0000000000000000"
            };
            assert_eq!(status("CapEff"), expected);
            assert_eq!(status("CapPrm"), expected);
            assert_eq!(holds(Cap::NetRaw).unwrap(), held);
            assert_eq!(holds_any().unwrap(), held);
            assert!(!holds(Cap::NetAdmin).unwrap());
            drop_all().unwrap();
            assert!(drop_all_but(&[Cap::NetRaw]).is_ok() && !holds(Cap::NetRaw).unwrap());
        });
    }

    #[test]
    fn the_descriptor_limit_ends_at_the_hard_one() {
        let limit = raise_nofile().unwrap();
        assert!(limit >= 64);
        assert_eq!(raise_nofile().unwrap(), limit);
    }
}
