//! What is typed goes to Domain-0; Ctrl-A three times switches to the hypervisor's debug keys and back.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const SWITCH: u8 = 0x01;
const TIMES: u8 = 3;

/// A typed byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// For Domain-0's console.
    Domain0(u8),
    /// A debug key.
    Hypervisor(u8),
}

static TO_HYPERVISOR: AtomicBool = AtomicBool::new(false);
static SWITCHES: AtomicU8 = AtomicU8::new(0);

/// The next typed byte and its addressee. To be called from time to time; one CPU at a time.
pub fn poll() -> Option<Input> {
    let byte = super::read_byte()?;
    if byte == SWITCH {
        if SWITCHES.fetch_add(1, Ordering::Relaxed) + 1 == TIMES {
            SWITCHES.store(0, Ordering::Relaxed);
            let hypervisor = !TO_HYPERVISOR.fetch_xor(true, Ordering::Relaxed);
            let owner = if hypervisor {
                "the hypervisor"
            } else {
                "Domain-0"
            };
            log::info!("Input goes to {owner} (Ctrl-A three times to switch)");
            return poll();
        }
    } else {
        SWITCHES.store(0, Ordering::Relaxed);
    }
    Some(if TO_HYPERVISOR.load(Ordering::Relaxed) {
        Input::Hypervisor(byte)
    } else {
        Input::Domain0(byte)
    })
}
