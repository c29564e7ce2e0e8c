//! What is refused: exit code 2, one line on standard error that names the fault, nothing on standard output.

use crate::{rping, text};

/// The command line, and words of the answer.
const REFUSED: &[(&[&str], &str)] = &[
    (&[], "say whom to probe"),
    (&["tcp", "127.0.0.1"], "needs a port"),
    (&["tcp", "127.0.0.1:0"], "no port 0"),
    (&["tcp", "127.0.0.1:65536"], "1 to 65535"),
    (&["tcp", "127.0.0.1:"], "no port"),
    (&["tcp", "127.0.0.1:22,,80"], "empty"),
    (&["tcp", "127.0.0.1:22", "-l", "8"], "--size"),
    (&["icmp", "127.0.0.1:80"], "no ports"),
    (&["arp", "10.0.0.1:80"], "no ports"),
    (&["icmp", "445"], "did you mean HOST:445"),
    (&["icmp", "10.0.0.0/0"], "host bits"),
    (&["icmp", "127.0.0.1/8"], "host bits"),
    (&["icmp", "10.0.0.0/8"], "1048576"),
    (&["icmp", "0.0.0.0"], "0.0.0.0"),
    (&["icmp", "::"], "::"),
    (&["icmp", "fe80::1"], "%eth0"),
    (&["icmp", "255.255.255.255"], "--broadcast"),
    (&["icmp", "224.0.0.1"], "--broadcast"),
    (&["icmp", "127.0.0.1", "-n", "0"], "--count 0"),
    (&["icmp", "127.0.0.1", "-n", "-4"], "negative"),
    (&["icmp", "127.0.0.1", "-n", "+4"], "sign"),
    (
        &["icmp", "127.0.0.1", "-n", "18446744073709551616"],
        "largest count",
    ),
    (&["icmp", "127.0.0.1", "-i", "-1"], "negative"),
    (&["icmp", "127.0.0.1", "-i", "NaN"], "--interval"),
    (&["icmp", "127.0.0.1", "-i", "inf"], "--interval"),
    (&["icmp", "127.0.0.1", "-i", "1e308"], "--interval"),
    (&["icmp", "127.0.0.1", "-i", "0.0000001"], "10us"),
    (&["icmp", "127.0.0.1", "-i", "2d"], "one day"),
    (&["icmp", "127.0.0.1", "-W", "0"], "--timeout 0"),
    (&["icmp", "127.0.0.1", "-W", "25h"], "one day"),
    (&["icmp", "127.0.0.1", "-n", "1", "-c", "1"], "twice"),
    (&["icmp", "127.0.0.1", "-q", "-q"], "twice"),
    (&["icmp", "127.0.0.1", "-t", "-n", "1"], "contradict"),
    (&["icmp", "127.0.0.1", "-i", "1", "--rate", "1"], "contradict"),
    (&["icmp", "127.0.0.1", "-4", "-6"], "contradict"),
    (&["icmp", "::1", "-4"], "IPv4"),
    (&["icmp", "127.0.0.1", "-l", "65508"], "65507"),
    (&["icmp", "::1", "-l", "65528"], "65527"),
    (&["icmp", "127.0.0.1", "-l", "64k"], "65507"),
    (&["icmp", "127.0.0.1", "-l", "99999999999999999999"], "--size"),
    (&["icmp", "127.0.0.1", "-c", "5", "-n", "6"], "twice"),
    (
        &["icmp", "127.0.0.1", "-H", "2", "-H", "3"],
        "--histogram is given twice",
    ),
    (&["icmp", "127.0.0.1", "-H", "0"], "--histogram '0'"),
    (&["icmp", "127.0.0.1", "--rate", "5", "-i", "0"], "contradict"),
    (&["icmp", "127.0.0.1", "--rate", "0"], "--rate 0"),
    (&["icmp", "127.0.0.1", "--rate", "inf"], "--rate"),
    (&["icmp", "127.0.0.1", "-n", "1.5"], "whole"),
    (&["icmp", "127.0.0.1", "-n", "0s"], "--count"),
    (&["icmp", "127.0.0.1", "-W", "NaN"], "--timeout"),
    (&["icmp", "127.0.0.1", "-W", "1e308"], "--timeout"),
    (&["icmp", "127.0.0.1", "-w", "-1"], "--warmup"),
    (&["icmp", "127.0.0.1", "-S", "127.0.0.1:77"], "no ports"),
    (&["tcp", "127.0.0.1:1", "-S", "127.0.0.1:65536"], "1 to 65535"),
    (&["tcp", "127.0.0.1:80-70"], "backwards"),
    (&["tcp", "127.0.0.1:0-5"], "no port 0"),
    (&["tcp", "127.0.0.1:no-such-service"], "no service"),
    (&["udp", "127.0.0.1:0"], "no port 0"),
    (&["icmp", "10.0.0.5-10.0.0.1"], "backwards"),
    (&["icmp", "fe80::1%no-such-if0"], "no interface"),
    (&["icmp", "--targets", "/dev/null"], "no target"),
    (&["445"], "did you mean HOST:445"),
    (&["udp", "127.0.0.1", "--protocol", "echo", "-l", "8"], "16 bytes"),
    (&["icmp", "127.0.0.1", "-I", "no-such-interface"], "no interface"),
    (
        &["icmp", "127.0.0.1", "-S", "192.0.2.1"],
        "no address of this host",
    ),
    (&["icmp", "127.0.0.1", "--ttl", "0"], "1 to 255"),
    (&["icmp", "127.0.0.1", "--dscp", "64"], "0 to 63"),
    (&["icmp", "127.0.0.1", "-o", "xml"], "text, json, ndjson, csv"),
    (
        &["icmp", "127.0.0.1", "-i", "10us", "-W", "1d", "-t"],
        "in flight",
    ),
    (&["icmp", "--targets", "/no/such/file"], "/no/such/file"),
    (&["icmp", "127.0.0.1", "--no-such-flag"], "--no-such-flag"),
    (&["arp", "127.0.0.1"], "loopback"),
    (&["icmp", "\u{1b}[31mred"], "\\x1b"),
    (&["bundle", "127.0.0.1", "::1"], "one target at a time"),
    (&["bundle", "--save", "/no/such/dir/x.tar.gz"], "No such file"),
    (
        &["bundle", "diff", "/no/such/file", "/no/such/file"],
        "/no/such/file",
    ),
    (&["bundle", "--limit", "1k"], "256k to 256m"),
];

#[test]
fn what_cannot_be_done_is_refused_in_one_line_and_nothing_is_sent() {
    for (args, words) in REFUSED {
        let output = rping(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
        assert!(
            err.starts_with("rping: ") && err.ends_with('\n') && err.lines().count() == 1,
            "{args:?}: {err:?}"
        );
        assert!(err.contains(words), "{args:?}: {err:?} does not say {words:?}");
        assert!(
            !err.contains('\u{1b}'),
            "{args:?}: an escape sequence reached the terminal"
        );
    }
}

#[test]
fn a_list_with_rubbish_names_the_line() {
    let list = tempfile::NamedTempFile::new().expect("a temporary file");
    for (rubbish, words) in [
        (&b"127.0.0.1\n# a comment\nno such host\n"[..], "line 3"),
        (b"127.0.0.1\n\xff\xfe\n", "line 2"),
        (b"127.0.0.1\n10.0.0.1/24\n", "line 2"),
        (b"127.0.0.1\r\n\x1b[31mred\r\n", "line 2"),
        (b"\0\0\0\0", "line 1"),
        (b"# nothing but a comment\n", "no target"),
    ] {
        std::fs::write(list.path(), rubbish).expect("the list is written");
        let output = rping(&["icmp", "--targets", &list.path().to_string_lossy(), "-n", "1"]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(words) && err.lines().count() == 1, "{err:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "tcp"],
        &["tcp", "--help"],
        &["server", "--help"],
    ] {
        let output = rping(args);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{args:?}"
        );
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}
