//! The architecture state of a hardware-virtualised vcpu: [`HvmVcpu`]. [`HvmState`] is where registers are while it does
//! not run, in a form that neither AMD-V nor VT-x prescribes; the local APIC is reachable from all CPUs.
use crate::Mutex;
use crate::pv::FpuArea;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU8, AtomicU64};
use vdev::Lapic;
pub use vdev::Now;
pub use vdev::vlapic::saved::{REGISTERS, Saved};
use xen_abi::xen::CpuUserRegs;
use zerocopy::FromZeros;

/// CR0: protected mode, coprocessor of the 387 kind.
const CR0_RESET: u64 = 0x10;
/// The page attribute table after reset (SDM vol. 3, 12.12.4).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// What RFLAGS holds after reset.
const RFLAGS_RESET: u64 = 2;

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Type, S, DPL, P in bits 0 to 7; AVL, L, D/B, G in bits 8 to 11.
    pub attributes: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// Which segment register, in the order of [`HvmState::segments`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

/// All of them, in order.
pub const SEGMENTS: [Seg; 8] = [
    Seg::Es,
    Seg::Cs,
    Seg::Ss,
    Seg::Ds,
    Seg::Fs,
    Seg::Gs,
    Seg::Ldtr,
    Seg::Tr,
];

/// Memory type range registers: kept for the guest; nested paging decides what memory is like.
#[derive(Clone, Copy, Debug)]
pub struct Mtrr {
    /// Base and mask of each of eight ranges.
    pub variable: [u64; 16],
    /// The eleven fixed ones.
    pub fixed: [u64; 11],
    /// Default type and enable bits.
    pub default: u64,
}

/// MTRRcap: eight variable ranges, fixed ones, write-combining.
pub const MTRR_CAP: u64 = 0x508;

/// System call entry points and what else VMLOAD and its like switch.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct SyscallMsrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
}

/// Registers while the vcpu does not run.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct HvmState {
    /// General registers, rip, rflags, rsp.
    pub regs: CpuUserRegs,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    /// Indexed by [`Seg`].
    pub segments: [Segment; 8],
    /// Base and limit; nothing else of it is used.
    pub gdtr: Segment,
    /// As `gdtr`.
    pub idtr: Segment,
    pub msrs: SyscallMsrs,
    pub tsc_aux: u64,
    pub pat: u64,
    pub mtrr: Mtrr,
    /// Debug registers 0-3, 6, 7.
    pub debug: [u64; 8],
    /// `IA32_DEBUGCTL`.
    pub debugctl: u64,
    /// AMD's records of branches: see the hypervisor's `svm`.
    pub last_branch: [u64; 4],
    pub xcr0: u64,
    pub fpu: Box<FpuArea>,
    /// No interrupt before the next instruction (STI, MOV SS).
    pub shadow: bool,
    /// NMIs wait for IRET.
    pub nmi_masked: bool,
    /// An event whose delivery was interrupted: vector, type << 8, error valid << 11, valid << 31, error << 32.
    pub pending_event: u64,
}

impl HvmState {
    /// After INIT: real mode, at the reset vector.
    pub fn reset() -> HvmState {
        let data = Segment {
            attributes: 0x93,
            limit: 0xffff,
            ..Segment::default()
        };
        let mut segments = [data; 8];
        segments[Seg::Cs as usize] = Segment {
            selector: 0xf000,
            attributes: 0x9b,
            limit: 0xffff,
            base: 0xffff_0000,
        };
        segments[Seg::Ldtr as usize].attributes = 0x82;
        segments[Seg::Tr as usize].attributes = 0x8b;
        let mut regs = CpuUserRegs::new_zeroed();
        regs.rip = 0xfff0;
        regs.rflags = RFLAGS_RESET;
        HvmState {
            regs,
            cr0: CR0_RESET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            segments,
            gdtr: Segment {
                limit: 0xffff,
                ..Segment::default()
            },
            idtr: Segment {
                limit: 0xffff,
                ..Segment::default()
            },
            msrs: SyscallMsrs::default(),
            tsc_aux: 0,
            pat: PAT_RESET,
            mtrr: Mtrr {
                variable: [0; 16],
                fixed: [0; 11],
                default: 0,
            },
            debug: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            debugctl: 0,
            last_branch: [0; 4],
            xcr0: 1,
            fpu: Box::new(FpuArea::reset()),
            shadow: false,
            nmi_masked: false,
            pending_event: 0,
        }
    }

    /// As a start-up IPI leaves it: real mode, at the first byte of page `page`.
    pub fn start_at_page(&mut self, page: u8) {
        *self = HvmState {
            mtrr: self.mtrr,
            ..HvmState::reset()
        };
        self.regs.rip = 0;
        let cs = &mut self.segments[Seg::Cs as usize];
        cs.selector = u16::from(page) << 8;
        cs.base = u64::from(page) << 12;
    }
}

/// What a hardware-virtualised vcpu has.
pub struct HvmVcpu {
    /// Registers; valid while it does not run, and locked by its own CPU or the toolstack while it is paused.
    pub state: Mutex<HvmState>,
    /// Local APIC. A leaf among the locks.
    pub lapic: Mutex<Lapic>,
    /// Vector that announces events (`HVMOP_set_evtchn_upcall_vector`), 0: none of its own.
    pub upcall_vector: AtomicU8,
    /// The address space id it ran with last and when it was given: see the hypervisor's `svm`. 0: it needs a new one.
    pub asid: AtomicU64,
}

impl HvmVcpu {
    /// Vcpu number `id` after power-on. APIC ids are twice that, as the toolstack's ACPI tables say.
    pub fn new(id: u32) -> HvmVcpu {
        HvmVcpu {
            state: Mutex::new(HvmState::reset()),
            lapic: Mutex::new(Lapic::new(id * 2, id == 0)),
            upcall_vector: AtomicU8::new(0),
            asid: AtomicU64::new(0),
        }
    }
}
