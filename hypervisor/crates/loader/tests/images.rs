//! Kernel files of every sort, whole, truncated and damaged.
mod common;
mod outline;

use common::{LINUX_P2M, bzimage, elf, linux_like, pack};
use loader::kernel::{decompress, decompress_into, payload};
use loader::{Kernel, LoadError, PayloadKind, PvKind, PvLayout, PvRequest};
use outline::outlined;
use proptest::prelude::*;

const MAX: usize = 256 << 20;

const PACKERS: &[(PayloadKind, &[&str])] = &[
    (PayloadKind::Gzip, &["gzip", "-9"]),
    (
        PayloadKind::Xz,
        &[
            "xz",
            "--check=crc32",
            "--x86",
            "--lzma2=preset=1,dict=32MiB",
        ],
    ),
    (
        PayloadKind::Xz,
        &["xz", "--check=crc32", "--lzma2=preset=1,dict=512MiB"],
    ),
    (PayloadKind::Lzma, &["lzma", "-1"]),
    (PayloadKind::Zstd, &["zstd", "-3", "--long=27"]),
    (PayloadKind::Lz4, &["lz4", "-l", "-1"]),
];

#[test]
fn every_packing_unpacks_to_the_same_kernel() {
    // Over 8 MiB: more than one LZ4 block, more than one zstd batch.
    let mut image = linux_like(0x8000, LINUX_P2M, true);
    image.extend((0..9u32 << 20).map(|i| (i.wrapping_mul(i >> 9) >> 7) as u8 & 0x3f));
    for (kind, tool) in PACKERS {
        let Some(packed) = pack(tool, &image) else {
            continue;
        };
        let trailer = (*kind != PayloadKind::Gzip).then_some(image.len() as u32);
        let file = bzimage(&packed, trailer);
        let found = payload(&file).unwrap();
        assert_eq!(found.kind, *kind);
        assert_eq!(found.size_hint, Some(image.len()), "{kind}");
        let kernel = Kernel::parse(&file, MAX).unwrap_or_else(|e| panic!("{tool:?}: {e}"));
        assert!(kernel.image == image, "{kind}: other contents");
        // Into a slice that is a bit too small: an error, not a panic and not silence.
        let mut small = vec![0; image.len() - 1];
        let e = decompress_into(&found, &mut small).unwrap_err();
        assert!(matches!(e, LoadError::TooLarge { .. }), "{kind}: {e}");
        assert!(matches!(
            Kernel::parse(&file, 1 << 20),
            Err(LoadError::TooLarge { .. })
        ));
        // Bare, as `vmlinux.gz` and the like are.
        let bare = decompress(&payload(&packed).unwrap(), MAX).unwrap();
        assert!(bare == image, "{kind}: other contents when bare");
    }
}

#[test]
fn the_outline_tells_as_much_as_the_whole_file() {
    let mut large = linux_like(0x8000, LINUX_P2M, true);
    large.resize(large.len() + (1 << 20), 0x55);
    let part = outlined(&large).unwrap();
    let (whole, part) = (Kernel::from_vec(large), Kernel::from_vec(part));
    let (whole, part) = (whole.unwrap(), part.unwrap());
    assert!(whole.notes.is_present());
    assert_eq!((part.elf, part.notes), (whole.elf, whole.notes));
    assert_ne!(part.image, whole.image);
}

#[test]
fn damage_is_noticed_or_harmless_but_never_a_panic() {
    let image = linux_like(0x8000, LINUX_P2M, true);
    for (kind, tool) in PACKERS {
        let Some(packed) = pack(tool, &image) else {
            continue;
        };
        let trailer = (*kind != PayloadKind::Gzip).then_some(image.len() as u32);
        let file = bzimage(&packed, trailer);
        let start = 5 * 512 + 0x40;
        for at in (start..start + packed.len()).step_by(packed.len() / 200 + 1) {
            let mut bad = file.clone();
            bad[at] ^= 0x41;
            let _ = Kernel::parse(&bad, MAX);
        }
        for len in (start..start + packed.len()).step_by(packed.len() / 200 + 1) {
            assert!(
                Kernel::parse(&file[..len], MAX).is_err(),
                "{kind} cut at {len}"
            );
            let mut shorter = payload(&file).unwrap();
            shorter.data = &shorter.data[..len - start];
            let mut out = vec![0; image.len()];
            if let Ok(n) = decompress_into(&shorter, &mut out) {
                // LZ4 legacy and lzma have no end mark: only what is missing can be noticed.
                assert!(n <= image.len());
            }
        }
    }
}

#[test]
fn lying_sizes_do_not_allocate() {
    let image = linux_like(0x8000, LINUX_P2M, true);
    let Some(packed) = pack(&["gzip", "-9"], &image) else {
        return;
    };
    let mut file = bzimage(&packed, None);
    let end = 5 * 512 + 0x40 + packed.len();
    file[end - 4..end].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        Kernel::parse(&file, MAX),
        Err(LoadError::TooLarge { .. })
    ));
    file[end - 4..end].copy_from_slice(&10u32.to_le_bytes());
    assert!(matches!(
        Kernel::parse(&file, MAX),
        Err(LoadError::TooLarge { .. })
    ));
}

#[test]
fn wrong_files_get_told_what_is_wrong() {
    let message = |data: &[u8]| Kernel::parse(data, MAX).unwrap_err().to_string();
    assert_eq!(
        message(b""),
        "not a kernel: neither an ELF image nor a bzImage"
    );
    assert_eq!(
        message(b"#!/bin/sh\necho hello"),
        "not a kernel: neither an ELF image nor a bzImage"
    );
    assert_eq!(
        message(b"\x7fELF"),
        "truncated image: the ELF header needs 64 bytes, the file has 4"
    );
    let good = linux_like(0x8000, LINUX_P2M, true);
    let mut bad = good.clone();
    bad[4] = 1;
    assert!(message(&bad).contains("32-bit"), "{}", message(&bad));
    let mut bad = good.clone();
    bad[18] = 183;
    assert!(
        message(&bad).contains("another machine"),
        "{}",
        message(&bad)
    );
    assert!(
        message(&good[..good.len() / 2]).contains("truncated"),
        "{}",
        message(&good[..good.len() / 2])
    );
    let mut old = bzimage(b"", None);
    old[0x206] = 5;
    assert!(message(&old).contains("2.08"), "{}", message(&old));
    assert!(message(&bzimage(b"BZh9junk", None)).contains("unknown compression"));
    assert!(message(&elf(0, &[], &[])).contains("nothing to load"));
}

#[test]
fn debian_kernel_parses() {
    let Some(path) = std::fs::read_dir("/boot").ok().and_then(|dir| {
        dir.flatten()
            .map(|e| e.path())
            .find(|p| p.to_string_lossy().contains("/vmlinuz-6.1"))
    }) else {
        eprintln!("skipped: no /boot/vmlinuz-6.1*");
        return;
    };
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not readable", path.display());
        return;
    };
    let kernel = Kernel::parse(&file, MAX).unwrap();
    let notes = &kernel.notes;
    assert_eq!(notes.guest_os.as_deref(), Some("linux"));
    assert_eq!(notes.loader.as_deref(), Some("generic"));
    assert_eq!(notes.virt_base, Some(0xffff_ffff_8000_0000));
    assert_eq!(notes.init_p2m, Some(0x80_0000_0000));
    assert!(notes.mod_start_pfn && notes.is_pv());
    assert!(notes.phys32_entry.is_some());
    let request = PvRequest {
        kind: PvKind::Dom0,
        nr_pages: 131072,
        initrd_len: 40 << 20,
    };
    let layout = PvLayout::new(&kernel, &request).unwrap();
    eprintln!("{notes:#x?}\n{:#x?}\n{layout:#x?}", kernel.elf);
}

proptest! {
    #[test]
    fn an_outline_of_a_damaged_file_tells_no_less(damage in prop::collection::vec((0..512usize, any::<u8>()), 0..4)) {
        let mut image = linux_like(0x8000, LINUX_P2M, true);
        for (at, byte) in damage {
            image[at] = byte;
        }
        if let Some(part) = outlined(&image) {
            let know = |image| Kernel::from_vec(image).map(|k| (k.elf, k.notes));
            prop_assert_eq!(know(part), know(image));
        }
    }

    #[test]
    fn mutated_headers_never_panic(
        edits in prop::collection::vec((0usize..0x400, any::<u8>()), 1..12),
        nr_pages in 0u64..1 << 34,
        initrd_len in any::<u64>(),
        packed in any::<bool>(),
    ) {
        let image = linux_like(0x8000, LINUX_P2M, false);
        let mut file = if packed { bzimage(&image, None) } else { image };
        for (at, value) in edits {
            // ELF headers, program headers and notes, or the whole of the setup header.
            let at = if at >= 0x200 && !packed { file.len() - 1 - (at & 0x1ff) } else { at };
            file[at] = value;
        }
        if let Ok(kernel) = Kernel::parse(&file, MAX) {
            for kind in [PvKind::Dom0, PvKind::DomU] {
                let _ = PvLayout::new(&kernel, &PvRequest { kind, nr_pages, initrd_len });
            }
        }
    }
}
