//! Vcpu contexts: set by the toolstack and by the guest, read back, refused, reset.
mod common;

use common::Tools;
use domain::{Domain, Host, PF_DOWN};
use mm::{PageType, Paging, Platform};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xen_abi::domctl::*;
use xen_abi::xen::*;
use xen_abi::{Errno, GuestHandle, Mfn, VcpuId, hypercall as nr, vcpu};

/// Present, writable, user, accessed, dirty.
const TABLE: u64 = 0x67;
const KERNEL: u64 = 0xffff_ffff_8000_0000;

struct Guest {
    t: Tools,
    dom: Arc<Domain>,
    pages: Vec<Mfn>,
    free: u64,
}

/// A domain with a page-table tree from `pages[0]` (L4) to `pages[3]` (L1), and spare pages.
fn guest(vcpus: u32) -> Guest {
    let t = Tools::new();
    let free = t.h.with_heap(|h| h.free_pages());
    let (dom, pages) = t.create(vcpus, 16);
    for level in 0..3 {
        Platform::write(t.h, pages[level], 511, pages[level + 1].0 << 12 | TABLE);
    }
    Platform::write(t.h, pages[3], 0, pages[8].0 << 12 | TABLE);
    Guest {
        t,
        dom,
        pages,
        free,
    }
}

impl Guest {
    /// What the stock builder sets.
    fn start(&self) -> VcpuGuestContext {
        let mut c = VcpuGuestContext {
            flags: VGCF_IN_KERNEL | VGCF_ONLINE,
            ..Default::default()
        };
        c.user_regs.rip = KERNEL + 0x100;
        c.user_regs.rsp = KERNEL + 0x8000;
        c.user_regs.rflags = 1 << 9 | 1 << 17 | 1 << 14 | 3 << 12;
        c.user_regs.cs = FLAT_KERNEL_CS;
        c.user_regs.ss = FLAT_KERNEL_SS;
        c.kernel_ss = u64::from(FLAT_KERNEL_SS);
        c.debugreg[6] = 0xffff_0ff0;
        c.debugreg[7] = 0x400;
        c.ctrlreg[3] = pfn_to_cr3(self.pages[0].0);
        c
    }
    fn set(&self, vcpu: u32, c: &VcpuGuestContext) -> Result<i64, Errno> {
        let ctxt = GuestHandle::new(self.t.mem.put(c));
        let c = VcpuContext {
            vcpu: VcpuId(vcpu),
            ctxt,
            ..Default::default()
        };
        self.t
            .domctl(&mut Domctl::with(SETVCPUCONTEXT, self.dom.id, c))
    }
    fn get(&self, vcpu: u32) -> Result<VcpuGuestContext, Errno> {
        let at = self.t.mem.put(&VcpuGuestContext::default());
        let c = VcpuContext {
            vcpu: VcpuId(vcpu),
            ctxt: GuestHandle::new(at),
            ..Default::default()
        };
        self.t
            .domctl(&mut Domctl::with(GETVCPUCONTEXT, self.dom.id, c))?;
        Ok(self.t.mem.get(at))
    }
    fn reset(&self, vcpu: u32) -> Result<i64, Errno> {
        let c = VcpuContext {
            vcpu: VcpuId(vcpu),
            ..Default::default()
        };
        self.t
            .domctl(&mut Domctl::with(SETVCPUCONTEXT, self.dom.id, c))
    }
    fn page_type(&self, page: usize) -> PageType {
        Paging::new(self.t.h.frames(), self.t.h)
            .page_type(self.pages[page])
            .0
    }
    /// Everything comes back when the domain goes.
    fn end(self) {
        self.t.simple(DESTROYDOMAIN, self.dom.id).unwrap();
        assert_eq!(self.t.h.with_heap(|h| h.free_pages()), self.free);
    }
}

#[test]
fn a_builder_starts_a_vcpu() {
    let g = guest(1);
    assert_eq!(g.get(0).err(), Some(Errno::ENODATA));
    g.set(0, &g.start()).unwrap();
    let v = &g.dom.vcpus[0];
    assert!(v.initialised.load(Ordering::Relaxed) && !v.is_down());
    assert_eq!(v.kernel_l4.load(Ordering::Relaxed), g.pages[0].0);
    assert_eq!(g.page_type(0), PageType::L4);
    assert_eq!(g.page_type(3), PageType::L1);
    {
        let pv = v.pv.lock();
        assert_eq!((pv.regs.cs, pv.regs.rflags), (FLAT_KERNEL_CS, 0x202));
        assert_eq!((pv.iopl, pv.regs.ss & 3), (3, 3));
    }
    let mut info = Domctl::with(GETVCPUINFO, g.dom.id, GetVcpuInfo::default());
    g.t.domctl(&mut info).unwrap();
    let info = info.getvcpuinfo();
    assert_eq!((info.online, info.blocked, info.cpu_time), (1, 0, 1000));
    assert_eq!(g.t.info(g.dom.id).unwrap().nr_online_vcpus, 1);
    g.end();
}

#[test]
fn what_was_set_is_read_back_and_may_be_set_again() {
    let g = guest(1);
    let mut c = g.start();
    c.flags &= !VGCF_ONLINE;
    c.gdt_frames[0] = g.pages[9].0;
    c.gdt_ents = 512;
    c.trap_ctxt[14] = TrapInfo {
        vector: 14,
        cs: 0xe030,
        address: KERNEL,
        ..Default::default()
    };
    c.event_callback_eip = KERNEL + 8;
    (c.fs_base, c.gs_base_kernel) = (0x1234, KERNEL);
    (c.ldt_base, c.ldt_ents) = (KERNEL, 4);
    g.set(0, &c).unwrap();
    assert_eq!(g.page_type(9), PageType::SegDesc);
    let back = g.get(0).unwrap();
    assert_eq!(
        (back.ctrlreg[3], back.ctrlreg[1], back.gdt_ents),
        (c.ctrlreg[3], 0, 512)
    );
    assert_eq!(back.flags & (VGCF_ONLINE | VGCF_IN_KERNEL), VGCF_IN_KERNEL);
    assert_eq!(
        (back.trap_ctxt[14].cs, back.gs_base_kernel),
        (0xe033, KERNEL)
    );
    assert_eq!((back.ldt_ents, back.fs_base), (4, 0x1234));
    assert_eq!(back.user_regs.rflags & 3 << 12, 3 << 12);
    // As `xl resume` does: another return value, the same tables.
    let mut again = back;
    again.user_regs.rax = 1;
    g.set(0, &again).unwrap();
    assert_eq!(g.get(0).unwrap().user_regs.rax, 1);
    let mut other = back;
    other.ctrlreg[3] = pfn_to_cr3(g.pages[5].0);
    assert_eq!(g.set(0, &other), Err(Errno::EOPNOTSUPP));
    g.end();
}

#[test]
fn contexts_that_reach_too_far_are_refused_and_leave_nothing() {
    let g = guest(1);
    let refused = |change: &dyn Fn(&mut VcpuGuestContext)| {
        let mut c = g.start();
        change(&mut c);
        g.set(0, &c)
    };
    let hypervisor = 0xffff_8000_0000_1000;
    let einval = Err(Errno::EINVAL);
    assert_eq!(refused(&|c| c.user_regs.rip = hypervisor), einval);
    assert_eq!(refused(&|c| c.event_callback_eip = 1 << 60), einval);
    assert_eq!(refused(&|c| c.trap_ctxt[3].address = hypervisor), einval);
    assert_eq!(refused(&|c| c.kernel_sp = hypervisor), einval);
    assert_eq!(refused(&|c| c.gs_base_user = 1 << 60), einval);
    assert_eq!(refused(&|c| c.gdt_ents = u64::MAX), einval);
    assert_eq!(
        refused(&|c| c.gdt_ents = 1),
        einval,
        "frame 0 is not its own"
    );
    assert_eq!(refused(&|c| c.ldt_ents = 8193), einval);
    assert_eq!(
        refused(&|c| (c.ldt_base, c.ldt_ents) = (hypervisor, 1)),
        einval
    );
    assert_eq!(refused(&|c| c.debugreg[0] = hypervisor), einval);
    assert_eq!(refused(&|c| c.ctrlreg[3] = 0), einval);
    assert_eq!(refused(&|c| c.ctrlreg[3] = !0), einval);
    let dom0s = pfn_to_cr3(g.t.dom0.shared_info.0);
    assert_eq!(refused(&|c| c.ctrlreg[3] = dom0s), einval);
    assert_eq!(
        refused(&|c| c.flags = 0),
        einval,
        "user mode without a root"
    );
    assert!(!g.dom.vcpus[0].initialised.load(Ordering::Relaxed));
    assert_eq!(g.set(7, &g.start()), einval);
    g.end();
}

#[test]
fn validating_many_tables_takes_several_calls_and_ends() {
    let g = guest(1);
    // L4 -> L3 -> ten L2s, every entry of which names the same L1: more work than one call may do.
    for (slot, l2) in g.pages[4..14].iter().enumerate() {
        Platform::write(g.t.h, g.pages[1], 256 + slot, l2.0 << 12 | TABLE);
        for entry in 0..512 {
            Platform::write(g.t.h, *l2, entry, g.pages[3].0 << 12 | TABLE);
        }
    }
    let mut c = g.start();
    Platform::write(g.t.h, g.pages[3], 0, g.pages[14].0 << 12 | TABLE);
    c.ctrlreg[1] = pfn_to_cr3(g.pages[15].0);
    let ctxt = GuestHandle::new(g.t.mem.put(&c));
    let op = VcpuContext {
        vcpu: VcpuId(0),
        ctxt,
        ..Default::default()
    };
    let at = g.t.mem.put(&Domctl::with(SETVCPUCONTEXT, g.dom.id, op));
    let first = hypercall::call(
        g.t.h,
        &g.t.dom0,
        &g.t.dom0.vcpus[0],
        u64::from(nr::DOMCTL),
        [at, 0, 0, 0, 0, 0],
    );
    assert_eq!(first, Err(hypercall::Stop::Again([at, 0, 0, 0, 0, 0])));
    assert!(!g.dom.vcpus[0].initialised.load(Ordering::Relaxed));
    assert_eq!(g.t.h.call(&g.t.dom0, nr::DOMCTL, &[at]), Ok(0));
    assert_eq!(g.page_type(13), PageType::L2);
    assert_eq!(
        g.t.info(g.dom.id).unwrap().flags & DOMINF_PAUSED,
        DOMINF_PAUSED
    );
    g.end();
}

#[test]
fn a_guest_initialises_its_second_vcpu_itself() {
    let g = guest(2);
    g.set(0, &g.start()).unwrap();
    let mut c = g.start();
    c.ctrlreg[1] = pfn_to_cr3(g.pages[5].0);
    c.flags = VGCF_I387_VALID;
    c.fpu_ctxt[24..28].copy_from_slice(&0xffff_1f80u32.to_le_bytes());
    let at = g.t.mem.put(&c);
    let op = |cmd| g.t.h.call(&g.dom, nr::VCPU_OP, &[u64::from(cmd), 1, at]);
    assert_eq!(op(vcpu::UP), Err(Errno::EINVAL), "no context yet");
    assert_eq!(op(vcpu::INITIALISE), Ok(0));
    assert_eq!(op(vcpu::INITIALISE), Err(Errno::EEXIST));
    let v = &g.dom.vcpus[1];
    assert!(v.is_down(), "until it is told to come up");
    assert_eq!(op(vcpu::UP), Ok(0));
    assert!(!v.is_down() && !v.kernel_mode.load(Ordering::Relaxed));
    assert_eq!(v.user_l4.load(Ordering::Relaxed), g.pages[5].0);
    assert_eq!(&v.pv.lock().fpu.0[24..28], &0x1f80u32.to_le_bytes());
    g.end();
}

#[test]
fn a_reset_vcpu_has_no_context_and_may_get_another() {
    let g = guest(2);
    let mut c = g.start();
    c.gdt_frames[0] = g.pages[9].0;
    c.gdt_ents = 1;
    g.set(1, &c).unwrap();
    g.reset(1).unwrap();
    assert_eq!(g.get(1).err(), Some(Errno::ENODATA));
    assert_eq!(g.dom.vcpus[1].flags.load(Ordering::Relaxed), PF_DOWN);
    assert_eq!(
        (g.page_type(0), g.page_type(9)),
        (PageType::None, PageType::None)
    );
    g.set(1, &c).unwrap();
    g.end();
}

#[test]
fn nmis_are_sent_other_triggers_are_not_known() {
    let g = guest(1);
    let send = |trigger, vcpu| {
        let s = SendTrigger {
            trigger,
            vcpu: VcpuId(vcpu),
        };
        g.t.domctl(&mut Domctl::with(SENDTRIGGER, g.dom.id, s))
    };
    assert_eq!(send(SENDTRIGGER_NMI, 0), Ok(0));
    assert!(g.dom.vcpus[0].nmi_pending.load(Ordering::Relaxed));
    assert_eq!(send(SENDTRIGGER_NMI, 1), Err(Errno::EINVAL));
    assert_eq!(send(SENDTRIGGER_POWER, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(send(99, 0), Err(Errno::EINVAL));
    g.end();
}

#[test]
fn extended_state_goes_out_and_in() {
    let g = guest(1);
    let ask = |cmd, x: VcpuExtState| {
        let mut op = Domctl::with(cmd, g.dom.id, x);
        g.t.domctl(&mut op).map(|_| op.vcpuextstate())
    };
    let room = ask(GETVCPUEXTSTATE, VcpuExtState::default()).unwrap();
    assert_eq!(room.size, 16 + 576);
    let buffer = g.t.mem.put_bytes(&[0; 16 + 576]);
    let x = VcpuExtState {
        buffer: GuestHandle::new(buffer),
        ..room
    };
    ask(GETVCPUEXTSTATE, x).unwrap();
    let mut image: [u8; 592] = g.t.mem.get(buffer);
    assert_eq!((image[0], image[8], image[16]), (1, 1, 0x7f));
    let set = |image: &[u8]| {
        let buffer = GuestHandle::new(g.t.mem.put_bytes(image));
        let x = VcpuExtState {
            buffer,
            size: image.len() as u64,
            ..Default::default()
        };
        ask(SETVCPUEXTSTATE, x).map(|_| ())
    };
    image[0] = 3;
    image[16 + 512] = 3;
    assert_eq!(set(&image), Ok(()));
    assert_eq!(g.dom.vcpus[0].pv.lock().xcr0, 3);
    let with = |at: usize, byte: u8| {
        let mut bad = image;
        bad[at] = byte;
        set(&bad)
    };
    assert_eq!(with(0, 2), Err(Errno::EINVAL), "x87 is always on");
    assert_eq!(
        with(0, 0x0b),
        Err(Errno::EINVAL),
        "a component there is not"
    );
    assert_eq!(with(16 + 512, 7), Err(Errno::EINVAL), "not enabled");
    assert_eq!(with(16 + 527, 0x80), Err(Errno::EINVAL), "compacted");
    assert_eq!(with(16 + 27, 1), Err(Errno::EINVAL), "reserved in MXCSR");
    assert_eq!(set(&image[..100]), Err(Errno::EINVAL));
    let mut op = Domctl::new(GET_VCPU_MSRS, g.dom.id);
    g.t.domctl(&mut op).unwrap();
    assert_eq!(op.vcpu_msrs().msr_count, 0);
    let mut op = Domctl::new(GET_EXT_VCPUCONTEXT, g.dom.id);
    g.t.domctl(&mut op).unwrap();
    let mut ext = op.ext_vcpucontext();
    ext.sysenter_callback_eip = KERNEL;
    let set = |ext| {
        g.t.domctl(&mut Domctl::with(SET_EXT_VCPUCONTEXT, g.dom.id, ext))
    };
    assert_eq!(set(ext), Ok(0));
    assert_eq!(g.dom.vcpus[0].pv.lock().sysenter.address, KERNEL);
    ext.sysenter_callback_eip = 0xffff_8000_0000_0000;
    assert_eq!(set(ext), Err(Errno::EINVAL));
    g.end();
}
