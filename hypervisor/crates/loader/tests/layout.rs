//! Invariants of the PV layout and its page tables, checked by walking the tables as a processor would.
mod common;
mod outline;

use common::{LINUX_P2M, Seg, elf, linux_like, note};
use loader::notes::PV_FEATURES;
use loader::pv_tables::PtTable;
use loader::start_info::{Rings, start_info};
use loader::{Kernel, LoadError, PvKind, PvLayout, PvRequest};
use outline::outlined;
use proptest::prelude::*;
use std::collections::HashMap;
use xen_abi::start_info::{SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_PRIVILEGED};
use xen_abi::{Mfn, Port};

const PAGE: u64 = 4096;

/// The tables' contents by frame, with frame numbers for machine frames.
fn contents(layout: &PvLayout) -> HashMap<u64, [u64; 512]> {
    let mut tables = HashMap::new();
    for table in layout.tables() {
        let mut out = [0; 512];
        layout.fill_table(table, &mut out, Some).unwrap();
        assert!(tables.insert(table.pfn, out).is_none(), "{table:?} twice");
    }
    tables
}

/// A four-level walk: the L1 entry.
fn walk(tables: &HashMap<u64, [u64; 512]>, root: u64, vaddr: u64) -> Option<u64> {
    let mut pfn = root;
    for shift in [39, 30, 21, 12] {
        let entry = tables.get(&pfn)?[(vaddr >> shift) as usize & 511];
        if entry & 1 == 0 {
            return None;
        }
        if shift == 12 {
            return Some(entry);
        }
        pfn = entry >> 12;
    }
    None
}

fn check(layout: &PvLayout, request: &PvRequest) {
    assert!(layout.used_pages <= request.nr_pages);
    assert!(layout.v_end.is_multiple_of(4 << 20) && layout.v_end - layout.stack_top() >= 512 << 10);
    let root = layout.pfn_of(layout.pt_base).unwrap();
    let tables = contents(layout);
    assert_eq!(tables.len() as u64, layout.nr_pt + layout.p2m.table_pages);
    assert_eq!(
        layout.tables().next(),
        Some(PtTable {
            level: 4,
            pfn: root,
            vaddr: 0
        })
    );

    // The region maps the first frames one to one, read-only exactly where there are tables.
    for vaddr in (layout.v_start..layout.v_end).step_by(PAGE as usize) {
        let entry =
            walk(&tables, root, vaddr).unwrap_or_else(|| panic!("{vaddr:#x} is not mapped"));
        let pfn = (vaddr - layout.v_start) >> 12;
        assert_eq!(entry >> 12, pfn);
        assert_eq!(entry & 2 == 0, tables.contains_key(&pfn), "pfn {pfn:#x}");
        assert_eq!(entry & 0x5, 0x5);
    }
    for page in 0..layout.p2m.list_pages {
        let entry =
            walk(&tables, root, layout.p2m.vaddr + page * PAGE).expect("the p2m list is mapped");
        assert_eq!(entry >> 12, layout.p2m.pfn + page);
        assert_eq!(entry & 2, 2);
    }
    // Nothing else is mapped.
    let mapped: u64 = layout.all_entries().filter(|e| e.level == 1).count() as u64;
    let outside = if layout.p2m.table_pages != 0 || layout.pfn_of(layout.p2m.vaddr).is_none() {
        layout.p2m.list_pages
    } else {
        0
    };
    assert_eq!(mapped, layout.region_pages() + outside);

    // No two things share a frame.
    let page = |vaddr: u64| (layout.pfn_of(vaddr).unwrap(), 1);
    let kernel_pages = (layout.kernel.end - layout.kernel.start) / PAGE;
    let mut parts = vec![
        (layout.pfn_of(layout.kernel.start).unwrap(), kernel_pages),
        page(layout.start_info),
        (root, layout.nr_pt),
        page(layout.stack),
        (
            layout.p2m.pfn,
            layout.p2m.list_pages + layout.p2m.table_pages,
        ),
    ];
    parts.extend(layout.initrd.map(|i| (i.pfn, i.len.div_ceil(PAGE))));
    parts.extend(layout.store.map(page));
    parts.extend(layout.console.map(page));
    parts.sort();
    for pair in parts.windows(2) {
        assert!(
            pair[0].0 + pair[0].1 <= pair[1].0,
            "{pair:x?} overlap in {layout:#x?}"
        );
    }
    let last = parts.last().unwrap();
    assert!(last.0 + last.1 <= request.nr_pages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn layouts_keep_their_invariants(
        size in 0x4001u64..48 << 20,
        initrd_len in prop_oneof![Just(0), 1u64..64 << 20],
        nr_pages in 4096u64..200_000,
        // In a half of its own, next to the kernel's region, below it in the same tables, or in the region.
        p2m in prop_oneof![
            Just(None), Just(LINUX_P2M), Just(Some(0xffff_ffff_c000_0000)),
            Just(Some(0xffff_ffff_7ff0_0000)), Just(Some(0xffff_8800_0000_0000)), Just(Some(0x1000)),
            (0xffff_ffff_8000u64 >> 8..0xffff_ffff_ffffu64 >> 8).prop_map(|n| Some((n << 8 | 0xffff_0000_0000_0000) & !0xfff)),
        ],
        mod_start_pfn in any::<bool>(),
        dom0 in any::<bool>(),
    ) {
        let image = linux_like(size, p2m, mod_start_pfn);
        let kernel = Kernel::from_elf(&image).unwrap();
        let kind = if dom0 { PvKind::Dom0 } else { PvKind::DomU };
        let request = PvRequest { kind, nr_pages, initrd_len };
        match PvLayout::new(&kernel, &request) {
            Ok(layout) => check(&layout, &request),
            Err(LoadError::TooFewPages { need, have }) => prop_assert!(need > have),
            Err(LoadError::Corrupt(why)) => prop_assert!(why.contains("INIT_P2M"), "{why}"),
            Err(e) => prop_assert!(false, "{e}"),
        }
    }
}

#[test]
fn a_domain_that_is_just_large_enough_is_accepted() {
    let image = linux_like(8 << 20, LINUX_P2M, true);
    let kernel = Kernel::from_elf(&image).unwrap();
    let layout = |nr_pages| {
        PvLayout::new(
            &kernel,
            &PvRequest {
                kind: PvKind::DomU,
                nr_pages,
                initrd_len: 5 << 20,
            },
        )
    };
    let need = layout(1 << 17).unwrap().used_pages;
    // The p2m list shrinks with the domain, hence the search.
    let least = (1..=need)
        .rev()
        .take_while(|n| layout(*n).is_ok())
        .last()
        .unwrap();
    assert_eq!(layout(least).unwrap().used_pages, least);
    let message = layout(least - 1).unwrap_err().to_string();
    assert!(
        message.starts_with("too little memory: kernel, initrd and tables take "),
        "{message}"
    );
}

#[test]
fn contradictory_notes_are_refused() {
    let build = |entry: u64, base: u64, offset: u64| {
        let mut notes = note(1, &entry.to_le_bytes());
        notes.extend(note(3, &base.to_le_bytes()));
        notes.extend(note(4, &offset.to_le_bytes()));
        let image = elf(
            0,
            &[Seg {
                paddr: 0x10_0000,
                memsz: 0x1000,
                data: vec![0; 16],
            }],
            &notes,
        );
        let kernel = Kernel::from_elf(&image).unwrap();
        let request = PvRequest {
            kind: PvKind::DomU,
            nr_pages: 1 << 16,
            initrd_len: 0,
        };
        PvLayout::new(&kernel, &request).map_err(|e| e.to_string())
    };
    let err = |entry, base, offset| build(entry, base, offset).unwrap_err();
    assert!(build(0x10_0000, 0, 0).is_ok());
    assert!(err(0x20_0000, 0, 0).contains("entry point"));
    assert!(err(0x10_0000, 0, 0x20_0000).contains("PADDR_OFFSET"));
    assert!(err(0x10_0000, 0x123, 0).contains("aligned"));
    assert!(err(0xffff_8000_0010_0000, 0xffff_8000_0000_0000, 0).contains("Xen reserves"));
    assert!(err(0x8000_0000_0000, 0x7fff_fff0_0000, 0).contains("Xen reserves"));
    assert!(err(0xffff_ffff_fff0_0000, 0xffff_ffff_ffe0_0000, 0).contains("top of memory"));
}

#[test]
fn required_features_are_looked_up_by_name() {
    let with = |features: &[u8]| {
        let mut notes = note(1, &0x10_0000u64.to_le_bytes());
        notes.extend(note(10, features));
        let image = elf(
            0,
            &[Seg {
                paddr: 0x10_0000,
                memsz: 0x1000,
                data: vec![0; 16],
            }],
            &notes,
        );
        Kernel::from_elf(&image)
            .unwrap()
            .notes
            .check_required(PV_FEATURES)
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(b"!writable_page_tables|pae_pgdir_above_4gb\0"), Ok(()));
    assert_eq!(
        with(b"!auto_translated_physmap\0").unwrap_err(),
        "the kernel requires the feature \"auto_translated_physmap\", which is not offered"
    );
    assert!(with(b"!made_up\0").unwrap_err().contains("made_up"));
}

#[test]
fn start_info_says_what_the_layout_says() {
    let image = linux_like(8 << 20, LINUX_P2M, true);
    let kernel = Kernel::from_elf(&image).unwrap();
    let request = PvRequest {
        kind: PvKind::Dom0,
        nr_pages: 1 << 15,
        initrd_len: 12345,
    };
    let layout = PvLayout::new(&kernel, &request).unwrap();
    let info = start_info(&layout, 0x1000, b"console=hvc0", Rings::Dom0 { vga: None }).unwrap();
    assert!(info.magic.starts_with(b"xen-3.0-x86_64\0"));
    assert_eq!(
        info.flags,
        SIF_PRIVILEGED | SIF_INITDOMAIN | SIF_MOD_START_PFN
    );
    assert_eq!(
        (info.mod_start, info.mod_len),
        (layout.initrd.unwrap().pfn, 12345)
    );
    assert_eq!(info.mfn_list, 0x80_0000_0000);
    assert_eq!(
        info.nr_p2m_frames,
        layout.p2m.list_pages + layout.p2m.table_pages
    );
    assert!(info.cmd_line.starts_with(b"console=hvc0\0"));
    let rings = Rings::DomU {
        store_mfn: Mfn(7),
        store_port: Port(1),
        console_mfn: Mfn(8),
        console_port: Port(2),
    };
    assert!(start_info(&layout, 0, &[b'x'; 1024], rings).is_err());
    assert_eq!(
        start_info(&layout, 0, &[b'x'; 1023], rings)
            .unwrap()
            .store_mfn,
        Mfn(7)
    );
}

#[test]
fn the_old_guest_section_is_understood() {
    // Section headers by hand: none, "__xen_guest", names.
    let text = b"GUEST_OS=netbsd,XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0x100000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0x200000,HYPERCALL_PAGE=0x0101\0";
    let mut image = elf(
        0x20_0000,
        &[Seg {
            paddr: 0x10_0000,
            memsz: 0x3000,
            data: vec![0; 16],
        }],
        b"",
    );
    image.resize(2 * loader::elf::HEAD, 0);
    let text_at = image.len() as u64;
    image.extend(text);
    let names_at = image.len() as u64;
    let names = b"\0__xen_guest\0";
    image.extend(names);
    image.resize(image.len().next_multiple_of(8), 0);
    let table_at = image.len() as u64;
    for (name, kind, at, len) in [
        (0u32, 0u32, 0, 0),
        (1, 1, text_at, text.len() as u64),
        (0, 3, names_at, names.len() as u64),
    ] {
        let mut header = [0u8; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&len.to_le_bytes());
        image.extend(header);
    }
    image[40..48].copy_from_slice(&table_at.to_le_bytes());
    image[60] = 3;
    image[62] = 2;
    let kernel = Kernel::from_elf(&image).unwrap();
    assert!(kernel.notes.legacy);
    let outline = outlined(&image).unwrap();
    assert_eq!(Kernel::from_elf(&outline).unwrap().notes, kernel.notes);
    assert_eq!(kernel.notes.virt_base, Some(0x10_0000));
    assert_eq!(kernel.notes.hypercall_page, Some(0x20_1000));
    let request = PvRequest {
        kind: PvKind::DomU,
        nr_pages: 1 << 14,
        initrd_len: 0,
    };
    assert_eq!(PvLayout::new(&kernel, &request).unwrap().entry, 0x20_0000);
}
