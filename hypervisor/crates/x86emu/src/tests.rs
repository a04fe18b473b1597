//! Instructions as an assembler writes them, and what they should do.
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Regs {
    gpr: [u64; 16],
    rip: u64,
    flags: u64,
}

impl Regs {
    /// rax = 0x100, rcx = 0x101 and so on.
    fn new() -> Regs {
        Regs {
            gpr: core::array::from_fn(|i| 0x100 + i as u64),
            rip: 0x1000,
            flags: 2,
        }
    }
}

impl Cpu for Regs {
    fn gpr(&self, reg: Gpr) -> u64 {
        self.gpr[reg.0 as usize]
    }
    fn set_gpr(&mut self, reg: Gpr, value: u64) {
        self.gpr[reg.0 as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
    }
    fn flags(&self) -> u64 {
        self.flags
    }
    fn set_flags(&mut self, flags: u64) {
        self.flags = flags;
    }
    fn segment_base(&self, segment: Segment) -> u64 {
        if segment == Segment::Gs {
            0x7000_0000
        } else {
            0
        }
    }
}

fn private(bytes: &[u8]) -> PrivOp {
    let (op, len) = decode_priv(bytes, true).unwrap();
    assert_eq!(len, bytes.len(), "{op:?}");
    op
}

fn input(port: Port, width: Width) -> PrivOp {
    PrivOp::In { port, width }
}
fn output(port: Port, width: Width) -> PrivOp {
    PrivOp::Out { port, width }
}
fn ins(width: Width, rep: bool, addr32: bool) -> PrivOp {
    PrivOp::Ins { width, rep, addr32 }
}
#[rustfmt::skip]
fn outs(width: Width, rep: bool, segment: Segment) -> PrivOp {
    PrivOp::Outs { width, rep, addr32: false, segment }
}

#[test]
fn port_io_of_all_sizes_is_recognised() {
    use Port::*;
    use Width::*;
    let cases: &[(&[u8], PrivOp)] = &[
        (&[0xe4, 0x60], input(Imm(0x60), B1)),
        (&[0xe5, 0xcf], input(Imm(0xcf), B4)),
        (&[0x66, 0xe5, 0x10], input(Imm(0x10), B2)),
        (&[0xec], input(Dx, B1)),
        (&[0x66, 0xed], input(Dx, B2)),
        (&[0xed], input(Dx, B4)),
        (&[0x48, 0xed], input(Dx, B4)),
        (&[0xe6, 0x80], output(Imm(0x80), B1)),
        (&[0xe7, 0xff], output(Imm(0xff), B4)),
        (&[0xee], output(Dx, B1)),
        (&[0x66, 0xef], output(Dx, B2)),
        (&[0xef], output(Dx, B4)),
        (&[0x6c], ins(B1, false, false)),
        (&[0xf3, 0x66, 0x6d], ins(B2, true, false)),
        (&[0xf3, 0x6d], ins(B4, true, false)),
        (&[0x67, 0x6c], ins(B1, false, true)),
        (&[0xf3, 0x6f], outs(B4, true, Segment::Ds)),
        (&[0x65, 0x6e], outs(B1, false, Segment::Gs)),
    ];
    for (bytes, op) in cases {
        assert_eq!(private(bytes), *op, "{bytes:x?}");
    }
}

#[test]
fn instructions_without_operands_are_recognised() {
    let cases: &[(&[u8], PrivOp)] = &[
        (&[0xfa], PrivOp::Cli),
        (&[0xfb], PrivOp::Sti),
        (&[0xf4], PrivOp::Hlt),
        (&[0x0f, 0xa2], PrivOp::Cpuid { forced: false }),
        (b"\x0f\x0bxen\x0f\xa2", PrivOp::Cpuid { forced: true }),
        (&[0x0f, 0x32], PrivOp::Rdmsr),
        (&[0x0f, 0x30], PrivOp::Wrmsr),
        (&[0x0f, 0x31], PrivOp::Rdtsc),
        (&[0x0f, 0x01, 0xf9], PrivOp::Rdtscp),
        (&[0x0f, 0x33], PrivOp::Rdpmc),
        (&[0x0f, 0x06], PrivOp::Clts),
        (&[0x0f, 0x08], PrivOp::Invd),
        (&[0x0f, 0x09], PrivOp::Wbinvd),
        (&[0x0f, 0x01, 0xd1], PrivOp::Xsetbv),
    ];
    for (bytes, op) in cases {
        assert_eq!(private(bytes), *op, "{bytes:x?}");
    }
}

#[test]
fn control_and_debug_registers_are_recognised() {
    let read = |cr, to| PrivOp::ReadCr { cr, to };
    let write = |cr, from| PrivOp::WriteCr { cr, from };
    assert_eq!(private(&[0x0f, 0x20, 0xc0]), read(0, Gpr::RAX));
    assert_eq!(private(&[0x41, 0x0f, 0x20, 0xd7]), read(2, Gpr(15)));
    assert_eq!(private(&[0x0f, 0x22, 0xdf]), write(3, Gpr::RDI));
    assert_eq!(private(&[0x44, 0x0f, 0x22, 0xc0]), write(8, Gpr::RAX));
    let (dr, to, from) = (7, Gpr::RAX, Gpr::RDX);
    assert_eq!(private(&[0x0f, 0x21, 0xf8]), PrivOp::ReadDr { dr, to });
    assert_eq!(private(&[0x0f, 0x23, 0xfa]), PrivOp::WriteDr { dr, from });
}

#[test]
fn status_word_and_page_invalidation_take_registers_or_memory() {
    let from = RegMem::Reg(Gpr::RAX);
    assert_eq!(private(&[0x0f, 0x01, 0xf0]), PrivOp::Lmsw { from });
    let (to, width) = (RegMem::Reg(Gpr::RBX), Width::B4);
    assert_eq!(private(&[0x0f, 0x01, 0xe3]), PrivOp::Smsw { to, width });
    match private(&[0x0f, 0x01, 0x38]) {
        PrivOp::Invlpg(ea) => assert_eq!(ea.linear(&Regs::new()), 0x100),
        op => panic!("{op:?}"),
    }
    match private(&[0x65, 0x0f, 0x01, 0x20]) {
        PrivOp::Smsw {
            to: RegMem::Mem(ea),
            width: Width::B2,
        } => {
            assert_eq!(ea.linear(&Regs::new()), 0x7000_0100)
        }
        op => panic!("{op:?}"),
    }
}

#[test]
fn anything_else_is_left_to_the_guest() {
    for bytes in [
        &[0x90][..],
        &[0x0f, 0x0b],
        &[0x0f, 0x05],
        &[0x48, 0x89, 0xc3],
        &[0xcd, 0x80],
        &[0x8e, 0xd8],
    ] {
        assert_eq!(
            decode_priv(bytes, true),
            Err(Unhandled::Unknown),
            "{bytes:x?}"
        );
    }
    assert_eq!(decode_priv(&[0x0f], true), Err(Unhandled::Truncated));
    assert_eq!(decode_priv(&[], true), Err(Unhandled::Truncated));
    assert_eq!(decode_priv(&[0xfa], false), Ok((PrivOp::Cli, 1)));
    assert_eq!(
        decode_priv(&[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0xf4], true),
        Err(Unhandled::Unknown)
    );
}

/// Runs a write against `old`: its address, what memory holds then, and the registers.
fn write(bytes: &[u8], mut regs: Regs, old: u64) -> (u64, u64, Regs) {
    let op = decode_mem_write(bytes, &regs).unwrap();
    assert_eq!(op.len(), bytes.len());
    let new = op.value(old, &regs).unwrap_or(old & op.width().mask());
    op.retire(old, &mut regs);
    (op.addr(), new, regs)
}

#[test]
fn moves_store_registers_and_immediates() {
    let (addr, new, after) = write(&[0x48, 0x89, 0x08], Regs::new(), 9);
    assert_eq!((addr, new, after.rip), (0x100, 0x101, 0x1003));
    let (addr, new, _) = write(
        &[0x48, 0xc7, 0x44, 0xcb, 0x10, 0xff, 0xff, 0xff, 0xff],
        Regs::new(),
        9,
    );
    assert_eq!((addr, new), (0x103 + 0x101 * 8 + 0x10, u64::MAX));
    let (_, new, _) = write(&[0xc7, 0x00, 0xfe, 0xff, 0xff, 0xff], Regs::new(), 9);
    assert_eq!(new, 0xffff_fffe);
    let (addr, new, _) = write(&[0x48, 0x89, 0x15, 0x10, 0, 0, 0], Regs::new(), 9);
    assert_eq!(
        (addr, new),
        (0x1000 + 7 + 0x10, 0x102),
        "relative to the next instruction"
    );
    let (addr, new, _) = write(&[0x65, 0x88, 0x20], Regs::new(), 9);
    assert_eq!((addr, new), (0x7000_0100, 1), "ah");
}

#[test]
fn exchanges_hand_the_old_value_to_the_register() {
    let (addr, new, after) = write(&[0x48, 0x87, 0x0f], Regs::new(), 0xabcd);
    assert_eq!((addr, new, after.gpr[1]), (0x107, 0x101, 0xabcd));
    let (_, new, after) = write(&[0xf0, 0x48, 0x0f, 0xc1, 0x0f], Regs::new(), 5);
    assert_eq!((new, after.gpr[1]), (0x106, 5));
    let (_, _, after) = write(&[0x87, 0x0f], Regs::new(), u64::MAX);
    assert_eq!(after.gpr[1], 0xffff_ffff);
}

#[test]
fn compare_and_exchange_stores_only_on_a_match() {
    let bytes = [0xf0, 0x48, 0x0f, 0xb1, 0x0f];
    let (_, new, after) = write(&bytes, Regs::new(), 0x100);
    assert_eq!(
        (new, after.gpr[0], after.flags & 0x40),
        (0x101, 0x100, 0x40)
    );
    let (_, new, after) = write(&bytes, Regs::new(), 0x200);
    assert_eq!((new, after.gpr[0], after.flags & 0x41), (0x200, 0x200, 1));
    let op = decode_mem_write(&bytes, &Regs::new()).unwrap();
    assert_eq!(op.value(0x200, &Regs::new()), None);
}

#[test]
fn bit_operations_reach_beyond_their_operand_when_a_register_counts() {
    let (addr, new, after) = write(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 1], Regs::new(), 0b11);
    assert_eq!((addr, new, after.flags & 1), (0x107, 0b01, 1), "btr $1");
    let (addr, new, after) = write(&[0xf0, 0x48, 0x0f, 0xab, 0x0f], Regs::new(), 0);
    assert_eq!(
        (addr, new, after.flags & 1),
        (0x107 + 0x101 / 64 * 8, 2, 0),
        "bts rcx"
    );
    let mut regs = Regs::new();
    regs.gpr[1] = -1i64 as u64;
    let (addr, new, _) = write(&[0x48, 0x0f, 0xbb, 0x0f], regs, 0);
    assert_eq!((addr, new), (0x107 - 8, 1 << 63), "btc -1");
}

#[test]
fn logic_and_sums_set_the_flags() {
    let (_, new, after) = write(
        &[0xf0, 0x48, 0x83, 0x27, 0xfd],
        Regs::new(),
        0x8000_0000_0000_0007,
    );
    assert_eq!((new, after.flags), (0x8000_0000_0000_0005, 2 | 0x80 | 4));
}

#[test]
fn string_stores_go_on_until_the_count_is_used_up() {
    let mut regs = Regs::new();
    regs.gpr[1] = 2;
    let (addr, new, regs) = write(&[0xf3, 0x48, 0xab], regs, 0);
    assert_eq!(
        (addr, new, regs.rip, regs.gpr[1], regs.gpr[7]),
        (0x107, 0x100, 0x1000, 1, 0x10f)
    );
    let (addr, _, regs) = write(&[0xf3, 0x48, 0xab], regs, 0);
    assert_eq!((addr, regs.rip, regs.gpr[1]), (0x10f, 0x1003, 0));
    assert_eq!(
        decode_mem_write(&[0xf3, 0x48, 0xab], &regs),
        Err(Unhandled::Unknown)
    );
}

#[test]
fn reads_are_not_writes() {
    let reads: [&[u8]; 5] = [
        &[0x48, 0x8b, 0x08],
        &[0x48, 0x03, 0x08],
        &[0x48, 0x3b, 0x08],
        &[0x48, 0x39, 0x08],
        &[0x48, 0x0f, 0xa3, 0x08],
    ];
    for bytes in reads {
        assert_eq!(
            decode_mem_write(bytes, &Regs::new()),
            Err(Unhandled::Unknown),
            "{bytes:x?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bytes_make_the_decoder_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..20), old: u64) {
        for b in [bytes.clone(), [&[0x0f][..], &bytes].concat(), [&[0xf0, 0x48][..], &bytes].concat()] {
            if let Ok((_, len)) = decode_priv(&b, true) {
                prop_assert!((1..=MAX_LEN + 5).contains(&len));
            }
            let mut regs = Regs::new();
            if let Ok(op) = decode_mem_write(&b, &regs) {
                let _ = op.value(old, &regs);
                op.retire(old, &mut regs);
            }
        }
    }

    #[test]
    fn sums_and_their_flags_are_the_cpus(a: u32, b: u32) {
        // Against wider and signed arithmetic, the definition of carry and overflow.
        let f = alu::add(2, a as u64, b as u64, Width::B4);
        prop_assert_eq!(f & 1 != 0, a.checked_add(b).is_none());
        prop_assert_eq!(f & 0x800 != 0, (a as i32).checked_add(b as i32).is_none());
        prop_assert_eq!(f & 0x40 != 0, a.wrapping_add(b) == 0);
        let f = alu::sub(2, a as u64, b as u64, Width::B4);
        prop_assert_eq!(f & 1 != 0, a < b);
        prop_assert_eq!(f & 0x800 != 0, (a as i32).checked_sub(b as i32).is_none());
        prop_assert_eq!(f & 0x80 != 0, (a.wrapping_sub(b) as i32) < 0);
        prop_assert_eq!(f & 0x10 != 0, a & 15 < b & 15);
    }
}

#[test]
fn an_absolute_address_is_sign_extended() {
    // mov qword ptr [0xffffffff82000010], rax, as kernels address their own page tables
    let bytes = [0x48, 0x89, 0x04, 0x25, 0x10, 0x00, 0x00, 0x82];
    let op = decode_mem_write(&bytes, &Regs::new()).unwrap();
    assert_eq!(op.addr(), 0xffff_ffff_8200_0010);
    // With 32-bit addresses it is not.
    let bytes = [0x67, 0x48, 0x89, 0x04, 0x25, 0x10, 0x00, 0x00, 0x82];
    let op = decode_mem_write(&bytes, &Regs::new()).unwrap();
    assert_eq!(op.addr(), 0x8200_0010);
}

#[test]
fn a_rex_prefix_that_another_prefix_voids_is_declined() {
    for bytes in [&[0x48, 0x40, 0x89, 0x03][..], &[0x48, 0x66, 0x89, 0x03]] {
        let op = decode_mem_write(bytes, &Regs::new());
        assert_eq!(op, Err(Unhandled::Unknown), "{bytes:x?}");
    }
}

#[test]
fn thirty_two_bit_programs_may_do_port_io() {
    let outs = |segment| PrivOp::Outs {
        width: Width::B1,
        rep: true,
        addr32: true,
        segment,
    };
    assert_eq!(
        decode_priv(&[0xf3, 0x6e], false),
        Ok((outs(Segment::Ds), 2))
    );
    assert_eq!(
        decode_priv(&[0xf3, 0x26, 0x6e], false),
        Ok((outs(Segment::Es), 3))
    );
    // inc eax is no REX prefix, and control registers are the kernel's.
    for bytes in [&[0x40, 0xec][..], &[0x0f, 0x20, 0xc0], &[0x67, 0x6c]] {
        assert_eq!(decode_priv(bytes, false), Err(Unhandled::Unknown));
    }
}
