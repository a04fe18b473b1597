//! Where the domain builder jumps to: the Xen notes, a stack, then the deed that the command line names.

use crate::{console, forge, hammer, hv, leaks, misdeeds, mmu, say, wild};
use core::arch::global_asm;
use xen_abi::start_info::StartInfo;

global_asm!(
    ".macro xen_note type, text",
    "  .balign 4",
    "  .long 4, 3f - 2f, \\type",
    "  .asciz \"Xen\"",
    "2: .asciz \"\\text\"",
    "3: .balign 4",
    ".endm",
    ".macro xen_note_word type, value",
    "  .balign 4",
    "  .long 4, 8, \\type",
    "  .asciz \"Xen\"",
    "  .quad \\value",
    ".endm",
    ".section .note.Xen, \"a\", @note",
    "xen_note 6, corten-microguest",
    "xen_note 8, generic",
    "xen_note 5, xen-3.0",
    "xen_note 9, yes",
    "xen_note_word 3, 0xffffffff80000000",
    "xen_note_word 4, 0",
    "xen_note_word 1, start",
    ".text",
    ".globl start",
    "start:",
    "  cld",
    "  lea rsp, [rip + {stack} + {size}]",
    "  xor ebp, ebp",
    "  mov rdi, rsi",
    "  call {main}",
    "  ud2",
    stack = sym STACK,
    size = const STACK_SIZE,
    main = sym main,
);

const STACK_SIZE: usize = 64 << 10;

#[repr(C, align(4096))]
struct Stack(#[allow(dead_code)] [u8; STACK_SIZE]);
static mut STACK: Stack = Stack([0; STACK_SIZE]);

extern "C" fn main(info: &'static StartInfo) -> ! {
    mmu::init(info);
    console::init(info);
    let end = info.cmd_line.iter().position(|b| *b == 0).unwrap_or(0);
    let mut words = core::str::from_utf8(&info.cmd_line[..end])
        .unwrap_or("")
        .split_whitespace();
    let deed = words.next().unwrap_or("hello");
    let number = words.next().and_then(|w| w.parse().ok()).unwrap_or(1);
    say!("microguest: {deed} {number}, {} pages", info.nr_pages);
    match deed {
        "hello" => {}
        "poweroff" => hv::shutdown(xen_abi::sched::SHUTDOWN_POWEROFF),
        "crash" => hv::shutdown(xen_abi::sched::SHUTDOWN_CRASH),
        "fault" => misdeeds::fault(),
        "bad-trap-table" => misdeeds::bad_trap_table(),
        "bad-stack" => misdeeds::bad_stack(),
        "mute" => misdeeds::mute(info),
        "flood" => misdeeds::flood(),
        "poke" => forge::poke(),
        "forge" => forge::run(info),
        "hammer" => hammer::run(info, number),
        "instructions" => wild::instructions(),
        "registers" => wild::registers(),
        "addresses" => wild::addresses(),
        "irets" => wild::irets(info, number),
        "pointers" => wild::pointers(),
        "tables" => wild::tables(number),
        "leaks" => leaks::run(info),
        "poll" => leaks::poll(),
        "tick" => leaks::tick(),
        "all" => all(info, number),
        "context" => leaks::context(info, number),
        _ => say!("microguest: no such deed"),
    }
    say!("microguest: done");
    loop {
        hv::sleep();
    }
}

/// All that must be refused and survived.
fn all(info: &StartInfo, seed: u64) {
    wild::instructions();
    wild::registers();
    wild::addresses();
    wild::irets(info, seed);
    wild::tables(seed);
    leaks::poll();
    wild::pointers();
    leaks::run(info);
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say!("microguest: {info}");
    hv::shutdown(xen_abi::sched::SHUTDOWN_CRASH)
}
