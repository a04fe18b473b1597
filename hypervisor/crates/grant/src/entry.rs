//! One grant: the entry in guest-shared memory and the hypervisor's record of who uses it.
//!
//! The shared entry's flags and domid form one word, changed by compare-and-swap only; `GTF_reading` and
//! `GTF_writing` tell the granter that the page is in use and are ours to set and clear.
use crate::{Access, GntStatus};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;
use xen_abi::grant_table as abi;
use xen_abi::{DomId, Gfn, GrantRef, Mfn};

/// The two words of a `struct grant_entry_v1`.
#[derive(Clone, Copy)]
pub struct SharedEntry<'a> {
    /// Flags in bits 0..16, domid in bits 16..32.
    pub flags_domid: &'a AtomicU32,
    /// The granted frame, as the granter numbers it.
    pub frame: &'a AtomicU32,
}

/// A domain's grant frames.
pub trait SharedGrants {
    /// The shared entry, if its frame exists (it may be gone while a domain dies).
    fn entry(&self, gref: GrantRef) -> Option<SharedEntry<'_>>;
}

const PERMIT_ACCESS: u32 = abi::GTF_PERMIT_ACCESS as u32;
const TYPE_MASK: u32 = abi::GTF_TYPE_MASK as u32;
const READONLY: u32 = abi::GTF_READONLY as u32;
const READING: u32 = abi::GTF_READING as u32;
const WRITING: u32 = abi::GTF_WRITING as u32;
const SUB_PAGE: u32 = abi::GTF_SUB_PAGE as u32;

/// How often a change of the shared entry is tried before the granter is blamed.
const STATUS_TRIES: usize = 5;

/// Is the page mapped (which a sub-page grant forbids) or only copied?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Map,
    Copy,
}

impl SharedEntry<'_> {
    /// Marks the entry as in use by `mapper`, if it grants that. Fails with `GeneralError` if it does not, or
    /// if it keeps changing.
    pub(crate) fn claim(&self, mapper: DomId, write: bool, usage: Use) -> Result<(), GntStatus> {
        let mask = match usage {
            Use::Map => TYPE_MASK | SUB_PAGE,
            Use::Copy => TYPE_MASK,
        };
        let mut old = self.flags_domid.load(SeqCst);
        for _ in 0..STATUS_TRIES {
            let domid = (old >> 16) as u16;
            if old & mask != PERMIT_ACCESS || domid != mapper.0 {
                return Err(GntStatus::GeneralError);
            }
            if write && old & READONLY != 0 {
                return Err(GntStatus::GeneralError);
            }
            let new = old | READING | if write { WRITING } else { 0 };
            match self.flags_domid.compare_exchange(old, new, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
        Err(GntStatus::GeneralError)
    }

    /// Clears the in-use marks that no longer hold.
    pub(crate) fn unclaim(&self, pins: &Pins) {
        let mut clear = 0;
        if !pins.writing() {
            clear |= WRITING;
        }
        if !pins.any() {
            clear |= READING;
        }
        if clear != 0 {
            self.flags_domid.fetch_and(!clear, SeqCst);
        }
    }
}

/// How many uses of each kind an entry has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pins {
    host_read: u32,
    host_write: u32,
    dev_read: u32,
    dev_write: u32,
}

impl Pins {
    pub(crate) fn any(&self) -> bool {
        *self != Pins::default()
    }

    pub(crate) fn writing(&self) -> bool {
        self.host_write != 0 || self.dev_write != 0
    }

    fn counters(&mut self, access: Access) -> [Option<&mut u32>; 2] {
        let (host, dev) = if access.write {
            (&mut self.host_write, &mut self.dev_write)
        } else {
            (&mut self.host_read, &mut self.dev_read)
        };
        [access.host.then_some(host), access.dev.then_some(dev)]
    }

    /// One more use; `None` if a counter is full.
    pub(crate) fn plus(mut self, access: Access) -> Option<Pins> {
        for counter in self.counters(access).into_iter().flatten() {
            *counter = counter.checked_add(1)?;
        }
        Some(self)
    }

    /// One use less; `None` if there was none.
    pub(crate) fn minus(mut self, access: Access) -> Option<Pins> {
        for counter in self.counters(access).into_iter().flatten() {
            *counter = counter.checked_sub(1)?;
        }
        Some(self)
    }
}

/// The hypervisor's record of an entry in use. `mapper`, `gfn` and `mfn` mean something while `pins` is not
/// empty, and then do not change whatever the granter writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Active {
    pub(crate) pins: Pins,
    pub(crate) mapper: DomId,
    pub(crate) gfn: Gfn,
    pub(crate) mfn: Mfn,
}
