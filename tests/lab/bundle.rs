//! `rping bundle`: what is in it, that it is whole, that it is safe to hand on, and what changed between two.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rping_lab::{require_program, require_root, Acceptor, Background, Lab, Namespace, Pair};
use serde_json::Value;

use crate::support::{command, rping, validated, Run};

/// A directory for bundles.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

/// A bundle that was unpacked by the system's own tar and checked by `gzip` and `sha256sum`.
struct Unpacked {
    files: BTreeMap<String, Vec<u8>>,
    order: Vec<String>,
    directory: PathBuf,
}

fn system(program: &str, args: &[&str], directory: &Path) -> String {
    let out = Command::new(program)
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(out.status.success(), "{program} {args:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Unpacked {
    fn of(path: &Path) -> Unpacked {
        let mode = std::fs::metadata(path).expect("a bundle").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{path:?}");
        let bundle = path.to_str().expect("a path in UTF-8");
        let directory = path.with_extension("unpacked");
        std::fs::create_dir(&directory).expect("a directory");
        system("gzip", &["-t", bundle], &directory);
        system("tar", &["xzf", bundle], &directory);
        system("sha256sum", &["--strict", "-c", "SHA256SUMS"], &directory);
        let order: Vec<String> = system("tar", &["tzf", bundle], &directory)
            .lines()
            .map(str::to_owned)
            .collect();
        let files = order
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    std::fs::read(directory.join(name)).expect("an unpacked file"),
                )
            })
            .collect();
        let unpacked = Unpacked {
            files,
            order,
            directory,
        };
        unpacked.check_manifest();
        unpacked
    }

    /// Every file is in the manifest, with its length, its hash and its source.
    fn check_manifest(&self) {
        let manifest = validated(&self.text("MANIFEST"));
        let entries = manifest["files"].as_array().expect("files");
        assert_eq!(entries.len() + 2, self.order.len(), "{:?}", self.order);
        for entry in entries {
            let name = entry["name"].as_str().expect("a name");
            assert_eq!(entry["bytes"], self.files[name].len(), "{name}");
            let sums = self.text("SHA256SUMS");
            let hash = entry["sha256"].as_str().expect("a hash");
            assert!(sums.contains(&format!("{hash}  {name}\n")), "{name}");
        }
    }

    fn text(&self, name: &str) -> String {
        let bytes = self
            .files
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.order));
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What tshark finds in a capture of it.
    fn packets(&self, name: &str, fields: &[&str]) -> Vec<String> {
        let mut args = vec!["-n", "-r", name, "-T", "fields", "-E", "separator= "];
        fields.iter().for_each(|field| args.extend(["-e", *field]));
        system("tshark", &args, &self.directory)
            .lines()
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

fn ready(test: &str) -> bool {
    ["tshark", "gzip", "tar", "sha256sum", "nft"]
        .iter()
        .all(|program| require_program(test, program))
        && require_root(test)
}

fn bundle(namespace: &Namespace, args: &[&str], file: &str) -> Run {
    rping(namespace, &[&["bundle"], args, &["--save", file]].concat())
}

#[test]
fn a_bundle_of_a_refused_port_holds_the_verdict_first_and_the_evidence_for_it() {
    if !ready("a_bundle_of_a_refused_port_holds_the_verdict_first_and_the_evidence_for_it") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    pair.client.ip("route add 10.99.0.0/16 via 10.77.0.2");
    pair.client.nft(
        "table inet t { chain o { type filter hook output priority 0; tcp dport 9999 counter drop; }\n}",
    );
    let run = bundle(
        &pair.client,
        &["10.77.0.2:445", "-o", "json"],
        &place.text("b.tar.gz"),
    );
    assert_eq!(run.status, Some(1), "{run:?}");
    let report = validated(&run.stdout);
    assert_eq!(report["verdict"]["layer"], "port");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    assert_eq!(unpacked.order[..2], ["verdict.txt", "MANIFEST"]);
    assert!(
        unpacked.text("verdict.txt").starts_with("VERDICT layer=port "),
        "{}",
        unpacked.text("verdict.txt")
    );
    let diagnosis = validated(&unpacked.text("diagnosis.json"));
    assert_eq!(diagnosis["verdict"]["layer"], "port");
    for (file, words) in [
        ("links.txt", "c0 index"),
        ("addresses.txt", "c0 10.77.0.1/24"),
        ("routes.txt", "10.99.0.0/16 via 10.77.0.2 dev c0 table main"),
        ("rules.txt", "IPv4 32766 from all lookup main"),
        ("neighbours.txt", "c0 10.77.0.2 mac "),
        ("firewall.txt", "9999"),
        ("firewall-before.txt", "9999"),
        ("driver.txt", "c0 driver veth"),
        ("offload.txt", "c0 tx-checksum"),
        ("ports.txt", "range "),
        ("sysctl.txt", "net.ipv4.tcp_syn_retries = "),
        ("time.txt", "synchronised "),
        ("machine.txt", "kernel "),
        ("counters-before.txt", "tcp.AttemptFails "),
        ("timeline.ndjson", "the diagnosis of 10.77.0.2:445 begins"),
        ("dns/hosts", "localhost"),
    ] {
        assert!(
            unpacked.text(file).contains(words),
            "{words} in {file}: {}",
            unpacked.text(file)
        );
    }
    // What the refusal did to the counters.
    let moved = unpacked.text("counters-difference.txt");
    assert!(
        moved.lines().any(|line| line.starts_with("tcp.AttemptFails ")),
        "{moved}"
    );
    let resets = unpacked.packets("capture.pcapng", &["tcp.flags.reset", "tcp.srcport"]);
    assert!(resets.iter().any(|packet| packet == "1 445"), "{resets:#?}");
    // In order of time, on two clocks.
    let offsets: Vec<u64> = unpacked
        .text("timeline.ndjson")
        .lines()
        .map(|line| {
            let moment: Value = serde_json::from_str(line).expect("a moment");
            assert!(moment["at"].as_str().is_some_and(|at| at.ends_with('Z')));
            moment["offset_ns"].as_u64().expect("an offset")
        })
        .collect();
    assert!(offsets.len() > 5 && offsets.is_sorted(), "{offsets:?}");
}

#[test]
fn a_bundle_of_a_healthy_port_finds_no_fault_and_one_without_a_target_sends_nothing() {
    if !ready("a_bundle_of_a_healthy_port_finds_no_fault_and_one_without_a_target_sends_nothing") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let _service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    let run = bundle(&pair.client, &["10.77.0.2:445"], &place.text("b.tar.gz"));
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("VERDICT layer=none"), "{run:?}");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    assert!(unpacked.text("verdict.txt").starts_with("VERDICT layer=none"));
    assert!(!unpacked.packets("capture.pcapng", &["frame.number"]).is_empty());

    let quiet = Namespace::new("quiet");
    quiet.ip("link set lo up");
    let run = bundle(&quiet, &["-q"], &place.text("state.tar.gz"));
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    assert_eq!(run.stdout.trim(), place.text("state.tar.gz"));
    assert_eq!(quiet.statistic("lo", "tx_packets"), 0);
    let unpacked = Unpacked::of(&place.path("state.tar.gz"));
    assert!(!unpacked.files.contains_key("diagnosis.json") && !unpacked.files.contains_key("capture.pcapng"));
}

#[test]
fn without_rights_it_does_what_it_can_and_names_the_right_for_the_rest() {
    if !ready("without_rights_it_does_what_it_can_and_names_the_right_for_the_rest") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let program = place.path("rping");
    std::fs::copy(env!("CARGO_BIN_EXE_rping"), &program).expect("a copy of the program");
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a mode");
    };
    open(place.0.path());
    open(&program);
    let run = pair
        .client
        .unprivileged(&program)
        .args(["bundle", "10.77.0.2:445", "--save"])
        .arg(place.path("b.tar.gz"))
        .output()
        .expect("a run");
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let unread = unpacked.text("unread.txt");
    let lacks = |what: &str, right: &str| {
        unread
            .lines()
            .any(|line| line.starts_with(what) && line.contains(&format!("it takes {right}")))
    };
    assert!(
        lacks("firewall.txt", "CAP_NET_ADMIN or root") && lacks("capture.pcapng", "root"),
        "{unread}"
    );
    assert!(
        unpacked.text("verdict.txt").contains("firewall.txt: "),
        "{}",
        unpacked.text("verdict.txt")
    );
    assert!(unpacked.text("routes.txt").contains("10.77.0.0/24 dev c0"));
    let manifest = unpacked.json("MANIFEST");
    assert!(
        manifest["unread"]
            .as_array()
            .is_some_and(|unread| unread.len() >= 2),
        "{manifest}"
    );
}

#[test]
fn it_replaces_no_file_follows_no_link_and_leaves_nothing_behind_when_it_cannot_be_written() {
    if !ready("it_replaces_no_file_follows_no_link_and_leaves_nothing_behind_when_it_cannot_be_written") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    std::fs::write(place.path("there"), "mine").expect("a file");
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("link")).expect("a link");
    for (file, words) in [
        (place.text("there"), "no file is replaced"),
        (place.text("link"), "no file is replaced"),
        ("/dev/full".to_owned(), "No space left on device"),
        (place.text("no/such/dir/b.tar.gz"), "No such file"),
        (place.text(""), "directory"),
    ] {
        let run = bundle(&pair.client, &[], &file);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (Some(2), ""),
            "{file}: {run:?}"
        );
        assert!(
            run.stderr.starts_with("rping: ") && run.stderr.lines().count() == 1,
            "{run:?}"
        );
        assert!(run.stderr.contains(words), "{file}: {run:?}");
    }
    assert_eq!(
        std::fs::read_to_string(place.path("there")).expect("the file"),
        "mine"
    );
    let mut names: Vec<_> = std::fs::read_dir(place.0.path())
        .expect("a directory")
        .flatten()
        .collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    assert_eq!(names.len(), 2, "{names:?}");
    // Its own name, in the directory it is run in.
    let run = crate::support::finish(
        command(&pair.client)
            .args(["bundle", "-q"])
            .current_dir(place.0.path()),
    );
    let name = run.stdout.trim();
    assert!(
        name.starts_with("rping-bundle-") && name.ends_with("Z.tar.gz"),
        "{run:?}"
    );
    Unpacked::of(&place.path(name));
}

#[test]
fn a_signal_ends_it_with_a_whole_bundle_of_what_is_there() {
    if !ready("a_signal_ends_it_with_a_whole_bundle_of_what_is_there") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    // A silent target, which takes its time to be diagnosed.
    pair.server
        .nft("table inet t { chain i { type filter hook input priority 0; drop; }\n}");
    let mut run = command(&pair.client);
    run.args(["bundle", "10.77.0.2:445", "--save"])
        .arg(place.path("b.tar.gz"));
    let mut run = Background::spawn(run);
    rping_lab::wait_until("the diagnosis sends", Duration::from_secs(60), || {
        pair.client.statistic("c0", "tx_packets") > 0 && pair.server.statistic("s0", "rx_packets") > 2
    });
    signal(&run, "-INT");
    let status = run.finish(Duration::from_secs(60));
    assert_eq!(status.code(), Some(1), "{}", run.log());
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let said = unpacked.text("verdict.txt");
    assert!(
        said.contains("a signal came") || said.starts_with("VERDICT layer="),
        "{said}"
    );
    assert!(unpacked.text("routes.txt").contains("10.77.0.0/24"));
    assert!(unpacked.text("counters-difference.txt").starts_with("# counter"));
}

#[test]
fn until_failure_freezes_the_packets_that_led_to_it() {
    if !ready("until_failure_freezes_the_packets_that_led_to_it") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    let mut run = command(&pair.client);
    run.args([
        "bundle",
        "10.77.0.2:445",
        "--until-failure",
        "-i",
        "50ms",
        "-W",
        "700ms",
        "--save",
    ])
    .arg(place.path("b.tar.gz"));
    let mut run = Background::spawn(run);
    rping_lab::wait_until("some probes are answered", Duration::from_secs(60), || {
        service.accepted() >= 3
    });
    pair.server
        .nft("table inet t { chain i { type filter hook input priority 0; tcp dport 445 drop; }\n}");
    let status = run.finish(Duration::from_secs(100));
    assert_eq!(status.code(), Some(1), "{}", run.log());
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let said = unpacked.text("verdict.txt");
    assert!(
        said.contains("Failed probe: probe ") && said.contains("lost"),
        "{said}"
    );
    let probes: Vec<Value> = unpacked
        .text("ring-probes.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a probe"))
        .collect();
    let lost = probes
        .iter()
        .find(|probe| probe["outcome"] == "lost")
        .expect("a lost probe");
    assert!(
        probes.iter().filter(|probe| probe["outcome"] == "reply").count() >= 3,
        "{probes:#?}"
    );
    // Its SYN is in the ring, and was sent by when the probe says that it left.
    let syns = unpacked.packets("ring.pcapng", &["tcp.flags", "tcp.srcport", "frame.time_epoch"]);
    let mut unanswered: BTreeMap<&str, usize> = BTreeMap::new();
    for packet in &syns {
        let fields: Vec<&str> = packet.split(' ').collect();
        match fields[0] {
            "0x0002" => *unanswered.entry(fields[1]).or_default() += 1,
            "0x0012" => {}
            _ => {}
        }
    }
    let answered: Vec<String> = unpacked
        .packets("ring.pcapng", &["tcp.flags", "tcp.dstport"])
        .into_iter()
        .filter_map(|packet| packet.strip_prefix("0x0012 ").map(str::to_owned))
        .collect();
    unanswered.retain(|port, _| !answered.iter().any(|answered| answered == port));
    assert!(
        !unanswered.is_empty() && answered.len() >= 3,
        "{lost} in {syns:#?}"
    );
    assert!(unpacked.text("ring-counters.ndjson").contains("\"moved\""));
    // The filter is gone on the way to the host, so the diagnosis says what it sees now.
    assert_ne!(unpacked.json("diagnosis.json")["verdict"]["layer"], Value::Null);
}

#[test]
fn until_failure_ends_without_one_by_count_or_signal() {
    if !ready("until_failure_ends_without_one_by_count_or_signal") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let run = bundle(
        &pair.client,
        &[
            "10.77.0.2",
            "--until-failure",
            "-i",
            "0.02",
            "-W",
            "20s",
            "-n",
            "5",
        ],
        &place.text("n"),
    );
    assert_eq!(run.status, Some(0), "{run:?}");
    let unpacked = Unpacked::of(&place.path("n"));
    assert_eq!(unpacked.text("ring-probes.ndjson").lines().count(), 5);
    assert_eq!(
        unpacked
            .packets("ring.pcapng", &["icmp.type"])
            .iter()
            .filter(|kind| *kind == "8")
            .count(),
        5
    );
    assert!(!unpacked.files.contains_key("diagnosis.json"));

    let mut run = command(&pair.client);
    run.args([
        "bundle",
        "10.77.0.2",
        "--until-failure",
        "-i",
        "20ms",
        "-W",
        "20s",
        "--save",
    ])
    .arg(place.path("s"));
    let mut run = Background::spawn(run);
    let before = pair.server.statistic("s0", "rx_packets");
    rping_lab::wait_until("some probes are sent", Duration::from_secs(60), || {
        pair.server.statistic("s0", "rx_packets") > before + 3
    });
    signal(&run, "-TERM");
    assert_eq!(
        run.finish(Duration::from_secs(60)).code(),
        Some(0),
        "{}",
        run.log()
    );
    let unpacked = Unpacked::of(&place.path("s"));
    assert!(
        unpacked.text("verdict.txt").starts_with("VERDICT none"),
        "{}",
        unpacked.text("verdict.txt")
    );
}

#[test]
fn diff_names_the_route_that_changed_and_the_verdict() {
    if !ready("diff_names_the_route_that_changed_and_the_verdict") {
        return;
    }
    let (lab, place) = (Lab::routed(), Place::new());
    let _service = Acceptor::start(&lab.server, (rping_lab::Routed::SERVER_V4, 445).into());
    let target = "10.77.2.1:445";
    lab.client.ip("route add 10.99.0.0/16 via 10.77.1.254");
    assert_eq!(bundle(&lab.client, &[target], &place.text("a")).status, Some(0));
    lab.client
        .ip("route del 10.99.0.0/16\nroute del default\nroute add 10.98.0.0/16 via 10.77.1.254");
    lab.client.sysctl("net.ipv4.tcp_syn_retries", "3");
    assert_eq!(bundle(&lab.client, &[target], &place.text("b")).status, Some(1));
    let (a, b) = (place.text("a"), place.text("b"));
    let run = rping(&lab.client, &["bundle", "diff", &a, &b]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    for line in [
        "- route: 10.99.0.0/16 via 10.77.1.254 dev c0",
        "- route: default (IPv4) via 10.77.1.254 dev c0",
        "+ route: 10.98.0.0/16 via 10.77.1.254 dev c0",
        "~ sysctl net.ipv4.tcp_syn_retries: 6 -> 3",
        "~ verdict: no fault found: ",
    ] {
        assert!(run.stdout.contains(line), "{line} in {}", run.stdout);
    }
    let document = validated(&rping(&lab.client, &["bundle", "diff", &a, &b, "-o", "json"]).stdout);
    let changes = document["changes"].as_array().expect("changes");
    assert!(changes
        .iter()
        .any(|change| change["what"] == "verdict" && change["how"] == "changed"));
    let same = rping(&lab.client, &["bundle", "diff", &a, &a]);
    assert!(
        same.status == Some(0) && same.stdout.contains("Nothing changed"),
        "{same:?}"
    );
}

#[test]
fn what_is_no_bundle_is_refused_in_one_line() {
    if !ready("what_is_no_bundle_is_refused_in_one_line") {
        return;
    }
    let (quiet, place) = (Namespace::new("quiet"), Place::new());
    assert_eq!(bundle(&quiet, &[], &place.text("good")).status, Some(0));
    let good = std::fs::read(place.path("good")).expect("a bundle");
    std::fs::write(place.path("cut"), &good[..good.len() / 2]).expect("a file");
    std::fs::write(place.path("text"), "no archive at all, just words").expect("a file");
    std::fs::write(place.path("empty"), "").expect("a file");
    std::fs::create_dir(place.path("etc")).expect("a directory");
    std::fs::write(place.path("etc/x"), "x").expect("a file");
    let here = place.0.path();
    system("tar", &["czf", "other", "etc/x"], here);
    system(
        "tar",
        &["czPf", "climbing", "--transform", "s,^,../../,", "etc/x"],
        here,
    );
    // 2 GiB of zeros in 2 MiB.
    system(
        "sh",
        &["-c", "truncate -s 2G zeros; tar czf bomb zeros; rm zeros"],
        here,
    );
    for (file, words) in [
        ("cut", "damaged or cut short"),
        ("text", "not a gzip file"),
        ("empty", ""),
        ("other", "no MANIFEST"),
        ("climbing", "no name of a bundle's file"),
        ("bomb", "more than 256 MiB"),
        ("etc", "cannot be read"),
        ("nobody", "cannot be read: No such file"),
    ] {
        let run = rping(
            &quiet,
            &["bundle", "diff", &place.text("good"), &place.text(file)],
        );
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (Some(2), ""),
            "{file}: {run:?}"
        );
        assert!(
            run.stderr.starts_with("rping: ") && run.stderr.lines().count() == 1,
            "{file}: {run:?}"
        );
        assert!(
            run.stderr.contains(words) && run.stderr.contains(file),
            "{file}: {run:?}"
        );
    }
}

fn signal(run: &Background, signal: &str) {
    let pid = run.id().to_string();
    system("kill", &[signal, &pid], Path::new("/"));
}

/// Whether `what` stands in `bytes`.
fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn a_redacted_bundle_holds_no_address_name_or_mac_in_any_form() {
    if !ready("a_redacted_bundle_holds_no_address_name_or_mac_in_any_form") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    // Names of its own, of this host, a domain and the target; and a neighbour that is a secret, too.
    let etc = place.path("etc");
    std::fs::create_dir(&etc).expect("a directory");
    std::fs::write(
        etc.join("hosts"),
        "127.0.0.1 localhost\n10.77.0.2 vaultserver.zurichoffice.example vaultserver\n198.51.100.77 archiveserver\n",
    )
    .expect("a file");
    std::fs::write(
        etc.join("resolv.conf"),
        "nameserver 10.77.0.2\nsearch zurichoffice.example\n",
    )
    .expect("a file");
    std::fs::write(etc.join("nsswitch.conf"), "hosts: files\n").expect("a file");
    let _service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    pair.client
        .ip("route add 198.51.100.0/24 via 10.77.0.2\nroute add 2001:db8:7:8::/64 via fd77::2");
    pair.client.nft(
        "table inet t { chain o { type filter hook output priority 0; ip daddr 198.51.100.77 counter drop; }\n}",
    );
    let file = place.text("b.tar.gz");
    let script = format!(
        "hostname secrethostname && for f in hosts resolv.conf nsswitch.conf; do mount --bind {}/$f /etc/$f; done && \
         exec {} bundle vaultserver.zurichoffice.example:445 --redact --save {file}",
        etc.display(),
        env!("CARGO_BIN_EXE_rping"),
    );
    let run = pair
        .client
        .command("unshare")
        .args(["--mount", "--uts", "sh", "-c", &script])
        .output()
        .expect("a run");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let (client_mac, server_mac) = (pair.client.mac("c0"), pair.server.mac("s0"));
    let bytes = |mac: &str| -> Vec<u8> {
        mac.split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
            .collect()
    };
    let mut secrets: Vec<Vec<u8>> = [
        "10.77.0.1",
        "10.77.0.2",
        "10.77.0.",
        "198.51.100.",
        "fd77::1",
        "fd77::2",
        "2001:db8:7:8",
        "vaultserver",
        "archiveserver",
        "zurichoffice",
        "secrethostname",
        client_mac.as_str(),
        server_mac.as_str(),
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for mac in [&client_mac, &server_mac] {
        secrets.push(bytes(mac));
        secrets.push(mac.replace(':', "").into_bytes());
        secrets.push(mac.replace(':', "-").into_bytes());
    }
    let fd77 = std::net::Ipv6Addr::from([0xfd77, 0, 0, 0, 0, 0, 0, 2]).octets();
    secrets.extend([
        vec![10, 77, 0, 1],
        vec![10, 77, 0, 2],
        vec![198, 51, 100, 77],
        fd77.to_vec(),
    ]);
    for (name, file) in &unpacked.files {
        let lower = file.to_ascii_lowercase();
        for secret in &secrets {
            let shown = String::from_utf8_lossy(secret);
            assert!(
                !holds(file, secret) && !holds(&lower, secret),
                "{shown:?} in {name}: {}",
                String::from_utf8_lossy(file)
            );
        }
    }
    // It is still of use: one token for one address, in text and in packets; the verdict; a subnet.
    assert!(
        unpacked.text("verdict.txt").starts_with("VERDICT layer=none"),
        "{}",
        unpacked.text("verdict.txt")
    );
    let routes = unpacked.text("routes.txt");
    let gateway = routes
        .lines()
        .find_map(|line| line.split(" via ").nth(1)?.split(' ').next())
        .unwrap_or_else(|| panic!("no gateway in {routes}"));
    assert!(
        unpacked
            .text("neighbours.txt")
            .contains(&format!("c0 {gateway} mac ")),
        "{gateway}"
    );
    let packets = unpacked.packets("capture.pcapng", &["ip.dst", "tcp.dstport", "tcp.len"]);
    assert!(
        packets
            .iter()
            .any(|packet| packet.starts_with(&format!("{gateway} 445"))),
        "{gateway} in {packets:#?}"
    );
    assert!(unpacked.json("MANIFEST")["redacted"] == true);
    // Two bundles, two keys.
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("redacted"), "{said}");
}
