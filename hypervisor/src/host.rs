//! The real machine as the pure crates want it: [`Machine`] implements `domain::Host` and `mm::Platform`. All of it is
//! thin; what needs thought lives where it is named.

use crate::arch::x86::boot::{RegionKind, efi};
use crate::arch::x86::cpu::features;
use crate::arch::x86::entry::{cpuinfo, uaccess};
use crate::arch::x86::irq::{ioapic, pci};
use crate::arch::x86::mm;
use crate::arch::x86::pv::{context, emulate};
use crate::hvm::{memory, vendor};
use crate::{acpi, console, guest_time, percpu, power, schedule, smp, time, timers, tlb};
use ::mm::pv::{ENTRIES, scan};
use ::mm::{FrameTable, Heap, LastRef, MmioAccess};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use domain::tsc::Scaling;
use domain::{
    CpuMask, CpuidPolicy, CpuidResult, Domain, EfiInfo, Fault, Host, HostInfo, IrqControl, Mutex,
    Registry, SegmentBase, Vcpu,
};
use xen_abi::sched::{SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_WATCHDOG};
use xen_abi::{DomId, Errno, Mfn};

/// The machine.
pub struct Machine;
/// The one there is.
pub static HOST: Machine = Machine;
static DOMAINS: Registry = Registry::new();
/// Typed characters that wait for dom0.
static TYPED: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());
/// Characters kept at most.
const TYPED_MAX: usize = 4096;

/// Pointer to byte `offset` of a frame that is RAM; `None` beyond either.
#[inline]
fn frame_ptr(mfn: Mfn, offset: usize, len: usize) -> Option<*mut u8> {
    if !mm::frame_table().is_ram(mfn) || offset.checked_add(len)? > 4096 {
        return None;
    }
    Some(mm::phys_to_virt(mfn.addr() + offset as u64))
}

/// A frame of RAM as a page table.
#[inline]
fn page_table(mfn: Mfn) -> Option<&'static [AtomicU64; ENTRIES]> {
    // SAFETY: a whole frame of RAM in the direct map, which is mapped for ever; only atomics look at it.
    frame_ptr(mfn, 0, 4096).map(|p| unsafe { &*p.cast::<[AtomicU64; ENTRIES]>() })
}

/// Pages of interrupt controllers, which no guest may map.
fn interrupt_controller(mfn: Mfn) -> bool {
    mfn.addr() & !0xfff == 0xfee0_0000 || ioapic::is_ioapic(mfn.addr())
}

/// Can this port not be given to dom0? The serial port of our console, the 8259s and the PIT.
pub fn port_is_ours(port: u16) -> bool {
    matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x40..=0x43) || console::owns_port(port)
}

/// Reads PCI configuration space as the 0xcf8/0xcfc ports would.
pub fn config_read(address: u32, byte: u16, size: u8) -> u32 {
    if address & 1 << 31 == 0 {
        return !0;
    }
    let (sbdf, offset) = config_target(address, byte);
    match size {
        1 => u32::from(pci::read8(sbdf, offset)),
        2 => u32::from(pci::read16(sbdf, offset)),
        _ => pci::read32(sbdf, offset),
    }
}

/// Writes PCI configuration space as the ports would.
pub fn config_write(address: u32, byte: u16, size: u8, value: u32) {
    if address & 1 << 31 == 0 {
        return;
    }
    let (sbdf, offset) = config_target(address, byte);
    match size {
        1 => pci::write8(sbdf, offset, value as u8),
        2 => pci::write16(sbdf, offset, value as u16),
        _ => pci::write32(sbdf, offset, value),
    }
}

fn config_target(address: u32, byte: u16) -> (pci::Sbdf, u16) {
    let sbdf = pci::Sbdf::new(
        0,
        (address >> 16) as u8,
        (address >> 11) as u8 & 31,
        (address >> 8) as u8 & 7,
    );
    (sbdf, (address & 0xfc) as u16 + byte)
}

/// Characters have arrived on the serial line: keep them for dom0 and tell it.
pub fn typed(bytes: impl Iterator<Item = u8>) {
    let mut any = false;
    {
        let mut queue = TYPED.lock();
        for byte in bytes {
            if queue.len() < TYPED_MAX {
                queue.push_back(byte);
                any = true;
            }
        }
    }
    if any {
        domain::send_global_virq(&HOST, xen_abi::xen::VIRQ_CONSOLE);
    }
}

impl ::mm::Platform for Machine {
    #[inline]
    fn read(&self, table: Mfn, index: usize) -> u64 {
        self.shared_u64(table, (index & 511) * 8)
            .map_or(0, |w| w.load(Ordering::Relaxed))
    }
    #[inline]
    fn write(&self, table: Mfn, index: usize, value: u64) {
        if let Some(word) = self.shared_u64(table, (index & 511) * 8) {
            word.store(value, Ordering::Release);
        }
    }
    #[inline]
    fn cmpxchg(&self, table: Mfn, index: usize, old: u64, new: u64) -> Result<(), u64> {
        match self.shared_u64(table, (index & 511) * 8) {
            Some(word) => word
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
                .map(|_| ()),
            None => Err(0),
        }
    }
    #[inline]
    fn first_present(&self, table: Mfn, from: usize) -> Option<usize> {
        scan::first_present(page_table(table)?, from)
    }
    #[inline]
    fn last_present(&self, table: Mfn, end: usize) -> Option<usize> {
        scan::last_present(page_table(table)?, end)
    }
    fn install_reserved(&self, l4: Mfn, _domain: DomId) {
        for (i, entry) in mm::reserved_slots().into_iter().enumerate() {
            self.write(l4, mm::FIRST_SLOT + i, entry);
        }
    }
    fn mmio_access(&self, domain: DomId, mfn: Mfn) -> MmioAccess {
        if domain != DomId::DOM0 || interrupt_controller(mfn) || mfn.0 >> self.max_mfn_bits() != 0 {
            MmioAccess::Denied
        } else {
            MmioAccess::Full
        }
    }
    fn cache_attrs_allowed(&self, domain: DomId) -> bool {
        domain == DomId::DOM0
    }
    fn tlb_clock(&self) -> u32 {
        tlb::clock()
    }
    fn tlb_sync(&self, owner: DomId, stamp: u32) {
        let cpus = match cpuinfo::current() {
            Some((dom, _)) if dom.id == owner => dom.dirty_cpus.load(Ordering::SeqCst),
            _ => !0,
        };
        tlb::sync(cpus, stamp);
    }
    fn max_mfn_bits(&self) -> u32 {
        u32::from(features().phys_bits).clamp(32, 52) - 12
    }
    fn has_nx(&self) -> bool {
        true
    }
    fn last_ref(&self, last: LastRef) {
        domain::release_last(self, last);
    }
}

impl Host for Machine {
    fn frames(&self) -> FrameTable<'static> {
        mm::frame_table()
    }
    fn domains(&self) -> &Registry {
        &DOMAINS
    }
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap<'static>) -> R) -> R {
        f(&mut mm::heap().lock())
    }
    #[inline]
    fn shared_u8(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU8> {
        // SAFETY: a byte of RAM in the direct map, which is mapped for ever; guests change it at any time, so only
        // atomics look at it.
        frame_ptr(mfn, offset, 1).map(|p| unsafe { &*p.cast::<AtomicU8>() })
    }
    #[inline]
    fn shared_u32(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU32> {
        // SAFETY: as `shared_u8`, and aligned.
        frame_ptr(mfn, offset, 4)
            .filter(|_| offset.is_multiple_of(4))
            .map(|p| unsafe { &*p.cast::<AtomicU32>() })
    }
    #[inline]
    fn shared_u64(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU64> {
        // SAFETY: as `shared_u8`, and aligned.
        frame_ptr(mfn, offset, 8)
            .filter(|_| offset.is_multiple_of(8))
            .map(|p| unsafe { &*p.cast::<AtomicU64>() })
    }
    #[inline]
    fn shared_pair(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 2]> {
        // SAFETY: as `shared_u8`, aligned, and all 8 bytes inside the frame.
        frame_ptr(mfn, offset, 8)
            .filter(|_| offset.is_multiple_of(4))
            .map(|p| unsafe { &*p.cast::<[AtomicU32; 2]>() })
    }
    fn shared_heads(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 16]> {
        // SAFETY: as `shared_u8`, aligned, and all 64 bytes inside the frame.
        frame_ptr(mfn, offset, 64)
            .filter(|_| offset.is_multiple_of(4))
            .map(|p| unsafe { &*p.cast::<[AtomicU32; 16]>() })
    }
    fn zero_frame(&self, mfn: Mfn) {
        if let Some(p) = frame_ptr(mfn, 0, 4096) {
            // SAFETY: a whole frame of RAM in the direct map; nobody holds references into it.
            unsafe {
                core::arch::asm!("rep stosq", inout("rdi") p => _, inout("rcx") 512u64 => _, in("rax") 0u64, options(nostack, preserves_flags))
            };
        }
    }
    fn read_frame(&self, mfn: Mfn, offset: usize, buf: &mut [u8]) -> Result<(), Fault> {
        let p = frame_ptr(mfn, offset, buf.len()).ok_or(Fault)?;
        // SAFETY: inside one frame of RAM; guests may change it meanwhile, so it is copied as raw bytes by assembly.
        unsafe { raw_copy(buf.as_mut_ptr(), p, buf.len()) };
        Ok(())
    }
    fn write_frame(&self, mfn: Mfn, offset: usize, buf: &[u8]) -> Result<(), Fault> {
        let p = frame_ptr(mfn, offset, buf.len()).ok_or(Fault)?;
        // SAFETY: as above.
        unsafe { raw_copy(p, buf.as_ptr(), buf.len()) };
        Ok(())
    }
    fn copy_frame(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize) -> Result<(), Fault> {
        let src = frame_ptr(from.0, from.1, len).ok_or(Fault)?;
        let dst = frame_ptr(to.0, to.1, len).ok_or(Fault)?;
        // SAFETY: each inside one frame of RAM, raw bytes as above; where they overlap the bytes are the guest's business.
        unsafe { raw_copy(dst, src, len) };
        Ok(())
    }
    fn m2p_get(&self, mfn: Mfn) -> u64 {
        mm::m2p_get(mfn)
    }
    fn m2p_extent(&self, index: u64) -> Option<Mfn> {
        mm::m2p_extent(index)
    }
    fn m2p_set(&self, mfn: Mfn, pfn: u64) {
        mm::m2p_set(mfn, pfn);
    }
    #[inline]
    fn copy_from_guest(&self, buf: &mut [u8], gva: u64) -> Result<(), Fault> {
        match hardware_guest() {
            true => memory::copy_from_guest(buf, gva),
            false => uaccess::copy_from_guest(buf, gva),
        }
    }
    #[inline]
    fn copy_to_guest(&self, gva: u64, buf: &[u8]) -> Result<(), Fault> {
        match hardware_guest() {
            true => memory::copy_to_guest(gva, buf),
            false => uaccess::copy_to_guest(gva, buf),
        }
    }
    fn now_ns(&self) -> u64 {
        time::now_ns()
    }
    fn tsc(&self) -> u64 {
        time::rdtsc()
    }
    fn tsc_scaling(&self) -> Option<Scaling> {
        vendor::tsc_scaling()
    }
    fn wallclock_base_ns(&self) -> u64 {
        time::wall_at_boot()
    }
    fn set_wallclock_base_ns(&self, ns: u64) {
        time::set_wall(ns, 0);
    }
    fn info(&self) -> HostInfo {
        let scale = time::scale();
        HostInfo {
            cpus: smp::cpu_count(),
            threads_per_core: 1,
            cores_per_socket: smp::cpu_count(),
            cpu_khz: (time::tsc_hz() / 1000) as u32,
            total_pages: ram_pages(),
            max_mfn: mm::max_mfn().0,
            tsc_mul: scale.mul,
            tsc_shift: scale.shift,
            hvm: vendor::available(),
            hw_cap: hw_caps(),
        }
    }
    fn default_cpuid(&self) -> CpuidPolicy {
        CpuidPolicy::pv_default(crate::guest_cpuid::offered)
    }
    fn default_hvm_cpuid(&self) -> CpuidPolicy {
        CpuidPolicy::hvm_default(crate::guest_cpuid::offered)
    }
    fn host_cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        emulate::native_cpuid(leaf, subleaf)
    }
    fn cpu_ids(&self, cpu: u32) -> Option<(u32, u32)> {
        let apic_id = percpu::of(cpu)?.apic_id;
        let listed = &acpi::info().processors;
        let acpi_id = listed.iter().find(|p| p.apic_id == apic_id);
        Some((apic_id, acpi_id.map_or(cpu, |p| p.acpi_id)))
    }
    fn efi(&self) -> Option<&EfiInfo> {
        efi::info()
    }
    fn kick(&self, vcpu: &Vcpu) {
        schedule::kick(vcpu);
    }
    fn preempt(&self, vcpu: &Vcpu) {
        schedule::preempt(vcpu);
    }
    fn wait_descheduled(&self, vcpu: &Vcpu) {
        schedule::wait_descheduled(vcpu);
    }
    fn interrupts_on(&self) -> bool {
        vendor::interrupts_on()
    }
    fn reschedule(&self) {
        schedule::request_yield();
    }
    fn vcpu_timer_changed(&self, vcpu: &Vcpu) {
        timers::changed(vcpu);
    }
    fn vcpu_created(&self, _dom: &Arc<Domain>, _vcpu: &Vcpu) -> Result<(), Errno> {
        let all: usize = DOMAINS.all().iter().map(|d| d.vcpus.len()).sum();
        schedule::make_room(all + domain::MAX_VCPUS as usize);
        timers::make_room(all + domain::MAX_VCPUS as usize);
        Ok(())
    }
    fn domain_retired(&self, dom: &Domain) {
        schedule::retire(dom);
    }
    fn affinity_changed(&self, vcpu: &Vcpu) {
        if let Some(dom) = DOMAINS.get(vcpu.dom) {
            schedule::refile(&dom, vcpu);
        }
    }
    fn sched_params_changed(&self, dom: &Domain) {
        for v in dom.vcpus.iter() {
            schedule::refile(dom, v);
        }
    }
    fn pool_changed(&self, cpu: u32, ratelimit_us: u32) {
        schedule::set_ratelimit(cpu, ratelimit_us);
    }
    fn vcpu_runtime_ns(&self, vcpu: &Vcpu) -> u64 {
        schedule::runtime_ns(vcpu)
    }
    fn release_one_mapping(&self, dom: &Arc<Domain>) -> bool {
        hypercall::grant_table::release_one(self, dom)
    }
    fn flush_tlb_local(&self) {
        tlb::flush_local();
    }
    fn flush_page_local(&self, gva: u64) {
        tlb::flush_page_local(gva);
    }
    fn flush_tlb_mask(&self, cpus: CpuMask, gva: Option<u64>) {
        tlb::flush_mask(cpus, gva);
    }
    fn p2m_format(&self) -> ::mm::p2m::Format {
        vendor::format()
    }
    fn flush_p2m(&self, dom: &Domain) {
        crate::hvm::p2m::flush(dom);
    }
    fn time_area_changed(&self, _dom: &Domain, vcpu: &Vcpu) {
        if is_current(vcpu) {
            guest_time::write_secondary(vcpu);
        }
    }
    fn vcpu_info_moved(&self, _dom: &Domain, vcpu: &Vcpu) {
        guest_time::write_clock(vcpu);
        if is_current(vcpu) {
            context::set_upcall(vcpu);
        }
    }
    fn reload_cr3(&self, vcpu: &Vcpu) {
        if is_current(vcpu) {
            context::load_root(vcpu);
        }
    }
    fn reload_descriptors(&self, vcpu: &Vcpu) {
        if is_current(vcpu) {
            context::load_descriptors(vcpu);
        }
    }
    fn set_segment_base(&self, which: SegmentBase, value: u64) -> Result<(), Errno> {
        context::set_segment_base(which, value)
    }
    fn set_task_switched(&self, on: bool) {
        context::set_ts(on);
    }
    fn load_debug_register(&self, reg: u32, value: u64) {
        context::load_debug_register(reg, value);
    }
    fn console_write(&self, dom: DomId, bytes: &[u8]) {
        crate::guest_console::write(dom, bytes);
    }
    fn console_read(&self, buf: &mut [u8]) -> usize {
        let mut queue = TYPED.lock();
        let mut n = 0;
        for slot in buf.iter_mut() {
            let Some(byte) = queue.pop_front() else { break };
            *slot = byte;
            n += 1;
        }
        n
    }
    fn console_ring(
        &self,
        buf: &mut [u8],
        index: u32,
        incremental: bool,
        clear: bool,
    ) -> (usize, u32) {
        crate::guest_console::read_ring(buf, index, incremental, clear)
    }
    fn debug_key(&self, key: u8) {
        crate::debug_keys::handle(key);
    }
    fn command_line(&self) -> &str {
        crate::arch::x86::boot::info().cmdline
    }
    fn machine_shutdown(&self, reason: u32) {
        log::info!("Domain-0 stops the machine, reason {reason}");
        match reason {
            SHUTDOWN_POWEROFF => power::machine_poweroff(),
            SHUTDOWN_REBOOT | SHUTDOWN_WATCHDOG => power::machine_reset(),
            _ => crate::panic::fatal("Domain-0 crashed"),
        }
    }
    fn irqs(&self) -> &dyn IrqControl {
        &crate::guest_irq::GUEST_IRQS
    }
    fn cpu_idle_ns(&self, cpu: u32) -> u64 {
        schedule::idle_ns(cpu)
    }
    fn machine_e820(&self, index: usize) -> Option<(u64, u64, u32)> {
        let region = crate::arch::x86::boot::info().memory.regions().get(index)?;
        Some((region.start, region.end - region.start, region.kind as u32))
    }
}

/// All RAM of the machine, the hypervisor's own included.
fn ram_pages() -> u64 {
    let regions = crate::arch::x86::boot::info().memory.regions();
    let ram = regions.iter().filter(|r| r.kind == RegionKind::Ram);
    ram.map(|r| (r.end - r.start) >> 12).sum()
}

/// Is the vcpu that is loaded on this CPU a hardware-virtualised one?
#[inline]
fn hardware_guest() -> bool {
    cpuinfo::current().is_some_and(|(_, v)| v.hvm.is_some())
}

fn is_current(v: &Vcpu) -> bool {
    cpuinfo::current().is_some_and(|(_, me)| core::ptr::eq(me, v))
}

/// The host's feature words in the order `xl info` prints them: 1d 1c e1d e1c Da1 7b0 7c0 e7d.
fn hw_caps() -> [u32; 8] {
    let leaf = emulate::native_cpuid;
    let max = leaf(0, 0)[0];
    let ext = leaf(0x8000_0000, 0)[0];
    let pick = |have: bool, l: u32, s: u32, r: usize| if have { leaf(l, s)[r] } else { 0 };
    [
        pick(max >= 1, 1, 0, 3),
        pick(max >= 1, 1, 0, 2),
        pick(ext >= 0x8000_0001, 0x8000_0001, 0, 3),
        pick(ext >= 0x8000_0001, 0x8000_0001, 0, 2),
        pick(max >= 0xd, 0xd, 1, 0),
        pick(max >= 7, 7, 0, 1),
        pick(max >= 7, 7, 0, 2),
        pick(ext >= 0x8000_0007, 0x8000_0007, 0, 3),
    ]
}

/// Copies bytes that a guest may be changing: not a Rust-level read, so that no race is one.
///
/// # Safety
/// Both ranges must be valid for `len` bytes.
unsafe fn raw_copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "rep movsq", "mov rcx, {tail}", "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len / 8 => _, inout("rsi") src => _, inout("rdi") dst => _,
            options(nostack, preserves_flags)
        )
    };
}
