//! Per-CPU data, found from the stack pointer: the top of each stack holds a `CpuInfo` that points here.
//!
//! Key type: [`PerCpu`]. Neighbours: `smp` creates one for every CPU that comes up, `entry::cpuinfo` defines `CpuInfo`.

use crate::arch::x86::cpu::STACK_SIZE;
use crate::arch::x86::cpu::gdt::Tss;
use crate::arch::x86::entry::cpuinfo::CpuInfo;
use crate::smp::CallSlot;
use core::cell::{Cell, UnsafeCell};
use core::mem::size_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The most CPUs we bring up.
pub const MAX_CPUS: usize = 64;

/// Data of one CPU. Only that CPU touches the cells; everybody may read the rest.
pub struct PerCpu {
    /// Number, from 0 without gaps.
    pub cpu: u32,
    /// Local APIC id.
    pub apic_id: u32,
    /// Lowest address of the stack.
    pub stack_base: u64,
    /// The task state segment the CPU has loaded.
    pub tss: UnsafeCell<Tss>,
    /// Levels of the locks held, one bit each (debug builds).
    pub locks_held: Cell<u32>,
    /// When the timer is to fire, in nanoseconds since boot; `u64::MAX` for never.
    pub timer_deadline: Cell<u64>,
    /// Which interrupt each vector stands for; 0xffff_ffff for none.
    pub vectors: [AtomicU32; 256],
    /// The cross-CPU call this CPU has made last.
    pub call: CallSlot,
    /// CPUs whose `call` waits for this CPU, one bit each.
    pub calls_waiting: AtomicU64,
}

// SAFETY: the cells are touched by their own CPU only, in code that interrupts do not re-enter; the rest is atomic or
// constant.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// Data for CPU number `cpu`.
    pub fn new(cpu: u32, apic_id: u32, stack_base: u64) -> Self {
        Self {
            cpu,
            apic_id,
            stack_base,
            tss: UnsafeCell::new(Tss::new(stack_base)),
            locks_held: Cell::new(0),
            timer_deadline: Cell::new(u64::MAX),
            vectors: [const { AtomicU32::new(u32::MAX) }; 256],
            call: CallSlot::new(),
            calls_waiting: AtomicU64::new(0),
        }
    }
}

impl PerCpu {
    /// When its timer is set to fire; another CPU's answer may be out of date.
    pub fn timer_armed(&self) -> u64 {
        // SAFETY: a plain word that its CPU replaces as a whole; a stale value does no harm.
        unsafe { self.timer_deadline.as_ptr().read_volatile() }
    }
}

static ALL: [AtomicPtr<PerCpu>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// The `CpuInfo` at the top of the stack that starts at `stack_base`.
pub fn cpu_info_of(stack_base: u64) -> *mut CpuInfo {
    (stack_base + (STACK_SIZE - size_of::<CpuInfo>()) as u64) as *mut CpuInfo
}

/// This CPU's `CpuInfo`.
#[inline(always)]
pub fn cpu_info() -> *mut CpuInfo {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags))
    };
    cpu_info_of(rsp & !(STACK_SIZE as u64 - 1))
}

/// This CPU's data; `None` only in the first moments of boot.
#[inline]
pub fn try_current() -> Option<&'static PerCpu> {
    // SAFETY: every stack we run on has a CpuInfo at its top, zeroed or set by `publish`; PerCpu is never freed.
    unsafe { (*cpu_info()).percpu.as_ref() }
}

/// This CPU's data.
#[inline]
pub fn current() -> &'static PerCpu {
    match try_current() {
        Some(cpu) => cpu,
        None => panic!("per-CPU data used before it exists"),
    }
}

/// This CPU's number; 0 before there are several.
#[inline]
pub fn cpu_id() -> u32 {
    try_current().map_or(0, |cpu| cpu.cpu)
}

/// CPU `cpu`'s data, once it is up.
pub fn of(cpu: u32) -> Option<&'static PerCpu> {
    // SAFETY: set once by `publish`, to something never freed.
    unsafe { ALL.get(cpu as usize)?.load(Ordering::Acquire).as_ref() }
}

/// Makes `percpu` known, and findable from its stack.
pub fn publish(percpu: &'static PerCpu) {
    let info = cpu_info_of(percpu.stack_base);
    // SAFETY: the stack belongs to this CPU, and nothing else writes these two fields.
    unsafe {
        (*info).cpu = percpu.cpu;
        (*info).percpu = percpu;
    }
    ALL[percpu.cpu as usize].store(core::ptr::from_ref(percpu).cast_mut(), Ordering::Release);
}
