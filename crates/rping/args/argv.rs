//! From the words of the command line to words that clap reads without ambiguity.
//!
//! Three habits clap does not know: a command that may stay away (`rping HOST`), flags that may stand before the
//! command, and `-H` whose value may stay away although a target follows.

use super::usage::{shown, Usage};
use super::value;
use crate::targets::{is_number, parse_port, Spec};

/// What is to be done with the words.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Words {
    /// For clap, program name first; and the command that explains more about them. `then` is what is wrong with bare
    /// targets, to be said if nothing is wrong with the flags: behind an unknown flag its value looks like a target.
    Clap {
        argv: Vec<String>,
        help: String,
        then: Option<Usage>,
    },
    /// No command and no target.
    Nobody,
}

/// Which flags take a value, as the commands declare them.
struct Flags<'a>(&'a clap::Command);

impl Flags<'_> {
    fn takes_value(&self, is_it: impl Fn(&clap::Arg) -> bool) -> bool {
        let mut all = self.0.get_subcommands().flat_map(clap::Command::get_arguments);
        all.any(|arg| is_it(arg) && arg.get_action().takes_values())
    }

    fn long(&self, name: &str) -> bool {
        self.takes_value(|arg| arg.get_long() == Some(name))
    }

    fn short(&self, letter: char) -> bool {
        self.takes_value(|arg| {
            arg.get_short_and_visible_aliases()
                .is_some_and(|all| all.contains(&letter))
        })
    }
}

/// The rewritten words, and what was found on the way.
#[derive(Default)]
struct Scan {
    words: Vec<String>,
    /// Indices in `words` of the targets, or of the command and its targets.
    positional: Vec<usize>,
    /// The index in `words` of `--`.
    escape: Option<usize>,
    /// `--help` or `--version`, where it stands before any command or target.
    asked: Option<&'static str>,
}

impl Scan {
    fn asks(&mut self, what: &'static str) {
        if self.positional.is_empty() && self.asked.is_none() {
            self.asked = Some(what);
        }
    }

    fn run(typed: Vec<String>, flags: &Flags<'_>) -> Scan {
        let mut scan = Scan::default();
        let mut typed = typed.into_iter().peekable();
        while let Some(word) = typed.next() {
            if scan.escape.is_some() || word == "-" || !word.starts_with('-') {
                scan.positional.push(scan.words.len());
                scan.words.push(word);
            } else if word == "--" {
                scan.escape = Some(scan.words.len());
                scan.words.push(word);
            } else if let Some(long) = word.strip_prefix("--") {
                match long {
                    "help" => scan.asks("--help"),
                    "version" => scan.asks("--version"),
                    _ => {}
                }
                if long == "histogram" {
                    let value = typed.next_if(|next| value::is_buckets(next));
                    scan.words.push(histogram(value.as_deref()));
                    continue;
                }
                let wants = !long.contains('=') && flags.long(long);
                scan.words.push(word);
                scan.words.extend(wants.then(|| typed.next()).flatten());
            } else {
                scan.cluster(&word[1..], flags, &mut typed);
            }
        }
        scan
    }

    /// One hyphen and any number of letters, the last of which may take a value: `-qn5`, `-q -n 5`, `-qH 10`.
    fn cluster(
        &mut self,
        letters: &str,
        flags: &Flags<'_>,
        rest: &mut std::iter::Peekable<impl Iterator<Item = String>>,
    ) {
        let mut kept = String::from("-");
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'h' => self.asks("--help"),
                'V' => self.asks("--version"),
                _ => {}
            }
            if letter == 'H' {
                if kept.len() > 1 {
                    self.words.push(std::mem::replace(&mut kept, String::from("-")));
                }
                let attached = letters.as_str();
                let bare = attached.strip_prefix('=').unwrap_or(attached);
                if attached.is_empty() {
                    let value = rest.next_if(|next| value::is_buckets(next));
                    self.words.push(histogram(value.as_deref()));
                } else if attached.starts_with('=') || value::is_buckets(bare) {
                    self.words.push(histogram(Some(bare)));
                    return;
                } else {
                    self.words.push(histogram(None));
                }
                continue;
            }
            kept.push(letter);
            if flags.short(letter) {
                let attached = letters.as_str();
                kept.push_str(attached);
                self.words.push(kept);
                if attached.is_empty() {
                    self.words.extend(rest.next());
                }
                return;
            }
        }
        if kept.len() > 1 {
            self.words.push(kept);
        }
    }
}

fn histogram(value: Option<&str>) -> String {
    format!("--histogram={}", value.unwrap_or("20"))
}

/// Rewrites what was typed after the program's name.
///
/// # Errors
/// A list of targets without a command.
pub(crate) fn rewrite(typed: Vec<String>, commands: &clap::Command) -> Result<Words, Usage> {
    let Scan {
        mut words,
        positional,
        escape,
        asked,
    } = Scan::run(typed, &Flags(commands));
    let clap = |first: &str, words: Vec<String>, help: String| {
        let argv = ["rping", first]
            .into_iter()
            .map(str::to_owned)
            .chain(words)
            .collect();
        Ok(Words::Clap {
            argv,
            help,
            then: None,
        })
    };
    if let Some(flag) = asked {
        return clap(flag, Vec::new(), "rping --help".to_owned());
    }
    let Some(&first) = positional.first() else {
        if words.iter().any(|word| word.starts_with("--targets")) {
            return Err(Usage::new(
                "--targets without a command: say how to probe them, as in rping icmp --targets FILE or \
                 rping tcp --targets FILE",
            ));
        }
        // Whatever is wrong with the flags is said first.
        return match words.is_empty() {
            true => Ok(Words::Nobody),
            false => clap("icmp", words, "rping --help".to_owned()),
        };
    };
    let escaped = escape.is_some_and(|escape| escape < first);
    if !escaped {
        let word = words[first].as_str();
        if word == "help" || commands.find_subcommand(word).is_some() {
            let command = words.remove(first);
            let help = if command == "help" {
                "rping --help".to_owned()
            } else {
                format!("rping {command} --help")
            };
            return clap(&command, words, help);
        }
    }
    let (command, then) = match bare_command(positional.iter().map(|&at| words[at].as_str())) {
        Ok(command) => (command, None),
        Err(usage) => ("icmp", Some(usage)),
    };
    let argv = ["rping", command]
        .into_iter()
        .map(str::to_owned)
        .chain(words)
        .collect();
    Ok(Words::Clap {
        argv,
        help: format!("rping {command} --help"),
        then,
    })
}

/// Refuses `HOST PORT`, as telnet and netcat take it, and says how it is written here.
///
/// # Errors
/// Where a port stands behind a host.
pub(crate) fn host_and_port(command: &str, targets: &[impl AsRef<str>]) -> Result<(), Usage> {
    for pair in targets.windows(2) {
        let [host, port] = [pair[0].as_ref(), pair[1].as_ref()];
        let is_port = is_number(port) && parse_port(port).is_ok();
        let Ok(spec) = Spec::parse(host) else { continue };
        if is_port && spec.ports().is_empty() {
            let bare = spec.host_text();
            let place = match bare.contains(':') {
                true => format!("[{bare}]:{port}"),
                false => format!("{bare}:{port}"),
            };
            return Err(Usage::new(format_args!(
                "{} is a port, which stands behind a colon: rping {command} {}",
                shown(port),
                crate::render::escape::line(&place)
            )));
        }
    }
    Ok(())
}

/// PsPing's habit: ICMP without a port, TCP connect with one.
fn bare_command<'a>(targets: impl Iterator<Item = &'a str>) -> Result<&'static str, Usage> {
    let mut with = None;
    let mut without = None;
    let targets: Vec<&str> = targets.collect();
    host_and_port("tcp", &targets)?;
    for target in targets {
        let spec = Spec::parse(target).map_err(Usage::new)?;
        if spec.ports().is_empty() {
            without = Some(target);
        } else {
            with = Some(target);
        }
    }
    match (with, without) {
        (Some(with), Some(without)) => Err(Usage::new(format_args!(
            "{} has a port and {} has none: say which probe is meant, rping tcp HOST:PORT… or rping icmp HOST…",
            shown(with),
            shown(without)
        ))),
        (Some(_), None) => Ok("tcp"),
        (None, _) => Ok("icmp"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let typed = line.split_whitespace().map(str::to_owned).collect();
        match rewrite(typed, &crate::args::command()) {
            Ok(Words::Clap {
                then: Some(usage), ..
            }) => format!("error: {usage}"),
            Ok(Words::Clap { argv, .. }) => argv[1..].join(" "),
            Ok(Words::Nobody) => "nobody".to_owned(),
            Err(usage) => format!("error: {usage}"),
        }
    }

    #[test]
    fn a_bare_host_is_icmp_and_a_bare_host_with_a_port_is_tcp() {
        assert_eq!(rewritten("host"), "icmp host");
        assert_eq!(rewritten("host:445"), "tcp host:445");
        assert_eq!(
            rewritten("fe80::1%eth0 10.0.0.0/24"),
            "icmp fe80::1%eth0 10.0.0.0/24"
        );
        assert_eq!(
            rewritten("[::1]:80 10.0.0.0/24:445"),
            "tcp [::1]:80 10.0.0.0/24:445"
        );
        assert!(rewritten("host host:445").starts_with("error: 'host:445' has a port and 'host' has none"));
    }

    #[test]
    fn flags_may_stand_before_a_bare_host_or_a_command() {
        assert_eq!(rewritten("-n 5 host"), "icmp -n 5 host");
        assert_eq!(
            rewritten("-qn5 --interval=0 host:1"),
            "tcp -qn5 --interval=0 host:1"
        );
        assert_eq!(rewritten("-c 10 -q tcp host:445"), "tcp -c 10 -q host:445");
        assert_eq!(rewritten("--protocol echo udp host"), "udp --protocol echo host");
        assert_eq!(rewritten("-i -1 host"), "icmp -i -1 host");
    }

    #[test]
    fn a_host_named_like_a_command_stands_after_two_hyphens() {
        assert_eq!(rewritten("-- tcp"), "icmp -- tcp");
        assert_eq!(rewritten("-n 1 -- latency"), "icmp -n 1 -- latency");
        assert_eq!(rewritten("-- help:80"), "tcp -- help:80");
        assert_eq!(rewritten("tcp:80"), "tcp tcp:80");
        assert_eq!(rewritten("icmp -- tcp"), "icmp -- tcp");
    }

    #[test]
    fn a_histogram_flag_takes_numbers_and_leaves_hosts() {
        assert_eq!(rewritten("icmp -H host"), "icmp --histogram=20 host");
        assert_eq!(rewritten("icmp -H 10 host"), "icmp --histogram=10 host");
        assert_eq!(rewritten("icmp -qH 1,2.5 host"), "icmp -q --histogram=1,2.5 host");
        assert_eq!(rewritten("icmp -H10 host"), "icmp --histogram=10 host");
        assert_eq!(rewritten("icmp -H=10 host"), "icmp --histogram=10 host");
        assert_eq!(rewritten("icmp -Hq host"), "icmp --histogram=20 -q host");
        assert_eq!(rewritten("-H 10.0.0.1"), "icmp --histogram=20 10.0.0.1");
        assert_eq!(rewritten("--histogram 7 10.0.0.1"), "icmp --histogram=7 10.0.0.1");
        assert_eq!(rewritten("icmp host -H"), "icmp host --histogram=20");
        assert_eq!(rewritten("icmp -H -4 host"), "icmp --histogram=20 -4 host");
        assert_eq!(rewritten("icmp -- -H 10"), "icmp -- -H 10");
        assert_eq!(rewritten("icmp -S -H host"), "icmp -S -H host");
    }

    #[test]
    fn help_before_any_command_is_the_programs_own() {
        for line in ["-h", "--help", "-qh", "-n 5 --help tcp host:1"] {
            assert_eq!(rewritten(line), "--help", "{line}");
        }
        assert_eq!(rewritten("--version"), "--version");
        assert_eq!(rewritten("tcp --help"), "tcp --help");
        assert_eq!(rewritten("help tcp"), "help tcp");
    }

    #[test]
    fn without_a_host_nobody_is_probed() {
        assert_eq!(rewritten(""), "nobody");
        assert_eq!(rewritten("-n 5"), "icmp -n 5");
        assert!(rewritten("--targets file").starts_with("error: --targets without a command"));
    }
}
