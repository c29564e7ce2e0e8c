//! SMB2 negotiate, straight over TCP (port 445) and after a NetBIOS session request (port 139).
//!
//! Layouts: MS-SMB2 sections 2.2.1 (header), 2.2.3 (request), 2.2.4 (response); RFC 1002 section 4.3 for the four bytes
//! before each message.

use super::Heard;

const HEADER: usize = 64;
const NEGOTIATE: u16 = 0;
const SESSION_REQUEST: u8 = 0x81;
const POSITIVE: u8 = 0x82;
const NEGATIVE: u8 = 0x83;

/// Dialects 2.0.2, 2.1 and 3.0; 3.1.1 would want more to be said.
const DIALECTS: [u16; 3] = [0x0202, 0x0210, 0x0300];

/// A negotiate request with its length before it.
pub(super) fn negotiate() -> Vec<u8> {
    let mut message = vec![0u8; HEADER];
    message[..4].copy_from_slice(b"\xfeSMB");
    message[4..6].copy_from_slice(&64u16.to_le_bytes());
    message[12..14].copy_from_slice(&NEGOTIATE.to_le_bytes());
    // One credit is asked for.
    message[14..16].copy_from_slice(&1u16.to_le_bytes());
    message.extend_from_slice(&36u16.to_le_bytes());
    message.extend_from_slice(&(DIALECTS.len() as u16).to_le_bytes());
    // Signing enabled.
    message.extend_from_slice(&1u16.to_le_bytes());
    message.extend_from_slice(&[0; 6]);
    // The client's identifier: any.
    message.extend_from_slice(&[0x72; 16]);
    message.extend_from_slice(&[0; 8]);
    for dialect in DIALECTS {
        message.extend_from_slice(&dialect.to_le_bytes());
    }
    let length = (message.len() as u32).to_be_bytes();
    [&[0, length[1], length[2], length[3]][..], &message].concat()
}

/// What a server says to [`negotiate`].
pub(super) fn negotiated(bytes: &[u8]) -> Option<Heard> {
    let message = bytes.get(4..)?;
    if message.starts_with(b"\xffSMB") {
        return Some(Heard::Refused("SMB 1 alone".to_owned()));
    }
    if !message.starts_with(b"\xfeSMB") || half(message, 12)? != NEGOTIATE {
        return None;
    }
    let status = u32::from_le_bytes(message.get(8..12)?.try_into().ok()?);
    if status != 0 {
        return Some(Heard::Refused(format!("SMB status 0x{status:08x}")));
    }
    let (security, dialect) = (half(message, HEADER + 2)?, half(message, HEADER + 4)?);
    let version = match dialect {
        0x0202 => "2.0.2",
        0x0210 => "2.1",
        0x02ff => "2.x",
        0x0300 => "3.0",
        0x0302 => "3.0.2",
        0x0311 => "3.1.1",
        _ => "of an unknown dialect",
    };
    let signing = if security & 2 != 0 {
        "signing required"
    } else {
        "signing not required"
    };
    Some(Heard::Understood(format!("SMB {version}, {signing}")))
}

/// Calls the name that every server of files answers to.
pub(super) fn session_request() -> Vec<u8> {
    let mut body = encoded("*SMBSERVER", b' ', 0x20);
    body.extend(encoded("RPING", b' ', 0));
    let length = (body.len() as u16).to_be_bytes();
    [&[SESSION_REQUEST, 0, length[0], length[1]][..], &body].concat()
}

/// First-level encoding (RFC 1001 section 14.1): each half of a byte becomes a letter.
fn encoded(name: &str, filler: u8, kind: u8) -> Vec<u8> {
    let mut bytes = [filler; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes[15] = kind;
    let mut out = vec![32];
    for byte in bytes {
        out.push(b'A' + (byte >> 4));
        out.push(b'A' + (byte & 15));
    }
    out.push(0);
    out
}

/// What a server says to [`session_request`].
pub(super) fn session(bytes: &[u8]) -> Option<Heard> {
    match *bytes {
        [POSITIVE, ..] => Some(Heard::Understood("a NetBIOS session".to_owned())),
        [NEGATIVE, _, _, _, code, ..] => Some(Heard::Refused(format!(
            "no NetBIOS session, code 0x{code:02x} ({})",
            match code {
                0x80 | 0x82 => "the name that was called is not there",
                0x83 => "no resources",
                _ => "unspecified",
            }
        ))),
        [NEGATIVE, ..] => Some(Heard::Refused("no NetBIOS session".to_owned())),
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_before_a_message_is_its_own() {
        let bytes = negotiate();
        assert_eq!(
            u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize,
            bytes.len() - 4
        );
        assert_eq!(session_request().len(), 4 + 68);
    }

    #[test]
    fn a_response_tells_its_dialect_and_whether_signing_is_required() {
        let mut bytes = vec![0; 4 + HEADER + 6];
        bytes[4..8].copy_from_slice(b"\xfeSMB");
        bytes[4 + HEADER + 2] = 3;
        bytes[4 + HEADER + 4..][..2].copy_from_slice(&0x0300u16.to_le_bytes());
        assert_eq!(
            negotiated(&bytes),
            Some(Heard::Understood("SMB 3.0, signing required".into()))
        );
        bytes[12..16].copy_from_slice(&0xc000_0022u32.to_le_bytes());
        assert!(matches!(negotiated(&bytes), Some(Heard::Refused(_))));
        assert_eq!(negotiated(&bytes[..10]), None);
    }

    #[test]
    fn session_answers_are_told_apart() {
        assert!(matches!(session(&[0x82, 0, 0, 0]), Some(Heard::Understood(_))));
        assert!(matches!(session(&[0x83, 0, 0, 1, 0x82]), Some(Heard::Refused(_))));
        assert_eq!(session(b"HTTP"), None);
    }

    #[test]
    fn names_are_encoded_half_by_half() {
        // RFC 1001 section 14.1: "The NetBIOS name" example letters for blanks are CA.
        assert_eq!(&encoded("A", b' ', 0x20)[..5], b"\x20EBCA");
    }
}
