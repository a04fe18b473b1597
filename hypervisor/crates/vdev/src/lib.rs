//! The virtual platform of PVH and HVM guests, each device a pure state machine.
//!
//! * [`vlapic`]: the local APIC ([`Lapic`]) behind its MMIO page and its x2APIC MSRs.
//! * [`vioapic`]: the IO-APIC ([`IoApic`]).
//! * [`pm`]: ACPI PM timer and PM1a block ([`pm::Pm`]).
//! * [`vpic`]: the pair of 8259A interrupt controllers ([`Pic`]).
//! * [`vpit`]: the 8254 interval timer ([`Pit`]).
//! * [`rtc`]: the MC146818 clock with its CMOS memory ([`Rtc`]).
//! * [`hpet`]: the high-precision event timer ([`Hpet`]).
//! * [`ioreq`]: device models outside the hypervisor: who is asked, the shared pages.
//! * [`via`]: how event channels are announced to such a guest ([`Via`]).
//!
//! Time comes in as a value, effects go out as values. Nothing here allocates, locks or logs, and no value a guest
//! writes, of any width and in any order of time, panics or loops.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod hpet;
pub mod ioreq;
pub mod pm;
pub mod rtc;
pub mod via;
pub mod vioapic;
pub mod vlapic;
pub mod vpic;
pub mod vpit;

pub use hpet::Hpet;
pub use rtc::Rtc;
pub use via::Via;
pub use vioapic::IoApic;
pub use vlapic::Lapic;
pub use vpic::Pic;
pub use vpit::Pit;

/// A moment: both clocks read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Nanoseconds since the guest's start.
    pub ns: u64,
    /// What the guest's RDTSC would return.
    pub tsc: u64,
}

/// The access raises #GP(0) in the guest; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeneralProtection;
