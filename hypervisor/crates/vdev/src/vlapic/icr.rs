//! [`Ipi`]: what a write to the interrupt command register asks for.

/// Who is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dest {
    /// The sender only.
    Own,
    /// Everyone, the sender included.
    All,
    /// Everyone else.
    Others,
    /// By APIC id; all ones is everyone.
    Physical(u32),
    /// By logical id.
    Logical(u32),
}

/// What happens to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Raises an edge-triggered vector at each.
    Fixed(u8),
    /// Raises it at one of them, the caller's choice.
    Lowest(u8),
    /// Raises an NMI.
    Nmi,
    /// Resets to wait-for-SIPI.
    Init,
    /// Starts at page `0`xx of real mode if waiting.
    Startup(u8),
}

/// An interprocessor interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipi {
    /// To whom. Ids are 8 bits wide if `wide` is false.
    pub dest: Dest,
    /// What.
    pub action: Action,
    /// Sent from x2APIC mode.
    pub wide: bool,
}

impl Ipi {
    /// Decodes the ICR; `None` if nothing is to be sent (SMI, INIT de-assert, reserved modes).
    pub(crate) fn decode(icr: u64, wide: bool) -> Option<Ipi> {
        let low = icr as u32;
        let id = match wide {
            true => (icr >> 32) as u32,
            false => (icr >> 56) as u32,
        };
        let dest = match (low >> 18 & 3, low & 1 << 11 != 0) {
            (1, _) => Dest::Own,
            (2, _) => Dest::All,
            (3, _) => Dest::Others,
            (_, true) => Dest::Logical(id),
            (_, false) => Dest::Physical(id),
        };
        let assert = low & 1 << 14 != 0;
        let level = low & 1 << 15 != 0;
        let action = match low >> 8 & 7 {
            0 => Action::Fixed(low as u8),
            1 => Action::Lowest(low as u8),
            4 => Action::Nmi,
            5 if level && !assert => return None,
            5 => Action::Init,
            6 => Action::Startup(low as u8),
            _ => return None,
        };
        Some(Ipi { dest, action, wide })
    }
}
