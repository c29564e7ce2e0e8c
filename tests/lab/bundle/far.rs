//! `--peer`: what an agent at the far end sees of the flow is in the diagnosis, and no less redacted than the rest.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rping_lab::{Acceptor, Background, Lab, Namespace, Pair};

use super::{bundle, ready, validated, Place, Unpacked};
use crate::support::{count, finish};

const KEY: &str = "a key of more than sixteen octets";

fn agent(namespace: &Namespace) -> Background {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_rping"));
    command.args(["server", "--agent"]).env("RPING_KEY", KEY);
    let mut agent = Background::spawn(command);
    agent.wait_for("Ctrl-C ends it", Duration::from_secs(20));
    agent
}

#[test]
fn a_bundle_with_a_peer_holds_what_the_far_end_saw() {
    if !ready("a_bundle_with_a_peer_holds_what_the_far_end_saw") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let _agent = agent(&pair.server);
    let _service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    pair.server.nft(
        "table inet lab {\nchain input {\ntype filter hook input priority 0\ntcp dport 445 counter drop\n}\n}",
    );
    let key = place.text("key");
    std::fs::write(&key, KEY).expect("a key file");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&key, private).expect("a mode");
    let flags = ["10.77.0.2:445", "--peer", "10.77.0.2", "--key-file", &key];
    let run = bundle(&pair.client, &flags, &place.text("b.tar.gz"));
    assert_eq!(run.status, Some(1), "{run:?}");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let said = validated(&unpacked.text("diagnosis.json"));
    let seen = &said["peer"]["seen"];
    assert_eq!(said["verdict"]["layer"], "port", "{said:#}");
    assert_eq!(said["peer"]["loss"], "far_end", "{said:#}");
    assert_eq!(seen["listeners"][0]["address"], "10.77.0.2:445", "{said:#}");
    assert!(count(&seen["wire"], "asked") > 0, "{said:#}");
    let rule = "table inet lab, chain input";
    for file in ["verdict.txt", "diagnosis.txt", "diagnosis.json"] {
        assert!(
            unpacked.text(file).contains(rule),
            "{file}: {}",
            unpacked.text(file)
        );
    }
    // The key stands nowhere.
    for (name, file) in &unpacked.files {
        let text = String::from_utf8_lossy(file);
        assert!(!text.contains(KEY), "{name}: {text}");
    }
}

#[test]
fn a_redacted_bundle_with_a_peer_holds_neither_its_name_nor_its_addresses() {
    if !ready("a_redacted_bundle_with_a_peer_holds_neither_its_name_nor_its_addresses") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    let _agent = agent(&pair.server);
    let _service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    let etc = place.path("etc");
    std::fs::create_dir(&etc).expect("a directory");
    std::fs::write(etc.join("hosts"), "127.0.0.1 localhost\n").expect("a file");
    std::fs::write(etc.join("nsswitch.conf"), "hosts: files\n").expect("a file");
    // One peer by address, that tells all; and one by a name that stands in no file, so that only the command line knows it.
    for (peer, tells, file) in [
        ("10.77.0.2", true, place.text("b.tar.gz")),
        ("vaultkeeper", false, place.text("c.tar.gz")),
    ] {
        let script = format!(
            "for f in hosts nsswitch.conf; do mount --bind {}/$f /etc/$f; done && \
             exec {} bundle 10.77.0.2:445 --peer {peer} --redact --save {file}",
            etc.display(),
            env!("CARGO_BIN_EXE_rping"),
        );
        let mut command = pair.client.command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let run = finish(command.env("RPING_KEY", KEY));
        assert_eq!(run.status, Some(0), "{run:?}");
        let unpacked = Unpacked::of(std::path::Path::new(&file));
        let said = unpacked.json("diagnosis.json");
        assert_eq!(said["peer"]["seen"].is_object(), tells, "{said:#}");
        for (name, file) in &unpacked.files {
            let text = String::from_utf8_lossy(file).to_ascii_lowercase();
            for secret in ["10.77.0.", "vaultkeeper"] {
                assert!(!text.contains(secret), "{secret} in {name}: {text}");
            }
        }
    }
}
