//! Writing pcapng (draft-ietf-opsawg-pcapng): one section, an interface block for each interface as its first packet
//! comes, packets with nanosecond stamps.
//!
//! Everything is written in this machine's byte order, which the section header tells.

use std::io::{self, Write};

use super::LinkType;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// The section's length is not known ahead.
const UNKNOWN_LENGTH: u64 = u64::MAX;
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Which way a packet went, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To this host.
    In,
    /// From this host.
    Out,
}

/// Writes one section.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: u64,
    interfaces: u32,
    snap: u32,
}

impl<W: Write> Writer<W> {
    /// Begins the section. `comment` says what the capture is of.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(out: W, program: &str, comment: &str, snap: u32) -> io::Result<Writer<W>> {
        let mut writer = Writer {
            out,
            written: 0,
            interfaces: 0,
            snap,
        };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_ne_bytes());
        body.extend(1u16.to_ne_bytes());
        body.extend(0u16.to_ne_bytes());
        body.extend(UNKNOWN_LENGTH.to_ne_bytes());
        option(&mut body, OPT_COMMENT, comment.as_bytes());
        option(&mut body, SHB_OS, std::env::consts::OS.as_bytes());
        option(&mut body, SHB_USERAPPL, program.as_bytes());
        option(&mut body, OPT_END, &[]);
        writer.block(SECTION, &body)?;
        Ok(writer)
    }

    /// Declares an interface; returns its number.
    ///
    /// # Errors
    /// What the writer says.
    pub fn interface(&mut self, name: &str, link: LinkType) -> io::Result<u32> {
        let mut body = Vec::new();
        body.extend(link.number().to_ne_bytes());
        body.extend(0u16.to_ne_bytes());
        body.extend(self.snap.to_ne_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_TSRESOL, &[9]);
        option(&mut body, OPT_END, &[]);
        self.block(INTERFACE, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet: `bytes` of the `whole` that it was, at `stamp` nanoseconds since 1970.
    ///
    /// # Errors
    /// What the writer says.
    pub fn packet(
        &mut self,
        interface: u32,
        stamp: u64,
        whole: usize,
        bytes: &[u8],
        way: Option<Way>,
    ) -> io::Result<()> {
        let mut body = Vec::with_capacity(bytes.len() + 48);
        body.extend(interface.to_ne_bytes());
        body.extend(((stamp >> 32) as u32).to_ne_bytes());
        body.extend((stamp as u32).to_ne_bytes());
        body.extend(number(bytes.len()).to_ne_bytes());
        body.extend(number(whole).to_ne_bytes());
        body.extend(bytes);
        pad(&mut body);
        if let Some(way) = way {
            let flags: u32 = if way == Way::In { 1 } else { 2 };
            option(&mut body, EPB_FLAGS, &flags.to_ne_bytes());
            option(&mut body, OPT_END, &[]);
        }
        self.block(PACKET, &body)
    }

    /// Says at the end what an interface gave: packets that were kept, and those that the kernel dropped or that were
    /// left out.
    ///
    /// # Errors
    /// What the writer says.
    pub fn statistics(
        &mut self,
        interface: u32,
        stamp: u64,
        received: u64,
        dropped: u64,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(interface.to_ne_bytes());
        body.extend(((stamp >> 32) as u32).to_ne_bytes());
        body.extend((stamp as u32).to_ne_bytes());
        if let Some(comment) = comment {
            option(&mut body, OPT_COMMENT, comment.as_bytes());
        }
        option(&mut body, ISB_IFRECV, &received.to_ne_bytes());
        option(&mut body, ISB_IFDROP, &dropped.to_ne_bytes());
        option(&mut body, OPT_END, &[]);
        self.block(STATISTICS, &body)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// What the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The writer beneath.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        debug_assert!(body.len().is_multiple_of(4));
        let length = number(body.len() + 12);
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&length.to_ne_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&length.to_ne_bytes())?;
        self.written += u64::from(length);
        Ok(())
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A text longer than an option holds is cut; it is for people.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..u16::MAX.into()).unwrap_or(value);
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
