use super::*;
use crate::{About, Bundle, Content};

fn archive(files: &[(&str, &str)]) -> Archive {
    let mut bundle = Bundle::new(About {
        limit: 1 << 20,
        host: "h".to_owned(),
        ..About::default()
    });
    for (name, text) in files {
        bundle.add(name, "x", Content::Table, text.as_bytes().to_vec());
    }
    Archive::read(&bundle.pack(Vec::new(), None).unwrap().1[..]).unwrap()
}

#[test]
fn routes_settings_links_and_the_verdict_are_told_by_what_they_are() {
    let verdict = |layer: &str, result: &str| {
        format!(
            r#"{{"verdict":{{"layer":{layer},"summary":"s"}},"checks":[{{"name":"port","result":"{result}"}}]}}"#
        )
    };
    let (failed, fine) = (verdict("\"port\"", "fail"), verdict("null", "pass"));
    let a = archive(&[
        (
            "routes.txt",
            "default via 10.0.0.1 dev e\n10.9.0.0/16 via 10.0.0.2 dev e\n",
        ),
        ("sysctl.txt", "net.ipv4.ip_forward = 0\nnet.ipv4.tcp_ecn = 2\n"),
        ("links.txt", "e index 2 up mtu 1500\n"),
        ("neighbours.txt", "e 10.0.0.1 mac 02:00:00:00:00:01 reachable\n"),
        ("firewall.txt", "rule x: drop (5 packets)\n"),
        ("machine.txt", "uptime_and_idle_s 5 5\n"),
        ("diagnosis.json", &failed),
        ("counters-after.txt", "tcp.RetransSegs 5\nip.InReceives 7\n"),
    ]);
    let b = archive(&[
        (
            "routes.txt",
            "default via 10.0.0.1 dev e\n10.8.0.0/16 via 10.0.0.2 dev e\n",
        ),
        ("sysctl.txt", "net.ipv4.ip_forward = 1\nnet.ipv4.tcp_ecn = 2\n"),
        ("links.txt", "e index 2 up mtu 1400\n"),
        ("neighbours.txt", "e 10.0.0.1 mac 02:00:00:00:00:01 stale\n"),
        ("firewall.txt", "rule x: drop (9 packets)\n"),
        ("machine.txt", "uptime_and_idle_s 9 9\n"),
        ("diagnosis.json", &fine),
        ("counters-before.txt", "tcp.RetransSegs 9\nip.InReceives 7\n"),
    ]);
    let found = compare(&a, &b);
    let said: Vec<String> = found
        .changes
        .iter()
        .map(|change| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!(
                "{} {:?} {} > {}",
                change.what,
                change.how,
                text(&change.before),
                text(&change.after)
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "verdict Changed port: s > no fault found: s",
            "check Changed fail > pass",
            "link Changed e index 2 up mtu 1500 > e index 2 up mtu 1400",
            "route Added  > 10.8.0.0/16 via 10.0.0.2 dev e",
            "route Removed 10.9.0.0/16 via 10.0.0.2 dev e > ",
            "sysctl Changed 0 > 1",
        ]
    );
    let moved: Vec<_> = found
        .counters
        .iter()
        .map(|c| (c.name.as_str(), c.before, c.after))
        .collect();
    assert_eq!(moved, [("tcp.RetransSegs", Some(5), Some(9))]);
    assert_eq!(found.notes, Vec::<String>::new());
    let same = compare(&a, &a);
    assert_eq!(same.changes, []);
}

#[test]
fn what_one_bundle_lacks_is_a_note_and_no_change() {
    let found = compare(&archive(&[("routes.txt", "x\n")]), &archive(&[]));
    assert_eq!(found.changes, []);
    assert!(
        found
            .notes
            .iter()
            .any(|note| note.contains("B holds no routes.txt")),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_counter_beyond_the_range_is_shown_as_its_end_on_that_side() {
    assert_eq!(clamped(i128::from(i64::MIN) - 1), i64::MIN);
    assert_eq!(clamped(i128::from(i64::MAX) + 1), i64::MAX);
    assert_eq!(clamped(-5), -5);
}
