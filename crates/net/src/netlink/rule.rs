//! Policy rules: which routing table is asked for which packet, as `ip rule` tells it.

use std::io;
use std::net::IpAddr;

use super::message::{address, u32_at, Attributes};
use super::Netlink;

/// `struct fib_rule_hdr`: family, destination and source length, TOS, table, two spare bytes, action, flags.
const HEAD: usize = 12;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

/// One policy rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyRule {
    /// Lower ones are asked first.
    pub priority: u32,
    /// It matches what the rest does not describe.
    pub inverted: bool,
    /// Packets from this network.
    pub from: Option<(IpAddr, u8)>,
    /// Packets to this network.
    pub to: Option<(IpAddr, u8)>,
    /// Packets that came in by this interface.
    pub came_by: Option<String>,
    /// Packets bound to this interface.
    pub leaves_by: Option<String>,
    /// Packets with this firewall mark, and the bits of it that count.
    pub mark: Option<(u32, u32)>,
    /// `FR_ACT_…`: 1 asks the table, 2 goes to another rule, 3 does nothing, 6 blackhole, 7 unreachable, 8 prohibit.
    pub action: u8,
    /// The table that is asked (254 is `main`, 255 `local`, 253 `default`).
    pub table: u32,
}

/// All policy rules of one family, in their order.
///
/// # Errors
/// What the kernel said to the question; `EOPNOTSUPP` where it was built without them.
pub fn policy(v6: bool) -> io::Result<Vec<PolicyRule>> {
    let mut body = [0u8; HEAD];
    body[0] = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let mut found = Netlink::open()?.dump(libc::RTM_GETRULE, &body, &[], parse)?;
    found.sort_by_key(|rule| rule.priority);
    Ok(found)
}

fn parse(body: &[u8]) -> Option<PolicyRule> {
    let (to_bits, from_bits) = (*body.get(1)?, *body.get(2)?);
    let mut rule = PolicyRule {
        priority: 0,
        inverted: u32_at(body, 8)? & INVERT != 0,
        from: None,
        to: None,
        came_by: None,
        leaves_by: None,
        mark: None,
        action: *body.get(7)?,
        table: u32::from(*body.get(4)?),
    };
    let (mut mark, mut mask) = (None, u32::MAX);
    for (kind, value) in Attributes::after(body, HEAD) {
        match kind {
            FRA_DST => rule.to = address(value).map(|address| (address, to_bits)),
            FRA_SRC => rule.from = address(value).map(|address| (address, from_bits)),
            FRA_IIFNAME => rule.came_by = Some(text(value)),
            FRA_OIFNAME => rule.leaves_by = Some(text(value)),
            FRA_PRIORITY => rule.priority = u32_at(value, 0)?,
            FRA_TABLE => rule.table = u32_at(value, 0)?,
            FRA_FWMARK => mark = u32_at(value, 0),
            FRA_FWMASK => mask = u32_at(value, 0)?,
            _ => {}
        }
    }
    rule.mark = mark.map(|mark| (mark, mask));
    Some(rule)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// For the fuzzer.
pub(super) fn read_all(body: &[u8]) {
    let _ = parse(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_policy_routing_has_the_local_and_the_main_table_in_its_rules() {
        let rules = match policy(false) {
            Ok(rules) => rules,
            // A kernel without policy routing.
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
                return;
            }
        };
        assert_eq!(
            rules.first().map(|rule| (rule.priority, rule.table)),
            Some((0, 255))
        );
        assert!(rules.iter().any(|rule| rule.table == 254), "{rules:?}");
    }

    #[test]
    fn a_rule_is_read_with_what_it_matches_and_cut_messages_do_not_panic() {
        let mut body = vec![2, 0, 24, 0, 100, 0, 0, 1, 2, 0, 0, 0];
        let mut attribute = |kind: u16, value: &[u8]| {
            body.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        };
        attribute(FRA_SRC, &[10, 9, 0, 0]);
        attribute(FRA_IIFNAME, b"eth0\0");
        attribute(FRA_PRIORITY, &77u32.to_ne_bytes());
        attribute(FRA_FWMARK, &1u32.to_ne_bytes());
        let rule = parse(&body).expect("a rule");
        assert_eq!(rule.from, Some((IpAddr::from([10, 9, 0, 0]), 24)));
        assert_eq!((rule.priority, rule.table, rule.inverted), (77, 100, true));
        assert_eq!(
            (rule.came_by.as_deref(), rule.mark),
            (Some("eth0"), Some((1, u32::MAX)))
        );
        for end in 0..body.len() {
            let _ = parse(&body[..end]);
        }
    }
}
