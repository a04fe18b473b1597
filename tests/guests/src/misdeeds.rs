//! Ways to crash or hang.

use crate::{console, mmu, say};
use core::arch::asm;
use xen_abi::arch_x86::TrapInfo;
use xen_abi::hypercall::{CONSOLE_IO, SET_TRAP_TABLE, STACK_SWITCH};
use xen_abi::start_info::StartInfo;

/// An invalid instruction without any trap table.
pub fn fault() {
    // SAFETY: ends this guest, which is what it is asked to do.
    unsafe { asm!("ud2") }
}

/// Handlers where nothing is mapped, so that each fault faults again: what would be a triple fault on bare hardware.
pub fn bad_trap_table() {
    const FLAT_KERNEL_CS: u16 = 0xe033;
    let mut table = [TrapInfo::default(); 4];
    for (entry, vector) in table.iter_mut().zip([6, 13, 14]) {
        *entry = TrapInfo {
            vector,
            flags: 0,
            cs: FLAT_KERNEL_CS,
            _pad4: 0,
            address: 0x1_2345_6000,
        };
    }
    let result = crate::hv::call(SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]);
    say!("microguest: set_trap_table {result}");
    fault();
}

/// A kernel stack where nothing is mapped, then a fault that wants it.
pub fn bad_stack() {
    const FLAT_KERNEL_SS: u64 = 0xe02b;
    let result = crate::hv::call(STACK_SWITCH, [FLAT_KERNEL_SS, 0x1_2345_6000, 0, 0, 0]);
    say!("microguest: stack_switch {result}");
    // SAFETY: ends this guest, which is what it is asked to do.
    unsafe { asm!("mov rsp, {0}", "push rax", in(reg) 0x1_2345_6000_u64) }
}

/// Masks events for good and spins.
pub fn mute(info: &StartInfo) {
    let mapped = mmu::map_window((info.shared_info & !0xfff) | mmu::RW);
    say!("microguest: mapped shared info {mapped}; masking events, spinning");
    // SAFETY: the window now shows shared info, whose second byte is vcpu 0's evtchn_upcall_mask.
    unsafe { (mmu::window() as *mut u8).add(1).write_volatile(1) }
    loop {
        core::hint::spin_loop();
    }
}

/// Overruns the console ring and the hypervisor's own log, without end.
pub fn flood() {
    const LINE: &str = "microguest: all work and no play makes a dull guest\r\n";
    const CONSOLEIO_WRITE: u64 = 0;
    loop {
        console::shout(LINE);
        console::kick();
        crate::hv::call(
            CONSOLE_IO,
            [
                CONSOLEIO_WRITE,
                LINE.len() as u64,
                LINE.as_ptr() as u64,
                0,
                0,
            ],
        );
    }
}
