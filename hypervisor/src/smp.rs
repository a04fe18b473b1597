//! The other CPUs: bringing them up, and asking them to do something.
//!
//! Key functions: [`start_all`], [`send_ipi`], [`call_on`]. Neighbours: `arch::x86::boot::trampoline` (their first
//! instructions), `percpu` (their data).

use crate::arch::x86::boot::{self, trampoline};
use crate::arch::x86::cpu::{self, STACK_SIZE, gdt};
use crate::arch::x86::irq::{lapic, pic, vectors};
use crate::arch::x86::mm::{self, NoMemory, layout::PAGE_SIZE, phys_to_virt};
use crate::percpu::{self, MAX_CPUS, PerCpu};
use crate::{acpi, time};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use x86_64::instructions::{hlt, interrupts};

/// How long a CPU may take to show up.
const START_TIMEOUT_NS: u64 = 1_000_000_000;

static ONLINE: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU32 = AtomicU32::new(1);

/// CPUs that are up; they are numbered 0..`cpu_count()`.
pub fn cpu_count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// One bit per CPU that is up.
pub fn online_mask() -> u64 {
    ONLINE.load(Ordering::Relaxed)
}

/// Makes per-CPU data, GDT page and window for CPU `cpu`, whose stack starts at `stack_base`.
fn prepare(cpu: u32, apic_id: u32, stack_base: u64) -> Result<&'static PerCpu, NoMemory> {
    let percpu: &'static PerCpu = Box::leak(Box::new(PerCpu::new(cpu, apic_id, stack_base)));
    let page = mm::alloc_frames(0, None).ok_or(NoMemory)?;
    // SAFETY: a fresh frame, in the direct map, used as a GDT from now on.
    gdt::fill(unsafe { &mut *phys_to_virt(page).cast() }, percpu);
    mm::map_gdt_page(cpu, gdt::HV_GDT_PAGE, page)?;
    percpu::publish(percpu);
    Ok(percpu)
}

/// CPU 0 becomes a proper CPU: per-CPU data, final GDT and IDT, local APIC.
pub fn init_boot_cpu() {
    // While the local APIC still listens to them: QEMU would keep an interrupt of theirs pending for ever.
    pic::disable();
    lapic::init();
    let Ok(percpu) = prepare(0, lapic::id(), boot::boot_stack_base()) else {
        crate::panic::fatal("not enough RAM for CPU 0's data");
    };
    boot::traps::install(gdt::HV_CS);
    cpu::init(percpu);
    lapic::init_cpu();
    ONLINE.store(1, Ordering::Release);
}

/// Starts the other CPUs in the order of the MADT, within `maxcpus` and `nosmp`.
pub fn start_all() {
    let config = &boot::info().config;
    let limit = if config.nosmp {
        1
    } else {
        config.maxcpus.map_or(MAX_CPUS, |max| max as usize)
    }
    .clamp(1, MAX_CPUS);
    let boot_id = lapic::id();
    let others = acpi::info()
        .processors
        .iter()
        .filter(|p| p.apic_id != boot_id);
    let mut left_out = 0;
    for processor in others {
        if cpu_count() as usize >= limit || (processor.apic_id > 0xff && !lapic::is_x2apic()) {
            left_out += 1;
        } else if let Err(NoMemory) = start_one(processor.apic_id) {
            log::error!(
                "CPU with APIC id {:#x}: no memory for it",
                processor.apic_id
            );
        }
    }
    mm::drop_identity_map();
    log::info!("{} CPUs are up, {left_out} left out", cpu_count());
}

fn start_one(apic_id: u32) -> Result<(), NoMemory> {
    let Some(page) = mm::low_page() else {
        log::error!("No RAM below 1 MiB to start CPUs in");
        return Ok(());
    };
    let cpu = cpu_count();
    let order = (STACK_SIZE as u64 / PAGE_SIZE).trailing_zeros();
    let stack = phys_to_virt(mm::alloc_frames(order, None).ok_or(NoMemory)?);
    // SAFETY: a fresh, aligned stack; its CpuInfo must start zeroed.
    unsafe { core::ptr::write_bytes(stack, 0, STACK_SIZE) };
    let percpu = prepare(cpu, apic_id, stack as u64)?;
    trampoline::install(page, percpu::cpu_info_of(percpu.stack_base) as u64);
    let came_up = || ONLINE.load(Ordering::Acquire) & 1 << cpu != 0;
    // Intel's recipe (SDM vol. 3 §9.4.4): INIT, 10 ms, start-up, and once more for CPUs that missed it.
    lapic::send_init(apic_id);
    for _ in 0..2 {
        lapic::send_startup(apic_id, (page / PAGE_SIZE) as u8);
        let give_up = time::now_ns() + START_TIMEOUT_NS / 2;
        while !came_up() && time::now_ns() < give_up {
            core::hint::spin_loop();
        }
        if came_up() {
            COUNT.store(cpu + 1, Ordering::Release);
            return Ok(());
        }
    }
    // It may still come later: its stack and data stay, and it will find the door closed.
    trampoline::close(page);
    log::error!("CPU with APIC id {apic_id:#x} does not start");
    Ok(())
}

/// A new CPU arrives here from the trampoline, on its own stack.
pub extern "C" fn ap_entry() -> ! {
    // SAFETY: the idle page table maps everything we use, where the boot page table has it.
    unsafe {
        core::arch::asm!("mov cr3, {}", in(reg) mm::idle_l4(), options(nostack, preserves_flags))
    };
    let percpu = percpu::current();
    cpu::init(percpu);
    lapic::init_cpu();
    ONLINE.fetch_or(1 << percpu.cpu, Ordering::AcqRel);
    crate::schedule::ap_idle(percpu.cpu)
}

/// Interrupts `cpu` with `vector`.
pub fn send_ipi(cpu: u32, vector: u8) {
    if let Some(cpu) = percpu::of(cpu) {
        lapic::send(cpu.apic_id, vector);
    }
}

/// A function that one CPU asks others to run.
pub struct CallSlot {
    function: AtomicUsize,
    argument: AtomicU64,
    /// CPUs that have not run it yet.
    pending: AtomicU64,
}

impl CallSlot {
    /// Nothing asked.
    pub const fn new() -> Self {
        Self {
            function: AtomicUsize::new(0),
            argument: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        }
    }
}

/// Runs `function(argument)` on all online CPUs of `mask`, this one included if it is in there; with `wait`, returns when all
/// are done. While waiting this CPU serves others' calls. The function runs with interrupts off, wherever the target was:
/// it must not lock, wait, or make calls.
pub fn call_on(mask: u64, function: fn(u64), argument: u64, wait: bool) {
    let enabled = interrupts::are_enabled();
    interrupts::disable();
    let me = percpu::current();
    let others = mask & online_mask() & !(1 << me.cpu);
    drain(me);
    if others != 0 {
        me.call.function.store(function as usize, Ordering::Relaxed);
        me.call.argument.store(argument, Ordering::Relaxed);
        me.call.pending.store(others, Ordering::Release);
        for target in bits(others).filter_map(percpu::of) {
            target.calls_waiting.fetch_or(1 << me.cpu, Ordering::AcqRel);
            lapic::send(target.apic_id, vectors::CALL);
        }
    }
    if mask & 1 << me.cpu != 0 {
        function(argument);
    }
    if wait {
        drain(me);
    }
    if enabled {
        interrupts::enable();
    }
}

/// Waits until this CPU's own call is done everywhere.
fn drain(me: &PerCpu) {
    while me.call.pending.load(Ordering::Acquire) != 0 {
        service_calls();
        core::hint::spin_loop();
    }
}

/// Runs what other CPUs ask this one to. For the interrupt handler, and for every loop that waits with interrupts off.
pub fn service_calls() {
    let Some(me) = percpu::try_current() else {
        return;
    };
    if me.calls_waiting.load(Ordering::Relaxed) == 0 {
        return;
    }
    let enabled = interrupts::are_enabled();
    interrupts::disable();
    for caller in bits(me.calls_waiting.swap(0, Ordering::AcqRel)).filter_map(percpu::of) {
        let function = caller.call.function.load(Ordering::Relaxed);
        let argument = caller.call.argument.load(Ordering::Relaxed);
        // SAFETY: the slot holds a `fn(u64)`, stored before `pending` and `calls_waiting` were.
        let function = unsafe { core::mem::transmute::<usize, fn(u64)>(function) };
        function(argument);
        caller
            .call
            .pending
            .fetch_and(!(1 << me.cpu), Ordering::AcqRel);
    }
    if enabled {
        interrupts::enable();
    }
}

/// Stops the other CPUs for good, in a panic. Does not wait long for those that do not answer.
pub fn stop_others() {
    if !lapic::ready() {
        return;
    }
    let others = online_mask() & !(1 << percpu::cpu_id());
    for target in bits(others).filter_map(percpu::of) {
        lapic::send_nmi(target.apic_id);
    }
    time::delay_ns(1_000_000);
}

/// Whether this NMI means "stop": for the NMI handler.
pub fn stop_forever() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}

fn bits(mut mask: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros())?;
        mask &= mask - 1;
        Some(bit)
    })
}
