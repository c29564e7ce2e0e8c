//! Everything that ends in one line and exit code 2.

use super::*;

#[test]
fn numbers_out_of_bounds_are_refused() {
    for flags in [
        "-n 0",
        "-n -5",
        "-n +5",
        "-n 18446744073709551616",
        "-n 0s",
        "-n 1.5",
        "-n x",
        "-n 101y",
        "-c 0",
        "-i -1",
        "-i NaN",
        "-i inf",
        "-i 1e308",
        "-i 0.0000001",
        "-i 9999ns",
        "-i 86401",
        "-i 2d",
        "-i x",
        "--rate 0",
        "--rate -1",
        "--rate nan",
        "--rate inf",
        "--rate 100001",
        "--rate 0.00001",
        "--max-rate -1",
        "--max-rate nan",
        "-W 0",
        "-W -1",
        "-W 86401",
        "-W nan",
        "-w -1",
        "-w 1.5",
        "-w 1s",
        "-l -1",
        "-l 65528",
        "-l 1.5k",
        "-l 99999999999999999999",
        "--ttl 0",
        "--ttl 256",
        "--ttl -1",
        "--ttl +1",
        "--dscp 64",
        "--dscp EFX",
        "--mark -1",
        "--mark 4294967296",
        "-H 0",
        "-H 2,1",
        "--histogram=x",
        "-o xml",
        "-o",
        "-n",
        "--color red",
        "-S",
        "-S x",
        "-S 10.0.0.7:0",
        "-S 10.0.0.7:65536",
        "-S 0.0.0.0",
        "-S 224.0.0.1",
    ] {
        refused(&format!("udp h {flags}"));
    }
    assert!(refused("icmp h -i 0.0000001").contains("below 10us"));
}

#[test]
fn a_flag_given_twice_is_refused() {
    for flags in [
        "-n 1 -n 1",
        "-n 1 -c 1",
        "-c 1 --count 1",
        "-q -q",
        "-qq",
        "-t -t",
        "-4 -4",
        "-H -H",
        "-H 5 --histogram 5",
        "--json --json",
        "--json -o json",
        "-o json -o csv",
        "-l 1 -s 1",
        "--targets a --targets b",
        "--df --df",
        "-I a -I b",
        "--color never --color never",
        "-i 1 --interval 2",
    ] {
        let said = refused(&format!("icmp h {flags}"));
        assert!(
            said.contains("twice") || flags == "--json -o json" && said.contains("contradict"),
            "{flags}: {said}"
        );
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for flags in [
        "-t -n 5",
        "-n 5s -t",
        "-i 1 --rate 1",
        "-4 -6",
        "--json -o text",
        "-4 -S ::1",
        "-I eth1 -S fe80::7%eth0",
    ] {
        let said = refused(&format!("icmp h {flags}"));
        assert!(
            said.contains("contradict") || said.contains("is not IPv4"),
            "{flags}: {said}"
        );
    }
    assert!(refused("icmp ::1 -S 10.0.0.7").contains("not IPv4"));
}

#[test]
fn flags_without_a_meaning_to_the_probe_are_refused() {
    for line in [
        "tcp h:1 -l 5",
        "arp h -l 5",
        "arp h --ttl 5",
        "arp h --dscp EF",
        "arp h --df",
        "tcp h:1 --broadcast",
        "arp h --broadcast",
        "icmp h -S 10.0.0.7:5",
        "arp h -S 10.0.0.7:5",
        "icmp h --close fin",
        "tcp h:1 --protocol echo",
        "server -n 5",
        "server --json",
        "udp --protocol tcp h",
        "tcp --close never h:1",
        "icmp h --fave x",
    ] {
        refused(line);
    }
}

#[test]
fn sizes_end_where_the_protocol_ends() {
    assert_eq!(job("icmp 10.0.0.1 -l 65507").size, 65_507);
    assert_eq!(job("udp ::1 -l 65527").size, 65_527);
    for line in [
        "icmp 10.0.0.1 -l 65508",
        "udp h -l 65508",
        "icmp ::1 -l 65528",
        "udp -4 h -l 65508",
        "icmp ::1 10.0.0.1 -l 65527",
    ] {
        assert!(refused(line).contains("at most"), "{line}");
    }
    for line in ["udp --protocol echo h -l 15", "udp h:7 -l 15", "udp h:7,8 -l 0"] {
        assert!(refused(line).contains("16 bytes"), "{line}");
    }
    assert_eq!(job("udp h -l 0").size, 0);
    assert!(job("icmp h -l 15").notes[0].contains("id and sequence alone"));
    assert!(job("icmp h -l 16").notes.is_empty());
}

#[test]
fn targets_that_are_none_are_refused() {
    for line in [
        "icmp",
        "tcp",
        "",
        "icmp 445",
        "icmp h 10",
        "10",
        "icmp 0.0.0.0",
        "icmp ::",
        "h:0",
        "h:65536",
        "h:22,,80",
        "h:",
        "10.0.0.0/0",
        "icmp 0.0.0.0/0",
        "icmp 10.0.0.1/24",
        "icmp h:80",
        "arp h:80",
        "tcp h",
        "fe80::1",
        "icmp fe80::1%nope",
        "icmp 224.0.0.1",
        "icmp 255.255.255.255",
        "icmp 10.0.0.255",
        "h h:1",
        "icmp 10.0.0.0/11",
        "icmp --targets /nonexistent",
        "--targets /nonexistent",
        "icmp --targets /",
    ] {
        refused(line);
    }
    assert!(refused("445").contains("did you mean HOST:445, or -n 445s?"));
    for (line, right) in [
        ("localhost 80", "rping tcp localhost:80"),
        ("tcp localhost 80", "rping tcp localhost:80"),
        ("udp 10.0.0.1 7", "rping udp 10.0.0.1:7"),
        ("icmp ::1 80", "rping tcp [::1]:80"),
        ("bandwidth h 5201", "rping bandwidth h:5201"),
        ("tcp ::1:7778", "[::1]:7778"),
    ] {
        let said = refused(line);
        assert!(said.contains(right), "{line}: {said}");
    }
    assert!(refused("bandwidth -t 2 h").contains("-n 2s"));
    assert!(refused("icmp -H 5,3, h").contains("--histogram"));
    for empty in [
        vec!["rping", ""],
        vec!["rping", "icmp", ""],
        vec!["rping", "a b"],
        vec!["rping", "tcp", "\x1b[2J:1"],
    ] {
        let said = parse(empty.into_iter().map(OsString::from))
            .unwrap_err()
            .to_string();
        assert!(!said.contains(['\n', '\x1b']), "{said}");
    }
}

#[test]
fn an_unknown_flag_is_named_before_what_follows_it() {
    assert!(refused("--cuont 5 h").contains("'--cuont'"));
    assert!(refused("icmp --cout 5 h").contains("did you mean --count?"));
    assert!(refused("--fave run h").contains("'--fave'"));
}

#[test]
fn places_that_are_not_ours_are_refused() {
    assert!(refused("icmp h -I nope").contains("no interface is called 'nope'"));
    assert!(refused("icmp h -S 10.0.0.8").contains("no address of this host"));
    assert_eq!(
        job("icmp h -S 127.0.0.9").source,
        Some("127.0.0.9".parse().unwrap())
    );
    assert_eq!(
        job("icmp fe80::1 -S fe80::7%eth0").interface.as_deref(),
        Some("eth0")
    );
    assert_eq!(job("icmp h -I 2").interface.as_deref(), Some("eth0"));
    assert_eq!(job("udp h -S 0.0.0.0:4000").source, None);
}

#[test]
fn what_is_roots_stays_roots() {
    let user = LocalNet {
        root: false,
        elevated: true,
        ..here()
    };
    let said = |line| job_on(line, &user).unwrap_err();
    assert!(said("icmp 224.0.0.1 --broadcast").contains("root's"));
    assert!(said("icmp h -i 1999us").contains("root's"));
    assert!(said("icmp h -i 0").contains("root's"));
    assert!(job_on("icmp h -i 2ms", &user).is_ok());
    assert!(job_on("icmp 127.0.0.1 10.0.0.7 -i 0", &user).is_ok());
    assert!(
        job_on("tcp h:1 -i 0", &user).is_ok(),
        "TCP takes no privilege, so none is lent"
    );
    assert!(job_on(
        "icmp h -i 0",
        &LocalNet {
            elevated: false,
            ..user.clone()
        }
    )
    .is_ok());
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let argv = [
        OsString::from("rping"),
        OsString::from("-q"),
        OsString::from_vec(b"h\xff".to_vec()),
    ];
    let said = parse(argv.into_iter()).unwrap_err().to_string();
    assert!(said.starts_with("argument 2 is not valid UTF-8"), "{said}");
}

#[test]
fn a_bundle_is_of_one_target_and_its_waiting_has_bounds() {
    assert!(refused("bundle a b").contains("one target at a time"));
    assert!(refused("bundle --until-failure").contains("probes a target"));
    assert!(refused("bundle h -i 1").contains("--until-failure"));
    assert!(refused("bundle h --until-failure -i 1ms").contains("from 10ms"));
    assert!(refused("bundle h --until-failure -W 0").contains("above 0"));
    assert!(refused("bundle h --limit 1k").contains("256k"));
    assert!(refused("bundle -4").contains("name a target"));
    assert!(refused("bundle --peer h").contains("name a target"));
    assert!(refused("bundle --key-file k").contains("name a target"));
    assert!(refused("bundle h --key-file k").contains("--key-file is for --peer"));
    assert!(refused("bundle h --peer 10.0.0.0/24").contains("is not one host"));
    assert!(refused("bundle 10.0.0.0/24").contains("more than one host"));
    assert!(refused("bundle diff a").contains("which two bundles"));
}

#[test]
fn a_host_that_is_called_like_a_command_stands_behind_two_hyphens() {
    assert_eq!(job("-- bundle").targets[0].label(), "bundle");
    assert_eq!(job("-- latency").targets[0].label(), "latency");
}

#[test]
fn a_latency_test_that_cannot_be_is_refused_with_the_reason() {
    for (line, why) in [
        ("latency", "say whom to probe"),
        ("latency -u -r host", "no answer is longer"),
        ("latency --df host", "with -u"),
        ("latency -l 1048577 host", "at most 1m"),
        ("latency -u -l 65508 -4 host", "at most 65507"),
        ("latency --broadcast host", "one host"),
        ("latency -n 0 host", "measures nothing"),
        ("latency --wait never host", "auto"),
        ("latency 10.0.0.0/23", "at most 256"),
        ("latency host:0", "port"),
    ] {
        let said = refused(line);
        assert!(said.contains(why), "{line}: {said}");
    }
}
