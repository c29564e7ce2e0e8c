//! `rping bundle`: what is in it, that it is whole, that it is safe to hand on, and what changed between two.

mod compared;
mod far;
mod redacted;
mod until;

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
    // A pipe that nobody reads is not waited for.
    let pipe = place.path("pipe");
    system("mkfifo", &[&place.text("pipe")], Path::new("/"));
    let run = bundle(&pair.client, &[], &place.text("pipe"));
    assert_eq!((run.status, run.stderr.lines().count()), (Some(2), 1), "{run:?}");
    assert!(run.stderr.contains("nobody reads"), "{run:?}");
    std::fs::remove_file(pipe).expect("the pipe");
    // The verdict is not lost with the file.
    let run = bundle(&pair.client, &["10.77.0.2:445"], "/dev/full");
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("No space left") && run.stderr.contains("VERDICT layer=port"),
        "{run:?}"
    );
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

fn signal(run: &Background, signal: &str) {
    let pid = run.id().to_string();
    system("kill", &[signal, &pid], Path::new("/"));
}
