//! Redaction: every address, link-layer address and name is replaced by a token of a key that is made for one bundle and
//! kept nowhere. The same address becomes the same token in every file, in text and in captured packets.
//!
//! What stays: loopback, unspecified, broadcast and multicast addresses, prefix lengths, ports, interface names, the names
//! of programs, figures. Afterwards every file is searched for all that is known to be secret; one in which something was
//! found is left out with that reason.

mod address;
mod capture;
mod words;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use address::Keyed;
use serde_json::Value;

use crate::Content;

/// Names shorter than this are parts of other words too often to be looked for.
const SHORTEST: usize = 2;
/// Words that are in every bundle and name nobody.
const COMMON: [&str; 7] = [
    "localhost",
    "localdomain",
    "local",
    "ip6-localhost",
    "ip6-loopback",
    "root",
    "linux",
];

/// Replaces what could name a person, a host or a place.
pub struct Redactor {
    keyed: Keyed,
    /// In lower case.
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    macs: BTreeSet<[u8; 6]>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// One with a key of its own, from the system's random numbers.
    ///
    /// # Errors
    /// Where the system has none to give.
    pub fn random() -> io::Result<Redactor> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Redactor::with_key(key))
    }

    /// One with this key.
    pub fn with_key(key: [u8; 32]) -> Redactor {
        Redactor {
            keyed: Keyed::new(key),
            names: BTreeSet::new(),
            addresses: BTreeSet::new(),
            macs: BTreeSet::new(),
        }
    }

    /// Learns a name: of a host, a domain, a user. Each part between its dots is one, too, but for the last.
    pub fn learn(&mut self, name: &str) {
        let name = name.trim_matches('.').to_ascii_lowercase();
        let is_wanted =
            |name: &str| name.len() >= SHORTEST && !COMMON.contains(&name) && name.parse::<u64>().is_err();
        if name.parse::<IpAddr>().is_ok() {
            return;
        }
        if let Some((labels, _)) = name.rsplit_once('.') {
            let labels: Vec<String> = labels.split('.').map(str::to_owned).collect();
            self.names
                .extend(labels.into_iter().filter(|label| is_wanted(label)));
        }
        if is_wanted(&name) {
            self.names.insert(name);
        }
    }

    /// Learns what this host knows of itself and of others: its name, its users, its files about names, its tables.
    pub fn learn_host(&mut self) {
        self.learn(&crate::collect::host_name());
        let text = |path: &str| {
            let (bytes, _) = crate::collect::read_bounded(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        for line in text("/etc/passwd").lines() {
            let fields: Vec<&str> = line.split(':').collect();
            // People, not the system's own accounts.
            let id = fields.get(2).and_then(|id| id.parse::<u32>().ok()).unwrap_or(0);
            if (1_000..60_000).contains(&id) {
                self.learn(fields[0]);
            }
        }
        for variable in ["USER", "LOGNAME", "SUDO_USER"] {
            if let Ok(user) = std::env::var(variable) {
                self.learn(&user);
            }
        }
        for line in text("/etc/hosts").lines() {
            let line = line.split('#').next().unwrap_or_default();
            line.split_whitespace().skip(1).for_each(|name| self.learn(name));
        }
        for line in text("/etc/resolv.conf").lines() {
            let mut words = line.split_whitespace();
            if matches!(words.next(), Some("search" | "domain")) {
                words.for_each(|name| self.learn(name));
            }
        }
        for link in rping_net::iface::interfaces().unwrap_or_default() {
            self.macs.extend(link.mac);
            self.addresses
                .extend(link.addresses.iter().map(|address| address.address));
            for entry in rping_net::netlink::neighbours(link.index).unwrap_or_default() {
                self.macs.extend(entry.mac);
                self.addresses.insert(entry.address);
            }
        }
    }

    /// Learns an address that must not be found afterwards.
    pub fn learn_address(&mut self, address: IpAddr) {
        self.addresses.insert(address);
    }

    /// The token of a name; a domain name keeps its dots.
    pub fn name(&self, name: &str) -> String {
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || COMMON.contains(&lower.as_str()) {
            return name.to_owned();
        }
        let label = |label: &str| match label {
            "" => String::new(),
            _ => format!(
                "n{}",
                crate::pack::hex(&self.keyed.token("name", label.as_bytes())[..5])
            ),
        };
        lower.split('.').map(label).collect::<Vec<_>>().join(".")
    }

    /// A text in which names may stand that nobody knows ahead.
    pub fn words(&self, text: &str) -> String {
        words::redact(self, text, true)
    }

    /// A file of a bundle.
    ///
    /// # Errors
    /// In words, where something secret is still in it.
    pub fn file(&self, content: Content, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.file_until(content, bytes, &|| false)
    }

    /// The same, given up as soon as `stop` says so; it is asked at every line, value and packet.
    ///
    /// # Errors
    /// In words, where something secret is still in it, and where it was given up.
    pub fn file_until(
        &self,
        content: Content,
        bytes: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, String> {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let lines = |text: &str, domains| -> String {
            let lines = text.split_inclusive('\n').take_while(|_| !stop());
            lines.map(|line| words::redact(self, line, domains)).collect()
        };
        let redacted = match content {
            Content::Table => lines(&text(), false).into_bytes(),
            Content::Words => lines(&text(), true).into_bytes(),
            Content::Settings => {
                let bare = |line: &str| {
                    line.split(['#', ';'])
                        .next()
                        .unwrap_or_default()
                        .trim_end()
                        .to_owned()
                };
                let bare: Vec<String> = text().lines().map(bare).filter(|line| !line.is_empty()).collect();
                lines(&(bare.join("\n") + "\n"), true).into_bytes()
            }
            Content::Json => {
                let value: Value = serde_json::from_str(&text()).map_err(|error| error.to_string())?;
                let mut all =
                    serde_json::to_vec_pretty(&self.value(value, stop)).map_err(|error| error.to_string())?;
                all.push(b'\n');
                all
            }
            Content::Lines => {
                let mut all = Vec::new();
                for line in text().lines().take_while(|_| !stop()) {
                    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
                    serde_json::to_writer(&mut all, &self.value(value, stop))
                        .map_err(|error| error.to_string())?;
                    all.push(b'\n');
                }
                all
            }
            Content::Capture => capture::redact(self, bytes, stop)?,
        };
        let leak = self.leak(content, &redacted, stop);
        // Half a file is none, and half of one that was searched may hold anything.
        if stop() {
            return Err("a signal came before it was redacted".to_owned());
        }
        match leak {
            Some(what) => Err(format!("{what} was still in it after redaction")),
            None => Ok(redacted),
        }
    }

    /// Every string in a document; keys are ours.
    fn value(&self, value: Value, stop: &dyn Fn() -> bool) -> Value {
        match value {
            _ if stop() => Value::Null,
            Value::String(text) => Value::String(self.words(&text)),
            Value::Array(all) => Value::Array(all.into_iter().map(|value| self.value(value, stop)).collect()),
            Value::Object(all) => {
                let each = all.into_iter().map(|(key, value)| {
                    // The form of the document is ours, too, though it looks like a domain.
                    let is_form =
                        key == "schema" && value.as_str().is_some_and(|form| form.starts_with("rping."));
                    let value = if is_form { value } else { self.value(value, stop) };
                    (key, value)
                });
                Value::Object(each.collect())
            }
            other => other,
        }
    }

    /// What kind of secret is still in it.
    fn leak(&self, content: Content, bytes: &[u8], stop: &dyn Fn() -> bool) -> Option<&'static str> {
        if content == Content::Capture {
            return capture::leak(self, bytes, stop);
        }
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        // Each place of the text is looked at once, however many secrets there are.
        let is_secret =
            |address: IpAddr| self.addresses.contains(&address) && self.keyed.ip(address) != address;
        let is_address = |word: &str| word.parse().is_ok_and(is_secret);
        if words::quads(&text).any(|(_, quad)| is_secret(quad.address.into())) {
            return Some("an address");
        }
        if macs(&text).any(|mac| self.macs.contains(&mac) && self.keyed.mac(mac) != mac) {
            return Some("a link-layer address");
        }
        let runs = text.split(|letter: char| !words::is_run(letter));
        for run in runs.filter(|run| !run.is_empty()) {
            let inner = run.trim_matches(|letter| ".:-_".contains(letter));
            let parts = || run.split(['-', '_']).chain([run, inner]);
            if parts().any(is_address) {
                return Some("an address");
            }
            if parts()
                .chain(run.split(['.', ':', '-', '_']))
                .any(|word| self.names.contains(word))
            {
                return Some("a name");
            }
        }
        None
    }
}

/// Link-layer addresses wherever they stand, with a colon, a hyphen or nothing between their bytes; they may overlap.
fn macs(text: &str) -> impl Iterator<Item = [u8; 6]> + '_ {
    (0..text.len()).filter_map(|at| {
        let signed = |text: &str| words::mac(text);
        let bare = |text: &str| {
            let is_all = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = u64::from_str_radix(text, 16).ok().filter(|_| is_all)?;
            <[u8; 6]>::try_from(&value.to_be_bytes()[2..]).ok()
        };
        match text.as_bytes().get(at + 2)? {
            b':' | b'-' => text.get(at..at + 17).and_then(signed),
            _ => text.get(at..at + 12).and_then(bare),
        }
    })
}

#[cfg(test)]
mod tests;
