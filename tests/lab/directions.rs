//! Loss, duplicates and overtaking by direction are equal to the log of the emulated link, against our own server and
//! against a reflector that copies the sender's numbers.

use std::net::SocketAddr;
use std::time::Duration;

use rping_lab::{
    require_root, Background, Burst, Direction, Emulator, Fate, Impairment, Namespace, Truth, UdpService,
};
use serde_json::Value;

use crate::support::rping;

const MS: Duration = Duration::from_millis(1);
const PORT: u16 = 5201;
const PROBES: usize = 400;

fn server(namespace: &Namespace, more: &[&str]) -> Background {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_rping"));
    command.arg("server").args(more);
    let mut server = Background::spawn(command);
    server.wait_for("Ctrl-C ends it", Duration::from_secs(20));
    server
}

/// What happened to the probes on each way: lost, doubled, overtaken.
#[derive(Debug, PartialEq, Eq)]
struct Ways {
    forward: [u64; 3],
    reverse: [u64; 3],
}

fn word(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

/// In the order of hand-over, the packets of one way by `key`; closing packets, whose numbers lie far beyond, left out.
fn arrived(truth: &Truth, way: Direction, key: impl Fn(&[u8]) -> Option<u32>, of: usize) -> Vec<u32> {
    let mut all: Vec<(u64, u32)> = Vec::new();
    for entry in truth.of(way) {
        let probe = word(&entry.head, of).expect("a STAMP packet");
        if probe as usize >= PROBES || matches!(entry.fate, Fate::Dropped(_)) {
            continue;
        }
        let key = key(&entry.head).expect("a STAMP packet");
        all.extend(entry.released.iter().map(|copy| (copy.order, key)));
    }
    all.sort_unstable();
    all.into_iter().map(|(_, key)| key).collect()
}

/// Distinct ones, copies beyond the first, and first ones behind a later one (RFC 4737).
fn judged(order: &[u32]) -> (u64, u64, u64) {
    let (mut seen, mut behind, mut next) = (std::collections::HashSet::new(), 0, 0);
    for &key in order {
        if !seen.insert(key) {
            continue;
        }
        behind += u64::from(key < next);
        next = next.max(key + 1);
    }
    (seen.len() as u64, (order.len() - seen.len()) as u64, behind)
}

fn expected(truth: &Truth) -> Ways {
    let there = arrived(truth, Direction::Forward, |head| word(head, 0), 0);
    let (reached, doubled, overtaken) = judged(&there);
    let back = arrived(truth, Direction::Reverse, |head| word(head, 0), 24);
    let (_, doubled_back, overtaken_back) = judged(&back);
    let answered = judged(&arrived(truth, Direction::Reverse, |head| word(head, 24), 24)).0;
    Ways {
        forward: [PROBES as u64 - reached, doubled, overtaken],
        reverse: [reached - answered, doubled_back, overtaken_back],
    }
}

fn told(target: &Value) -> Ways {
    let of = |way: &str| {
        ["lost", "duplicates", "reordered"].map(|key| {
            target[way][key]
                .as_u64()
                .unwrap_or_else(|| panic!("{way} {key}: {target:#}"))
        })
    };
    Ways {
        forward: of("forward"),
        reverse: of("reverse"),
    }
}

fn run(emulator: &Emulator, more: &[&str]) -> Value {
    probe(emulator, "400", more)
}

fn probe(emulator: &Emulator, count: &str, more: &[&str]) -> Value {
    let address = Emulator::SERVER_V4.to_string();
    let common = [
        "udp", &address, "-n", count, "-i", "5ms", "-W", "300ms", "-o", "json",
    ];
    rping(&emulator.client, &[&common, more].concat()).json()["targets"][0].clone()
}

fn adds_up(target: &Value) {
    let n = |path: &str| target.pointer(path).and_then(Value::as_u64).expect("a number");
    assert_eq!(
        n("/forward/lost") + n("/reverse/lost") + n("/unattributed"),
        n("/lost"),
        "{target:#}"
    );
    assert_eq!(n("/reverse/received"), n("/received"));
    // What was refused is on no way: it was not lost, and nobody counted it.
    assert_eq!(n("/forward/sent") + n("/rejected"), n("/sent"));
}

#[test]
fn what_happens_on_each_way_is_counted_on_that_way_and_nothing_is_left_over() {
    if !require_root("what_happens_on_each_way") {
        return;
    }
    let losing = Impairment {
        delay: MS * 3,
        loss: 0.06,
        ..Impairment::default()
    };
    let bursts = Impairment {
        delay: MS,
        burst: Some(Burst {
            enter: 0.02,
            leave: 0.3,
            loss: 1.0,
        }),
        ..Impairment::default()
    };
    let doubling = Impairment {
        duplicate: 0.05,
        duplicate_gap: MS,
        ..losing.clone()
    };
    let overtaking = Impairment {
        reorder: 0.05,
        reorder_by: MS * 22,
        ..losing.clone()
    };
    let all_back = Impairment {
        duplicate: 0.05,
        reorder: 0.05,
        reorder_by: MS * 22,
        ..bursts.clone()
    };
    let cases = [
        (losing.clone(), Impairment::default()),
        (Impairment::default(), losing.clone()),
        (losing, bursts.clone()),
        // Copies there and losses back are in the next test: a missing number may then be a copy's.
        (
            doubling,
            Impairment {
                duplicate: 0.05,
                duplicate_gap: MS,
                ..Impairment::default()
            },
        ),
        // What is overtaken and whose answer is then lost nobody can see, so on this way back nothing is lost.
        (
            overtaking,
            Impairment {
                burst: None,
                ..all_back.clone()
            },
        ),
        (Impairment::default(), all_back),
    ];
    for (seed, (forward, reverse)) in (11..).zip(cases) {
        let emulator = Emulator::seeded(seed)
            .forward(forward.clone())
            .reverse(reverse.clone())
            .start();
        let _server = server(&emulator.server, &[]);
        let target = run(&emulator, &[]);
        let truth = emulator.truth();
        assert_eq!(
            told(&target),
            expected(&truth),
            "{forward:?} {reverse:?}\n{target:#}"
        );
        assert_eq!(target["unattributed"], 0, "{target:#}");
        assert_eq!(target["reflector"]["numbers"], "stateful");
        adds_up(&target);
    }
}

#[test]
fn with_everything_on_both_ways_at_once_no_loss_is_told_of_the_wrong_one() {
    if !require_root("with_everything_on_both_ways") {
        return;
    }
    let everything = Impairment {
        delay: MS * 3,
        loss: 0.06,
        duplicate: 0.05,
        duplicate_gap: MS,
        reorder: 0.05,
        reorder_by: MS * 22,
        ..Impairment::default()
    };
    for seed in 21..24 {
        let emulator = Emulator::seeded(seed)
            .forward(everything.clone())
            .reverse(everything.clone())
            .start();
        let _server = server(&emulator.server, &[]);
        let target = run(&emulator, &[]);
        adds_up(&target);
        let (told, truth) = (told(&target), expected(&emulator.truth()));
        let n = |path: &str| target.pointer(path).and_then(Value::as_u64).unwrap();
        // How many were lost, and what became of the answers on their way, is known exactly.
        assert_eq!(n("/lost"), truth.forward[0] + truth.reverse[0], "{target:#}");
        assert_eq!(told.reverse[1..], truth.reverse[1..], "{target:#}");
        // On which way: only what the numbers prove, and the rest on neither.
        assert!(told.forward[0] <= truth.forward[0], "{truth:?} {target:#}");
        assert!(told.reverse[0] <= truth.reverse[0], "{truth:?} {target:#}");
        assert!(told.forward[1] <= truth.forward[1], "{truth:?} {target:#}");
        assert!(n("/unattributed") > 0, "{target:#}");
        assert!(told.forward[0] > 0, "{target:#}");
    }
}

#[test]
fn a_reflector_that_copies_numbers_is_known_and_its_losses_are_on_no_way() {
    if !require_root("a_reflector_that_copies_numbers") {
        return;
    }
    let losing = Impairment {
        loss: 0.1,
        ..Impairment::default()
    };
    let emulator = Emulator::seeded(5)
        .forward(losing.clone())
        .reverse(losing)
        .start();
    let at = SocketAddr::from((Emulator::SERVER_V4, PORT));
    let _copying = UdpService::start(&emulator.server, at, |request| {
        let mut answer = request.to_vec();
        // RFC 8762 figure 4, with T2 and T3 of no clock.
        answer[16..24].copy_from_slice(&request[4..12]);
        answer[24..38].copy_from_slice(&request[0..14]);
        answer[40] = 64;
        vec![answer]
    });
    let target = run(&emulator, &[]);
    assert_eq!(target["reflector"]["numbers"], "stateless", "{target:#}");
    assert_eq!(target["unattributed"], target["lost"]);
    assert!(target["lost"].as_u64().unwrap() > 40);
    adds_up(&target);
}

#[test]
fn a_server_that_is_killed_and_started_again_makes_no_loss_by_beginning_to_count_anew() {
    if !require_root("a_server_that_is_killed") {
        return;
    }
    let emulator = Emulator::seeded(3).start();
    let first = server(&emulator.server, &[]);
    let (target, _second) = std::thread::scope(|scope| {
        let client = scope.spawn(|| run(&emulator, &[]));
        rping_lab::pause(MS * 700);
        // Killed.
        drop(first);
        let second = server(&emulator.server, &[]);
        (client.join().expect("a run"), second)
    });
    adds_up(&target);
    let n = |path: &str| target.pointer(path).and_then(Value::as_u64).unwrap();
    // What it was killed over was refused, or lost with it; nothing is lost on a link that loses nothing.
    assert_eq!((n("/forward/lost"), n("/reverse/lost")), (0, 0), "{target:#}");
    assert_eq!(
        (n("/forward/duplicates"), n("/forward/reordered")),
        (0, 0),
        "{target:#}"
    );
    assert_eq!(n("/reflector/restarts"), 1, "{target:#}");
    assert!(n("/received") > 200, "{target:#}");
}

#[test]
fn headers_and_delays_are_told_as_the_far_end_saw_them() {
    if !require_root("headers_and_delays") {
        return;
    }
    let emulator = Emulator::seeded(9)
        .forward(Impairment::delay(MS * 20))
        .reverse(Impairment::delay(MS * 5))
        .start();
    let _server = server(&emulator.server, &[]);
    let target = probe(&emulator, "20", &["--ttl", "33", "--dscp", "AF41"]);
    let arrived = &target["forward"]["arrived"];
    assert_eq!(
        (&arrived["ttl_min"], &arrived["dscp"]),
        (&Value::from(33), &Value::from(34)),
        "{target:#}"
    );
    let n = |path: &str| target.pointer(path).and_then(Value::as_u64).unwrap();
    // Both clocks are one here: the estimate halves the difference, and says that it may be off by that.
    let (there, error) = (n("/forward/delay_ns/min"), n("/forward/clock_error_ns"));
    assert!(there.abs_diff(20_000_000) <= error + 5_000_000, "{target:#}");
    assert!(n("/reflector/residence_ns/count") == 20, "{target:#}");
}

#[test]
fn with_a_key_both_ends_speak_and_without_it_the_server_is_silent() {
    if !require_root("with_a_key_both_ends_speak") {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
        path.to_str().expect("a name").to_owned()
    };
    let (key, other) = (
        write("key", "0123456789abcdef\n"),
        write("other", "another0123456789\n"),
    );
    let emulator = Emulator::seeded(1)
        .forward(Impairment {
            loss: 0.1,
            ..Impairment::default()
        })
        .start();
    let _server = server(&emulator.server, &["--key-file", &key]);
    let target = run(&emulator, &["--key-file", &key]);
    assert_eq!(target["unattributed"], 0, "{target:#}");
    assert_eq!(target["forward"]["lost"], target["lost"]);
    assert!(target["received"].as_u64().unwrap() > 300, "{target:#}");
    for more in [&[][..], &["--key-file", &other]] {
        let target = probe(&emulator, "5", more);
        assert_eq!(
            (&target["received"], &target["unexpected"]),
            (&Value::from(0), &Value::from(0))
        );
    }
}
