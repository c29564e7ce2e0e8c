//! PsPing's command line, translated into rping's own words: what it asks for is then read, judged and carried out like
//! everything else.

use std::ffi::OsStr;
use std::path::Path;

use super::bandwidth::Warmup;
use super::output::Format;
use super::{parse_words, shown, value, Invocation, Usage};
use crate::job::{Kind, Stop};

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
            "?" | "-help" => {
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
    let mut argv = Vec::new();
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
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    let is_two_ended = switches.bandwidth || (has_port && switches.size.is_some());
    if is_two_ended && !has_port {
        return Err(Usage::new(
            "psping: a bandwidth test needs a port: destination:port, where psping -s or rping server listens",
        ));
    }
    match (is_two_ended, switches.bandwidth, has_port) {
        (true, true, _) => say(&["bandwidth"]),
        (true, false, _) => say(&["latency"]),
        (false, _, true) => say(&["tcp"]),
        (false, _, false) => say(&["icmp"]),
    }
    if switches.four {
        say(&["-4"]);
    }
    if switches.six {
        say(&["-6"]);
    }
    if let Some(size) = &switches.size {
        say(&["-l", size]);
    }
    if let Some(histogram) = &switches.histogram {
        say(&[&format!("--histogram={histogram}")]);
    }
    if switches.json {
        say(&["--json"]);
    }
    match (is_two_ended, switches.bandwidth) {
        (false, _) => ping(switches, &mut argv)?,
        (true, false) => latency(switches, &mut argv)?,
        (true, true) => return bandwidth(switches, argv, destination),
    }
    argv.extend(["--".to_owned(), destination.clone()]);
    let mut asked = parse_words(argv)?;
    if let Invocation::Probe { request, output } = &mut asked {
        request.local_ports = request.kind == Kind::Tcp;
        if !switches.json {
            output.format = switches.format();
        }
    }
    Ok(asked)
}

impl Switches {
    fn format(&self) -> Format {
        Format::PsPing {
            banner: !self.no_banner,
        }
    }

    /// How much a two-ended test moves, which PsPing wants to be told.
    fn required_count(&self) -> Result<&str, Usage> {
        if self.forever {
            return Err(Usage::new(
                "psping: -t is for pings: give a count, -n 1000 or -n 10s",
            ));
        }
        let missing = || Usage::new("psping: latency and bandwidth tests need a count: -n 1000 or -n 10s");
        self.count.as_deref().ok_or_else(missing)
    }
}

fn ping(switches: &Switches, argv: &mut Vec<String>) -> Result<(), Usage> {
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
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
    if switches.quiet {
        say(&["-q"]);
    }
    say(&["-w", switches.warmup.as_deref().unwrap_or("1")]);
    Ok(())
}

fn latency(switches: &Switches, argv: &mut Vec<String>) -> Result<(), Usage> {
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    if switches.interval.is_some() {
        return Err(Usage::new(
            "psping: -i has no meaning in a latency test: requests follow one another",
        ));
    }
    say(&["-n", switches.required_count()?, "-i", "0"]);
    say(&["-w", switches.warmup.as_deref().unwrap_or("5")]);
    if switches.reverse {
        say(&["-r"]);
    }
    match switches.udp {
        Some(Some(_)) => {
            return Err(Usage::new(
                "psping: -u with a bandwidth is for bandwidth tests (-b)",
            ))
        }
        Some(None) => say(&["-u"]),
        None => {}
    }
    Ok(())
}

/// KB and MB are of 1024 in what PsPing prints, and so in what it takes.
const MB: f64 = 1024.0 * 1024.0;
/// PsPing's most outstanding I/Os where none are asked for; twice the processors where that is less.
const OUTSTANDING: usize = 16;

fn bandwidth(switches: &Switches, mut argv: Vec<String>, destination: &str) -> Result<Invocation, Usage> {
    let count = switches.required_count()?;
    let outstanding = match &switches.interval {
        Some(typed) => value::whole(typed).map_err(|why| Usage::about("psping: -i", why))?,
        None => {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            OUTSTANDING.min(2 * processors) as u64
        }
    };
    let warmup = match &switches.warmup {
        Some(typed) => value::whole(typed).map_err(|why| Usage::about("psping: -w", why))?,
        None => outstanding,
    };
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    match value::stop(count).map_err(|why| Usage::about("psping: -n", why))? {
        Stop::Count(0) => return Err(Usage::new("psping: -n 0 moves nothing: give 1 or more")),
        // Its warm-up is messages too, sent before and beside those that are asked for.
        Stop::Count(messages) => say(&["-n", &messages.saturating_add(warmup).to_string()]),
        Stop::After(_) | Stop::Never => say(&["-n", count]),
    }
    say(&["--omit", "0", "-i", "100ms"]);
    if switches.reverse {
        say(&["-r"]);
    }
    if let Some(target) = switches.udp {
        let bits = target.map_or(0.0, |mb| mb * MB * 8.0);
        say(&["-u", "-b", &format!("{bits:.0}")]);
    }
    say(&["--", destination]);
    let mut asked = parse_words(argv)?;
    if let Invocation::Bandwidth(request) = &mut asked {
        if !switches.json {
            request.show.format = switches.format();
        }
        request.show.warmup = Some(Warmup {
            messages: warmup,
            is_usual: switches.warmup.is_none(),
        });
    }
    Ok(asked)
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
  -i     Outstanding I/Os: sets the warm-up; the kernel keeps the path full by itself.
  -w     Warm-up messages, in addition to -n; Total Bytes holds them. Default: -i.
  -f     Accepted; this host's firewall is left as it is.
  -h     Histogram: 20 buckets, or so many.
  -s     Address and port to serve on, until Ctrl+C.
";

#[cfg(test)]
#[path = "psping/tests.rs"]
mod tests;
