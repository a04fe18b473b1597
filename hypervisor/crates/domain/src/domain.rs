//! A domain: [`Domain`], its memory account and its limits.
use crate::cpuid::CpuidPolicy;
use crate::hvm::Hvm;
use crate::tsc::{self, Timing};
use crate::{Host, Mutex, RwLock, Vcpu, alloc_shared_page};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use evtchn::{Limits, MAX_ARRAY_PAGES, Ports};
use grant::{GrantTable, Maptrack};
use mm::{PageList, PvTables};
use xen_abi::{DomId, Errno, Mfn, VcpuId};

/// Most vcpus of one domain.
pub const MAX_VCPUS: u32 = 128;
/// Grant frames when the creator does not say.
pub const DEFAULT_GRANT_FRAMES: u32 = 64;

/// One entry of a guest's memory map.
#[derive(Clone, Copy, Debug, Default)]
pub struct E820Entry {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// 1 = RAM, 2 = reserved, 3 = ACPI, 4 = NVS, 5 = unusable.
    pub kind: u32,
}

/// Pages a domain owns and may own.
#[derive(Debug)]
pub struct Memory {
    /// The pages, through the frame table.
    pub pages: PageList,
    /// Limit in pages (`max_mem`).
    pub max_pages: u64,
    /// Hypervisor pages shared with the domain and not given back yet.
    pub shared_pages: u32,
    /// Pages promised by `XENMEM_claim_pages` and not populated yet.
    pub(crate) claimed: u64,
}

impl Memory {
    /// Pages promised by `XENMEM_claim_pages` and not populated yet.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }
}

/// How and whether a domain has shut itself down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShutdownState {
    /// It runs (or is paused).
    Up,
    /// It stopped with this `SHUTDOWN_*` reason.
    Down(u32),
}

/// Physical interrupts bound to a domain: pirq number to the hypervisor's irq.
#[derive(Debug, Default)]
pub struct PirqMap {
    /// Index = pirq.
    pub irqs: Vec<Option<u32>>,
}

/// What a new domain is made from.
#[derive(Clone, Copy, Debug)]
pub struct CreateParams {
    /// Its id.
    pub id: DomId,
    /// UUID.
    pub handle: [u8; 16],
    /// Dom0: may control the machine and other domains.
    pub privileged: bool,
    /// Vcpus.
    pub max_vcpus: u32,
    /// Event channel ports, port 0 included.
    pub max_evtchn: u32,
    /// Grant table pages.
    pub max_grant_frames: u32,
    /// Grants it may map at a time.
    pub max_maptrack: u32,
    /// Physical interrupts it may bind.
    pub nr_pirqs: u32,
    /// Memory limit in pages.
    pub max_pages: u64,
    /// Security label.
    pub ssidref: u32,
    /// A hardware-assisted guest, with these emulated devices (`XEN_X86_EMU_*`); `None` = PV.
    pub hvm: Option<u32>,
}

/// A virtual machine.
pub struct Domain {
    /// Its id.
    pub id: DomId,
    /// May control the machine and other domains.
    pub privileged: bool,
    /// Security label (kept, not used).
    pub ssidref: u32,
    /// UUID.
    pub handle: Mutex<[u8; 16]>,
    /// All its vcpus, online or not.
    pub vcpus: Box<[Vcpu]>,
    /// The page shared with the guest.
    pub shared_info: Mfn,
    /// What a hardware-assisted guest has beyond that; `None` = PV.
    pub hvm: Option<Box<Hvm>>,
    /// Direct-paging state; holding it serialises page-table changes of this domain.
    pub paging: Mutex<PvTables>,
    /// Pages.
    pub memory: Mutex<Memory>,
    /// `memory.pages.len()` mirrored for readers without the lock.
    pub tot_pages: AtomicU64,
    /// Event channels.
    pub events: RwLock<Ports>,
    /// Mfn + 1 of each page of the FIFO event array, 0 = none. Each holds a writable reference.
    pub fifo_array: [AtomicU64; MAX_ARRAY_PAGES as usize],
    /// Grants given.
    pub grants: RwLock<GrantTable>,
    /// Hypervisor pages holding the shared grant entries.
    pub grant_frames: RwLock<Vec<Mfn>>,
    /// Most grant frames.
    pub max_grant_frames: u32,
    /// Grants of others mapped here.
    pub maptrack: Mutex<Maptrack>,
    /// Interrupts.
    pub irqs: Mutex<PirqMap>,
    /// Nested pauses.
    pub pause_count: Arc<AtomicU32>,
    /// Pauses by the toolstack, to pair `pausedomain` with `unpausedomain`.
    pub controller_pauses: AtomicU32,
    /// The toolstack has not unpaused it for the first time yet.
    pub creating: AtomicBool,
    /// Being destroyed.
    pub dying: AtomicBool,
    /// Nothing of it is left but pages others refer to.
    pub dead: AtomicBool,
    /// Shut down: reason + 1, 0 = up.
    pub shutdown: AtomicU32,
    /// The reason it is going to shut down for, whatever it says then (`SCHEDOP_shutdown_code`), + 1; 0: none.
    pub shutdown_code: AtomicU32,
    /// CPUs whose TLB may hold its translations.
    pub dirty_cpus: AtomicU64,
    /// Its memory map, as the builder set it.
    pub e820: Mutex<Vec<E820Entry>>,
    /// Offset of its wall clock in seconds.
    pub time_offset_s: AtomicI64,
    /// How its time-stamp counters run.
    pub tsc: Mutex<Timing>,
    /// Whether a toolstack keeps a log of the pages that this PV guest writes (`SHADOW_OP_*`): 0 if not, else one more than the
    /// bytes of its bitmap that an interrupted call has written.
    pub dirty_log: AtomicU64,
    /// `VMASST_TYPE_*` bits.
    pub assists: AtomicU64,
    /// Its CPU pool. Changed under the registry's lock on the pools.
    pub pool: AtomicU32,
    /// Scheduling weight.
    pub weight: AtomicU32,
    /// Scheduling cap in percent of a CPU, 0 = none.
    pub cap: AtomicU32,
    /// What CPUID shows.
    pub cpuid: Mutex<CpuidPolicy>,
    /// Pages still to be given up while dying; `!0` before that step began.
    pub teardown_pages: AtomicU64,
    /// Next port to close while dying.
    pub teardown_port: AtomicU32,
    /// The domain that may manage it besides dom0 (`set_target`), or `INVALID`.
    pub target: AtomicU32,
    /// Time the vcpus of this domain have run, from vcpus that were retired.
    pub retired_ns: AtomicU64,
}

impl Domain {
    /// Creates a domain with its shared info page. Nothing is registered yet; dropping the result after
    /// `kill_step` returns everything.
    pub fn new<H: Host>(h: &H, p: &CreateParams) -> Result<Arc<Domain>, Errno> {
        if p.max_vcpus == 0 || p.max_vcpus > MAX_VCPUS {
            return Err(Errno::EINVAL);
        }
        let limits = Limits {
            ports: p.max_evtchn,
            vcpus: p.max_vcpus,
            pirqs: p.nr_pirqs,
        };
        let events = Ports::new(p.id, limits)?;
        let pause_count = Arc::new(AtomicU32::new(1));
        let vcpus = (0..p.max_vcpus)
            .map(|i| match p.hvm {
                None => Vcpu::new(p.id, VcpuId(i), pause_count.clone()),
                Some(_) => Vcpu::new_hvm(p.id, VcpuId(i), pause_count.clone()),
            })
            .collect();
        let (hvm, shared_info) = Self::new_pages(h, p)?;
        let dom = Domain {
            id: p.id,
            privileged: p.privileged,
            ssidref: p.ssidref,
            handle: Mutex::new(p.handle),
            vcpus,
            shared_info,
            hvm,
            paging: Mutex::new(PvTables::new(p.id)),
            memory: Mutex::new(Memory {
                pages: PageList::new(),
                max_pages: p.max_pages,
                shared_pages: 1,
                claimed: 0,
            }),
            tot_pages: AtomicU64::new(0),
            events: RwLock::new(events),
            fifo_array: [const { AtomicU64::new(0) }; MAX_ARRAY_PAGES as usize],
            grants: RwLock::new(GrantTable::new(p.max_grant_frames)),
            grant_frames: RwLock::new(Vec::new()),
            max_grant_frames: p.max_grant_frames,
            maptrack: Mutex::new(Maptrack::new(p.max_maptrack)),
            irqs: Mutex::new(PirqMap::default()),
            pause_count,
            controller_pauses: AtomicU32::new(0),
            creating: AtomicBool::new(true),
            dying: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            shutdown: AtomicU32::new(0),
            shutdown_code: AtomicU32::new(0),
            dirty_cpus: AtomicU64::new(0),
            e820: Mutex::new(Vec::new()),
            time_offset_s: AtomicI64::new(0),
            tsc: Mutex::new(Timing::default()),
            dirty_log: AtomicU64::new(0),
            assists: AtomicU64::new(0),
            pool: AtomicU32::new(sched::POOL0),
            weight: AtomicU32::new(256),
            cap: AtomicU32::new(0),
            cpuid: Mutex::new(CpuidPolicy::default()),
            teardown_pages: AtomicU64::new(!0),
            teardown_port: AtomicU32::new(1),
            target: AtomicU32::new(u32::from(DomId::INVALID.0)),
            retired_ns: AtomicU64::new(0),
        };
        tsc::begin(h, &dom);
        // vcpus 0..32 find their vcpu_info in the shared page until they register another place.
        for v in dom.vcpus.iter().take(xen_abi::xen::LEGACY_MAX_VCPUS) {
            v.info.set(shared_info, v.id.0 as usize * 64);
        }
        Ok(Arc::new(dom))
    }

    /// The pages a domain starts with: its p2m's root, if it has one, and the shared info page.
    fn new_pages<H: Host>(h: &H, p: &CreateParams) -> Result<(Option<Box<Hvm>>, Mfn), Errno> {
        let hvm = match p.hvm {
            Some(emulation) => Some(Box::new(Hvm::new(h, emulation)?)),
            None => None,
        };
        let shared_info = alloc_shared_page(h, p.id, false).inspect_err(|_| {
            if let Some(hvm) = &hvm {
                hvm.close(h);
            }
        })?;
        Ok((hvm, shared_info))
    }

    /// Vcpu number `id`.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(id.0 as usize)
    }

    /// A hardware-assisted guest (HVM or PVH)?
    pub fn is_hvm(&self) -> bool {
        self.hvm.is_some()
    }

    /// Vcpus that are up.
    pub fn online_vcpus(&self) -> u32 {
        self.vcpus.iter().filter(|v| !v.is_down()).count() as u32
    }

    /// Has it shut down, and why.
    pub fn shutdown_state(&self) -> ShutdownState {
        match self.shutdown.load(Ordering::Acquire) {
            0 => ShutdownState::Up,
            code => ShutdownState::Down(code - 1),
        }
    }

    /// May its vcpus run, as far as the domain is concerned?
    pub fn may_run(&self) -> bool {
        self.pause_count.load(Ordering::Acquire) == 0 && !self.dying.load(Ordering::Relaxed)
    }

    /// Being destroyed?
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::Acquire)
    }

    /// Is a `VMASST_TYPE_*` bit on?
    pub fn assist(&self, bit: u32) -> bool {
        self.assists.load(Ordering::Relaxed) & (1 << bit) != 0
    }
}
