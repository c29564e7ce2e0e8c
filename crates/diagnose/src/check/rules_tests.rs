use rping_net::netlink::nftables::{Chain, Set};

use super::*;

fn packet() -> Packet {
    Packet {
        leaves: true,
        begins: true,
        source: Some(IpAddr::from([10, 0, 0, 1])),
        destination: Some(IpAddr::from([10, 0, 0, 2])),
        port: Some(445),
        interface: Some(("eth0".to_owned(), 2)),
        v6: false,
    }
}

fn rule(chain: &str, handle: u64, expressions: Vec<Expression>) -> Rule {
    Rule {
        family: family::INET,
        table: "lab".to_owned(),
        chain: chain.to_owned(),
        handle,
        expressions,
    }
}

fn output(rules: Vec<Rule>, drops_by_policy: bool) -> Ruleset {
    Ruleset {
        chains: vec![Chain {
            family: family::INET,
            table: "lab".to_owned(),
            name: "out".to_owned(),
            hook: Some((hook::LOCAL_OUT, 0)),
            drops_by_policy,
            kind: "filter".to_owned(),
        }],
        rules,
        sets: Vec::new(),
    }
}

fn tcp_port(port: u16) -> Vec<Expression> {
    vec![
        Expression::Meta { register: 0, key: 16 },
        Expression::Compare {
            register: 0,
            operation: 0,
            value: vec![6],
        },
        Expression::Payload {
            register: 0,
            base: 2,
            offset: 2,
            length: 2,
        },
        Expression::Compare {
            register: 0,
            operation: 0,
            value: port.to_be_bytes().to_vec(),
        },
    ]
}

fn then(mut steps: Vec<Expression>, verdict: Verdict) -> Vec<Expression> {
    steps.push(Expression::Verdict(verdict));
    steps
}

fn taken(rules: &Ruleset) -> Option<(String, bool)> {
    match judge(rules, &packet()) {
        Ruled::Passes => None,
        Ruled::Taken { by, surely, .. } => Some((by, surely)),
    }
}

#[test]
fn the_rule_for_the_port_takes_the_packet_and_is_named() {
    let rules = output(vec![rule("out", 3, then(tcp_port(445), Verdict::Drop))], false);
    let (by, surely) = taken(&rules).unwrap();
    assert!(surely);
    assert_eq!(
        by,
        "table inet lab, chain out, handle 3: l4proto tcp dport 445 drop"
    );
}

#[test]
fn a_rule_for_another_port_does_not() {
    let rules = output(vec![rule("out", 3, then(tcp_port(22), Verdict::Drop))], false);
    assert_eq!(taken(&rules), None);
}

#[test]
fn what_is_accepted_before_is_not_dropped_after_or_by_the_policy() {
    let rules = output(
        vec![
            rule("out", 3, then(tcp_port(445), Verdict::Accept)),
            rule("out", 4, then(vec![], Verdict::Drop)),
        ],
        true,
    );
    assert_eq!(taken(&rules), None);
    let others = output(vec![rule("out", 3, then(tcp_port(22), Verdict::Accept))], true);
    assert_eq!(
        taken(&others),
        Some(("the policy of table inet lab, chain out".to_owned(), true))
    );
}

#[test]
fn what_looks_at_something_unknown_convicts_nobody() {
    let mark = vec![
        Expression::Meta { register: 0, key: 3 },
        Expression::Compare {
            register: 0,
            operation: 0,
            value: vec![1, 0, 0, 0],
        },
    ];
    let dropping = output(vec![rule("out", 3, then(mark.clone(), Verdict::Drop))], false);
    assert!(matches!(taken(&dropping), Some((_, false))));
    let accepting = output(vec![rule("out", 3, then(mark, Verdict::Accept))], true);
    assert!(
        matches!(taken(&accepting), Some((_, false))),
        "the policy may not be reached"
    );
}

#[test]
fn jumps_return_and_their_verdicts_count() {
    let mut rules = output(
        vec![
            rule("out", 3, then(vec![], Verdict::Jump("inner".to_owned()))),
            rule("out", 4, then(vec![], Verdict::Drop)),
        ],
        false,
    );
    rules
        .rules
        .push(rule("inner", 5, then(tcp_port(22), Verdict::Accept)));
    assert!(taken(&rules).unwrap().0.contains("handle 4"));
    rules
        .rules
        .push(rule("inner", 6, then(tcp_port(445), Verdict::Accept)));
    assert_eq!(taken(&rules), None);
    rules
        .rules
        .push(rule("inner", 7, then(vec![], Verdict::Jump("inner".to_owned()))));
    let _ = taken(&rules);
}

#[test]
fn sets_of_single_ports_and_of_ranges_are_looked_into() {
    let element = |port: u16, is_end| Element {
        key: port.to_be_bytes().to_vec(),
        last: None,
        is_end,
        verdict: None,
    };
    let mut steps = tcp_port(445);
    steps.pop();
    steps.push(Expression::Lookup {
        register: 0,
        set: "ports".to_owned(),
        inverted: false,
        is_verdict: false,
    });
    let mut rules = output(vec![rule("out", 3, then(steps, Verdict::Drop))], false);
    let mut with = |elements: Vec<Element>| {
        rules.sets = vec![Set {
            family: family::INET,
            table: "lab".to_owned(),
            name: "ports".to_owned(),
            elements,
        }];
        taken(&rules)
    };
    assert!(matches!(
        with(vec![element(139, false), element(445, false)]),
        Some((_, true))
    ));
    assert_eq!(with(vec![element(22, false), element(80, false)]), None);
    let ranges = |from, to| vec![element(0, true), element(from, false), element(to, true)];
    assert!(matches!(with(ranges(400, 500)), Some((_, true))));
    assert_eq!(with(ranges(500, 600)), None);
    assert!(
        matches!(with(vec![]), Some((_, false))),
        "a set that could not be read"
    );
}

#[test]
fn chains_of_the_other_family_and_of_other_hooks_are_not_asked() {
    let mut rules = output(vec![rule("out", 3, then(vec![], Verdict::Drop))], false);
    rules.chains[0].hook = Some((hook::LOCAL_IN, 0));
    assert_eq!(taken(&rules), None);
    let mut back = packet();
    (back.leaves, back.begins) = (false, false);
    assert!(matches!(judge(&rules, &back), Ruled::Taken { surely: true, .. }));
    rules.chains[0].family = family::IPV6;
    assert_eq!(judge(&rules, &back), Ruled::Passes);
}
