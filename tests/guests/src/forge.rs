//! Forbidden page-table entries and the like. Each attempt must be refused; one that is not is a `BREACH`.

use crate::hv::call;
use crate::mmu::{self, RO, RW};
use crate::say;
use xen_abi::hypercall::{MMUEXT_OP, SET_GDT, UPDATE_VA_MAPPING};
use xen_abi::mmu::{
    MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT,
    MMUEXT_UNPIN_TABLE, MmuextOp,
};
use xen_abi::start_info::StartInfo;

const DOMID_SELF: u64 = 0x7ff0;
/// `MMU_MACHPHYS_UPDATE`.
const MACHPHYS: u64 = 1;

#[derive(Default)]
struct Score {
    refused: u32,
    breaches: u32,
}

impl Score {
    fn refuses(&mut self, what: &str, result: i64) {
        if result < 0 {
            self.refused += 1;
        } else {
            self.breaches += 1;
            say!("forge: BREACH: {what} returned {result}");
        }
    }
}

fn ext(cmd: u32, arg1: u64, arg2: u64) -> i64 {
    let mut op = MmuextOp {
        cmd,
        _pad4: 0,
        arg1,
        arg2,
    };
    call(MMUEXT_OP, [&raw mut op as u64, 1, 0, DOMID_SELF, 0])
}

/// Tries everything and reports.
pub fn run(info: &StartInfo) {
    let mut score = Score::default();
    tables(&mut score, info);
    frames(&mut score, info);
    let restored = mmu::map_window((mmu::window_mfn() << 12) | RW);
    say!(
        "forge: {} refused, {} BREACHES, window restored {restored}",
        score.refused,
        score.breaches
    );
}

/// Page tables writable, of the wrong shape, or in the hypervisor's own range.
fn tables(score: &mut Score, info: &StartInfo) {
    let l4 = mmu::virt_to_mfn(info.pt_base);
    let data = mmu::window_mfn();
    let l1_entry = mmu::entry_of(mmu::window(), 1);
    let l2_entry = mmu::entry_of(mmu::window(), 2);
    let l3_entry = mmu::entry_of(mmu::window(), 3);
    let l1 = l1_entry >> 12;
    // A data page full of present entries: frames we do not own.
    for i in 0..512 {
        // SAFETY: the window is our own data page and mapped writable here.
        unsafe {
            (mmu::window() as *mut u64)
                .add(i)
                .write_volatile((0x10_0000 + i as u64) << 12 | RW)
        }
    }
    score.refuses(
        "an L4 mapped writable",
        mmu::update(l1_entry, l4 << 12 | RW),
    );
    score.refuses(
        "an L1 mapped writable",
        mmu::update(l1_entry, l1 << 12 | RW),
    );
    score.refuses("a superpage", mmu::update(l2_entry, l1 << 12 | RW | 0x80));
    score.refuses("an L1 used as an L2", mmu::update(l3_entry, l1 << 12 | RW));
    score.refuses(
        "a data page used as an L1",
        mmu::update(l2_entry, data << 12 | RW),
    );
    for slot in [256, 257, 261, 271] {
        score.refuses(
            "an L4 slot of the hypervisor",
            mmu::update((l4 << 12) + slot * 8, l1 << 12 | RW),
        );
    }
    score.refuses(
        "a data page pinned as an L4",
        ext(MMUEXT_PIN_L4_TABLE, data, 0),
    );
    score.refuses(
        "a data page pinned as an L1",
        ext(MMUEXT_PIN_L1_TABLE, data, 0),
    );
    score.refuses("an L4 pinned as an L1", ext(MMUEXT_PIN_L1_TABLE, l4, 0));
    score.refuses("a data page as the root", ext(MMUEXT_NEW_BASEPTR, data, 0));
    score.refuses(
        "unpinning what is not pinned",
        ext(MMUEXT_UNPIN_TABLE, data, 0),
    );
    score.refuses(
        "an LDT beyond limits",
        ext(MMUEXT_SET_LDT, mmu::window(), 1 << 20),
    );
    for (what, va) in [
        ("M2P", 0xffff_8000_0000_0000),
        ("the hypervisor", 0xffff_82d0_4000_0000_u64),
    ] {
        score.refuses(
            what,
            call(UPDATE_VA_MAPPING, [va, data << 12 | RW, 0, 0, 0]),
        );
    }
    let gdt = [l4];
    score.refuses(
        "an L4 as a GDT",
        call(SET_GDT, [gdt.as_ptr() as u64, 512, 0, 0, 0]),
    );
    score.refuses(
        "a GDT over the hypervisor's entries",
        call(SET_GDT, [gdt.as_ptr() as u64, 8192, 0, 0, 0]),
    );
}

/// Frames that are not ours: mapped, written through the update call, claimed in the m2p.
fn frames(score: &mut Score, info: &StartInfo) {
    let l1_entry = mmu::entry_of(mmu::window(), 1);
    let shared = info.shared_info >> 12;
    let odd = [1 << 20, 1 << 30, (1 << 36) + 5, (1 << 40) - 1];
    // 2 GiB in steps that are no power of two.
    for mfn in (0..0x80000).step_by(1021).chain(odd) {
        if mfn == shared || mmu::is_ours(mfn) {
            continue;
        }
        score.refuses(
            "a foreign frame mapped writable",
            mmu::update(l1_entry, mfn << 12 | RW),
        );
        score.refuses(
            "a foreign frame mapped",
            mmu::update(l1_entry, mfn << 12 | RO),
        );
        score.refuses("a write into a foreign frame", mmu::update(mfn << 12, 0));
        score.refuses(
            "a foreign frame's m2p",
            mmu::update(mfn << 12 | MACHPHYS, 1),
        );
    }
}

/// Writes a forbidden entry with a plain store, as kernels update page tables.
pub fn poke() {
    let machine = mmu::entry_of(mmu::window(), 1);
    let entry = mmu::mfn_to_virt(machine >> 12) + (machine & 0xfff);
    say!("microguest: storing a forbidden entry");
    // SAFETY: the table is mapped, though read-only: the store faults into the hypervisor, which must not let it through.
    unsafe { (entry as *mut u64).write_volatile((machine & !0xfff) | RW) }
    // SAFETY: as above; reading is allowed.
    let now = unsafe { (entry as *const u64).read_volatile() };
    let breach = if now & !0xfff == machine & !0xfff {
        "BREACH"
    } else {
        "not stored"
    };
    say!("microguest: {breach} {now:#x}");
}
