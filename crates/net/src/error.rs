//! What ends a run on this crate's side: each error names the operation in words and keeps the system's own.

use std::io;

/// An operation on the local system that failed.
///
/// Failures that concern one probe (no route, local firewall, …) are data, not errors: see
/// [`rping_engine::Left::NotSent`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{operation}: {source}")]
    Os {
        /// What was tried, in words, such as "bind to the source address".
        operation: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Neither kind of ICMP socket may be opened.
    #[error(
        "no permission for ICMP sockets: run `setcap cap_net_raw+ep` on the rping program, or allow your group \
         in the sysctl net.ipv4.ping_group_range, or run as root"
    )]
    NoIcmpPermission {
        /// What the operating system said to the last attempt.
        source: io::Error,
    },
    /// Raw sockets may not be opened.
    #[error(
        "no permission for raw sockets, which half-open probes take: run `setcap cap_net_raw+ep` on the rping \
         program, or run as root; a TCP connect (without --syn) takes no privilege"
    )]
    NoRawPermission {
        /// What the operating system said.
        source: io::Error,
    },
    /// Frames of our own have no way to any target.
    #[error("--link: {why}")]
    NoLane {
        /// Why, in words.
        why: String,
    },
    /// No interface bears this name.
    #[error("no interface is called {name:?}")]
    NoSuchInterface {
        /// As it was asked for.
        name: String,
    },
    /// A setting that cannot be applied to this kind of socket or address.
    #[error("{what}")]
    Unsupported {
        /// Which and why, in words.
        what: &'static str,
    },
}

impl Error {
    /// Wraps what the operating system said about `operation`; made for `map_err(Error::os("…"))`.
    pub fn os(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Os { operation, source }
    }

    /// The last system error of this thread, said about `operation`.
    pub fn last(operation: &'static str) -> Error {
        Error::Os {
            operation,
            source: io::Error::last_os_error(),
        }
    }

    /// Whether the other side refused a connection.
    pub fn is_refused(&self) -> bool {
        self.errno() == Some(libc::ECONNREFUSED)
    }

    /// Whether the other side said nothing until the time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Os { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }

    /// Whether a local address or port is taken by somebody else.
    pub fn is_in_use(&self) -> bool {
        self.errno() == Some(libc::EADDRINUSE)
    }

    /// Whether this user may not.
    pub fn is_denied(&self) -> bool {
        self.errno() == Some(libc::EACCES)
    }

    /// The operating system's error number behind it, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Os { source, .. }
            | Error::NoIcmpPermission { source }
            | Error::NoRawPermission { source } => source.raw_os_error(),
            Error::NoLane { .. } | Error::NoSuchInterface { .. } | Error::Unsupported { .. } => None,
        }
    }
}
