//! Interrupts: one descriptor per interrupt, vectors per CPU, and who gets told.
//!
//! Irq numbers below [`gsi_count`] are global system interrupts; MSIs come after them. An irq is bound to one CPU, where it
//! has a vector of its own. When it fires, [`handle_vector`] acknowledges it at the local APIC (a level-triggered line is
//! masked first) and calls [`crate::irq_hook`]; [`eoi`] re-opens a level-triggered line when the guest has served it.

pub mod ioapic;
pub mod lapic;
pub mod msi;
pub mod pci;
pub mod pic;
pub mod vectors;

use crate::percpu;
use crate::sync::{Level, SpinLock};
use spin::Once;
use vectors::VectorError;

/// Interrupts we keep track of.
pub const MAX_IRQS: usize = 1024;
/// No interrupt.
pub const NO_IRQ: u32 = u32::MAX;

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Unused,
    /// An I/O APIC pin: global system interrupt.
    Gsi(u32),
    /// A message from a PCI device.
    Msi(msi::Source),
}

/// One interrupt.
#[derive(Clone, Copy, Debug)]
pub struct IrqDesc {
    /// Source.
    pub kind: Kind,
    /// CPU it is bound to.
    pub cpu: u32,
    /// Its vector there, 0 while unbound.
    pub vector: u8,
    /// Level-triggered.
    pub level: bool,
    /// Active low.
    pub low: bool,
    /// Masked at the source by [`mask`], or never unmasked.
    pub masked: bool,
    /// A level-triggered line that waits for [`eoi`].
    pub in_service: bool,
}

impl IrqDesc {
    const UNUSED: Self = Self {
        kind: Kind::Unused,
        cpu: 0,
        vector: 0,
        level: false,
        low: false,
        masked: true,
        in_service: false,
    };
}

/// Why an interrupt cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqError {
    /// No such interrupt, or of the wrong kind.
    BadIrq,
    /// No free irq number.
    NoIrq,
    /// All vectors of the CPU are in use.
    NoVector,
    /// No such CPU.
    BadCpu,
    /// The device has no such capability, or its registers cannot be mapped.
    BadDevice,
}

impl From<VectorError> for IrqError {
    fn from(error: VectorError) -> Self {
        match error {
            VectorError::Full => Self::NoVector,
            VectorError::BadCpu => Self::BadCpu,
        }
    }
}

static IRQS: SpinLock<[IrqDesc; MAX_IRQS]> = SpinLock::new(Level::Irq, [IrqDesc::UNUSED; MAX_IRQS]);
static GSI_COUNT: Once<u32> = Once::new();

/// Sets up the interrupt controllers of the machine; all lines masked.
pub fn init() {
    ioapic::init();
    let count = ioapic::gsi_count().clamp(16, MAX_IRQS as u32 / 2);
    GSI_COUNT.call_once(|| count);
    let mut irqs = IRQS.lock();
    for gsi in 0..count {
        let (level, low) = ioapic::default_mode(gsi);
        irqs[gsi as usize] = IrqDesc {
            kind: Kind::Gsi(gsi),
            level,
            low,
            ..IrqDesc::UNUSED
        };
    }
}

/// Irq numbers below this are global system interrupts.
pub fn gsi_count() -> u32 {
    GSI_COUNT.get().copied().unwrap_or(16)
}

/// A copy of `irq`'s descriptor.
pub fn desc(irq: u32) -> Option<IrqDesc> {
    IRQS.lock()
        .get(irq as usize)
        .copied()
        .filter(|desc| desc.kind != Kind::Unused)
}

/// Runs `f` on a used descriptor under the lock.
fn with<T>(irq: u32, f: impl FnOnce(&mut IrqDesc) -> Result<T, IrqError>) -> Result<T, IrqError> {
    let mut irqs = IRQS.lock();
    let desc = irqs
        .get_mut(irq as usize)
        .filter(|desc| desc.kind != Kind::Unused)
        .ok_or(IrqError::BadIrq)?;
    f(desc)
}

/// Sets how a GSI's line signals; before [`bind`], or it takes effect at the next one.
pub fn set_mode(irq: u32, level: bool, low: bool) -> Result<(), IrqError> {
    with(irq, |desc| {
        let Kind::Gsi(_) = desc.kind else {
            return Err(IrqError::BadIrq);
        };
        if (desc.level, desc.low) != (level, low) {
            (desc.level, desc.low) = (level, low);
            if desc.vector != 0 {
                write_route(desc);
            }
        }
        Ok(())
    })
}

/// Routes `irq` to `cpu` and returns its vector there. It keeps its mask state; a new interrupt is masked.
pub fn bind(irq: u32, cpu: u32) -> Result<u8, IrqError> {
    with(irq, |desc| {
        if desc.vector != 0 && desc.cpu == cpu {
            return Ok(desc.vector);
        }
        let vector = vectors::alloc(cpu, irq)?;
        let (old_cpu, old_vector) = (desc.cpu, desc.vector);
        (desc.cpu, desc.vector) = (cpu, vector);
        write_route(desc);
        if old_vector != 0 {
            vectors::free(old_cpu, old_vector, irq);
        }
        Ok(vector)
    })
}

/// Masks `irq` and gives its vector back. An MSI's number becomes free only with [`msi::teardown`].
pub fn unbind(irq: u32) -> Result<(), IrqError> {
    with(irq, |desc| {
        desc.masked = true;
        desc.in_service = false;
        write_mask(desc);
        if desc.vector != 0 {
            vectors::free(desc.cpu, desc.vector, irq);
            desc.vector = 0;
        }
        Ok(())
    })
}

/// Keeps `irq` from firing.
pub fn mask(irq: u32) -> Result<(), IrqError> {
    with(irq, |desc| {
        desc.masked = true;
        write_mask(desc);
        Ok(())
    })
}

/// Lets `irq` fire.
pub fn unmask(irq: u32) -> Result<(), IrqError> {
    with(irq, |desc| {
        desc.masked = false;
        write_mask(desc);
        Ok(())
    })
}

/// The guest has served `irq`: a level-triggered line opens again.
pub fn eoi(irq: u32) -> Result<(), IrqError> {
    with(irq, |desc| {
        if desc.in_service {
            desc.in_service = false;
            write_mask(desc);
        }
        Ok(())
    })
}

fn write_route(desc: &IrqDesc) {
    let Some(cpu) = percpu::of(desc.cpu) else {
        return;
    };
    match desc.kind {
        Kind::Gsi(gsi) => ioapic::route(
            gsi,
            ioapic::Route {
                apic_id: cpu.apic_id,
                vector: desc.vector,
                level: desc.level,
                low: desc.low,
                masked: desc.masked || desc.in_service,
            },
        ),
        Kind::Msi(source) => msi::write_message(source, cpu.apic_id, desc.vector),
        Kind::Unused => {}
    }
}

fn write_mask(desc: &IrqDesc) {
    match desc.kind {
        Kind::Gsi(gsi) => ioapic::set_mask(gsi, desc.masked || desc.in_service || desc.vector == 0),
        Kind::Msi(source) => msi::set_mask(source, desc.masked),
        Kind::Unused => {}
    }
}

/// Gives `kind` a free irq number above the GSIs.
fn alloc_irq(kind: Kind) -> Result<u32, IrqError> {
    let mut irqs = IRQS.lock();
    let irq = (gsi_count() as usize..MAX_IRQS)
        .find(|irq| irqs[*irq].kind == Kind::Unused)
        .ok_or(IrqError::NoIrq)?;
    irqs[irq] = IrqDesc {
        kind,
        ..IrqDesc::UNUSED
    };
    Ok(irq as u32)
}

fn free_irq(irq: u32) {
    if let Some(desc) = IRQS.lock().get_mut(irq as usize) {
        *desc = IrqDesc::UNUSED;
    }
}

/// Whether an interrupt with this source exists already, and its number.
fn find_irq(matches: impl Fn(&Kind) -> bool) -> Option<u32> {
    IRQS.lock()
        .iter()
        .position(|desc| matches(&desc.kind))
        .map(|irq| irq as u32)
}

/// An interrupt with `vector` has arrived at this CPU; called with interrupts off. Tells the hooks.
pub fn handle_vector(vector: u8) {
    match vector {
        vectors::SPURIOUS => {}
        vectors::TIMER => {
            lapic::eoi();
            crate::timer_hook();
        }
        vectors::CALL => {
            lapic::eoi();
            crate::smp::service_calls();
        }
        vectors::FIRST_DEVICE..=vectors::LAST_DEVICE => device_interrupt(vector),
        vectors::FIRST_IPI.. => {
            lapic::eoi();
            crate::ipi_hook(vector);
        }
        _ => {
            // Below FIRST_DEVICE: nothing of ours, unless the 8259 or a confused device speaks up.
            lapic::eoi_if_in_service(vector);
        }
    }
}

fn device_interrupt(vector: u8) {
    let irq = vectors::lookup(vector);
    // The line is masked before the local APIC's EOI, or it would fire again at once.
    let known = with(irq, |desc| {
        if desc.level && matches!(desc.kind, Kind::Gsi(_)) {
            desc.in_service = true;
            write_mask(desc);
        }
        Ok(())
    });
    lapic::eoi();
    match known {
        Ok(()) => crate::irq_hook(irq),
        Err(_) => log::debug!(
            "CPU {}: stray interrupt, vector {vector:#x}",
            percpu::cpu_id()
        ),
    }
}
