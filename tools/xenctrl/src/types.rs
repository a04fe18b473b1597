//! What the calls return and take, in the toolstack's own words.
use xen_abi::{DomId, Mfn};

/// Why a domain shut down (`SHUTDOWN_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ShutdownReason {
    Poweroff,
    Reboot,
    Suspend,
    Crash,
    Watchdog,
    SoftReset,
    /// A number that no public header names.
    Unknown(u8),
}

impl ShutdownReason {
    /// From the hypervisor's number.
    pub fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Poweroff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            n => Self::Unknown(n),
        }
    }
}

/// The `XEN_DOMINF_*` flags of a domain, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct DomainState {
    pub dying: bool,
    pub hvm: bool,
    pub paused: bool,
    pub blocked: bool,
    pub running: bool,
    pub debugged: bool,
    pub xenstore: bool,
    pub hap: bool,
    /// Set once the guest has shut down.
    pub shutdown: Option<ShutdownReason>,
}

/// What the hypervisor says about a domain.
#[derive(Clone, Debug)]
pub struct DomainInfo {
    /// Its id.
    pub domid: DomId,
    /// Flags.
    pub state: DomainState,
    /// Pages it owns.
    pub tot_pages: u64,
    /// Pages it may own.
    pub max_pages: u64,
    /// Pages claimed and not yet populated.
    pub outstanding_pages: u64,
    /// Pages shared with others by deduplication.
    pub shared_pages: u64,
    /// Pages that are paged out.
    pub paged_pages: u64,
    /// Frame of its shared info page.
    pub shared_info: Mfn,
    /// CPU time used, in nanoseconds.
    pub cpu_time: u64,
    /// Online vcpus.
    pub online_vcpus: u32,
    /// Highest vcpu id; `None` while it has no vcpus.
    pub max_vcpu_id: Option<u32>,
    /// UUID.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
}

/// What `createdomain` takes. `Default` is a PV domain with one vcpu.
#[derive(Clone, Debug)]
pub struct CreateDomain {
    /// Wanted id; `None` lets the hypervisor choose.
    pub domid: Option<DomId>,
    /// UUID.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`.
    pub flags: u32,
    /// Vcpus, at least 1.
    pub max_vcpus: u32,
    /// Highest event channel port.
    pub max_evtchn_port: u32,
    /// Grant table frames; -1 is the hypervisor's default.
    pub max_grant_frames: i32,
    /// Maptrack frames; -1 is the hypervisor's default.
    pub max_maptrack_frames: i32,
    /// Highest grant table version.
    pub grant_version: u32,
    /// `XEN_X86_EMU_*` devices.
    pub emulation_flags: u32,
    /// CPU pool.
    pub cpupool: u32,
}

impl Default for CreateDomain {
    fn default() -> Self {
        CreateDomain {
            domid: None,
            handle: [0; 16],
            flags: 0,
            max_vcpus: 1,
            max_evtchn_port: 1023,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
            grant_version: 1,
            emulation_flags: 0,
            cpupool: 0,
        }
    }
}

/// A set of CPUs or nodes, as a bitmap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuMap(pub Vec<u8>);

impl CpuMap {
    /// An empty set that can hold `bits` members.
    pub fn empty(bits: u32) -> Self {
        CpuMap(vec![0; bits.div_ceil(8) as usize])
    }
    /// A set of the first `bits` members.
    pub fn full(bits: u32) -> Self {
        let mut m = Self::empty(bits);
        (0..bits).for_each(|b| m.set(b));
        m
    }
    /// Adds a member; outside the set's size it is ignored.
    pub fn set(&mut self, bit: u32) {
        if let Some(b) = self.0.get_mut((bit / 8) as usize) {
            *b |= 1 << (bit % 8);
        }
    }
    /// Whether `bit` is a member.
    pub fn contains(&self, bit: u32) -> bool {
        self.0
            .get((bit / 8) as usize)
            .is_some_and(|b| b & (1 << (bit % 8)) != 0)
    }
    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32 * 8).filter(|b| self.contains(*b))
    }
}

/// What the hypervisor says about a vcpu.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct VcpuInfo {
    pub vcpu: u32,
    pub online: bool,
    pub blocked: bool,
    pub running: bool,
    /// CPU time used, in nanoseconds.
    pub cpu_time: u64,
    /// CPU it runs or last ran on.
    pub cpu: u32,
}

/// One CPU's idle time.
#[derive(Clone, Copy, Debug)]
pub struct CpuInfo {
    /// Nanoseconds spent idle.
    pub idle: u64,
}

/// What the hypervisor says about the machine.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct PhysInfo {
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub nr_cpus: u32,
    pub max_cpu_id: u32,
    pub nr_nodes: u32,
    pub cpu_khz: u32,
    /// `XEN_SYSCTL_PHYSCAP_*`.
    pub capabilities: u32,
    pub total_pages: u64,
    pub free_pages: u64,
    pub scrub_pages: u64,
    pub outstanding_pages: u64,
    pub hw_cap: [u32; 8],
}

/// A domain's share of the CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchedParams {
    /// Its share against others'; 256 is usual.
    pub weight: u16,
    /// Most it may use, in percent of one CPU; 0 is no limit.
    pub cap: u16,
}

/// A CPU pool.
#[derive(Clone, Debug)]
pub struct CpuPool {
    /// Its number.
    pub id: u32,
    /// Its scheduler (`SCHEDULER_*`).
    pub sched: u32,
    /// Domains in it.
    pub domains: u32,
    /// CPUs in it.
    pub cpus: CpuMap,
}

/// Where a CPU is; `u32::MAX` is "not known".
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct CpuPlace {
    pub core: u32,
    pub socket: u32,
    pub node: u32,
}

/// A memory node, in bytes.
#[derive(Clone, Debug)]
pub struct NumaNode {
    /// Its memory.
    pub size: u64,
    /// What is free of it.
    pub free: u64,
    /// How far the nodes are from it; 10 is near.
    pub distances: Vec<u32>,
}
