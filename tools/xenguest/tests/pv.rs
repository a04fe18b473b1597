//! Builds PV domains into a machine that is a hash map, and inspects them as the hypervisor and the kernel would.
#[path = "../../../hypervisor/crates/loader/tests/common/mod.rs"]
mod common;

use common::{LINUX_P2M, Seg, bzimage, elf, linux_like, note};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use xen_abi::arch_x86::VcpuGuestContext;
use xen_abi::start_info::{ConsoleDomU, SIF_MOD_START_PFN, SIF_VIRT_P2M_4TOOLS, StartInfo};
use xen_abi::{DomId, Gfn, Mfn, Pfn, Port, VcpuId};
use xendev::SharedMem;
use xenguest::{BuildHost, BuildTarget, PvImage, PvParams, build_pv};
use zerocopy::FromBytes;

const DOM: DomId = DomId(5);
const SHARED_INFO: u64 = 0x7777;
const GRANT_FRAME: u64 = 0x8888;

type Memory = Arc<Mutex<HashMap<u64, Vec<u8>>>>;

/// A machine of up to `free` pages that hands out frames in no sensible order.
#[derive(Default)]
struct Machine {
    memory: Memory,
    live_maps: Arc<AtomicUsize>,
    free: u64,
    superpages: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    given: u64,
    m2p: HashMap<u64, u64>,
    pinned: Option<u64>,
    hypercall_page: Option<u64>,
    context: Option<VcpuGuestContext>,
}

struct Map {
    memory: Memory,
    frames: Vec<u64>,
    live: Arc<AtomicUsize>,
}

impl Drop for Map {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Map {
    fn each(&self, offset: usize, len: usize, mut f: impl FnMut(&mut [u8], usize)) {
        let mut memory = self.memory.lock().unwrap();
        let mut at = 0;
        while at < len {
            let (frame, inside) = ((offset + at) / 4096, (offset + at) % 4096);
            let n = (4096 - inside).min(len - at);
            let page = memory
                .entry(self.frames[frame])
                .or_insert_with(|| vec![0; 4096]);
            f(&mut page[inside..inside + n], at);
            at += n;
        }
    }
}

impl SharedMem for Map {
    fn addr(&self) -> u64 {
        0
    }
    fn len(&self) -> usize {
        self.frames.len() * 4096
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        self.each(offset, out.len(), |page, at| {
            out[at..at + page.len()].copy_from_slice(page)
        });
    }
    fn write(&self, offset: usize, data: &[u8]) {
        self.each(offset, data.len(), |page, at| {
            page.copy_from_slice(&data[at..at + page.len()])
        });
    }
    fn load_u32(&self, _: usize) -> u32 {
        unimplemented!("the builder has no use for it")
    }
    fn store_u32(&self, _: usize, _: u32) {
        unimplemented!("the builder has no use for it")
    }
}

impl Machine {
    fn new(free: u64) -> Machine {
        Machine {
            free,
            superpages: true,
            ..Machine::default()
        }
    }

    fn map_frames(&self, frames: Vec<u64>) -> Box<dyn SharedMem> {
        self.live_maps.fetch_add(1, Ordering::Relaxed);
        Box::new(Map {
            memory: self.memory.clone(),
            frames,
            live: self.live_maps.clone(),
        })
    }

    fn page(&self, mfn: u64) -> Vec<u8> {
        self.memory
            .lock()
            .unwrap()
            .get(&mfn)
            .cloned()
            .unwrap_or_else(|| vec![0; 4096])
    }

    fn word(&self, mfn: u64, index: usize) -> u64 {
        u64::read_from_prefix(&self.page(mfn)[index * 8..])
            .unwrap()
            .0
    }

    /// Walks the pinned tables as a processor does.
    fn walk(&self, root: u64, vaddr: u64) -> Option<u64> {
        let mut mfn = root;
        for shift in [39, 30, 21, 12] {
            let entry = self.word(mfn, (vaddr >> shift) as usize & 511);
            if entry & 1 == 0 {
                return None;
            }
            mfn = entry >> 12;
        }
        Some(mfn)
    }

    fn read_virt(&self, root: u64, vaddr: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < len {
            let at = vaddr + out.len() as u64;
            let page = self.page(
                self.walk(root, at)
                    .unwrap_or_else(|| panic!("{at:#x} is not mapped")),
            );
            let inside = at as usize % 4096;
            out.extend(&page[inside..(inside + len - out.len()).min(4096)]);
        }
        out
    }
}

/// Extent number to frame: spread out, superpages stay contiguous and aligned.
fn scramble(n: u64, order: u32) -> u64 {
    let slot = (n * 5 + 3) % 8192;
    if order == 9 {
        0x10_0000 + (slot << 9)
    } else {
        0x80_0000 + slot * 2
    }
}

impl BuildHost for Machine {
    fn populate(&self, _: DomId, order: u32, extents: &mut [u64]) -> xenctrl::Result<usize> {
        let wanted = (extents.len() as u64) << order;
        if self.state.lock().unwrap().given + wanted > self.free {
            return Ok(0);
        }
        if order != 0 && !self.superpages {
            return Ok(0);
        }
        let mut state = self.state.lock().unwrap();
        // At most 100 at a time: callers must cope with partial success.
        let count = extents.len().min(100);
        for extent in &mut extents[..count] {
            *extent = scramble(*extent >> order, order);
            state.given += 1 << order;
        }
        Ok(count)
    }

    fn map(&self, _: DomId, frames: &[Gfn]) -> xenctrl::Result<Box<dyn SharedMem>> {
        Ok(self.map_frames(frames.iter().map(|g| g.0).collect()))
    }

    fn map_grant_table(&self, _: DomId) -> xenctrl::Result<Box<dyn SharedMem>> {
        Ok(self.map_frames(vec![GRANT_FRAME]))
    }

    fn machphys_update(&self, _: DomId, entries: &[(Mfn, Pfn)]) -> xenctrl::Result<()> {
        let mut state = self.state.lock().unwrap();
        for (mfn, pfn) in entries {
            assert_eq!(state.m2p.insert(mfn.0, pfn.0), None, "{mfn} twice");
        }
        Ok(())
    }

    fn pin_l4(&self, _: DomId, mfn: Mfn) -> xenctrl::Result<()> {
        assert_eq!(
            self.live_maps.load(Ordering::Relaxed),
            0,
            "a writable mapping bars validation"
        );
        let mut state = self.state.lock().unwrap();
        // What page typing demands: no writable entry for a page that is a table.
        let mut tables = vec![(mfn.0, 4)];
        let mut at = 0;
        while let Some(&(table, level)) = tables.get(at) {
            at += 1;
            if level == 1 {
                continue;
            }
            for entry in (0..512).map(|i| self.word(table, i)).filter(|e| e & 1 != 0) {
                tables.push((entry >> 12, level - 1));
            }
        }
        let is_table: HashMap<u64, u32> = tables.iter().copied().collect();
        assert_eq!(is_table.len(), tables.len(), "a table is used twice");
        for &(table, _) in tables.iter().filter(|(_, level)| *level == 1) {
            for entry in (0..512).map(|i| self.word(table, i)).filter(|e| e & 1 != 0) {
                let target = entry >> 12;
                assert!(
                    state.m2p.contains_key(&target),
                    "mfn {target:#x} is not the domain's"
                );
                assert!(
                    entry & 2 == 0 || !is_table.contains_key(&target),
                    "a table is writable"
                );
            }
        }
        state.pinned = Some(mfn.0);
        Ok(())
    }

    fn hypercall_init(&self, _: DomId, mfn: Mfn) -> xenctrl::Result<()> {
        self.state.lock().unwrap().hypercall_page = Some(mfn.0);
        Ok(())
    }

    fn shared_info(&self, _: DomId) -> xenctrl::Result<Mfn> {
        Ok(Mfn(SHARED_INFO))
    }

    fn set_vcpu_context(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        ctx: &VcpuGuestContext,
    ) -> xenctrl::Result<()> {
        assert_eq!((dom, vcpu), (DOM, VcpuId(0)));
        self.state.lock().unwrap().context = Some(*ctx);
        Ok(())
    }
}

/// A file that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, data: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("xenguest-{}-{name}", std::process::id()));
        std::fs::write(&path, data).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn params(kernel: &Scratch, ramdisk: Option<&Scratch>, pages: u64) -> PvParams {
    PvParams {
        kernel: kernel.0.clone(),
        ramdisk: ramdisk.map(|r| r.0.clone()),
        cmdline: "root=/dev/xvda ro".into(),
        memory_pages: pages,
        vcpus: 2,
    }
}

fn target() -> BuildTarget {
    BuildTarget::new(DOM, Port(3), Port(4))
}

#[test]
fn a_built_domain_is_what_a_kernel_expects() {
    let image = linux_like(9 << 20, LINUX_P2M, true);
    let kernel = Scratch::new("whole-kernel", &bzimage(&image, None));
    let initrd_data: Vec<u8> = (0..(5u32 << 20) + 77)
        .map(|i| (i ^ (i >> 8)) as u8)
        .collect();
    let initrd = Scratch::new("whole-initrd", &initrd_data);
    let machine = Machine::new(1 << 20);
    let params = params(&kernel, Some(&initrd), 16384 + 300);
    let layout = PvImage::load(&params).unwrap().layout;
    let built = build_pv(&machine, &params, &target()).unwrap();
    assert_eq!(built.nr_pages, 16384 + 300);

    let state = machine.state.lock().unwrap();
    assert_eq!(state.given, 16384 + 300);
    assert_eq!(state.hypercall_page, None);
    let root = state.pinned.expect("tables are pinned");
    let ctx = state.context.expect("registers are set");
    assert_eq!(ctx.ctrlreg[3], root << 12);
    assert_eq!(ctx.user_regs.rip, 0xffff_ffff_8100_0010);
    assert_eq!((ctx.user_regs.cs, ctx.user_regs.ss), (0xe033, 0xe02b));
    assert_eq!(ctx.user_regs.rsp % 16, 0);
    assert!(machine.walk(root, ctx.user_regs.rsp - 8).is_some());

    // From here on with the guest's eyes only: its registers and its page tables.
    let info = machine.read_virt(root, ctx.user_regs.rsi, size_of::<StartInfo>());
    let info = StartInfo::read_from_bytes(&info).unwrap();
    assert_eq!(info.nr_pages, 16384 + 300);
    assert_eq!(info.shared_info, SHARED_INFO << 12);
    assert!(info.cmd_line.starts_with(b"root=/dev/xvda ro\0"));
    assert_eq!(info.flags, SIF_MOD_START_PFN | SIF_VIRT_P2M_4TOOLS);
    assert_eq!(
        (info.store_mfn, info.store_evtchn),
        (built.store_mfn, Port(3))
    );
    let console = info.console.get::<ConsoleDomU>();
    assert_eq!((console.mfn, console.evtchn), (built.console_mfn, Port(4)));
    assert_eq!(machine.walk(root, info.pt_base), Some(root));
    let text = machine.read_virt(root, 0xffff_ffff_8100_0000, 9 << 20);
    assert!(text[..0x3000] == image[64 + 3 * 56..][..0x3000]);
    assert!(text[0x4000] == 0x5a && text[0x4001..].iter().all(|b| *b == 0));
    let p2m: Vec<u64> = machine
        .read_virt(root, info.mfn_list, info.nr_pages as usize * 8)
        .chunks(8)
        .map(|c| u64::from_le_bytes(c.try_into().unwrap()))
        .collect();
    for (pfn, mfn) in p2m.iter().enumerate() {
        assert_eq!(state.m2p.get(mfn), Some(&(pfn as u64)));
    }
    let mut found = Vec::new();
    for pfn in info.mod_start..info.mod_start + info.mod_len.div_ceil(4096) {
        found.extend(machine.page(p2m[pfn as usize]));
    }
    assert_eq!(info.mod_len, initrd_data.len() as u64);
    assert!(found[..initrd_data.len()] == initrd_data);
    assert!(info.mod_start >= layout.region_pages());

    // The neighbours: shared info with events masked, both rings granted and empty.
    let shared = machine.page(SHARED_INFO);
    assert!((0..32).all(|v| shared[v * 64 + 1] == 1));
    let grants = machine.page(GRANT_FRAME);
    let entry = |gref: usize| u32::read_from_prefix(&grants[gref * 8 + 4..]).unwrap().0;
    assert_eq!(&grants[0..4], &[1, 0, 0, 0]);
    assert_eq!(
        (u64::from(entry(0)), u64::from(entry(1))),
        (built.console_mfn.0, built.store_mfn.0)
    );
    assert!(machine.page(built.console_mfn.0).iter().all(|b| *b == 0));
}

#[test]
fn fragmented_memory_and_old_kernels_work() {
    // No superpages; initrd and p2m mapped; a hypercall page.
    let mut notes = note(1, &0x10_0000u64.to_le_bytes());
    notes.extend(note(2, &0x10_1000u64.to_le_bytes()));
    let image = elf(
        0,
        &[Seg {
            paddr: 0x10_0000,
            memsz: 0x3000,
            data: vec![0x90; 16],
        }],
        &notes,
    );
    let kernel = Scratch::new("old-kernel", &image);
    let initrd = Scratch::new("old-initrd", b"rd");
    let machine = Machine {
        superpages: false,
        ..Machine::new(1 << 20)
    };
    let built = build_pv(&machine, &params(&kernel, Some(&initrd), 4096), &target()).unwrap();
    let state = machine.state.lock().unwrap();
    let root = state.pinned.unwrap();
    assert_eq!(machine.walk(root, 0x10_1000), state.hypercall_page);
    let rsi = state.context.unwrap().user_regs.rsi;
    let info = StartInfo::read_from_bytes(&machine.read_virt(root, rsi, 1168)).unwrap();
    assert_eq!(machine.read_virt(root, info.mod_start, 2), b"rd");
    assert_eq!(
        machine.read_virt(root, info.mfn_list, 8),
        machine.walk(root, 0).unwrap().to_le_bytes()
    );
    assert_eq!(built.nr_pages, 4096);
}

#[test]
fn errors_name_step_file_cause_and_remedy() {
    let good = Scratch::new("err-kernel", &linux_like(1 << 20, LINUX_P2M, true));
    let load = |p: &PvParams| PvImage::load(p).map(drop).unwrap_err().to_string();
    let mut p = params(&good, None, 16384);
    p.ramdisk = Some("/nonexistent/initrd".into());
    assert_eq!(
        load(&p),
        "opening the initrd /nonexistent/initrd: No such file or directory (os error 2)"
    );
    let empty = Scratch::new("err-empty", b"");
    assert!(load(&params(&good, Some(&empty), 16384)).ends_with("the file is empty"));
    let text = Scratch::new("err-text", b"#!/bin/sh\n");
    let message = load(&params(&text, None, 16384));
    assert!(
        message.contains("err-text: not a kernel") && message.contains("must name a Linux"),
        "{message}"
    );
    let pvh_only = Scratch::new("err-pvh", &elf(0, &[], &[]));
    assert!(load(&params(&pvh_only, None, 16384)).contains("nothing to load"));
    let no_notes = Scratch::new(
        "err-notes",
        &elf(
            0,
            &[Seg {
                paddr: 0,
                memsz: 4096,
                data: vec![],
            }],
            &[],
        ),
    );
    assert!(load(&params(&no_notes, None, 16384)).contains("CONFIG_XEN_PV"));
    assert!(load(&params(&good, None, 4200)).contains("raise `memory`"));
    p = params(&good, None, 16384);
    p.cmdline = "x".repeat(2000);
    assert!(load(&p).contains("at most 1023"));

    let small = Machine::new(100);
    let message = build_pv(&small, &params(&good, None, 16384), &target())
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("allocating memory of 64 MiB for d5: ") && message.contains("xl info"),
        "{message}"
    );
}
