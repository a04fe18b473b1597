//! A register file for tests.
use x86emu::{Cpu, Gpr, Segment};

pub const FS_BASE: u64 = 0x7f00_1234_5000;
pub const GS_BASE: u64 = 0xffff_8880_0000_1000;

#[derive(Clone, Debug, PartialEq)]
pub struct Regs {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub flags: u64,
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
        match segment {
            Segment::Fs => FS_BASE,
            Segment::Gs => GS_BASE,
            _ => 0,
        }
    }
}
