//! Page-table updates: `mmu_update`, `update_va_mapping`. The checks themselves live in `mm::pv`; here the request
//! lists are walked, owners resolved and TLBs flushed as the guest asks.
use crate::{Cx, Ret, Stop};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use domain::{CpuMask, Domain, Host};
use mm::{Budget, Level, PageRef, Paging, PvTables, Update};
use xen_abi::xen::{
    MMU_MACHPHYS_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD, MmuUpdate,
};
use xen_abi::xen::{UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH};
use xen_abi::{DomId, Errno, Mfn};

/// Table entries a call may take or release before other work gets its turn.
pub const WORK_UNITS: u32 = 4096;
/// Requests of a list handled before other work gets its turn.
const BATCH: u64 = 512;
/// Flag in `count`: this is the continuation of an interrupted call (`MMU_UPDATE_PREEMPTED`).
pub const PREEMPTED: u64 = 1 << 31;

/// Checks the owner a page-table call names: the caller itself, `DOMID_IO`, or a domain it controls.
pub fn page_owner<H: Host>(cx: &Cx<H>, id: DomId) -> Result<DomId, Errno> {
    match id {
        DomId::SELF => Ok(cx.dom.id),
        DomId::IO | DomId::XEN => {
            if cx.dom.privileged {
                Ok(id)
            } else {
                Err(Errno::EPERM)
            }
        }
        _ => cx.target(id).map(|d| d.id),
    }
}

/// The progress of a request list: how many were done, as the guest's `pdone` word shows it.
pub struct Progress {
    list: u64,
    count: u64,
    pdone: u64,
    before: u32,
    size: u64,
}

impl Progress {
    /// Reads the list arguments (list, count, pdone) of a call whose requests are `size` bytes.
    pub fn new<H: Host>(cx: &Cx<H>, size: usize) -> Result<Progress, Stop> {
        let [list, count, pdone, ..] = cx.args;
        let before = if count & PREEMPTED != 0 && pdone != 0 {
            cx.read::<u32>(pdone)?
        } else {
            0
        };
        Ok(Progress {
            list,
            count: count & (PREEMPTED - 1),
            pdone,
            before,
            size: size as u64,
        })
    }

    /// Runs `each` over the requests' addresses, with continuations every [`BATCH`].
    pub fn run<H: Host>(&self, cx: &Cx<H>, mut each: impl FnMut(u64) -> Result<(), Stop>) -> Ret {
        for i in 0..self.count {
            let addr = i
                .checked_mul(self.size)
                .and_then(|o| self.list.checked_add(o))
                .ok_or(Errno::EFAULT)?;
            let outcome = if i >= BATCH {
                Err(Stop::Error(Errno::ERESTART))
            } else {
                each(addr)
            };
            match outcome {
                Ok(()) => {}
                Err(Stop::Error(Errno::ERESTART)) => {
                    self.report(cx, i)?;
                    return Err(cx.again(&[(0, addr), (1, (self.count - i) | PREEMPTED)]));
                }
                Err(stop) => {
                    self.report(cx, i)?;
                    return Err(stop);
                }
            }
        }
        self.report(cx, self.count)?;
        Ok(0)
    }

    fn report<H: Host>(&self, cx: &Cx<H>, done: u64) -> Result<(), Stop> {
        if self.pdone != 0 {
            cx.write(self.pdone, &self.before.wrapping_add(done as u32))?;
        }
        Ok(())
    }
}

/// `mmu_update(list, count, pdone, foreigndom)`. `foreigndom`: page owner in bits 0..16, table owner + 1 above.
pub fn mmu_update<H: Host>(cx: &Cx<H>) -> Ret {
    let mut budget = Budget(WORK_UNITS);
    let progress = Progress::new(cx, size_of::<MmuUpdate>())?;
    let owners = match owners(cx, cx.args[3] as u32) {
        Ok(both) => both,
        Err(e) => {
            // Linux's privcmd believes `pdone` after any error, and overruns its buffers when it is stale: a domain may
            // go away between two batches of a foreign mapping.
            progress.report(cx, 0)?;
            return Err(e.into());
        }
    };
    let table_dom = owners.tables.as_ref().unwrap_or(cx.dom);
    let paging = Paging::new(cx.h.frames(), cx.h);
    // One lock round for the whole batch; guest memory is read before each update, so nothing sleeps inside.
    let mut tables = table_dom.paging.lock();
    progress.run(cx, |addr| {
        let req: MmuUpdate = cx.read(addr)?;
        one_update(cx, &paging, &mut tables, &owners, &req, &mut budget)
    })
}

/// Whose tables are changed, and who owns the pages they are to name.
struct Owners {
    /// `None`: the caller's own.
    tables: Option<Arc<Domain>>,
    pages: DomId,
    /// The owner of the pages, if entries name them by its own frame numbers.
    translated: Option<Arc<Domain>>,
}

fn owners<H: Host>(cx: &Cx<H>, foreign: u32) -> Result<Owners, Errno> {
    let tables = match foreign >> 16 {
        0 => None,
        id => Some(cx.target(DomId((id - 1) as u16))?),
    };
    if tables.as_ref().is_some_and(|d| d.is_hvm()) {
        return Err(Errno::EINVAL);
    }
    let pages = page_owner(cx, DomId(foreign as u16))?;
    Ok(Owners {
        tables,
        pages,
        translated: translated(cx, pages),
    })
}

/// The domain `owner` if it is a hardware-assisted one.
fn translated<H: Host>(cx: &Cx<H>, owner: DomId) -> Option<Arc<Domain>> {
    if owner == cx.dom.id {
        return None;
    }
    cx.h.domains().get(owner).filter(|d| d.is_hvm())
}

/// The entry `val` that names a frame of `owner` by its own number, as one that names the machine frame. The reference keeps
/// that frame until the entry holds its own.
fn translate<H: Host>(
    cx: &Cx<H>,
    owner: &Domain,
    val: u64,
) -> Result<(u64, Option<PageRef>), Errno> {
    const PRESENT: u64 = 1;
    const ADDR: u64 = 0x000f_ffff_ffff_f000;
    if val & PRESENT == 0 {
        return Ok((val, None));
    }
    let page = domain::hvm::get_page(cx.h, owner, (val & ADDR) >> 12)?;
    Ok((val & !ADDR | page.mfn().addr(), Some(page)))
}

fn one_update<H: Host>(
    cx: &Cx<H>,
    paging: &Paging<'_, H>,
    tables: &mut PvTables,
    owners: &Owners,
    req: &MmuUpdate,
    budget: &mut Budget,
) -> Result<(), Stop> {
    let cmd = (req.ptr & 3) as u32;
    let mfn = Mfn::from_addr(req.ptr);
    let pg_owner = owners.pages;
    if cmd == MMU_MACHPHYS_UPDATE {
        let own = owners.pages == cx.dom.id && cx.dom.is_hvm();
        if owners.translated.is_some() || own {
            return Err(Errno::EINVAL.into());
        }
        let page = paging.frames.get_page(mfn, pg_owner)?;
        cx.h.m2p_set(mfn, req.val);
        domain::put_page(cx.h, page);
        return Ok(());
    }
    // What is no PV domain has no tables to change.
    if owners.tables.is_none() && cx.dom.is_hvm() {
        return Err(Errno::EINVAL.into());
    }
    let index = (req.ptr & 0xfff) as usize / 8;
    let preserve_ad = cmd == MMU_PT_UPDATE_PRESERVE_AD || cmd == MMU_PT_UPDATE_NO_TRANSLATE;
    let how = Update {
        pg_owner,
        preserve_ad,
        expected: None,
    };
    let (val, held) = match &owners.translated {
        // Only tables of the lowest level name pages of others; what is written elsewhere is refused by its owner.
        Some(owner) if cmd != MMU_PT_UPDATE_NO_TRANSLATE => translate(cx, owner, req.val)?,
        _ => (req.val, None),
    };
    let updated = paging.mmu_update(tables, mfn, index, val, how, budget);
    if let Some(page) = held {
        domain::put_page(cx.h, page);
    }
    updated?;
    Ok(())
}

/// The L1 table and index that map `va` in the address space of root `l4`.
pub fn walk_to_l1<H: Host>(h: &H, l4: Mfn, va: u64) -> Option<(Mfn, usize)> {
    const PRESENT: u64 = 1;
    const PSE: u64 = 1 << 7;
    const ADDR: u64 = 0x000f_ffff_ffff_f000;
    if l4.0 == 0 {
        return None;
    }
    let mut table = l4;
    for shift in [39, 30, 21] {
        let entry = h.read(table, (va >> shift) as usize & 511);
        if entry & PRESENT == 0 || entry & PSE != 0 {
            return None;
        }
        table = Mfn::from_addr(entry & ADDR);
    }
    Some((table, (va >> 12) as usize & 511))
}

/// Is `va` canonical and the guest's own (not in the hypervisor's slots)?
pub fn guest_address(va: u64) -> bool {
    let canonical = ((va as i64) << 16 >> 16) as u64 == va;
    let slot = (va >> 39) & 511;
    canonical && !(256..=271).contains(&slot)
}

/// `update_va_mapping(va, entry, flags)`.
pub fn update_va_mapping<H: Host>(cx: &Cx<H>) -> Ret {
    let [va, entry, flags, ..] = cx.args;
    change_va(cx, va, entry, flags, cx.dom.id)
}

/// `update_va_mapping_otherdomain(va, entry, flags, domid)`.
pub fn update_va_mapping_otherdomain<H: Host>(cx: &Cx<H>) -> Ret {
    let [va, entry, flags, id, ..] = cx.args;
    let owner = page_owner(cx, DomId(id as u16))?;
    change_va(cx, va, entry, flags, owner)
}

fn change_va<H: Host>(cx: &Cx<H>, va: u64, entry: u64, flags: u64, pg_owner: DomId) -> Ret {
    if !guest_address(va) {
        return Err(Errno::EINVAL.into());
    }
    let (entry, held) = match translated(cx, pg_owner) {
        Some(owner) => translate(cx, &owner, entry)?,
        None => (entry, None),
    };
    let changed = change_entry(cx, va, entry, pg_owner);
    if let Some(page) = held {
        domain::put_page(cx.h, page);
    }
    changed?;
    flush_as_asked(cx, va, flags)?;
    Ok(0)
}

fn change_entry<H: Host>(cx: &Cx<H>, va: u64, entry: u64, pg_owner: DomId) -> Result<(), Stop> {
    {
        let paging = Paging::new(cx.h.frames(), cx.h);
        let mut tables = cx.dom.paging.lock();
        let root = Mfn(cx.v.kernel_l4.load(Ordering::Relaxed));
        let (l1, index) = walk_to_l1(cx.h, root, va).ok_or(Errno::EINVAL)?;
        let how = Update {
            pg_owner,
            preserve_ad: false,
            expected: None,
        };
        let mut budget = Budget(WORK_UNITS);
        match paging.update_entry(&mut tables, Level::L1, l1, index, entry, how, &mut budget) {
            Ok(_) => {}
            Err(Errno::ERESTART) => return Err(cx.again(&[])),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn flush_as_asked<H: Host>(cx: &Cx<H>, va: u64, flags: u64) -> Result<(), Stop> {
    const WHERE: u64 = !UVMF_FLUSHTYPE_MASK;
    let page = match flags & UVMF_FLUSHTYPE_MASK {
        UVMF_TLB_FLUSH => None,
        UVMF_INVLPG => Some(va),
        _ => return Ok(()),
    };
    match flags & WHERE {
        0 => match page {
            None => cx.h.flush_tlb_local(),
            Some(va) => cx.h.flush_page_local(va),
        },
        4 => {
            cx.h.flush_tlb_mask(cx.dom.dirty_cpus.load(Ordering::Acquire), page)
        }
        pointer => {
            let cpus = vcpu_mask_to_cpus(cx, pointer)?;
            cx.h.flush_tlb_mask(cpus, page);
        }
    }
    Ok(())
}

/// The CPUs on which the vcpus named by the guest's bitmap at `pointer` run now. Those that do not run will load
/// their address space afresh.
pub fn vcpu_mask_to_cpus<H: Host>(cx: &Cx<H>, pointer: u64) -> Result<CpuMask, Stop> {
    let mut cpus = 0;
    let count = cx.dom.vcpus.len();
    for byte in 0..count.div_ceil(8) {
        let at = pointer.checked_add(byte as u64).ok_or(Errno::EFAULT)?;
        let bits: u8 = cx.read(at)?;
        for bit in (0..8).filter(|b| bits & (1 << b) != 0) {
            if let Some(v) = cx.dom.vcpus.get(byte * 8 + bit)
                && v.running.load(Ordering::Acquire)
            {
                cpus |= 1u64.checked_shl(v.cpu.load(Ordering::Relaxed)).unwrap_or(0);
            }
        }
    }
    Ok(cpus & running_cpus(cx.dom))
}

fn running_cpus(dom: &Domain) -> CpuMask {
    dom.dirty_cpus.load(Ordering::Acquire)
}
