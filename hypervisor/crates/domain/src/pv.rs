//! The PV architecture state of a vcpu that is not held by the CPU itself: [`PvVcpu`].
use alloc::boxed::Box;
use xen_abi::xen::{CpuUserRegs, TrapInfo};
use zerocopy::FromZeros;

/// GDT pages a guest may own (entries below `FIRST_RESERVED_GDT_ENTRY`).
pub const GDT_PAGES: usize = 14;
/// Bytes reserved for x87/SSE/AVX state; covers XSAVE up to AVX-512.
pub const FPU_BYTES: usize = 2752;

/// The extended register area, aligned as XSAVE demands.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct FpuArea(pub [u8; FPU_BYTES]);

impl FpuArea {
    /// The state after FNINIT with MXCSR at its reset value.
    pub fn reset() -> FpuArea {
        let mut area = [0u8; FPU_BYTES];
        area[0..2].copy_from_slice(&0x037fu16.to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        FpuArea(area)
    }
}

/// An entry point the guest registered (`CALLBACKOP_register`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Callback {
    /// Guest virtual address, 0 = none.
    pub address: u64,
    /// Event delivery is masked on entry.
    pub mask_events: bool,
}

/// PV state saved in memory while the vcpu does not run, and tables the CPU consults while it does.
pub struct PvVcpu {
    /// General registers; valid while the vcpu is not running.
    pub regs: CpuUserRegs,
    /// The virtual IDT; an address of 0 means "no handler".
    pub traps: Box<[TrapInfo; 256]>,
    /// Machine frames of the guest's GDT; each holds a SegDesc type reference.
    pub gdt_frames: [u64; GDT_PAGES],
    /// Descriptors in the GDT.
    pub gdt_entries: u32,
    /// Guest virtual address of the LDT.
    pub ldt_base: u64,
    /// Descriptors in the LDT, 0 = none.
    pub ldt_entries: u32,
    /// Selector of the kernel stack ([`crate::Vcpu::kernel_sp`]).
    pub kernel_ss: u64,
    /// Event delivery.
    pub event: Callback,
    /// Return to the guest failed.
    pub failsafe: Callback,
    /// 64-bit SYSCALL from user mode.
    pub syscall: Callback,
    /// 32-bit SYSCALL from user mode.
    pub syscall32: Callback,
    /// SYSENTER from user mode.
    pub sysenter: Callback,
    /// NMI.
    pub nmi: Callback,
    /// %fs base; valid while not running.
    pub fs_base: u64,
    /// %gs base of the guest kernel; valid while not running.
    pub gs_kernel: u64,
    /// %gs base of guest user mode; valid while not running.
    pub gs_user: u64,
    /// ds, es, fs, gs selectors; valid while not running.
    pub selectors: [u16; 4],
    /// CR0 as the guest believes it (TS is real).
    pub cr0: u64,
    /// CR4 as the guest believes it.
    pub cr4: u64,
    /// CR2 as set by the last page fault.
    pub cr2: u64,
    /// Debug registers 0-3, 6, 7.
    pub debug: [u64; 8],
    /// Virtual I/O privilege level.
    pub iopl: u32,
    /// Guest virtual address of the I/O bitmap.
    pub iobmp: u64,
    /// Ports it covers.
    pub iobmp_ports: u32,
    /// XCR0.
    pub xcr0: u64,
    /// FPU state; valid while not running.
    pub fpu: Box<FpuArea>,
}

impl PvVcpu {
    /// All zero but for the architectural reset values.
    pub fn new() -> PvVcpu {
        PvVcpu {
            regs: CpuUserRegs::new_zeroed(),
            traps: Box::new([TrapInfo::new_zeroed(); 256]),
            gdt_frames: [0; GDT_PAGES],
            gdt_entries: 0,
            ldt_base: 0,
            ldt_entries: 0,
            kernel_ss: 0,
            event: Callback::default(),
            failsafe: Callback::default(),
            syscall: Callback::default(),
            syscall32: Callback::default(),
            sysenter: Callback::default(),
            nmi: Callback::default(),
            fs_base: 0,
            gs_kernel: 0,
            gs_user: 0,
            selectors: [0; 4],
            cr0: 0x8000_0011 | 0x2_0020,
            cr4: 0x20,
            cr2: 0,
            debug: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            iopl: 0,
            iobmp: 0,
            iobmp_ports: 0,
            xcr0: 1,
            fpu: Box::new(FpuArea::reset()),
        }
    }
}

impl Default for PvVcpu {
    fn default() -> Self {
        Self::new()
    }
}
