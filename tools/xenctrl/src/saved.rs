//! `domctl`: the state of a PV domain that only saving and restoring it look at.
use crate::{Error, Result, Xenctrl};
use xen_abi::domctl::*;
use xen_abi::{DomId, Errno, GuestHandle, VcpuId};
use xendev::SharedMemExt;

/// Frames per call; more are refused (`XEN_DOMCTL_getpageframeinfo3`).
const BATCH: usize = 1024;

impl Xenctrl {
    /// Lets a PV domain go on that suspended itself: it learns that nothing came of it.
    pub fn resume_suspended(&self, dom: DomId) -> Result<()> {
        const CANCELLED: u64 = 1;
        let mut context = self.vcpu_context(dom, VcpuId(0))?;
        context.user_regs.rax = CANCELLED;
        self.set_vcpu_context(dom, VcpuId(0), &context)?;
        self.resume_domain(dom)
    }

    /// For each frame what kind of page it is (`PFINFO_*`).
    pub fn page_types(&self, dom: DomId, frames: &[u64]) -> Result<Vec<u32>> {
        let fail = |e| Error::new(format!("asking for the types of the pages of {dom}"), e);
        let mut types = Vec::with_capacity(frames.len());
        for chunk in frames.chunks(BATCH) {
            let list = self.alloc(size_of_val(chunk)).map_err(fail)?;
            list.write_slice(0, chunk);
            let member = GetPageFrameInfo3 {
                num: chunk.len() as u64,
                array: GuestHandle::new(list.addr()),
            };
            self.domctl(&mut Domctl::with(GETPAGEFRAMEINFO3, dom, member))
                .map_err(fail)?;
            types.extend(
                list.read_vec::<u64>(0, chunk.len())
                    .iter()
                    .map(|t| *t as u32),
            );
        }
        Ok(types)
    }

    /// The entry points of a vcpu that its context has no room for.
    pub fn extended_context(&self, dom: DomId, vcpu: VcpuId) -> Result<ExtVcpuContext> {
        let member = ExtVcpuContext {
            vcpu,
            ..Default::default()
        };
        let mut op = Domctl::with(GET_EXT_VCPUCONTEXT, dom, member);
        self.domctl(&mut op)
            .map_err(|e| Error::new(format!("reading the entry points of {dom}{vcpu}"), e))?;
        Ok(op.ext_vcpucontext())
    }

    /// Sets them.
    pub fn set_extended_context(&self, dom: DomId, context: ExtVcpuContext) -> Result<()> {
        let what = || format!("setting the entry points of {dom}{}", context.vcpu);
        self.domctl(&mut Domctl::with(SET_EXT_VCPUCONTEXT, dom, context))
            .map(drop)
            .map_err(|e| Error::new(what(), e))
    }

    /// A vcpu's extended registers, as the hypervisor packs them.
    pub fn extended_state(&self, dom: DomId, vcpu: VcpuId) -> Result<Vec<u8>> {
        let fail = |e| Error::new(format!("reading the extended registers of {dom}{vcpu}"), e);
        let ask = VcpuExtState {
            vcpu,
            ..Default::default()
        };
        let mut op = Domctl::with(GETVCPUEXTSTATE, dom, ask);
        self.domctl(&mut op).map_err(fail)?;
        let mut answer = op.vcpuextstate();
        let size = usize::try_from(answer.size).map_err(|_| fail(Errno::EINVAL))?;
        if size == 0 {
            return Ok(vec![]);
        }
        let buf = self.alloc(size).map_err(fail)?;
        answer.buffer = GuestHandle::new(buf.addr());
        self.domctl(&mut Domctl::with(GETVCPUEXTSTATE, dom, answer))
            .map_err(fail)?;
        Ok(buf.read_vec(0, size))
    }

    /// Sets them.
    pub fn set_extended_state(&self, dom: DomId, vcpu: VcpuId, state: &[u8]) -> Result<()> {
        let fail = |e| Error::new(format!("setting the extended registers of {dom}{vcpu}"), e);
        let buf = self.alloc(state.len().max(1)).map_err(fail)?;
        buf.write(0, state);
        let member = VcpuExtState {
            vcpu,
            size: state.len() as u64,
            buffer: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        self.domctl(&mut Domctl::with(SETVCPUEXTSTATE, dom, member))
            .map(drop)
            .map_err(fail)
    }

    /// How a domain's time-stamp counter behaves, and how far it has come.
    pub fn tsc_info(&self, dom: DomId) -> Result<TscInfo> {
        let mut op = Domctl::new(GETTSCINFO, dom);
        self.domctl(&mut op)
            .map_err(|e| Error::new(format!("asking for the time-stamp counter of {dom}"), e))?;
        Ok(op.tsc_info())
    }

    /// Sets all of it.
    pub fn put_tsc_info(&self, dom: DomId, info: TscInfo) -> Result<()> {
        self.domctl(&mut Domctl::with(SETTSCINFO, dom, info))
            .map(drop)
            .map_err(|e| Error::new(format!("setting the time-stamp counter of {dom}"), e))
    }
}
