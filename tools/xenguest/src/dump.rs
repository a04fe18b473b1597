//! [`dump_core`]: a domain's memory and registers as an ELF core file, in the layout that crash-dump tools read:
//! sections `.note.Xen`, `.xen_prstatus`, `.xen_shared_info`, `.xen_pages`, `.xen_p2m`; no segments. Order, alignment
//! and sizes are those of the files that Debian's `xl dump-core` writes of PV domains.
//!
//! A PV guest's own table says which frame is where ([`GuestP2m`]): a frame that cannot be mapped is left as a hole. Of a hardware guest the frames that can be
//! mapped are its pages: `.xen_pfn` lists them, and there is no shared information.
use crate::p2m::{GuestP2m, page};
use crate::{Error, Result};
use loader::pvh::{ACPI_START, SPECIAL_END, SPECIAL_START};
use std::io::{Seek, SeekFrom, Write};
use xen_abi::elfnote::*;
use xen_abi::hvm::BELOW_4G_RAM_END;
use xen_abi::{DomId, Gfn, Mfn, VcpuId};
use xenctrl::{DomainInfo, Xenctrl};
use xendev::{Prot, SharedMemExt};
use zerocopy::IntoBytes;

const PAGE: u64 = 4096;
/// Says that the pages are a PV domain's.
const MAGIC_PV: u64 = 0xf00f_ebed;
/// Says that they are a hardware guest's.
const MAGIC_HVM: u64 = 0xf00f_ebee;
/// Names of the sections of a PV domain's core, in their order.
const SECTIONS: [&str; 7] = [
    "",
    ".shstrtab",
    ".note.Xen",
    ".xen_prstatus",
    ".xen_shared_info",
    ".xen_pages",
    ".xen_p2m",
];
/// Of a hardware guest's the last is another.
const LAST_OF_HVM: &str = ".xen_pfn";
/// Sections in the order of their contents in the file: the names come last.
const IN_FILE: [usize; 6] = [2, 3, 4, 5, 6, 1];
/// Alignment of the sections.
const ALIGN: [u64; 7] = [0, 0, 0, 8, 8, PAGE, 8];
/// Frames mapped at once.
const BATCH: usize = 256;
/// Pages from which on tables of ACPI are looked for.
const ACPI_PAGES: u64 = 256;

/// Writes the core of a domain, at one moment only if it stands still; returns the number of pages in it.
pub fn dump_core(xc: &Xenctrl, info: &DomainInfo, out: &mut (impl Write + Seek)) -> Result<u64> {
    let dom = info.domid;
    let (shared, frames) = if info.state.hvm {
        (vec![], frames_hvm(xc, info)?)
    } else {
        let shared = page(xc, dom, info.shared_info.0)
            .ok_or_else(|| Error::new("mapping the shared information of", dom, "no such frame"))?;
        let frames = GuestP2m::read(xc, info, &*shared)?.pages;
        (shared.read_vec(0, PAGE as usize), frames)
    };
    let vcpus = registers(xc, info)?;
    let core = Core {
        notes: notes(xc, info.state.hvm, vcpus.1, frames.len() as u64),
        registers: vcpus.0,
        shared,
        hvm: info.state.hvm,
    };
    write(xc, dom, out, &core, &frames).map_err(|e| Error::new("writing the core of", dom, e))?;
    Ok(frames.len() as u64)
}

/// What is written besides pages.
struct Core {
    notes: Vec<u8>,
    registers: Vec<u8>,
    /// A page, or nothing.
    shared: Vec<u8>,
    hvm: bool,
}

/// The frames of a hardware guest where the builder puts pages, as far as something is there now.
fn frames_hvm(xc: &Xenctrl, info: &DomainInfo) -> Result<Vec<(u64, u64)>> {
    let dom = info.domid;
    let why = |e| Error::new("finding the memory of", dom, e);
    let behind = xc.maximum_gpfn(dom).map_err(why)?.0.saturating_add(1);
    // What is free in its map may be long; what it has is not.
    let most = info.max_pages.max(info.tot_pages);
    let (acpi, special) = (ACPI_START / PAGE, SPECIAL_START / PAGE);
    let four_gib = (1u64 << 32) / PAGE;
    let ranges = [
        (0, most.min(BELOW_4G_RAM_END / PAGE)),
        (acpi, acpi + ACPI_PAGES),
        (special, SPECIAL_END / PAGE),
        (four_gib, four_gib.saturating_add(most)),
    ];
    let mut list = Vec::new();
    for (start, end) in ranges {
        let end = end.min(behind);
        for at in (start..end).step_by(BATCH) {
            present(xc, dom, at, end.min(at + BATCH as u64), &mut list);
        }
    }
    if list.is_empty() {
        return Err(Error::new(
            "finding the memory of",
            dom,
            "it has none that can be mapped",
        ));
    }
    Ok(list)
}

/// Those of frames that can be mapped: all at once, else by halves.
fn present(xc: &Xenctrl, dom: DomId, start: u64, end: u64, list: &mut Vec<(u64, u64)>) {
    let all: Vec<Gfn> = (start..end).map(Gfn).collect();
    if xc.foreign().map(dom, Prot::Read, &all).is_ok() {
        list.extend((start..end).map(|n| (n, n)));
    } else if all.len() > 1 {
        let middle = start + (end - start) / 2;
        present(xc, dom, start, middle, list);
        present(xc, dom, middle, end, list);
    }
}

/// The contexts of the vcpus that have one, and their number.
fn registers(xc: &Xenctrl, info: &DomainInfo) -> Result<(Vec<u8>, u64)> {
    let (mut bytes, mut n) = (Vec::new(), 0);
    for v in 0..info.max_vcpu_id.map_or(0, |m| m + 1) {
        // One that was never started has none.
        if let Ok(c) = xc.vcpu_context(info.domid, VcpuId(v)) {
            bytes.extend_from_slice(c.as_bytes());
            n += 1;
        }
    }
    if n == 0 {
        return Err(Error::new(
            "reading the registers of",
            info.domid,
            "it has no vcpus",
        ));
    }
    Ok((bytes, n))
}

fn note(out: &mut Vec<u8>, kind: u32, desc: &[u8]) {
    out.extend(4u32.to_le_bytes());
    out.extend((desc.len() as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(b"Xen\0");
    out.extend(desc);
}

/// Text in a field of fixed size.
fn field(out: &mut Vec<u8>, text: &str, size: usize) {
    let n = text.len().min(size - 1);
    out.extend(&text.as_bytes()[..n]);
    out.resize(out.len() + size - n, 0);
}

fn notes(xc: &Xenctrl, hvm: bool, vcpus: u64, pages: u64) -> Vec<u8> {
    let mut out = Vec::new();
    note(&mut out, DUMPCORE_NONE, &[]);
    let magic = if hvm { MAGIC_HVM } else { MAGIC_PV };
    let header: Vec<u8> = [magic, vcpus, pages, PAGE]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    note(&mut out, DUMPCORE_HEADER, &header);
    if let Ok(v) = xc.version() {
        let mut desc = Vec::new();
        desc.extend(u64::from(v.major).to_le_bytes());
        desc.extend(u64::from(v.minor).to_le_bytes());
        for (text, size) in [
            (&v.extra, 16),
            (&v.compiler, 64),
            (&v.compile_by, 16),
            (&v.compile_domain, 32),
            (&v.compile_date, 32),
            (&v.capabilities, 1024),
            (&v.changeset, 64),
        ] {
            field(&mut desc, text, size);
        }
        desc.extend(v.virt_start.to_le_bytes());
        desc.extend(u64::from(v.pagesize).to_le_bytes());
        note(&mut out, DUMPCORE_XEN_VERSION, &desc);
    }
    note(&mut out, DUMPCORE_FORMAT_VERSION, &1u64.to_le_bytes());
    out
}

/// Kind, size and entry size of each section, and where its contents begin.
fn headers(sizes: [u64; 7], entry: [u64; 7], names: &[u8]) -> (Vec<u8>, [u64; 7]) {
    const EHDR: u64 = 64;
    const SHDR: u64 = 64;
    const KIND: [u32; 7] = [0, 3, 7, 1, 1, 1, 1];
    let mut at = EHDR + SHDR * 7;
    let mut offsets = [0; 7];
    for i in IN_FILE {
        at = at.next_multiple_of(ALIGN[i].max(1));
        offsets[i] = at;
        at += sizes[i];
    }
    let mut out = b"\x7fELF\x02\x01\x01\x00\x01".to_vec();
    out.resize(16, 0);
    // A core file for x86-64, with section headers only; the names are section 1.
    for half in [4u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for long in [0, 0, EHDR] {
        out.extend(long.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [EHDR as u16, 56, 0, SHDR as u16, 7, 1] {
        out.extend(half.to_le_bytes());
    }
    let mut name = 0;
    for i in 0..7 {
        out.extend((name as u32).to_le_bytes());
        name += names[name..].iter().position(|b| *b == 0).unwrap_or(0) + 1;
        out.extend(KIND[i].to_le_bytes());
        for long in [0, 0, offsets[i], sizes[i], 0, ALIGN[i], entry[i]] {
            // Link and info are one field here, both nothing.
            out.extend(u64::to_le_bytes(long));
        }
    }
    (out, offsets)
}

fn write(
    xc: &Xenctrl,
    dom: DomId,
    out: &mut (impl Write + Seek),
    core: &Core,
    frames: &[(u64, u64)],
) -> std::io::Result<()> {
    let mut sections = SECTIONS;
    if core.hvm {
        sections[6] = LAST_OF_HVM;
    }
    let names: Vec<u8> = sections.iter().flat_map(|s| s.bytes().chain([0])).collect();
    let n = frames.len() as u64;
    // Of a PV domain's pages pfn and mfn are told.
    let entry = if core.hvm { 8 } else { 16 };
    let sizes = [
        0,
        names.len() as u64,
        core.notes.len() as u64,
        core.registers.len() as u64,
        core.shared.len() as u64,
        n * PAGE,
        n * entry,
    ];
    let context = size_of::<xen_abi::arch_x86::VcpuGuestContext>() as u64;
    let (head, at) = headers(sizes, [0, 0, 0, context, PAGE, PAGE, entry], &names);
    out.write_all(&head)?;
    for (offset, bytes) in [
        (at[2], &core.notes),
        (at[3], &core.registers),
        (at[4], &core.shared),
    ] {
        out.seek(SeekFrom::Start(offset))?;
        out.write_all(bytes)?;
    }
    out.seek(SeekFrom::Start(at[5]))?;
    for chunk in frames.chunks(BATCH) {
        let wanted: Vec<Gfn> = chunk.iter().map(|(_, m)| Gfn(*m)).collect();
        if let Ok(all) = xc.foreign().map(dom, Prot::Read, &wanted) {
            out.write_all(&all.read_vec::<u8>(0, chunk.len() * PAGE as usize))?;
            continue;
        }
        for (_, mfn) in chunk {
            match page(xc, dom, Mfn(*mfn).0) {
                Some(p) => out.write_all(&p.read_vec::<u8>(0, PAGE as usize))?,
                None => out.write_all(&[0; PAGE as usize])?,
            }
        }
    }
    out.seek(SeekFrom::Start(at[6]))?;
    let table: Vec<u8> = frames
        .iter()
        .flat_map(|(p, m)| {
            [p.to_le_bytes(), m.to_le_bytes()]
                .concat()
                .into_iter()
                .take(entry as usize)
        })
        .collect();
    out.write_all(&table)?;
    out.seek(SeekFrom::Start(at[1]))?;
    out.write_all(&names)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_a_core_file() {
        // What Debian's xl wrote of a guest of 128 MiB with 2 vcpus, as readelf shows it.
        let names: Vec<u8> = SECTIONS.iter().flat_map(|s| s.bytes().chain([0])).collect();
        assert_eq!(names.len(), 0x48);
        let sizes = [0, 0x48, 0x568, 0x2860, PAGE, 0x800_0000, 0x8_0000];
        let (head, at) = headers(sizes, [0; 7], &names);
        assert_eq!(head.len(), 64 + 7 * 64);
        assert_eq!(
            (head[16], head[18], head[54], head[60], head[62]),
            (4, 62, 56, 7, 1)
        );
        assert_eq!(
            at,
            [0, 0x808_4000, 0x200, 0x768, 0x2fc8, 0x4000, 0x800_4000]
        );
        // The last header: its name, and where its contents are.
        let last = &head[64 + 6 * 64..];
        let name = u32::from_le_bytes(last[..4].try_into().unwrap()) as usize;
        assert!(names[name..].starts_with(b".xen_p2m\0"));
        assert_eq!(u64::from_le_bytes(last[24..32].try_into().unwrap()), at[6]);
        assert_eq!(
            u64::from_le_bytes(last[32..40].try_into().unwrap()),
            0x8_0000
        );
    }
}
