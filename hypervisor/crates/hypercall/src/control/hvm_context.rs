//! `gethvmcontext` and `sethvmcontext`: the state of a hardware-virtualised domain as a row of records
//! (`hvm/save.h`). Header, then for each kind one per vcpu: CPU, local APIC, MTRR, extended state, MSRs. Records of devices that such
//! a domain does not have are left out.
use super::vcpu::while_paused;
use super::vcpu_state::{get_image, image_bytes, set_image};
use super::{Outcome, Reply, not_self};
use crate::hvm_context::{from_record, mtrr_record, set_mtrr, to_record};
use crate::{Cx, Stop};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use domain::hvm_vcpu::{Now, REGISTERS, Saved};
use domain::{Domain, Host, HvmVcpu, PF_BLOCKED, PF_DOWN, PF_POLLING, Vcpu};
use xen_abi::Errno;
use xen_abi::domctl::Domctl;
use xen_abi::hvm::save::*;
use zerocopy::{FromBytes, IntoBytes};

/// Largest row taken.
const MOST: usize = 1 << 20;
const DESCRIPTOR: usize = size_of::<Descriptor>();

/// Kinds of records that vcpus have, in the order they are told and wanted.
const OF_VCPUS: [u16; 6] = [CPU, LAPIC, LAPIC_REGS, MTRR, CPU_XSAVE, TSC_ADJUST];
/// XCR0's components offered, what is enabled, and all that ever was: in front of the extended state's image.
const XSAVE_HEAD: usize = 24;
const MSR_TSC_AUX: u32 = 0xc000_0103;

fn record(out: &mut Vec<u8>, typecode: u16, instance: u32, body: &[u8]) {
    let head = Descriptor {
        typecode,
        instance: instance as u16,
        length: body.len() as u32,
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

fn now<H: Host>(cx: &Cx<H>, v: &Vcpu) -> Now {
    Now {
        ns: cx.h.now_ns(),
        tsc: v.tsc.at(cx.h.tsc()),
    }
}

/// Most bytes of a whole row.
fn size(dom: &Domain) -> usize {
    let bodies = size_of::<HwCpu>()
        + size_of::<HwLapic>()
        + REGISTERS
        + size_of::<HwMtrr>()
        + XSAVE_HEAD
        + domain::pv::FPU_BYTES
        + size_of::<TscAdjust>();
    let vcpu = OF_VCPUS.len() * DESCRIPTOR + bodies;
    2 * DESCRIPTOR + size_of::<Header>() + dom.vcpus.len() * vcpu
}

/// The whole row. `ENOMEM`.
fn row<H: Host>(cx: &Cx<H>, dom: &Domain) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    out.try_reserve_exact(size(dom))
        .map_err(|_| Errno::ENOMEM)?;
    let header = Header {
        magic: HVM_FILE_MAGIC,
        version: HVM_FILE_VERSION,
        changeset: 0,
        cpuid: cx.h.host_cpuid(1, 0)[0],
        gtsc_khz: dom.tsc.lock().khz,
    };
    record(&mut out, HEADER, 0, header.as_bytes());
    while_paused(cx, dom, || {
        // All counters at the same moment.
        let tsc = cx.h.tsc();
        for kind in OF_VCPUS {
            for v in dom.vcpus.iter() {
                if let Some(hvm) = &v.hvm {
                    of_vcpu(cx, &mut out, kind, v, hvm, tsc);
                }
            }
        }
    });
    out.extend_from_slice(Descriptor::default().as_bytes());
    Ok(out)
}

/// One record, of a vcpu that does not run, when the machine's TSC is `tsc`.
fn of_vcpu<H: Host>(cx: &Cx<H>, out: &mut Vec<u8>, kind: u16, v: &Vcpu, hvm: &HvmVcpu, tsc: u64) {
    let state = hvm.state.lock();
    let mut add = |body: &[u8]| record(out, kind, v.id.0, body);
    match kind {
        // One that is down stays down for lack of a record.
        CPU if v.is_down() => {}
        CPU => add(to_record(&state, v.tsc.at(tsc)).as_bytes()),
        MTRR => add(mtrr_record(&state).as_bytes()),
        LAPIC => {
            let s = hvm.lapic.lock().save();
            let hidden = HwLapic {
                apic_base_msr: s.base,
                disabled: s.disabled,
                timer_divisor: s.divisor,
                tdt_msr: s.tsc_deadline,
            };
            add(hidden.as_bytes());
        }
        LAPIC_REGS => add(&hvm.lapic.lock().save_registers(now(cx, v))),
        CPU_XSAVE if cx.h.default_hvm_cpuid().get(0xd, 0)[0] != 0 && !v.is_down() => {
            let image = image_bytes(cx, state.xcr0);
            let mut body = Vec::new();
            // Without memory for it, there is a record that no one takes.
            if body.try_reserve_exact(XSAVE_HEAD + image).is_ok() {
                body.extend_from_slice(&domain::PV_XCR0.to_le_bytes());
                get_image(&mut body, state.xcr0, &state.fpu, image);
            }
            add(&body);
        }
        TSC_ADJUST => add(TscAdjust {
            tsc_adjust: v.tsc.adjust(),
        }
        .as_bytes()),
        _ => {}
    }
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
    let out = row(cx, dom)?;
    if (c.size as usize) < out.len() {
        return Err(Errno::ENOSPC.into());
    }
    cx.write_bytes(c.buffer.addr(), &out)?;
    c.size = out.len() as u32;
    op.set_hvmcontext(c);
    Ok(Reply::Data)
}

/// `gethvmcontext_partial`: one record without its descriptor; without a buffer, its size. `ENOENT`: there is none.
pub(super) fn get_partial<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    if !dom.is_hvm() {
        return Err(Errno::EINVAL.into());
    }
    let mut c = op.hvmcontext_partial();
    let out = row(cx, dom)?;
    let mut rest = &out[..];
    let found = loop {
        let (head, data, tail) = split(rest)?;
        if head.typecode == END {
            return Err(Errno::ENOENT.into());
        }
        if u32::from(head.typecode) == c.r#type && u32::from(head.instance) == c.instance {
            break data;
        }
        rest = tail;
    };
    if !c.buffer.is_null() {
        if c.bufsz < found.len() as u64 {
            return Err(Errno::ENOSPC.into());
        }
        cx.write_bytes(c.buffer.addr(), found)?;
    }
    c.bufsz = found.len() as u64;
    op.set_hvmcontext_partial(c);
    Ok(Reply::Data)
}

/// The first record, and what follows it. `EINVAL`: cut off.
fn split(row: &[u8]) -> Result<(Descriptor, &[u8], &[u8]), Stop> {
    let (head, tail) = row.split_at_checked(DESCRIPTOR).ok_or(Errno::EINVAL)?;
    let head: Descriptor = body(head)?;
    let (data, tail) = tail
        .split_at_checked(head.length as usize)
        .ok_or(Errno::EINVAL)?;
    Ok((head, data, tail))
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
    while_paused(cx, dom, || take(cx, dom, &bytes))?;
    for v in dom.vcpus.iter() {
        // Its APIC's timer may have been set.
        cx.h.vcpu_timer_changed(v);
        cx.h.kick(v);
    }
    Ok(Reply::Done)
}

fn take<H: Host>(cx: &Cx<H>, dom: &Domain, mut rest: &[u8]) -> Result<(), Stop> {
    let mut first = true;
    let tsc = cx.h.tsc();
    loop {
        let (head, data, tail) = split(rest)?;
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
            CPU => set_cpu(vcpu(dom, &head)?, &body(data)?, tsc)?,
            kind if OF_VCPUS.contains(&kind) || kind == CPU_MSR => {
                set_of_vcpu(cx, vcpu(dom, &head)?, kind, data)?;
            }
            // Of devices that are not there, or of which nothing is kept yet.
            _ => {}
        }
        first = false;
    }
}

/// All but the CPU record.
fn set_of_vcpu<H: Host>(cx: &Cx<H>, v: &Vcpu, kind: u16, data: &[u8]) -> Result<(), Stop> {
    let hvm = v.hvm.as_ref().ok_or(Errno::EINVAL)?;
    let mut state = hvm.state.lock();
    match kind {
        MTRR => set_mtrr(&mut state, &body(data)?)?,
        LAPIC => {
            let h: HwLapic = body(data)?;
            let saved = Saved {
                base: h.apic_base_msr,
                tsc_deadline: h.tdt_msr,
                ..Saved::default()
            };
            let done = hvm.lapic.lock().restore(&saved);
            done.map_err(|_| Errno::EINVAL)?;
        }
        LAPIC_REGS => {
            let page = data.try_into().map_err(|_| Errno::EINVAL)?;
            hvm.lapic.lock().restore_registers(page, now(cx, v));
        }
        CPU_XSAVE => {
            let image = data.get(8..).ok_or(Errno::EINVAL)?;
            state.xcr0 = set_image(cx, image, &mut state.fpu)?;
        }
        CPU_MSR => set_msrs(&mut state.tsc_aux, data)?,
        TSC_ADJUST => v.tsc.restore_adjust(body::<TscAdjust>(data)?.tsc_adjust),
        _ => {}
    }
    Ok(())
}

/// MSRs that have no place elsewhere. `EINVAL`: one that is not offered has a value.
fn set_msrs(tsc_aux: &mut u64, data: &[u8]) -> Result<(), Stop> {
    let (_count, list) = data.split_at_checked(8).ok_or(Errno::EINVAL)?;
    for entry in list.chunks(size_of::<OneMsr>()) {
        let msr: OneMsr = body(entry)?;
        match msr.index {
            MSR_TSC_AUX if msr.val >> 32 == 0 => *tsc_aux = msr.val,
            _ if msr.val == 0 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    Ok(())
}

fn vcpu<'a>(dom: &'a Domain, head: &Descriptor) -> Result<&'a Vcpu, Errno> {
    dom.vcpus
        .get(usize::from(head.instance))
        .ok_or(Errno::EINVAL)
}

fn set_cpu(v: &Vcpu, record: &HwCpu, tsc: u64) -> Result<(), Errno> {
    let hvm = v.hvm.as_ref().ok_or(Errno::EINVAL)?;
    let mut state = hvm.state.lock();
    *state = from_record(record, &state)?;
    v.tsc.restore(tsc, record.tsc);
    v.initialised.store(true, Ordering::Release);
    v.clear_flags(PF_DOWN | PF_BLOCKED | PF_POLLING);
    Ok(())
}
