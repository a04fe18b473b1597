//! CPUID policies: what guests of a kind get at most, what the host has, and what one domain sees.
use crate::{Error, Result, Xenctrl};
use xen_abi::domctl::{self, Domctl};
use xen_abi::sysctl::{self, Sysctl};
use xen_abi::xen::{CpuidLeaf, MsrEntry};
use xen_abi::{DomId, Errno, GuestHandle};
use xendev::{SharedMem, SharedMemExt};

/// Leaves and MSRs that we make room for at most, whatever the hypervisor says it has.
const MOST: u32 = 4096;

/// Room for a policy.
struct Room {
    leaves: Box<dyn SharedMem>,
    msrs: Box<dyn SharedMem>,
}

impl Xenctrl {
    /// The policy of the machine with this index (`sysctl::CPU_POLICY_*`).
    pub fn system_cpu_policy(&self, index: u32) -> Result<Vec<CpuidLeaf>> {
        let fail = |e| Error::new("asking what CPUID can show guests", e);
        let mut p = sysctl::CpuPolicy {
            index,
            ..Default::default()
        };
        let ask = |p| {
            let mut op = Sysctl::with(sysctl::GET_CPU_POLICY, p);
            self.sysctl(&mut op).map(|_| op.cpu_policy())
        };
        p = ask(p).map_err(fail)?;
        let room = self.room(p.nr_leaves, p.nr_msrs).map_err(fail)?;
        p.leaves = GuestHandle::new(room.leaves.addr());
        p.msrs = GuestHandle::new(room.msrs.addr());
        let n = ask(p).map_err(fail)?.nr_leaves;
        Ok(room.read(n.min(p.nr_leaves)))
    }

    /// What CPUID shows a domain.
    pub fn cpu_policy(&self, dom: DomId) -> Result<Vec<CpuidLeaf>> {
        let fail = |e| Error::new(format!("asking what CPUID shows {dom}"), e);
        let ask = |p| {
            let mut op = Domctl::with(domctl::GET_CPU_POLICY, dom, p);
            self.domctl(&mut op).map(|_| op.cpu_policy())
        };
        let mut p = ask(domctl::CpuPolicy::default()).map_err(fail)?;
        let room = self.room(p.nr_leaves, p.nr_msrs).map_err(fail)?;
        p.leaves = GuestHandle::new(room.leaves.addr());
        p.msrs = GuestHandle::new(room.msrs.addr());
        let n = ask(p).map_err(fail)?.nr_leaves;
        Ok(room.read(n.min(p.nr_leaves)))
    }

    /// Changes leaves of what CPUID shows a domain that has not run yet.
    pub fn set_cpu_policy(&self, dom: DomId, leaves: &[CpuidLeaf]) -> Result<()> {
        let fail = |e| Error::new(format!("setting what CPUID shows {dom}"), e);
        let nr_leaves = leaves.len() as u32;
        let room = self.room(nr_leaves, 0).map_err(fail)?;
        for (i, leaf) in leaves.iter().enumerate() {
            room.leaves.write_obj(i * size_of::<CpuidLeaf>(), leaf);
        }
        let p = domctl::CpuPolicy {
            nr_leaves,
            leaves: GuestHandle::new(room.leaves.addr()),
            ..Default::default()
        };
        let mut op = Domctl::with(domctl::SET_CPU_POLICY, dom, p);
        let result = self.domctl(&mut op).map(drop);
        result.map_err(|e| match (e, op.cpu_policy().err_leaf) {
            (Errno::EINVAL, leaf) if leaf != !0 => {
                fail(e).detail(format!("it does not take leaf {leaf:#x}"))
            }
            _ => fail(e),
        })
    }

    fn room(&self, leaves: u32, msrs: u32) -> Result<Room, Errno> {
        if leaves > MOST || msrs > MOST {
            return Err(Errno::E2BIG);
        }
        let bytes = |n: u32, each: usize| n.max(1) as usize * each;
        Ok(Room {
            leaves: self.alloc(bytes(leaves, size_of::<CpuidLeaf>()))?,
            msrs: self.alloc(bytes(msrs, size_of::<MsrEntry>()))?,
        })
    }
}

impl Room {
    fn read(&self, count: u32) -> Vec<CpuidLeaf> {
        let at = |i: u32| i as usize * size_of::<CpuidLeaf>();
        (0..count).map(|i| self.leaves.read_obj(at(i))).collect()
    }
}
