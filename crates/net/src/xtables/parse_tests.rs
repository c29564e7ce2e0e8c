use super::super::INFO;
use super::*;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// An entry without matches: destination, target's name and its data.
fn entry(destination: [u8; 4], target: &str, data: &[u8]) -> Vec<u8> {
    let length = (V4.header + PART + data.len()).next_multiple_of(8);
    let mut bytes = vec![0; length];
    put(&mut bytes, 4, &destination);
    if destination != [0; 4] {
        put(&mut bytes, 12, &[255; 4]);
    }
    put(&mut bytes, V4.offsets, &(V4.header as u16).to_ne_bytes());
    put(&mut bytes, V4.offsets + 2, &(length as u16).to_ne_bytes());
    put(&mut bytes, V4.counters, &7u64.to_ne_bytes());
    put(&mut bytes, V4.header, &((PART + data.len()) as u16).to_ne_bytes());
    put(&mut bytes, V4.header + 2, target.as_bytes());
    put(&mut bytes, V4.header + PART, data);
    bytes
}

fn verdict(code: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    put(&mut bytes, 0, &code.to_ne_bytes());
    bytes
}

/// OUTPUT with a jump to a chain of the user's that drops, and a policy that drops.
fn table() -> (Vec<u8>, Vec<u8>) {
    let name = |name: &str| {
        let mut bytes = vec![0; 32];
        put(&mut bytes, 0, name.as_bytes());
        bytes
    };
    let policy = entry([0; 4], "", &verdict(-1));
    let head = entry([0; 4], "ERROR", &name("mine"));
    let jump_length = policy.len();
    let to = jump_length + policy.len() + head.len();
    let jump = entry([10, 0, 0, 2], "", &verdict(to as i32));
    let drop = entry([0; 4], "REJECT", &verdict(7));
    let end = entry([0; 4], "", &verdict(-5));
    let last = entry([0; 4], "ERROR", &name("ERROR"));
    let entries = [jump, policy, head, drop, end, last].concat();
    let mut info = vec![0; INFO];
    put(&mut info, NAME, &(1u32 << 3).to_ne_bytes());
    put(&mut info, NAME + 24 + 12, &(jump_length as u32).to_ne_bytes());
    (info, entries)
}

#[test]
fn chains_jumps_and_policies_are_read() {
    let (info, entries) = table();
    let rules = ruleset(false, "filter", &info, &entries).unwrap();
    let chains: Vec<_> = rules
        .chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain.hook, chain.drops_by_policy))
        .collect();
    assert_eq!(chains, [("OUTPUT", Some((3, 0)), true)]);
    let ends: Vec<_> = rules
        .rules
        .iter()
        .map(|rule| {
            (
                rule.chain.as_str(),
                rule.handle,
                rule.packets(),
                rule.expressions.last(),
            )
        })
        .collect();
    let jump = Expression::Verdict(Verdict::Jump("mine".to_owned()));
    let refuse = Expression::Reject { reset: true };
    let back = Expression::Verdict(Verdict::Return);
    assert_eq!(
        ends,
        [
            ("OUTPUT", 1, Some(7), Some(&jump)),
            ("mine", 1, Some(7), Some(&refuse)),
            ("mine", 2, Some(7), Some(&back)),
        ]
    );
}

#[test]
fn what_contradicts_itself_is_no_table() {
    let (info, entries) = table();
    for end in 1..entries.len() {
        // Between two entries a shorter table is one, too.
        let _ = ruleset(false, "filter", &info, &entries[..end]);
    }
    assert!(ruleset(false, "filter", &info, &entries[..V4.header]).is_none());
    let mut round = entries.clone();
    put(&mut round, V4.offsets + 2, &0u16.to_ne_bytes());
    assert!(
        ruleset(false, "filter", &info, &round).is_none(),
        "an entry of no length"
    );
    assert!(ruleset(false, "filter", &info[..40], &entries).is_none());
}
