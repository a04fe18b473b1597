//! One [`FrameInfo`] per machine frame, and the [`FrameTable`] that finds it.
//!
//! Count, owner and flags share one atomic word, so that "take a reference if X owns it" is a single compare-exchange
//! and no reference is ever held, however briefly, on somebody else's frame. Neighbours: `own` changes the state
//! word, `pv::word` the type word, `heap` and `list` the links.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xen_abi::{DomId, Mfn};

/// Everything known about one frame. All-zero is valid and means "not RAM, or reserved".
#[repr(C)]
#[derive(Default)]
pub struct FrameInfo {
    /// Count, owner and flags: see [`State`].
    pub(crate) state: AtomicU64,
    /// Page type, validation state and type count: see `pv::word`.
    pub(crate) typ: AtomicU32,
    /// Next frame of the list this one is on (the owner's pages, or a free list).
    pub(crate) next: AtomicU32,
    /// Previous frame of that list.
    pub(crate) prev: AtomicU32,
    /// TLB clock when the last use that a TLB could have cached ended.
    pub(crate) stamp: AtomicU32,
}

const _: () = assert!(size_of::<FrameInfo>() == 24);

/// The state word, decoded: bits 0..31 references, 31 ALLOCATED, 32..48 owner, 48.. flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State(pub u64);

impl State {
    /// The owner's claim; it counts as one of the references.
    pub const ALLOCATED: u64 = 1 << 31;
    /// The reference count, without ALLOCATED.
    pub const REFS: u64 = Self::ALLOCATED - 1;
    /// The frame is RAM that the heap was given.
    pub const RAM: u64 = 1 << 48;
    /// The frame lies in a free block of the heap.
    pub const FREE: u64 = 1 << 49;
    /// First frame of its free block; the order is in bits 56..61.
    pub const HEAD: u64 = 1 << 50;
    /// A hypervisor page shown to a domain (shared info, grant table, M2P).
    pub const SHARED: u64 = 1 << 51;
    /// Holds the hypervisor itself: nobody may map it, not even as MMIO.
    pub const HYPERVISOR: u64 = 1 << 52;
    /// Where the order of a free block starts.
    pub const ORDER_SHIFT: u32 = 56;
    /// The flags that survive allocation and freeing.
    pub const FIXED: u64 = Self::RAM | Self::HYPERVISOR;

    pub fn refs(self) -> u64 {
        self.0 & Self::REFS
    }
    pub fn owner(self) -> DomId {
        DomId((self.0 >> 32) as u16)
    }
    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    pub fn order(self) -> u32 {
        (self.0 >> Self::ORDER_SHIFT) as u32 & 31
    }
    pub fn with_owner(self, owner: DomId) -> State {
        State(self.0 & !(0xffff << 32) | (owner.0 as u64) << 32)
    }
}

/// What a frame is being used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Outside the table, or never given to the heap: MMIO, firmware, holes.
    NotRam,
    /// The hypervisor's image and tables.
    Hypervisor,
    /// In the heap.
    Free,
    /// Handed out by the heap, owned by no domain (the hypervisor's own use).
    Private,
    /// Owned by a domain (or referred to after its owner gave it up).
    Owned(DomId),
}

/// The table of all frames from frame 0 up. Copy it freely.
#[derive(Clone, Copy)]
pub struct FrameTable<'a> {
    frames: &'a [FrameInfo],
}

impl<'a> FrameTable<'a> {
    /// A table over `frames`; index = frame number. Zeroed entries are reserved frames.
    pub fn new(frames: &'a [FrameInfo]) -> Self {
        FrameTable { frames }
    }

    /// First frame number beyond the table.
    pub fn end(&self) -> Mfn {
        Mfn(self.frames.len() as u64)
    }

    /// The entry of `mfn`, if the table reaches that far.
    #[inline]
    pub fn get(&self, mfn: Mfn) -> Option<&'a FrameInfo> {
        self.frames.get(usize::try_from(mfn.0).ok()?)
    }

    /// Marks `start..end` as the hypervisor's own (image, frame table, per-CPU areas): never mappable.
    pub fn reserve(&self, start: Mfn, end: Mfn) {
        for m in start.0..end.0.min(self.end().0) {
            if let Some(f) = self.get(Mfn(m)) {
                f.state.fetch_or(State::HYPERVISOR, Ordering::Relaxed);
            }
        }
    }

    /// Makes `start..end`, which the heap is never given, private memory of the hypervisor's: it may be shown to a
    /// domain by [`Self::share`]. Frames that are something already stay it.
    pub fn keep_private(&self, start: Mfn, end: Mfn) {
        for m in start.0..end.0.min(self.end().0) {
            if let Some(f) = self.get(Mfn(m)) {
                let _ =
                    f.state
                        .compare_exchange(0, State::RAM, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// What `mfn` is used for at this moment.
    pub fn kind(&self, mfn: Mfn) -> Kind {
        let Some(f) = self.get(mfn) else {
            return Kind::NotRam;
        };
        let s = f.state();
        if s.refs() != 0 {
            Kind::Owned(s.owner())
        } else if s.has(State::HYPERVISOR) {
            Kind::Hypervisor
        } else if !s.has(State::RAM) {
            Kind::NotRam
        } else if s.has(State::FREE) {
            Kind::Free
        } else {
            Kind::Private
        }
    }

    /// May the hypervisor read and write `mfn` as memory? All but [`Kind::NotRam`].
    #[inline]
    pub fn is_ram(&self, mfn: Mfn) -> bool {
        self.get(mfn)
            .is_some_and(|f| f.state().has(State::REFS | State::FIXED))
    }

    /// The domain that owns `mfn`, while anything refers to it.
    pub fn owner(&self, mfn: Mfn) -> Option<DomId> {
        match self.kind(mfn) {
            Kind::Owned(d) => Some(d),
            _ => None,
        }
    }

    /// General references to `mfn`, including the owner's claim. For diagnostics and `getpageframeinfo`.
    pub fn refs(&self, mfn: Mfn) -> u32 {
        self.get(mfn).map_or(0, |f| f.state().refs() as u32)
    }
}

impl FrameInfo {
    #[inline]
    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Changes the state word in a compare-exchange loop; `None` from `change` leaves it and is returned.
    #[inline]
    pub(crate) fn update_state(
        &self,
        mut change: impl FnMut(State) -> Option<State>,
    ) -> Option<State> {
        // AcqRel: what was done with the frame before a reference is dropped happens before whoever takes it over.
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |w| {
                change(State(w)).map(|s| s.0)
            })
            .ok()
            .map(State)
    }

    /// TLB clock of the last use that ended.
    #[inline]
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp.load(Ordering::Acquire)
    }

    /// Notes that a use which a TLB may have cached ends at `now`. Racing droppers must not move it back, and
    /// the clock wraps: slightly older than what is recorded loses, anything else wins.
    #[inline]
    pub(crate) fn touch(&self, now: u32) {
        let newer = |old: u32| (old.wrapping_sub(now) >= 0x1_0000 || old == now).then_some(now);
        if self.stamp.load(Ordering::Relaxed) != now {
            // An Err means that a racing dropper recorded a later time: nothing to do.
            let _ = self
                .stamp
                .fetch_update(Ordering::Release, Ordering::Relaxed, newer);
        }
    }
}
