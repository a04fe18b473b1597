//! A local APIC as saved state has it ([`Saved`]; `hvm_hw_lapic` and `hvm_hw_lapic_regs`): the first 1 KiB of its page, and what
//! registers do not show.
use super::timer::Mode;
use super::vectors::Vectors;
use super::{BASE, BSP, EN, EXTD, LVT_MASKED, Lapic, SVR_ENABLED, TIMER, reg};
use crate::{GeneralProtection, Now};

/// Bytes of registers.
pub const REGISTERS: usize = 1024;
/// The hidden state's "disabled": by its base register, by its spurious-vector register.
const BY_BASE: u32 = 1;
const BY_SOFTWARE: u32 = 2;
/// Vectors that no message can carry.
const NO_VECTORS: u32 = 0xffff;

/// What the registers do not show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// `IA32_APIC_BASE`.
    pub base: u64,
    /// Which of its switches are off; follows from the rest.
    pub disabled: u32,
    /// By what the timer's clock is divided; follows from the rest.
    pub divisor: u32,
    /// `IA32_TSC_DEADLINE`.
    pub tsc_deadline: u64,
}

impl Lapic {
    /// What [`Lapic::save_registers`] has no room for.
    pub fn save(&self) -> Saved {
        let off = |is: bool, bit| if is { bit } else { 0 };
        Saved {
            base: self.base,
            disabled: off(self.base & EN == 0, BY_BASE)
                | off(self.svr & SVR_ENABLED == 0, BY_SOFTWARE),
            divisor: (self.timer.tick_ns() / super::timer::TICK_NS) as u32,
            tsc_deadline: self.timer.tsc_deadline,
        }
    }

    /// The page of registers.
    pub fn save_registers(&self, now: Now) -> [u8; REGISTERS] {
        let mut page = [0; REGISTERS];
        for (slot, register) in page.chunks_exact_mut(16).zip(0u32..) {
            let value = match register {
                reg::ID if self.is_x2() => self.id,
                reg::ID => self.id << 24,
                reg::DFR => self.dfr,
                reg::ICR2 => (self.icr >> 32) as u32,
                _ => self.read(register, now).unwrap_or(0),
            };
            slot[..4].copy_from_slice(&value.to_le_bytes());
        }
        page
    }

    /// Takes what [`Lapic::save`] gave. The base register of a CPU, or nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), GeneralProtection> {
        let base = saved.base;
        if base & !(BSP | EXTD | EN) != BASE || base & (EXTD | EN) == EXTD {
            return Err(GeneralProtection);
        }
        self.base = base;
        self.timer.tsc_deadline = saved.tsc_deadline;
        Ok(())
    }

    /// Takes a page of registers; only what a guest could have brought about. Its id is the topology's. The timer begins its
    /// period anew.
    pub fn restore_registers(&mut self, page: &[u8; REGISTERS], now: Now) {
        let word = |register: u32| {
            let at = register as usize * 16;
            let bytes = page.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let known = |register| word(register) & Self::writable(register).unwrap_or(0);
        let vectors = |first: u32| {
            let mut words: [u32; 8] = core::array::from_fn(|n| word(first + n as u32));
            words[0] &= !NO_VECTORS;
            Vectors::from_words(words)
        };
        self.tpr = known(reg::TPR) as u8;
        self.ldr = word(reg::LDR) & 0xff00_0000;
        self.dfr = word(reg::DFR) | 0x0fff_ffff;
        self.svr = known(reg::SVR);
        self.esr = word(reg::ESR) & 0xef;
        self.icr = u64::from(word(reg::ICR2)) << 32 | u64::from(known(reg::ICR));
        self.isr = vectors(reg::ISR);
        self.tmr = vectors(reg::TMR);
        self.irr = vectors(reg::IRR);
        let enabled = self.svr & SVR_ENABLED != 0;
        for (lvt, register) in self.lvt.iter_mut().zip(reg::LVT..) {
            *lvt = known(register) | if enabled { 0 } else { LVT_MASKED };
        }
        self.timer.divide = known(reg::DIVIDE);
        let deadline = self.timer.tsc_deadline;
        self.timer.start(0, now);
        match Mode::of(self.lvt[TIMER]) {
            Mode::TscDeadline => self.timer.tsc_deadline = deadline,
            _ => {
                self.timer.tsc_deadline = 0;
                self.timer.start(word(reg::INITIAL), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vlapic::Deadline;

    const AT: Now = Now {
        ns: 1000,
        tsc: 5000,
    };

    fn busy() -> Lapic {
        let mut l = Lapic::new(6, false);
        for (offset, value) in [
            (0xf0, 0x1ff),
            (0x80, 0x20),
            (0xd0, 0x0200_0000),
            (0x320, 0x2_0031),
            (0x3e0, 0xb),
            (0x380, 500),
            (0x310, 0x0400_0000),
        ] {
            let _ = l.mmio_write(offset, 4, value, AT);
        }
        l.raise(0x55, false);
        l.raise(0x77, true);
        l.accept();
        l
    }

    #[test]
    fn a_restored_apic_goes_on_as_the_saved_one() {
        let was = busy();
        let mut is = Lapic::new(6, false);
        is.restore(&was.save()).unwrap();
        is.restore_registers(&was.save_registers(AT), AT);
        assert_eq!(is.save(), was.save());
        assert_eq!(is.save_registers(AT), was.save_registers(AT));
        assert_eq!((is.pending(), is.ppr()), (was.pending(), was.ppr()));
        assert_eq!(is.deadline(), was.deadline());
        assert_eq!(is.deadline(), Deadline::Ns(1000 + 500 * 10));
    }

    #[test]
    fn a_tsc_deadline_is_kept() {
        let mut was = busy();
        let _ = was.mmio_write(0x320, 4, 0x4_0031, AT);
        let _ = was.set_tsc_deadline(9999);
        let mut is = Lapic::new(6, false);
        is.restore(&was.save()).unwrap();
        is.restore_registers(&was.save_registers(AT), AT);
        assert_eq!(is.deadline(), Deadline::Tsc(9999));
    }

    #[test]
    fn nonsense_is_refused_or_tamed() {
        let mut l = Lapic::new(2, false);
        for base in [0, BASE | EXTD, (BASE + 0x1000) | EN, u64::MAX] {
            let saved = Saved {
                base,
                ..Saved::default()
            };
            assert!(l.restore(&saved).is_err());
        }
        l.restore_registers(&[0xff; REGISTERS], AT);
        assert!(l.pending().is_none_or(|v| v >= 16));
        let _ = (l.accept(), l.ppr(), l.deadline());
        l.expire(Now {
            ns: u64::MAX,
            tsc: u64::MAX,
        });
        assert_eq!(l.mmio_read(0x20, 4, AT), 2 << 24);
    }
}
