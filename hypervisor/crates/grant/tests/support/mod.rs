//! A domain's grant frames made of plain atomics.
#![allow(dead_code)]
use grant::{Access, GntStatus, GrantTable, MapInfo, SharedEntry, SharedGrants};
use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use xen_abi::{DomId, Gfn, GrantRef, Mfn};

pub const PERMIT: u32 = 1;
pub const READONLY: u32 = 1 << 2;
pub const READING: u32 = 1 << 3;
pub const WRITING: u32 = 1 << 4;
pub const SUB_PAGE: u32 = 1 << 8;

pub const READ: Access = Access {
    host: true,
    dev: false,
    write: false,
};
pub const WRITE: Access = Access {
    host: true,
    dev: false,
    write: true,
};
pub const DEV_WRITE: Access = Access {
    host: false,
    dev: true,
    write: true,
};
pub const BOTH: Access = Access {
    host: true,
    dev: true,
    write: true,
};

pub struct Memory {
    entries: Vec<(AtomicU32, AtomicU32)>,
    /// The frames were freed: the domain is dying.
    pub gone: Cell<bool>,
}

impl Memory {
    pub fn new(frames: usize) -> Memory {
        Memory {
            entries: (0..frames * 512).map(|_| Default::default()).collect(),
            gone: Cell::new(false),
        }
    }
    /// The guest writes an entry.
    pub fn grant(&self, gref: u32, to: u16, frame: u32, flags: u32) {
        let (head, f) = &self.entries[gref as usize];
        f.store(frame, SeqCst);
        head.store(u32::from(to) << 16 | flags, SeqCst);
    }
    pub fn flags(&self, gref: u32) -> u32 {
        self.entries[gref as usize].0.load(SeqCst) & 0xffff
    }
    pub fn frame(&self, gref: u32) -> u32 {
        self.entries[gref as usize].1.load(SeqCst)
    }
}

impl SharedGrants for Memory {
    fn entry(&self, gref: GrantRef) -> Option<SharedEntry<'_>> {
        let (flags_domid, frame) = self.entries.get(gref.0 as usize)?;
        (!self.gone.get()).then_some(SharedEntry { flags_domid, frame })
    }
}

/// The machine frame is the guest's plus 1000.
pub fn resolve(gfn: Gfn) -> Result<Mfn, GntStatus> {
    Ok(Mfn(gfn.0 + 1000))
}

pub fn map(
    t: &GrantTable,
    m: &Memory,
    gref: u32,
    by: u16,
    a: Access,
) -> Result<MapInfo, GntStatus> {
    t.begin_map(m, GrantRef(gref), DomId(by), a, resolve)
}

pub fn table() -> (GrantTable, Memory) {
    let mut t = GrantTable::new(4);
    t.grow(2).unwrap();
    (t, Memory::new(2))
}
