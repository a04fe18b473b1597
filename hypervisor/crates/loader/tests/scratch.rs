//! `Payload::scratch_bytes` is a promise to a caller with a small heap: measured here with a counting allocator.
mod common;

use common::{LINUX_P2M, bzimage, linux_like, pack};
use loader::kernel::{decompress_into, payload};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn unpacking_stays_within_its_promise() {
    let mut image = linux_like(0x8000, LINUX_P2M, true);
    image.extend((0..20u32 << 20).map(|i| (i.wrapping_mul(i >> 9) >> 7) as u8 & 0x3f));
    let mut out = vec![0; image.len()];
    let tools: &[&[&str]] = &[
        &["gzip", "-1"],
        &[
            "xz",
            "-1",
            "--check=crc32",
            "--x86",
            "--lzma2=preset=1,dict=4MiB",
        ],
        &["xz", "-1", "--check=crc32", "--lzma2=preset=1,dict=512MiB"],
        &["lzma", "-1"],
        &["zstd", "-1"],
        &["zstd", "-1", "--long=27"],
        &["lz4", "-l", "-1"],
    ];
    for tool in tools {
        let Some(packed) = pack(tool, &image) else {
            continue;
        };
        let gzip = tool[0] == "gzip";
        let file = bzimage(&packed, (!gzip).then_some(image.len() as u32));
        let found = payload(&file).unwrap();
        let promise = found.scratch_bytes(out.len());
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        assert_eq!(decompress_into(&found, &mut out), Ok(image.len()));
        let used = ALLOCATOR.peak_usage() - before;
        eprintln!("{tool:?}: used {used}, promised {promise}");
        assert!(used <= promise, "{tool:?}: used {used}, promised {promise}");
    }
}
