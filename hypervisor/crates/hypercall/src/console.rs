//! `console_io`: dom0's emergency console on the hypervisor's serial line, and guests' debug output.
use crate::{Cx, Ret};
use domain::Host;
use xen_abi::Errno;
use xen_abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE};

/// Bytes copied at a time.
const CHUNK: usize = 256;
/// Bytes per call before other work gets its turn.
const BATCH: u64 = 4096;

/// `console_io(cmd, count, buffer)`.
pub fn console_io<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, count, buffer, ..] = cx.args;
    if count > i32::MAX as u64 {
        return Err(Errno::EINVAL.into());
    }
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        CONSOLEIO_WRITE => write(cx, count, buffer),
        CONSOLEIO_READ => {
            cx.need_privilege()?;
            let mut chunk = [0u8; CHUNK];
            let want = chunk.len().min(count as usize);
            let n = cx.h.console_read(&mut chunk[..want]);
            cx.write_bytes(buffer, &chunk[..n.min(want)])?;
            Ok(n as i64)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn write<H: Host>(cx: &Cx<H>, count: u64, buffer: u64) -> Ret {
    let mut done = 0;
    while done < count {
        let at = buffer.checked_add(done).ok_or(Errno::EFAULT)?;
        if done >= BATCH {
            return Err(cx.again(&[(1, count - done), (2, at)]));
        }
        let mut chunk = [0u8; CHUNK];
        let n = CHUNK.min((count - done) as usize);
        cx.h.copy_from_guest(&mut chunk[..n], at)?;
        cx.h.console_write(cx.dom.id, &chunk[..n]);
        done += n as u64;
    }
    Ok(0)
}
