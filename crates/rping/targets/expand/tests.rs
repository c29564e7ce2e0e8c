use super::*;
use crate::targets::LocalInterface;

/// Knows what it is told, and counts the names it is asked.
struct Book(&'static [(&'static str, &'static [&'static str])]);

impl Resolver for Book {
    fn resolve(&self, names: &[String], _: Duration) -> Vec<Result<Vec<SocketAddr>, String>> {
        let mut seen = names.to_vec();
        seen.dedup();
        assert_eq!(seen.len(), names.len(), "each name is asked once");
        let of = |name: &String| match self.0.iter().find(|(known, _)| known == name) {
            Some((_, found)) => Ok(found.iter().map(|text| text.parse().unwrap()).collect()),
            None => Err("name does not resolve (unknown)".to_owned()),
        };
        names.iter().map(of).collect()
    }
}

const BOOK: Book = Book(&[
    ("one", &["10.9.0.1:0"]),
    ("both", &["[2001:db8::9]:0", "10.9.0.9:0", "10.9.0.9:0"]),
    ("blocked", &["0.0.0.0:0"]),
    ("link", &["[fe80::5%3]:0"]),
    ("nolink", &["[fe80::5]:0"]),
    ("empty", &[]),
]);

fn host() -> LocalNet {
    let interface = |index, name: &str, ip: &str, prefix| LocalInterface {
        index,
        name: name.to_owned(),
        addresses: vec![(ip.parse().unwrap(), prefix)],
    };
    LocalNet {
        interfaces: vec![
            interface(2, "eth0", "10.0.0.7", 24),
            interface(3, "eth1", "fe80::7", 64),
        ],
        ..LocalNet::default()
    }
}

fn rules(kind: Kind) -> Rules {
    Rules {
        kind,
        family: None,
        by_source: false,
        all_addresses: false,
        broadcast: false,
        interface: None,
    }
}

fn with(rules: &Rules, texts: &[&str]) -> Result<Expanded, String> {
    let specs: Vec<Spec> = texts.iter().map(|text| Spec::parse(text).unwrap()).collect();
    expand(&specs, rules, &BOOK, &host()).map_err(|usage| usage.to_string())
}

fn labels(kind: Kind, texts: &[&str]) -> Vec<String> {
    with(&rules(kind), texts)
        .unwrap()
        .targets
        .iter()
        .map(Target::label)
        .collect()
}

fn refusal(kind: Kind, text: &str) -> String {
    with(&rules(kind), &[text]).expect_err(text)
}

const ICMP: Kind = Kind::Icmp;
const UDP: Kind = Kind::Udp(UdpProtocol::Auto);

#[test]
fn targets_are_called_what_they_were_called() {
    assert_eq!(
        labels(ICMP, &["one", "10.1.1.1", "fe80::1%eth1"]),
        ["one", "10.1.1.1", "fe80::1%eth1"]
    );
    assert_eq!(
        labels(Kind::Tcp, &["one:445", "[::1]:80", "one:https"]),
        ["one:445", "[::1]:80", "one:https"]
    );
    assert_eq!(
        labels(Kind::Tcp, &["one:22,80-81,ssh"]),
        ["one:22", "one:80", "one:81", "one:ssh"]
    );
    assert_eq!(
        labels(Kind::Tcp, &["10.1.1.1:22,80"]),
        ["10.1.1.1:22", "10.1.1.1:80"]
    );
    assert_eq!(
        labels(Kind::Tcp, &["[fe80::1%eth1]:1,2"]),
        ["[fe80::1%eth1]:1", "[fe80::1%eth1]:2"]
    );
    assert_eq!(labels(ICMP, &["10.1.1.0/31"]), ["10.1.1.0", "10.1.1.1"]);
    assert_eq!(
        labels(Kind::Tcp, &["10.1.1.0/31:7"]),
        ["10.1.1.0:7", "10.1.1.1:7"]
    );
    assert_eq!(labels(UDP, &["one", "10.1.1.0/32"]), ["one", "10.1.1.0:5201"]);
}

#[test]
fn members_of_blocks_and_ranges_are_marked_and_listed_ports_are_not() {
    let found = with(
        &rules(Kind::Tcp),
        &[
            "one:1",
            "one:1,2",
            "one:1-2",
            "10.1.0.0/31:1",
            "10.1.0.1-10.1.0.1:1",
        ],
    )
    .unwrap();
    let marks: Vec<bool> = found.targets.iter().map(|target| target.from_block).collect();
    assert_eq!(marks, [false, false, false, true, true, true, true, true]);
}

#[test]
fn ports_follow_the_kind_of_probe() {
    assert!(refusal(ICMP, "one:80").contains("ICMP knows no ports"));
    assert!(refusal(Kind::Arp, "one:80").contains("ARP and NDP know no ports"));
    assert!(refusal(Kind::Tcp, "one").contains("as in one:445"));
    assert!(refusal(Kind::Tcp, "2001:db8::1").contains("as in [2001:db8::1]:445"));
    assert!(refusal(Kind::Tcp, "10.1.0.0/30").contains("needs a port"));
    assert!(refusal(Kind::Tcp, "one:nosuchservice").contains("no service is called 'nosuchservice'"));
    let port = |protocol| with(&rules(Kind::Udp(protocol)), &["one"]).unwrap().targets[0].port();
    assert_eq!(port(UdpProtocol::Auto), Some(5201));
    assert_eq!(port(UdpProtocol::Echo), Some(7));
    assert_eq!(port(UdpProtocol::Stamp), Some(862));
}

#[test]
fn a_subnet_of_ours_is_swept_without_its_ends_and_says_so() {
    let found = with(&rules(ICMP), &["10.0.0.0/24"]).unwrap();
    assert_eq!(found.targets.len(), 254);
    assert_eq!(
        found.notes,
        ["10.0.0.0 and 10.0.0.255 are the network and broadcast address of eth0's subnet: skipped"]
    );
    let found = with(&rules(ICMP), &["10.0.0.0-10.0.1.9"]).unwrap();
    assert_eq!((found.targets.len(), found.notes.len()), (264, 1));
    let found = with(&rules(ICMP), &["10.0.0.0/30"]).unwrap();
    assert_eq!(
        (found.targets.len(), &*found.notes[0]),
        (3, "10.0.0.0 is the network address of eth0's subnet: skipped")
    );
    assert!(refusal(ICMP, "10.0.0.255/32").contains("nothing is left"));
}

#[test]
fn a_foreign_block_is_swept_whole() {
    let found = with(&rules(ICMP), &["10.1.0.0/24", "2001:db8::/120"]).unwrap();
    assert_eq!((found.targets.len(), found.notes.len()), (512, 0));
}

#[test]
fn more_targets_than_a_run_may_have_are_refused_before_they_exist() {
    for text in [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/11",
        "10.0.0.0/12:80,81",
        "2001:db8::/64",
        "2001:db8::/0:1-65535",
    ] {
        let Ok(spec) = Spec::parse(text) else { continue };
        let said = expand(&[spec], &rules(Kind::Tcp), &BOOK, &host())
            .unwrap_err()
            .to_string();
        assert!(said.contains("at most 1048576"), "{text}: {said}");
    }
    assert_eq!(
        with(&rules(ICMP), &["10.0.0.0/12", "10.16.0.0/32"]).unwrap_err(),
        "these: 1048577 targets; a run has at most 1048576: probe a smaller block"
    );
    assert_eq!(
        with(&rules(ICMP), &["172.16.0.0/12"]).unwrap().targets.len(),
        1 << 20
    );
}

#[test]
fn broadcast_and_multicast_want_to_be_allowed() {
    let all = [
        "224.0.0.1",
        "255.255.255.255",
        "10.0.0.255",
        "ff02::1%eth1",
        "224.0.0.0/30",
    ];
    for text in all {
        assert!(refusal(ICMP, text).contains("--broadcast"), "{text}");
    }
    let allowed = Rules {
        broadcast: true,
        ..rules(ICMP)
    };
    assert_eq!(with(&allowed, &all).unwrap().targets.len(), 8);
    assert!(refusal(Kind::Tcp, "224.0.0.1:80").contains("TCP asks one host"));
    assert!(
        with(&rules(ICMP), &["10.1.0.255"]).is_ok(),
        "nothing is known of other people's subnets"
    );
}

#[test]
fn a_link_local_address_needs_its_link() {
    assert!(refusal(ICMP, "fe80::1").contains("say which one"));
    assert!(refusal(ICMP, "fe80::1%wlan9").contains("no interface is called 'wlan9'"));
    assert!(refusal(ICMP, "fe80::/126").contains("say which one"));
    let scope = |rules: &Rules, text: &str| match with(rules, &[text]).unwrap().targets[0].address {
        Some(SocketAddr::V6(v6)) => v6.scope_id(),
        other => panic!("{other:?}"),
    };
    assert_eq!(scope(&rules(ICMP), "fe80::1%eth1"), 3);
    assert_eq!(scope(&rules(ICMP), "fe80::1%3"), 3);
    assert_eq!(scope(&rules(ICMP), "link"), 3);
    let bound = Rules {
        interface: Some(3),
        ..rules(ICMP)
    };
    assert_eq!(scope(&bound, "fe80::1"), 3);
    assert_eq!(scope(&bound, "nolink"), 3);
    assert_eq!(with(&bound, &["fe80::/126"]).unwrap().targets.len(), 4);
    assert!(with(&bound, &["fe80::1%eth0"])
        .unwrap_err()
        .contains("two different interfaces"));
}

#[test]
fn the_family_asked_for_chooses_among_a_names_addresses() {
    let first = |rules: &Rules, name: &str| {
        let target = with(rules, &[name]).unwrap().targets.remove(0);
        (
            target.ip().map(|ip| ip.to_string()),
            target.error.map(String::from),
        )
    };
    let is = |ip: &str| (Some(ip.to_owned()), None);
    let v4 = Rules {
        family: Some(Family::V4),
        ..rules(ICMP)
    };
    let v6 = Rules {
        family: Some(Family::V6),
        ..rules(ICMP)
    };
    assert_eq!(first(&rules(ICMP), "both"), is("2001:db8::9"));
    assert_eq!(first(&v4, "both"), is("10.9.0.9"));
    assert_eq!(first(&v6, "both"), is("2001:db8::9"));
    assert_eq!(
        first(&v6, "one").1.as_deref(),
        Some("name does not resolve (it has no IPv6 address)")
    );
    assert!(with(&v4, &["::1"]).unwrap_err().contains("not IPv4"));
    assert!(with(&v6, &["10.1.0.0/30"]).unwrap_err().contains("not IPv6"));
    let all = Rules {
        all_addresses: true,
        ..rules(Kind::Tcp)
    };
    let found = with(&all, &["both:80"]).unwrap().targets;
    let shown: Vec<_> = found
        .iter()
        .map(|t| (t.label(), t.address.unwrap().to_string()))
        .collect();
    assert_eq!(
        shown,
        [
            ("both:80".to_owned(), "[2001:db8::9]:80".to_owned()),
            ("both:80".to_owned(), "10.9.0.9:80".to_owned()),
        ]
    );
}

#[test]
fn a_name_without_a_usable_address_stops_nobody_else() {
    let found = with(
        &rules(ICMP),
        &["nobody", "one", "blocked", "nolink", "empty", "one"],
    )
    .unwrap()
    .targets;
    let errors: Vec<_> = found.iter().map(|target| target.error.as_deref()).collect();
    assert_eq!(errors[0], Some("name does not resolve (unknown)"));
    assert_eq!((errors[1], errors[5]), (None, None));
    assert!(errors[2].is_some_and(|why| why.starts_with("resolves to 0.0.0.0: ")));
    assert!(errors[3].is_some_and(|why| why.contains("link-local")));
    assert_eq!(errors[4], Some("name does not resolve (it has no address)"));
    assert_eq!(found[0].label(), "nobody");
}
