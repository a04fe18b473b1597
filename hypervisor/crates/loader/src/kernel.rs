//! [`Kernel`]: from a file to a parsed ELF image, whatever it was wrapped in.
//!
//! Two ways: [`Kernel::parse`] allocates the unpacked image; a caller that has its own room uses [`payload`],
//! [`decompress_into`] and [`Kernel::from_elf`]. The bzImage fields are those of the Linux x86 boot protocol
//! (Documentation/arch/x86/boot.rst: `setup_sects`, `HdrS`, `version`, `payload_offset`, `payload_length`).
use crate::elf::ElfImage;
use crate::{LoadError, XenNotes, decompress, notes};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// How a kernel's ELF image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadKind {
    /// Not packed at all.
    Elf,
    /// RFC 1952.
    Gzip,
    /// .xz, with an x86 branch filter or without.
    Xz,
    /// .lzma ("alone" format).
    Lzma,
    /// RFC 8878.
    Zstd,
    /// The legacy LZ4 frame that Linux uses.
    Lz4,
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PayloadKind::Elf => "ELF",
            PayloadKind::Gzip => "gzip",
            PayloadKind::Xz => "xz",
            PayloadKind::Lzma => "lzma",
            PayloadKind::Zstd => "zstd",
            PayloadKind::Lz4 => "lz4",
        })
    }
}

/// The packed ELF image inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// How it is packed.
    pub kind: PayloadKind,
    /// The packed bytes, without the size word that Linux appends.
    pub data: &'a [u8],
    /// Unpacked size in bytes as the image claims it; an allegation until unpacking has succeeded.
    pub size_hint: Option<usize>,
}

impl Payload<'_> {
    /// Upper bound of the heap that [`decompress_into`] takes for itself beside an output of `out_len` bytes.
    pub fn scratch_bytes(&self, out_len: usize) -> usize {
        decompress::scratch_bytes(self, out_len)
    }
}

/// Offset of `setup_sects`, `HdrS`, version and payload fields in a bzImage's first sectors.
mod setup {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const PAYLOAD_OFFSET: usize = 0x248;
    pub const PAYLOAD_LENGTH: usize = 0x24c;
    pub const END: usize = 0x250;
}

/// Finds the ELF image, packed or not, inside a kernel file: ELF, bzImage, or a bare compressed ELF.
pub fn payload(image: &[u8]) -> Result<Payload<'_>, LoadError> {
    if is_bzimage(image) {
        return bzimage_payload(image);
    }
    let kind = sniff(image).ok_or(LoadError::NotAKernel)?;
    let size_hint = match kind {
        PayloadKind::Elf => Some(image.len()),
        PayloadKind::Gzip => u32_at(image, image.len().wrapping_sub(4)).map(|n| n as usize),
        _ => None,
    };
    Ok(Payload {
        kind,
        data: image,
        size_hint,
    })
}

/// Unpacks into `out` and returns the number of bytes written.
///
/// Errors: [`LoadError::TooLarge`] when `out` is too small, [`LoadError::Decompress`] when the data are damaged.
pub fn decompress_into(payload: &Payload<'_>, out: &mut [u8]) -> Result<usize, LoadError> {
    decompress::into_slice(payload, out)
}

/// Unpacks into memory of its own, at most `max_size` bytes of it; borrows where nothing is packed.
pub fn decompress<'a>(payload: &Payload<'a>, max_size: usize) -> Result<Cow<'a, [u8]>, LoadError> {
    if payload.kind == PayloadKind::Elf {
        return Ok(Cow::Borrowed(payload.data));
    }
    let too_large = |size: usize| LoadError::TooLarge {
        what: "the unpacked kernel",
        size: size as u64,
        limit: max_size as u64,
    };
    if let Some(size) = payload.size_hint {
        if size > max_size {
            return Err(too_large(size));
        }
        return unpack_to_vec(payload, size).map(Cow::Owned);
    }
    let mut size = payload
        .data
        .len()
        .saturating_mul(6)
        .clamp(1 << 20, max_size.max(1 << 20));
    loop {
        if size > max_size {
            return Err(too_large(size));
        }
        match unpack_to_vec(payload, size) {
            Err(LoadError::TooLarge { .. }) if size < max_size => {
                size = size.saturating_mul(2).min(max_size)
            }
            other => return other.map(Cow::Owned),
        }
    }
}

fn unpack_to_vec(payload: &Payload<'_>, size: usize) -> Result<Vec<u8>, LoadError> {
    let mut out = Vec::new();
    out.try_reserve_exact(size)
        .map_err(|_| LoadError::OutOfMemory(size as u64))?;
    out.resize(size, 0);
    let n = decompress_into(payload, &mut out)?;
    out.truncate(n);
    Ok(out)
}

/// A kernel ready to be laid out: its ELF bytes, its segments, what it tells Xen.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    /// The unpacked ELF file.
    pub image: Cow<'a, [u8]>,
    /// Entry point and load segments.
    pub elf: ElfImage,
    /// The Xen notes; [`XenNotes::is_present`] says whether there were any.
    pub notes: XenNotes,
}

impl<'a> Kernel<'a> {
    /// Unpacks and parses a kernel file. `max_size` bounds the unpacked size in bytes.
    pub fn parse(image: &'a [u8], max_size: usize) -> Result<Kernel<'a>, LoadError> {
        Self::from_image(decompress(&payload(image)?, max_size)?)
    }

    /// Parses an ELF image that is already unpacked.
    pub fn from_elf(image: &'a [u8]) -> Result<Kernel<'a>, LoadError> {
        Self::from_image(Cow::Borrowed(image))
    }

    /// Parses an ELF image that is already unpacked and keeps it.
    pub fn from_vec(image: Vec<u8>) -> Result<Kernel<'static>, LoadError> {
        Kernel::from_image(Cow::Owned(image))
    }

    fn from_image(image: Cow<'a, [u8]>) -> Result<Kernel<'a>, LoadError> {
        let elf = ElfImage::parse(&image)?;
        let notes = notes::parse(&image)?;
        Ok(Kernel { image, elf, notes })
    }

    /// The file bytes of segment `index`; the rest of its memory size is zero.
    pub fn segment_data(&self, index: usize) -> Option<&[u8]> {
        let s = self.elf.segments.get(index)?;
        self.image
            .get(s.offset as usize..)?
            .get(..s.file_size as usize)
    }
}

fn sniff(data: &[u8]) -> Option<PayloadKind> {
    const MAGICS: &[(&[u8], PayloadKind)] = &[
        (b"\x7fELF", PayloadKind::Elf),
        (b"\x1f\x8b\x08", PayloadKind::Gzip),
        (b"\xfd7zXZ\0", PayloadKind::Xz),
        (b"\x28\xb5\x2f\xfd", PayloadKind::Zstd),
        (b"\x02\x21\x4c\x18", PayloadKind::Lz4),
        (b"\x5d\0\0", PayloadKind::Lzma),
    ];
    MAGICS
        .iter()
        .find(|(magic, _)| data.starts_with(magic))
        .map(|&(_, kind)| kind)
}

fn is_bzimage(image: &[u8]) -> bool {
    image.get(setup::MAGIC..setup::MAGIC + 4) == Some(b"HdrS")
        && image.get(setup::BOOT_FLAG..setup::BOOT_FLAG + 2) == Some(&[0x55, 0xaa])
}

fn bzimage_payload(image: &[u8]) -> Result<Payload<'_>, LoadError> {
    let truncated = |what, need| LoadError::Truncated {
        what,
        need,
        have: image.len() as u64,
    };
    let version =
        u16_at(image, setup::VERSION).ok_or(truncated("the bzImage header", setup::END as u64))?;
    if version < 0x208 {
        return Err(LoadError::Unsupported(
            "bzImage with a boot protocol older than 2.08 (Linux before 2.6.26)",
        ));
    }
    let (Some(offset), Some(length)) = (
        u32_at(image, setup::PAYLOAD_OFFSET),
        u32_at(image, setup::PAYLOAD_LENGTH),
    ) else {
        return Err(truncated("the bzImage header", setup::END as u64));
    };
    // Zero means four, for the oldest of loaders.
    let sectors = match image.get(setup::SETUP_SECTS) {
        Some(0) | None => 4,
        Some(&n) => u64::from(n),
    };
    let start = (sectors + 1) * 512 + u64::from(offset);
    let end = start + u64::from(length);
    let data = image
        .get(start as usize..)
        .and_then(|rest| rest.get(..length as usize))
        .ok_or(truncated("the compressed payload of the bzImage", end))?;
    let kind = sniff(data).ok_or(LoadError::Unsupported(
        "bzImage payload of unknown compression (known: gzip, xz, lzma, zstd, lz4)",
    ))?;
    // The last word is the unpacked size: gzip's own field, or appended by Linux's build for the others.
    let size_hint = u32_at(data, data.len().wrapping_sub(4)).map(|n| n as usize);
    Ok(match kind {
        PayloadKind::Elf => Payload {
            kind,
            data,
            size_hint: Some(data.len()),
        },
        PayloadKind::Gzip => Payload {
            kind,
            data,
            size_hint,
        },
        _ => Payload {
            kind,
            data: &data[..data.len().saturating_sub(4)],
            size_hint,
        },
    })
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
