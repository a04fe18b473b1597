//! What the pure crates ask of the machine: [`Host`]. The hypervisor implements it on real hardware, the
//! loopback tests on plain vectors.
use crate::tsc::Scaling;
use crate::{CpuidPolicy, CpuidResult, Domain, Vcpu};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use mm::{FrameTable, Heap};
use xen_abi::{DomId, Errno, Mfn};

/// Bit set of physical CPUs, bit n = CPU n; 64 CPUs are supported.
pub type CpuMask = u64;

/// A guest address that could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        Errno::EFAULT
    }
}

/// Which segment base `set_segment_base` loads (`SEGBASE_*` of public/arch-x86/xen.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentBase {
    /// %fs base.
    Fs,
    /// %gs base of the guest's user mode (the inactive one while its kernel runs).
    GsUser,
    /// %gs base of the guest's kernel.
    GsKernel,
    /// Load a selector into the user-mode %gs.
    GsUserSelector,
}

/// Facts about the machine that guests are told.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostInfo {
    /// Online physical CPUs.
    pub cpus: u32,
    /// Threads per core.
    pub threads_per_core: u32,
    /// Cores per socket.
    pub cores_per_socket: u32,
    /// TSC frequency in kHz.
    pub cpu_khz: u32,
    /// All RAM in pages.
    pub total_pages: u64,
    /// One past the highest RAM frame.
    pub max_mfn: u64,
    /// pvclock multiplier (fixed point, 32 fractional bits).
    pub tsc_mul: u32,
    /// pvclock shift.
    pub tsc_shift: i8,
    /// Hardware-assisted guests can be created (VT-x or AMD-V, with nested paging).
    pub hvm: bool,
    /// CPUID leaf words for `hw_caps`.
    pub hw_cap: [u32; 8],
}

/// A region of UEFI's memory map that is not free RAM.
#[derive(Clone, Copy, Debug, Default)]
pub struct EfiRegion {
    /// First byte.
    pub start: u64,
    /// First byte after.
    pub end: u64,
    /// `EFI_MEMORY_TYPE`.
    pub kind: u32,
    /// Attributes.
    pub attributes: u64,
}

/// What UEFI left behind when it started the machine, for dom0.
#[derive(Clone, Debug, Default)]
pub struct EfiInfo {
    /// Revision of the UEFI specification: major in the upper half.
    pub version: u32,
    /// The firmware's own revision.
    pub firmware_revision: u32,
    /// Revision of the runtime services.
    pub runtime_version: u32,
    /// Physical address of the configuration tables: a GUID and an address each.
    pub config_tables: u64,
    /// Number of configuration tables.
    pub config_count: u32,
    /// Vendor's name in UTF-16, with a terminating zero.
    pub vendor: Vec<u16>,
    /// What lies where, but for free RAM.
    pub regions: Vec<EfiRegion>,
}

/// The machine under the pure crates. All methods are callable with interrupts off from any CPU.
pub trait Host: mm::Platform + Sync + 'static {
    /// The global frame table.
    fn frames(&self) -> FrameTable<'static>;
    /// All domains.
    fn domains(&self) -> &crate::Registry;
    /// Runs `f` on the buddy allocator of free RAM, under its lock.
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap<'static>) -> R) -> R;
    /// One byte of a RAM frame, shared with its guest; `None` outside RAM or the frame.
    fn shared_u8(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU8>;
    /// An aligned 32-bit word of a RAM frame, shared with its guest.
    fn shared_u32(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU32>;
    /// An aligned 64-bit word of a RAM frame, shared with its guest.
    fn shared_u64(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU64>;
    /// Two consecutive aligned 32-bit words (a grant entry).
    fn shared_pair(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 2]>;
    /// Sixteen consecutive aligned 32-bit words (FIFO queue heads).
    fn shared_heads(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 16]>;
    /// Fills a frame with zeroes.
    fn zero_frame(&self, mfn: Mfn);
    /// Copies bytes out of a frame; the range must lie inside it, or [`Fault`].
    fn read_frame(&self, mfn: Mfn, offset: usize, buf: &mut [u8]) -> Result<(), Fault>;
    /// Copies bytes into a frame; the range must lie inside it, or [`Fault`].
    fn write_frame(&self, mfn: Mfn, offset: usize, buf: &[u8]) -> Result<(), Fault>;
    /// Copies bytes from a place in a frame to one in another (or the same: then what overlaps is unspecified); both ranges
    /// must lie inside their frames, or [`Fault`].
    fn copy_frame(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize) -> Result<(), Fault>;
    /// Machine-to-physical table, one entry per RAM frame.
    fn m2p_get(&self, mfn: Mfn) -> u64;
    /// The first frame of 2 MiB of that table, which the control domain may map to read; `None` where it has no memory of its own.
    fn m2p_extent(&self, index: u64) -> Option<Mfn> {
        let _ = index;
        None
    }
    /// Sets a machine-to-physical entry; frames outside RAM are ignored.
    fn m2p_set(&self, mfn: Mfn, pfn: u64);

    /// Reads the current guest's virtual memory.
    fn copy_from_guest(&self, buf: &mut [u8], gva: u64) -> Result<(), Fault>;
    /// Writes the current guest's virtual memory.
    fn copy_to_guest(&self, gva: u64, buf: &[u8]) -> Result<(), Fault>;

    /// Nanoseconds since boot.
    fn now_ns(&self) -> u64;
    /// Current TSC value.
    fn tsc(&self) -> u64;
    /// How the CPU multiplies the TSC for hardware-virtualised guests; `None`: not at all.
    fn tsc_scaling(&self) -> Option<Scaling> {
        None
    }
    /// Nanoseconds since the Unix epoch at boot (`now_ns` 0).
    fn wallclock_base_ns(&self) -> u64;
    /// Sets the wall clock base (platform_op settime).
    fn set_wallclock_base_ns(&self, ns: u64);
    /// What guests are told of the machine.
    fn info(&self) -> HostInfo;

    /// Something that `vcpu` waits for happened (event, unpause): wake it or make its CPU look.
    fn kick(&self, vcpu: &Vcpu);
    /// The vcpu may no longer run (pause, down): make its CPU let go, without waiting.
    fn preempt(&self, vcpu: &Vcpu);
    /// Waits until `vcpu` runs nowhere and its state is saved in memory. The caller holds no lock.
    fn wait_descheduled(&self, vcpu: &Vcpu);
    /// Has the current vcpu, a hardware-virtualised one, interrupts on?
    fn interrupts_on(&self) -> bool;
    /// The current vcpu should give way before it returns to the guest.
    fn reschedule(&self);
    /// (Re-)arms the one-shot timer of a vcpu from its `timer_ns`.
    fn vcpu_timer_changed(&self, vcpu: &Vcpu);
    /// A vcpu was created and may be scheduled once it is unpaused.
    fn vcpu_created(&self, dom: &Arc<Domain>, vcpu: &Vcpu) -> Result<(), Errno>;
    /// A domain's vcpus leave the scheduler for good.
    fn domain_retired(&self, dom: &Domain);
    /// Affinity of a vcpu changed.
    fn affinity_changed(&self, vcpu: &Vcpu);
    /// CPU time the vcpu has used, including what it is using now.
    fn vcpu_runtime_ns(&self, vcpu: &Vcpu) -> u64;

    /// Gives back one grant that `dom` has mapped; `false` when none is left. (`hypercall::grant_table` knows how.)
    fn release_one_mapping(&self, dom: &Arc<Domain>) -> bool;
    /// Flushes this CPU's whole TLB (guest part).
    fn flush_tlb_local(&self);
    /// Flushes one address on this CPU.
    fn flush_page_local(&self, gva: u64);
    /// Flushes the TLBs of `cpus` (one page when `gva` is given) and waits.
    fn flush_tlb_mask(&self, cpus: CpuMask, gva: Option<u64>);

    /// In which format nested page tables are walked here.
    fn p2m_format(&self) -> mm::p2m::Format {
        mm::p2m::Format::Npt
    }
    /// Returns once no CPU holds a translation that `dom`'s nested page tables gave before the call: its vcpus have left the
    /// guest since, or never ran. Called with no lock held that a vcpu's exit could wait for.
    fn flush_p2m(&self, dom: &Domain);

    /// The vcpu's secondary time area was registered or cleared: write the present time there.
    fn time_area_changed(&self, dom: &Domain, vcpu: &Vcpu);
    /// The vcpu's info moved to another page.
    fn vcpu_info_moved(&self, dom: &Domain, vcpu: &Vcpu);
    /// Loads the current vcpu's address space after its base pointers changed.
    fn reload_cr3(&self, vcpu: &Vcpu);
    /// Loads the current vcpu's descriptor tables after they changed.
    fn reload_descriptors(&self, vcpu: &Vcpu);
    /// Loads a segment base of the current vcpu; `Err` when not canonical or a bad selector.
    fn set_segment_base(&self, which: SegmentBase, value: u64) -> Result<(), Errno>;
    /// Sets or clears CR0.TS for the current vcpu.
    fn set_task_switched(&self, on: bool);
    /// Loads a debug register of the current vcpu.
    fn load_debug_register(&self, reg: u32, value: u64);

    /// Prints guest console output (dom0's console_io, or a debug console).
    fn console_write(&self, dom: DomId, bytes: &[u8]);
    /// Takes typed characters that were addressed to dom0.
    fn console_read(&self, buf: &mut [u8]) -> usize;
    /// Copies the console ring from logical `index`; returns (bytes, next index).
    fn console_ring(
        &self,
        buf: &mut [u8],
        index: u32,
        incremental: bool,
        clear: bool,
    ) -> (usize, u32);
    /// Handles debug keys (`xl debug-keys`).
    fn debug_key(&self, key: u8);
    /// The hypervisor's own command line.
    fn command_line(&self) -> &str;

    /// dom0 asked for the machine to stop or restart (`SHUTDOWN_*`); does not return on hardware.
    fn machine_shutdown(&self, reason: u32);
    /// Interrupt plumbing of dom0's devices.
    fn irqs(&self) -> &dyn IrqControl;
    /// Idle time of a CPU in nanoseconds, for `getcpuinfo`.
    fn cpu_idle_ns(&self, cpu: u32) -> u64;
    /// `machine_memory_map`: (start, length, e820 type).
    fn machine_e820(&self, index: usize) -> Option<(u64, u64, u32)>;

    /// The CPUID instruction of this machine.
    fn host_cpuid(&self, _leaf: u32, _subleaf: u32) -> CpuidResult {
        [0; 4]
    }
    /// What CPUID shows a new PV domain, and the most that the toolstack may set for one.
    fn default_cpuid(&self) -> CpuidPolicy {
        CpuidPolicy::default()
    }
    /// What CPUID shows a new hardware-virtualised domain, and the most that the toolstack may set for one.
    fn default_hvm_cpuid(&self) -> CpuidPolicy {
        CpuidPolicy::default()
    }
    /// (APIC id, ACPI id) of an online CPU.
    fn cpu_ids(&self, cpu: u32) -> Option<(u32, u32)> {
        (cpu < self.info().cpus).then_some((cpu, cpu))
    }
    /// What UEFI left behind, if it started the machine.
    fn efi(&self) -> Option<&EfiInfo> {
        None
    }
    /// Weight or cap of a domain changed.
    fn sched_params_changed(&self, _dom: &Domain) {}
    /// A CPU has another pool, or that pool another rate limit (microseconds).
    fn pool_changed(&self, _cpu: u32, _ratelimit_us: u32) {}
}

/// An MSI or MSI-X source as `PHYSDEVOP_map_pirq` names it.
#[derive(Clone, Copy, Debug)]
pub struct MsiSource {
    /// PCI segment.
    pub segment: u16,
    /// Bus number.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// MSI-X entry number (0 for MSI).
    pub entry: u16,
    /// Physical address of the MSI-X table, 0 for plain MSI.
    pub table_base: u64,
    /// How many consecutive vectors (multi-message MSI).
    pub count: u32,
}

/// Interrupts of devices that belong to a domain.
pub trait IrqControl {
    /// Number of GSIs; irqs at or above it are MSIs.
    fn nr_gsis(&self) -> u32;
    /// The interrupt for a GSI, creating its descriptor on first use.
    fn gsi_irq(&self, gsi: u32) -> Result<u32, Errno>;
    /// Programs an MSI or MSI-X source and returns its interrupt (masked until bound).
    fn msi_irq(&self, source: &MsiSource) -> Result<u32, Errno>;
    /// Takes an MSI interrupt down.
    fn release_msi(&self, irq: u32);
    /// Trigger and polarity of a GSI as dom0 learnt it from ACPI (1 = level, 1 = low).
    fn setup_gsi(&self, gsi: u32, level: bool, low: bool) -> Result<(), Errno>;
    /// Delivers this interrupt to a domain's pirq from now on.
    fn bind(&self, irq: u32, dom: DomId, pirq: u32, shareable: bool) -> Result<(), Errno>;
    /// Stops delivering.
    fn unbind(&self, irq: u32, dom: DomId);
    /// The guest has handled the interrupt (level triggered).
    fn eoi(&self, irq: u32);
    /// Whether the guest must tell when it is done.
    fn needs_eoi(&self, irq: u32) -> bool;
    /// Reads an IO-APIC register for `PHYSDEVOP_apic_read`.
    fn apic_read(&self, base: u64, reg: u32) -> Result<u32, Errno>;
    /// PCI configuration space, for `pci_device_add` and MSI restore.
    fn restore_msi(&self, segment: u16, bus: u8, devfn: u8) -> Result<(), Errno>;
    /// I/O port access on behalf of a privileged guest: read `size` bytes.
    fn port_read(&self, port: u16, size: u8) -> u32;
    /// I/O port access on behalf of a privileged guest: write `size` bytes.
    fn port_write(&self, port: u16, size: u8, value: u32);
}
