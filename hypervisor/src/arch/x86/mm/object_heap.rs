//! `#[global_allocator]`: small objects, in a range of addresses that grows as needed with frames from the frame heap.

use super::paging::{NoMemory, RW};
use super::{OBJECT_HEAP_BASE, PAGE_SIZE, alloc_frames, layout::IMAGE_BASE, map};
use crate::sync::{Level, SpinLock};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use linked_list_allocator::Heap;

/// Size at boot.
const INITIAL: u64 = 512 << 10;
/// It grows by at least this much.
const STEP: u64 = 256 << 10;
/// It never grows beyond this: guests' objects are limited per domain, so more is a leak.
const LIMIT: u64 = 512 << 20;

const _: () = assert!(OBJECT_HEAP_BASE + LIMIT <= IMAGE_BASE);

/// Objects at least this large go to the scratch heap while there is one.
const SCRATCH_OBJECT: usize = 32 << 10;

/// A second heap for large, short-lived objects of boot; see [`with_scratch`]. Base and size of its memory, 0 = none.
static SCRATCH: SpinLock<Heap> = SpinLock::new(Level::ObjectHeap, Heap::empty());
static SCRATCH_RANGE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn in_scratch(address: u64) -> bool {
    let [base, len] = [0, 1].map(|i: usize| SCRATCH_RANGE[i].load(Ordering::Relaxed));
    (base..base + len).contains(&address)
}

/// Runs `f` with `bytes` of extra heap that go back to the frame heap afterwards. Large objects made in `f` must be
/// gone at its end. For boot, on one CPU.
pub fn with_scratch<T>(bytes: usize, f: impl FnOnce() -> T) -> T {
    let order = (bytes as u64 + SCRATCH_OBJECT as u64)
        .div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros();
    let Some(pa) = alloc_frames(order, None) else {
        return f();
    };
    let (base, len) = (super::phys_to_virt(pa), PAGE_SIZE << order);
    // SAFETY: fresh frames in the direct map.
    unsafe { SCRATCH.lock().init(base, len as usize) };
    SCRATCH_RANGE[1].store(len, Ordering::Relaxed);
    SCRATCH_RANGE[0].store(base as u64, Ordering::Relaxed);
    let result = f();
    let mut heap = SCRATCH.lock();
    SCRATCH_RANGE[0].store(0, Ordering::Relaxed);
    SCRATCH_RANGE[1].store(0, Ordering::Relaxed);
    if heap.used() == 0 {
        *heap = Heap::empty();
        drop(heap);
        super::free_frames(pa, order);
    } else {
        log::warn!("boot's scratch memory is still in use; it is lost");
    }
    result
}

struct ObjectHeap(SpinLock<Heap>);

#[global_allocator]
static OBJECTS: ObjectHeap = ObjectHeap(SpinLock::new(Level::ObjectHeap, Heap::empty()));

/// Backs `len` more bytes from `offset`.
fn back(offset: u64, len: u64) -> Result<(), NoMemory> {
    for page in (offset..offset + len).step_by(PAGE_SIZE as usize) {
        let pa = alloc_frames(0, None).ok_or(NoMemory)?;
        map(OBJECT_HEAP_BASE + page, pa, PAGE_SIZE, RW, PAGE_SIZE)?;
    }
    Ok(())
}

/// Makes the heap usable.
pub fn init() -> Result<(), NoMemory> {
    back(0, INITIAL)?;
    // SAFETY: the range is mapped, and belongs to nobody else.
    unsafe {
        OBJECTS
            .0
            .lock()
            .init(OBJECT_HEAP_BASE as *mut u8, INITIAL as usize)
    };
    Ok(())
}

fn grow(heap: &mut Heap, layout: Layout) -> Result<(), NoMemory> {
    let size = heap.size() as u64;
    // Alignment and the allocator's own bookkeeping may need a little more than the object itself.
    let wanted = (layout.size() as u64)
        .checked_add(layout.align() as u64 + 64)
        .ok_or(NoMemory)?;
    let step = wanted
        .max(STEP)
        .checked_next_multiple_of(PAGE_SIZE)
        .ok_or(NoMemory)?;
    if step > LIMIT - size {
        return Err(NoMemory);
    }
    back(size, step)?;
    // SAFETY: the range right after the heap is mapped now.
    unsafe { heap.extend(step as usize) };
    Ok(())
}

// SAFETY: the memory handed out is what the inner heap hands out, under a lock.
unsafe impl GlobalAlloc for ObjectHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= SCRATCH_OBJECT && SCRATCH_RANGE[0].load(Ordering::Relaxed) != 0 {
            let object = SCRATCH.lock().allocate_first_fit(layout);
            if let Ok(object) = object {
                return object.as_ptr();
            }
        }
        let mut heap = self.0.lock();
        if let Ok(object) = heap.allocate_first_fit(layout) {
            return object.as_ptr();
        }
        match grow(&mut heap, layout) {
            Ok(()) => heap
                .allocate_first_fit(layout)
                .map_or(core::ptr::null_mut(), NonNull::as_ptr),
            Err(NoMemory) => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if let Some(object) = NonNull::new(object) {
            let heap = if in_scratch(object.as_ptr() as u64) {
                &SCRATCH
            } else {
                &self.0
            };
            // SAFETY: the caller's promise: allocated here, with this layout, from the heap that holds the address.
            unsafe { heap.lock().deallocate(object, layout) };
        }
    }
}
