//! `rping help TOPIC`: what results mean, which no flag's help has room for.

/// The topics by name, each with what it says.
pub(crate) const TOPICS: [(&str, &str); 4] = [
    ("outcomes", OUTCOMES),
    ("exit-codes", EXIT_CODES),
    ("output", OUTPUT),
    ("assert", ASSERT),
];

/// The text of the topic that these words ask for: `help outcomes`. `help` with anything else is clap's.
pub(crate) fn asked(typed: &[String]) -> Option<&'static str> {
    let [help, topic] = typed else { return None };
    if help != "help" {
        return None;
    }
    let wanted = match topic.as_str() {
        "exit" | "exit-code" | "exitcodes" => "exit-codes",
        "outcome" => "outcomes",
        "assertion" | "assertions" | "--assert" => "assert",
        "outputs" | "formats" | "output-formats" => "output",
        other => other,
    };
    TOPICS
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, text)| *text)
}

const OUTCOMES: &str = "\
What became of a probe

  reply      answered as asked; has a round-trip time
  rejected   somebody said no: a TCP reset, an ICMP error; has a reason, a culprit and a time
  lost       silence until the timeout (-W)
  not sent   it never left this host: no route, no neighbour, local firewall, buffers or ports used up

  sent = received + rejected + lost        attempted = sent + not sent        always
  loss = (sent - received) / sent          as ping counts it

  A SYN that was lost and sent again is one more packet sent and one more lost, though its probe is a reply:
  the percentage on the loss line, in the report and in --assert counts it, and says so,
  loss = (sent - received + SYNs lost) / (sent + SYNs lost);  loss_ratio in JSON is the one above.

Counted beside them, and changing none of them:

  late        an answer after the timeout
  duplicate   a second answer to the same probe
  reordered   a reply that came after the reply to a later probe (RFC 4737)
  corrupt     a damaged answer: checksum or payload
  truncated   an answer cut short that is a true prefix and holds our sequence; it is a reply
  unexpected  what matches no probe in flight
  SYN lost    a TCP handshake that needed its SYN again: the port is open, but the time is no round trip

Reasons by name, for rejected and not-sent probes:

  port_closed             the host is up and nothing listens there (a TCP reset, ICMP port unreachable)
  host_unreachable        a router, or the host's own link, knows no way to it
  network_unreachable     a router has no route to the network
  admin_prohibited        a firewall says no and says so
  protocol_unreachable    the host does not speak this protocol
  time_exceeded           the TTL ran out on the way (a loop, or --ttl)
  packet_too_big          larger than a link on the way, and not to be fragmented
  no_route                this host has no route
  no_neighbour            nobody answers ARP or NDP for the next hop
  local_firewall          this host's own firewall keeps it
  no_buffer               local buffers were full
  no_local_port           local ports used up
  interface_down          the interface is down, or its cable is out
  other                   anything else; the line of the probe says what

A round-trip time is taken from the kernel's time stamps where it has them. It is kept twice: from the actual
send, and from the instant the schedule wanted (rtt_from_due), so that a stall hides nothing. A figure with
nothing to stand on is n/a: percentile q needs 1/(1-q) replies (p90 10, p99 100, p99.9 1000).
";

const EXIT_CODES: &str = "\
Exit codes, of every command

  0   every target gave at least one reply, and every --assert holds
  1   some target never replied, or an assertion failed
  2   it could not be done: wrong usage, a name that does not resolve, missing privilege, no such
      interface, an output file that cannot be written

With several targets the others run on; the code is the highest that applies. Ctrl-C and SIGTERM end the run
early, print the summary of what was measured, and the code follows the same table. A closed standard output
(| head) is no error. Errors are one line on standard error, beginning with rping:.
";

const OUTPUT: &str = "\
Output formats

  -o text     lines for people: one per probe, then a block per target (default)
  -o json     one document per run, schema rping.run/1 (also --json)
  -o ndjson   one {\"type\":\"probe\", ...} a line for each finished probe, flushed as it happens, and one last
              {\"type\":\"summary\", ...} that holds the document
  -o csv      the same stream as rows with a header

Of a saved run `rping show` prints text and json as the run itself would; its ndjson and csv have a line for each
stretch of the run and target, since single probes are not kept. `rping compare`, `diagnose` know text and json.

Times are whole nanoseconds and their names say so (rtt_ns); instants are RFC 3339. A figure with nothing to stand
on is null in JSON, empty in CSV and n/a in text, never 0. Readers ignore keys they do not know. \"histogram\" is
HdrHistogram V2, compressed, base64, in nanoseconds (null where none is kept).

  -q            no line per probe; over a block or range: totals only
  --all         list every target of a block or range, the silent ones too
  --answering   list those alone that replied, a line each: hosts that are there, open ports (also --open)
  -H [N|a,b,c]  a histogram: N buckets (20), or these bounds in ms
  --timestamps  the wall clock on each line
  --color WHEN  auto, always, never; NO_COLOR is honoured

Results go to standard output, errors and progress to standard error. An output that cannot be written is exit
code 2, with the summary on standard error.
";

const ASSERT: &str = "\
What a run must amount to: --assert EXPR, for every target

  rping tcp host:443 -n 1000 -i 10ms --assert 'p99<5ms & loss<0.1%'

  EXPR       figure, relation, bound; several are joined by &, or --assert is repeated: all must hold
  relation   <  <=  >  >=  ==

  figure                    bound
  min mean median max       a time: 5ms, 800us    of the round trips; mean is also avg
  p50 p90 p99 p99.9 …       a time                any percentile; p90 needs 10 replies, p99 100, p99.9 1000
  stddev                    a time
  jitter ipdv               a time                RFC 3550's jitter, the mean variation of RFC 3393
  loss                      a percentage: 0.1%    lost and rejected, and SYNs that had to be sent again
  rate                      a number; k = 1000    replies per second
  received rejected lost not_sent late duplicates reordered corrupt syn_lost
                            a number              the counters, by their names in JSON

Of rping bandwidth there are rate (bits per second, as received), loss and jitter, for each direction.

An assertion on a figure that the run cannot carry does not hold, and says how many replies it needs. When one does
not hold, the exit code is 1. `rping show FILE --assert EXPR` judges a saved run again.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn about(words: &str) -> Option<&'static str> {
        asked(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn topics_are_asked_for_by_name_and_by_their_near_names() {
        assert_eq!(about("help outcomes"), Some(OUTCOMES));
        assert_eq!(about("help exit-codes"), Some(EXIT_CODES));
        assert_eq!(about("help formats"), Some(OUTPUT));
        assert_eq!(about("help assert"), Some(ASSERT));
        assert_eq!(about("help tcp"), None);
        assert_eq!(about("help"), None);
        assert_eq!(about("tcp outcomes"), None);
    }

    #[test]
    fn every_figure_that_can_be_asserted_is_explained_and_every_one_that_is_explained_can_be() {
        let table = ASSERT
            .split("  figure   ")
            .nth(1)
            .unwrap()
            .split("\n\n")
            .next()
            .unwrap();
        let names = table.lines().skip(1).filter_map(|line| line.strip_prefix("  "));
        let mut count = 0;
        for name in names.flat_map(|line| line.split("  ").next().unwrap_or("").split(' ')) {
            if name.is_empty() || name == "…" {
                continue;
            }
            let bound = match name {
                "loss" => "1%",
                "rate" | "received" | "rejected" | "lost" | "not_sent" | "late" | "duplicates"
                | "reordered" | "corrupt" | "syn_lost" => "1",
                _ => "1ms",
            };
            let parsed = crate::Assertion::parse(&format!("{name}<{bound}"));
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
            count += 1;
        }
        assert_eq!(count, 22);
    }

    #[test]
    fn every_reason_that_results_name_is_explained() {
        for reason in rping_engine::Reason::ALL {
            assert!(
                OUTCOMES.contains(&format!("  {} ", reason.as_str())),
                "{} is not explained",
                reason.as_str()
            );
        }
    }
}
