//! `sysctl`: the whole machine.
use crate::{CpuInfo, DomainInfo, Error, PhysInfo, Result, Xenctrl};
use xen_abi::domctl::GetDomainInfo;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Errno, GuestHandle, hypercall};
use xendev::SharedMemExt;

/// Interface versions whose layouts the calls used here share.
const VERSIONS: std::ops::RangeInclusive<u32> = 0x15..=0x16;
/// Domains asked for at once.
const LIST_BATCH: usize = 256;
/// Bytes of console asked for at once.
const CONSOLE_CHUNK: usize = 16 * 1024;

impl Xenctrl {
    pub(crate) fn sysctl(&self, op: &mut Sysctl) -> Result<i64, Errno> {
        self.versioned(1, VERSIONS, |version| {
            op.interface_version = version;
            let buf = self.alloc(size_of::<Sysctl>())?;
            buf.write_obj(0, op);
            let result = self
                .raw()
                .hypercall(hypercall::SYSCTL, [buf.addr(), 0, 0, 0, 0]);
            *op = buf.read_obj(0);
            result
        })
    }

    /// The machine's CPUs and memory.
    pub fn physinfo(&self) -> Result<PhysInfo> {
        let mut op = Sysctl::new(PHYSINFO);
        self.sysctl(&mut op)
            .map_err(|e| Error::new("asking for the machine's properties", e))?;
        let i = op.physinfo();
        Ok(PhysInfo {
            threads_per_core: i.threads_per_core,
            cores_per_socket: i.cores_per_socket,
            nr_cpus: i.nr_cpus,
            max_cpu_id: i.max_cpu_id,
            nr_nodes: i.nr_nodes,
            cpu_khz: i.cpu_khz,
            capabilities: i.capabilities,
            total_pages: i.total_pages,
            free_pages: i.free_pages,
            scrub_pages: i.scrub_pages,
            outstanding_pages: i.outstanding_pages,
            hw_cap: i.hw_cap,
        })
    }

    /// All domains from id `first` on, at most `max`, in ascending order.
    pub fn domain_info_list(&self, first: DomId, max: usize) -> Result<Vec<DomainInfo>> {
        let mut all = Vec::new();
        let mut next = first;
        while all.len() < max {
            let room = LIST_BATCH.min(max - all.len());
            let batch = self
                .domain_batch(next, room)
                .map_err(|e| Error::new(format!("listing domains from {next}"), e))?;
            let (n, last) = (batch.len(), batch.last().map(|d| d.domid.0));
            all.extend(batch);
            match last.and_then(|l| l.checked_add(1)) {
                Some(after) if n == room => next = DomId(after),
                _ => break,
            }
        }
        Ok(all)
    }

    fn domain_batch(&self, first: DomId, room: usize) -> Result<Vec<DomainInfo>, Errno> {
        let buf = self.alloc(room * size_of::<GetDomainInfo>())?;
        let member = GetDomainInfoList {
            first_domain: first,
            max_domains: room as u32,
            buffer: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        let mut op = Sysctl::with(GETDOMAININFOLIST, member);
        self.sysctl(&mut op)?;
        let n = room.min(op.getdomaininfolist().num_domains as usize);
        Ok(buf
            .read_vec::<GetDomainInfo>(0, n)
            .iter()
            .map(crate::domctl::domain_info)
            .collect())
    }

    /// Every domain.
    pub fn domains(&self) -> Result<Vec<DomainInfo>> {
        self.domain_info_list(DomId(0), DomId::FIRST_RESERVED.0.into())
    }

    /// The console ring from the start; `clear` empties it.
    pub fn read_console(&self, clear: bool) -> Result<Vec<u8>> {
        let mut index = 0;
        let text = self.read_console_from(&mut index)?;
        if clear {
            // Clears what it reads, so that nothing is lost that came in the meantime.
            let fail = |e| Error::new("clearing the hypervisor's console ring", e);
            let buf = self.alloc(text.len()).map_err(fail)?;
            let member = ReadConsole {
                clear: 1,
                buffer: GuestHandle::new(buf.addr()),
                count: text.len() as u32,
                ..Default::default()
            };
            self.console_op(member).map_err(fail)?;
        }
        Ok(text)
    }

    /// What has come to the console ring since `index`; `index` moves on.
    pub fn read_console_from(&self, index: &mut u32) -> Result<Vec<u8>> {
        let fail = |e| Error::new("reading the hypervisor's console ring", e);
        let buf = self.alloc(CONSOLE_CHUNK).map_err(fail)?;
        let mut text = Vec::new();
        // Ends when the hypervisor has no more; the bound is for one that never says so.
        for _ in 0..1024 {
            let member = ReadConsole {
                incremental: 1,
                index: *index,
                buffer: GuestHandle::new(buf.addr()),
                count: CONSOLE_CHUNK as u32,
                ..Default::default()
            };
            let out = self.console_op(member).map_err(fail)?;
            *index = out.index;
            let n = (out.count as usize).min(CONSOLE_CHUNK);
            text.extend(buf.read_vec::<u8>(0, n));
            if n == 0 {
                break;
            }
        }
        Ok(text)
    }

    fn console_op(&self, member: ReadConsole) -> Result<ReadConsole, Errno> {
        let mut op = Sysctl::with(READCONSOLE, member);
        self.sysctl(&mut op).map(|_| op.readconsole())
    }

    /// Presses debug keys.
    pub fn debug_keys(&self, keys: &str) -> Result<()> {
        let fail = |e| Error::new(format!("sending debug keys {keys:?}"), e);
        let buf = self.alloc(keys.len()).map_err(fail)?;
        buf.write(0, keys.as_bytes());
        let member = DebugKeys {
            keys: GuestHandle::new(buf.addr()),
            nr_keys: keys.len() as u32,
            ..Default::default()
        };
        self.sysctl(&mut Sysctl::with(DEBUG_KEYS, member))
            .map(drop)
            .map_err(fail)
    }

    /// The scheduler's number (`XEN_SCHEDULER_*`).
    pub fn sched_id(&self) -> Result<u32> {
        let mut op = Sysctl::new(SCHED_ID);
        self.sysctl(&mut op)
            .map(|_| op.sched_id().sched_id)
            .map_err(|e| Error::new("asking for the scheduler", e))
    }

    /// Idle times, by CPU.
    pub fn cpu_info(&self, max: u32) -> Result<Vec<CpuInfo>> {
        let fail = |e| Error::new(format!("asking for the idle times of {max} CPUs"), e);
        let buf = self
            .alloc(max as usize * size_of::<Cpuinfo>())
            .map_err(fail)?;
        let member = GetCpuInfo {
            max_cpus: max,
            info: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        let mut op = Sysctl::with(GETCPUINFO, member);
        self.sysctl(&mut op).map_err(fail)?;
        let n = op.getcpuinfo().nr_cpus.min(max) as usize;
        Ok(buf
            .read_vec::<Cpuinfo>(0, n)
            .iter()
            .map(|c| CpuInfo { idle: c.idletime })
            .collect())
    }
}
