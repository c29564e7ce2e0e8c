//! `--pcap`: the run's own packets and nothing else, in a file that Wireshark's own reader opens.

use std::path::{Path, PathBuf};

use rping_lab::{require_program, require_root, Acceptor, Capture, Lab, Namespace, Pair, Routed, UdpService};

use crate::support::{rping, Run};

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file() -> File {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("run.pcapng");
    File {
        _directory: directory,
        path,
    }
}

/// Runs rping with a capture into a file of its own.
fn captured(namespace: &Namespace, args: &[&str]) -> (Run, File) {
    let file = file();
    let path = file.path.to_str().expect("a path in UTF-8");
    let run = rping(namespace, &[args, &["--pcap", path]].concat());
    (run, file)
}

/// The packets that tshark finds in a file, each as these fields joined by a space.
fn tshark(file: &Path, fields: &[&str]) -> Vec<String> {
    let mut command = std::process::Command::new("tshark");
    command
        .arg("-n")
        .arg("-r")
        .arg(file)
        .args(["-T", "fields", "-E", "separator= "]);
    for field in fields {
        command.args(["-e", field]);
    }
    let out = command.output().expect("tshark runs");
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn ready(test: &str) -> bool {
    require_root(test) && require_program(test, "tshark")
}

#[test]
fn a_capture_holds_exactly_the_probes_and_their_answers_with_interface_and_nanoseconds() {
    if !ready("a_capture_holds_exactly_the_probes_and_their_answers_with_interface_and_nanoseconds") {
        return;
    }
    let pair = Lab::pair();
    let truth = Capture::start(&pair.client, "c0", "icmp");
    let (run, file) = captured(&pair.client, &["icmp", "10.77.0.2", "-n", "5", "-i", "0.02"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let truth = truth.stop();
    let packets = tshark(
        &file.path,
        &[
            "frame.interface_name",
            "icmp.type",
            "icmp.seq",
            "frame.time_epoch",
        ],
    );
    assert_eq!(packets.len(), truth.packets.len());
    assert_eq!(packets.len(), 10, "{packets:#?}");
    for (packet, true_packet) in packets.iter().zip(&truth.packets) {
        let fields: Vec<&str> = packet.split(' ').collect();
        assert_eq!(fields[0], "c0");
        // The kernel's stamps, digit by digit those that tcpdump has.
        let stamp: String = fields[3].split('.').collect();
        assert_eq!(stamp, true_packet.ts_ns.to_string(), "{packet}");
    }
    assert!(packets.iter().filter(|packet| packet.contains(" 8 ")).count() == 5);
}

#[test]
fn every_kind_of_probe_captures_its_own_and_not_what_else_goes_on() {
    if !ready("every_kind_of_probe_captures_its_own_and_not_what_else_goes_on") {
        return;
    }
    let pair = Lab::pair();
    let _tcp = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    let _other = Acceptor::start(&pair.server, (Pair::SERVER_V4, 22).into());
    let _udp = UdpService::echo(&pair.server, (Pair::SERVER_V4, 7).into());
    // Noise towards the same host, another port.
    let mut noise = pair.client.command("sh");
    noise.args([
        "-c",
        "while :; do echo x | timeout 1 bash -c 'cat > /dev/tcp/10.77.0.2/22'; done",
    ]);
    let _noise = rping_lab::Background::spawn(noise);

    let (run, file) = captured(
        &pair.client,
        &["tcp", "10.77.0.2:445,446", "-n", "2", "-i", "0.1"],
    );
    assert_eq!(run.status, Some(1), "{run:?}");
    let packets = tshark(&file.path, &["tcp.srcport", "tcp.dstport", "tcp.flags.syn"]);
    assert!(
        packets
            .iter()
            .all(|packet| packet.contains("445") || packet.contains("446")),
        "{packets:#?}"
    );
    let syns = |to: &str| {
        packets
            .iter()
            .filter(|p| p.contains(to) && p.ends_with(" 1"))
            .count()
    };
    assert_eq!((syns(" 445 "), syns(" 446 ")), (2, 2), "{packets:#?}");

    let (run, file) = captured(
        &pair.client,
        &["udp", "--protocol", "echo", "10.77.0.2", "-n", "3", "-i", "0.02"],
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(tshark(&file.path, &["udp.port"]).len(), 6);

    let (run, file) = captured(&pair.client, &["arp", "10.77.0.2", "-n", "2", "-i", "0.02"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let packets = tshark(&file.path, &["arp.opcode", "arp.dst.proto_ipv4"]);
    assert!(
        packets.iter().filter(|p| *p == "1 10.77.0.2").count() >= 2,
        "{packets:#?}"
    );

    let (run, file) = captured(&pair.client, &["arp", "fd77::2", "-n", "1"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let packets = tshark(&file.path, &["icmpv6.type"]);
    assert!(
        packets.contains(&"135".to_owned()) && packets.contains(&"136".to_owned()),
        "{packets:#?}"
    );
}

#[test]
fn the_icmp_errors_about_the_probes_are_captured_too() {
    if !ready("the_icmp_errors_about_the_probes_are_captured_too") {
        return;
    }
    let lab = Lab::routed();
    lab.router.nft(
        "table inet t { chain c { type filter hook forward priority 0; tcp dport 445 reject with icmpx type admin-prohibited; }\n}",
    );
    let (run, file) = captured(&lab.client, &["tcp", "10.77.2.1:445", "-n", "2", "-i", "0.05"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let packets = tshark(&file.path, &["icmp.code", "ip.src"]);
    let errors = packets.iter().filter(|packet| packet.starts_with("13 ")).count();
    assert_eq!(errors, 2, "{packets:#?}");
    let _ = Routed::CLIENT_V4;
}

#[test]
fn without_the_right_to_capture_nothing_is_sent_and_the_remedy_is_named() {
    if !ready("without_the_right_to_capture_nothing_is_sent_and_the_remedy_is_named") {
        return;
    }
    let pair = Lab::pair();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = directory.path().join("rping");
    std::fs::copy(env!("CARGO_BIN_EXE_rping"), &program).expect("a copy of the program");
    for path in [directory.path(), program.as_path()] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    let capture = directory.path().join("x.pcapng");
    let run = pair
        .client
        .unprivileged(&program)
        .args(["tcp", "10.77.0.2:445", "--pcap"])
        .arg(&capture)
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(
        said.contains("run it as root") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!capture.exists() && pair.client.statistic("c0", "tx_packets") < 20);
    let run = rping(&pair.client, &["icmp", "10.77.0.2", "--pcap", "/dev/full"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    let run = rping(&pair.client, &["icmp", "10.77.0.2", "--pcap", "/no/such/file"]);
    assert!(
        run.status == Some(2) && run.stderr.contains("cannot be written: No such file"),
        "{run:?}"
    );
}

#[test]
fn a_full_capture_stays_within_its_limit_and_says_what_is_missing() {
    if !ready("a_full_capture_stays_within_its_limit_and_says_what_is_missing") {
        return;
    }
    let pair = Lab::pair();
    let file = file();
    let path = file.path.to_str().expect("a path");
    let args = [
        "icmp",
        "10.77.0.2",
        "-n",
        "50",
        "-i",
        "0.001",
        "--json",
        "--pcap-limit",
        "4k",
        "--pcap",
        path,
    ];
    let run = rping(&pair.client, &args);
    let document = run.json();
    assert_eq!(document["totals"]["received"], 50);
    let warnings = document["instrument"]["warnings"].to_string();
    let length = std::fs::metadata(&file.path).expect("the file").len();
    assert!(length <= 4096, "{length}");
    let packets = tshark(&file.path, &["frame.number"]).len();
    assert!(packets > 0, "{warnings}");
    assert!(
        warnings.contains(&format!("pcap_full: {} packets", 100 - packets)),
        "{warnings}"
    );
}
