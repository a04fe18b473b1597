//! Segments: each CPU's GDT is one page of its GDT window, and its TSS lies in its per-CPU data.
//!
//! The selectors are those of Xen's ABI (`arch-x86/xen-x86_64.h`): page 14 of the GDT is the hypervisor's, so ours
//! start at 0xe000, and what a PV guest puts in pages 0..14 and we in 14 are loaded together.

use super::STACK_SIZE;
use crate::arch::x86::entry::cpuinfo::CpuInfo;
use crate::arch::x86::mm;
use crate::percpu::{PerCpu, cpu_info_of};
use core::arch::asm;
use core::mem::{offset_of, size_of};
use xen_abi::xen::CpuUserRegs;

/// 64-bit code, ring 0.
pub const HV_CS: u16 = 0xe008;
/// Data, ring 0; SYSCALL's stack segment (CS + 8).
pub const HV_DS: u16 = 0xe010;
/// 32-bit code, ring 3; the base from which SYSRET counts.
pub const FLAT_RING3_CS32: u16 = 0xe023;
/// Data, ring 3.
pub const FLAT_RING3_DS: u16 = 0xe02b;
/// 64-bit code, ring 3.
pub const FLAT_RING3_CS64: u16 = 0xe033;
/// Task state segment, two entries.
pub const TSS: u16 = 0xe040;
/// Local descriptor table, two entries.
pub const LDT: u16 = 0xe050;
/// Page of the GDT window that holds these.
pub const HV_GDT_PAGE: usize = 14;
/// GDTR's limit: 15 pages.
pub const GDT_LIMIT: u16 = 15 * 4096 - 1;

/// Interrupt stack of #DF.
pub const IST_DF: u8 = 1;
/// Interrupt stack of NMI.
pub const IST_NMI: u8 = 2;
/// Interrupt stack of #MC.
pub const IST_MC: u8 = 3;
/// Interrupt stack of #DB: a guest's data breakpoint on MOV SS before SYSCALL strikes in ring 0, before the entry
/// point has left the guest's stack.
pub const IST_DB: u8 = 4;

/// Task state segment (AMD APM vol. 2 §12.2.5).
#[repr(C, packed(4))]
pub struct Tss {
    _reserved0: u32,
    rsp: [u64; 3],
    _reserved1: u64,
    ist: [u64; 7],
    _reserved2: [u16; 5],
    iomap: u16,
}

const _: () = assert!(size_of::<Tss>() == 104);

impl Tss {
    /// For the CPU whose stack starts at `stack_base`: interrupts from guests push right below `regs.es` in its
    /// `CpuInfo`; #DF, NMI, #MC and #DB have the four lowest pages of the same stack, so that masking works there too.
    pub fn new(stack_base: u64) -> Self {
        let frame_end = offset_of!(CpuInfo, regs) + offset_of!(CpuUserRegs, es);
        let mut ist = [0; 7];
        for index in [IST_DF, IST_NMI, IST_MC, IST_DB] {
            ist[usize::from(index) - 1] = stack_base + u64::from(index) * 4096;
        }
        Self {
            _reserved0: 0,
            rsp: [cpu_info_of(stack_base) as u64 + frame_end as u64, 0, 0],
            _reserved1: 0,
            ist,
            _reserved2: [0; 5],
            // Beyond the limit: no I/O permission bitmap.
            iomap: size_of::<Self>() as u16,
        }
    }
}

const CODE64: u64 = 0x00af_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const USER_CODE32: u64 = 0x00cf_fb00_0000_ffff;
const USER_DATA: u64 = 0x00cf_f300_0000_ffff;
const USER_CODE64: u64 = 0x00af_fb00_0000_ffff;

/// Both halves of a TSS (`kind` 9) or LDT (`kind` 2) descriptor.
pub fn system_descriptor(base: u64, limit: u32, kind: u64) -> [u64; 2] {
    let low = u64::from(limit & 0xffff)
        | (base & 0xff_ffff) << 16
        | (kind | 0x80) << 40
        | u64::from(limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// Index of a selector's descriptor in our page.
const fn index(selector: u16) -> usize {
    (selector as usize & 0xfff) / 8
}

/// The start of CPU `cpu`'s window, which is what GDTR's base holds.
pub fn window(cpu: u32) -> u64 {
    mm::layout::GDT_WINDOW_BASE + u64::from(cpu) * (mm::layout::GDT_WINDOW_PAGES as u64 * 4096)
}

/// Fills the GDT page at `page` for `percpu`.
pub fn fill(page: &mut [u64; 512], percpu: &PerCpu) {
    page.fill(0);
    page[index(HV_CS)] = CODE64;
    page[index(HV_DS)] = DATA;
    page[index(FLAT_RING3_CS32)] = USER_CODE32;
    page[index(FLAT_RING3_DS)] = USER_DATA;
    page[index(FLAT_RING3_CS64)] = USER_CODE64;
    let tss = system_descriptor(percpu.tss.get() as u64, size_of::<Tss>() as u32 - 1, 9);
    page[index(TSS)..index(TSS) + 2].copy_from_slice(&tss);
}

/// Loads GDT, segments and TSS on the running CPU, whose window [`mm::map_gdt_page`] has set up.
pub fn load(percpu: &'static PerCpu) {
    #[repr(C, packed)]
    struct Gdtr(u16, u64);
    let gdtr = Gdtr(GDT_LIMIT, window(percpu.cpu));
    // SAFETY: page 14 of the window is mapped and filled, and only selectors in it are loaded; the far return
    // continues at the next instruction with the same flat 64-bit code.
    unsafe {
        asm!(
            "lgdt [{gdtr}]",
            "push {cs}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "mov ds, {ds:e}",
            "mov es, {ds:e}",
            "mov ss, {ds:e}",
            "xor {tmp:e}, {tmp:e}",
            "mov fs, {tmp:e}",
            "mov gs, {tmp:e}",
            "lldt {tmp:x}",
            "ltr {tss:x}",
            gdtr = in(reg) &gdtr,
            cs = in(reg) u64::from(HV_CS),
            ds = in(reg) u32::from(HV_DS),
            tss = in(reg) u32::from(TSS),
            tmp = out(reg) _,
        );
    }
    debug_assert_eq!(percpu.stack_base % STACK_SIZE as u64, 0);
}

/// Loads GDTR alone, on CPU `cpu`, whose segments are right.
pub fn load_register(cpu: u32) {
    #[repr(C, packed)]
    struct Gdtr(u16, u64);
    let gdtr = Gdtr(GDT_LIMIT, window(cpu));
    // SAFETY: the window that the CPU has had loaded since `load`.
    unsafe { asm!("lgdt [{}]", in(reg) &gdtr, options(readonly, nostack, preserves_flags)) };
}

/// Writes CPU `cpu`'s LDT descriptor; that CPU loads it afterwards.
pub fn set_ldt(cpu: u32, base: u64, limit: u32) {
    let pte = mm::gdt_window_ptes(cpu)[HV_GDT_PAGE].load(core::sync::atomic::Ordering::Relaxed);
    let page = mm::phys_to_virt(pte & 0x000f_ffff_ffff_f000).cast::<u64>();
    let [low, high] = system_descriptor(base, limit, 2);
    // SAFETY: the CPU's own GDT page, written by that CPU while its LDT register does not use these two entries.
    unsafe {
        page.add(index(LDT)).write_volatile(low);
        page.add(index(LDT) + 1).write_volatile(high);
    }
}
