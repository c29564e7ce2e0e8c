use std::net::SocketAddr;

use super::output::Wanted;
use std::time::Duration;

use super::output::{Color, Format};
use super::*;
use crate::job::{Carrier, Close, Job, Wait};
use crate::job::{Order, Pace, Stop, Window};
use crate::targets::{LocalInterface, LocalNet, Resolver};
use proptest::prelude::*;

mod refused;

struct Nobody;

impl Resolver for Nobody {
    fn resolve(&self, names: &[String], _: Duration) -> Vec<Result<Vec<SocketAddr>, String>> {
        names
            .iter()
            .map(|_| Ok(vec![SocketAddr::from(([10, 9, 0, 1], 0))]))
            .collect()
    }
}

fn here() -> LocalNet {
    let eth0 = LocalInterface {
        index: 2,
        name: "eth0".to_owned(),
        addresses: vec![
            ("10.0.0.7".parse().unwrap(), 24),
            ("fe80::7".parse().unwrap(), 64),
        ],
    };
    let eth1 = LocalInterface {
        index: 3,
        name: "eth1".to_owned(),
        addresses: Vec::new(),
    };
    LocalNet {
        interfaces: vec![eth0, eth1],
        root: true,
        can_bind: |_| false,
        ..LocalNet::default()
    }
}

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("rping")
        .chain(line.split_whitespace())
        .map(OsString::from)
        .collect()
}

fn invoked(line: &str) -> Result<Invocation, String> {
    parse(words(line).into_iter()).map_err(|usage| usage.to_string())
}

fn probe(line: &str) -> (Request, OutputOptions) {
    match invoked(line) {
        Ok(Invocation::Probe { request, output }) => (request, output),
        other => panic!("{line}: {other:?}"),
    }
}

fn job_on(line: &str, local: &LocalNet) -> Result<Job, String> {
    match invoked(line)? {
        Invocation::Probe { request, .. } => request
            .into_job(&Nobody, local)
            .map_err(|usage| usage.to_string()),
        other => panic!("{line}: {other:?}"),
    }
}

fn job(line: &str) -> Job {
    job_on(line, &here()).unwrap_or_else(|why| panic!("{line}: {why}"))
}

/// The one line with which `rping LINE` ends.
fn refused(line: &str) -> String {
    let said = job_on(line, &here())
        .map(|job| format!("{job:?}"))
        .expect_err(line);
    assert!(
        !said.is_empty() && !said.contains('\n') && !said.starts_with("error"),
        "{line}: {said}"
    );
    said
}

#[test]
fn defaults_are_those_of_the_manual() {
    assert_eq!(job("icmp h").stop, Stop::Count(4));
    assert_eq!(job("icmp h").pace, Pace::Every(Duration::from_secs(1)));
    assert_eq!(job("icmp h").timeout, Duration::from_secs(1));
    assert_eq!(job("tcp h:1").timeout, Duration::from_secs(3));
    assert_eq!(job("udp h").timeout, Duration::from_secs(1));
    assert_eq!((job("icmp h").size, job("icmp h").warmup), (32, 0));
    assert_eq!(job("tcp h:1").close, Close::Reset);
    assert_eq!(
        probe("icmp h").1,
        OutputOptions {
            live: true,
            ..OutputOptions::default()
        }
    );
}

#[test]
fn flags_reach_the_job() {
    let line = "udp h -n 1m30s -i 10ms --max-rate 2k -W 0.5 -w 3 -l 1k -S 10.0.0.7:4000 -I eth0 --ttl 9 --dscp EF --df --mark 0x10";
    let job = job(line);
    assert_eq!(job.stop, Stop::After(Duration::from_secs(90)));
    assert_eq!(job.pace, Pace::Every(Duration::from_millis(10)));
    assert_eq!(job.max_rate, Some(2000.0));
    assert_eq!(
        (job.timeout, job.warmup, job.size),
        (Duration::from_millis(500), 3, 1024)
    );
    assert_eq!(
        (job.source, job.source_port),
        (Some("10.0.0.7".parse().unwrap()), Some(4000))
    );
    assert_eq!(
        (job.interface.as_deref(), job.ttl, job.dscp, job.df, job.mark),
        (Some("eth0"), Some(9), Some(46), true, Some(16))
    );
}

#[test]
fn what_makes_a_sweep_or_a_flood_reaches_the_job() {
    let sweep = job("icmp 10.9.0.0/24 --retries 2 --stop-after 5 --seed 7 --pacing eco");
    assert_eq!((sweep.retries, sweep.enough), (2, Some(5)));
    assert_eq!(
        (sweep.order, sweep.pacing),
        (Order::Shuffled(7), Some(crate::job::Pacing::Eco))
    );
    assert!(matches!(job("tcp h:1-9").order, Order::Shuffled(_)), "by default");
    assert_ne!(
        job("tcp h:1-9").order,
        job("tcp h:1-9").order,
        "each run its own way"
    );
    assert_eq!(job("tcp h:1-9 --in-order").order, Order::Listed);
    assert_eq!(job("icmp h g").order, Order::Listed, "as they are typed");
    assert_eq!(job("icmp h --flood").pace, Pace::Window(Window::FLOOD));
    assert_eq!(job("icmp h --in-flight 9").pace, Pace::Window(Window::fixed(9)));
    assert_eq!(job("icmp h g --flood").max_rate, None);
    assert_eq!(job("icmp h g --flood --max-rate 7").max_rate, Some(7.0));
    assert_eq!(job("icmp h --pacing auto").pacing, None);
    assert!(job("tcp h:1 --syn").syn && !job("tcp h:1").syn);
    for (line, word) in [
        ("icmp h --flood -i 1", "--flood"),
        ("icmp h --flood --in-flight 2", "--flood"),
        ("icmp h --in-flight 0", "--in-flight"),
        ("icmp h --in-flight 65537", "--in-flight"),
        ("icmp h --stop-after 0", "--stop-after"),
        ("icmp h --retries 1001", "--retries"),
        ("icmp h --retries -1", "--retries"),
        ("icmp h --in-order --seed 1", "--in-order"),
        ("icmp h --pacing fast", "--pacing"),
        ("icmp h --syn", "--syn"),
        ("tcp h:1 --syn --close fin", "--syn"),
    ] {
        let said = refused(line);
        assert!(said.contains(word), "{line}: {said}");
    }
}

#[test]
fn aliases_mean_the_same() {
    assert_eq!(job("ping -c 7 -s 64 h"), job("icmp -n 7 -l 64 h"));
    assert_eq!(job("ping --count 7 --size 64 h"), job("icmp -n 7 -l 64 h"));
    assert_eq!(job("neigh h"), job("arp h"));
    assert_eq!(job("h"), job("icmp h"));
    assert_eq!(job("-t h:445").stop, Stop::Never);
    assert_eq!(job("tcp h:1 --close fin").close, Close::Fin);
}

#[test]
fn output_flags_reach_the_renderer() {
    let output = |line| probe(line).1;
    assert_eq!(output("icmp h --json"), output("icmp h -o json"));
    assert_eq!(output("icmp h -o ndjson").format, Format::Ndjson);
    assert_eq!(output("icmp h -H").histogram, Some(output::Buckets::Equal(20)));
    assert_eq!(output("icmp -H 10 h").histogram, Some(output::Buckets::Equal(10)));
    assert_eq!(
        output("icmp h -q --all --color never --timestamps -o csv"),
        OutputOptions {
            format: Format::Csv,
            quiet: true,
            all: true,
            histogram: None,
            color: Color::Never,
            timestamps: true,
            keep: Wanted::default(),
            graph: false,
            pcap: None,
            answering: false,
            live: true,
        }
    );
}

#[test]
fn files_that_a_run_leaves_are_judged_before_anything_is_sent() {
    let keep = probe("icmp h --save a --hdr b.hlog").1.keep;
    assert_eq!((keep.save, keep.hdr), (Some("a".into()), Some("b.hlog".into())));
    assert_eq!(keep.command_line.join(" "), "rping icmp h --save a --hdr b.hlog");
    for (line, part) in [
        ("icmp h --hdr b.txt", ".hgrm"),
        ("icmp h --hdr b", ".hlog"),
        ("icmp h --save x.hlog --hdr x.hlog", "one file"),
        ("tcp h:1 --save x --pcap x", "one file"),
        ("icmp h --hdr x.hlog --hdr x.hgrm", "given twice"),
        ("icmp h --save=", "needs a value"),
        ("merge a --save b", "merge FILE FILE"),
        ("merge a b", "--save FILE"),
        ("show", "FILE"),
        ("compare a", "BEFORE AFTER"),
        ("compare a b --least 200", "percentage"),
        ("report", "FILE"),
        ("icmp h --save x --report x", "one file"),
        ("show a --hdr x.hlog", ".hgrm"),
    ] {
        let said = refused(line);
        assert!(said.contains(part), "{line}: {said}");
    }
}

#[test]
fn an_interval_of_zero_is_a_closed_loop_and_lifts_the_bound() {
    assert_eq!(job("icmp h j").max_rate, Some(1000.0));
    assert_eq!(job("icmp h").max_rate, None);
    assert_eq!(job("icmp h --max-rate 5").max_rate, Some(5.0));
    assert_eq!(job("icmp h j --max-rate 0").max_rate, None);
    for zero in ["0", "0s", "0ms", "0.0"] {
        let job = job(&format!("icmp h j -i {zero}"));
        assert_eq!((job.pace, job.max_rate), (Pace::WhenSettled, None));
    }
    assert_eq!(job("icmp h j -i 0 --max-rate 50").max_rate, Some(50.0));
    assert_eq!(
        job("icmp h --rate 100k").pace,
        Pace::Every(Duration::from_micros(10))
    );
    assert_eq!(job("icmp h --rate 0.5").pace, Pace::Every(Duration::from_secs(2)));
    assert_eq!(job("icmp h -i 10us").pace, Pace::Every(Duration::from_micros(10)));
    assert_eq!(job("icmp h -i 1d -W 24h").timeout, Duration::from_secs(86_400));
}

#[test]
fn a_bound_that_sets_the_pace_is_said() {
    assert!(job("icmp 10.1.0.0/20").notes[0].contains("each is probed every 4.096 s, not every 1s"));
    for line in [
        "icmp 10.1.0.0/20 -n 1",
        "icmp 10.1.0.0/24",
        "icmp 10.1.0.0/20 --max-rate 0",
        "icmp 10.1.0.0/20 -i 0",
    ] {
        assert!(job(line).notes.is_empty(), "{line}");
    }
}

#[test]
fn a_list_joins_what_was_typed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "10.1.0.0/30 # four\n\n10.9.9.9\n").unwrap();
    let job = job(&format!("icmp one --targets {}", file.path().display()));
    assert_eq!(job.targets.len(), 6);
    std::fs::write(file.path(), "# nothing\n").unwrap();
    assert!(refused(&format!("icmp --targets {}", file.path().display())).contains("names no target"));
    std::fs::write(file.path(), "a\n445\n").unwrap();
    assert!(
        refused(&format!("icmp --targets {}", file.path().display())).contains("line 2: '445' is a number")
    );
    assert_eq!(probe("icmp --targets -").0.list, Some(List::Stdin));
}

#[test]
fn help_and_version_are_printed_not_refused() {
    for line in [
        "-h",
        "--help",
        "help",
        "tcp -h",
        "help tcp",
        "-q -h h",
        "ping --help",
        "h -h",
        "-V",
        "--version",
    ] {
        assert!(
            matches!(invoked(line), Ok(Invocation::Print(text)) if text.len() > 5),
            "{line}"
        );
    }
    assert_eq!(
        invoked("--version"),
        Ok(Invocation::Print(format!(
            "rping {}\n",
            env!("CARGO_PKG_VERSION")
        )))
    );
    assert!(refused("help nonsense").contains("no such command"));
}

#[test]
fn the_server_listens_where_it_is_told() {
    assert_eq!(invoked("server"), Ok(Invocation::Server(ServerArgs::default())));
    assert_eq!(
        invoked("server [::1]:6000"),
        Ok(Invocation::Server(ServerArgs {
            tests: Place {
                bind: Some("::1".into()),
                port: 6000,
            },
            ..ServerArgs::default()
        }))
    );
    let at = |line| match invoked(line) {
        Ok(Invocation::Server(args)) => args.tests.addresses(&Nobody, &here()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(at("server"), ["[::]:5201".parse().unwrap()]);
    assert_eq!(at("server fe80::7%eth0"), ["[fe80::7%2]:5201".parse().unwrap()]);
    assert_eq!(at("server name:9"), ["10.9.0.1:9".parse().unwrap()]);
    assert_eq!(at("server 0.0.0.0:9"), ["0.0.0.0:9".parse().unwrap()]);
}

#[test]
fn latency_has_its_own_defaults_and_takes_the_flags_of_a_probe() {
    let bare = job("latency host");
    assert_eq!(bare.kind, Kind::Latency(Carrier::Tcp));
    assert_eq!((bare.stop, bare.pace), (Stop::Count(1000), Pace::WhenSettled));
    assert_eq!((bare.size, bare.warmup, bare.reverse), (64, 5, false));
    assert_eq!(bare.timeout, Duration::from_secs(3));
    assert_eq!(bare.targets[0].address.map(|a| a.port()), Some(5201));
    assert!(probe("latency host").1.quiet && !probe("latency host --rate 10").1.quiet);

    let udp = job("latency -u host:7000 -n 2s --rate 1k -w 0 -l 100 --dscp EF --wait block");
    assert_eq!(udp.kind, Kind::Latency(Carrier::Udp));
    assert_eq!(udp.stop, Stop::After(Duration::from_secs(2)));
    assert_eq!(udp.pace, Pace::Every(Duration::from_millis(1)));
    assert_eq!((udp.size, udp.warmup, udp.dscp), (100, 0, Some(46)));
    assert_eq!((udp.wait, udp.timeout), (Wait::Block, Duration::from_secs(1)));
    assert_eq!(udp.targets[0].address.map(|a| a.port()), Some(7000));

    let reverse = job("latency -r -l 1m host other:6000");
    assert_eq!(
        (reverse.reverse, reverse.size, reverse.targets.len()),
        (true, 1 << 20, 2)
    );
    assert_eq!(job("latency -t host").stop, Stop::Never);
    assert!(job("latency -l 1 host").notes[0].contains("messages have 16"));
}

#[test]
fn the_command_is_sound() {
    command().debug_assert();
}

#[test]
fn help_reads_as_it_should() {
    // The module path stays out of the files' names: they are the commands'.
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let mut top = command().term_width(100);
        insta::assert_snapshot!("help", top.render_help().to_string());
        for name in [
            "icmp",
            "tcp",
            "udp",
            "arp",
            "latency",
            "bandwidth",
            "server",
            "sockets",
            "diagnose",
            "bundle",
        ] {
            let command = top.find_subcommand_mut(name).unwrap();
            insta::assert_snapshot!(format!("help_{name}"), command.render_help().to_string());
        }
    });
}

proptest! {
    #[test]
    fn no_words_make_parsing_panic(words in proptest::collection::vec("\\PC{0,12}", 0..6)) {
        let argv = std::iter::once("rping".to_owned()).chain(words).map(OsString::from);
        if let Err(usage) = parse(argv) {
            prop_assert!(!usage.to_string().contains('\n'));
        }
    }

    #[test]
    fn no_flags_make_parsing_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("icmp".to_owned()), Just("tcp".to_owned()), Just("--".to_owned()), Just("-H".to_owned()),
            Just("10.0.0.0/30:1,2".to_owned()), Just("help".to_owned()), "-[a-zA-Z46]{1,4}", "--[a-z-]{1,9}(=[0-9.a-z]{0,5})?",
            "[0-9.,kmsu:-]{1,9}",
        ], 0..7))
    {
        let argv = std::iter::once("rping".to_owned()).chain(words).map(OsString::from);
        match parse(argv) {
            Ok(Invocation::Probe { request, .. }) if request.list.is_none() => {
                if let Err(usage) = request.into_job(&Nobody, &here()) {
                    prop_assert!(!usage.to_string().contains('\n'));
                }
            }
            Ok(_) => {}
            Err(usage) => prop_assert!(!usage.to_string().contains('\n')),
        }
    }
}

#[test]
fn a_command_alone_is_read_as_it_is_among_all() {
    let lines = [
        "icmp -n 5 -qi 10ms 10.0.0.1 --ttl=7",
        "icmp 10.0.0.1 -H 5 --assert p99<5ms -n5",
        "tcp 10.0.0.1:22,80 --close fin --max-rate 0",
        "udp 10.0.0.1 --protocol stamp -l 64 --flood",
        "arp -n 1 10.0.0.0/24 --in-order -W 500ms",
        "latency 10.0.0.1 -u -n 2s --wait busy",
    ];
    for line in lines {
        let typed: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let alone = cli::alone(&typed[0]).expect("a kind of probe");
        let one = parse_by(alone, typed.clone()).map_err(|usage| usage.to_string());
        let all = parse_by(command(), typed).map_err(|usage| usage.to_string());
        assert!(matches!(one, Ok(Invocation::Probe { .. })), "{line}: {one:?}");
        assert_eq!(one, all, "{line}");
    }
}
