//! PsPing's command line, translated into rping's own words: what it asks for is then read, judged and carried out like
//! everything else.

use std::ffi::OsStr;
use std::path::Path;

use super::output::Format;
use super::{parse_words, shown, value, Invocation, Usage};

/// The words after PsPing's name, where it is PsPing that was called: as a command of rping, or by the program's name.
pub(super) fn words<'a>(called: &OsStr, typed: &'a [String]) -> Option<&'a [String]> {
    let name = Path::new(called).file_stem().and_then(OsStr::to_str);
    if name.is_some_and(|name| name.eq_ignore_ascii_case("psping") || name.eq_ignore_ascii_case("psping64")) {
        return Some(typed);
    }
    match typed {
        [command, words @ ..] if command == "psping" => Some(words),
        _ => None,
    }
}

/// What was switched on.
#[derive(Debug, Default, PartialEq)]
struct Switches {
    help: Option<Option<char>>,
    no_banner: bool,
    json: bool,
    forever: bool,
    quiet: bool,
    bandwidth: bool,
    reverse: bool,
    firewall: bool,
    four: bool,
    six: bool,
    count: Option<String>,
    interval: Option<String>,
    warmup: Option<String>,
    size: Option<String>,
    /// Given without a value: 20 buckets.
    histogram: Option<String>,
    /// The target bandwidth, MB/s, where there is one.
    udp: Option<Option<f64>>,
    server: Option<String>,
    destination: Option<String>,
}

/// Reads PsPing's words.
///
/// # Errors
/// What is no switch of PsPing's, or what rping itself refuses about the test that is asked for.
pub(super) fn parse(words: &[String]) -> Result<Invocation, Usage> {
    let switches = read(words)?;
    if let Some(mode) = switches.help {
        let banner = if switches.no_banner { "" } else { BANNER };
        return Ok(Invocation::Print(format!("{banner}{}", usage(mode))));
    }
    translate(&switches)
}

/// The lines that name the program, in PsPing's form.
pub(crate) const BANNER: &str = concat!(
    "\nrping v",
    env!("CARGO_PKG_VERSION"),
    " - rping psping - ping, latency, bandwidth measurement utility\nMIT or Apache-2.0\nas Sysinternals PsPing prints it\n\n"
);

fn read(words: &[String]) -> Result<Switches, Usage> {
    let mut found = Switches::default();
    let mut words = words.iter().map(String::as_str).peekable();
    if words.peek().is_none() {
        found.help = Some(None);
    }
    while let Some(word) = words.next() {
        let Some(switch) = word.strip_prefix(['-', '/']).filter(|rest| !rest.is_empty()) else {
            if let Some(first) = &found.destination {
                return Err(Usage::new(format_args!(
                    "psping: one destination at a time, not {} and {}",
                    shown(first),
                    shown(word)
                )));
            }
            found.destination = Some(word.to_owned());
            continue;
        };
        let mut value = || {
            let next = words.next().map(str::to_owned);
            next.ok_or_else(|| Usage::new(format_args!("psping: {word} needs a value; try rping psping -?")))
        };
        let slot = match switch.to_ascii_lowercase().as_str() {
            "?" => {
                let mode =
                    words.next_if(|next| matches!(*next, "i" | "t" | "l" | "b" | "I" | "T" | "L" | "B"));
                found.help = Some(
                    mode.and_then(|mode| mode.chars().next())
                        .map(|mode| mode.to_ascii_lowercase()),
                );
                continue;
            }
            "accepteula" => continue,
            "nobanner" => {
                found.no_banner = true;
                continue;
            }
            "-json" => {
                found.json = true;
                continue;
            }
            "h" => {
                let buckets = words.next_if(|next| value::is_buckets(next));
                found.histogram = Some(buckets.unwrap_or("20").to_owned());
                continue;
            }
            "u" => {
                let target =
                    words.next_if(|next| next.parse::<f64>().is_ok_and(|mb| mb.is_finite() && mb > 0.0));
                found.udp = Some(target.and_then(|target| target.parse().ok()));
                continue;
            }
            "t" | "q" | "b" | "r" | "f" | "4" | "6" => {
                let flag = match switch.to_ascii_lowercase().as_str() {
                    "t" => &mut found.forever,
                    "q" => &mut found.quiet,
                    "b" => &mut found.bandwidth,
                    "r" => &mut found.reverse,
                    "f" => &mut found.firewall,
                    "4" => &mut found.four,
                    _ => &mut found.six,
                };
                *flag = true;
                continue;
            }
            "n" => &mut found.count,
            "i" => &mut found.interval,
            "w" => &mut found.warmup,
            "l" => &mut found.size,
            "s" => &mut found.server,
            _ => {
                return Err(Usage::new(format_args!(
                    "psping: no such switch: {}; try rping psping -?",
                    shown(word)
                )))
            }
        };
        *slot = Some(value()?);
    }
    Ok(found)
}

/// One of PsPing's tests in rping's words.
fn translate(switches: &Switches) -> Result<Invocation, Usage> {
    let mut argv: Vec<String> = Vec::new();
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    if switches.four {
        say(&["-4"]);
    }
    if switches.six {
        say(&["-6"]);
    }
    if let Some(place) = &switches.server {
        if let Some(destination) = &switches.destination {
            return Err(Usage::new(format_args!(
                "psping: -s serves and {} is a destination: give one of them",
                shown(destination)
            )));
        }
        return parse_words(vec!["server".to_owned(), place.clone()]);
    }
    let Some(destination) = &switches.destination else {
        return Err(Usage::new("psping: no destination; try rping psping -?"));
    };
    let has_port = crate::targets::Spec::parse(destination).is_ok_and(|spec| !spec.ports().is_empty());
    if switches.bandwidth || (has_port && switches.size.is_some()) {
        return Err(Usage::new(
            "psping: latency and bandwidth tests are not in this version; see rping bandwidth",
        ));
    }
    if switches.reverse || switches.udp.is_some() {
        return Err(Usage::new(
            "psping: -r and -u are for latency (-l SIZE) and bandwidth (-b) tests",
        ));
    }
    match (switches.forever, &switches.count) {
        (true, Some(_)) => {
            return Err(Usage::new(
                "psping: -t and -n contradict each other: give one of them",
            ))
        }
        (true, None) => say(&["-t"]),
        (false, Some(count)) => say(&["-n", count]),
        (false, None) => {}
    }
    if let Some(interval) = &switches.interval {
        say(&["-i", interval]);
    }
    say(&["-w", switches.warmup.as_deref().unwrap_or("1")]);
    if let Some(size) = &switches.size {
        say(&["-l", size]);
    }
    if let Some(histogram) = &switches.histogram {
        say(&[&format!("--histogram={histogram}")]);
    }
    if switches.quiet {
        say(&["-q"]);
    }
    if switches.json {
        say(&["--json"]);
    }
    say(&["--", destination]);
    argv.insert(0, if has_port { "tcp" } else { "icmp" }.to_owned());
    match parse_words(argv)? {
        Invocation::Probe {
            mut request,
            mut output,
        } => {
            request.local_ports = has_port;
            if !switches.json {
                output.format = Format::PsPing {
                    banner: !switches.no_banner,
                };
            }
            Ok(Invocation::Probe { request, output })
        }
        other => Ok(other),
    }
}

fn usage(mode: Option<char>) -> &'static str {
    match mode {
        Some('i') => ICMP,
        Some('t') => TCP,
        Some('l') => LATENCY,
        Some('b') => BANDWIDTH,
        _ => OVERVIEW,
    }
}

const OVERVIEW: &str = "\
PsPing implements Ping functionality, TCP ping, latency and bandwidth measurement. Use the following command-line
options to show the usage for each test type:

Usage: psping -? [i|t|l|b]
  -? I       Usage for ICMP ping.
  -? T       Usage for TCP ping.
  -? L       Usage for latency test.
  -? B       Usage for bandwidth test.
  -nobanner  Do not display the startup banner and copyright message.
  --json     rping's own document in place of PsPing's text.
";

const ICMP: &str = "\
ICMP ping usage: psping [-t|-n count[s]] [-i interval] [-w count] [-q] [-h [buckets|val1,val2,...]] [-l requestsize[k]] [-6|-4] destination
  -t     Until Ctrl+C; Ctrl+\\ shows the statistics so far and goes on.
  -n     Number of pings, or with s a time in seconds. Default: 4.
  -i     Interval in seconds; 0 is as fast as answers come. Default: 1.
  -w     Warm-up pings, in addition to -n and left out of the statistics. Default: 1.
  -q     No line for each ping.
  -h     Histogram: 20 buckets, so many, or these bounds in milliseconds.
  -l     Request size in bytes; k is 1024. Default: 32.
  -6|-4  IPv6 or IPv4.
";

const TCP: &str = "\
TCP ping usage:  psping [-t|-n count[s]] [-i interval] [-w count] [-q] [-h [buckets|val1,val2,...]] [-6|-4] destination:port
  -t     Until Ctrl+C; Ctrl+\\ shows the statistics so far and goes on.
  -n     Number of connects, or with s a time in seconds. Default: 4.
  -i     Interval in seconds; 0 is as fast as answers come. Default: 1.
  -w     Warm-up connects, in addition to -n and left out of the statistics. Default: 1.
  -q     No line for each connect.
  -h     Histogram: 20 buckets, so many, or these bounds in milliseconds.
  -6|-4  IPv6 or IPv4.
";

const LATENCY: &str = "\
TCP and UDP latency usage:
  server: psping [-6|-4] [-f] -s address:port
  client: psping -l requestsize[k|m] -n count[s] [-r] [-u] [-w count] [-f] [-h [buckets|val1,val2,...]] [-6|-4] destination:port
  -l     Request size in bytes; k is 1024, m is 1024 k.
  -n     Number of sends and receives, or with s a time in seconds.
  -r     The server sends, this side receives.
  -u     UDP in place of TCP.
  -w     Warm-up round trips. Default: 5.
  -f     Accepted; this host's firewall is left as it is.
  -h     Histogram: 20 buckets, so many, or these bounds in milliseconds.
  -s     Address and port to serve on, until Ctrl+C.
";

const BANDWIDTH: &str = "\
TCP and UDP bandwidth usage:
  server: psping [-6|-4] [-f] -s address:port
  client: psping -b -l requestsize[k|m] -n count[s] [-r] [-u [target]] [-i outstanding] [-w count] [-f] [-h [buckets|val1,val2,...]] [-6|-4] destination:port
  -b     Bandwidth test.
  -l     Message size in bytes; k is 1024, m is 1024 k.
  -n     Number of sends and receives, or with s a time in seconds.
  -r     The server sends, this side receives.
  -u     UDP in place of TCP, at this many MB/s.
  -i     Accepted; the kernel keeps the pipe full.
  -w     Warm-up.
  -f     Accepted; this host's firewall is left as it is.
  -h     Histogram: 20 buckets, or so many.
  -s     Address and port to serve on, until Ctrl+C.
";

#[cfg(test)]
#[path = "psping/tests.rs"]
mod tests;
