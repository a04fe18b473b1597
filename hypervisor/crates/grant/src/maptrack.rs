//! [`Maptrack`]: the mapping side. Handles of one domain's grant mappings.
use crate::{Access, GntStatus, MapFlags};
use alloc::vec::Vec;
use xen_abi::{DomId, GrantRef, Mfn};

/// Names a mapping (`grant_handle_t`); an allegation until looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Handle(pub u32);

/// One mapping of a foreign grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The granting domain.
    pub granter: DomId,
    /// Its grant reference.
    pub gref: GrantRef,
    /// The flags it was mapped with; host and device bits are cleared as those parts are unmapped.
    pub flags: MapFlags,
    /// The frame.
    pub mfn: Mfn,
    /// Where it is mapped: the virtual address, or the PTE's machine address with `CONTAINS_PTE`.
    pub host_addr: u64,
}

impl Mapping {
    /// The access this mapping still pins.
    pub fn access(&self) -> Access {
        Access {
            host: self.flags.has(MapFlags::HOST_MAP),
            dev: self.flags.has(MapFlags::DEVICE_MAP),
            write: !self.flags.has(MapFlags::READONLY),
        }
    }
}

/// What [`Maptrack::finish_unmap`] gave up: hand it to [`crate::GrantTable::end`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmapped {
    /// Of this mapping, as it was.
    pub mapping: Mapping,
    /// The part that ended.
    pub access: Access,
    /// Nothing is left of the mapping; its handle is free.
    pub gone: bool,
}

/// A slot that names no mapping ends the free list with this.
const END: u32 = u32::MAX;
/// Slots are allocated this many at a time.
const CHUNK: usize = 256;

#[derive(Clone, Copy)]
enum Slot {
    Free { next: u32 },
    Used { mapping: Mapping, busy: bool },
}

/// The mappings one domain has of others' grants. O(1) everywhere; the owner keeps it behind a lock.
pub struct Maptrack {
    limit: u32,
    chunks: Vec<Vec<Slot>>,
    free: u32,
    used: u32,
    /// Where [`Maptrack::next_to_drop`] goes on.
    drop_from: u32,
}

impl Maptrack {
    /// No mappings, and never more than `limit`.
    pub fn new(limit: u32) -> Maptrack {
        Maptrack {
            limit: limit.min(END - CHUNK as u32),
            chunks: Vec::new(),
            free: END,
            used: 0,
            drop_from: 0,
        }
    }

    /// Mappings there are.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// The most there may be.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let i = index as usize;
        self.chunks.get_mut(i / CHUNK)?.get_mut(i % CHUNK)
    }

    fn used_slot(&mut self, handle: Handle) -> Result<(&mut Mapping, &mut bool), GntStatus> {
        match self.slot(handle.0) {
            Some(Slot::Used { mapping, busy }) => Ok((mapping, busy)),
            _ => Err(GntStatus::BadHandle),
        }
    }

    /// Adds a mapping that is in place. `NoSpace`: the limit is reached, or out of memory.
    pub fn insert(&mut self, mapping: Mapping) -> Result<Handle, GntStatus> {
        let handle = self.reserve(mapping)?;
        self.publish(handle);
        Ok(handle)
    }

    /// Adds a mapping that is still being put in place: claimed, so that no other vcpu can unmap it by guessing
    /// its handle. Follow with [`Maptrack::publish`] or, if it fails, [`Maptrack::finish_unmap`] of both parts.
    /// `NoSpace`: the limit is reached, or out of memory.
    pub fn reserve(&mut self, mapping: Mapping) -> Result<Handle, GntStatus> {
        if self.used >= self.limit {
            return Err(GntStatus::NoSpace);
        }
        if self.free == END {
            self.grow()?;
        }
        let index = self.free;
        let slot = self.slot(index).ok_or(GntStatus::NoSpace)?;
        let Slot::Free { next } = *slot else {
            return Err(GntStatus::NoSpace);
        };
        *slot = Slot::Used {
            mapping,
            busy: true,
        };
        self.free = next;
        self.used += 1;
        Ok(Handle(index))
    }

    /// A reserved mapping is in place.
    pub fn publish(&mut self, handle: Handle) {
        self.cancel_unmap(handle);
    }

    fn grow(&mut self) -> Result<(), GntStatus> {
        let base = (self.chunks.len() * CHUNK) as u32;
        let mut chunk = Vec::new();
        let no_space = |_| GntStatus::NoSpace;
        chunk.try_reserve_exact(CHUNK).map_err(no_space)?;
        self.chunks.try_reserve(1).map_err(no_space)?;
        let last = base + CHUNK as u32;
        chunk.extend((base + 1..last).map(|next| Slot::Free { next }));
        chunk.push(Slot::Free { next: self.free });
        self.chunks.push(chunk);
        self.free = base;
        Ok(())
    }

    /// The mapping behind a handle. `BadHandle`.
    pub fn get(&mut self, handle: Handle) -> Result<Mapping, GntStatus> {
        self.used_slot(handle).map(|(mapping, _)| *mapping)
    }

    /// Claims a mapping for unmapping, so that nobody else unmaps it meanwhile. Follow with
    /// [`Maptrack::finish_unmap`] or [`Maptrack::cancel_unmap`]. `BadHandle`: none, or claimed.
    pub fn begin_unmap(&mut self, handle: Handle) -> Result<Mapping, GntStatus> {
        let (mapping, busy) = self.used_slot(handle)?;
        if core::mem::replace(busy, true) {
            return Err(GntStatus::BadHandle);
        }
        Ok(*mapping)
    }

    /// Gives a claimed mapping back unchanged.
    pub fn cancel_unmap(&mut self, handle: Handle) {
        if let Ok((_, busy)) = self.used_slot(handle) {
            *busy = false;
        }
    }

    /// The host and/or device part of a claimed mapping was undone; frees the handle when nothing is left.
    /// `BadHandle`: not claimed.
    pub fn finish_unmap(
        &mut self,
        handle: Handle,
        host: bool,
        dev: bool,
    ) -> Result<Unmapped, GntStatus> {
        let (mapping, busy) = self.used_slot(handle)?;
        if !core::mem::replace(busy, false) {
            return Err(GntStatus::BadHandle);
        }
        let was = *mapping;
        let had = was.access();
        let access = Access {
            host: host && had.host,
            dev: dev && had.dev,
            write: had.write,
        };
        if access.host {
            mapping.flags.0 &= !MapFlags::HOST_MAP;
        }
        if access.dev {
            mapping.flags.0 &= !MapFlags::DEVICE_MAP;
        }
        let left = mapping.access();
        let gone = !left.host && !left.dev;
        if gone {
            let next = self.free;
            if let Some(slot) = self.slot(handle.0) {
                *slot = Slot::Free { next };
            }
            self.free = handle.0;
            self.used -= 1;
        }
        Ok(Unmapped {
            mapping: was,
            access,
            gone,
        })
    }

    /// A mapping that is left, for taking down a domain that makes no new ones. Dropping all of them looks at each
    /// slot once.
    pub fn next_to_drop(&mut self) -> Option<(Handle, Mapping)> {
        let found = self.next_used(Handle(self.drop_from));
        self.drop_from = found.map_or(END, |(handle, _)| handle.0);
        found
    }

    /// The first mapping at or after `from`, for taking down a domain step by step.
    pub fn next_used(&self, from: Handle) -> Option<(Handle, Mapping)> {
        let start = from.0 as usize;
        let end = self.chunks.len() * CHUNK;
        (start..end).find_map(|i| match self.chunks.get(i / CHUNK)?.get(i % CHUNK)? {
            Slot::Used { mapping, .. } => Some((Handle(i as u32), *mapping)),
            Slot::Free { .. } => None,
        })
    }
}
