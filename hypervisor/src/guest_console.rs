//! What guests print through `console_io`, and the ring that `readconsole` shows.

use crate::console;
use bootcfg::LogLevel;
use domain::Mutex;
use xen_abi::DomId;

/// Longest line of a guest that is kept together.
const LINE: usize = 240;

struct Line {
    dom: DomId,
    text: [u8; LINE],
    len: usize,
}

/// The unfinished line of the guest that printed last; dom0's output is not buffered.
static PARTIAL: Mutex<Line> = Mutex::new(Line {
    dom: DomId::INVALID,
    text: [0; LINE],
    len: 0,
});

/// Prints what a guest wrote: dom0's text as it is, others' as rate-limited whole lines with their name.
pub fn write(dom: DomId, bytes: &[u8]) {
    if dom == DomId::DOM0 {
        console::write_raw(bytes);
        return;
    }
    let mut line = PARTIAL.lock();
    if line.dom != dom {
        flush(&mut line);
        line.dom = dom;
    }
    for byte in bytes {
        let len = line.len;
        match (*byte, line.text.get_mut(len)) {
            (b'\n', _) | (_, None) => flush(&mut line),
            (b @ 0x20..=0x7e, Some(slot)) => {
                *slot = b;
                line.len += 1;
            }
            _ => {}
        }
    }
}

fn flush(line: &mut Line) {
    if line.len != 0 {
        let text = core::str::from_utf8(line.text.get(..line.len).unwrap_or(&[])).unwrap_or("");
        console::guest_log(LogLevel::Warning, format_args!("{}: {text}", line.dom));
        line.len = 0;
    }
}

/// Copies from the console ring for `readconsole`; returns the bytes copied and the next index.
pub fn read_ring(buf: &mut [u8], index: u32, incremental: bool, clear: bool) -> (usize, u32) {
    console::with_ring(|ring| ring.read_from(buf, index, incremental, clear))
}
