//! One CPU: features, control registers, descriptor tables.

pub mod features;
pub mod gdt;
pub mod idt;

pub use features::features;

use crate::percpu::PerCpu;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::Msr;
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// Bytes of stack per CPU; also its alignment.
pub const STACK_SIZE: usize = 64 * 1024;

/// The page attribute table Xen's ABI shows to PV guests: WB WT UC- UC WC WP UC UC.
pub const PAT: u64 = 0x0000_0501_0007_0406;
const MSR_PAT: u32 = 0x277;

/// Control registers and MSRs of the running CPU, the same on all CPUs.
pub fn init_registers() {
    let have = features();
    // SAFETY: each bit is set only where CPUID offers it, and none changes how already running code is executed;
    // the PAT's first four entries (the ones we use) keep their reset values.
    unsafe {
        Cr0::update(|cr0| {
            cr0.insert(
                Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR | Cr0Flags::MONITOR_COPROCESSOR,
            );
            cr0.remove(
                Cr0Flags::EMULATE_COPROCESSOR
                    | Cr0Flags::CACHE_DISABLE
                    | Cr0Flags::NOT_WRITE_THROUGH,
            );
        });
        Cr4::update(|cr4| {
            cr4.insert(
                Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | Cr4Flags::DEBUGGING_EXTENSIONS,
            );
            cr4.insert(Cr4Flags::MACHINE_CHECK_EXCEPTION);
            cr4.remove(
                Cr4Flags::PAGE_GLOBAL
                    | Cr4Flags::PCID
                    | Cr4Flags::FSGSBASE
                    | Cr4Flags::TIMESTAMP_DISABLE,
            );
            cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, have.smep);
            cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, have.smap);
            cr4.set(Cr4Flags::OSXSAVE, have.xsave);
        });
        Efer::update(|efer| {
            efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS | EferFlags::NO_EXECUTE_ENABLE)
        });
        if have.xsave {
            XCr0::write(XCr0Flags::from_bits_truncate(have.xcr0) | XCr0Flags::X87 | XCr0Flags::SSE);
        }
        Msr::new(MSR_PAT).write(PAT);
    }
}

/// Everything the running CPU needs before it may take interrupts: registers, GDT, TSS, IDT.
pub fn init(percpu: &'static PerCpu) {
    init_registers();
    gdt::load(percpu);
    idt::load();
}
