//! Layouts of PVH domains, looked at as a kernel would.
mod common;

use common::{Seg, elf, note};
use loader::pvh::{ACPI_START, SPECIAL_END, SPECIAL_START};
use loader::{Kernel, LoadError, PvhLayout, PvhRequest};
use proptest::prelude::*;
use xen_abi::hvm::{MemmapTableEntry, ModlistEntry, START_MAGIC_VALUE, StartInfo};
use zerocopy::FromBytes;

const ENTRY: u32 = 0x100_0010;

fn kernel(paddr: u64, memsz: u64, entry: Option<u32>) -> Vec<u8> {
    let segment = Seg {
        paddr,
        memsz,
        data: vec![0x90; 64],
    };
    let notes = entry.map_or(note(6, b"linux\0"), |e| note(18, &e.to_le_bytes()));
    elf(paddr, &[segment], &notes)
}

fn request(nr_pages: u64, initrd_len: u64) -> PvhRequest<'static> {
    PvhRequest {
        nr_pages,
        initrd_len,
        cmdline: b"console=hvc0",
        acpi_len: 0x1234,
        flags: 0,
    }
}

fn lay_out(image: &[u8], request: &PvhRequest) -> Result<PvhLayout, LoadError> {
    PvhLayout::new(&Kernel::from_elf(image).unwrap(), request)
}

#[test]
fn the_start_info_says_where_everything_is() {
    let layout = lay_out(
        &kernel(0x100_0000, 0x4_0000, Some(ENTRY)),
        &request(0x2000, 5000),
    )
    .unwrap();
    assert_eq!(layout.entry, ENTRY);
    let (info, _) = StartInfo::read_from_prefix(&layout.block).unwrap();
    assert_eq!(
        (info.magic, info.version, info.nr_modules),
        (START_MAGIC_VALUE, 1, 1)
    );
    assert_eq!(info.rsdp_paddr, ACPI_START);
    let at = |paddr: u64| &layout.block[(paddr - layout.start_info) as usize..];
    let (module, _) = ModlistEntry::read_from_prefix(at(info.modlist_paddr)).unwrap();
    let initrd = layout.initrd.clone().unwrap();
    assert_eq!((module.paddr, module.size), (initrd.start, 5000));
    assert_eq!(at(info.cmdline_paddr), b"console=hvc0\0");
    let size = info.memmap_entries as usize * size_of::<MemmapTableEntry>();
    let map = <[MemmapTableEntry]>::ref_from_bytes(&at(info.memmap_paddr)[..size]).unwrap();
    let map: Vec<_> = map.iter().map(|e| (e.addr, e.size, e.r#type)).collect();
    assert_eq!(
        map,
        [
            (0, 0x200_0000, 1),
            (ACPI_START, 0x2000, 3),
            (SPECIAL_START, SPECIAL_END - SPECIAL_START, 2)
        ]
    );
}

#[test]
fn memory_beyond_the_hole_goes_to_4_gib() {
    let pages = 5 << 18;
    let layout = lay_out(
        &kernel(0x100_0000, 0x4_0000, Some(ENTRY)),
        &request(pages, 0),
    )
    .unwrap();
    assert_eq!(
        layout.ram.iter().map(|r| r.end - r.start).sum::<u64>(),
        pages
    );
    assert_eq!(layout.ram[0], 0..0xf_0000);
    assert_eq!(layout.ram[1].start, 0x10_0000);
}

#[test]
fn what_cannot_be_started_is_refused() {
    let refused = |image: &[u8], r: &PvhRequest| lay_out(image, r).unwrap_err();
    let fine = kernel(0x100_0000, 0x4_0000, Some(ENTRY));
    assert_eq!(
        refused(&kernel(0x100_0000, 0x1000, None), &request(0x2000, 0)),
        LoadError::NoPvhEntry
    );
    assert!(matches!(
        refused(&fine, &request(0x1000, 0)),
        LoadError::TooFewPages { need: 0x1041, .. }
    ));
    assert!(matches!(
        refused(&fine, &request(0x2000, 0x100_0000)),
        LoadError::TooFewPages { .. }
    ));
    assert!(matches!(
        refused(&kernel(0, 0x1000, Some(ENTRY)), &request(0x2000, 0)),
        LoadError::Unsupported(_)
    ));
    assert!(matches!(
        refused(
            &kernel(0x200_0000, 0x1000, Some(ENTRY)),
            &request(0x8000, 0)
        ),
        LoadError::Corrupt(_)
    ));
}

proptest! {
    #[test]
    fn nothing_overlaps(
        paddr in 0u64..1 << 33, memsz in 1u64..1 << 33, entry: u32, pages in 0u64..1 << 33, initrd in 0u64..1 << 34,
        acpi in 0u64..1 << 26,
    ) {
        let image = kernel(paddr & !0xfff, memsz.max(64), Some(entry));
        let r = PvhRequest { nr_pages: pages, initrd_len: initrd, cmdline: b"x", acpi_len: acpi, flags: 0 };
        if let Ok(l) = lay_out(&image, &r) {
            prop_assert!(l.kernel.contains(&u64::from(l.entry)));
            prop_assert!(l.kernel.end <= l.start_info);
            let end = l.start_info + l.block.len() as u64;
            let end = match &l.initrd { Some(i) => { prop_assert!(end <= i.start); i.end }, None => end };
            prop_assert!(end <= l.ram[0].end << 12);
        }
    }
}

/// In memory that has holes nothing overlaps, all lies in RAM, and the map says what is what.
#[test]
fn a_domain_in_memory_that_is_given_fits_around_the_holes() {
    let image = kernel(0x100_0000, 0x4_0000, Some(ENTRY));
    let image = Kernel::from_elf(&image).unwrap();
    let ram = vec![1..0x90, 0x100..0x200, 0x800..0x1048, 0x2000..0x3000];
    let given = |len| PvhLayout::in_place(&image, &request(0x1ad7, len), ram.clone(), &[]);
    let l = given(0x50_0000).unwrap();
    assert_eq!((l.entry, l.acpi), (ENTRY, 0x104_0000));
    assert_eq!(l.start_info, 0x104_2000);
    assert_eq!(l.initrd, Some(0x200_0000..0x250_0000));
    let (info, _) = StartInfo::read_from_prefix(&l.block).unwrap();
    assert_eq!(info.rsdp_paddr, l.acpi);
    let map: Vec<_> = l
        .memmap
        .iter()
        .map(|e| (e.addr, e.size, e.r#type))
        .collect();
    assert_eq!(
        map,
        [
            (0x1000, 0x8_f000, 1),
            (0x10_0000, 0x10_0000, 1),
            (0x80_0000, 0x84_0000, 1),
            (0x104_0000, 0x2000, 3),
            (0x104_2000, 0x6000, 1),
            (0x200_0000, 0x100_0000, 1),
        ]
    );
    assert!(matches!(
        given(0x200_0000),
        Err(LoadError::TooFewPages { .. })
    ));
}

#[test]
fn a_kernel_whose_place_is_taken_or_not_there_is_refused() {
    let image = kernel(0x100_0000, 0x4_0000, Some(ENTRY));
    let image = Kernel::from_elf(&image).unwrap();
    let refused = |ram| PvhLayout::in_place(&image, &request(64, 0), ram, &[]).unwrap_err();
    assert!(matches!(
        refused(vec![1..0x1010, 0x1020..0x4000]),
        LoadError::Occupied {
            start: 0x100_0000,
            ..
        }
    ));
    assert!(matches!(
        refused(core::iter::once(0x100..0x800).collect()),
        LoadError::TooFewPages { have: 64, .. }
    ));
    assert!(matches!(refused(vec![]), LoadError::TooFewPages { .. }));
}
