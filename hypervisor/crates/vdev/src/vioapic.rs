//! The IO-APIC: [`IoApic`], up to 48 pins that turn lines into interrupt [`Message`]s.
//!
//! Sources: Intel 82093AA data sheet, ICH9 chapter "APIC" (EOI register). Lines are given as asserted or not: what is
//! high or low on a wire does not exist here, so polarity is only remembered.

/// Most pins there are.
pub const PINS: usize = 48;
/// Version 0x20: with EOI register.
const VERSION: u32 = 0x20;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Vector, delivery and destination mode, polarity, trigger, mask, destination.
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// How a message is to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// To all that are addressed.
    Fixed,
    /// To one of them.
    Lowest,
    /// As NMI; the vector says nothing.
    Nmi,
    /// The PIC pair supplies the vector.
    ExtInt,
}

/// An interrupt on its way to the local APICs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Vector.
    pub vector: u8,
    /// APIC id or logical id.
    pub dest: u8,
    /// `dest` is logical.
    pub logical: bool,
    /// Level-triggered: its end is broadcast.
    pub level: bool,
    /// How.
    pub delivery: Delivery,
}

/// One IO-APIC.
#[derive(Clone, Debug)]
pub struct IoApic {
    pins: usize,
    id: u8,
    select: u8,
    lines: u64,
    entries: [u64; PINS],
}

impl IoApic {
    /// All pins masked. `pins` is brought into 24..=48.
    pub fn new(pins: usize, id: u8) -> IoApic {
        IoApic {
            pins: pins.clamp(24, PINS),
            id,
            select: 0,
            lines: 0,
            entries: [MASKED; PINS],
        }
    }

    /// Reads the page: index at 0, data at 0x10; only 32-bit accesses.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        match (offset, size) {
            (0x00, 4) => self.select.into(),
            (0x10, 4) => match self.select {
                0 | 2 => u32::from(self.id & 0xf) << 24,
                1 => VERSION | (self.pins as u32 - 1) << 16,
                _ => self.entry().map_or(0, |(pin, shift)| {
                    (self.entries.get(pin).copied().unwrap_or(0) >> shift) as u32
                }),
            },
            _ => 0,
        }
    }

    /// Pin and half that the index selects.
    fn entry(&self) -> Option<(usize, u32)> {
        let at = usize::from(self.select.checked_sub(0x10)?);
        (at / 2 < self.pins).then_some((at / 2, 32 * (at as u32 % 2)))
    }

    /// Writes the page. `send` gets what becomes due: at most one message, for an EOI one per pin.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, send: impl FnMut(Message)) {
        match (offset, size) {
            (0x00, _) => self.select = value as u8,
            (0x10, 4) if self.select == 0 => self.id = (value >> 24) as u8 & 0xf,
            (0x10, 4) => self.write_entry(value, send),
            (0x40, 4) => self.eoi(value as u8, send),
            _ => {}
        }
    }

    fn write_entry(&mut self, value: u32, mut send: impl FnMut(Message)) {
        let Some((pin, shift)) = self.entry() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(pin) else {
            return;
        };
        let bits = WRITABLE & 0xffff_ffff << shift;
        *entry = *entry & !bits | u64::from(value) << shift & bits;
        if *entry & LEVEL == 0 {
            // Software ends an interrupt by making the pin edge-triggered for a moment.
            *entry &= !REMOTE_IRR;
        } else if let Some(message) = self.level_due(pin) {
            send(message);
        }
    }

    /// Would an edge at `pin` be delivered?
    pub fn takes_edges(&self, pin: usize) -> bool {
        let entry = self.entries.get(pin).filter(|_| pin < self.pins);
        entry.is_some_and(|e| e & (LEVEL | MASKED) == 0)
    }

    /// Line `pin` changes. Returns what is to be delivered.
    pub fn set_line(&mut self, pin: usize, asserted: bool) -> Option<Message> {
        if pin >= self.pins {
            return None;
        }
        let bit = 1u64 << pin;
        let rose = asserted && self.lines & bit == 0;
        self.lines = self.lines & !bit | if asserted { bit } else { 0 };
        let entry = *self.entries.get(pin)?;
        match entry & LEVEL != 0 {
            true => self.level_due(pin),
            false if rose && entry & MASKED == 0 => message(entry),
            false => None,
        }
    }

    /// What a level-triggered pin has to say, if its line is held and the last message has been ended.
    fn level_due(&mut self, pin: usize) -> Option<Message> {
        let entry = self.entries.get_mut(pin)?;
        if self.lines >> pin & 1 == 0 || *entry & (LEVEL | MASKED | REMOTE_IRR) != LEVEL {
            return None;
        }
        let message = message(*entry)?;
        *entry |= REMOTE_IRR;
        Some(message)
    }

    /// A local APIC has ended `vector`. `send` gets the lines still held.
    pub fn eoi(&mut self, vector: u8, mut send: impl FnMut(Message)) {
        for pin in 0..self.pins {
            let Some(entry) = self.entries.get_mut(pin) else {
                continue;
            };
            if *entry as u8 != vector || *entry & REMOTE_IRR == 0 {
                continue;
            }
            *entry &= !REMOTE_IRR;
            if let Some(message) = self.level_due(pin) {
                send(message);
            }
        }
    }
}

/// Decodes an entry; SMI, INIT and reserved modes deliver nothing.
fn message(entry: u64) -> Option<Message> {
    let delivery = match entry >> 8 & 7 {
        0 => Delivery::Fixed,
        1 => Delivery::Lowest,
        4 => Delivery::Nmi,
        7 => Delivery::ExtInt,
        _ => return None,
    };
    Some(Message {
        vector: entry as u8,
        dest: (entry >> 56) as u8,
        logical: entry >> 11 & 1 != 0,
        level: entry & LEVEL != 0,
        delivery,
    })
}
