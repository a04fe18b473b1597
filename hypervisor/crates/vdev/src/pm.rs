//! ACPI fixed hardware: [`Pm`], the 24 or 32 bit PM timer and the PM1a event and control block.
//!
//! Source: ACPI 6 chapter 4.8.3. Offsets are within the 12 bytes from the PM1a event block on; see `hvm/ioreq.h`.

/// Ticks of the PM timer per second.
pub const HZ: u64 = 3_579_545;

const TMR_STS: u16 = 1 << 0;
const PWRBTN: u16 = 1 << 8;
const SLPBTN: u16 = 1 << 9;
/// Events that can be enabled: timer, global lock, power, sleep button, RTC.
const EVENTS: u16 = 0x0721;
/// Events and "woken up", cleared by writing ones.
const STATUS: u16 = EVENTS | 1 << 15;
const SCI_EN: u16 = 1 << 0;
const SLP_EN: u16 = 1 << 13;

/// The registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pm {
    status: u16,
    enable: u16,
    control: u16,
}

impl Pm {
    /// In ACPI mode from the start: there is no firmware to switch it on.
    pub const fn new() -> Pm {
        Pm {
            status: 0,
            enable: 0,
            control: SCI_EN,
        }
    }

    /// The timer's 32 bits.
    pub fn timer(now_ns: u64) -> u32 {
        (u128::from(now_ns) * u128::from(HZ) / 1_000_000_000) as u32
    }

    /// Bytes of an access of `size` at `offset`; what is not there reads as ones.
    pub fn read(&self, offset: u16, size: u8, now_ns: u64) -> u32 {
        let mut bytes = [0xff; 12];
        bytes[0..2].copy_from_slice(&self.status.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.enable.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.control.to_le_bytes());
        bytes[8..12].copy_from_slice(&Self::timer(now_ns).to_le_bytes());
        let mut value = [0; 4];
        for (byte, at) in value.iter_mut().take(size.into()).zip(offset..=u16::MAX) {
            *byte = bytes.get(usize::from(at)).copied().unwrap_or(0xff);
        }
        u32::from_le_bytes(value)
    }

    /// Writes; returns the sleep type if the guest asks to sleep (its \_S5 type: power off).
    pub fn write(&mut self, offset: u16, size: u8, value: u32) -> Option<u8> {
        let mut sleep = None;
        let bytes = value.to_le_bytes();
        for (&byte, at) in bytes.iter().take(size.into()).zip(offset..=u16::MAX) {
            let high = at % 2 == 1;
            let (bits, lane) = match high {
                true => (u16::from(byte) << 8, 0xff00),
                false => (u16::from(byte), 0x00ff),
            };
            match at / 2 {
                0 => self.status &= !(bits & STATUS),
                1 => self.enable = (self.enable & !lane | bits) & EVENTS,
                2 => {
                    // SCI_EN is the chipset's, SLP_EN reads as zero.
                    self.control = (self.control & !lane | bits) & !SLP_EN | SCI_EN;
                    if high && bits & SLP_EN != 0 {
                        sleep = Some((bits >> 10 & 7) as u8);
                    }
                }
                _ => {}
            }
        }
        sleep
    }

    /// The power button was pressed.
    pub fn press_power(&mut self) {
        self.status |= PWRBTN;
    }

    /// The sleep button was pressed.
    pub fn press_sleep(&mut self) {
        self.status |= SLPBTN;
    }

    /// Bit 31 of the timer changed.
    pub fn carry(&mut self) {
        self.status |= TMR_STS;
    }

    /// Level of the SCI line.
    pub fn sci(&self) -> bool {
        self.status & self.enable & EVENTS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_button_interrupts_until_acknowledged() {
        let mut pm = Pm::new();
        pm.press_power();
        assert!(!pm.sci());
        pm.write(2, 2, PWRBTN.into());
        assert!(pm.sci());
        pm.write(0, 2, PWRBTN.into());
        assert!(!pm.sci());
    }

    #[test]
    fn sleeping_names_its_type_whole_or_in_bytes() {
        let mut pm = Pm::new();
        assert_eq!(pm.write(4, 2, 0x2000 | 7 << 10), Some(7));
        assert_eq!(pm.write(5, 1, 0x20 | 5 << 2), Some(5));
        assert_eq!(pm.write(4, 1, 0x20), None);
        assert_eq!(pm.read(4, 2, 0) & 0x2001, 1);
    }

    #[test]
    fn the_timer_keeps_its_rate_and_odd_accesses_are_harmless() {
        assert_eq!(Pm::timer(1_000_000_000), HZ as u32);
        let mut pm = Pm::new();
        for offset in (0..40).chain(65500..=u16::MAX) {
            for size in 0..=9 {
                pm.read(offset, size, u64::MAX);
                pm.write(offset, size, u32::MAX);
            }
        }
    }
}
