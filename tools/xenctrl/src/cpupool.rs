//! CPU pools, and where CPUs and memory are.
use crate::{CpuMap, CpuPlace, CpuPool, Error, NumaNode, Result, Xenctrl};
use xen_abi::sysctl::*;
use xen_abi::xen::XenctlBitmap;
use xen_abi::{DomId, Errno, GuestHandle};
use xendev::SharedMemExt;

/// Room for the CPUs of a pool, in bytes: as many CPUs as the ABI's bitmaps are used for.
const MAP_BYTES: usize = 1024;
/// What `CPUPOOL_OP_CREATE` takes for an id of the hypervisor's choice.
const ANY: u32 = CPUPOOL_PAR_ANY;
/// Most memory nodes asked for.
const MAX_NODES: usize = 64;

impl Xenctrl {
    fn pool_op(&self, member: CpupoolOp) -> Result<CpupoolOp, Errno> {
        let mut op = Sysctl::with(CPUPOOL_OP, member);
        self.sysctl(&mut op).map(|_| op.cpupool_op())
    }

    fn pool_op_with_map(&self, member: CpupoolOp) -> Result<(CpupoolOp, CpuMap), Errno> {
        let buf = self.alloc(MAP_BYTES)?;
        let out = self.pool_op(CpupoolOp {
            cpumap: XenctlBitmap {
                bitmap: GuestHandle::new(buf.addr()),
                nr_bits: MAP_BYTES as u32 * 8,
                ..Default::default()
            },
            ..member
        })?;
        Ok((out, CpuMap(buf.read_vec(0, MAP_BYTES))))
    }

    /// Every pool, in ascending order of their ids.
    pub fn cpupools(&self) -> Result<Vec<CpuPool>> {
        let mut pools: Vec<CpuPool> = Vec::new();
        let mut next = 0;
        loop {
            let member = CpupoolOp {
                op: CPUPOOL_OP_INFO,
                cpupool_id: next,
                ..Default::default()
            };
            // Answers about the next pool when there is none of this id.
            match self.pool_op_with_map(member) {
                Ok((p, cpus)) if p.cpupool_id >= next => {
                    pools.push(CpuPool {
                        id: p.cpupool_id,
                        sched: p.sched_id,
                        domains: p.n_dom,
                        cpus,
                    });
                    match p.cpupool_id.checked_add(1) {
                        Some(n) => next = n,
                        None => return Ok(pools),
                    }
                }
                Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => return Ok(pools),
                Err(e) => return Err(Error::new(format!("asking for CPU pool {next}"), e)),
            }
        }
    }

    /// The scheduler of a domain's pool.
    pub fn scheduler_of(&self, dom: DomId) -> Result<u32> {
        let pool = self.domain_info(dom)?.map_or(0, |i| i.cpupool);
        let pools = self.cpupools()?;
        match pools.iter().find(|p| p.id == pool) {
            Some(p) => Ok(p.sched),
            None => self.sched_id(),
        }
    }

    /// CPUs that are in no pool.
    pub fn free_cpus(&self) -> Result<CpuMap> {
        let member = CpupoolOp {
            op: CPUPOOL_OP_FREEINFO,
            ..Default::default()
        };
        self.pool_op_with_map(member)
            .map(|(_, cpus)| cpus)
            .map_err(|e| Error::new("asking for the CPUs of no pool", e))
    }

    /// Creates an empty pool under a scheduler.
    pub fn cpupool_create(&self, sched: u32) -> Result<u32> {
        self.pool_op(CpupoolOp {
            op: CPUPOOL_OP_CREATE,
            cpupool_id: ANY,
            sched_id: sched,
            ..Default::default()
        })
        .map(|p| p.cpupool_id)
        .map_err(|e| Error::new("creating a CPU pool", e))
    }

    fn simple_pool_op(&self, member: CpupoolOp, what: impl FnOnce() -> String) -> Result<()> {
        self.pool_op(member)
            .map(drop)
            .map_err(|e| Error::new(what(), e))
    }

    /// Removes an empty pool.
    pub fn cpupool_destroy(&self, pool: u32) -> Result<()> {
        let member = CpupoolOp {
            op: CPUPOOL_OP_DESTROY,
            cpupool_id: pool,
            ..Default::default()
        };
        self.simple_pool_op(member, || format!("removing CPU pool {pool}"))
    }

    /// Puts a free CPU into a pool.
    pub fn cpupool_add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let member = CpupoolOp {
            op: CPUPOOL_OP_ADDCPU,
            cpupool_id: pool,
            cpu,
            ..Default::default()
        };
        self.simple_pool_op(member, || format!("adding CPU {cpu} to pool {pool}"))
    }

    /// Takes a CPU out of a pool.
    pub fn cpupool_remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let member = CpupoolOp {
            op: CPUPOOL_OP_RMCPU,
            cpupool_id: pool,
            cpu,
            ..Default::default()
        };
        // The hypervisor may need a moment to move what runs there.
        let mut patience = 100;
        loop {
            match self.pool_op(member) {
                Ok(_) => return Ok(()),
                Err(Errno::EBUSY) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                Err(e) => {
                    let what = format!("removing CPU {cpu} from pool {pool}");
                    return Err(Error::new(what, e));
                }
            }
        }
    }

    /// Moves a domain to a pool.
    pub fn cpupool_move(&self, pool: u32, dom: DomId) -> Result<()> {
        let member = CpupoolOp {
            op: CPUPOOL_OP_MOVEDOMAIN,
            cpupool_id: pool,
            domid: dom.0.into(),
            ..Default::default()
        };
        self.simple_pool_op(member, || format!("moving {dom} to CPU pool {pool}"))
    }

    /// Core, socket and node of each of the first `max` CPUs.
    pub fn cpu_places(&self, max: u32) -> Result<Vec<CpuPlace>> {
        let fail = |e| Error::new("asking where the CPUs are", e);
        let buf = self
            .alloc(max as usize * size_of::<Cputopo>())
            .map_err(fail)?;
        let member = CpuTopoInfo {
            num_cpus: max,
            cputopo: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        let mut op = Sysctl::with(CPUTOPOINFO, member);
        self.sysctl(&mut op).map_err(fail)?;
        let n = op.cputopoinfo().num_cpus.min(max) as usize;
        let place = |t: &Cputopo| CpuPlace {
            core: t.core,
            socket: t.socket,
            node: t.node,
        };
        Ok(buf.read_vec::<Cputopo>(0, n).iter().map(place).collect())
    }

    /// The memory nodes.
    pub fn numa_nodes(&self) -> Result<Vec<NumaNode>> {
        let fail = |e| Error::new("asking for the memory nodes", e);
        // First how many there are: distances come as a square of that many.
        let mut op = Sysctl::with(NUMAINFO, NumaInfo::default());
        self.sysctl(&mut op).map_err(fail)?;
        let room = (op.numainfo().num_nodes as usize).min(MAX_NODES);
        let info = self.alloc(room * size_of::<Meminfo>()).map_err(fail)?;
        let distance = self.alloc(room * room * 4).map_err(fail)?;
        let member = NumaInfo {
            num_nodes: room as u32,
            meminfo: GuestHandle::new(info.addr()),
            distance: GuestHandle::new(distance.addr()),
            ..Default::default()
        };
        let mut op = Sysctl::with(NUMAINFO, member);
        self.sysctl(&mut op).map_err(fail)?;
        let n = (op.numainfo().num_nodes as usize).min(room);
        let infos = info.read_vec::<Meminfo>(0, n);
        let distances = distance.read_vec::<u32>(0, n * n);
        let node = |(i, m): (usize, &Meminfo)| NumaNode {
            size: m.memsize,
            free: m.memfree,
            distances: distances[i * n..(i + 1) * n].to_vec(),
        };
        Ok(infos.iter().enumerate().map(node).collect())
    }
}
