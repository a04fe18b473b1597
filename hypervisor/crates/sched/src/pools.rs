//! [`Pools`]: which CPUs schedule which domains. Pool 0 has every CPU that no other pool was given and nobody took away.
use crate::CpuMask;
use alloc::vec::Vec;
use xen_abi::Errno;

/// The pool of domain 0, which always exists.
pub const POOL0: u32 = 0;
/// Shortest time a vcpu runs before another may take over, in microseconds, unless told otherwise.
pub const RATELIMIT_US: u32 = 1000;
/// Most pools; a pool without a CPU is of little use.
const MAX_POOLS: usize = 64;

/// Some CPUs that schedule for themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its number.
    pub id: u32,
    /// Its CPUs.
    pub cpus: CpuMask,
    /// See [`RATELIMIT_US`]; 0: none.
    pub ratelimit_us: u32,
}

/// All pools, lowest number first. A CPU is in one of them, or free.
#[derive(Debug)]
pub struct Pools {
    first: Pool,
    more: Vec<Pool>,
}

impl Default for Pools {
    fn default() -> Pools {
        Pools::new()
    }
}

impl Pools {
    /// Pool 0 with every CPU there may ever be.
    pub const fn new() -> Pools {
        Pools {
            first: Pool {
                id: POOL0,
                cpus: CpuMask::ALL,
                ratelimit_us: RATELIMIT_US,
            },
            more: Vec::new(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Pool> {
        core::iter::once(&self.first).chain(&self.more)
    }

    /// Pool `id`.
    pub fn get(&self, id: u32) -> Option<&Pool> {
        self.iter().find(|p| p.id == id)
    }

    /// The same, to change. Its number stays.
    fn get_mut(&mut self, id: u32) -> Result<&mut Pool, Errno> {
        core::iter::once(&mut self.first)
            .chain(&mut self.more)
            .find(|p| p.id == id)
            .ok_or(Errno::ENOENT)
    }

    /// The first pool with a number of at least `id`, for listing.
    pub fn at_or_after(&self, id: u32) -> Option<&Pool> {
        self.iter().find(|p| p.id >= id)
    }

    /// CPUs in no pool.
    pub fn free(&self) -> CpuMask {
        CpuMask(!self.iter().fold(0, |m, p| m | p.cpus.0))
    }

    /// A new pool without CPUs: number `wish`, or the lowest free one. `EEXIST`; `ENOSPC` with too many.
    pub fn create(&mut self, wish: Option<u32>) -> Result<u32, Errno> {
        let id = match wish {
            Some(id) if self.get(id).is_some() => return Err(Errno::EEXIST),
            Some(id) => id,
            None => (1..)
                .find(|id| self.get(*id).is_none())
                .ok_or(Errno::ENOSPC)?,
        };
        if self.more.len() + 1 >= MAX_POOLS {
            return Err(Errno::ENOSPC);
        }
        self.more.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let at = self.more.partition_point(|p| p.id < id);
        let pool = Pool {
            id,
            cpus: CpuMask(0),
            ratelimit_us: RATELIMIT_US,
        };
        self.more.insert(at, pool);
        Ok(id)
    }

    /// Ends a pool. `EBUSY` while it has CPUs, and always for pool 0; the caller knows that no domain is in it.
    pub fn destroy(&mut self, id: u32) -> Result<(), Errno> {
        if id == POOL0 || !self.get(id).ok_or(Errno::ENOENT)?.cpus.is_empty() {
            return Err(Errno::EBUSY);
        }
        self.more.retain(|p| p.id != id);
        Ok(())
    }

    /// Puts `cpu` into a pool. `EBUSY` unless it is free.
    pub fn add(&mut self, id: u32, cpu: u32) -> Result<(), Errno> {
        let free = self.free();
        let pool = self.get_mut(id)?;
        if !free.has(cpu) {
            return Err(Errno::EBUSY);
        }
        pool.cpus.0 |= CpuMask::one(cpu).0;
        Ok(())
    }

    /// Takes `cpu` out of a pool. `ENODEV`: it is not in there.
    pub fn remove(&mut self, id: u32, cpu: u32) -> Result<(), Errno> {
        let pool = self.get_mut(id)?;
        if !pool.cpus.has(cpu) {
            return Err(Errno::ENODEV);
        }
        pool.cpus.0 &= !CpuMask::one(cpu).0;
        Ok(())
    }

    /// Sets a pool's [`RATELIMIT_US`]. `ENOENT`.
    pub fn set_ratelimit(&mut self, id: u32, us: u32) -> Result<(), Errno> {
        self.get_mut(id)?.ratelimit_us = us;
        Ok(())
    }
}

/// Where a vcpu of a pool with `cpus` may run if `hard` is what it was pinned to: a pinning that the pool cannot
/// honour counts as none.
pub fn allowed(hard: CpuMask, cpus: CpuMask) -> CpuMask {
    match hard.and(cpus) {
        none if none.is_empty() => cpus,
        some => some,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_in_one_pool_or_free() {
        let mut p = Pools::new();
        assert!(p.free().is_empty());
        assert_eq!(p.create(Some(0)), Err(Errno::EEXIST));
        assert_eq!(p.create(Some(7)), Ok(7));
        assert_eq!(p.create(None), Ok(1));
        assert_eq!(p.at_or_after(2).map(|p| p.id), Some(7));
        assert_eq!(p.add(1, 3), Err(Errno::EBUSY));
        assert_eq!(p.remove(1, 3), Err(Errno::ENODEV));
        assert_eq!(p.remove(0, 3), Ok(()));
        assert_eq!(p.free(), CpuMask::one(3));
        assert_eq!(p.add(2, 3), Err(Errno::ENOENT));
        assert_eq!(p.add(1, 3), Ok(()));
        assert!(p.free().is_empty());
        assert!(!p.get(0).unwrap().cpus.has(3));
        assert_eq!(p.destroy(1), Err(Errno::EBUSY));
        assert_eq!(p.remove(1, 3), Ok(()));
        assert_eq!(p.destroy(1), Ok(()));
        assert_eq!(p.destroy(1), Err(Errno::ENOENT));
        assert_eq!(p.destroy(0), Err(Errno::EBUSY));
        assert_eq!(p.add(0, 3), Ok(()));
        assert_eq!(p.add(0, 64), Err(Errno::EBUSY));
    }

    #[test]
    fn there_are_not_endlessly_many() {
        let mut p = Pools::new();
        for id in 1..64 {
            assert_eq!(p.create(None), Ok(id));
        }
        assert_eq!(p.create(None), Err(Errno::ENOSPC));
    }

    #[test]
    fn pinning_yields_to_the_pool() {
        assert_eq!(allowed(CpuMask(0b110), CpuMask(0b011)), CpuMask(0b010));
        assert_eq!(allowed(CpuMask(0b100), CpuMask(0b011)), CpuMask(0b011));
    }
}
