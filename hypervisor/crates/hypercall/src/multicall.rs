//! `multicall`: a batch of calls for the price of one entry.
use crate::{Cx, Ret, Stop};
use domain::Host;
use xen_abi::Errno;
use xen_abi::hypercall as nr;
use xen_abi::xen::MulticallEntry;

/// Calls per batch between chances for other work.
const BATCH: u64 = 64;

/// `multicall(list, count)`.
pub fn multicall<H: Host>(cx: &Cx<H>) -> Ret {
    let [list, count, ..] = cx.args;
    for i in 0..count {
        let addr = i
            .checked_mul(size_of::<MulticallEntry>() as u64)
            .and_then(|o| list.checked_add(o))
            .ok_or(Errno::EFAULT)?;
        if i == BATCH {
            return Err(cx.again(&[(0, addr), (1, count - i)]));
        }
        let mut entry: MulticallEntry = cx.read(addr)?;
        if entry.op == u64::from(nr::MULTICALL) || entry.op == u64::from(nr::IRET) {
            entry.result = Errno::EINVAL.as_ret() as u64;
            write_result(cx, addr, &entry)?;
            continue;
        }
        match crate::call(cx.h, cx.dom, cx.v, entry.op, entry.args) {
            Ok(value) => entry.result = value as u64,
            Err(Stop::Error(e)) => entry.result = e.as_ret() as u64,
            Err(Stop::Crash(why)) => return Err(Stop::Crash(why)),
            Err(Stop::Again(args)) => {
                // Remember in the guest's own entry how far the inner call got, and come back to it.
                entry.args = args;
                cx.write(addr, &entry)?;
                return Err(cx.again(&[(0, addr), (1, count - i)]));
            }
        }
        write_result(cx, addr, &entry)?;
    }
    Ok(0)
}

fn write_result<H: Host>(cx: &Cx<H>, addr: u64, entry: &MulticallEntry) -> Result<(), Stop> {
    const RESULT: u64 = core::mem::offset_of!(MulticallEntry, result) as u64;
    cx.write(addr + RESULT, &entry.result)
}
