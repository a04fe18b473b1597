//! What a PVH guest should not do with its map of memory: both vcpus take pages out, put others in and use them, over and over,
//! while a neighbour that does the same has mapped them by grants and dom0 by their frame numbers.

use super::{cpu, entry};
use crate::hammer::Random;
use crate::{hv, say};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xen_abi::grant_table::*;
use xen_abi::hvm::{GET_PARAM, PARAM_CONSOLE_PFN, PARAM_STORE_PFN, Param};
use xen_abi::hypercall::{GRANT_TABLE_OP, HVM_OP, MEMORY_OP};
use xen_abi::memory::*;
use xen_abi::{DomId, Gfn, GrantRef, GuestHandle};

/// Changes that each vcpu makes.
const ROUNDS: u32 = 8000;
/// The frames that are played with: behind our own pages, within the least memory that this guest is given.
const PLAYGROUND: core::ops::Range<u64> = 0x1000..0x1800;
/// Where our grant table is seen: in the hole, so that it covers nothing.
const TABLE: u64 = 0xf_0100;
/// Granted frames; the first reference behind the reserved ones.
const GRANTS: u64 = 256;

static NEIGHBOUR: AtomicU64 = AtomicU64::new(0);
static SECOND_STARTED: AtomicU32 = AtomicU32::new(0);
static SECOND_DONE: AtomicU32 = AtomicU32::new(0);
/// Of both vcpus: what was done, what was refused.
static COUNTS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
/// The neighbour's pages that were mapped, and unmapped again.
static MAPPED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The deed. `neighbour`: the number of the domain that is granted pages, and whose pages are mapped.
pub fn remap(neighbour: u64) {
    NEIGHBOUR.store(neighbour, Relaxed);
    grant_all();
    entry::start_second();
    shuffle(neighbour + 1, |at| {
        cpu::touch(at);
    });
    let second = SECOND_STARTED.load(Relaxed);
    while second != 0 && SECOND_DONE.load(Relaxed) == 0 {
        hv::pause();
    }
    let [good, bad] = [&COUNTS[0], &COUNTS[1]].map(|n| n.load(Relaxed));
    let [mapped, unmapped] = [&MAPPED[0], &MAPPED[1]].map(|n| n.load(Relaxed));
    say!(
        "remap: {} vcpus, {good} changes, {bad} refused, {mapped} grants mapped, {unmapped} unmapped",
        1 + second
    );
    // Last, the pages that daemons have mapped as long as we live.
    for index in [PARAM_STORE_PFN, PARAM_CONSOLE_PFN] {
        let mut arg = Param {
            domid: DomId::SELF,
            index,
            ..Default::default()
        };
        hv::op(HVM_OP, GET_PARAM, &mut arg);
        reserve(DECREASE_RESERVATION, &mut arg.value, 0);
        reserve(POPULATE_PHYSMAP, &mut arg.value, 0);
    }
}

/// What the second vcpu does. It has no handlers: nothing that it does may fault.
pub extern "C" fn second() -> ! {
    SECOND_STARTED.store(1, Relaxed);
    shuffle(NEIGHBOUR.load(Relaxed) + 2, |at| cpu::poke(at, 0xa5a5_a5a5));
    SECOND_DONE.store(1, Relaxed);
    loop {
        hv::sleep();
    }
}

/// Grants pages of the playground to the neighbour.
fn grant_all() {
    add(MAPSPACE_GRANT_TABLE, 0, TABLE);
    for n in 0..GRANTS {
        let at = (TABLE << 12) + (8 + n) * 8;
        let frame = PLAYGROUND.start + n * 7;
        let neighbour = NEIGHBOUR.load(Relaxed);
        let entry = u64::from(GTF_PERMIT_ACCESS) | neighbour << 16 | frame << 32;
        // SAFETY: a page of our grant table, of which no reference exists; if it is not there, nothing is.
        unsafe { (at as *mut u64).write_volatile(entry) }
    }
}

fn shuffle(seed: u64, touch: fn(u64)) {
    let mut random = Random::new(seed);
    // The neighbour's pages that are mapped here: handle and place.
    let mut held = [None; 32];
    for _ in 0..ROUNDS {
        let mut gfn = match random.below(16) {
            0 => random.next(),
            1 => TABLE + 1 + random.below(0x1000),
            _ => PLAYGROUND.start + random.below(PLAYGROUND.end - PLAYGROUND.start),
        };
        let order = [0, 0, 0, 3, 9][random.below(5) as usize];
        let other = PLAYGROUND.start + random.below(0x800);
        let slot = &mut held[random.below(32) as usize];
        let result = match random.below(12) {
            0 | 1 => reserve(DECREASE_RESERVATION, &mut gfn, order),
            2 | 3 => reserve(POPULATE_PHYSMAP, &mut gfn, order),
            4 => reserve(INCREASE_RESERVATION, &mut gfn, order),
            5 => add(MAPSPACE_SHARED_INFO, 0, gfn),
            6 => add(MAPSPACE_GRANT_TABLE, random.below(3), gfn),
            7 => add(MAPSPACE_GMFN, other, gfn),
            8 => remove(gfn),
            9 => exchange(gfn, other),
            _ => match slot.take() {
                Some((handle, at)) => unmap(handle, at),
                None => {
                    *slot = map(8 + random.below(GRANTS) as u32, gfn);
                    i64::from(slot.is_some()) - 1
                }
            },
        };
        COUNTS[usize::from(result < 0)].fetch_add(1, Relaxed);
        if PLAYGROUND.contains(&gfn) {
            touch(gfn << 12);
        }
    }
    // What is still mapped stays so: whoever destroys us has to undo it.
}

fn reserve(command: u32, gfn: &mut u64, order: u32) -> i64 {
    let mut arg = reservation(gfn, order);
    hv::op(MEMORY_OP, command, &mut arg)
}

fn reservation(gfn: &mut u64, order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestHandle::new(core::ptr::from_mut(gfn) as u64),
        nr_extents: 1,
        extent_order: order,
        domid: DomId::SELF,
        ..Default::default()
    }
}

fn exchange(mut from: u64, mut to: u64) -> i64 {
    let mut arg = MemoryExchange {
        r#in: reservation(&mut from, 0),
        out: reservation(&mut to, 0),
        ..Default::default()
    };
    hv::op(MEMORY_OP, EXCHANGE, &mut arg)
}

fn add(space: u32, index: u64, gfn: u64) -> i64 {
    let mut arg = AddToPhysmap {
        domid: DomId::SELF,
        space,
        idx: index,
        gpfn: Gfn(gfn),
        ..Default::default()
    };
    hv::op(MEMORY_OP, ADD_TO_PHYSMAP, &mut arg)
}

fn remove(gfn: u64) -> i64 {
    let mut arg = RemoveFromPhysmap {
        domid: DomId::SELF,
        gpfn: Gfn(gfn),
        ..Default::default()
    };
    hv::op(MEMORY_OP, REMOVE_FROM_PHYSMAP, &mut arg)
}

/// Maps a page of the neighbour's.
fn map(reference: u32, gfn: u64) -> Option<(u32, u64)> {
    let mut arg = MapGrantRef {
        host_addr: gfn << 12,
        flags: GNTMAP_HOST_MAP,
        r#ref: GrantRef(reference),
        dom: DomId(NEIGHBOUR.load(Relaxed) as u16),
        ..Default::default()
    };
    let place = core::ptr::from_mut(&mut arg) as u64;
    let result = hv::call(GRANT_TABLE_OP, [MAP_GRANT_REF.into(), place, 1, 0, 0]);
    let mapped = result == 0 && arg.status == GNTST_OKAY;
    MAPPED[0].fetch_add(u32::from(mapped), Relaxed);
    mapped.then_some((arg.handle, gfn << 12))
}

fn unmap(handle: u32, at: u64) -> i64 {
    let mut arg = UnmapGrantRef {
        host_addr: at,
        handle,
        ..Default::default()
    };
    let place = core::ptr::from_mut(&mut arg) as u64;
    let result = hv::call(GRANT_TABLE_OP, [UNMAP_GRANT_REF.into(), place, 1, 0, 0]);
    let unmapped = result == 0 && arg.status == GNTST_OKAY;
    MAPPED[1].fetch_add(u32::from(unmapped), Relaxed);
    i64::from(unmapped) - 1
}
