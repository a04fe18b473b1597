//! The console ring, output only. [`say!`](crate::say) waits for room; [`shout`] does not.

use crate::{hv, mmu};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, fence};
use xen_abi::DomId;
use xen_abi::event_channel::SEND;
use xen_abi::hvm::{GET_PARAM, PARAM_CONSOLE_EVTCHN, PARAM_CONSOLE_PFN, Param};
use xen_abi::hypercall::{CONSOLE_IO, EVENT_CHANNEL_OP, HVM_OP};
use xen_abi::io::console::Interface;
use xen_abi::start_info::{ConsoleDomU, StartInfo};
use xen_abi::xen::CONSOLEIO_WRITE;

static RING: AtomicU64 = AtomicU64::new(0);
static PORT: AtomicU64 = AtomicU64::new(0);

/// Finds ring and port.
pub fn init(info: &StartInfo) {
    let console = info.console.get::<ConsoleDomU>();
    RING.store(mmu::mfn_to_virt(console.mfn.0), Relaxed);
    PORT.store(console.evtchn.0.into(), Relaxed);
}

/// The same for PVH, where the hypervisor says it and memory is mapped where it is.
pub fn init_hvm() {
    let param = |index: u32| {
        let mut arg = Param {
            domid: DomId(0x7ff0),
            index,
            ..Default::default()
        };
        hv::op(HVM_OP, GET_PARAM, &mut arg);
        arg.value
    };
    RING.store(param(PARAM_CONSOLE_PFN) << 12, Relaxed);
    PORT.store(param(PARAM_CONSOLE_EVTCHN), Relaxed);
}

/// Tells the other side to look.
pub fn kick() {
    let mut port = PORT.load(Relaxed) as u32;
    hv::op(EVENT_CHANNEL_OP, SEND, &mut port);
}

/// Puts a byte into the ring whether there is room or not, when `rude`; else waits for room.
fn put(byte: u8, rude: bool) {
    let ring = RING.load(Relaxed) as *mut Interface;
    // SAFETY: the ring is a page of ours that the domain builder set aside and the daemon shares; all accesses are
    // volatile and no reference is made.
    unsafe {
        let prod = (&raw const (*ring).out_prod).read_volatile();
        while !rude && prod.wrapping_sub((&raw const (*ring).out_cons).read_volatile()) >= 2048 {
            kick();
            hv::pause();
        }
        (&raw mut (*ring).out)
            .cast::<u8>()
            .add(prod as usize % 2048)
            .write_volatile(byte);
        fence(core::sync::atomic::Ordering::Release);
        (&raw mut (*ring).out_prod).write_volatile(prod.wrapping_add(1));
    }
}

/// Overruns the ring with a line.
pub fn shout(line: &str) {
    for byte in line.bytes() {
        put(byte, true);
    }
}

/// Writes text, politely. Without a ring, into the hypervisor's console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if RING.load(Relaxed) == 0 {
            let at = text.as_ptr() as u64;
            let write = u64::from(CONSOLEIO_WRITE);
            hv::call(CONSOLE_IO, [write, text.len() as u64, at, 0, 0]);
            return Ok(());
        }
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r', false);
            }
            put(byte, false);
        }
        kick();
        Ok(())
    }
}

/// Prints a line on the console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        // Writing to the ring cannot fail.
        let _ = writeln!($crate::console::Console, $($arg)*);
    }};
}
