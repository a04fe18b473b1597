//! Memory of hardware-assisted guests: populated, mapped by domain 0, granted both ways, ballooned, remapped while others
//! look at it, and every page given back.
mod common;

use common::{Effect, Tools};
use domain::{Domain, Host};
use mm::Platform;
use mm::p2m::Kind;
use std::sync::Arc;
use xen_abi::domctl::*;
use xen_abi::grant_table::{self as gt, MapGrantRef, UnmapGrantRef};
use xen_abi::memory::*;
use xen_abi::xen::{MMU_PT_UPDATE_NO_TRANSLATE, MMUEXT_PIN_L1_TABLE, MmuUpdate, MmuextOp};
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, hvm, hypercall as nr};

/// A PVH domain of at most 8 MiB, and its machine.
struct Pvh {
    t: Tools,
    dom: Arc<Domain>,
    free: u64,
    /// A page of domain 0 that is a page table of the lowest level.
    l1: Mfn,
}

impl Pvh {
    fn new() -> Pvh {
        let t = Tools::new();
        let l1 = domain::alloc_page(t.h, &t.dom0).unwrap();
        let pin = t.mem.put(&MmuextOp {
            cmd: MMUEXT_PIN_L1_TABLE,
            arg1: l1.0,
            ..MmuextOp::default()
        });
        t.h.call(
            &t.dom0,
            nr::MMUEXT_OP,
            &[pin, 1, 0, u64::from(DomId::SELF.0)],
        )
        .unwrap();
        let free = t.h.with_heap(|h| h.free_pages());
        let dom = t.create_pvh(2);
        let limit = MaxMem { max_memkb: 8192 };
        t.domctl(&mut Domctl::with(MAX_MEM, dom.id, limit)).unwrap();
        Pvh { t, dom, free, l1 }
    }
    fn free(&self) -> u64 {
        self.t.h.with_heap(|h| h.free_pages())
    }
    fn reservation(&self, by: &Arc<Domain>, cmd: u32, order: u32, gfns: &[u64]) -> i64 {
        let list = self.t.mem.put(gfns);
        let arg = self.t.mem.put(&MemoryReservation {
            extent_start: GuestHandle::new(list),
            nr_extents: gfns.len() as u64,
            extent_order: order,
            domid: self.dom.id,
            ..MemoryReservation::default()
        });
        let done = self.t.h.call(by, nr::MEMORY_OP, &[u64::from(cmd), arg]);
        let after: u64 = self.t.mem.get(list);
        assert_eq!(after, gfns[0], "machine frames are not told");
        done.unwrap()
    }
    fn populate(&self, order: u32, gfns: &[u64]) -> i64 {
        self.reservation(&self.t.dom0, POPULATE_PHYSMAP, order, gfns)
    }
    fn balloon(&self, order: u32, gfns: &[u64]) -> i64 {
        self.reservation(&self.dom, DECREASE_RESERVATION, order, gfns)
    }
    fn at(&self, gfn: u64) -> Option<(Mfn, Kind, u32)> {
        domain::hvm::lookup(self.t.h, &self.dom, gfn).map(|e| (e.mfn, e.kind, e.order))
    }
    fn add(&self, space: u32, idx: u64, gpfn: u64) -> Result<i64, Errno> {
        let arg = self.t.mem.put(&AddToPhysmap {
            domid: DomId::SELF,
            size: 0,
            space,
            idx,
            gpfn: Gfn(gpfn),
        });
        let cmd = u64::from(ADD_TO_PHYSMAP);
        self.t.h.call(&self.dom, nr::MEMORY_OP, &[cmd, arg])
    }
    fn remove(&self, gpfn: u64) -> Result<i64, Errno> {
        let arg = self.t.mem.put(&RemoveFromPhysmap {
            domid: DomId::SELF,
            gpfn: Gfn(gpfn),
            ..RemoveFromPhysmap::default()
        });
        let cmd = u64::from(REMOVE_FROM_PHYSMAP);
        self.t.h.call(&self.dom, nr::MEMORY_OP, &[cmd, arg])
    }
    /// Domain 0 writes entry `index` of its table; `frame` 0 clears it.
    fn dom0_maps(&self, index: u64, frame: u64, cmd: u32) -> Result<i64, Errno> {
        let val = if frame == 0 { 0 } else { frame << 12 | 0x63 };
        let list = self.t.mem.put(&MmuUpdate {
            ptr: self.l1.addr() + index * 8 + u64::from(cmd),
            val,
        });
        let args = [list, 1, 0, u64::from(self.dom.id.0)];
        self.t.h.call(&self.t.dom0, nr::MMU_UPDATE, &args)
    }
    fn dom0_sees(&self, index: usize) -> Mfn {
        Mfn((self.t.h.read(self.l1, index) & 0x000f_ffff_ffff_f000) >> 12)
    }
    fn param(&self, by: &Arc<Domain>, cmd: u32, index: u32, value: u64) -> Result<u64, Errno> {
        let at = self.t.mem.put(&hvm::Param {
            domid: if by.id == self.dom.id {
                DomId::SELF
            } else {
                self.dom.id
            },
            index,
            value,
            ..hvm::Param::default()
        });
        self.t.h.call(by, nr::HVM_OP, &[u64::from(cmd), at])?;
        Ok(self.t.mem.get::<hvm::Param>(at).value)
    }
    /// `by` maps grant `gref` of `of` at `host`; the handle.
    fn map(
        &self,
        by: &Arc<Domain>,
        of: DomId,
        gref: u32,
        flags: u32,
        host: u64,
    ) -> Result<u32, i16> {
        let at = self.t.mem.put(&MapGrantRef {
            host_addr: host,
            flags,
            r#ref: xen_abi::GrantRef(gref),
            dom: of,
            ..MapGrantRef::default()
        });
        let cmd = u64::from(gt::MAP_GRANT_REF);
        self.t
            .h
            .call(by, nr::GRANT_TABLE_OP, &[cmd, at, 1])
            .unwrap();
        let op: MapGrantRef = self.t.mem.get(at);
        if op.status == gt::GNTST_OKAY {
            Ok(op.handle)
        } else {
            Err(op.status)
        }
    }
    fn unmap(&self, by: &Arc<Domain>, handle: u32, host: u64) -> i16 {
        let at = self.t.mem.put(&UnmapGrantRef {
            host_addr: host,
            handle,
            ..UnmapGrantRef::default()
        });
        let cmd = u64::from(gt::UNMAP_GRANT_REF);
        self.t
            .h
            .call(by, nr::GRANT_TABLE_OP, &[cmd, at, 1])
            .unwrap();
        self.t.mem.get::<UnmapGrantRef>(at).status
    }
    /// Writes grant entry `gref` of `of`: `to` may map `frame`.
    fn grant(&self, of: &Arc<Domain>, gref: usize, to: DomId, frame: u64, readonly: bool) {
        hypercall::grant_table::grow(self.t.h, of, 1).unwrap();
        let table = of.grant_frames.read()[0];
        let flags = 1u16 | if readonly { 4 } else { 0 };
        let mut entry = [0u8; 8];
        entry[..2].copy_from_slice(&flags.to_le_bytes());
        entry[2..4].copy_from_slice(&to.0.to_le_bytes());
        entry[4..].copy_from_slice(&(frame as u32).to_le_bytes());
        self.t.h.write_frame(table, gref * 8, &entry).unwrap();
    }
    fn destroy(&self) {
        self.t.simple(DESTROYDOMAIN, self.dom.id).unwrap();
        assert!(self.t.info(self.dom.id).is_none());
        assert_eq!(self.free(), self.free, "every page is back");
    }
}

const RW: u32 = gt::GNTMAP_HOST_MAP;
const RO: u32 = gt::GNTMAP_HOST_MAP | gt::GNTMAP_READONLY;

#[test]
fn small_and_large_extents_come_and_all_goes() {
    let p = Pvh::new();
    assert_eq!(p.populate(0, &[0, 1, 5, 0xfeff0]), 4);
    assert_eq!(p.populate(9, &[512, 1024]), 2);
    assert_eq!(p.populate(4, &[32]), 1);
    assert_eq!(p.t.info(p.dom.id).unwrap().tot_pages, 4 + 1024 + 16);
    assert_eq!(p.at(512).unwrap().2, 9, "a large leaf");
    assert_eq!(p.at(47).unwrap().2, 0);
    assert_eq!((p.at(2), p.at(48)), (None, None));
    let max = p.t.mem.put(&MemoryDomain { domid: p.dom.id });
    let cmd = u64::from(MAXIMUM_GPFN);
    let max = p.t.h.call(&p.t.dom0, nr::MEMORY_OP, &[cmd, max]);
    assert_eq!(max, Ok(0xfeff0));
    // Over something that is there, beyond the limit, beyond the address space: nothing changes.
    let before = (p.free(), p.at(5));
    assert_eq!(p.populate(0, &[5]), 0);
    assert_eq!(p.populate(9, &[0]), 0);
    assert_eq!(p.populate(10, &[2048]), 0, "more than it may have");
    assert_eq!(p.populate(0, &[1 << 36]), 0);
    assert_eq!(p.populate(0, &[u64::MAX]), 0);
    assert_eq!((p.free(), p.at(5)), before);
    p.destroy();
}

#[test]
fn a_balloon_takes_pages_out_of_a_large_leaf_after_a_flush() {
    let p = Pvh::new();
    p.populate(9, &[512]);
    let (mfn, free) = (p.at(700).unwrap().0, p.free());
    assert_eq!(p.dom0_maps(0, 700, 0), Ok(0));
    assert_eq!(p.balloon(9, &[512]), 1);
    // The whole of it: no table for a split. Domain 0 holds one page.
    assert_eq!((p.at(700), p.free()), (None, free + 511));
    assert_eq!(p.t.h.frames().owner(mfn), Some(p.dom.id));
    assert_eq!(p.dom0_maps(0, 0, 0), Ok(0));
    assert_eq!(p.populate(9, &[512]), 1);
    let free = p.free();
    let _ = p.t.h.take_effects();
    assert_eq!(p.balloon(0, &[600, 601]), 2);
    assert!(p.t.h.take_effects().contains(&Effect::FlushP2m(p.dom.id)));
    // Two pages back, and one frame for the table that splits the leaf.
    assert_eq!(p.free(), free + 2 - 1);
    assert_eq!((p.at(600), p.at(599).unwrap().2), (None, 0));
    assert_eq!(p.balloon(0, &[600]), 0, "not twice");
    assert_eq!(p.populate(0, &[600]), 1);
    assert_eq!(p.balloon(9, &[512]), 0, "one of them is gone: up to it");
    p.destroy();
}

#[test]
fn what_dom0_maps_stays_while_the_guest_remaps() {
    let p = Pvh::new();
    p.populate(0, &[3, 4]);
    let mfn = p.at(3).unwrap().0;
    assert_eq!(p.dom0_maps(0, 3, 0), Ok(0));
    assert_eq!(p.dom0_sees(0), mfn);
    assert_eq!(p.dom0_maps(1, 99, 0), Err(Errno::EINVAL), "nothing there");
    // By machine frame when said so, as privcmd does for resources; only frames of that domain's.
    let exact = MMU_PT_UPDATE_NO_TRANSLATE;
    assert_eq!(p.dom0_maps(1, mfn.0, exact), Ok(0));
    assert_eq!(p.dom0_maps(2, p.l1.0, exact), Err(Errno::EINVAL));
    assert_eq!(p.dom0_maps(1, 0, 0), Ok(0));
    let free = p.free();
    assert_eq!(p.balloon(0, &[3]), 1);
    assert_eq!(p.free(), free, "dom0 still maps it");
    assert_eq!(p.t.h.frames().owner(mfn), Some(p.dom.id));
    assert_eq!(p.dom0_maps(0, 0, 0), Ok(0));
    assert_eq!(p.free(), free + 1);
    // A dead domain lasts as long as such a mapping.
    assert_eq!(p.dom0_maps(0, 4, 0), Ok(0));
    p.t.simple(DESTROYDOMAIN, p.dom.id).unwrap();
    assert_eq!(p.t.info(p.dom.id).unwrap().tot_pages, 1);
    assert_eq!(p.dom0_maps(0, 0, 0), Ok(0));
    p.destroy_is_done();
}

impl Pvh {
    fn destroy_is_done(&self) {
        assert!(self.t.info(self.dom.id).is_none());
        assert_eq!(self.free(), self.free);
    }
}

#[test]
fn the_shared_pages_are_placed_moved_and_removed() {
    let p = Pvh::new();
    p.populate(0, &[16, 17]);
    let free = p.free();
    // The page that was there is the guest's no more.
    assert_eq!(p.add(MAPSPACE_SHARED_INFO, 0, 16), Ok(0));
    assert_eq!(p.at(16).unwrap().0, p.dom.shared_info);
    assert_eq!(p.free(), free + 1);
    assert_eq!(p.add(MAPSPACE_SHARED_INFO, 0, 16), Ok(0), "again");
    assert_eq!(p.add(MAPSPACE_SHARED_INFO, 0, 40), Ok(0));
    assert_eq!(p.at(16), None, "in one place only");
    assert_eq!(p.balloon(0, &[40]), 0, "it is not the guest's to give");
    assert_eq!(p.remove(40), Ok(0));
    assert_eq!(p.add(MAPSPACE_GRANT_TABLE, 1, 41), Ok(0));
    assert_eq!(p.at(41).unwrap().0, p.dom.grant_frames.read()[1]);
    assert_eq!(p.add(MAPSPACE_GRANT_TABLE, 1 << 40, 42), Err(Errno::EINVAL));
    assert_eq!(p.add(MAPSPACE_GRANT_TABLE, 64, 42), Err(Errno::EINVAL));
    assert_eq!(p.add(MAPSPACE_SHARED_INFO, 0, 1 << 36), Err(Errno::EINVAL));
    // Its own page moves.
    let mfn = p.at(17).unwrap().0;
    assert_eq!(p.add(MAPSPACE_GMFN, 17, 43), Ok(0));
    assert_eq!((p.at(17), p.at(43).unwrap().0), (None, mfn));
    assert_eq!(p.add(MAPSPACE_GMFN, 17, 44), Err(Errno::EINVAL));
    assert_eq!(p.remove(44), Err(Errno::EINVAL));
    p.destroy();
}

#[test]
fn grants_of_the_guest_are_frames_of_its_own() {
    let p = Pvh::new();
    p.populate(9, &[512]);
    let mfn = p.at(515).unwrap().0;
    p.grant(&p.dom, 9, DomId::DOM0, 515, false);
    p.grant(&p.dom, 10, DomId::DOM0, 99, false);
    let entry = p.l1.addr() + 5 * 8;
    let pte = RW | gt::GNTMAP_CONTAINS_PTE;
    let handle = p.map(&p.t.dom0, p.dom.id, 9, pte, entry).unwrap();
    assert_eq!(p.dom0_sees(5), mfn);
    assert!(p.map(&p.t.dom0, p.dom.id, 10, pte, entry + 8).is_err());
    let free = p.free();
    assert_eq!(p.balloon(0, &[515]), 1);
    assert_eq!(p.free(), free - 1, "the table of the split, no page back");
    assert_eq!(p.unmap(&p.t.dom0, handle, entry), gt::GNTST_OKAY);
    assert_eq!(p.free(), free);
    p.destroy();
}

/// One end of a copy: `place` is a grant reference or a frame.
fn end(dom: DomId, place: u64, offset: u16) -> gt::CopyPtr {
    gt::CopyPtr {
        u: place,
        domid: dom,
        offset,
        ..gt::CopyPtr::default()
    }
}

#[test]
fn copies_share_what_they_have_open_and_let_go_of_it() {
    let p = Pvh::new();
    let h = p.t.h;
    p.populate(0, &[1]);
    let guest = p.at(1).unwrap().0;
    p.grant(&p.dom, 9, DomId::DOM0, 1, false);
    p.grant(&p.dom, 10, DomId::DOM0, 1, true);
    p.grant(&p.dom, 11, DomId::DOM0, 99, false);
    let own = [(); 2].map(|()| domain::alloc_page(h, &p.t.dom0).unwrap());
    h.write_frame(own[0], 4000, &[1; 96]).unwrap();
    h.write_frame(own[1], 0, &[2; 4000]).unwrap();
    let refs = [guest, own[0], own[1]].map(|m| h.frames().refs(m));
    let mine = |n: usize, offset| end(DomId::SELF, own[n].0, offset);
    let granted = |gref, offset| end(p.dom.id, gref, offset);
    let list = [
        (mine(0, 4000), granted(9, 0), 96, gt::GNTST_OKAY),
        (mine(1, 0), granted(9, 96), 4000, gt::GNTST_OKAY),
        (mine(1, 0), granted(9, 97), 4000, gt::GNTST_BAD_COPY_ARG),
        (mine(0, 0), granted(10, 0), 8, gt::GNTST_GENERAL_ERROR),
        (mine(0, 0), granted(11, 0), 8, gt::GNTST_BAD_PAGE),
        (
            mine(0, 0),
            end(p.dom.id, 1, 0),
            8,
            gt::GNTST_PERMISSION_DENIED,
        ),
        (mine(1, 0), granted(9, 4095), 1, gt::GNTST_OKAY),
    ];
    let ops = list.map(|(source, dest, len, _)| gt::Copy {
        source,
        dest,
        len,
        flags: match dest.u {
            1 => 0,
            _ => gt::GNTCOPY_DEST_GREF,
        },
        ..gt::Copy::default()
    });
    let at = p.t.mem.put(&ops);
    let cmd = u64::from(gt::COPY);
    let count = ops.len() as u64;
    assert_eq!(
        h.call(&p.t.dom0, nr::GRANT_TABLE_OP, &[cmd, at, count]),
        Ok(0)
    );
    let told = p.t.mem.get::<[gt::Copy; 7]>(at).map(|op| op.status);
    assert_eq!(told, list.map(|(.., status)| status));
    let mut page = [0; 4096];
    h.read_frame(guest, 0, &mut page).unwrap();
    assert!(page[..96].iter().all(|b| *b == 1) && page[96..].iter().all(|b| *b == 2));
    assert_eq!([guest, own[0], own[1]].map(|m| h.frames().refs(m)), refs);
    assert_eq!(p.dom.grants.read().in_use(xen_abi::GrantRef(9)), None);
    p.t.simple(DESTROYDOMAIN, p.dom.id).unwrap();
    assert_eq!(
        p.free(),
        p.free - own.len() as u64,
        "all but domain 0's own"
    );
}

#[test]
fn the_guest_maps_grants_where_it_has_nothing() {
    let p = Pvh::new();
    p.populate(0, &[1]);
    let page = domain::alloc_page(p.t.h, &p.t.dom0).unwrap();
    p.grant(&p.t.dom0, 9, p.dom.id, page.0, false);
    p.grant(&p.t.dom0, 10, p.dom.id, page.0, true);
    let free = p.free();
    let rw = p.map(&p.dom, DomId::DOM0, 9, RW, 20 << 12).unwrap();
    let ro = p.map(&p.dom, DomId::DOM0, 10, RO, 21 << 12).unwrap();
    assert_eq!(p.at(20), Some((page, Kind::GrantRw, 0)));
    assert_eq!(p.at(21), Some((page, Kind::GrantRo, 0)));
    for (flags, host) in [(RW, 1 << 12), (RW, 20 << 12), (RW, 7), (RW, 1 << 52)] {
        assert!(p.map(&p.dom, DomId::DOM0, 9, flags, host).is_err());
    }
    // Nothing else moves it, and it is not the guest's to grant or give.
    assert_eq!(p.remove(20), Err(Errno::EINVAL));
    assert_eq!(p.balloon(0, &[20]), 0);
    assert_eq!(p.add(MAPSPACE_SHARED_INFO, 0, 20), Err(Errno::EBUSY));
    assert_eq!(p.add(MAPSPACE_GMFN, 20, 22), Err(Errno::EINVAL));
    assert_eq!(p.dom0_maps(0, 20, 0), Err(Errno::EINVAL));
    assert_eq!(p.populate(0, &[20]), 0);
    let h = p.t.h;
    let write = |gfn| domain::hvm::access(h, &p.dom, gfn, true, |m| m);
    assert_eq!((write(20), write(21)), (Ok(page), Err(Errno::EFAULT)));
    let _ = h.take_effects();
    assert_eq!(p.unmap(&p.dom, rw, 20 << 12), gt::GNTST_OKAY);
    assert!(h.take_effects().contains(&Effect::FlushP2m(p.dom.id)));
    assert_eq!((p.at(20), p.free()), (None, free));
    // What is left goes with the domain.
    let _ = ro;
    let refs = h.frames().refs(page);
    p.t.simple(DESTROYDOMAIN, p.dom.id).unwrap();
    assert_eq!(h.frames().refs(page), refs - 1);
    assert!(p.t.info(p.dom.id).is_none());
}

#[test]
fn foreign_pages_are_mapped_in_batches_by_who_controls_their_owner() {
    let p = Pvh::new();
    let (other, pages) = p.t.create(1, 2);
    let list = |n: [u64; 2]| GuestHandle::new(p.t.mem.put(&n));
    let op = |by: &Arc<Domain>| {
        let errs = p.t.mem.put(&[1i32; 2]);
        let arg = p.t.mem.put(&AddToPhysmapBatch {
            domid: p.dom.id,
            space: MAPSPACE_GMFN_FOREIGN as u16,
            size: 2,
            u: other.id.0,
            idxs: list([pages[0].0, 1 << 30]),
            gpfns: list([70, 71]),
            errs: GuestHandle::new(errs),
        });
        let cmd = u64::from(ADD_TO_PHYSMAP_BATCH);
        let done = p.t.h.call(by, nr::MEMORY_OP, &[cmd, arg]);
        (done, p.t.mem.get::<[i32; 2]>(errs))
    };
    assert_eq!(op(&p.dom).0, Err(Errno::EPERM));
    assert_eq!(op(&p.t.dom0), (Ok(0), [0, Errno::EINVAL.as_ret() as i32]));
    assert_eq!(p.at(70), Some((pages[0], Kind::Foreign, 0)));
    let free = p.free();
    p.t.simple(DESTROYDOMAIN, other.id).unwrap();
    assert!(p.t.info(other.id).is_some(), "its page is in use");
    assert!(p.free() > free);
    assert_eq!(p.remove(70), Ok(0));
    assert!(p.t.info(other.id).is_none());
    p.destroy();
}

#[test]
fn parameters_are_set_by_who_may() {
    let p = Pvh::new();
    let (set, get) = (hvm::SET_PARAM, hvm::GET_PARAM);
    let dom0 = &p.t.dom0;
    p.param(dom0, set, hvm::PARAM_STORE_PFN, 0xfeffe).unwrap();
    assert_eq!(p.param(&p.dom, get, hvm::PARAM_STORE_PFN, 0), Ok(0xfeffe));
    let eperm = Err(Errno::EPERM);
    assert_eq!(p.param(&p.dom, set, hvm::PARAM_STORE_PFN, 1), eperm);
    assert_eq!(p.param(&p.dom, get, hvm::PARAM_IOREQ_PFN, 0), eperm);
    p.param(&p.dom, set, hvm::PARAM_CALLBACK_IRQ, 2 << 56 | 0xf3)
        .unwrap();
    let einval = Err(Errno::EINVAL);
    assert_eq!(p.param(dom0, set, 39, 0), einval);
    assert_eq!(p.param(dom0, get, u32::MAX, 0), einval);
    let absent = p.param(dom0, set, hvm::PARAM_NESTEDHVM, 1);
    assert_eq!(absent, Err(Errno::EOPNOTSUPP));
    p.param(dom0, set, hvm::PARAM_MCA_CAP, 1).unwrap();
    let twice = p.param(dom0, set, hvm::PARAM_MCA_CAP, 0);
    assert_eq!(twice, Err(Errno::EEXIST));
    p.destroy();
}

#[test]
fn a_pv_guest_has_no_physmap() {
    let p = Pvh::new();
    let (pv, _) = p.t.create(1, 1);
    let arg = p.t.mem.put(&AddToPhysmap {
        domid: DomId::SELF,
        ..AddToPhysmap::default()
    });
    let cmd = u64::from(ADD_TO_PHYSMAP);
    let got = p.t.h.call(&pv, nr::MEMORY_OP, &[cmd, arg]);
    assert_eq!(got, Err(Errno::EACCES));
    p.t.simple(DESTROYDOMAIN, pv.id).unwrap();
    p.destroy();
}

/// A generator good enough to be rude.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

impl Pvh {
    /// One thing a guest may do to its own memory, among few frames so that they meet.
    fn remap(&self, rng: &mut Random, grants: &mut Vec<(u32, u64)>) {
        let gfn = |rng: &mut Random| rng.below(12) + 506;
        let at = gfn(rng);
        match rng.below(10) {
            0 => _ = self.reservation(&self.dom, POPULATE_PHYSMAP, 0, &[at]),
            1 => _ = self.reservation(&self.dom, POPULATE_PHYSMAP, 2, &[at & !3]),
            2 => _ = self.reservation(&self.dom, POPULATE_PHYSMAP, 9, &[512]),
            3 | 4 => _ = self.balloon(0, &[at]),
            5 => _ = self.add(MAPSPACE_GMFN, at, gfn(rng)),
            6 => _ = self.add(MAPSPACE_SHARED_INFO, 0, at),
            7 => _ = self.add(MAPSPACE_GRANT_TABLE, rng.below(3), at),
            8 => match self.map(&self.dom, DomId::DOM0, 9, RW, at << 12) {
                Ok(handle) => grants.push((handle, at << 12)),
                Err(_) => _ = self.remove(at),
            },
            _ => {
                if let Some((handle, host)) = grants.pop() {
                    assert_eq!(self.unmap(&self.dom, handle, host), gt::GNTST_OKAY);
                }
            }
        }
    }

    /// One thing domain 0 may do meanwhile. What it maps is the guest's for as long as it maps it.
    fn look(&self, rng: &mut Random, grants: &mut Vec<(u32, u64)>) {
        let slot = rng.below(8);
        let frame = rng.below(13);
        let frame = if frame == 12 { 0 } else { frame + 506 };
        match rng.below(3) {
            0 => {
                if self.dom0_maps(slot, frame, 0).is_ok() && frame != 0 {
                    let mfn = self.dom0_sees(slot as usize);
                    assert_eq!(self.t.h.frames().owner(mfn), Some(self.dom.id));
                    assert!(self.t.h.frames().refs(mfn) > 0);
                }
            }
            1 => {
                let entry = self.l1.addr() + (256 + grants.len() as u64) * 8;
                let pte = RW | gt::GNTMAP_CONTAINS_PTE;
                let gref = 20 + rng.below(12) as u32;
                if grants.len() < 64
                    && let Ok(handle) = self.map(&self.t.dom0, self.dom.id, gref, pte, entry)
                {
                    grants.push((handle, entry));
                }
            }
            _ => {
                if let Some((handle, entry)) = grants.pop() {
                    assert_eq!(self.unmap(&self.t.dom0, handle, entry), gt::GNTST_OKAY);
                }
            }
        }
    }
}

#[test]
fn a_guest_that_remaps_while_others_map_loses_only_its_own() {
    let p = Pvh::new();
    let page = domain::alloc_page(p.t.h, &p.t.dom0).unwrap();
    p.grant(&p.t.dom0, 9, p.dom.id, page.0, false);
    for i in 0..12 {
        p.grant(&p.dom, 20 + i, DomId::DOM0, 506 + i as u64, false);
    }
    let before = p.t.h.frames().refs(page);
    std::thread::scope(|s| {
        for seed in [1, 2] {
            let p = &p;
            s.spawn(move || {
                let (mut rng, mut grants) = (Random(seed << 40 | 0x1234_5679), Vec::new());
                (0..1500).for_each(|_| p.remap(&mut rng, &mut grants));
            });
        }
        s.spawn(|| {
            let (mut rng, mut grants) = (Random(77), Vec::new());
            (0..3000).for_each(|_| p.look(&mut rng, &mut grants));
            while let Some((handle, entry)) = grants.pop() {
                assert_eq!(p.unmap(&p.t.dom0, handle, entry), gt::GNTST_OKAY);
            }
            (0..8).for_each(|slot| _ = p.dom0_maps(slot, 0, 0));
        });
    });
    p.t.simple(DESTROYDOMAIN, p.dom.id).unwrap();
    assert!(p.t.info(p.dom.id).is_none());
    assert_eq!(p.t.h.frames().refs(page), before);
    // All but that page and the one of domain 0's grant table.
    assert_eq!(p.free(), p.free - 2);
}
