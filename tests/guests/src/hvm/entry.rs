//! PVH entry: 32-bit, unpaged, start info in `ebx`. The first 4 GiB are mapped where they are, and at the link address.

use super::{cpu, deeds, dom0};
use crate::{console, hv, say};
use core::arch::global_asm;
use xen_abi::hvm::StartInfo;
use xen_abi::start_info::SIF_INITDOMAIN;

global_asm!(
    ".section .note.Xen, \"a\", @note",
    "  .balign 4",
    "  .long 4, 8, 18",
    "  .asciz \"Xen\"",
    "  .quad pvh_start - {base}",
    ".bss",
    "  .balign 4096",
    "pvh_tables: .skip 6 * 4096",
    ".data",
    "  .balign 8",
    // Null; 8: 64-bit code; 0x10: data; 0x18: nothing; 0x20: user data; 0x28: user 64-bit code; 0x30: task.
    ".globl hvm_gdt",
    "hvm_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0",
    "pvh_gdt_ptr: .word 63",
    "  .long hvm_gdt - {base}",
    ".text",
    ".code32",
    "pvh_start:",
    "  cld",
    "  mov esi, ebx",
    "  xor ebp, ebp",
    // Page directories: 2048 large pages, for user mode too.
    "  mov edi, offset pvh_tables - {base} + 0x2000",
    "  mov eax, 0xe7",
    "  mov ecx, 2048",
    "2: mov dword ptr [edi], eax",
    "  mov dword ptr [edi + 4], 0",
    "  add eax, 0x200000",
    "  add edi, 8",
    "  dec ecx",
    "  jnz 2b",
    "  mov edi, offset pvh_tables - {base}",
    "  lea eax, [edi + 0x1027]",
    "  mov dword ptr [edi], eax",
    "  mov dword ptr [edi + 511 * 8], eax",
    "  lea eax, [edi + 0x2027]",
    "  mov dword ptr [edi + 0x1000], eax",
    "  mov dword ptr [edi + 0x1000 + 510 * 8], eax",
    "  add eax, 0x1000",
    "  mov dword ptr [edi + 0x1008], eax",
    "  add eax, 0x1000",
    "  mov dword ptr [edi + 0x1010], eax",
    "  add eax, 0x1000",
    "  mov dword ptr [edi + 0x1018], eax",
    "pvh_paging:",
    "  mov cr3, edi",
    "  mov eax, 0x20",
    "  mov cr4, eax",
    "  mov ecx, 0xc0000080",
    "  rdmsr",
    "  or eax, 0x100",
    "  wrmsr",
    "  mov eax, 0x80000011",
    "  mov cr0, eax",
    "  mov eax, offset pvh_gdt_ptr - {base}",
    "  lgdt [eax]",
    // jmp 8:pvh_long
    "  .byte 0xea",
    "  .long pvh_long - {base}",
    "  .word 8",
    ".code64",
    "pvh_long:",
    "  mov eax, 0x10",
    "  mov ds, eax",
    "  mov es, eax",
    "  mov ss, eax",
    "  movabs rax, offset pvh_high",
    "  jmp rax",
    "pvh_high:",
    "  test ebp, ebp",
    "  jnz 3f",
    "  lea rsp, [rip + {stack} + {size}]",
    "  mov edi, esi",
    "  call {main}",
    "  ud2",
    "3: lea rsp, [rip + {second_stack} + {size}]",
    "  xor ebp, ebp",
    "  call {second}",
    "  ud2",
    // The second vcpu in 32-bit mode, with the tables that the first has made.
    ".code32",
    ".globl pvh_second",
    "pvh_second:",
    "  mov eax, 0x10",
    "  mov ds, eax",
    "  mov es, eax",
    "  mov ss, eax",
    "  mov edi, offset pvh_tables - {base}",
    "  mov ebp, 1",
    "  jmp pvh_paging",
    ".code64",
    base = const 0xffff_ffff_8000_0000_u64,
    stack = sym STACK,
    second_stack = sym SECOND_STACK,
    second = sym super::remap::second,
    size = const STACK_SIZE,
    main = sym main,
);

const STACK_SIZE: usize = 64 << 10;

#[repr(C, align(4096))]
struct Stack(#[allow(dead_code)] [u8; STACK_SIZE]);
static mut STACK: Stack = Stack([0; STACK_SIZE]);
static mut SECOND_STACK: Stack = Stack([0; STACK_SIZE]);

unsafe extern "C" {
    static pvh_second: u8;
}

/// Where the start-up interrupt sends the second vcpu: a page of low memory that nothing else is in.
const TRAMPOLINE: u64 = 0x8000;

/// Starts vcpu 1, which goes on in [`super::remap::second`].
pub fn start_second() {
    const BASE: u64 = 0xffff_ffff_8000_0000;
    let entry = (&raw const pvh_second as u64 - BASE) as u32;
    // cli; xor ax, ax; mov ds, ax; lgdt [table]; mov eax, PE | ET; mov cr0, eax; jmp 32-bit code
    let mut code = [
        0xfa,
        0x31,
        0xc0,
        0x8e,
        0xd8,
        0x66,
        0x0f,
        0x01,
        0x16,
        0x20,
        0x80,
        0x66,
        0xb8,
        0x11,
        0,
        0,
        0,
        0x0f,
        0x22,
        0xc0,
        0x66,
        0xea,
        0,
        0,
        0,
        0,
        cpu::CODE32,
        0,
        0,
        0,
        0,
        0,
        63,
        0,
        0,
        0,
        0,
        0,
    ];
    code[22..26].copy_from_slice(&entry.to_le_bytes());
    code[34..38].copy_from_slice(&(cpu::descriptors() as u32 - BASE as u32).to_le_bytes());
    for (at, byte) in (TRAMPOLINE..).zip(code) {
        // SAFETY: our own low memory, mapped where it is, of which nothing is used.
        unsafe { (at as *mut u8).write_volatile(byte) }
    }
    cpu::start(1, (TRAMPOLINE >> 12) as u32);
}

/// Longest command line that is read.
const MAX_CMDLINE: usize = 256;

extern "C" fn main(info: &'static StartInfo) -> ! {
    hv::use_vmcall();
    console::init_hvm();
    cpu::init();
    // SAFETY: the builder put a NUL-terminated line there, all of it in mapped memory that nobody changes.
    let line = unsafe { core::slice::from_raw_parts(info.cmdline_paddr as *const u8, MAX_CMDLINE) };
    let end = line.iter().position(|b| *b == 0).unwrap_or(0);
    let mut words = core::str::from_utf8(&line[..end])
        .unwrap_or("")
        .split_whitespace();
    let deed = words.next().unwrap_or("hello");
    let number = words.next().and_then(|w| w.parse().ok()).unwrap_or(1);
    say!(
        "microguest: {deed} {number}, PVH, start info version {}, {} ranges of memory",
        info.version,
        info.memmap_entries
    );
    if info.flags & SIF_INITDOMAIN != 0 {
        dom0::run(info);
    }
    if !deeds::run(deed, number) {
        say!("microguest: no such deed");
    }
    say!("microguest: done");
    loop {
        hv::sleep();
    }
}
