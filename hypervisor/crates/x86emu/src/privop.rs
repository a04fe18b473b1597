//! Privileged instructions of a 64-bit PV guest.
use crate::opening::{Map, Opening};
use crate::operand::{Ea, Gpr, RegMem, Segment, Width, decode, gpr, immediate, length, memory};
use crate::{MAX_LEN, Unhandled};
use yaxpeax_x86::long_mode::{Instruction, Opcode, Operand, register_class as class};

/// `ud2` and the letters "xen": the next instruction wants to be emulated.
const FORCED: [u8; 5] = [0x0f, 0x0b, b'x', b'e', b'n'];

/// Where port I/O takes the port number from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// In the instruction.
    Imm(u8),
    /// The register dx.
    Dx,
}

/// A privileged instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PrivOp {
    /// Port to al, ax, eax.
    In {
        port: Port,
        width: Width,
    },
    /// al, ax, eax to port.
    Out {
        port: Port,
        width: Width,
    },
    /// Port dx to es:[rdi]; `rep`: rcx times; `addr32`: edi and ecx.
    Ins {
        width: Width,
        rep: bool,
        addr32: bool,
    },
    /// `segment`:[rsi] to port dx.
    Outs {
        width: Width,
        rep: bool,
        addr32: bool,
        segment: Segment,
    },
    Cli,
    Sti,
    Hlt,
    /// Forced by the prefix, or because CPUID faulting is on.
    Cpuid {
        forced: bool,
    },
    Rdmsr,
    Wrmsr,
    Rdtsc,
    Rdtscp,
    Rdpmc,
    Clts,
    Invd,
    Wbinvd,
    Invlpg(Ea),
    Xsetbv,
    ReadCr {
        cr: u8,
        to: Gpr,
    },
    WriteCr {
        cr: u8,
        from: Gpr,
    },
    ReadDr {
        dr: u8,
        to: Gpr,
    },
    WriteDr {
        dr: u8,
        from: Gpr,
    },
    /// Low 16 bits of CR0 to a register (as wide as `width`) or 16 bits of memory.
    Smsw {
        to: RegMem,
        width: Width,
    },
    /// 16 bits to CR0.
    Lmsw {
        from: RegMem,
    },
}

/// Decodes the instruction at `bytes`; `cs_l`: the code segment is a 64-bit one. The length includes a forced-emulation
/// prefix.
///
/// Of 32-bit code (`cs_l` false) only what has no operands in memory or in registers of its choice: port I/O, cli, sti,
/// hlt, cpuid, rdtsc, rdtscp, rdpmc, rdmsr, wrmsr. String I/O is then `addr32`.
pub fn decode_priv(bytes: &[u8], cs_l: bool) -> Result<(PrivOp, usize), Unhandled> {
    if let Some(rest) = bytes.strip_prefix(&FORCED) {
        let (op, len) = decode_priv(rest.get(..MAX_LEN).unwrap_or(rest), cs_l)?;
        return match op {
            PrivOp::Cpuid { forced: false } => {
                Ok((PrivOp::Cpuid { forced: true }, FORCED.len() + len))
            }
            _ => Err(Unhandled::Unknown),
        };
    }
    let opening = Opening::read(bytes, cs_l)?;
    // 16-bit addresses are nobody's.
    if !is_privileged(&opening) || !cs_l && opening.other_addresses {
        return Err(Unhandled::Unknown);
    }
    // What is let through of 32-bit code reads the same as 64-bit code.
    let i = decode(bytes)?;
    let op = classify(&i, &opening)?;
    if !cs_l && !plain(op) {
        return Err(Unhandled::Unknown);
    }
    Ok((
        if cs_l { op } else { addresses_of_32(op) },
        length(&i) as usize,
    ))
}

/// Opcodes among which those of [`PrivOp`] are found.
fn is_privileged(opening: &Opening) -> bool {
    match opening.map {
        Map::One => matches!(
            opening.opcode,
            0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef | 0xf4 | 0xfa | 0xfb
        ),
        Map::Two => matches!(
            opening.opcode,
            0x01 | 0x06 | 0x08 | 0x09 | 0x20..=0x23 | 0x30..=0x33 | 0xa2
        ),
    }
}

/// No operands but fixed registers: the same in 32-bit code.
fn plain(op: PrivOp) -> bool {
    use PrivOp::*;
    matches!(
        op,
        In { .. }
            | Out { .. }
            | Ins { .. }
            | Outs { .. }
            | Cli
            | Sti
            | Hlt
            | Cpuid { .. }
            | Rdtsc
            | Rdtscp
            | Rdpmc
            | Rdmsr
            | Wrmsr
    )
}

/// String I/O of 32-bit code has addresses of 32 bits.
fn addresses_of_32(op: PrivOp) -> PrivOp {
    match op {
        PrivOp::Ins { width, rep, .. } => PrivOp::Ins {
            width,
            rep,
            addr32: true,
        },
        PrivOp::Outs {
            width,
            rep,
            segment,
            ..
        } => PrivOp::Outs {
            width,
            rep,
            addr32: true,
            segment,
        },
        op => op,
    }
}

fn classify(i: &Instruction, opening: &Opening) -> Result<PrivOp, Unhandled> {
    let addr32 = opening.other_addresses;
    let rep = i.prefixes.rep_any();
    Ok(match i.opcode() {
        Opcode::IN => PrivOp::In {
            port: port(i.operand(1))?,
            width: opening.io_width(),
        },
        Opcode::OUT => PrivOp::Out {
            port: port(i.operand(0))?,
            width: opening.io_width(),
        },
        Opcode::INS => PrivOp::Ins {
            width: opening.io_width(),
            rep,
            addr32,
        },
        Opcode::OUTS => PrivOp::Outs {
            width: opening.io_width(),
            rep,
            addr32,
            segment: opening.segment,
        },
        Opcode::CLI => PrivOp::Cli,
        Opcode::STI => PrivOp::Sti,
        Opcode::HLT => PrivOp::Hlt,
        Opcode::CPUID => PrivOp::Cpuid { forced: false },
        Opcode::RDMSR => PrivOp::Rdmsr,
        Opcode::WRMSR => PrivOp::Wrmsr,
        Opcode::RDTSC => PrivOp::Rdtsc,
        Opcode::RDTSCP => PrivOp::Rdtscp,
        Opcode::RDPMC => PrivOp::Rdpmc,
        Opcode::CLTS => PrivOp::Clts,
        Opcode::INVD => PrivOp::Invd,
        Opcode::WBINVD => PrivOp::Wbinvd,
        Opcode::XSETBV => PrivOp::Xsetbv,
        Opcode::INVLPG => PrivOp::Invlpg(memory(i, 0).ok_or(Unhandled::Unknown)?),
        Opcode::LMSW => PrivOp::Lmsw {
            from: reg_mem(i)?.0,
        },
        Opcode::SMSW => {
            let (to, width) = reg_mem(i)?;
            PrivOp::Smsw { to, width }
        }
        Opcode::MOV => move_special(i)?,
        _ => return Err(Unhandled::Unknown),
    })
}

fn move_special(i: &Instruction) -> Result<PrivOp, Unhandled> {
    let (Operand::Register { reg: to }, Operand::Register { reg: from }) =
        (i.operand(0), i.operand(1))
    else {
        return Err(Unhandled::Unknown);
    };
    match (to.class(), from.class()) {
        (_, class::CR) => Ok(PrivOp::ReadCr {
            cr: from.num(),
            to: gpr(to).ok_or(Unhandled::Unknown)?,
        }),
        (class::CR, _) => Ok(PrivOp::WriteCr {
            cr: to.num(),
            from: gpr(from).ok_or(Unhandled::Unknown)?,
        }),
        (_, class::DR) => Ok(PrivOp::ReadDr {
            dr: from.num(),
            to: gpr(to).ok_or(Unhandled::Unknown)?,
        }),
        (class::DR, _) => Ok(PrivOp::WriteDr {
            dr: to.num(),
            from: gpr(from).ok_or(Unhandled::Unknown)?,
        }),
        _ => Err(Unhandled::Unknown),
    }
}

fn port(o: Operand) -> Result<Port, Unhandled> {
    match immediate(o) {
        Some(imm) => Ok(Port::Imm(imm as u8)),
        None => Ok(Port::Dx),
    }
}

fn reg_mem(i: &Instruction) -> Result<(RegMem, Width), Unhandled> {
    if let Some(ea) = memory(i, 0) {
        return Ok((RegMem::Mem(ea), Width::B2));
    }
    match i.operand(0) {
        Operand::Register { reg } => Ok((
            RegMem::Reg(gpr(reg).ok_or(Unhandled::Unknown)?),
            Width::from_bytes(reg.width())?,
        )),
        _ => Err(Unhandled::Unknown),
    }
}
