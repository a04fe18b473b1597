//! [`ElfImage`]: entry point and load segments of an ELF64 x86-64 executable, bounds checked (System V gABI).
use crate::LoadError;
use crate::notes::LEGACY_SECTION;
use alloc::vec::Vec;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, ET_EXEC, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;

/// One `PT_LOAD` segment. Its file bytes are known to lie inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the file bytes.
    pub offset: u64,
    /// Number of file bytes.
    pub file_size: u64,
    /// Bytes in memory, at least `file_size`; what the file does not give is zero.
    pub mem_size: u64,
    /// `p_paddr`: where Xen's builder takes the address from, see [`crate::pv`].
    pub paddr: u64,
    /// `p_vaddr`.
    pub vaddr: u64,
    /// `p_flags` (1 execute, 2 write, 4 read).
    pub flags: u32,
}

/// What loading needs to know of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfImage {
    /// `e_entry`.
    pub entry: u64,
    /// Load segments with a memory size, in file order. Never empty.
    pub segments: Vec<Segment>,
    /// Lowest `paddr`.
    pub pstart: u64,
    /// End of the highest segment by `paddr`.
    pub pend: u64,
}

/// No kernel has more; bounds the work on a hostile file.
const MAX_SEGMENTS: usize = 64;

pub(crate) type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// Checks class, byte order and machine, and parses the headers.
pub(crate) fn open(image: &[u8]) -> Result<Elf<'_>, LoadError> {
    if !image.starts_with(b"\x7fELF") {
        return Err(LoadError::NotAKernel);
    }
    if image.len() < 64 {
        return Err(LoadError::Truncated {
            what: "the ELF header",
            need: 64,
            have: image.len() as u64,
        });
    }
    if image[4] == 1 {
        return Err(LoadError::Unsupported(
            "a 32-bit ELF kernel; only 64-bit x86 kernels can be started",
        ));
    }
    if image[5] != 1 {
        return Err(LoadError::Unsupported(
            "a big-endian ELF file; only x86-64 kernels can be started",
        ));
    }
    let file = Elf::minimal_parse(image)
        .map_err(|_| LoadError::Corrupt("the ELF headers do not parse"))?;
    if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
        return Err(LoadError::Unsupported(
            "an ELF file for another machine; only x86-64 kernels can be started",
        ));
    }
    if file.ehdr.e_type != ET_EXEC && file.ehdr.e_type != ET_DYN {
        return Err(LoadError::Unsupported(
            "an ELF file that is not an executable",
        ));
    }
    Ok(file)
}

/// The parts of a file, besides its first [`HEAD`] bytes, that tell what [`crate::Kernel`] knows of it: section headers, their
/// names, notes. `image` is as long as the file; once it holds the parts named by one call, a further call may name more; [`OUTLINE_ROUNDS`]
/// calls name all.
///
/// None: they are too many or too large, or the program headers lie elsewhere; the whole file has to be read.
pub fn outline(image: &[u8]) -> Option<Vec<core::ops::Range<usize>>> {
    const MOST: u64 = 16 << 20;
    let file = open(image).ok()?;
    let e = &file.ehdr;
    let headers = e.e_phoff.checked_add(u64::from(e.e_phnum) * 56)?;
    if headers > HEAD as u64 || e.e_shnum == 0 && e.e_shoff != 0 {
        return None;
    }
    let notes = file.segments().into_iter().flatten();
    let notes = notes.filter(|h| h.p_type == PT_NOTE);
    let sections = file.section_headers().into_iter().flatten().enumerate();
    let sections =
        sections.filter(|(i, h)| *i == usize::from(e.e_shstrndx) || h.sh_type == SHT_NOTE);
    let legacy = file.section_header_by_name(LEGACY_SECTION).ok().flatten();
    let table = (e.e_shoff, u64::from(e.e_shnum) * u64::from(e.e_shentsize));
    let mut total = 0u64;
    core::iter::once(table)
        .chain(notes.map(|h| (h.p_offset, h.p_filesz)))
        .chain(sections.map(|(_, h)| (h.sh_offset, h.sh_size)))
        .chain(legacy.map(|h| (h.sh_offset, h.sh_size)))
        .map(|(start, size)| {
            let end = start
                .checked_add(size)
                .filter(|end| *end <= image.len() as u64)?;
            total = total.saturating_add(size);
            (total <= MOST).then_some(start as usize..end as usize)
        })
        .collect()
}

/// How much of a file [`outline`] wants to begin with.
pub const HEAD: usize = 4096;
/// Section headers, then names and notes, then the section that is known by its name.
pub const OUTLINE_ROUNDS: usize = 3;

impl ElfImage {
    /// Parses and checks the program headers.
    pub fn parse(image: &[u8]) -> Result<ElfImage, LoadError> {
        let file = open(image)?;
        let headers = file
            .segments()
            .ok_or(LoadError::Corrupt("the ELF file has no program headers"))?;
        if headers.len() > MAX_SEGMENTS {
            return Err(LoadError::Corrupt(
                "the ELF file has more than 64 program headers",
            ));
        }
        let mut segments = Vec::new();
        for h in headers
            .iter()
            .filter(|h| h.p_type == PT_LOAD && h.p_memsz != 0)
        {
            if h.p_filesz > h.p_memsz {
                return Err(LoadError::Corrupt(
                    "an ELF segment is larger in the file than in memory",
                ));
            }
            let end = h
                .p_offset
                .checked_add(h.p_filesz)
                .ok_or(LoadError::Corrupt("an ELF segment wraps around"))?;
            if end > image.len() as u64 {
                return Err(LoadError::Truncated {
                    what: "an ELF segment",
                    need: end,
                    have: image.len() as u64,
                });
            }
            if h.p_paddr.checked_add(h.p_memsz).is_none()
                || h.p_vaddr.checked_add(h.p_memsz).is_none()
            {
                return Err(LoadError::Corrupt("an ELF segment's address wraps around"));
            }
            segments.push(Segment {
                offset: h.p_offset,
                file_size: h.p_filesz,
                mem_size: h.p_memsz,
                paddr: h.p_paddr,
                vaddr: h.p_vaddr,
                flags: h.p_flags,
            });
        }
        let pstart = segments.iter().map(|s| s.paddr).min();
        let pend = segments.iter().map(|s| s.paddr + s.mem_size).max();
        match (pstart, pend) {
            (Some(pstart), Some(pend)) => Ok(ElfImage {
                entry: file.ehdr.e_entry,
                segments,
                pstart,
                pend,
            }),
            _ => Err(LoadError::Corrupt("the ELF file has nothing to load")),
        }
    }
}
