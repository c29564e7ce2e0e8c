//! The names of the ICMP and ICMPv6 errors.

/// What an ICMP (RFC 792, 1122, 1812) or, with `v6`, an ICMPv6 error (RFC 4443) is called; `None` for messages that
/// are no errors and for codes without a name.
pub const fn name(v6: bool, kind: u8, code: u8) -> Option<&'static str> {
    if v6 {
        return name_v6(kind, code);
    }
    Some(match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "network unknown",
        (3, 7) => "host unknown",
        (3, 8) => "source host isolated",
        (3, 9) => "network prohibited",
        (3, 10) => "host prohibited",
        (3, 11) => "network unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, 13) => "communication prohibited",
        (3, 14) => "precedence violation",
        (3, 15) => "precedence cut off",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (11, 0) => "TTL exceeded in transit",
        (11, 1) => "fragments not reassembled in time",
        (12, _) => "parameter problem",
        _ => return None,
    })
}

const fn name_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route",
        (1, 1) => "communication prohibited",
        (1, 2) => "beyond the scope of the source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address refused by policy",
        (1, 6) => "route rejects",
        (1, 7) => "source routing header wrong",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded in transit",
        (3, 1) => "fragments not reassembled in time",
        (4, _) => "parameter problem",
        _ => return None,
    })
}

/// The message as output shows it: `ICMP 3/13`, `ICMPv6 1/1`.
pub fn number(v6: bool, kind: u8, code: u8) -> String {
    format!("{} {kind}/{code}", if v6 { "ICMPv6" } else { "ICMP" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_mean_different_things_in_the_two_families() {
        assert_eq!(name(false, 3, 1), Some("host unreachable"));
        assert_eq!(name(true, 3, 1), Some("fragments not reassembled in time"));
        assert_eq!(number(true, 1, 4), "ICMPv6 1/4");
    }

    #[test]
    fn every_type_and_code_can_be_asked_for() {
        let named = |v6| {
            (0..=255)
                .flat_map(|k| (0..=255).map(move |c| name(v6, k, c)))
                .flatten()
                .count()
        };
        assert!(named(false) > 16 && named(true) > 10);
        assert_eq!(name(false, 0, 0), None);
    }
}
