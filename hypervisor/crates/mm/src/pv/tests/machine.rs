//! A machine made of vectors: memory, a TLB clock, and a list of the frames that were freed.
use super::super::*;
use crate::heap::Heap;
use crate::{FrameInfo, LastRef};
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::vec;
use std::vec::Vec;
use xen_abi::{DomId, Mfn};

/// Frames of RAM in the test machine; the heap keeps frame 0.
pub const FRAMES: usize = 40;
/// MMIO: first and second domain may map it; read-only; nobody may.
pub const MMIO: u64 = 0x1000;
pub const MMIO_RO: u64 = 0x1001;
pub const MMIO_DENIED: u64 = 0x1002;
/// What the machine puts into reserved L4 slots.
pub const RESERVED_ENTRY: u64 = 0xabc1;

pub struct Machine {
    pub mem: RefCell<Vec<[u64; ENTRIES]>>,
    pub clock: Cell<u32>,
    pub last_flush: Cell<u32>,
    pub freed: RefCell<Vec<LastRef>>,
    /// Set by a test: what the CPU does to an entry just before the next compare-exchange.
    pub race: Cell<u64>,
}

impl Machine {
    pub fn new() -> Self {
        Machine {
            mem: RefCell::new(vec![[0; ENTRIES]; FRAMES]),
            clock: Cell::new(1),
            last_flush: Cell::new(0),
            freed: RefCell::default(),
            race: Cell::new(0),
        }
    }
    pub fn flush(&self) {
        self.clock.set(self.clock.get() + 1);
        self.last_flush.set(self.clock.get());
    }
    /// Fills an entry as a guest would that owns the page.
    pub fn poke(&self, mfn: u64, index: usize, value: u64) {
        self.mem.borrow_mut()[mfn as usize][index] = value;
    }
    pub fn peek(&self, mfn: u64, index: usize) -> u64 {
        self.mem.borrow()[mfn as usize][index]
    }
}

impl Platform for Machine {
    fn read(&self, table: Mfn, index: usize) -> u64 {
        self.peek(table.0, index)
    }
    fn write(&self, table: Mfn, index: usize, value: u64) {
        self.poke(table.0, index, value);
    }
    fn cmpxchg(
        &self,
        table: Mfn,
        index: usize,
        old: u64,
        new: u64,
    ) -> core::result::Result<(), u64> {
        let now = self.peek(table.0, index) | self.race.take();
        self.poke(table.0, index, now);
        if now != old {
            return Err(now);
        }
        self.poke(table.0, index, new);
        Ok(())
    }
    fn install_reserved(&self, l4: Mfn, _: DomId) {
        RESERVED_SLOTS.for_each(|i| self.poke(l4.0, i, RESERVED_ENTRY));
    }
    fn mmio_access(&self, domain: DomId, mfn: Mfn) -> MmioAccess {
        match (domain.0, mfn.0) {
            (1, MMIO) => MmioAccess::Full,
            (1, MMIO_RO) => MmioAccess::ReadOnly,
            _ => MmioAccess::Denied,
        }
    }
    fn cache_attrs_allowed(&self, domain: DomId) -> bool {
        domain.0 == 1
    }
    fn tlb_clock(&self) -> u32 {
        self.clock.get()
    }
    fn tlb_sync(&self, _: DomId, stamp: u32) {
        if self.last_flush.get() <= stamp {
            self.flush();
        }
    }
    fn max_mfn_bits(&self) -> u32 {
        28
    }
    fn has_nx(&self) -> bool {
        true
    }
    fn last_ref(&self, last: LastRef) {
        self.freed.borrow_mut().push(last);
    }
}

/// Frame table, machine and heap, leaked: tests are short.
pub struct World {
    pub frames: FrameTable<'static>,
    pub machine: &'static Machine,
    pub heap: Heap<'static>,
}

impl World {
    pub fn new() -> World {
        let table: Vec<FrameInfo> = (0..FRAMES).map(|_| FrameInfo::default()).collect();
        let frames = FrameTable::new(Box::leak(table.into_boxed_slice()));
        let mut heap = Heap::new(frames);
        heap.add_range(Mfn(0), frames.end());
        World {
            frames,
            machine: Box::leak(Box::new(Machine::new())),
            heap,
        }
    }
    pub fn paging(&self) -> Paging<'static, Machine> {
        Paging::new(self.frames, self.machine)
    }
    /// A zeroed frame for `owner`.
    pub fn populate(&mut self, owner: DomId) -> Option<u64> {
        let mfn = self
            .heap
            .alloc(0, None)?
            .ready(|stamp| self.machine.tlb_sync(owner, stamp));
        self.machine.mem.borrow_mut()[mfn.0 as usize] = [0; ENTRIES];
        self.frames.assign(mfn, owner).unwrap();
        Some(mfn.0)
    }
    /// Puts what the paging code let go back into the heap; which frames that were.
    pub fn reap(&mut self) -> Vec<u64> {
        let freed = self.machine.freed.take();
        freed
            .into_iter()
            .map(|last| {
                let mfn = last.mfn();
                self.heap.free_page(last.into_token()).unwrap();
                mfn.0
            })
            .collect()
    }
}
