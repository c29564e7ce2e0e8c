//! Ports by service name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of a services file that are read; Debian's holds 13 kB, a full copy of IANA's registry 1 MB.
const MOST: u64 = 16 << 20;

/// The names people write, for hosts without a services file (small containers) and for names that some files lack.
const KNOWN: [(&str, u16); 32] = [
    ("domain", 53),
    ("echo", 7),
    ("epmap", 135),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("kerberos", 88),
    ("kpasswd", 464),
    ("ldap", 389),
    ("ldaps", 636),
    ("microsoft-ds", 445),
    ("ms-sql-s", 1433),
    ("ms-wbt-server", 3389),
    ("mysql", 3306),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("ntp", 123),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("rdp", 3389),
    ("smb", 445),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("submission", 587),
    ("telnet", 23),
    ("winrm", 5985),
    ("wsman", 5985),
];

/// The port of a service: from the file for this protocol, else from the file for another, else a well-known one.
pub(crate) fn port(file: &Path, name: &str, protocol: &str) -> Option<u16> {
    let listed = File::open(file)
        .ok()
        .and_then(|file| look_up(BufReader::new(file.take(MOST)), name, protocol));
    listed.or_else(|| {
        KNOWN
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|&(_, port)| port)
    })
}

/// Reads lines such as `https 443/tcp www-s # comment` (services(5)).
fn look_up(file: impl BufRead, name: &str, protocol: &str) -> Option<u16> {
    let mut other = None;
    for line in file.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (Some(service), Some(at)) = (words.next(), words.next()) else {
            continue;
        };
        if service != name && !words.any(|alias| alias == name) {
            continue;
        }
        let Some((port, for_protocol)) = at.split_once('/') else {
            continue;
        };
        let Some(port) = port.parse().ok().filter(|&port| port > 0) else {
            continue;
        };
        if for_protocol == protocol {
            return Some(port);
        }
        other = other.or(Some(port));
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_own_entry_comes_first() {
        let file = b"# comment\nssh 22/tcp\nodd 7/udp alias # tcp too\nodd 9/tcp\nzero 0/tcp\n\xff\xfe\nbad x/tcp\nlast 5/tcp";
        assert_eq!(look_up(&file[..], "odd", "tcp"), Some(9));
        assert_eq!(look_up(&file[..], "odd", "udp"), Some(7));
        assert_eq!(look_up(&file[..], "alias", "tcp"), Some(7));
        assert_eq!(look_up(&file[..], "last", "udp"), Some(5));
        for name in ["zero", "bad", "nobody", "#", "tcp"] {
            assert_eq!(look_up(&file[..], name, "tcp"), None, "{name}");
        }
    }

    #[test]
    fn without_a_file_the_common_names_still_work() {
        let nowhere = Path::new("/nonexistent/services");
        assert_eq!(port(nowhere, "https", "tcp"), Some(443));
        assert_eq!(port(nowhere, "microsoft-ds", "udp"), Some(445));
        assert_eq!(port(nowhere, "nobody", "tcp"), None);
    }
}
