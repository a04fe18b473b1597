//! AMD-V with nested paging: what is set up once per machine and CPU, and [`Svm`], the vcpu that is loaded.
//!
//! Each CPU has one [`vmcb::Vmcb`] for whichever guest runs there: [`state`] moves vcpus in and out, [`exit`] says what ended
//! a run in words of no vendor. [`run.S`] is the border. Source: AMD APM vol. 2 chapter 15.

mod exit;
mod msrs;
pub mod state;
pub mod vmcb;

use crate::arch::x86::cpu::features;
use crate::arch::x86::mm::{alloc_frames, phys_to_virt};
use crate::arch::x86::pv::context::{rdmsr, wrmsr};
use crate::arch::x86::pv::emulate::{native_cpuid, read_msr};
use crate::percpu::{self, MAX_CPUS};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use domain::HvmVcpu;
use domain::tsc::Scaling;
use spin::Once;
use vmcb::{Vmcb, field};
use xen_abi::xen::CpuUserRegs;

core::arch::global_asm!(include_str!("run.S"), options(att_syntax));

unsafe extern "C" {
    /// One run of the guest in `vmcb`.
    fn svm_run(vmcb: u64, regs: *mut CpuUserRegs);
}

const MSR_EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
const MSR_TSC_RATIO: u32 = 0xc000_0104;
const MSR_VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
const MSR_VM_HSAVE_PA: u32 = 0xc001_0117;
/// CPUID leaf: revision, number of ASIDs, features.
const LEAF_SVM: u32 = 0x8000_000a;
const NESTED_PAGING: u32 = 1 << 0;
const LBR_VIRTUALIZED: u32 = 1 << 1;
const NEXT_RIP_SAVED: u32 = 1 << 3;
const TSC_RATIO: u32 = 1 << 4;
const PAUSE_FILTER: u32 = 1 << 10;
/// TLB_CONTROL: flush everything of all guests.
const FLUSH_ALL: u8 = 1;

/// Pages of one CPU, 0 while it has none.
struct Pages {
    guest: AtomicU64,
    host: AtomicU64,
    /// ASIDs given out on this CPU are of this generation, which no other CPU's are.
    generation: AtomicU64,
    next_asid: AtomicU32,
    flush: AtomicBool,
    /// What guests' TSC is multiplied by.
    tsc_ratio: AtomicU64,
}

static CPUS: [Pages; MAX_CPUS] = [const {
    Pages {
        guest: AtomicU64::new(0),
        host: AtomicU64::new(0),
        generation: AtomicU64::new(0),
        next_asid: AtomicU32::new(0),
        flush: AtomicBool::new(false),
        tsc_ratio: AtomicU64::new(0),
    }
}; MAX_CPUS];
/// Generations of ASIDs, over all CPUs.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// What all CPUs share.
struct Shared {
    asids: u32,
    next_rip: bool,
    tsc_ratio: bool,
    pause_filter: bool,
    lbr: bool,
    iopm: u64,
    msrpm: u64,
}

static SHARED: Once<Option<Shared>> = Once::new();

/// Can guests be run? The reason goes to the log once.
pub fn available() -> bool {
    shared().is_some()
}

fn shared() -> Option<&'static Shared> {
    SHARED.call_once(detect).as_ref()
}

/// Why there can be no guests, by VM_CR, the features and the number of ASIDs; `None`: there can.
const fn refused(vm_cr: Option<u64>, features: u32, asids: u32) -> Option<&'static str> {
    match vm_cr {
        None => Some("AMD-V without its control register"),
        Some(v) if v & VM_CR_SVMDIS != 0 => Some("AMD-V is switched off by the firmware"),
        Some(_) if features & NESTED_PAGING == 0 || asids < 2 => {
            Some("AMD-V without nested paging")
        }
        Some(_) => None,
    }
}

// Nothing known; switched off, and locked so; no nested paging; one ASID; as it should be, and locked so.
const _: () = assert!(refused(None, NESTED_PAGING, 8).is_some());
const _: () = assert!(refused(Some(0x10), NESTED_PAGING, 8).is_some());
const _: () = assert!(refused(Some(0x18), NESTED_PAGING, 8).is_some());
const _: () = assert!(refused(Some(0), 0, 8).is_some());
const _: () = assert!(refused(Some(0), NESTED_PAGING, 1).is_some());
const _: () = assert!(refused(Some(0), NESTED_PAGING, 8).is_none());
const _: () = assert!(refused(Some(8), NESTED_PAGING, 8).is_none());

fn detect() -> Option<Shared> {
    if !features().svm {
        return None;
    }
    let [_, asids, _, features] = native_cpuid(LEAF_SVM, 0);
    if let Some(why) = refused(read_msr(MSR_VM_CR), features, asids) {
        log::warn!("{why}: no hardware-virtualised guests");
        return None;
    }
    let (iopm, msrpm) = (filled(2)?, filled(1)?);
    msrs::pass_through(phys_to_virt(msrpm));
    log::info!("AMD-V with nested paging, {asids} address spaces, features {features:#x}");
    Some(Shared {
        asids,
        next_rip: features & NEXT_RIP_SAVED != 0,
        tsc_ratio: features & TSC_RATIO != 0,
        pause_filter: features & PAUSE_FILTER != 0,
        lbr: features & LBR_VIRTUALIZED != 0,
        iopm,
        msrpm,
    })
}

/// How the CPU multiplies the TSC for guests, if it does.
pub fn tsc_scaling() -> Option<Scaling> {
    shared().filter(|s| s.tsc_ratio).map(|_| Scaling {
        fraction_bits: 32,
        whole_bits: 8,
    })
}

/// Do exits say where the next instruction is?
#[inline]
fn tells_next_rip() -> bool {
    shared().is_some_and(|s| s.next_rip)
}

/// `2^order` frames of ones.
fn filled(order: u32) -> Option<u64> {
    let pa = alloc_frames(order, None)?;
    // SAFETY: fresh frames in the direct map.
    unsafe { core::ptr::write_bytes(phys_to_virt(pa), 0xff, 4096 << order) };
    Some(pa)
}

fn zeroed() -> Option<u64> {
    let pa = alloc_frames(0, None)?;
    // SAFETY: a fresh frame in the direct map.
    unsafe { core::ptr::write_bytes(phys_to_virt(pa), 0, 4096) };
    Some(pa)
}

fn pages() -> &'static Pages {
    &CPUS[percpu::cpu_id() as usize % MAX_CPUS]
}

/// Switches AMD-V on, on this CPU, whose system-call MSRs and task register are set for good.
pub fn init_cpu() {
    if shared().is_none() {
        return;
    }
    let (Some(save), Some(host), Some(guest)) = (zeroed(), zeroed(), zeroed()) else {
        crate::panic::fatal("no memory for AMD-V");
    };
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, save);
    vmsave(host);
    let me = pages();
    me.generation.store(
        GENERATION.fetch_add(1, Ordering::Relaxed),
        Ordering::Relaxed,
    );
    me.next_asid.store(1, Ordering::Relaxed);
    me.flush.store(true, Ordering::Relaxed);
    me.host.store(host, Ordering::Relaxed);
    me.guest.store(guest, Ordering::Release);
}

/// FS, GS, TR, LDTR with their hidden parts, and the system-call MSRs, to the page at `pa`.
fn vmsave(pa: u64) {
    // SAFETY: the page is a VMCB of ours.
    unsafe { core::arch::asm!("vmsave rax", in("rax") pa, options(nostack, preserves_flags)) };
}

/// The same, back.
fn vmload(pa: u64) {
    // SAFETY: the page is a VMCB of ours. While a guest's values are loaded, nothing uses them: interrupts from ring 0 to
    // ring 0 need no task register but for interrupt stacks, which `idt::load_without_stacks` takes out.
    unsafe { core::arch::asm!("vmload rax", in("rax") pa, options(nostack, preserves_flags)) };
}

/// Guests' TSC runs by this ratio from now on, on this CPU.
fn set_tsc_ratio(ratio: u64) {
    let me = pages();
    if me.tsc_ratio.load(Ordering::Relaxed) != ratio && shared().is_some_and(|s| s.tsc_ratio) {
        me.tsc_ratio.store(ratio, Ordering::Relaxed);
        wrmsr(MSR_TSC_RATIO, ratio >> 16);
    }
}

/// The hardware of this CPU with the vcpu loaded on it.
#[derive(Clone, Copy)]
pub struct Svm {
    vmcb: Vmcb,
}

impl Svm {
    /// This CPU's.
    #[inline]
    pub fn this_cpu() -> Svm {
        Svm {
            vmcb: Vmcb::at(pages().guest.load(Ordering::Relaxed)),
        }
    }

    /// DEBUGCTL and the records of branches are the guest's own, where the CPU switches them. Else it has no effect: the
    /// machine's stays zero.
    fn record_branches(&self, on: bool) {
        let on = on && shared().is_some_and(|s| s.lbr);
        self.vmcb.set(field::LBR_CTL, u64::from(on));
    }

    /// One run; the exit's words are in the VMCB afterwards.
    #[inline]
    fn run(&mut self) {
        let regs = &mut crate::arch::x86::pv::info().regs;
        let me = pages();
        if me.flush.load(Ordering::Relaxed) {
            me.flush.store(false, Ordering::Relaxed);
            self.vmcb.set(field::TLB_CONTROL, FLUSH_ALL);
        }
        self.vmcb.set(field::RAX, regs.rax);
        // SAFETY: the VMCB has been filled by `state::load`, intercepts all that reaches beyond the guest, and its nested page
        // tables map pages of the guest only. Registers are saved to `regs`.
        unsafe { svm_run(self.vmcb.pa, regs) };
        regs.rax = self.vmcb.get(field::RAX);
        self.vmcb.set(field::TLB_CONTROL, 0u8);
    }

    /// The vcpu's address space id on this CPU, a new one if it has none of the present generation or `fresh` is wanted.
    fn choose_asid(&self, hvm: &HvmVcpu, fresh: bool) {
        let me = pages();
        let generation = me.generation.load(Ordering::Relaxed);
        let had = hvm.asid.load(Ordering::Relaxed);
        if !fresh && had >> 32 == generation {
            self.vmcb.set(field::ASID, had as u32);
            return;
        }
        let most = shared().map_or(2, |s| s.asids);
        let mut asid = me.next_asid.load(Ordering::Relaxed);
        let mut generation = generation;
        if asid >= most {
            generation = GENERATION.fetch_add(1, Ordering::Relaxed);
            me.generation.store(generation, Ordering::Relaxed);
            me.flush.store(true, Ordering::Relaxed);
            asid = 1;
        }
        me.next_asid.store(asid + 1, Ordering::Relaxed);
        hvm.asid
            .store(generation << 32 | u64::from(asid), Ordering::Relaxed);
        self.vmcb.set(field::ASID, asid);
    }
}
