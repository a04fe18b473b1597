//! The 2-level ABI: a pending and a mask bit per port in the shared info page, a selector word per vcpu.
use crate::deliver::{Raised, mark_upcall};
use crate::table::Slot;
use crate::{Ports, SharedEvents};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use xen_abi::Port;

fn bit(port: Port) -> u64 {
    1 << (port.0 % 64)
}

fn word(port: Port) -> usize {
    port.0 as usize / 64
}

impl Ports {
    pub(crate) fn two_level_bit(&self, word: Option<&AtomicU64>, port: Port) -> bool {
        word.is_some_and(|w| w.load(SeqCst) & bit(port) != 0)
    }

    pub(crate) fn raise_two_level(
        &self,
        shared: &impl SharedEvents,
        slot: &Slot,
        port: Port,
    ) -> Raised {
        let Some(pending) = shared.pending_word(word(port)) else {
            return Raised::NOTHING;
        };
        if pending.fetch_or(bit(port), SeqCst) & bit(port) != 0 {
            return Raised::NOTHING;
        }
        let masked = self.two_level_bit(shared.mask_word(word(port)), port);
        Raised {
            fresh: true,
            kick: !masked && select(shared, slot, port),
        }
    }

    pub(crate) fn unmask_two_level(
        &self,
        shared: &impl SharedEvents,
        slot: &Slot,
        port: Port,
    ) -> bool {
        let Some(mask) = shared.mask_word(word(port)) else {
            return false;
        };
        let was_masked = mask.fetch_and(!bit(port), SeqCst) & bit(port) != 0;
        was_masked
            && self.two_level_bit(shared.pending_word(word(port)), port)
            && select(shared, slot, port)
    }

    pub(crate) fn clear_two_level(&self, shared: &impl SharedEvents, port: Port) {
        if let Some(pending) = shared.pending_word(word(port)) {
            pending.fetch_and(!bit(port), SeqCst);
        }
    }
}

/// Sets the port's selector bit on its vcpu; true if the vcpu's upcall flag was raised by it.
fn select(shared: &impl SharedEvents, slot: &Slot, port: Port) -> bool {
    let Some(events) = shared.vcpu_events(slot.vcpu) else {
        return false;
    };
    let selector = 1u64 << (word(port) % 64);
    events.pending_sel.fetch_or(selector, SeqCst) & selector == 0 && mark_upcall(Some(events))
}
