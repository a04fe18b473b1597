//! Builders of synthetic images for the tests.
#![allow(dead_code)]

/// A load segment: paddr, memory size, contents.
pub struct Seg {
    pub paddr: u64,
    pub memsz: u64,
    pub data: Vec<u8>,
}

/// One Xen note.
pub fn note(n_type: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(4u32.to_le_bytes());
    out.extend((desc.len() as u32).to_le_bytes());
    out.extend(n_type.to_le_bytes());
    out.extend(b"Xen\0");
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// An ELF64 executable with these segments and notes.
pub fn elf(entry: u64, segments: &[Seg], notes: &[u8]) -> Vec<u8> {
    let phnum = segments.len() as u64 + 1;
    let mut out = vec![0u8; (64 + phnum * 56) as usize];
    let mut headers = Vec::new();
    for s in segments {
        headers.push((
            1u32,
            out.len() as u64,
            s.paddr,
            s.data.len() as u64,
            s.memsz,
        ));
        out.extend(&s.data);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    headers.push((
        4,
        out.len() as u64,
        0,
        notes.len() as u64,
        notes.len() as u64,
    ));
    out.extend(notes);
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &(phnum as u16).to_le_bytes());
    put(58, &64u16.to_le_bytes());
    for (i, (kind, offset, paddr, filesz, memsz)) in headers.into_iter().enumerate() {
        let at = 64 + i * 56;
        put(at, &kind.to_le_bytes());
        put(at + 4, &7u32.to_le_bytes());
        put(at + 8, &offset.to_le_bytes());
        put(at + 16, &paddr.to_le_bytes());
        put(at + 24, &paddr.to_le_bytes());
        put(at + 32, &filesz.to_le_bytes());
        put(at + 40, &memsz.to_le_bytes());
        put(at + 48, &8u64.to_le_bytes());
    }
    out
}

/// Where Linux wants its p2m list.
pub const LINUX_P2M: Option<u64> = Some(0x80_0000_0000);

/// The notes a 64-bit Linux kernel carries.
pub fn linux_notes(init_p2m: Option<u64>, mod_start_pfn: bool) -> Vec<u8> {
    let base = 0xffff_ffff_8000_0000u64;
    let mut n = Vec::new();
    n.extend(note(6, b"linux\0"));
    n.extend(note(7, b"2.6\0"));
    n.extend(note(5, b"xen-3.0\0"));
    n.extend(note(3, &base.to_le_bytes()));
    if let Some(vaddr) = init_p2m {
        n.extend(note(15, &vaddr.to_le_bytes()));
    }
    n.extend(note(1, &(base + 0x100_0010).to_le_bytes()));
    n.extend(note(10, b"!writable_page_tables\0"));
    n.extend(note(17, &0x8801u32.to_le_bytes()));
    n.extend(note(9, b"yes\0"));
    n.extend(note(8, b"generic\0"));
    n.extend(note(13, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
    if mod_start_pfn {
        n.extend(note(16, &1u32.to_le_bytes()));
    }
    n.extend(note(12, &0xffff_8000_0000_0000u64.to_le_bytes()));
    n.extend(note(4, &0u64.to_le_bytes()));
    n
}

/// A small kernel shaped like Linux: linked 16 MiB above its base.
pub fn linux_like(size: u64, init_p2m: Option<u64>, mod_start_pfn: bool) -> Vec<u8> {
    let data: Vec<u8> = (0..0x3000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let segments = [
        Seg {
            paddr: 0x100_0000,
            memsz: 0x3000,
            data,
        },
        Seg {
            paddr: 0x100_4000,
            memsz: size.saturating_sub(0x4000).max(1),
            data: vec![0x5a],
        },
    ];
    elf(0x100_0000, &segments, &linux_notes(init_p2m, mod_start_pfn))
}

/// A bzImage around `payload`, with setup code of four sectors.
pub fn bzimage(payload: &[u8], unpacked_size: Option<u32>) -> Vec<u8> {
    let mut out = vec![0u8; 5 * 512 + 0x40];
    out[0x1f1] = 4;
    out[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    out[0x202..0x206].copy_from_slice(b"HdrS");
    out[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    let trailer = unpacked_size.map(u32::to_le_bytes);
    let length = payload.len() + if trailer.is_some() { 4 } else { 0 };
    out[0x248..0x24c].copy_from_slice(&0x40u32.to_le_bytes());
    out[0x24c..0x250].copy_from_slice(&(length as u32).to_le_bytes());
    out.extend(payload);
    out.extend(trailer.iter().flatten());
    out.extend([0xcc; 100]);
    out
}

/// `data` through a compressor of the machine, or `None` where it is not installed.
pub fn pack(tool: &[&str], data: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let spawned = Command::new(tool[0])
        .args(&tool[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: {} is not installed", tool[0]);
        return None;
    };
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let data = data.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&data));
    let out = child.wait_with_output().expect("compressor ends");
    feeder
        .join()
        .expect("no panic")
        .expect("compressor reads all");
    assert!(out.status.success());
    Some(out.stdout)
}
