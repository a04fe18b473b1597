//! The hypercall page of older PV kernels: one 32-byte stub per number.
use domain::{Fault, Host};
use xen_abi::Mfn;
use xen_abi::hypercall::{IRET, STUB_SIZE};

/// Stubs in a page.
const STUBS: usize = 4096 / STUB_SIZE;

/// `push %rcx; push %r11; mov $nr,%eax; syscall; pop %r11; pop %rcx; ret`.
fn stub(nr: u32) -> [u8; STUB_SIZE] {
    let n = nr.to_le_bytes();
    let code = [
        0x51, 0x41, 0x53, 0xb8, n[0], n[1], n[2], n[3], 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3,
    ];
    filled(&code)
}

/// `push %rcx; push %r11; push %rax; mov $23,%eax; syscall`: does not come back.
fn iret_stub() -> [u8; STUB_SIZE] {
    let n = IRET.to_le_bytes();
    filled(&[
        0x51, 0x41, 0x53, 0x50, 0xb8, n[0], n[1], n[2], n[3], 0x0f, 0x05,
    ])
}

/// `mov $nr,%eax; vmcall or vmmcall; ret`.
fn hvm_stub(nr: u32, vmcall: bool) -> [u8; STUB_SIZE] {
    let n = nr.to_le_bytes();
    let modrm = if vmcall { 0xc1 } else { 0xd9 };
    filled(&[0xb8, n[0], n[1], n[2], n[3], 0x0f, 0x01, modrm, 0xc3])
}

/// Fills a frame with hypercall stubs for a hardware-virtualised guest; `vmcall`: the CPU is an Intel one.
pub fn write_hvm_hypercall_page<H: Host>(h: &H, mfn: Mfn, vmcall: bool) -> Result<(), Fault> {
    for nr in 0..STUBS as u32 {
        // IRET is a PV guest's only.
        let code = if nr == IRET {
            filled(&[0x0f, 0x0b])
        } else {
            hvm_stub(nr, vmcall)
        };
        h.write_frame(mfn, nr as usize * STUB_SIZE, &code)?;
    }
    Ok(())
}

/// `code`, and breakpoints after it.
fn filled(code: &[u8]) -> [u8; STUB_SIZE] {
    let mut out = [0xcc; STUB_SIZE];
    for (slot, byte) in out.iter_mut().zip(code) {
        *slot = *byte;
    }
    out
}

/// Fills a frame with hypercall stubs for a PV guest. The caller holds a writable reference.
pub fn write_hypercall_page<H: Host>(h: &H, mfn: Mfn) -> Result<(), Fault> {
    for nr in 0..STUBS as u32 {
        let code = if nr == IRET { iret_stub() } else { stub(nr) };
        h.write_frame(mfn, nr as usize * STUB_SIZE, &code)?;
    }
    Ok(())
}
