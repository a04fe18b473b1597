//! A whole processor for tests: registers, flat memory, devices that answer later.
#![allow(dead_code)]
use crate::common::Regs;
use x86emu::emulate::{Fault, Locked, SegmentState, Step, Stop, System, Table, step};
use x86emu::{Cpu, Gpr, Segment, Width};

/// Where memory begins; it is as long as the vector.
#[derive(Clone, Debug)]
pub struct Machine {
    pub regs: Regs,
    pub segments: [SegmentState; 6],
    pub tables: [SegmentState; 4],
    pub cr: [u64; 9],
    pub dr: [u64; 8],
    pub efer: u64,
    pub at: u64,
    pub memory: Vec<u8>,
    /// What was written to ports; reads give the port's number.
    pub out: Vec<(u16, u32)>,
    /// Accesses of which every other is to be waited for, if some.
    pub waits: Option<u32>,
}

impl Machine {
    /// Real mode: all segments at 0, code at rip 0x1000, a stack below it, 64 KiB of memory.
    pub fn real() -> Machine {
        let regs = Regs {
            gpr: [0, 0, 0, 0, 0x1000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            rip: 0x1000,
            flags: 2,
        };
        Machine {
            regs,
            segments: [SegmentState::real(0); 6],
            tables: [SegmentState {
                limit: 0xffff,
                access: 0x82,
                ..SegmentState::default()
            }; 4],
            cr: [0x10, 0, 0, 0, 0, 0, 0, 0, 0],
            dr: [0; 8],
            efer: 0,
            at: 0,
            memory: vec![0; 0x1_0000],
            out: Vec::new(),
            waits: None,
        }
    }

    /// Flat segments of 32 (or, `long`, 64) bits at level 0.
    pub fn flat(long: bool) -> Machine {
        let mut m = Machine::real();
        let access = |code| 0xc93 | if code { 0x8 } else { 0 };
        for (i, s) in m.segments.iter_mut().enumerate() {
            *s = SegmentState {
                selector: 0x10,
                access: access(i == 1),
                limit: u32::MAX,
                base: 0,
            };
        }
        m.cr[0] |= 1;
        if long {
            m.segments[1].access = 0xa9b;
            m.efer = 0x500;
        }
        m
    }

    fn range(&self, address: u64, len: usize) -> Result<std::ops::Range<usize>, Stop> {
        let fault = Stop::Fault(Fault::Page { address, error: 0 });
        let start = usize::try_from(address.wrapping_sub(self.at)).map_err(|_| fault)?;
        let end = start
            .checked_add(len)
            .filter(|end| *end <= self.memory.len())
            .ok_or(fault)?;
        Ok(start..end)
    }

    fn wait(&mut self) -> Result<(), Stop> {
        match &mut self.waits {
            Some(n) => {
                *n += 1;
                if *n % 2 == 1 {
                    Err(Stop::Later)
                } else {
                    Ok(())
                }
            }
            None => Ok(()),
        }
    }

    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let range = self.range(address, bytes.len()).unwrap();
        self.memory[range].copy_from_slice(bytes);
    }

    pub fn word(&self, address: u64) -> u64 {
        let range = self.range(address, 8).unwrap();
        u64::from_le_bytes(self.memory[range].try_into().unwrap())
    }

    /// Executes `code` as if it lay at rip.
    pub fn step(&mut self, code: &[u8]) -> Result<Step, Stop> {
        step(code, self)
    }
}

impl Cpu for Machine {
    fn gpr(&self, reg: Gpr) -> u64 {
        self.regs.gpr(reg)
    }
    fn set_gpr(&mut self, reg: Gpr, value: u64) {
        self.regs.set_gpr(reg, value);
    }
    fn rip(&self) -> u64 {
        self.regs.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.regs.rip = rip;
    }
    fn flags(&self) -> u64 {
        self.regs.flags
    }
    fn set_flags(&mut self, flags: u64) {
        self.regs.flags = flags;
    }
    fn segment_base(&self, segment: Segment) -> u64 {
        self.segments[segment as usize].base
    }
}

impl System for Machine {
    fn segment(&self, segment: Segment) -> SegmentState {
        self.segments[segment as usize]
    }
    fn set_segment(&mut self, segment: Segment, state: SegmentState) {
        self.segments[segment as usize] = state;
    }
    fn table(&self, table: Table) -> SegmentState {
        self.tables[table as usize]
    }
    fn set_table(&mut self, table: Table, base: u64, limit: u16) {
        let t = &mut self.tables[table as usize];
        (t.base, t.limit) = (base, limit.into());
    }
    fn cpl(&self) -> u8 {
        (self.segments[2].access >> 5 & 3) as u8
    }
    fn efer(&self) -> u64 {
        self.efer
    }
    fn cr(&self, number: u8) -> u64 {
        self.cr[usize::from(number)]
    }
    fn set_cr(&mut self, number: u8, value: u64) -> Result<(), Stop> {
        self.cr[usize::from(number)] = value;
        Ok(())
    }
    fn dr(&self, number: u8) -> u64 {
        self.dr[usize::from(number)]
    }
    fn set_dr(&mut self, number: u8, value: u64) -> Result<(), Stop> {
        self.dr[usize::from(number)] = value;
        Ok(())
    }
    fn read(&mut self, address: u64, bytes: &mut [u8], _: bool) -> Result<(), Stop> {
        assert!(bytes.len() <= 32);
        let range = self.range(address, bytes.len())?;
        self.wait()?;
        bytes.copy_from_slice(&self.memory[range]);
        Ok(())
    }
    fn write(&mut self, address: u64, bytes: &[u8], _: bool) -> Result<(), Stop> {
        assert!(bytes.len() <= 64);
        let range = self.range(address, bytes.len())?;
        self.wait()?;
        self.memory[range].copy_from_slice(bytes);
        Ok(())
    }
    fn exchange(&mut self, address: u64, width: Width, old: u64, new: u64) -> Result<Locked, Stop> {
        let len = width.bytes() as usize;
        let range = self.range(address, len)?;
        if self.memory[range.clone()] != old.to_le_bytes()[..len] {
            return Ok(Locked::Differs);
        }
        self.memory[range].copy_from_slice(&new.to_le_bytes()[..len]);
        Ok(Locked::Exchanged)
    }
    fn port_in(&mut self, port: u16, _: Width) -> Result<u32, Stop> {
        self.wait()?;
        Ok(u32::from(port) * 0x10001)
    }
    fn port_out(&mut self, port: u16, width: Width, value: u32) -> Result<(), Stop> {
        self.wait()?;
        self.out.push((port, value & width.mask() as u32));
        Ok(())
    }
    fn invlpg(&mut self, _: u64) {}
}
