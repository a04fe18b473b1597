//! Getting a vcpu's state off and onto the CPU.

use super::info;
use crate::arch::x86::cpu::{features, gdt};
use crate::arch::x86::entry::symbols;
use crate::arch::x86::mm;
use crate::host::HOST;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::pv::{FpuArea, GDT_PAGES, PvVcpu};
use domain::{Domain, Fault, Host, Vcpu};
use x86_64::registers::control::{Cr4, Cr4Flags};
use xen_abi::{Errno, Mfn};

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;
const CR0_TS: u64 = 1 << 3;
/// First page of the LDT in a CPU's window.
const LDT_PAGE: usize = 16;
/// Bit of a selector: it is one of the LDT.
const TABLE_LDT: u16 = 1 << 2;
const PTE_PRESENT_RW_NX: u64 = 1 | 1 << 1 | 1 << 63;
/// What `CpuInfo::upcall` points at while no vcpu is loaded: masked, nothing pending.
pub static IDLE_UPCALL: [AtomicU64; 8] = [const { AtomicU64::new(0x0100) }; 8];

/// Reads an MSR known to exist.
pub fn rdmsr(msr: u32) -> u64 {
    let (lo, hi): (u32, u32);
    // SAFETY: callers name MSRs that every 64-bit CPU has; reading them has no effect.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") lo, out("edx") hi, options(nomem, nostack, preserves_flags))
    };
    u64::from(lo) | u64::from(hi) << 32
}

/// Writes an MSR known to exist with a value known to be acceptable.
pub fn wrmsr(msr: u32, value: u64) {
    // SAFETY: callers write segment bases (checked canonical) and system-call entry points, none of which affects
    // memory the hypervisor relies on.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    };
}

/// Loads the page-table root of the mode the vcpu is in; flushes this CPU's TLB of it.
pub fn load_root(v: &Vcpu) {
    // A validated root (it holds an L4 type reference), so the hypervisor's slots are in it.
    crate::tlb::load_root(v.active_l4().addr());
}

fn read_cr0() -> u64 {
    let cr0: u64;
    // SAFETY: reads a control register.
    unsafe { asm!("mov {}, cr0", out(reg) cr0, options(nomem, nostack, preserves_flags)) };
    cr0
}

/// Sets CR0.TS as the guest wants it.
pub fn set_ts(on: bool) {
    if on {
        // SAFETY: only TS changes.
        unsafe {
            asm!("mov cr0, {}", in(reg) read_cr0() | CR0_TS, options(nostack, preserves_flags))
        };
    } else {
        // SAFETY: clears TS.
        unsafe { asm!("clts", options(nostack, preserves_flags)) };
    }
}

/// RDTSC faults below ring 0.
fn trap_tsc(on: bool) {
    // SAFETY: changes nothing for the hypervisor.
    unsafe { Cr4::update(|cr4| cr4.set(Cr4Flags::TIMESTAMP_DISABLE, on)) };
}

fn set_xcr0(value: u64) {
    // SAFETY: a subset of what the CPU offers, checked when the guest set it.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    };
}

/// Saves the FPU's state, of a vcpu with this XCR0.
pub fn save_fpu(area: &mut FpuArea, xcr0: u64) {
    set_ts(false);
    let p = area.0.as_mut_ptr();
    if features().xsave {
        let all = features().xcr0 | 3;
        if xcr0 != all {
            set_xcr0(all);
        }
        // SAFETY: the area is 64-byte aligned and larger than any state in XCR0 as we set it.
        unsafe {
            asm!("xsave64 [{}]", in(reg) p, in("eax") -1, in("edx") -1, options(nostack, preserves_flags))
        };
    } else {
        // SAFETY: the area is 16-byte aligned and larger than 512 bytes.
        unsafe { asm!("fxsave64 [{}]", in(reg) p, options(nostack, preserves_flags)) };
    }
}

/// AMD's CPUs save and load the addresses of the last x87 instruction and operand only while an exception is
/// pending (APM vol. 2, 11.4.4): without this, the next guest could read those of the one before.
fn forget_fpu_pointers() {
    if features().vendor == *b"AuthenticAMD" || features().vendor == *b"HygonGenuine" {
        static ZERO: u32 = 0;
        // SAFETY: x87 state that has been saved and is about to be replaced; reads four bytes.
        unsafe {
            asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const ZERO,
                options(nostack, preserves_flags))
        };
    }
}

/// Loads the FPU's state and XCR0.
pub fn load_fpu(area: &FpuArea, xcr0: u64) {
    set_ts(false);
    forget_fpu_pointers();
    let p = area.0.as_ptr();
    if features().xsave {
        // SAFETY: as saved, or checked on entry to the hypervisor (`setvcpuextstate` only takes known headers).
        unsafe {
            asm!("xrstor64 [{}]", in(reg) p, in("eax") -1, in("edx") -1, options(nostack, preserves_flags))
        };
        if xcr0 != features().xcr0 | 3 {
            set_xcr0(xcr0);
        }
    } else {
        // SAFETY: as saved; reserved MXCSR bits are cleared where a guest can supply the image.
        unsafe { asm!("fxrstor64 [{}]", in(reg) p, options(nostack, preserves_flags)) };
    }
}

/// Loads XCR0 for the running vcpu.
pub fn change_xcr0(value: u64) {
    set_xcr0(value);
}

/// ds, es, fs, gs as they are now.
pub fn read_selectors() -> [u16; 4] {
    let (ds, es, fs, gs): (u32, u32, u32, u32);
    // SAFETY: reads segment registers.
    unsafe {
        asm!("mov {0:e}, ds", "mov {1:e}, es", "mov {2:e}, fs", "mov {3:e}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags))
    };
    [ds as u16, es as u16, fs as u16, gs as u16]
}

/// Takes the running vcpu's state off the CPU.
pub fn save(v: &Vcpu) {
    let info = info();
    let mut pv = v.pv.lock();
    let pv = &mut *pv;
    pv.regs = info.regs;
    pv.selectors = read_selectors();
    pv.fs_base = rdmsr(MSR_FS_BASE);
    let (active, other) = (rdmsr(MSR_GS_BASE), rdmsr(MSR_KERNEL_GS_BASE));
    (pv.gs_kernel, pv.gs_user) = if v.kernel_mode.load(Ordering::Relaxed) {
        (active, other)
    } else {
        (other, active)
    };
    save_fpu(&mut pv.fpu, pv.xcr0);
    if pv.debug[7] & 0xff != 0 {
        // SAFETY: 0 disables all breakpoints.
        unsafe { asm!("mov dr7, {}", in(reg) 0u64, options(nomem, nostack, preserves_flags)) };
    }
    if v.tsc.is_trapped() {
        trap_tsc(false);
    }
    info.vcpu = core::ptr::null();
    info.dom = core::ptr::null();
    info.upcall = &raw const IDLE_UPCALL[0];
}

/// Puts a vcpu's state onto the CPU. `dom` stays referenced by the scheduler for as long as the vcpu is loaded.
pub fn load(dom: &'static alloc::sync::Arc<Domain>, v: &'static Vcpu) {
    let info = info();
    info.vcpu = v;
    info.dom = dom;
    load_root(v);
    load_descriptors(v);
    set_upcall(v);
    let selectors = v.pv.lock().selectors;
    for selector in selectors.into_iter().filter(|s| s & TABLE_LDT != 0) {
        // Without its page, loading it would fault and leave it out.
        fault_in_ldt(dom, v, u64::from(selector & !7));
    }
    let pv = v.pv.lock();
    info.regs = pv.regs;
    load_segments(v, &pv);
    load_fpu(&pv.fpu, pv.xcr0);
    if pv.cr0 & CR0_TS != 0 {
        set_ts(true);
    }
    if v.tsc.is_trapped() {
        trap_tsc(true);
    }
    if pv.debug[7] & 0xff != 0 {
        (0..4)
            .chain(6..8)
            .for_each(|r| write_debug_register(r, pv.debug[r as usize]));
    }
}

fn load_segments(v: &Vcpu, pv: &PvVcpu) {
    let [ds, es, fs, gs] = pv.selectors.map(u32::from);
    // SAFETY: null first, so that a selector that faults (and is then left out) does not keep another guest's.
    // The bases that loading fs and gs changes are set right below.
    unsafe {
        for (load, sel) in [
            (symbols::load_ds_selector as unsafe extern "C" fn(u32), ds),
            (symbols::load_es_selector, es),
            (symbols::load_fs_selector, fs),
            (symbols::load_gs_selector, gs),
        ] {
            load(0);
            if sel & !3 != 0 {
                load(sel);
            }
        }
    }
    wrmsr(MSR_FS_BASE, pv.fs_base);
    let kernel = v.kernel_mode.load(Ordering::Relaxed);
    let (active, other) = if kernel {
        (pv.gs_kernel, pv.gs_user)
    } else {
        (pv.gs_user, pv.gs_kernel)
    };
    wrmsr(MSR_GS_BASE, active);
    wrmsr(MSR_KERNEL_GS_BASE, other);
}

/// Points this CPU at the vcpu's event word.
pub fn set_upcall(v: &Vcpu) {
    let word = v
        .info
        .get()
        .and_then(|(mfn, offset)| HOST.shared_u64(mfn, offset));
    info().upcall = match word {
        Some(word) => word,
        None => &raw const IDLE_UPCALL[0],
    };
}

fn invlpg(va: u64) {
    // SAFETY: only drops a cached translation.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// Maps the vcpu's GDT pages into this CPU's window and sets up its LDT, whose pages come in on demand.
pub fn load_descriptors(v: &Vcpu) {
    let cpu = info().cpu;
    let ptes = mm::gdt_window_ptes(cpu);
    let base = gdt::window(cpu);
    let pv = v.pv.lock();
    let set = |page: usize, value: u64| {
        if let Some(pte) = ptes.get(page)
            && pte.load(Ordering::Relaxed) != value
        {
            pte.store(value, Ordering::Relaxed);
            invlpg(base + page as u64 * 4096);
        }
    };
    for page in 0..GDT_PAGES {
        let mfn = pv.gdt_frames.get(page).copied().unwrap_or(0);
        set(
            page,
            if mfn == 0 {
                0
            } else {
                mfn << 12 | PTE_PRESENT_RW_NX
            },
        );
    }
    for page in LDT_PAGE..ptes.len() {
        set(page, 0);
    }
    let entries = pv.ldt_entries;
    drop(pv);
    let selector = if entries == 0 {
        0
    } else {
        gdt::set_ldt(cpu, base + LDT_PAGE as u64 * 4096, entries * 8 - 1);
        gdt::LDT
    };
    // SAFETY: null, or the LDT descriptor just written in our page of the GDT.
    unsafe { asm!("lldt {0:x}", in(reg) selector, options(nostack, preserves_flags)) };
}

/// A page of the running vcpu's LDT is wanted: maps it if the guest has one there. `offset` is into the LDT.
pub fn fault_in_ldt(dom: &Domain, v: &Vcpu, offset: u64) -> bool {
    let (ldt_base, entries) = {
        let pv = v.pv.lock();
        (pv.ldt_base, u64::from(pv.ldt_entries))
    };
    let at = ldt_base.wrapping_add(offset & !0xfff);
    if offset >= entries * 8 || !hypercall::mmu::guest_address(at) {
        return false;
    }
    let paging = ::mm::Paging::new(HOST.frames(), &HOST);
    let mut tables = dom.paging.lock();
    let root = Mfn(v.kernel_l4.load(Ordering::Relaxed));
    let Some((l1, index)) = hypercall::mmu::walk_to_l1(&HOST, root, at) else {
        return false;
    };
    let Ok(entry) = paging.read_entry(dom.id, l1, index) else {
        return false;
    };
    if entry & 1 == 0 {
        return false;
    }
    let mfn = Mfn::from_addr(entry & 0x000f_ffff_ffff_f000);
    // The reference would have to last until the window is changed; LDTs are rare, so the page is copied instead.
    let Ok(page) = paging.get_segdesc(&mut tables, mfn) else {
        return false;
    };
    let done = copy_ldt_page(mfn, offset).is_ok();
    domain::finish(&HOST, paging.put_segdesc(page));
    done
}

/// This CPU's private copies of LDT pages.
fn copy_ldt_page(mfn: Mfn, offset: u64) -> Result<(), Fault> {
    let cpu = info().cpu;
    let slot = (offset >> 12) as usize & 15;
    let copy = crate::ldt::page(cpu, slot).ok_or(Fault)?;
    let mut chunk = [0u8; 512];
    for i in 0..8 {
        HOST.read_frame(mfn, i * 512, &mut chunk)?;
        HOST.write_frame(copy, i * 512, &chunk)?;
    }
    let page = LDT_PAGE + slot;
    if let Some(pte) = mm::gdt_window_ptes(cpu).get(page) {
        pte.store(copy.addr() | PTE_PRESENT_RW_NX, Ordering::Relaxed);
        invlpg(gdt::window(cpu) + page as u64 * 4096);
    }
    Ok(())
}

/// Loads a debug register of the running vcpu; the value has been checked, and is stored already.
pub fn load_debug_register(reg: u32, value: u64) {
    if reg == 7 && value & 0xff != 0 {
        // While nothing was enabled, another vcpu's addresses may have stayed in the CPU.
        let debug = super::guest().1.pv.lock().debug;
        (0..4).for_each(|r| write_debug_register(r, debug[r as usize]));
    }
    write_debug_register(reg, value);
}

fn write_debug_register(reg: u32, value: u64) {
    // SAFETY: breakpoints in guest space only, no general detect: nothing that stops the hypervisor.
    unsafe {
        match reg {
            0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            3 => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            6 => asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            7 => asm!("mov dr7, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            _ => {}
        }
    }
}

/// `set_segment_base`. The base is canonical.
pub fn set_segment_base(which: domain::SegmentBase, value: u64) -> Result<(), Errno> {
    match which {
        domain::SegmentBase::Fs => wrmsr(MSR_FS_BASE, value),
        // The caller runs in the guest's kernel, so the user's base is the inactive one.
        domain::SegmentBase::GsUser => wrmsr(MSR_KERNEL_GS_BASE, value),
        domain::SegmentBase::GsKernel => wrmsr(MSR_GS_BASE, value),
        domain::SegmentBase::GsUserSelector => {
            // SAFETY: between the two SWAPGS the user's base is the active one, which loading %gs changes; a
            // selector that faults is left out. The hypervisor uses no %gs.
            unsafe {
                asm!("swapgs", options(nostack, preserves_flags));
                symbols::load_gs_selector(0);
                symbols::load_gs_selector(value as u16 as u32 | 3);
                asm!("swapgs", options(nostack, preserves_flags));
            }
        }
    }
    Ok(())
}
