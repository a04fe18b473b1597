//! `sysctl`: the whole machine.
use crate::{CpuInfo, DomainInfo, Error, PhysInfo, Result, Xenctrl};
use xen_abi::{DomId, Errno};

impl Xenctrl {
    /// The machine's CPUs and memory.
    pub fn physinfo(&self) -> Result<PhysInfo> {
        Err(Error::new(
            "asking for the machine's properties",
            Errno::ENOSYS,
        ))
    }

    /// All domains from id `first` on, at most `max`, in ascending order.
    pub fn domain_info_list(&self, first: DomId, max: usize) -> Result<Vec<DomainInfo>> {
        Err(Error::new(
            format!("listing {max} domains from {first}"),
            Errno::ENOSYS,
        ))
    }

    /// Every domain.
    pub fn domains(&self) -> Result<Vec<DomainInfo>> {
        self.domain_info_list(DomId(0), 0x7ff0)
    }

    /// The console ring from the start; `clear` empties it.
    pub fn read_console(&self, clear: bool) -> Result<Vec<u8>> {
        Err(Error::new(
            format!("reading the hypervisor's console (clear: {clear})"),
            Errno::ENOSYS,
        ))
    }

    /// What has come to the console ring since `index`; `index` moves on.
    pub fn read_console_from(&self, index: &mut u32) -> Result<Vec<u8>> {
        Err(Error::new(
            format!("reading the hypervisor's console from {index}"),
            Errno::ENOSYS,
        ))
    }

    /// Presses debug keys.
    pub fn debug_keys(&self, keys: &str) -> Result<()> {
        Err(Error::new(
            format!("sending debug keys {keys:?}"),
            Errno::ENOSYS,
        ))
    }

    /// The scheduler's number (`XEN_SCHEDULER_*`).
    pub fn sched_id(&self) -> Result<u32> {
        Err(Error::new("asking for the scheduler", Errno::ENOSYS))
    }

    /// Idle times, by CPU.
    pub fn cpu_info(&self, max: u32) -> Result<Vec<CpuInfo>> {
        Err(Error::new(
            format!("asking for the idle times of {max} CPUs"),
            Errno::ENOSYS,
        ))
    }
}
