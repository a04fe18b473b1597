//! The stream in which a PV domain is saved: [`Record`]s behind two headers, read and written. Numbers and layouts are those
//! of Xen's published specification of the libxc migration stream, version 3.
use std::io::{self, Read, Write};

/// In front of everything.
const MARKER: u64 = u64::MAX;
/// "XENF", big endian like the version behind it.
const ID: u32 = 0x5845_4e46;
/// Versions that can be read: in 2 there is no record at the end of what never changes.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const BIG_ENDIAN: u16 = 1;
/// The domain is a PV one.
const PV: u32 = 1;
const PAGE_SHIFT: u16 = 12;
const ALIGN: usize = 8;
/// The longest record there may be.
const LONGEST: u32 = 128 << 20;

/// Kinds of records.
pub mod kind {
    pub const END: u32 = 0;
    pub const PAGE_DATA: u32 = 1;
    pub const PV_INFO: u32 = 2;
    pub const P2M_FRAMES: u32 = 3;
    pub const VCPU_BASIC: u32 = 4;
    pub const VCPU_EXTENDED: u32 = 5;
    pub const VCPU_XSAVE: u32 = 6;
    pub const SHARED_INFO: u32 = 7;
    pub const TSC_INFO: u32 = 8;
    pub const VCPU_MSRS: u32 = 0xc;
    pub const VERIFY: u32 = 0xd;
    pub const CHECKPOINT: u32 = 0xe;
    pub const STATIC_DATA_END: u32 = 0x10;
    pub const CPUID_POLICY: u32 = 0x11;
    pub const MSR_POLICY: u32 = 0x12;
    /// What a reader may ignore if it does not know it.
    pub const OPTIONAL: u32 = 1 << 31;
}

/// One record.
pub struct Record {
    pub kind: u32,
    pub body: Vec<u8>,
}

/// Writes both headers. `xen` is the version of the hypervisor.
pub fn write_headers(out: &mut dyn Write, xen: (u32, u32)) -> io::Result<()> {
    let mut head = MARKER.to_le_bytes().to_vec();
    head.extend(ID.to_be_bytes());
    head.extend(VERSIONS.end().to_be_bytes());
    head.extend([0; 8]);
    head.extend(PV.to_le_bytes());
    head.extend(PAGE_SHIFT.to_le_bytes());
    head.extend([0; 2]);
    head.extend(xen.0.to_le_bytes());
    head.extend(xen.1.to_le_bytes());
    out.write_all(&head)
}

/// Reads both headers; says what about them cannot be.
pub fn read_headers(input: &mut dyn Read) -> Result<(), String> {
    let mut head = [0; 40];
    input.read_exact(&mut head).map_err(|e| short(&e))?;
    let be = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let options = u16::from_be_bytes([head[16], head[17]]);
    if head[..8] != MARKER.to_le_bytes() || be(8) != ID {
        return Err("this is no saved domain".into());
    }
    if !VERSIONS.contains(&be(12)) {
        return Err(format!("version {} of the stream is not known", be(12)));
    }
    if options & BIG_ENDIAN != 0 {
        return Err("it was saved on a big-endian machine".into());
    }
    match u32::from_le_bytes([head[24], head[25], head[26], head[27]]) {
        PV if head[28..30] == PAGE_SHIFT.to_le_bytes() => Ok(()),
        PV => Err("its pages are not of 4 KiB".into()),
        other => Err(format!("it is no PV domain but one of kind {other}")),
    }
}

/// Writes a record whose body is in parts.
pub fn write(out: &mut dyn Write, kind: u32, body: &[&[u8]]) -> io::Result<()> {
    let len: usize = body.iter().map(|b| b.len()).sum();
    let length = u32::try_from(len).ok().filter(|l| *l <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("a record grew too long"))?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    body.iter().try_for_each(|b| out.write_all(b))?;
    out.write_all(&[0; ALIGN][..len.next_multiple_of(ALIGN) - len])
}

/// Reads the next record.
pub fn read(input: &mut dyn Read) -> Result<Record, String> {
    let mut head = [0; 8];
    input.read_exact(&mut head).map_err(|e| short(&e))?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (kind, length) = (word(0), word(4));
    if length > LONGEST {
        return Err(format!("a record of {length} bytes is too long"));
    }
    let len = length as usize;
    let padded = len.next_multiple_of(ALIGN) as u64;
    let mut body = Vec::new();
    // Grows with what is there, not with what a length says.
    let got = Read::take(input, padded).read_to_end(&mut body);
    match got {
        Ok(n) if n as u64 == padded => {}
        Ok(_) => return Err("it ends early: the copy is not whole".into()),
        Err(e) => return Err(short(&e)),
    }
    body.truncate(len);
    Ok(Record { kind, body })
}

fn short(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "it ends early: the copy is not whole".into(),
        _ => e.to_string(),
    }
}

/// A number of a record's body; 0 behind its end.
pub fn u32_at(body: &[u8], at: usize) -> u32 {
    body.get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// The same of 64 bits.
pub fn u64_at(body: &[u8], at: usize) -> u64 {
    body.get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write_headers(&mut out, (4, 17)).unwrap();
        write(&mut out, kind::PV_INFO, &[&[8, 4], &[0; 3]]).unwrap();
        write(&mut out, kind::END, &[]).unwrap();
        assert_eq!(out.len(), 40 + 16 + 8);
        let mut input = &out[..];
        read_headers(&mut input).unwrap();
        let first = read(&mut input).unwrap();
        assert_eq!(
            (first.kind, &first.body[..]),
            (kind::PV_INFO, &[8, 4, 0, 0, 0][..])
        );
        assert_eq!(read(&mut input).unwrap().kind, kind::END);
        assert!(read(&mut input).is_err());
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        assert!(read_headers(&mut &b"#!/bin/sh"[..]).is_err());
        let mut out = Vec::new();
        write_headers(&mut out, (4, 17)).unwrap();
        let damaged = |at: usize, byte: u8| {
            let mut copy = out.clone();
            copy[at] = byte;
            read_headers(&mut &copy[..])
        };
        assert!(damaged(0, 0).is_err());
        assert!(damaged(15, 9).unwrap_err().contains("version 9"));
        assert!(damaged(17, 1).unwrap_err().contains("big-endian"));
        assert!(damaged(24, 2).unwrap_err().contains("no PV domain"));
        // A length that nothing follows takes no memory.
        let huge = [1, 0, 0, 0, 0, 0, 0, 8];
        assert!(read(&mut &huge[..]).is_err());
    }
}
