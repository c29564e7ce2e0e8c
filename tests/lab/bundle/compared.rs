//! `rping bundle diff`: what changed, and what is no bundle.

use rping_lab::{Acceptor, Lab, Namespace};

use super::{bundle, ready, system, Place};
use crate::support::{rping, validated};

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
