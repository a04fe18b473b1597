//! [`Via`]: how a guest is told of pending event channels (`HVM_PARAM_CALLBACK_IRQ` in `hvm/params.h`).

/// The way the guest chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Via {
    /// Not at all.
    #[default]
    None,
    /// A line of the IO-APIC, held while vcpu 0 has upcalls pending.
    Gsi(u8),
    /// A PCI interrupt pin on bus 0, held likewise.
    PciIntx {
        /// Slot, 0 to 31.
        device: u8,
        /// 0 for INTA to 3 for INTD.
        pin: u8,
    },
    /// An edge-triggered vector on the vcpu itself.
    Vector(u8),
}

/// GSIs an IO-APIC of ours can have.
pub const GSIS: u64 = 48;

impl Via {
    /// Decodes the parameter's value; `None` if it is not one that can be delivered.
    pub fn decode(value: u64) -> Option<Via> {
        let detail = value & 0x00ff_ffff_ffff_ffff;
        match value >> 56 {
            0 if detail == 0 => Some(Via::None),
            0 if detail < GSIS => Some(Via::Gsi(detail as u8)),
            1 if (detail >> 16) == 0 => Some(Via::PciIntx {
                device: ((detail >> 11) & 0x1f) as u8,
                pin: (detail & 3) as u8,
            }),
            2 if (detail as u8) >= 16 => Some(Via::Vector(detail as u8)),
            _ => None,
        }
    }

    /// The line to hold while events are pending: PCI pins are swizzled onto GSIs 16 to 47.
    pub fn gsi(self) -> Option<u8> {
        match self {
            Via::Gsi(gsi) => Some(gsi),
            Via::PciIntx { device, pin } => {
                let device = u32::from(device & 0x1f);
                Some(16 + ((device * 4 + (device >> 3) + u32::from(pin & 3)) & 31) as u8)
            }
            Via::None | Via::Vector(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_told_apart() {
        assert_eq!(Via::decode(0), Some(Via::None));
        assert_eq!(Via::decode(9), Some(Via::Gsi(9)));
        assert_eq!(Via::decode(48), None);
        assert_eq!(Via::decode(2 << 56 | 0xf3), Some(Via::Vector(0xf3)));
        assert_eq!(Via::decode(2 << 56 | 3), None);
        assert_eq!(Via::decode(3 << 56), None);
        let platform = Via::decode(1 << 56 | 0x18 << 8).unwrap();
        assert_eq!(platform, Via::PciIntx { device: 3, pin: 0 });
        assert_eq!(platform.gsi(), Some(28));
    }

    #[test]
    fn every_line_exists() {
        for device in 0..=255 {
            for pin in 0..=255 {
                let gsi = Via::PciIntx { device, pin }.gsi().unwrap();
                assert!((16..GSIS as u8).contains(&gsi));
            }
        }
    }
}
