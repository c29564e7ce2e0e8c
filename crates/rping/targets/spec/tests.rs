use super::*;
use proptest::prelude::*;

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn refusal(text: &str) -> String {
    Spec::parse(text).expect_err(text)
}

#[test]
fn hosts_and_ports_come_apart() {
    for (text, host, ports) in [
        ("fileserver", "fileserver", ""),
        ("fileserver:445", "fileserver", "445"),
        ("10.0.0.1", "10.0.0.1", ""),
        ("10.0.0.1:80", "10.0.0.1", "80"),
        ("2001:db8::1", "2001:db8::1", ""),
        ("[2001:db8::1]", "2001:db8::1", ""),
        ("[2001:db8::1]:445", "2001:db8::1", "445"),
        ("fe80::1%eth0", "fe80::1%eth0", ""),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", "22"),
        ("10.0.0.0/24:445", "10.0.0.0/24", "445"),
        ("2001:db8::/120", "2001:db8::/120", ""),
        ("2001:db8::/120:445", "2001:db8::/120", "445"),
        ("[2001:db8::/120]:445", "2001:db8::/120", "445"),
        ("10.0.0.1-10.0.0.9:22", "10.0.0.1-10.0.0.9", "22"),
        ("2001:db8::1-2001:db8::9", "2001:db8::1-2001:db8::9", ""),
        ("a-b.example.:1", "a-b.example.", "1"),
        ("10-0-0-1.example", "10-0-0-1.example", ""),
        ("10.0.0.1-x.example", "10.0.0.1-x.example", ""),
    ] {
        if text == "10.0.0.1-x.example" {
            assert!(Spec::parse(text).is_err(), "half a range is not silently a name");
            continue;
        }
        let spec = Spec::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(spec.host_text(), host, "{text}");
        let expected = if ports.is_empty() {
            vec![]
        } else {
            parse_ports(ports).unwrap()
        };
        assert_eq!(spec.ports(), expected, "{text}");
        assert_eq!(spec.text(), text);
    }
}

#[test]
fn ports_are_numbers_ranges_lists_and_service_names() {
    let spec = Spec::parse("host:22,80,5000-5010,https,ftp-data").unwrap();
    let service = |name: &str| Ports::Service(name.to_owned());
    let expected = [
        Ports::Range(22, 22),
        Ports::Range(80, 80),
        Ports::Range(5000, 5010),
        service("https"),
        service("ftp-data"),
    ];
    assert_eq!(spec.ports(), expected);
    assert_eq!(spec.count(), 15);
}

#[test]
fn ports_that_do_not_exist_are_refused() {
    for text in [
        "h:0",
        "h:65536",
        "h:99999999999999999999",
        "h:",
        "h:22,,80",
        "h:,22",
        "h:22,",
        "h:80-70",
        "h:0-5",
        "h:1-65536",
        "h:1-",
        "h:-1",
        "h:+22",
        "h:2 2",
        "h:22;80",
        "h:1-2-3",
        "[::1]:",
        "[::1]:0",
        "10.0.0.0/24:",
    ] {
        assert!(Spec::parse(text).is_err(), "{text}");
    }
    assert!(refusal("h:65536").contains("1 to 65535"));
    assert!(refusal("h:22,,80").contains("empty"));
}

#[test]
fn blocks_hold_every_address_and_no_host_bits() {
    let span = |text: &str| match Spec::parse(text).unwrap().host() {
        Host::Span { first, last } => (*first, *last),
        other => panic!("{other:?}"),
    };
    assert_eq!(span("10.0.0.0/24"), (v4("10.0.0.0"), v4("10.0.0.255")));
    assert_eq!(span("10.0.0.5/32"), (v4("10.0.0.5"), v4("10.0.0.5")));
    assert_eq!(
        span("2001:db8::/126"),
        ("2001:db8::".parse().unwrap(), "2001:db8::3".parse().unwrap())
    );
    assert_eq!(Spec::parse("0.0.0.0/0").unwrap().hosts(), 1 << 32);
    assert_eq!(Spec::parse("::/0").unwrap().hosts(), u128::MAX);
    assert_eq!(Spec::parse("::/0:1-65535").unwrap().count(), u128::MAX);
    for text in [
        "10.0.0.1/24",
        "10.0.0.0/0",
        "10.0.0.0/33",
        "2001:db8::1/64",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "host/24",
        "10.0.0.0/24/24",
        "10.0.0.0/0024",
        "10.0.0.0/-1",
        "::/129",
        "10.0/16",
        "fe80::/64%eth0",
    ] {
        assert!(Spec::parse(text).is_err(), "{text}");
    }
    assert!(refusal("10.0.0.5/24").contains("did you mean 10.0.0.0/24"));
}

#[test]
fn ranges_run_forward_within_one_family() {
    assert_eq!(Spec::parse("10.0.0.1-10.0.0.50").unwrap().hosts(), 50);
    assert_eq!(Spec::parse("2001:db8::1-2001:db8::1:0").unwrap().hosts(), 65536);
    for text in [
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-50",
        "10.0.0.1-::1",
        "10.0.0.1-",
        "::1-10.0.0.1",
        "10.0.0.1-10.0.0.300",
    ] {
        assert!(Spec::parse(text).is_err(), "{text}");
    }
    assert!(refusal("10.0.0.9-10.0.0.1").contains("did you mean 10.0.0.1-10.0.0.9?"));
}

#[test]
fn a_bare_number_is_asked_back() {
    assert_eq!(
        refusal("445"),
        "'445' is a number, not a host: did you mean HOST:445, or -n 445s?"
    );
    assert_eq!(
        refusal("100000"),
        "'100000' is a number, not a host: did you mean -n 100000s?"
    );
}

#[test]
fn what_stands_for_every_address_is_no_target() {
    for text in [
        "0.0.0.0",
        "::",
        "[::]:80",
        "0.0.0.0:80",
        "0.0.0.0/24",
        "0.0.0.0-0.0.0.9",
    ] {
        assert!(refusal(text).contains("every address"), "{text}");
    }
}

#[test]
fn what_looks_like_an_address_is_never_looked_up_as_a_name() {
    for text in [
        "10.0.0",
        "10.1",
        "127.1:80",
        "10.0.0.256",
        "010.0.0.1",
        "1.2.3.4.5",
        "0x7f.1",
        "0x7f000001",
        "1.2.3.4.",
    ] {
        assert!(refusal(text).contains("IPv4"), "{text}");
    }
    assert!(refusal("2001:db8::1::2").contains("IPv6"));
    assert!(refusal("2001:db8::g").contains("IPv6"));
    assert!(refusal("::ffff:10.0.0.1").contains("write 10.0.0.1"));
}

#[test]
fn a_zone_belongs_to_a_link_local_address() {
    // Interfaces have hyphens in their names.
    assert!(Spec::parse("fe80::1%br-lan").is_ok());
    assert!(Spec::parse("fe80::1%eth0-fe80::9%eth0").is_err_and(|why| why.contains("a range has no zone")));
    for text in [
        "2001:db8::1%eth0",
        "fe80::1%",
        "fe80::1%a:b",
        "fe80::1%eth0:80",
        "10.0.0.1%eth0",
        "host%eth0",
        "fe80::1%aninterfacewithalongname",
    ] {
        assert!(Spec::parse(text).is_err(), "{text}");
    }
    assert!(Spec::parse("ff02::1%eth0").is_ok());
}

#[test]
fn rubbish_is_no_name() {
    for text in [
        "",
        " ",
        "a b",
        "a\tb",
        "a\u{1b}[31m",
        "häuser",
        "-x",
        "a..b",
        ".",
        ".a",
        "a_b!",
        "a,b",
        "-",
        "[",
        "[]",
        "[a]",
        "[::1",
        "[::1]x",
        "]",
        ":",
        ":80",
        "http://host/",
        "a@b",
        "\u{202e}abc",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        assert!(Spec::parse(text).is_err(), "{text:?}");
    }
    for (url, command) in [
        ("http://host/x", "rping tcp host:80"),
        ("https://user:pw@host/x?y", "rping tcp host:443"),
        ("smb://fileserver/share", "rping tcp fileserver:445"),
        (r"\\fileserver\share\x", "rping tcp fileserver:445"),
        ("HTTP://host:8080", "rping tcp host:8080"),
        ("ssh://[::1]/", "rping tcp [::1]:22"),
        ("https://[::1]:8443/", "rping tcp [::1]:8443"),
    ] {
        let said = refusal(url);
        assert!(said.ends_with(&format!(": {command}")), "{said}");
    }
    for text in [
        "a",
        "a_b",
        "a.b.",
        "xn--huser-gra",
        "_ldap._tcp.example",
        "1and1.example",
        &"a".repeat(63),
    ] {
        assert!(Spec::parse(text).is_ok(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_grammar_panic(text in "\\PC{0,60}") {
        let _ = Spec::parse(&text);
    }

    #[test]
    fn no_near_miss_makes_the_grammar_panic(text in "[0-9a-f:./%\\[\\],\\-xh ]{0,40}") {
        if let Ok(spec) = Spec::parse(&text) {
            prop_assert!(spec.count() >= 1);
            if let Host::Span { first, last } = spec.host() {
                prop_assert!(first <= last && first.is_ipv4() == last.is_ipv4());
            }
            for ports in spec.ports() {
                if let Ports::Range(low, high) = ports {
                    prop_assert!(*low >= 1 && low <= high);
                }
            }
        }
    }

    #[test]
    fn every_address_with_a_port_is_read_back(ip: u128, v6: bool, port in 1u16..) {
        let ip = if v6 { IpAddr::from(Ipv6Addr::from(ip)) } else { IpAddr::from(Ipv4Addr::from(ip as u32)) };
        let plain = !ip.is_unspecified() && !matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        prop_assume!(plain);
        let spec = Spec::parse(&std::net::SocketAddr::new(ip, port).to_string()).unwrap();
        prop_assert_eq!(spec.host(), &Host::Address { ip, zone: None });
        prop_assert_eq!(spec.single_port(), Some(Some(port)));
    }
}
