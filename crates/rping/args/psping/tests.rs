use super::*;
use crate::args::output::{Buckets, OutputOptions};
use crate::args::Request;
use crate::job::{Carrier, Kind, Pace, Stop};
use std::ffi::OsString;
use std::time::Duration;

fn asked(line: &str) -> Result<Invocation, String> {
    let words = line.split_whitespace().map(OsString::from);
    crate::args::parse(words).map_err(|usage| usage.to_string())
}

fn probe(line: &str) -> (Request, OutputOptions) {
    match asked(line) {
        Ok(Invocation::Probe { request, output }) => (request, output),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_host_is_pinged_four_times_after_a_warm_up() {
    let (request, output) = probe("psping marklap");
    assert_eq!(request.kind, Kind::Icmp);
    assert_eq!(request.targets, ["marklap"]);
    assert_eq!((request.stop, request.warmup), (Stop::Count(4), 1));
    assert_eq!(request.pace, Pace::Every(Duration::from_secs(1)));
    assert!(!request.local_ports);
    assert_eq!(output.format, Format::PsPing { banner: true });
}

#[test]
fn the_examples_of_the_page_are_taken_unchanged_by_either_name() {
    for name in ["psping", "rping psping", "/usr/bin/psping64.exe"] {
        let (request, _) = probe(&format!("{name} -n 10 -w 3 marklap"));
        assert_eq!(
            (request.kind, request.stop, request.warmup),
            (Kind::Icmp, Stop::Count(10), 3)
        );
        let (request, output) = probe(&format!("{name} -n 100 -i 0 -q marklap:80"));
        assert_eq!((request.kind, request.pace), (Kind::Tcp, Pace::WhenSettled));
        assert!(output.quiet && request.local_ports);
        let server = asked(&format!("{name} -s 192.168.2.2:5000"));
        match server {
            Ok(Invocation::Server(args)) => {
                assert_eq!(
                    (args.tests.bind.as_deref(), args.tests.port),
                    (Some("192.168.2.2"), 5000)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn switches_stand_anywhere_in_either_case_with_a_hyphen_or_a_slash() {
    let (request, output) = probe("psping [::1]:443 /accepteula -NOBANNER -N 3s /I 0.5 -h 5 -6");
    assert_eq!(request.kind, Kind::Tcp);
    assert_eq!(request.stop, Stop::After(Duration::from_secs(3)));
    assert_eq!(request.pace, Pace::Every(Duration::from_millis(500)));
    assert_eq!(output.histogram, Some(Buckets::Equal(5)));
    assert_eq!(output.format, Format::PsPing { banner: false });
}

#[test]
fn a_histogram_takes_numbers_and_leaves_the_destination() {
    let (request, output) = probe("psping -h 10.0.0.1");
    assert_eq!(request.targets, ["10.0.0.1"]);
    assert_eq!(output.histogram, Some(Buckets::Equal(20)));
    let (_, output) = probe("psping -h 0.01,0.05,1,5,10 10.0.0.1");
    assert!(matches!(output.histogram, Some(Buckets::Bounds(bounds)) if bounds.len() == 5));
}

#[test]
fn json_may_be_added() {
    let (request, output) = probe("psping -n 1 --json 10.0.0.1:80");
    assert_eq!(output.format, Format::Json);
    assert_eq!(request.warmup, 1);
}

#[test]
fn help_is_shown_for_each_mode_and_without_words() {
    for (line, has) in [
        ("psping", "Usage: psping -? [i|t|l|b]"),
        ("rping psping --help", "Usage: psping -? [i|t|l|b]"),
        ("psping -?", "Usage: psping -? [i|t|l|b]"),
        ("psping -? i", "ICMP ping usage: psping [-t|-n count[s]]"),
        ("psping -? T", "TCP ping usage:  psping [-t|-n count[s]]"),
        ("psping -? l", "TCP and UDP latency usage:"),
        ("rping psping /? b", "TCP and UDP bandwidth usage:"),
    ] {
        match asked(line) {
            Ok(Invocation::Print(text)) => {
                assert!(text.contains(has), "{line}: {text}");
                assert!(text.starts_with("\nrping v"), "{line}: {text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn what_psping_would_not_take_is_refused_in_one_line() {
    for (line, says) in [
        ("psping -x host", "no such switch: '-x'"),
        ("psping -n", "-n needs a value"),
        ("psping host other", "one destination at a time"),
        ("psping -q", "no destination"),
        ("psping -t -n 3 host", "-t and -n contradict each other"),
        ("psping -u host", "-r and -u are for latency"),
        ("psping -s :5000 host", "-s serves"),
        ("psping -n 0 host", "count"),
        ("psping -i -1 host", "--interval"),
    ] {
        let said = asked(line).map(|asked| format!("{asked:?}")).expect_err(line);
        assert!(said.contains(says) && !said.contains('\n'), "{line}: {said}");
    }
}

#[test]
fn a_size_and_a_port_make_a_latency_test_and_b_makes_a_bandwidth_test() {
    let (request, output) = probe("psping -l 8k -n 10000 -h 100 192.168.2.2:5000");
    assert_eq!(request.kind, Kind::Latency(Carrier::Tcp));
    assert_eq!((request.stop, request.warmup), (Stop::Count(10_000), 5));
    assert_eq!((request.size, request.pace), (Some(8192), Pace::WhenSettled));
    assert_eq!(output.histogram, Some(Buckets::Equal(100)));
    let (request, _) = probe("psping -l 8k -n 10s -u 192.168.2.2:5000");
    assert_eq!(request.kind, Kind::Latency(Carrier::Udp));
    for (line, messages, rate) in [
        (
            "psping -b -l 8k -n 10000 -h 100 192.168.2.2:5000 -w 16",
            10_016,
            0,
        ),
        (
            "psping -b -l 8k -n 10000 -h 100 -u 192.168.2.2:5000 -i 16",
            10_016,
            0,
        ),
        (
            "psping -b -l 1k -n 10000 -u 10 192.168.2.2:5000 -w 0",
            10_000,
            83_886_080,
        ),
    ] {
        match asked(line) {
            Ok(Invocation::Bandwidth(request)) => {
                assert_eq!(request.stop, Stop::Count(messages), "{line}");
                assert_eq!(request.parameters.bandwidth, rate, "{line}");
                assert_eq!(request.show.format, Format::PsPing { banner: true });
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    for (line, says) in [
        ("psping -l 8k host:5000", "need a count"),
        ("psping -b -l 8k -t host:5000", "-t is for pings"),
        ("psping -b -l 8k -n 5 host", "needs a port"),
        ("psping -l 8k -n 5 -i 1 host:5000", "-i has no meaning"),
        ("psping -b -n 0 host:5000", "-n 0 moves nothing"),
    ] {
        let said = asked(line).map(|asked| format!("{asked:?}")).expect_err(line);
        assert!(said.contains(says) && !said.contains('\n'), "{line}: {said}");
    }
}
