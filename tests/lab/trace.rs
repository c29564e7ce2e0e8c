//! `rping trace` against networks whose truth is known: a router that counts what it drops, address translation,
//! rewritten fields. tcpdump captures at both ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use rping_lab::{require_root, wait_until, Background, Lab, Namespace, Routed};
use serde_json::Value;

use crate::support::{count, rping, validated};

/// tcpdump on an interface, into a file that is kept.
struct Tap {
    tcpdump: Background,
    file: PathBuf,
}

impl Tap {
    fn start(namespace: &Namespace, interface: &str, directory: &std::path::Path, extra: &[&str]) -> Tap {
        let file = directory.join(format!("{interface}.pcap"));
        let mut command = namespace.command("tcpdump");
        command
            .args([
                "-i",
                interface,
                "-n",
                "-p",
                "-U",
                "--immediate-mode",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .args(extra)
            .args(["not", "arp", "and", "not", "icmp6"]);
        let mut tcpdump = Background::spawn(command);
        tcpdump.wait_for("listening on", Duration::from_secs(10));
        Tap { tcpdump, file }
    }

    /// Ends after `marker`, the last packet that passes here, is in the file.
    fn stop(self, marker: &[u8]) -> PathBuf {
        wait_until(
            "the last packet is in the capture",
            Duration::from_secs(10),
            || {
                let bytes = std::fs::read(&self.file).unwrap_or_default();
                bytes.windows(marker.len()).any(|window| window == marker)
            },
        );
        // It writes each packet as it comes (-U): ended now, its file is whole.
        drop(self.tcpdump);
        self.file
    }
}

struct Bench {
    lab: Routed,
    directory: tempfile::TempDir,
    a: Tap,
    b: Tap,
    /// Takes the last datagram: nothing comes back for it that one capture alone could hold.
    sink: UdpSocket,
}

const MARKER: &[u8] = b"the very last datagram";
const SERVER: &str = "10.77.2.1";
const SINK: u16 = 9;

fn bench(interface_args: &[&str]) -> Bench {
    let lab = Lab::routed();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let a = Tap::start(&lab.client, "c0", directory.path(), interface_args);
    let b = Tap::start(&lab.server, "s0", directory.path(), interface_args);
    let sink = lab
        .server
        .run(|| UdpSocket::bind((Routed::SERVER_V4, SINK)))
        .expect("a socket");
    Bench {
        lab,
        directory,
        a,
        b,
        sink,
    }
}

impl Bench {
    /// A datagram that nothing drops, then both captures end and are compared.
    fn compare(self) -> (Value, String) {
        let to: SocketAddr = (Routed::SERVER_V4, SINK).into();
        let socket = self
            .lab
            .client
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a socket");
        socket.send_to(MARKER, to).expect("the last datagram leaves");
        let (a, b) = (self.a.stop(MARKER), self.b.stop(MARKER));
        let path = |file: &PathBuf| file.to_str().expect("a path").to_owned();
        let (a, b) = (path(&a), path(&b));
        let run = rping(&self.lab.client, &["trace", &a, &b, "-o", "json"]);
        let document = validated(&run.stdout);
        let lost = count(&document["a_to_b"], "lost") + count(&document["b_to_a"], "lost");
        assert_eq!(run.status, Some(i32::from(lost > 0)), "{run:?}");
        let text = rping(&self.lab.client, &["trace", &a, &b]).stdout;
        drop((self.directory, self.sink));
        (document, text)
    }
}

fn flow<'a>(document: &'a Value, direction: &str, from_or_to: &str) -> &'a Value {
    document["flows"]
        .as_array()
        .expect("flows")
        .iter()
        .find(|flow| {
            let ends = format!("{} {}", flow["from"], flow["to"]);
            flow["direction"] == direction && ends.contains(from_or_to)
        })
        .unwrap_or_else(|| panic!("no flow {direction} {from_or_to} in {document:#}"))
}

/// The packets that a named counter of the router's rules has counted.
fn counted(router: &Namespace, name: &str) -> u64 {
    let out = router.exec(&["nft", "list", "counter", "inet", "t", name]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "packets").expect("a count");
    words[place + 1].parse().expect("a number")
}

#[test]
fn what_a_router_drops_is_counted_packet_by_packet_and_by_direction() {
    if !require_root("what_a_router_drops_is_counted_packet_by_packet_and_by_direction") {
        return;
    }
    let bench = bench(&[]);
    bench.lab.router.nft(
        "table inet t { counter there { } \ncounter back { } \nchain c { type filter hook forward priority 0; \
         iifname r0 udp dport 7 numgen inc mod 5 0 counter name there drop; \
         iifname r1 udp sport 7 numgen inc mod 7 0 counter name back drop; }\n}",
    );
    let _echo = rping_lab::UdpService::echo(&bench.lab.server, (Routed::SERVER_V4, 7).into());
    let run = rping(
        &bench.lab.client,
        &[
            "udp",
            "--protocol",
            "echo",
            SERVER,
            "-n",
            "100",
            "-i",
            "0.005",
            "-W",
            "0.3",
            "-q",
        ],
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let (there, back) = (
        counted(&bench.lab.router, "there"),
        counted(&bench.lab.router, "back"),
    );
    let (document, text) = bench.compare();
    let forward = flow(&document, "a_to_b", ":7\"");
    let reverse = flow(&document, "b_to_a", ":7\"");
    assert_eq!((there, count(forward, "left")), (20, 100));
    assert_eq!(count(forward, "lost"), there);
    assert_eq!(count(reverse, "lost"), back, "{document:#}");
    assert_eq!((count(reverse, "left"), back > 0), (80, true));
    assert!(text.contains("A → B  101 left, 81 arrived, 20 lost"), "{text}");
    let changes = forward["changes"].to_string();
    assert!(
        changes.contains(r#"{"arrived":"63","field":"ttl","left":"64","packets":80}"#),
        "{changes}"
    );
}

#[test]
fn tcp_through_a_lossy_router_with_offload_is_compared_by_bytes() {
    if !require_root("tcp_through_a_lossy_router_with_offload_is_compared_by_bytes") {
        return;
    }
    let bench = bench(&["-s", "128"]);
    bench.lab.router.nft(
        "table inet t { chain c { type filter hook forward priority 0; \
         iifname r0 tcp dport 445 numgen inc mod 9 5 drop; }\n}",
    );
    let listener = bench
        .lab
        .server
        .run(|| TcpListener::bind((Routed::SERVER_V4, 445)))
        .expect("a listener");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("all of it");
        all.len()
    });
    let mut stream = bench
        .lab
        .client
        .run(|| std::net::TcpStream::connect((Routed::SERVER_V4, 445)))
        .expect("a connection");
    stream.write_all(&[5; 200_000]).expect("room");
    drop(stream);
    assert_eq!(reader.join().expect("a reader"), 200_000);
    let (document, _) = bench.compare();
    let forward = flow(&document, "a_to_b", ":445\"");
    assert!(
        count(forward, "lost") > 0 && count(forward, "retransmits") > 0,
        "{forward:#}"
    );
    assert_eq!(
        count(forward, "left"),
        count(forward, "arrived") + count(forward, "lost")
    );
    assert_eq!(count(forward, "appeared"), 0, "{forward:#}");
    // What was lost was sent again: no less than that was retransmitted.
    assert!(count(forward, "lost_bytes") > 0);
    // A FIN that is sent again while the captures end is in B's alone, and is said to be at its edge.
    let reverse = flow(&document, "b_to_a", ":445\"");
    assert_eq!(
        count(reverse, "lost"),
        count(reverse, "lost_at_the_edge"),
        "{reverse:#}"
    );
}

#[test]
fn a_translator_and_rewritten_fields_are_seen_through_and_named() {
    if !require_root("a_translator_and_rewritten_fields_are_seen_through_and_named") {
        return;
    }
    let bench = bench(&[]);
    bench.lab.router.nft(
        "table ip n { chain post { type nat hook postrouting priority 100; oifname r1 masquerade; }\n\
         chain pre { type nat hook prerouting priority -100; tcp dport 8445 dnat to 10.77.2.1:445; }\n}\n\
         table inet t { counter lost { } \nchain c { type filter hook forward priority 0; \
         tcp dport 445 ip dscp set af31; \
         tcp flags syn tcp option maxseg size set 1200; \
         iifname r0 icmp type echo-request numgen inc mod 4 0 counter name lost drop; }\n}",
    );
    let _acceptor = rping_lab::Acceptor::start(&bench.lab.server, (Routed::SERVER_V4, 445).into());
    let run = rping(
        &bench.lab.client,
        &["tcp", "10.77.1.254:8445", "-n", "5", "-i", "0.02"],
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let run = rping(
        &bench.lab.client,
        &["icmp", SERVER, "-n", "20", "-i", "0.01", "-W", "0.3"],
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let lost = counted(&bench.lab.router, "lost");
    let (document, text) = bench.compare();
    assert_eq!((lost, count(&document["a_to_b"], "lost")), (5, 5), "{document:#}");
    assert_eq!(count(&document["b_to_a"], "lost"), 0);
    let tcp = flow(&document, "a_to_b", "10.77.1.254:8445");
    assert_eq!(tcp["to_arrived"], "10.77.2.1:445");
    assert!(
        tcp["from_arrived"]
            .as_str()
            .is_some_and(|from| from.starts_with("10.77.2.254:")),
        "{tcp:#}"
    );
    for change in [
        r#""arrived":"1200","field":"mss","left":"1460""#,
        r#""arrived":"26","field":"dscp","left":"0""#,
        r#""arrived":"445","field":"destination_port","left":"8445""#,
    ] {
        assert!(tcp["changes"].to_string().contains(change), "{tcp:#}");
    }
    assert!(text.contains("arrives as 10.77.2.254:"), "{text}");
}

#[test]
fn hostile_and_truncated_captures_are_an_error_or_used_as_far_as_they_go() {
    if !require_root("hostile_and_truncated_captures_are_an_error_or_used_as_far_as_they_go") {
        return;
    }
    let namespace = Namespace::new("files");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let mut capture = Vec::new();
    for word in [
        0xa1b2_c3d4u32,
        0x0004_0002,
        0,
        0,
        65_535,
        101,
        1_700_000_000,
        1,
        28,
        28,
    ] {
        capture.extend(word.to_ne_bytes());
    }
    capture.extend([
        0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9, 0, 8, 0, 0,
    ]);
    let whole = place("whole.pcap", &capture);
    capture.extend([1; 11]);
    let cut = place("cut.pcap", &capture);
    let run = rping(&namespace, &["trace", &whole, &cut, "-o", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let document = validated(&run.stdout);
    assert_eq!(count(&document["a_to_b"], "arrived"), 1);
    assert!(document["b"]["damage"]
        .as_str()
        .is_some_and(|why| why.starts_with("cut short after 68 bytes")));
    for (name, bytes, word) in [
        ("empty", &b""[..], "empty"),
        ("text", b"hello, world", "neither pcap nor pcapng"),
    ] {
        let run = rping(&namespace, &["trace", &whole, &place(name, bytes)]);
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(
            run.stderr.contains(word) && run.stderr.lines().count() == 1,
            "{run:?}"
        );
    }
    let run = rping(&namespace, &["trace", &whole]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.starts_with("rping: say which two captures"), "{run:?}");
    let place = directory.path().to_str().expect("a path");
    let run = rping(&namespace, &["trace", &whole, place]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.ends_with(": Is a directory\n"), "{run:?}");
    let run = rping(&namespace, &["trace", &whole, "/no/such/file"]);
    assert!(
        run.status == Some(2) && run.stderr.contains("cannot be read: No such file"),
        "{run:?}"
    );
}

#[test]
fn over_ipv6_which_has_no_identification_the_counts_are_equal_too() {
    if !require_root("over_ipv6_which_has_no_identification_the_counts_are_equal_too") {
        return;
    }
    let bench = bench(&[]);
    bench.lab.router.nft(
        "table inet t { counter there { } \nchain c { type filter hook forward priority 0; \
         meta nfproto ipv6 iifname r0 udp dport 7 numgen inc mod 4 1 counter name there drop; }\n}",
    );
    let _echo = rping_lab::UdpService::echo(&bench.lab.server, (Routed::SERVER_V6, 7).into());
    let run = rping(
        &bench.lab.client,
        &[
            "udp",
            "--protocol",
            "echo",
            "fd77:2::1",
            "-n",
            "40",
            "-i",
            "0.005",
            "-W",
            "0.3",
            "-q",
        ],
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let there = counted(&bench.lab.router, "there");
    let (document, _) = bench.compare();
    let forward = flow(&document, "a_to_b", "[fd77:2::1]:7\"");
    let reverse = flow(&document, "b_to_a", "[fd77:2::1]:7\"");
    assert_eq!((there, count(forward, "left")), (10, 40));
    assert_eq!(count(forward, "lost"), there, "{document:#}");
    assert_eq!((count(reverse, "left"), count(reverse, "lost")), (30, 0));
    assert_eq!(
        forward["changes"].to_string(),
        r#"[{"arrived":"63","field":"ttl","left":"64","packets":30}]"#
    );
}
