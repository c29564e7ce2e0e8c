use proptest::prelude::*;

use super::*;

fn respond(query: &[u8], flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (name, kind, data) in records {
        message.extend_from_slice(name);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

#[test]
fn a_query_is_what_rfc_1035_draws() {
    let bytes = query(0x1234, "a.bc.", Kind::A).unwrap();
    assert_eq!(
        bytes,
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01"
    );
}

#[test]
fn names_that_dns_cannot_carry_are_not_asked() {
    assert!(query(1, "a..b", Kind::A).is_none());
    assert!(query(1, &"x".repeat(64), Kind::A).is_none());
    assert!(query(1, &vec!["abcdefgh"; 40].join("."), Kind::A).is_none());
    assert!(query(1, "", Kind::A).is_none());
}

#[test]
fn addresses_and_the_alias_are_read() {
    let asked = query(7, "www.example", Kind::A).unwrap();
    let message = respond(
        &asked,
        0x8180,
        &[
            (b"\xc0\x0c", 5, b"\x02ab\xc0\x10"),
            (b"\xc0\x0c", 1, &[10, 0, 0, 1]),
            (b"\xc0\x0c", 1, &[10, 0, 0, 2]),
        ],
    );
    let answer = answer(&asked, &message).unwrap();
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.addresses,
        [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]
    );
    assert_eq!(answer.alias.as_deref(), Some("ab.example"));
}

#[test]
fn no_such_name_is_an_answer_without_addresses() {
    let asked = query(7, "nope.example", Kind::Aaaa).unwrap();
    let said = answer(&asked, &respond(&asked, 0x8183, &[])).unwrap();
    assert_eq!((said.code, said.addresses.len()), (3, 0));
}

#[test]
fn an_answer_to_another_question_is_none() {
    let asked = query(7, "a.example", Kind::A).unwrap();
    let other = query(7, "b.example", Kind::A).unwrap();
    assert_eq!(answer(&asked, &respond(&other, 0x8180, &[])), None);
    let late = query(8, "a.example", Kind::A).unwrap();
    assert_eq!(answer(&asked, &respond(&late, 0x8180, &[])), None);
    assert_eq!(answer(&asked, &asked), None, "a query is no answer");
}

#[test]
fn a_name_that_points_at_itself_ends() {
    let asked = query(7, "a.example", Kind::A).unwrap();
    let at = asked.len() as u8 + 12;
    let message = respond(&asked, 0x8180, &[(b"\xc0\x0c", 5, &[0xc0, at])]);
    assert_eq!(answer(&asked, &message).unwrap().alias, None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        let asked = query(7, "a.example", Kind::A).unwrap();
        let _ = answer(&asked, &message);
        let mut ours = respond(&asked, 0x8180, &[]);
        ours.extend_from_slice(&message);
        ours[7] = 9;
        let _ = answer(&asked, &ours);
    }
}
