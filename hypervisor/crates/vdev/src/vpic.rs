//! The pair of 8259A interrupt controllers: [`Pic`], ports 0x20, 0x21, 0xa0, 0xa1 and the ELCRs at 0x4d0, 0x4d1.
//!
//! Source: Intel 8259A data sheet. The slave hangs on line 2 of the master. Not modelled: the 8080's call
//! mode, special fully nested mode and cascades of other shapes.

/// One chip.
#[derive(Clone, Copy, Debug, Default)]
struct Chip {
    /// Lines as they stand.
    lines: u8,
    irr: u8,
    imr: u8,
    isr: u8,
    elcr: u8,
    base: u8,
    /// Line of highest priority.
    first: u8,
    /// Next initialization word at the odd port; 0: none is awaited.
    awaits: u8,
    icw4: bool,
    single: bool,
    read_isr: bool,
    poll: bool,
    auto_eoi: bool,
    rotate_auto: bool,
    special_mask: bool,
}

impl Chip {
    fn set_line(&mut self, line: u8, asserted: bool) {
        let bit = 1 << (line & 7);
        let rose = asserted && self.lines & bit == 0;
        self.lines = self.lines & !bit | if asserted { bit } else { 0 };
        if self.elcr & bit != 0 {
            self.irr = self.irr & !bit | self.lines & bit;
        } else if rose {
            self.irr |= bit;
        } else if !asserted {
            self.irr &= !bit;
        }
    }

    /// The set line of highest priority and its rank, 0 the highest.
    fn highest(&self, lines: u8) -> Option<(u8, u32)> {
        let rank = lines.rotate_right(self.first.into()).trailing_zeros();
        (rank < 8).then_some(((self.first + rank as u8) & 7, rank))
    }

    /// The line that asks for service.
    fn pending(&self) -> Option<u8> {
        let (line, rank) = self.highest(self.irr & !self.imr)?;
        let serving = match self.special_mask {
            true => self.isr & !self.imr,
            false => self.isr,
        };
        match self.highest(serving) {
            Some((_, served)) if served <= rank => None,
            _ => Some(line),
        }
    }

    /// The line goes into service.
    fn accept(&mut self, line: u8) {
        let bit = 1 << (line & 7);
        if self.elcr & bit == 0 {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_auto {
            self.first = (line + 1) & 7;
        }
    }

    fn command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            let (lines, elcr) = (self.lines, self.elcr);
            *self = Chip {
                lines,
                elcr,
                irr: lines & elcr,
                awaits: 2,
                icw4: value & 1 != 0,
                single: value & 2 != 0,
                ..Chip::default()
            };
        } else if value & 8 != 0 {
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_isr = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.end(value >> 5, value & 7);
        }
    }

    /// OCW2: ends of interrupts and rotation.
    fn end(&mut self, what: u8, line: u8) {
        let serving = match self.special_mask {
            true => self.isr & !self.imr,
            false => self.isr,
        };
        let ended = match what {
            1 | 5 => self.highest(serving).map(|(line, _)| line),
            3 | 7 => Some(line),
            _ => None,
        };
        if let Some(line) = ended {
            self.isr &= !(1 << line);
        }
        match (what, ended) {
            (0 | 4, _) => self.rotate_auto = what == 4,
            (5 | 7, Some(line)) => self.first = (line + 1) & 7,
            (6, _) => self.first = (line + 1) & 7,
            _ => {}
        }
    }

    fn data(&mut self, value: u8) {
        self.awaits = match self.awaits {
            2 => {
                self.base = value & 0xf8;
                match (self.single, self.icw4) {
                    (false, _) => 3,
                    (true, true) => 4,
                    (true, false) => 0,
                }
            }
            3 if self.icw4 => 4,
            4 => {
                self.auto_eoi = value & 2 != 0;
                0
            }
            0 => {
                self.imr = value;
                0
            }
            _ => 0,
        };
    }

    fn read(&mut self, odd: bool) -> u8 {
        if core::mem::take(&mut self.poll) {
            let Some(line) = self.pending() else { return 0 };
            self.accept(line);
            return 0x80 | line;
        }
        match (odd, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr,
        }
    }
}

/// The pair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

impl Pic {
    /// Line `irq` changes; 2 is the cascade and has no outside.
    pub fn set_line(&mut self, irq: u8, asserted: bool) {
        match irq {
            2 | 16.. => {}
            8.. => self.slave.set_line(irq - 8, asserted),
            _ => self.master.set_line(irq, asserted),
        }
        self.cascade();
    }

    /// Brings line 2 to what the slave asks for.
    fn cascade(&mut self) {
        let asks = self.slave.pending().is_some();
        self.master.set_line(2, asks);
    }

    /// Whether the pair asks for an interrupt.
    pub fn pending(&self) -> bool {
        self.master.pending().is_some()
    }

    /// The processor acknowledges: the vector, or a spurious one of line 7 if the request has gone.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(line) = self.master.pending() else {
            return self.master.base | 7;
        };
        self.master.accept(line);
        if line != 2 {
            return self.master.base | line;
        }
        let vector = match self.slave.pending() {
            Some(line) => {
                self.slave.accept(line);
                self.slave.base | line
            }
            None => self.slave.base | 7,
        };
        // The slave lets go of the wire in between, so that its next request is an edge.
        self.master.set_line(2, false);
        self.cascade();
        vector
    }

    /// Reads a port; `None` if it is none of ours.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        let value = match port {
            0x20 | 0x21 => self.master.read(port & 1 != 0),
            0xa0 | 0xa1 => self.slave.read(port & 1 != 0),
            0x4d0 => self.master.elcr,
            0x4d1 => self.slave.elcr,
            _ => return None,
        };
        self.cascade();
        Some(value)
    }

    /// Writes a port; what is not ours is ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.command(value),
            0x21 => self.master.data(value),
            0xa0 => self.slave.command(value),
            0xa1 => self.slave.data(value),
            // Timer, keyboard, cascade, clock and coprocessor are edge-triggered by wiring.
            0x4d0 => self.master.elcr = value & 0xf8,
            0x4d1 => self.slave.elcr = value & 0xde,
            _ => {}
        }
        self.cascade();
    }
}
