//! What stands behind the port: programs of others, and the wrong one.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use rping_lab::{require_program, require_root, Background, Lab, Pair};

use super::{address, document, rping};

#[test]
fn a_tls_server_of_others_is_understood_and_what_stands_in_its_place_is_named() {
    let name = "a_tls_server_of_others_is_understood_and_what_stands_in_its_place_is_named";
    if !require_root(name) || !require_program(name, "openssl") {
        return;
    }
    let pair = Lab::pair();
    let place = tempfile::tempdir().unwrap();
    let (key, certificate) = (place.path().join("key"), place.path().join("certificate"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args([
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=fileserver.test",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut command = pair.server.command("openssl");
    command
        .args(["s_server", "-www", "-accept", "443", "-cert"])
        .arg(&certificate);
    command.arg("-key").arg(&key);
    let mut server = Background::spawn(command);
    server.wait_for("ACCEPT", Duration::from_secs(60));
    let run = rping(&pair.client, &["diagnose", "10.77.0.2:443", "-o", "json"]);
    let said = document(&run).unwrap();
    let heard = said["checks"].as_array().unwrap().last().unwrap()["evidence"].to_string();
    assert!(heard.contains("a TLS server hello"), "{said:#}");
    assert_eq!((run.status, said["verdict"]["layer"].as_str()), (Some(0), None));
    drop(server);

    // Somebody speaks HTTP without TLS where TLS belongs.
    let listener = pair
        .server
        .run(|| TcpListener::bind(address(Pair::SERVER_V4, 443)))
        .unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let run = rping(&pair.client, &["diagnose", "10.77.0.2:443", "-o", "json"]);
    let said = document(&run).unwrap();
    assert_eq!(
        (run.status, said["verdict"]["layer"].as_str()),
        (Some(1), Some("application")),
        "{said:#}"
    );
    let summary = said["verdict"]["summary"].to_string();
    assert!(summary.contains("TLS") && summary.contains("HTTP"), "{summary}");
}
