//! Names defined in `entry.S`.
use xen_abi::xen::CpuUserRegs;

core::arch::global_asm!(include_str!("entry.S"), options(att_syntax));

unsafe extern "C" {
    /// 256 interrupt entry points of 16 bytes.
    pub static trap_stubs: u8;
    /// 64 per-CPU SYSCALL entry points of 32 bytes.
    pub static syscall_stubs: u8;
    /// 64 per-CPU compatibility-mode SYSCALL entry points of 32 bytes.
    pub static syscall32_stubs: u8;
    /// SYSENTER entry point.
    pub static sysenter_entry: u8;
    /// Per CPU eight words: scratch, stack pointer.
    pub static mut syscall_scratch: [[u64; 8]; 64];
    /// Non-zero once CR4.SMAP is set.
    pub static mut have_smap: u8;
    /// The IRETQ that returns to a guest.
    pub static guest_iretq: u8;
    /// End of `copy_guest`: where a faulting copy resumes.
    pub static copy_guest_end: u8;
    /// RDMSR that may fault.
    pub static rdmsr_fault: u8;
    /// Where a faulting MSR access resumes.
    pub static msr_fixup: u8;
    /// Where a faulting selector load resumes.
    pub static load_selector_fixup: u8;

    /// Copies upwards; 0, or 1 after a fault.
    pub fn copy_guest(dst: *mut u8, src: *const u8, len: usize) -> u32;
    /// RDMSR; 0 on success.
    pub fn read_msr_safe(msr: u32, out: *mut u64) -> u32;
    /// Loads %fs; a bad selector leaves it unchanged.
    pub fn load_fs_selector(sel: u32);
    /// Loads %gs; a bad selector leaves it unchanged.
    pub fn load_gs_selector(sel: u32);
    /// Loads %ds; a bad selector leaves it unchanged.
    pub fn load_ds_selector(sel: u32);
    /// Loads %es; a bad selector leaves it unchanged.
    pub fn load_es_selector(sel: u32);
    /// Returns to the guest whose frame this is.
    pub fn resume_guest_at(frame: *const CpuUserRegs) -> !;
}

/// Address of an assembly label.
macro_rules! addr {
    ($name:ident) => {
        // The address of a label is all that is taken; nothing is read.
        (&raw const $crate::arch::x86::entry::symbols::$name) as u64
    };
}
pub(crate) use addr;
