//! VT-x with extended page tables: what is set up once per machine and CPU, and [`Vmx`], the vcpu that is loaded.
//!
//! Each CPU has one VMCS, current there for good, for whichever guest runs: [`state`] moves vcpus in and out, [`exit`] says what
//! ended a run in words of no vendor, [`cr`] carries out writes to control registers. [`run.S`] is the border. Source: Intel SDM
//! vol. 3, chapters 24 to 31.

mod bits;
mod controls;
mod cr;
mod exit;
mod msrs;
pub mod state;
mod vmcs;

use crate::arch::x86::cpu::features;
use crate::arch::x86::mm::{alloc_frames, phys_to_virt};
use crate::arch::x86::pv::context::rdmsr;
use crate::arch::x86::pv::{guest, info};
use crate::hvm;
use crate::percpu::{self, MAX_CPUS};
use controls::Controls;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use domain::HvmVcpu;
use domain::tsc::Scaling;
use spin::Once;
use vmcs::Field;
use xen_abi::xen::CpuUserRegs;

core::arch::global_asm!(include_str!("run.S"), options(att_syntax));

unsafe extern "C" {
    /// One run of the guest; not 0: the CPU refused the controls.
    fn vmx_run(regs: *mut CpuUserRegs, launched: u32) -> u32;
    /// Where exits arrive.
    fn vmx_exit();
}

const CR4_VMXE: u64 = 1 << 13;
/// Exit reason: there was no entry.
const NOT_ENTERED: u64 = 1 << 31;
/// VPIDs have 16 bits; 0 is the hypervisor's.
const VPIDS: u32 = 1 << 16;
/// Kinds of INVEPT and INVVPID.
const ONE: u64 = 1;
const ALL: u64 = 2;

/// The system-call MSRs that neither entries nor exits switch.
const SWITCHED: [u32; 4] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084];

/// What a CPU has.
struct PerCpu {
    /// The VMCS has been launched.
    launched: AtomicBool,
    /// VPIDs given out on this CPU are of this generation, which no other CPU's are.
    generation: AtomicU64,
    next_vpid: AtomicU32,
    /// CR3 as HOST_CR3 has it.
    host_cr3: AtomicU64,
    /// The page that holds the task priority.
    apic: AtomicU64,
    /// The guest's CR2, when it does not run.
    cr2: AtomicU64,
    /// The hypervisor's own values of [`SWITCHED`].
    msrs: [AtomicU64; SWITCHED.len()],
}

static CPUS: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        launched: AtomicBool::new(false),
        generation: AtomicU64::new(0),
        next_vpid: AtomicU32::new(1),
        host_cr3: AtomicU64::new(0),
        apic: AtomicU64::new(0),
        cr2: AtomicU64::new(0),
        msrs: [const { AtomicU64::new(0) }; SWITCHED.len()],
    }
}; MAX_CPUS];
/// Generations of VPIDs, over all CPUs.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// What all CPUs share.
struct Shared {
    controls: Controls,
    io_bitmaps: u64,
    msr_bitmap: u64,
}

static SHARED: Once<Option<Shared>> = Once::new();
/// A CPU has not come along.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Can guests be run? Settled when all CPUs are up.
#[inline]
pub fn available() -> bool {
    shared().is_some() && !FAILED.load(Ordering::Relaxed)
}

#[inline]
fn shared() -> Option<&'static Shared> {
    SHARED
        .call_once(|| match set_up() {
            Ok(shared) => Some(shared),
            Err(why) => {
                if features().vmx {
                    no_guests(why);
                }
                None
            }
        })
        .as_ref()
}

/// How the CPU multiplies the TSC for guests, if it does.
pub fn tsc_scaling() -> Option<Scaling> {
    let can = |s: &&Shared| s.controls.cpu2 & bits::cpu2::TSC_SCALING != 0;
    shared().filter(can).map(|_| Scaling {
        fraction_bits: 48,
        whole_bits: 16,
    })
}

/// Says so, once at boot.
fn no_guests(why: &str) {
    log::warn!(
        "CPU {}: {why}: no hardware-virtualised guests",
        percpu::cpu_id()
    );
}

fn set_up() -> Result<Shared, &'static str> {
    let controls = controls::detect()?;
    let bitmaps = (|| Some((filled(1)?, filled(0)?)))();
    let (io_bitmaps, msr_bitmap) = bitmaps.ok_or("no memory for VT-x")?;
    msrs::pass_through(phys_to_virt(msr_bitmap));
    log::info!("VT-x with extended page tables, unrestricted guests and virtual processor ids");
    Ok(Shared {
        controls,
        io_bitmaps,
        msr_bitmap,
    })
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

fn this_cpu() -> &'static PerCpu {
    &CPUS[percpu::cpu_id() as usize % MAX_CPUS]
}

/// Enters VMX operation for good, on this CPU, whose control registers and system-call MSRs are set for good.
pub fn init_cpu() {
    let Some(shared) = shared() else {
        return;
    };
    if let Err(why) = controls::unlock() {
        FAILED.store(true, Ordering::Relaxed);
        return no_guests(why);
    }
    let (Some(region), Some(vmcs), Some(apic)) = (zeroed(), zeroed(), zeroed()) else {
        crate::panic::fatal("no memory for VT-x");
    };
    for pa in [region, vmcs] {
        // SAFETY: fresh frames in the direct map; their first word is the revision.
        unsafe {
            phys_to_virt(pa)
                .cast::<u32>()
                .write(shared.controls.revision)
        };
    }
    if !enter_operation(region, vmcs) {
        FAILED.store(true, Ordering::Relaxed);
        return no_guests("VMXON fails");
    }
    let me = this_cpu();
    for (slot, msr) in me.msrs.iter().zip(SWITCHED) {
        slot.store(rdmsr(msr), Ordering::Relaxed);
    }
    me.generation.store(
        GENERATION.fetch_add(1, Ordering::Relaxed),
        Ordering::Relaxed,
    );
    me.apic.store(apic, Ordering::Relaxed);
    state::set_up_vmcs(shared, apic);
    invept(ALL, 0);
    invvpid(ALL, 0);
}

/// VMXON, and the VMCS becomes current.
fn enter_operation(region: u64, vmcs: u64) -> bool {
    let (off, unclear, not_current): (u8, u8, u8);
    // SAFETY: both frames are ours for good and hold the revision; CR4.VMXE changes nothing for running code.
    unsafe {
        asm!(
            "mov {tmp}, cr4",
            "or {tmp}, {vmxe}",
            "mov cr4, {tmp}",
            "vmxon [{region}]",
            "setbe {off}",
            "vmclear [{vmcs}]",
            "setbe {unclear}",
            "vmptrld [{vmcs}]",
            "setbe {not_current}",
            tmp = out(reg) _,
            vmxe = in(reg) CR4_VMXE,
            region = in(reg) &region,
            vmcs = in(reg) &vmcs,
            off = out(reg_byte) off,
            unclear = out(reg_byte) unclear,
            not_current = out(reg_byte) not_current,
        );
    }
    off | unclear | not_current == 0
}

/// Drops translations made through extended page tables: of those at `pointer`, or all.
fn invept(kind: u64, pointer: u64) {
    let descriptor = [pointer, 0];
    // SAFETY: drops cached translations only.
    unsafe { asm!("invept {}, [{}]", in(reg) kind, in(reg) &descriptor, options(nostack)) };
}

/// Drops a guest's translations: of one VPID, or all.
fn invvpid(kind: u64, vpid: u64) {
    let descriptor = [vpid, 0];
    // SAFETY: drops cached translations only.
    unsafe { asm!("invvpid {}, [{}]", in(reg) kind, in(reg) &descriptor, options(nostack)) };
}

fn read_cr2() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

fn read_cr3() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The hardware of this CPU with the vcpu loaded on it.
#[derive(Clone, Copy)]
pub struct Vmx;

impl Vmx {
    /// This CPU's.
    #[inline]
    pub fn this_cpu() -> Vmx {
        Vmx
    }

    /// One run; `false`: the CPU refused the controls.
    #[inline]
    fn run(&mut self) -> bool {
        let me = this_cpu();
        let cr3 = read_cr3();
        if me.host_cr3.load(Ordering::Relaxed) != cr3 {
            me.host_cr3.store(cr3, Ordering::Relaxed);
            vmcs::write(Field::HostCr3, cr3);
        }
        let cr2 = me.cr2.load(Ordering::Relaxed);
        if read_cr2() != cr2 {
            // SAFETY: the hypervisor's own faults have been dealt with; CR2 has no effect by itself.
            unsafe { asm!("mov cr2, {}", in(reg) cr2, options(nomem, nostack, preserves_flags)) };
        }
        let launched = u32::from(me.launched.load(Ordering::Relaxed));
        // SAFETY: the VMCS has been filled by `state`, intercepts all that reaches beyond the guest, and its extended page
        // tables map pages of the guest only. Registers are saved to `regs`.
        let failed = unsafe { vmx_run(&raw mut info().regs, launched) };
        me.cr2.store(read_cr2(), Ordering::Relaxed);
        if failed == 0 && launched == 0 {
            // An entry that fails by the guest's state arrives where exits do, and launches nothing.
            let entered = vmcs::read(Field::ExitReason) & NOT_ENTERED == 0;
            me.launched.store(entered, Ordering::Relaxed);
        }
        failed == 0
    }

    /// The vcpu's VPID on this CPU, a new one if it has none of the present generation or `fresh` is wanted; then what the CPU
    /// knows of its domain's extended page tables goes too.
    fn choose_vpid(&self, hvm: &HvmVcpu, fresh: bool) {
        let me = this_cpu();
        let mut generation = me.generation.load(Ordering::Relaxed);
        let had = hvm.asid.load(Ordering::Relaxed);
        if !fresh && had >> 32 == generation {
            vmcs::write(Field::Vpid, u64::from(had as u32));
            return;
        }
        let mut vpid = me.next_vpid.load(Ordering::Relaxed);
        if vpid >= VPIDS {
            generation = GENERATION.fetch_add(1, Ordering::Relaxed);
            me.generation.store(generation, Ordering::Relaxed);
            invvpid(ALL, 0);
            vpid = 1;
        }
        invept(ONE, vmcs::read(Field::EptPointer));
        me.next_vpid.store(vpid + 1, Ordering::Relaxed);
        hvm.asid
            .store(generation << 32 | u64::from(vpid), Ordering::Relaxed);
        vmcs::write(Field::Vpid, vpid.into());
    }

    /// Translations of the loaded vcpu are no longer good.
    fn forget_translations(&self) {
        let (_, v) = guest();
        self.choose_vpid(hvm::vcpu(v), true);
    }
}
