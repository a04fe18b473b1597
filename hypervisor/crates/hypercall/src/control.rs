//! The toolstack's calls, `domctl` and `sysctl`: version and privilege first, then one handler per command.
//!
//! A handler gets the operation as it was copied in, and says with [`Reply`] whether it goes back. Families:
//! `lifecycle`, `memory`, `vcpu` and `vcpu_state`, `affinity`, `sched`, `cpu_policy`, `info`; `machine`, `pools` for sysctl.
use crate::{Cx, Ret, Stop};
use alloc::sync::Arc;
use domain::{Domain, Host, Vcpu};
use xen_abi::domctl::{self as dc, Domctl};
use xen_abi::sysctl::{self as sc, Sysctl};
use xen_abi::{DomId, Errno, VcpuId};

mod affinity;
mod bitmap;
mod cpu_policy;
mod hvm_context;
mod hypercall_page;
mod info;
mod lifecycle;
mod machine;
mod memory;
mod pools;
mod sched;
mod vcpu;
mod vcpu_state;

pub(crate) use bitmap::all_cpus;
pub use hypercall_page::{write_hvm_hypercall_page, write_hypercall_page};

/// domctl interfaces whose operations, but for `createdomain`, are laid out alike.
const DOMCTL_VERSIONS: core::ops::RangeInclusive<u32> = 0x15..=0x18;
/// domctl interfaces with the same `createdomain`.
const CREATE_VERSIONS: core::ops::RangeInclusive<u32> = 0x15..=0x16;
/// sysctl interfaces with the same layouts.
const SYSCTL_VERSIONS: core::ops::RangeInclusive<u32> = 0x15..=0x16;

/// What becomes of the caller's struct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    /// It stays as it is.
    Done,
    /// It is written back.
    Data,
}

/// What handlers return.
type Outcome = Result<Reply, Stop>;

/// `domctl(arg)`.
pub fn domctl<H: Host>(cx: &Cx<H>) -> Ret {
    let mut op: Domctl = cx.read(cx.args[0])?;
    if !DOMCTL_VERSIONS.contains(&op.interface_version)
        || (op.cmd == dc::CREATEDOMAIN && !CREATE_VERSIONS.contains(&op.interface_version))
    {
        return Err(Errno::EACCES.into());
    }
    cx.need_privilege()?;
    let reply = match op.cmd {
        dc::CREATEDOMAIN => lifecycle::create(cx, &mut op)?,
        dc::GETDOMAININFO => info::get(cx, &mut op)?,
        dc::TEST_ASSIGN_DEVICE | dc::ASSIGN_DEVICE | dc::DEASSIGN_DEVICE | dc::GET_DEVICE_GROUP => {
            // There is no IOMMU to keep an assigned device in its place.
            return Err(Errno::ENODEV.into());
        }
        _ => {
            let dom = cx.h.domains().get(op.domain).ok_or(Errno::ESRCH)?;
            of_domain(cx, &dom, &mut op)?
        }
    };
    if reply == Reply::Data {
        cx.write(cx.args[0], &op)?;
    }
    Ok(0)
}

/// The commands on an existing domain.
fn of_domain<H: Host>(cx: &Cx<H>, dom: &Arc<Domain>, op: &mut Domctl) -> Outcome {
    match op.cmd {
        dc::DESTROYDOMAIN => lifecycle::destroy(cx, dom),
        dc::PAUSEDOMAIN => lifecycle::pause(cx, dom),
        dc::UNPAUSEDOMAIN => lifecycle::unpause(cx, dom),
        dc::RESUMEDOMAIN => lifecycle::resume(cx, dom),
        dc::MAX_VCPUS => lifecycle::max_vcpus(cx, dom, op),
        dc::SETDOMAINHANDLE => lifecycle::set_handle(dom, op),
        dc::SETTIMEOFFSET => lifecycle::set_time_offset(cx, dom, op),
        dc::SET_TARGET => lifecycle::set_target(cx, dom, op),
        dc::SET_VIRQ_HANDLER => lifecycle::set_virq_handler(dom, op),
        dc::GETTSCINFO => lifecycle::get_tsc_info(cx, dom, op),
        dc::SETTSCINFO => lifecycle::set_tsc_info(cx, dom, op),
        dc::SET_ADDRESS_SIZE => lifecycle::set_address_size(op),
        dc::GET_ADDRESS_SIZE => lifecycle::get_address_size(op),
        dc::MAX_MEM => memory::max_mem(dom, op),
        dc::GETPAGEFRAMEINFO3 => memory::page_frame_info(cx, dom, op),
        dc::HYPERCALL_INIT => memory::hypercall_init(cx, dom, op),
        dc::SHADOW_OP => memory::shadow_op(cx, dom, op),
        dc::GET_PAGING_MEMPOOL_SIZE => memory::get_mempool(dom, op),
        dc::SET_PAGING_MEMPOOL_SIZE => memory::set_mempool(dom, op),
        dc::IOMEM_PERMISSION => memory::permission(dom, op.iomem_permission().allow_access),
        dc::IOPORT_PERMISSION => memory::permission(dom, op.ioport_permission().allow_access),
        dc::IRQ_PERMISSION => memory::permission(dom, op.irq_permission().allow_access),
        dc::SETVCPUCONTEXT => vcpu::set_context(cx, dom, op),
        dc::GETVCPUCONTEXT => vcpu::get_context(cx, dom, op),
        dc::GETVCPUINFO => vcpu::get_info(cx, dom, op),
        dc::SENDTRIGGER => vcpu::send_trigger(cx, dom, op),
        dc::SET_EXT_VCPUCONTEXT => vcpu_state::set_ext(cx, dom, op),
        dc::GET_EXT_VCPUCONTEXT => vcpu_state::get_ext(dom, op),
        dc::SETVCPUEXTSTATE => vcpu_state::set_xstate(cx, dom, op),
        dc::GETVCPUEXTSTATE => vcpu_state::get_xstate(cx, dom, op),
        dc::GET_VCPU_MSRS => vcpu_state::get_msrs(dom, op),
        dc::SET_VCPU_MSRS => vcpu_state::set_msrs(cx, dom, op),
        dc::SETVCPUAFFINITY => affinity::set(cx, dom, op),
        dc::GETVCPUAFFINITY => affinity::get(cx, dom, op),
        dc::SETNODEAFFINITY => affinity::set_node(cx, op),
        dc::GETNODEAFFINITY => affinity::get_node(cx, op),
        dc::GETHVMCONTEXT => hvm_context::get(cx, dom, op),
        dc::GETHVMCONTEXT_PARTIAL => hvm_context::get_partial(cx, dom, op),
        dc::SETHVMCONTEXT => hvm_context::set(cx, dom, op),
        dc::SCHEDULER_OP => sched::of_domain(cx, dom, op),
        dc::GET_CPU_POLICY => cpu_policy::get(cx, dom, op),
        dc::SET_CPU_POLICY => cpu_policy::set(cx, dom, op),
        other => Err(not_offered(other).into()),
    }
}

/// Commands of the interface that nothing here stands behind, and numbers that are none.
fn not_offered(cmd: u32) -> Errno {
    match cmd {
        known if dc::OPS.iter().any(|c| c.value == u64::from(known)) => Errno::EOPNOTSUPP,
        _ => Errno::ENOSYS,
    }
}

/// `EINVAL` if the caller names its own domain where it may not.
fn not_self<H: Host>(cx: &Cx<H>, id: DomId) -> Result<(), Errno> {
    if id == cx.dom.id {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// The vcpu a command names.
fn vcpu_of(dom: &Domain, id: VcpuId) -> Result<&Vcpu, Errno> {
    dom.vcpu(id).ok_or(Errno::EINVAL)
}

/// `sysctl(arg)`.
pub fn sysctl<H: Host>(cx: &Cx<H>) -> Ret {
    let mut op: Sysctl = cx.read(cx.args[0])?;
    if !SYSCTL_VERSIONS.contains(&op.interface_version) {
        return Err(Errno::EACCES.into());
    }
    cx.need_privilege()?;
    let reply = match op.cmd {
        sc::READCONSOLE => machine::read_console(cx, &mut op)?,
        sc::PHYSINFO => machine::physinfo(cx, &mut op)?,
        sc::CPUTOPOINFO => machine::cpu_topology(cx, &mut op)?,
        sc::NUMAINFO => machine::numa_info(cx, &mut op)?,
        sc::GETCPUINFO => machine::cpu_info(cx, &mut op)?,
        sc::AVAILHEAP => machine::avail_heap(cx, &mut op)?,
        sc::DEBUG_KEYS => machine::debug_keys(cx, &op)?,
        sc::GETDOMAININFOLIST => info::list(cx, &mut op)?,
        sc::SCHED_ID => sched::id(&mut op)?,
        sc::SCHEDULER_OP => sched::of_pool(cx, &mut op)?,
        sc::CPUPOOL_OP => pools::cpupool_op(cx, &mut op)?,
        sc::GET_CPU_FEATURESET => cpu_policy::featureset(cx, &mut op)?,
        sc::GET_CPU_POLICY => cpu_policy::system(cx, &mut op)?,
        sc::GET_CPU_LEVELLING_CAPS => {
            op.set_cpu_levelling_caps(sc::CpuLevellingCaps::default());
            Reply::Data
        }
        sc::PCITOPOINFO | sc::PSR_CMT_OP | sc::PSR_ALLOC | sc::GET_PMSTAT | sc::PM_OP => {
            return Err(Errno::ENODEV.into());
        }
        sc::CPU_HOTPLUG | sc::PAGE_OFFLINE_OP | sc::COVERAGE_OP => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return Err(Errno::ENOSYS.into()),
    };
    if reply == Reply::Data {
        cx.write(cx.args[0], &op)?;
    }
    Ok(0)
}
