//! `gethvmcontext` and `sethvmcontext`: the state of a hardware-virtualised domain as a row of records
//! (`hvm/save.h`). Header, CPU, MTRR; records of devices that such a domain does not have are left out.
use super::vcpu::while_paused;
use super::{Outcome, Reply, not_self};
use crate::hvm_context::{from_record, mtrr_record, set_mtrr, to_record};
use crate::{Cx, Stop};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use domain::{Domain, Host, PF_DOWN, Vcpu};
use xen_abi::Errno;
use xen_abi::domctl::Domctl;
use xen_abi::hvm::save::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Largest row taken.
const MOST: usize = 1 << 20;
const DESCRIPTOR: usize = size_of::<Descriptor>();

fn record<T: IntoBytes + Immutable>(out: &mut Vec<u8>, typecode: u16, instance: u32, body: &T) {
    let head = Descriptor {
        typecode,
        instance: instance as u16,
        length: size_of::<T>() as u32,
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// Bytes of a whole row.
fn size(dom: &Domain) -> usize {
    let vcpu = 2 * DESCRIPTOR + size_of::<HwCpu>() + size_of::<HwMtrr>();
    2 * DESCRIPTOR + size_of::<Header>() + dom.vcpus.len() * vcpu
}

/// `gethvmcontext`: without a buffer, its size.
pub(super) fn get<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    if !dom.is_hvm() {
        return Err(Errno::EINVAL.into());
    }
    let mut c = op.hvmcontext();
    let needed = size(dom);
    if c.buffer.is_null() {
        c.size = needed as u32;
        op.set_hvmcontext(c);
        return Ok(Reply::Data);
    }
    if (c.size as usize) < needed {
        return Err(Errno::ENOSPC.into());
    }
    let mut out = Vec::new();
    out.try_reserve_exact(needed).map_err(|_| Errno::ENOMEM)?;
    let header = Header {
        magic: HVM_FILE_MAGIC,
        version: HVM_FILE_VERSION,
        changeset: 0,
        cpuid: cx.h.host_cpuid(1, 0)[0],
        gtsc_khz: cx.h.info().cpu_khz,
    };
    record(&mut out, HEADER, 0, &header);
    let tsc = cx.h.tsc();
    while_paused(cx, dom, || {
        for v in dom.vcpus.iter() {
            let Some(hvm) = &v.hvm else { continue };
            let state = hvm.state.lock();
            record(&mut out, CPU, v.id.0, &to_record(&state, tsc));
            record(&mut out, MTRR, v.id.0, &mtrr_record(&state));
        }
    });
    out.extend_from_slice(Descriptor::default().as_bytes());
    cx.write_bytes(c.buffer.addr(), &out)?;
    c.size = out.len() as u32;
    op.set_hvmcontext(c);
    Ok(Reply::Data)
}

/// A record's body. `EINVAL`: it has another size.
fn body<T: FromBytes + IntoBytes>(bytes: &[u8]) -> Result<T, Stop> {
    T::read_from_bytes(bytes).map_err(|_| Errno::EINVAL.into())
}

/// `sethvmcontext`: what the records say becomes the state of their vcpus, one record after the other.
pub(super) fn set<H: Host>(cx: &Cx<H>, dom: &Arc<Domain>, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    if !dom.is_hvm() {
        return Err(Errno::EINVAL.into());
    }
    let c = op.hvmcontext();
    let bytes = cx.read_bytes(c.buffer.addr(), c.size as usize, MOST)?;
    while_paused(cx, dom, || take(dom, &bytes))?;
    for v in dom.vcpus.iter() {
        cx.h.kick(v);
    }
    Ok(Reply::Done)
}

fn take(dom: &Domain, mut rest: &[u8]) -> Result<(), Stop> {
    let mut first = true;
    loop {
        let (head, tail) = rest.split_at_checked(DESCRIPTOR).ok_or(Errno::EINVAL)?;
        let head: Descriptor = body(head)?;
        let (data, tail) = tail
            .split_at_checked(head.length as usize)
            .ok_or(Errno::EINVAL)?;
        rest = tail;
        match head.typecode {
            HEADER => {
                let h: Header = body(data)?;
                if h.magic != HVM_FILE_MAGIC || h.version != HVM_FILE_VERSION {
                    return Err(Errno::EINVAL.into());
                }
            }
            _ if first => return Err(Errno::EINVAL.into()),
            END => return Ok(()),
            CPU => set_cpu(vcpu(dom, &head)?, &body(data)?)?,
            MTRR => {
                let hvm = vcpu(dom, &head)?.hvm.as_ref().ok_or(Errno::EINVAL)?;
                set_mtrr(&mut hvm.state.lock(), &body(data)?)?;
            }
            // Of devices that are not there, or of which nothing is kept yet.
            _ => {}
        }
        first = false;
    }
}

fn vcpu<'a>(dom: &'a Domain, head: &Descriptor) -> Result<&'a Vcpu, Errno> {
    dom.vcpus
        .get(usize::from(head.instance))
        .ok_or(Errno::EINVAL)
}

fn set_cpu(v: &Vcpu, record: &HwCpu) -> Result<(), Errno> {
    let hvm = v.hvm.as_ref().ok_or(Errno::EINVAL)?;
    let mut state = hvm.state.lock();
    *state = from_record(record, &state)?;
    v.initialised.store(true, Ordering::Release);
    v.clear_flags(PF_DOWN);
    Ok(())
}
