//! A TLS client hello, and whether the answer is TLS (RFC 8446 section 4.1.2, RFC 5246 section 7.2, RFC 6066 section 3).

use super::Heard;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

fn with_length16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &with_length16(data)].concat()
}

/// A hello that any server since TLS 1.2 can answer. The connection is given up after the answer, so its key share is of
/// no use and bears no secret.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    if !name.is_empty() {
        let entry = [&[0u8][..], &with_length16(name.as_bytes())].concat();
        extensions.extend(extension(0, &with_length16(&entry)));
    }
    // Groups: x25519, secp256r1, secp384r1.
    extensions.extend(extension(10, &with_length16(&[0, 0x1d, 0, 0x17, 0, 0x18])));
    extensions.extend(extension(11, &[1, 0]));
    // Signatures: ECDSA, RSA-PSS and RSA with SHA-256 and SHA-384, Ed25519.
    extensions.extend(extension(
        13,
        &with_length16(&[4, 3, 5, 3, 8, 4, 8, 5, 4, 1, 5, 1, 8, 7]),
    ));
    // Versions 1.3 and 1.2.
    extensions.extend(extension(43, &[4, 3, 4, 3, 3]));
    // A key share for x25519: the curve's base point, which is a valid public key.
    let mut point = [0u8; 32];
    point[0] = 9;
    let share = [&[0u8, 0x1d][..], &with_length16(&point)].concat();
    extensions.extend(extension(51, &with_length16(&share)));
    let mut body = vec![3, 3];
    body.extend_from_slice(&[0x52; 32]);
    body.push(0);
    body.extend(with_length16(&[
        0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc,
        0xa8, 0x00, 0x9c, 0x00, 0x2f,
    ]));
    body.extend_from_slice(&[1, 0]);
    body.extend(with_length16(&extensions));
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut handshake = vec![CLIENT_HELLO, length[1], length[2], length[3]];
    handshake.extend(body);
    [&[HANDSHAKE, 3, 1][..], &with_length16(&handshake)].concat()
}

/// The record's type and what it holds.
pub(super) fn answer(bytes: &[u8]) -> Option<Heard> {
    match *bytes {
        [HANDSHAKE, 3, _, _, _, SERVER_HELLO, ..] => Some(Heard::Understood("a TLS server hello".to_owned())),
        [ALERT, 3, _, 0, 2, level, description, ..] => {
            let severity = if level == 2 { "fatal alert" } else { "warning" };
            // It speaks TLS; that it does not like this hello (a name it does not serve, say) is its right.
            Some(Heard::Understood(format!(
                "a TLS {severity}, number {description}"
            )))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_the_hello_covers_what_follows() {
        let hello = client_hello("fileserver.example");
        let record = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        assert_eq!(hello.len(), 5 + record);
        let handshake = usize::from(u16::from_be_bytes([hello[7], hello[8]]));
        assert_eq!(hello.len(), 9 + handshake);
        assert!(hello.windows(18).any(|part| part == b"fileserver.example"));
    }

    #[test]
    fn a_server_hello_and_an_alert_are_tls() {
        assert!(matches!(
            answer(&[22, 3, 3, 0, 9, 2, 0]),
            Some(Heard::Understood(_))
        ));
        assert!(matches!(
            answer(&[21, 3, 3, 0, 2, 2, 40]),
            Some(Heard::Understood(_))
        ));
        assert_eq!(answer(b"HTTP/1.1"), None);
        assert_eq!(answer(&[22, 3]), None);
    }
}
