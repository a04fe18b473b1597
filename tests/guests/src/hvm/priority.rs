//! Task priority: what CR8 keeps back comes as soon as CR8 lets it, though writing that is no exit.

use super::cpu;
use crate::probe::probe;
use crate::say;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Turns of the loop of [`lower`].
static TURNS: AtomicU64 = AtomicU64::new(0);
/// How many it takes at most: far longer than anything else that makes this guest exit.
const LONG: u64 = 3_000_000;
/// And those that may pass before an interrupt is delivered.
const AT_ONCE: u64 = 1_000;

fn set_priority(class: u64) {
    // SAFETY: keeps interrupts back, or lets them come; the handlers lead to the probe.
    unsafe { asm!("mov cr8, {}", in(reg) class) }
}

fn priority_class() -> u64 {
    let class: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr8", out(reg) class) };
    class
}

/// With interrupts on, sets the priority, then does nothing that is an exit.
extern "C" fn lower(class: u64) {
    // SAFETY: an interrupt's handler leads to the probe.
    unsafe {
        asm!("sti", "nop", "mov cr8, {class}", "2:", "inc qword ptr [{turns}]", "cmp qword ptr [{turns}], {long}", "jb 2b", "cli",
            class = in(reg) class, turns = in(reg) TURNS.as_ptr(), long = in(reg) LONG)
    }
}

/// Does an interrupt come, and how late, when the priority becomes this?
fn comes(class: u64) -> Option<u64> {
    TURNS.store(0, Relaxed);
    probe(lower, class).then(|| TURNS.load(Relaxed))
}

pub fn priority() {
    let mut wrong = 0u32;
    let mut check = |what: &str, right: bool| {
        if !right {
            wrong += 1;
            say!("priority: WRONG: {what}");
        }
    };
    for round in 0..3 {
        set_priority(15);
        check("CR8 is what was written", priority_class() == 15);
        let vector = cpu::interrupt_self();
        let class = u64::from(vector >> 4);
        check("kept back by the highest", comes(15).is_none());
        check("kept back by its own class", comes(class).is_none());
        let late = comes(class - 1);
        say!("priority: round {round}: {late:?} turns late");
        check("comes at once", late.is_some_and(|turns| turns < AT_ONCE));
        check("CR8 stays", priority_class() == class - 1);
        cpu::end_interrupt();
        check("comes once", comes(0).is_none());
    }
    say!("priority: {wrong} wrong");
}
