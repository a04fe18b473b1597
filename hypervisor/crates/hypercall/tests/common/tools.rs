//! A toolstack of a few lines on the fake machine: domain 0 with its memory, and calls by struct.
use super::{FakeHost, FlatMemory};
use domain::{Domain, Host};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xen_abi::arch_x86::X86_EMU_LAPIC;
use xen_abi::domctl::{self, CreateDomain, Domctl, GetDomainInfo, MaxMem};
use xen_abi::platform::{self, PlatformOp};
use xen_abi::sysctl::Sysctl;
use xen_abi::{DomId, Errno, Mfn, hypercall as nr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Frames of the machine.
pub const FRAMES: usize = 4096;

/// Domain 0 at work.
pub struct Tools {
    pub h: &'static FakeHost,
    pub mem: Arc<FlatMemory>,
    pub dom0: Arc<Domain>,
}

impl Tools {
    pub fn new() -> Tools {
        let mem = Arc::new(FlatMemory::default());
        let h = FakeHost::new(FRAMES, Box::new(mem.clone()));
        Tools {
            h,
            mem,
            dom0: h.dom0(2, 16),
        }
    }

    fn by_struct<T: FromBytes + IntoBytes + Immutable>(
        &self,
        dom: &Arc<Domain>,
        number: u32,
        op: &mut T,
    ) -> Result<i64, Errno> {
        let at = self.mem.put(op);
        let result = self.h.call(dom, number, &[at]);
        *op = self.mem.get(at);
        result
    }
    pub fn domctl(&self, op: &mut Domctl) -> Result<i64, Errno> {
        self.by_struct(&self.dom0, nr::DOMCTL, op)
    }
    pub fn domctl_by(&self, dom: &Arc<Domain>, op: &mut Domctl) -> Result<i64, Errno> {
        self.by_struct(dom, nr::DOMCTL, op)
    }
    pub fn sysctl(&self, op: &mut Sysctl) -> Result<i64, Errno> {
        self.by_struct(&self.dom0, nr::SYSCTL, op)
    }
    pub fn sysctl_by(&self, dom: &Arc<Domain>, op: &mut Sysctl) -> Result<i64, Errno> {
        self.by_struct(dom, nr::SYSCTL, op)
    }
    pub fn platform(
        &self,
        cmd: u32,
        set: impl FnOnce(&mut PlatformOp),
    ) -> Result<PlatformOp, Errno> {
        let mut op = PlatformOp {
            cmd,
            interface_version: platform::INTERFACE_VERSION,
            ..PlatformOp::default()
        };
        set(&mut op);
        self.by_struct(&self.dom0, nr::PLATFORM_OP, &mut op)
            .map(|_| op)
    }

    /// A command without parameters.
    pub fn simple(&self, cmd: u32, dom: DomId) -> Result<i64, Errno> {
        self.domctl(&mut Domctl::new(cmd, dom))
    }
    /// A PV domain as the stock toolstack asks for one.
    pub fn wish(vcpus: u32) -> CreateDomain {
        CreateDomain {
            handle: *b"0123456789abcdef",
            max_vcpus: vcpus,
            max_evtchn_port: 1023,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
            grant_opts: 1,
            ..CreateDomain::default()
        }
    }
    pub fn try_create(&self, id: DomId, wish: CreateDomain) -> Result<DomId, Errno> {
        let mut op = Domctl::with(domctl::CREATEDOMAIN, id, wish);
        self.domctl(&mut op).map(|_| op.domain)
    }

    /// A domain of the machine's virtualization with local APICs, in a machine that has it.
    pub fn create_pvh(&self, vcpus: u32) -> Arc<Domain> {
        self.h.hvm.store(true, Ordering::Relaxed);
        let mut wish = Tools::wish(vcpus);
        wish.flags = domctl::CDF_HVM | domctl::CDF_HAP;
        wish.arch.emulation_flags = X86_EMU_LAPIC;
        let id = self.try_create(DomId(7), wish).unwrap();
        self.h.domains().get(id).unwrap()
    }
    /// A PV domain that may have 256 pages and has `pages`.
    pub fn create(&self, vcpus: u32, pages: u64) -> (Arc<Domain>, Vec<Mfn>) {
        let id = self.try_create(DomId::DOM0, Tools::wish(vcpus)).unwrap();
        self.domctl(&mut Domctl::with(
            domctl::MAX_MEM,
            id,
            MaxMem { max_memkb: 1024 },
        ))
        .unwrap();
        let dom = self.h.domains().get(id).unwrap();
        let pages = (0..pages)
            .map(|_| domain::alloc_page(self.h, &dom).unwrap())
            .collect();
        (dom, pages)
    }
    pub fn info(&self, id: DomId) -> Option<GetDomainInfo> {
        let mut op = Domctl::new(domctl::GETDOMAININFO, id);
        op.interface_version = 0x16;
        self.domctl(&mut op).ok().map(|_| op.getdomaininfo())
    }
}
