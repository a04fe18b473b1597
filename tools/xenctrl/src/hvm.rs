//! What concerns hardware-virtualised domains alone: parameters, saved state, paging memory, memory map.
use crate::{Error, Result, Xenctrl};
use xen_abi::domctl::{
    Domctl, GETHVMCONTEXT, HvmContext, SETHVMCONTEXT, SHADOW_OP, SHADOW_OP_SET_ALLOCATION, ShadowOp,
};
use xen_abi::hvm::{GET_PARAM, Param, SET_PARAM};
use xen_abi::memory::{E820Entry, ForeignMemoryMap, MemoryMap, SET_MEMORY_MAP};
use xen_abi::{DomId, Errno, GuestHandle, hypercall};
use xendev::SharedMemExt;

impl Xenctrl {
    /// Sets a parameter (`HVM_PARAM_*`).
    pub fn set_hvm_param(&self, dom: DomId, index: u32, value: u64) -> Result<()> {
        let mut arg = Param {
            domid: dom,
            index,
            value,
            ..Default::default()
        };
        self.call_struct(hypercall::HVM_OP, SET_PARAM, &mut arg)
            .map(drop)
            .map_err(|e| Error::new(format!("setting HVM parameter {index} of {dom}"), e))
    }

    /// A parameter's value.
    pub fn hvm_param(&self, dom: DomId, index: u32) -> Result<u64> {
        let mut arg = Param {
            domid: dom,
            index,
            ..Default::default()
        };
        self.call_struct(hypercall::HVM_OP, GET_PARAM, &mut arg)
            .map(|_| arg.value)
            .map_err(|e| Error::new(format!("reading HVM parameter {index} of {dom}"), e))
    }

    /// Everything that the hypervisor saves of a domain's virtual hardware: the records of public/hvm/save.h.
    pub fn hvm_context(&self, dom: DomId) -> Result<Vec<u8>> {
        let fail = |e| Error::new(format!("reading the saved state of {dom}"), e);
        let mut op = Domctl::with(GETHVMCONTEXT, dom, HvmContext::default());
        // Without a buffer, the call says how much there is.
        self.domctl(&mut op).map_err(fail)?;
        let size = op.hvmcontext().size;
        let buffer = self.alloc(size as usize).map_err(fail)?;
        let member = HvmContext {
            size,
            buffer: GuestHandle::new(buffer.addr()),
            ..Default::default()
        };
        let mut op = Domctl::with(GETHVMCONTEXT, dom, member);
        self.domctl(&mut op).map_err(fail)?;
        Ok(buffer.read_vec(0, op.hvmcontext().size.min(size) as usize))
    }

    /// Loads records of saved state.
    pub fn set_hvm_context(&self, dom: DomId, records: &[u8]) -> Result<()> {
        let set = || {
            let buffer = self.alloc(records.len())?;
            buffer.write(0, records);
            let member = HvmContext {
                size: u32::try_from(records.len()).map_err(|_| Errno::E2BIG)?,
                buffer: GuestHandle::new(buffer.addr()),
                ..Default::default()
            };
            self.domctl(&mut Domctl::with(SETHVMCONTEXT, dom, member))
        };
        set()
            .map(drop)
            .map_err(|e| Error::new(format!("loading the virtual hardware's state of {dom}"), e))
    }

    /// Sets aside memory for a domain's second-level page tables, MiB.
    pub fn set_paging_memory(&self, dom: DomId, mib: u32) -> Result<()> {
        loop {
            let member = ShadowOp {
                op: SHADOW_OP_SET_ALLOCATION,
                mb: mib,
                ..Default::default()
            };
            match self.domctl(&mut Domctl::with(SHADOW_OP, dom, member)) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::ERESTART | Errno::EINTR) => {}
                Err(e) => {
                    let what = format!("setting aside {mib} MiB for the page tables of {dom}");
                    return Err(Error::new(what, e));
                }
            }
        }
    }

    /// Tells a guest of its memory (`XENMEM_set_memory_map`).
    pub fn set_e820(&self, dom: DomId, map: &[E820Entry]) -> Result<()> {
        let set = || {
            let list = self.alloc(size_of_val(map))?;
            list.write_slice(0, map);
            let mut arg = ForeignMemoryMap {
                domid: dom,
                map: MemoryMap {
                    nr_entries: u32::try_from(map.len()).map_err(|_| Errno::E2BIG)?,
                    buffer: GuestHandle::new(list.addr()),
                    ..Default::default()
                },
                ..Default::default()
            };
            self.call_struct(hypercall::MEMORY_OP, SET_MEMORY_MAP, &mut arg)
        };
        set()
            .map(drop)
            .map_err(|e| Error::new(format!("setting the memory map of {dom}"), e))
    }
}
