//! Unpacking into a slice, one adapter per format. Memory beside the output is bounded by the output's size,
//! whatever the packed header claims: see [`scratch_bytes`].
use crate::kernel::{Payload, PayloadKind};
use crate::{LoadError, lz4_legacy};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// What a decompressor may ask of the heap, freed pieces of a growing window included.
pub(crate) fn scratch_bytes(payload: &Payload<'_>, out_len: usize) -> usize {
    const SMALL: usize = 1 << 20;
    let data = payload.data;
    let declared = match payload.kind {
        PayloadKind::Elf | PayloadKind::Lz4 => return 0,
        PayloadKind::Gzip => return SMALL,
        PayloadKind::Xz => {
            xz_header_with_window(data, u32::MAX).and_then(|(_, bits)| Some(lzma2_window(bits?)))
        }
        PayloadKind::Lzma => data
            .get(1..5)
            .and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?).into())),
        PayloadKind::Zstd => None,
    };
    let useful = out_len.max(4096).next_power_of_two();
    let window = declared.map_or(useful, |d: u64| {
        useful.min(usize::try_from(d).unwrap_or(useful))
    });
    // It grows by doubling: beside the last size, all the earlier ones may lie about, together as much again.
    window.saturating_mul(2).saturating_add(SMALL)
}

pub(crate) fn into_slice(payload: &Payload<'_>, out: &mut [u8]) -> Result<usize, LoadError> {
    match payload.kind {
        PayloadKind::Elf => {
            let room = out
                .get_mut(..payload.data.len())
                .ok_or(too_large(payload.data.len(), 0))?;
            room.copy_from_slice(payload.data);
            Ok(payload.data.len())
        }
        PayloadKind::Gzip => gzip(payload.data, out),
        PayloadKind::Xz => xz(payload.data, out),
        PayloadKind::Lzma => lzma(payload.data, out),
        PayloadKind::Zstd => zstd(payload.data, out),
        PayloadKind::Lz4 => lz4_legacy::decompress(payload.data, out),
    }
}

pub(crate) fn too_large(size: usize, limit: usize) -> LoadError {
    LoadError::TooLarge {
        what: "the unpacked kernel",
        size: size as u64,
        limit: limit as u64,
    }
}

fn failed(kind: PayloadKind, why: impl Into<String>) -> LoadError {
    LoadError::Decompress {
        kind,
        why: why.into(),
    }
}

/// RFC 1952: header, deflate stream, CRC-32, size.
fn gzip(data: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let fail = |why: &str| failed(PayloadKind::Gzip, why);
    let body = gzip_body(data).ok_or_else(|| fail("its header is cut short"))?;
    let mut state = Box::<DecompressorOxide>::default();
    let (status, used, written) = decompress(
        &mut state,
        body,
        out,
        0,
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
    );
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(too_large(out.len() + 1, out.len())),
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
            return Err(fail("it is cut short"));
        }
        _ => return Err(fail("the deflate data are damaged")),
    }
    let trailer = body
        .get(used..used + 8)
        .ok_or_else(|| fail("its trailer is cut short"))?;
    let crc = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
    if crc32fast::hash(&out[..written]) != crc {
        return Err(fail("the checksum is wrong"));
    }
    Ok(written)
}

/// Skips the gzip header with its optional fields.
fn gzip_body(data: &[u8]) -> Option<&[u8]> {
    const HCRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let flags = *data.get(3)?;
    let mut rest = data.get(10..)?;
    if flags & EXTRA != 0 {
        let len = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        rest = rest.get(2 + len..)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            rest = &rest[rest.iter().position(|&b| b == 0)? + 1..];
        }
    }
    if flags & HCRC != 0 {
        rest.get(2..)
    } else {
        Some(rest)
    }
}

/// Feeds a rewritten header, then the untouched rest.
struct Chain<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl lzma_rust2::Read for Chain<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, lzma_rust2::Error> {
        if self.head.is_empty() {
            return lzma_rust2::Read::read(&mut self.tail, buf);
        }
        lzma_rust2::Read::read(&mut self.head, buf)
    }
}

fn lzma_text(e: lzma_rust2::Error) -> String {
    use lzma_rust2::Error as E;
    match e {
        E::Eof => String::from("it is cut short"),
        E::InvalidData(s)
        | E::InvalidInput(s)
        | E::OutOfMemory(s)
        | E::Other(s)
        | E::Unsupported(s) => s.to_string(),
        other => format!("{other:?}"),
    }
}

/// Reads until the end, or until `out` is full and there is more.
fn read_lzma(
    kind: PayloadKind,
    mut reader: impl lzma_rust2::Read,
    out: &mut [u8],
) -> Result<usize, LoadError> {
    let mut at = 0;
    loop {
        let mut spare = [0u8; 1];
        let full = at == out.len();
        let room = if full { &mut spare[..] } else { &mut out[at..] };
        match reader.read(room).map_err(|e| failed(kind, lzma_text(e)))? {
            0 => return Ok(at),
            _ if full => return Err(too_large(at + 1, at)),
            n => at += n,
        }
    }
}

/// A window larger than the whole output is of no use: the size to ask for instead.
fn window(out_len: usize) -> u32 {
    u32::try_from(out_len.max(4096))
        .unwrap_or(1 << 31)
        .min(1 << 31)
}

fn lzma(data: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let fail = |why: String| failed(PayloadKind::Lzma, why);
    let (head, tail) = data
        .split_at_checked(13)
        .ok_or_else(|| fail("its header is cut short".into()))?;
    let declared = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let mut patched = [0u8; 13];
    patched.copy_from_slice(head);
    patched[1..5].copy_from_slice(&declared.min(window(out.len())).to_le_bytes());
    let source = Chain {
        head: &patched,
        tail,
    };
    let reader = lzma_rust2::LzmaReader::new_mem_limit(source, u32::MAX, None)
        .map_err(|e| fail(lzma_text(e)))?;
    read_lzma(PayloadKind::Lzma, reader, out)
}

fn xz(data: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let (head, _) = xz_header_with_window(data, window(out.len()))
        .ok_or_else(|| failed(PayloadKind::Xz, "its header is cut short or damaged"))?;
    let source = Chain {
        head: &head,
        tail: &data[head.len()..],
    };
    read_lzma(
        PayloadKind::Xz,
        lzma_rust2::XzReader::new(source, false),
        out,
    )
}

/// The stream header and first block header with the LZMA2 window cut down to `window` bytes, and the window's property
/// byte as it was.
///
/// .xz format 1.1: 12 bytes of stream header; block header: size/4-1, flags (bits 0..1: filters less one, 6: compressed
/// size follows, 7: unpacked size follows), filters (id, property size, properties), padding, CRC-32.
fn xz_header_with_window(data: &[u8], window: u32) -> Option<(Vec<u8>, Option<u8>)> {
    const STREAM_HEADER: usize = 12;
    const LZMA2: u64 = 0x21;
    let block_len = (usize::from(*data.get(STREAM_HEADER)?) + 1) * 4;
    let mut head = data.get(..STREAM_HEADER + block_len)?.to_vec();
    let crc_at = head.len() - 4;
    let flags = head[STREAM_HEADER + 1];
    let mut at = STREAM_HEADER + 2;
    let mut declared = None;
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            varint(&head[..crc_at], &mut at)?;
        }
    }
    for _ in 0..=(flags & 3) {
        let id = varint(&head[..crc_at], &mut at)?;
        let len = usize::try_from(varint(&head[..crc_at], &mut at)?).ok()?;
        if at.checked_add(len)? > crc_at {
            return None;
        }
        if id == LZMA2 && len == 1 {
            declared = Some(head[at]);
            let smallest = (0..=40u8)
                .find(|&bits| lzma2_window(bits) >= u64::from(window))
                .unwrap_or(40);
            let stored = u32::from_le_bytes(head[crc_at..].try_into().ok()?);
            // A header that is damaged already must not be made whole.
            if smallest < head[at] && crc32fast::hash(&head[STREAM_HEADER..crc_at]) == stored {
                head[at] = smallest;
                let crc = crc32fast::hash(&head[STREAM_HEADER..crc_at]);
                head[crc_at..].copy_from_slice(&crc.to_le_bytes());
            }
        }
        at += len;
    }
    Some((head, declared))
}

/// Window bytes that an LZMA2 property byte stands for.
fn lzma2_window(bits: u8) -> u64 {
    (2 | u64::from(bits & 1)) << (bits.min(40) / 2 + 11)
}

fn varint(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zstd(data: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    use ruzstd::io::Read;
    let fail = |why: String| failed(PayloadKind::Zstd, why);
    let head = zstd_header_with_window(data, out.len())
        .ok_or_else(|| fail("its header is cut short".into()))?;
    let mut source = ZstdChain {
        head: &head,
        tail: &data[head.len()..],
    };
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size((out.len() as u64).saturating_mul(2).max(1 << 23));
    decoder.init(&mut source).map_err(|e| fail(e.to_string()))?;
    let limit = out.len();
    let mut at = 0;
    // Block by block: the decoder's window then never outgrows the declared one by more than a block.
    loop {
        decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|e| fail(e.to_string()))?;
        at += decoder
            .read(&mut out[at..])
            .map_err(|e| fail(e.to_string()))?;
        if decoder.can_collect() != 0 {
            return Err(too_large(limit + 1, limit));
        }
        if decoder.is_finished() {
            break;
        }
    }
    match (
        decoder.get_checksum_from_data(),
        decoder.get_calculated_checksum(),
    ) {
        (Some(stored), Some(computed)) if stored != computed => {
            Err(fail("the checksum is wrong".into()))
        }
        _ => Ok(at),
    }
}

struct ZstdChain<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl ruzstd::io::Read for ZstdChain<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ruzstd::io::Error> {
        if self.head.is_empty() {
            return ruzstd::io::Read::read(&mut self.tail, buf);
        }
        ruzstd::io::Read::read(&mut self.head, buf)
    }
}

/// Magic, frame descriptor and window descriptor (RFC 8878, 3.1.1.1.2) with the window cut down to what an output of
/// `out_len` bytes can use: Linux packs with `-22 --ultra`, which declares 128 MiB whatever the input's size.
fn zstd_header_with_window(data: &[u8], out_len: usize) -> Option<Vec<u8>> {
    const SINGLE_SEGMENT: u8 = 0x20;
    let mut head = data.get(..6)?.to_vec();
    if head[4] & SINGLE_SEGMENT == 0 {
        let exponent = out_len.max(1024).next_power_of_two().ilog2() - 10;
        let smallest = (exponent.min(31) as u8) << 3;
        head[5] = head[5].min(smallest);
    }
    Some(head)
}
