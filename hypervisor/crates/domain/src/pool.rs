//! CPU pools and affinity: who may run where. The pools themselves are `sched`'s; here is what a change of them, or of
//! a vcpu's affinity, means for domains. `Vcpu::allowed` is what the scheduler goes by; it is written here only.
//!
//! Everything below holds the registry's lock on the pools, so that no domain enters a pool that is going away.
use crate::{Domain, Host, Vcpu};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use sched::{CpuMask, POOL0, Pools, allowed};
use xen_abi::{DomId, Errno};

fn online<H: Host>(h: &H) -> CpuMask {
    match h.info().cpus {
        64.. => CpuMask::ALL,
        n => CpuMask((1 << n) - 1),
    }
}

/// The CPUs of pool `id` that are up; none if there is no such pool.
pub fn cpus<H: Host>(h: &H, pools: &Pools, id: u32) -> CpuMask {
    let pool = pools.get(id).map_or(CpuMask(0), |p| p.cpus);
    pool.and(online(h))
}

/// The CPUs that are up and in no pool.
pub fn free_cpus<H: Host>(h: &H) -> CpuMask {
    h.domains().pools.lock().free().and(online(h))
}

/// Domains in pool `id`.
pub fn members<H: Host>(h: &H, id: u32) -> impl Iterator<Item = Arc<Domain>> {
    let all = h.domains().all().into_iter();
    all.filter(move |d| d.pool.load(Ordering::Acquire) == id)
}

/// Works out anew where a vcpu may run, and tells the scheduler.
fn settle<H: Host>(h: &H, pool: CpuMask, v: &Vcpu) {
    let hard = CpuMask(v.affinity.load(Ordering::Acquire));
    v.allowed.store(allowed(hard, pool).0, Ordering::Release);
    h.affinity_changed(v);
}

fn settle_all<H: Host>(h: &H, pool: CpuMask, dom: &Domain) {
    for v in dom.vcpus.iter() {
        settle(h, pool, v);
    }
}

/// Makes a domain with `make`, which also puts it on the registry, in pool `id`. `ESRCH`: no such pool.
pub fn admit<H: Host>(
    h: &H,
    id: u32,
    make: impl FnOnce() -> Result<Arc<Domain>, Errno>,
) -> Result<Arc<Domain>, Errno> {
    let pools = h.domains().pools.lock();
    pools.get(id).ok_or(Errno::ESRCH)?;
    let dom = make()?;
    dom.pool.store(id, Ordering::Release);
    for v in dom.vcpus.iter() {
        v.allowed.store(cpus(h, &pools, id).0, Ordering::Release);
    }
    Ok(dom)
}

/// Sets hard and soft affinity as far as given. `EINVAL`: the pool has none of the hard ones. Returns the CPUs in force.
pub fn set_affinity<H: Host>(
    h: &H,
    dom: &Domain,
    v: &Vcpu,
    hard: Option<CpuMask>,
    soft: Option<CpuMask>,
) -> Result<CpuMask, Errno> {
    let pools = h.domains().pools.lock();
    let pool = cpus(h, &pools, dom.pool.load(Ordering::Acquire));
    if hard.is_some_and(|m| m.and(pool).is_empty()) {
        return Err(Errno::EINVAL);
    }
    if let Some(m) = hard {
        v.affinity.store(m.0, Ordering::Release);
    }
    // A soft affinity that cannot be had is a wish that stays one.
    if let Some(m) = soft {
        v.soft_affinity.store(m.0, Ordering::Release);
    }
    settle(h, pool, v);
    Ok(CpuMask(v.allowed.load(Ordering::Acquire)))
}

/// Moves a domain to pool `id`, with no pinning left. `EINVAL`: domain 0, a dying one, or a pool without CPUs; `ENOENT`.
pub fn move_domain<H: Host>(h: &H, dom: &Domain, id: u32) -> Result<(), Errno> {
    let pools = h.domains().pools.lock();
    if dom.id == DomId::DOM0 || dom.is_dying() {
        return Err(Errno::EINVAL);
    }
    pools.get(id).ok_or(Errno::ENOENT)?;
    let there = cpus(h, &pools, id);
    if there.is_empty() {
        return Err(Errno::EINVAL);
    }
    if dom.pool.swap(id, Ordering::AcqRel) == id {
        return Ok(());
    }
    for v in dom.vcpus.iter() {
        v.affinity.store(!0, Ordering::Release);
        v.soft_affinity.store(!0, Ordering::Release);
    }
    settle_all(h, there, dom);
    Ok(())
}

/// Ends a pool. `EBUSY`: CPUs or domains are in it. `ENOENT`.
pub fn destroy<H: Host>(h: &H, id: u32) -> Result<(), Errno> {
    let mut pools = h.domains().pools.lock();
    pools.get(id).ok_or(Errno::ENOENT)?;
    if id == POOL0 || members(h, id).next().is_some() {
        return Err(Errno::EBUSY);
    }
    pools.destroy(id)
}

/// Puts a CPU into a pool: `cpu`, or the first that is free. `EBUSY`: not free; `ENODEV`: none is, or it is not up.
pub fn add_cpu<H: Host>(h: &H, id: u32, cpu: Option<u32>) -> Result<(), Errno> {
    let mut pools = h.domains().pools.lock();
    let cpu = match cpu {
        Some(cpu) => cpu,
        None => pools
            .free()
            .and(online(h))
            .iter()
            .next()
            .ok_or(Errno::ENODEV)?,
    };
    if !online(h).has(cpu) {
        return Err(Errno::ENODEV);
    }
    pools.add(id, cpu)?;
    h.pool_changed(cpu, pools.get(id).map_or(0, |p| p.ratelimit_us));
    for dom in members(h, id) {
        settle_all(h, cpus(h, &pools, id), &dom);
    }
    Ok(())
}

/// Takes a CPU out of a pool: `cpu`, or the last. `EBUSY`: it is the last and domains are there; `EADDRNOTAVAIL`: it
/// is not in the pool. Its vcpus leave at once. Vcpus pinned to it alone lose their pinning.
pub fn remove_cpu<H: Host>(h: &H, id: u32, cpu: Option<u32>) -> Result<(), Errno> {
    let mut pools = h.domains().pools.lock();
    pools.get(id).ok_or(Errno::ENOENT)?;
    let mine = cpus(h, &pools, id);
    let cpu = match cpu {
        Some(cpu) => cpu,
        None => mine.iter().last().ok_or(Errno::EADDRNOTAVAIL)?,
    };
    if !mine.has(cpu) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    let occupied = members(h, id).next().is_some();
    if mine == CpuMask::one(cpu) && (id == POOL0 || occupied) {
        return Err(Errno::EBUSY);
    }
    pools.remove(id, cpu)?;
    let left = cpus(h, &pools, id);
    for dom in members(h, id) {
        for v in dom.vcpus.iter() {
            if CpuMask(v.affinity.load(Ordering::Acquire))
                .and(left)
                .is_empty()
            {
                v.affinity.store(!0, Ordering::Release);
            }
        }
        settle_all(h, left, &dom);
    }
    Ok(())
}

/// Sets the shortest time for which vcpus of a pool run, in microseconds. `ESRCH`.
pub fn set_ratelimit<H: Host>(h: &H, id: u32, us: u32) -> Result<(), Errno> {
    let mut pools = h.domains().pools.lock();
    pools.set_ratelimit(id, us).map_err(|_| Errno::ESRCH)?;
    for cpu in cpus(h, &pools, id).iter() {
        h.pool_changed(cpu, us);
    }
    Ok(())
}
