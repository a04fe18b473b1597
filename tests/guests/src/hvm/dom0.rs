//! This guest as Domain-0: looks at what it was given, uses each of the ways to the hypervisor once, then switches the machine off.

use crate::{hv, say};
use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::ptr::{read_volatile, write_volatile};
use xen_abi::cpuid::{CPUID_FIRST_LEAF, MSR_HYPERCALL_BASE};
use xen_abi::event_channel::{BIND_VIRQ, BindVirq};
use xen_abi::hvm::{MEMMAP_TYPE_RAM, MemmapTableEntry, ModlistEntry, StartInfo};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, MEMORY_OP, SCHED_OP, VCPU_OP, XEN_VERSION};
use xen_abi::memory::{ADD_TO_PHYSMAP, AddToPhysmap};
use xen_abi::sched::{POLL, Poll, SHUTDOWN_POWEROFF};
use xen_abi::vcpu::{SET_SINGLESHOT_TIMER, SetSingleshotTimer};
use xen_abi::xen::VIRQ_TIMER;
use xen_abi::{DomId, Gfn, GuestHandle};

const DOMID_SELF: DomId = DomId(0x7ff0);

#[repr(C, align(4096))]
struct Page([u8; 4096]);
static mut STUBS: Page = Page([0; 4096]);
/// Its frame becomes the shared info page.
static mut SHARED: Page = Page([0; 4096]);
const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;
/// Of `struct shared_info` (arch-x86/xen.h): the first vcpu's time record, pending events, the wall clock.
const TIME: u64 = 32;
const WALL_CLOCK: u64 = 2048 + 1024 + 4;

/// A word of memory that others write too.
fn read<T>(at: u64) -> T {
    // SAFETY: all memory is mapped where it is; callers name what the hypervisor said is there; no references to it exist.
    unsafe { read_volatile(at as *const T) }
}

/// Does all of it.
pub fn run(info: &StartInfo) -> ! {
    memory(info);
    leaves();
    stubs();
    shared_info();
    timer();
    ports();
    say!("dom0: done");
    hv::shutdown(SHUTDOWN_POWEROFF)
}

fn memory(info: &StartInfo) {
    let mut ram = 0;
    for i in 0..u64::from(info.memmap_entries) {
        let at = info.memmap_paddr + i * size_of::<MemmapTableEntry>() as u64;
        let e: MemmapTableEntry = read(at);
        say!("dom0: {:#x} +{:#x} {}", e.addr, e.size, e.r#type);
        if e.r#type == MEMMAP_TYPE_RAM {
            ram += e.size;
            // The first and the last page of each range can be written.
            for at in [e.addr, e.addr + e.size - 8].map(|a| a as *mut u64) {
                // SAFETY: memory of ours below 4 GiB; what is there is written back.
                unsafe { write_volatile(at, read_volatile(at)) };
            }
        }
    }
    let kib = ram >> 10;
    say!("dom0: flags {:#x}, {kib} KiB of memory", info.flags);
    if info.nr_modules > 0 {
        let module: ModlistEntry = read(info.modlist_paddr);
        let start: u32 = read(module.paddr);
        say!("dom0: module of {} bytes, {start:#x}", module.size);
    }
    if info.rsdp_paddr != 0 {
        let signature = read::<u64>(info.rsdp_paddr) == u64::from_le_bytes(*b"RSD PTR ");
        say!("dom0: RSDP {signature}");
    }
}

fn leaves() {
    let version = __cpuid(CPUID_FIRST_LEAF + 1).eax;
    let hvm = __cpuid(CPUID_FIRST_LEAF + 4);
    let (major, minor) = (version >> 16, version & 0xffff);
    say!(
        "dom0: Xen {major}.{minor}, domain {}, vcpu {}",
        hvm.ecx,
        hvm.ebx
    );
}

/// The page of hypercall stubs: the version by its stub.
fn stubs() {
    let page = &raw const STUBS as u64;
    let gpa = page - VIRT_BASE;
    let result: u64;
    // SAFETY: a page of our own that nothing else uses becomes code of the hypervisor's, which follows the calling convention.
    unsafe {
        asm!("wrmsr", in("ecx") MSR_HYPERCALL_BASE, in("eax") gpa as u32, in("edx") (gpa >> 32) as u32);
        let stub = page + u64::from(XEN_VERSION) * 32;
        asm!("call {0}", in(reg) stub, inlateout("rdi") 0u64 => _, inlateout("rsi") 0u64 => _,
            lateout("rax") result, lateout("rcx") _, lateout("rdx") _, lateout("r8") _, lateout("r9") _,
            lateout("r10") _, lateout("r11") _);
    }
    say!(
        "dom0: by its stub, version {}.{}",
        result >> 16,
        result & 0xffff
    );
}

/// The page where its clocks are.
pub fn map_shared_info() -> i64 {
    let gpa = &raw const SHARED as u64 - VIRT_BASE;
    let mut arg = AddToPhysmap {
        domid: DOMID_SELF,
        space: 0,
        idx: 0,
        gpfn: Gfn(gpa >> 12),
        ..Default::default()
    };
    hv::op(MEMORY_OP, ADD_TO_PHYSMAP, &mut arg)
}

fn shared_info() {
    let result = map_shared_info();
    let gpa = &raw const SHARED as u64 - VIRT_BASE;
    let (clock, time): (u32, u64) = (read(gpa + WALL_CLOCK), now());
    let running = clock > 1_000_000_000 && time > 0;
    say!("dom0: shared info {result}, its clocks run: {running}");
}

/// Nanoseconds since the machine's start, by the first vcpu's time record (`struct pvclock_vcpu_time_info`).
pub fn now() -> u64 {
    let at = &raw const SHARED as u64 - VIRT_BASE + TIME;
    let (stamp, base): (u64, u64) = (read(at + 8), read(at + 16));
    let (scale, shift): (u32, i8) = (read(at + 24), read(at + 28));
    // SAFETY: reading the counter changes nothing.
    let ticks = unsafe { core::arch::x86_64::_rdtsc() }.wrapping_sub(stamp);
    let by = u32::from(shift.unsigned_abs());
    let ticks = match shift < 0 {
        true => ticks.checked_shr(by).unwrap_or(0),
        false => ticks.checked_shl(by).unwrap_or(0),
    };
    base + ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// A timer's event ends a sleep.
fn timer() {
    let mut bind = BindVirq {
        virq: VIRQ_TIMER,
        ..Default::default()
    };
    let bound = hv::op(EVENT_CHANNEL_OP, BIND_VIRQ, &mut bind);
    let mut timer = SetSingleshotTimer {
        timeout_abs_ns: now() + 50_000_000,
        ..Default::default()
    };
    let at = core::ptr::from_mut(&mut timer) as u64;
    let set = hv::call(VCPU_OP, [u64::from(SET_SINGLESHOT_TIMER), 0, at, 0, 0]);
    let mut port = bind.port;
    let mut poll = Poll {
        ports: GuestHandle::new(core::ptr::from_mut(&mut port) as u64),
        nr_ports: 1,
        ..Default::default()
    };
    let polled = hv::op(SCHED_OP, POLL, &mut poll);
    let slept = now() >= timer.timeout_abs_ns;
    say!("dom0: timer {bound} {set} {polled}, slept: {slept}");
}

/// The host bridge, by the ports of PCI configuration space.
fn ports() {
    let id: u32;
    // SAFETY: reading the configuration space of device 0 changes nothing.
    unsafe {
        asm!("out dx, eax", in("dx") 0xcf8u16, in("eax") 1u32 << 31);
        asm!("in eax, dx", in("dx") 0xcfcu16, out("eax") id);
    }
    say!("dom0: host bridge {id:#x}");
}
