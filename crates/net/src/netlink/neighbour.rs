//! The kernel's neighbour table: ARP's and NDP's memory.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::message::{address, u16_at, u32_at, Attributes};
use super::{address_bytes, family, Netlink};

/// `struct ndmsg`: family, 3 bytes of padding, index, state, flags, type.
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;

/// The state of a neighbour entry (RFC 4861 section 7.3.2, with Linux's additions).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NeighbourState {
    /// The table holds an entry without a state, before its first use.
    None,
    /// Being resolved: requests are out, nobody has answered yet.
    Incomplete,
    /// Resolved, and heard from within the reachable time (about 30 s).
    Reachable,
    /// Resolved once; not heard from lately and not used since.
    Stale,
    /// Resolved once and in use again; a unicast request follows shortly.
    Delay,
    /// Resolved once; unicast requests are out.
    Probe,
    /// Nobody answered.
    Failed,
    /// The interface or address needs no resolution (loopback, multicast, point to point).
    NoArp,
    /// Entered by hand.
    Permanent,
}

impl NeighbourState {
    fn from_bits(bits: u16) -> NeighbourState {
        match bits {
            0x01 => NeighbourState::Incomplete,
            0x02 => NeighbourState::Reachable,
            0x04 => NeighbourState::Stale,
            0x08 => NeighbourState::Delay,
            0x10 => NeighbourState::Probe,
            0x20 => NeighbourState::Failed,
            0x40 => NeighbourState::NoArp,
            0x80 => NeighbourState::Permanent,
            _ => NeighbourState::None,
        }
    }

    /// Whether nothing can be sent to this neighbour: it was never resolved, or resolution failed.
    pub const fn is_unresolved(self) -> bool {
        matches!(self, NeighbourState::Incomplete | NeighbourState::Failed)
    }

    /// The word `ip neighbour` uses, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            NeighbourState::None => "none",
            NeighbourState::Incomplete => "incomplete",
            NeighbourState::Reachable => "reachable",
            NeighbourState::Stale => "stale",
            NeighbourState::Delay => "delay",
            NeighbourState::Probe => "probe",
            NeighbourState::Failed => "failed",
            NeighbourState::NoArp => "noarp",
            NeighbourState::Permanent => "permanent",
        }
    }
}

/// One entry of the neighbour table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Whose entry.
    pub address: IpAddr,
    /// On which interface.
    pub ifindex: u32,
    /// The link-layer address, where one is known and six bytes long.
    pub mac: Option<[u8; 6]>,
    /// How fresh the knowledge is.
    pub state: NeighbourState,
    /// How long ago the neighbour was last known to be reachable, cut to whole [`GRAIN`]s.
    pub confirmed_ago: Option<Duration>,
    /// How long ago the entry's state or address last changed, cut to whole [`GRAIN`]s.
    pub updated_ago: Option<Duration>,
}

/// The grain of the ages in [`Neighbour`]: the kernel tells them in `USER_HZ` ticks, which is 100 per second on
/// every architecture that Rust's standard library runs on.
pub const GRAIN: Duration = Duration::from_millis(10);

/// The entry of `address` on interface `ifindex`, or `None` when there is none.
///
/// # Errors
/// What the kernel said to the question, `ENODEV` for an interface that is not there among them.
pub fn neighbour(address: IpAddr, ifindex: u32) -> io::Result<Option<Neighbour>> {
    let mut netlink = Netlink::open()?;
    let mut found = None;
    let asked = netlink.ask(
        libc::RTM_GETNEIGH,
        &ndmsg(family(address), ifindex),
        &[(NDA_DST, &address_bytes(address))],
        |body| found = parse(body),
    );
    match asked {
        Ok(()) => Ok(found),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(None),
            // Kernels before 5.0 know the dump alone.
            Some(libc::EOPNOTSUPP | libc::EINVAL) => Ok(neighbours(ifindex)?
                .into_iter()
                .find(|entry| entry.address == address)),
            _ => Err(error),
        },
    }
}

/// All entries of one interface, both families, proxy entries left out.
///
/// # Errors
/// What the kernel said to the question.
pub fn neighbours(ifindex: u32) -> io::Result<Vec<Neighbour>> {
    const NDA_IFINDEX: u16 = 8;
    let mut found = Netlink::open()?.dump(
        libc::RTM_GETNEIGH,
        &ndmsg(libc::AF_UNSPEC as u8, 0),
        &[(NDA_IFINDEX, &ifindex.to_ne_bytes())],
        parse,
    )?;
    found.retain(|entry| entry.ifindex == ifindex);
    Ok(found)
}

/// Takes entries out of the kernel's neighbour table: for a sweep that puts back what it took, so that the table, of which
/// a machine has one, does not fill up with addresses that nobody will speak to again. Takes `CAP_NET_ADMIN`.
pub struct Forgetter(Netlink);

impl std::fmt::Debug for Forgetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forgetter").finish_non_exhaustive()
    }
}

impl Forgetter {
    /// Opens the conversation; whether it may forget anything shows with the first entry.
    ///
    /// # Errors
    /// When the descriptor limit is reached.
    pub fn open() -> io::Result<Forgetter> {
        Netlink::open().map(Forgetter)
    }

    /// Takes out the entry of `address` on interface `ifindex`; one that is not there is no error.
    ///
    /// # Errors
    /// `EPERM` without the capability, else what the kernel said.
    pub fn forget(&mut self, address: IpAddr, ifindex: u32) -> io::Result<()> {
        let body = ndmsg(family(address), ifindex);
        match self
            .0
            .command(libc::RTM_DELNEIGH, &body, &[(NDA_DST, &address_bytes(address))])
        {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }
}

/// How full one family's neighbour table is; all network namespaces of a machine share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFill {
    /// Entries in it now.
    pub entries: u32,
    /// With this many, no further one is made unless one can be evicted (`gc_thresh3`).
    pub most: u32,
}

/// How full the neighbour table of IPv4 or IPv6 is.
///
/// # Errors
/// What the kernel said to the question; `NotFound` if it has no such table.
pub fn table_fill(v6: bool) -> io::Result<TableFill> {
    const RTM_GETNEIGHTBL: u16 = 66;
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let tables = Netlink::open()?.dump(RTM_GETNEIGHTBL, &[family, 0, 0, 0], &[], |body| {
        parse_table(body).filter(|_| body.first() == Some(&family))
    })?;
    tables
        .first()
        .copied()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The message that describes a table; those that describe its settings per interface lack the numbers.
fn parse_table(body: &[u8]) -> Option<TableFill> {
    const NDTMSG: usize = 4;
    const NDTA_THRESH3: u16 = 4;
    const NDTA_CONFIG: u16 = 5;
    let (mut most, mut entries) = (None, None);
    for (kind, value) in Attributes::after(body, NDTMSG) {
        match kind {
            NDTA_THRESH3 => most = u32_at(value, 0),
            // `struct ndt_config`: two 16-bit lengths, entries, …
            NDTA_CONFIG => entries = u32_at(value, 4),
            _ => {}
        }
    }
    Some(TableFill {
        entries: entries?,
        most: most?,
    })
}

fn ndmsg(family: u8, ifindex: u32) -> [u8; NDMSG] {
    let mut body = [0; NDMSG];
    body[0] = family;
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body
}

fn parse(body: &[u8]) -> Option<Neighbour> {
    let ifindex = u32_at(body, 4)?;
    let state = NeighbourState::from_bits(u16_at(body, 8)?);
    let mut entry = Neighbour {
        address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        ifindex,
        mac: None,
        state,
        confirmed_ago: None,
        updated_ago: None,
    };
    let mut whose = None;
    for (kind, value) in Attributes::after(body, NDMSG) {
        match kind {
            NDA_DST => whose = address(value),
            NDA_LLADDR => entry.mac = <[u8; 6]>::try_from(value).ok(),
            // `struct nda_cacheinfo`: confirmed, used, updated, each an age in USER_HZ ticks; then a count.
            NDA_CACHEINFO => {
                entry.confirmed_ago = u32_at(value, 0).map(ticks);
                entry.updated_ago = u32_at(value, 8).map(ticks);
            }
            _ => {}
        }
    }
    entry.address = whose?;
    Some(entry)
}

fn ticks(count: u32) -> Duration {
    GRAIN.saturating_mul(count)
}

/// For the fuzzer.
pub(super) fn read_all(body: &[u8]) {
    let _ = (parse(body), parse_table(body));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_with_mac_state_and_ages() {
        let mut body = ndmsg(libc::AF_INET as u8, 3).to_vec();
        body[8] = 0x02;
        let mut attribute = |kind: u16, value: &[u8]| {
            body.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        };
        attribute(NDA_DST, &[10, 0, 0, 2]);
        attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, 9]);
        let ages: Vec<u8> = [150u32, 3, 7, 1].iter().flat_map(|n| n.to_ne_bytes()).collect();
        attribute(NDA_CACHEINFO, &ages);
        let entry = parse(&body).unwrap();
        assert_eq!(entry.address, IpAddr::from([10, 0, 0, 2]));
        assert_eq!((entry.ifindex, entry.mac), (3, Some([2, 0, 0, 0, 0, 9])));
        assert_eq!(entry.state, NeighbourState::Reachable);
        assert_eq!(entry.confirmed_ago, Some(Duration::from_millis(1500)));
        assert_eq!(entry.updated_ago, Some(Duration::from_millis(70)));
        for end in 0..body.len() {
            let _ = parse(&body[..end]);
        }
    }

    #[test]
    fn both_tables_tell_how_full_they_are() {
        for v6 in [false, true] {
            let fill = table_fill(v6).unwrap();
            assert!(
                fill.most >= 128 && fill.entries <= fill.most.saturating_mul(2),
                "{fill:?}"
            );
        }
        for end in 0..64 {
            assert_eq!(parse_table(&[0u8; 64][..end]), None);
        }
    }

    #[test]
    fn a_stranger_on_loopback_has_no_entry() {
        let entry = neighbour(IpAddr::from([127, 9, 9, 9]), 1).unwrap();
        assert!(entry.is_none_or(|entry| entry.state == NeighbourState::NoArp));
        neighbours(1).unwrap();
    }
}
