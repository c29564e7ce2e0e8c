//! The state of this host: each table read from the kernel's own interface and written down a line an entry, so that two
//! bundles can be compared line by line.

mod host;
mod log;
mod restore;
mod tables;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use host::{host_name, ports};
pub use log::KernelLog;

use rping_net::caps::{self, Cap};

use crate::{Bundle, Content};

/// The longest file that is read.
const MOST: u64 = 1 << 20;

/// Reads a file up to a bound; how much more it had at least, where it was longer.
pub(crate) fn read_bounded(path: impl AsRef<Path>) -> io::Result<(Vec<u8>, u64)> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MOST + 1)
        .read_to_end(&mut bytes)?;
    let more = (bytes.len() as u64).saturating_sub(MOST);
    bytes.truncate(MOST as usize);
    Ok((bytes, more))
}

/// The right that a file's reading takes, in words.
fn right_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "root",
        _ => "",
    }
}

/// What went wrong, without the number that Rust appends.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Everything that is read once. Capabilities are used where they are held: `CAP_NET_ADMIN` for the packet filter.
pub fn state(bundle: &mut Bundle) {
    bundle.note("the state of this host is read");
    host::machine(bundle);
    tables::links(bundle);
    tables::addresses(bundle);
    tables::routes(bundle);
    tables::rules(bundle);
    restore::restore(bundle);
    tables::drivers(bundle);
    tables::legacy(bundle);
    names(bundle);
    sysctls(bundle);
    host::time(bundle);
    bundle.note("the state of this host was read");
}

/// What probes move: the neighbours that were asked, and what the packet filter's rules have counted. To be read before
/// probes and after them; `suffix` tells the two apart in the files' names.
pub fn moving(bundle: &mut Bundle, suffix: &str) {
    tables::neighbours(bundle, &format!("neighbours{suffix}.txt"));
    // That the rules cannot be read is said once, at the end.
    if suffix.is_empty() || caps::holds(Cap::NetAdmin).unwrap_or(false) {
        tables::firewall(bundle, &format!("firewall{suffix}.txt"));
    }
}

/// The files that decide how names become addresses.
fn names(bundle: &mut Bundle) {
    for file in ["resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf"] {
        let path = format!("/etc/{file}");
        let name = format!("dns/{file}");
        match read_bounded(&path) {
            Ok((bytes, more)) => {
                if more > 0 {
                    bundle.unread(&name, &path, "it is longer than 1 MiB: its end is left out", "");
                }
                bundle.add(&name, &path, Content::Settings, bytes);
            }
            // Not there is not missing: the C library has defaults for these.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => bundle.unread(&name, &path, &plain(&error), right_for(&error)),
        }
    }
}

/// Secrets, and files that do something when they are read or written.
const SECRET: [&str; 3] = ["tcp_fastopen_key", "stable_secret", "flush"];
/// Settings that are kept.
const MOST_SETTINGS: usize = 50_000;

/// Every setting of the network stack that can be read and is no secret.
fn sysctls(bundle: &mut Bundle) {
    let root = Path::new("/proc/sys");
    let mut open: Vec<PathBuf> = ["core", "ipv4", "ipv6", "netfilter"]
        .iter()
        .map(|part| root.join("net").join(part))
        .collect();
    let mut lines = Vec::new();
    let mut refused = 0u32;
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(path);
                continue;
            }
            let name = entry.file_name();
            // The compiler of packet filters is no part of the network's state, and wants more rights than are kept.
            let is_compiler = name.to_string_lossy().starts_with("bpf_jit_");
            let is_secret = is_compiler || SECRET.iter().any(|secret| name == *secret);
            if is_secret || !kind.is_file() || lines.len() >= MOST_SETTINGS {
                continue;
            }
            match read_bounded(&path) {
                Ok((bytes, _)) => {
                    let value = String::from_utf8_lossy(&bytes);
                    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                    lines.push(format!("{} = {value}", name.replace('/', ".")));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
                // Write-only, or without a value at present.
                Err(_) => {}
            }
        }
    }
    lines.sort();
    if refused > 0 {
        bundle.unread(
            &format!("{refused} settings of sysctl.txt"),
            "/proc/sys/net",
            "Permission denied",
            "root",
        );
    }
    add_lines(
        bundle,
        "sysctl.txt",
        "/proc/sys/net/{core,ipv4,ipv6,netfilter}, keys left out",
        lines,
    );
}

fn add_lines(bundle: &mut Bundle, name: &str, source: &str, lines: Vec<String>) {
    // An empty file would look like one that could not be read.
    let mut text = if lines.is_empty() {
        "# none".to_owned()
    } else {
        lines.join("\n")
    };
    text.push('\n');
    bundle.add(name, source, Content::Table, text.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::About;

    #[test]
    fn the_state_of_this_host_has_every_table_and_no_key() {
        let mut bundle = Bundle::new(About {
            limit: 16 << 20,
            ..About::default()
        });
        state(&mut bundle);
        moving(&mut bundle, "");
        for name in [
            "machine.txt",
            "links.txt",
            "addresses.txt",
            "routes.txt",
            "rules.txt",
            "neighbours.txt",
            "offload.txt",
            "driver.txt",
            "sysctl.txt",
            "time.txt",
        ] {
            let file = bundle
                .file(name)
                .unwrap_or_else(|| panic!("no {name}: {:?}", bundle.missing()));
            assert!(!file.source.is_empty(), "{name}");
        }
        let text = |name: &str| String::from_utf8_lossy(&bundle.file(name).unwrap().bytes).into_owned();
        assert!(
            text("addresses.txt").contains("lo 127.0.0.1/8"),
            "{}",
            text("addresses.txt")
        );
        assert!(text("sysctl.txt").contains("net.ipv4.ip_local_port_range = "));
        assert!(
            !text("sysctl.txt").contains("fastopen_key") && !text("sysctl.txt").contains("stable_secret")
        );
    }
}
