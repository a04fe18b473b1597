//! [`GuestP2m`]: where a PV guest says its pages are. Nothing in its table is believed beyond what the domain's memory allows.
use crate::{Error, Result};
use xen_abi::shared::SharedInfo;
use xen_abi::{DomId, Gfn};
use xenctrl::{DomainInfo, Xenctrl};
use xendev::{Prot, SharedMem, SharedMemExt};

const PAGE: u64 = 4096;
/// Entries in a page of the table.
pub(crate) const PER_PAGE: u64 = PAGE / 8;
/// No frame, or not one of the guest's own: foreign and identity-mapped ones have one of the highest bits.
const NOT_MINE: u32 = 62;

/// Maps one frame of a domain.
pub(crate) fn page(xc: &Xenctrl, dom: DomId, mfn: u64) -> Option<Box<dyn SharedMem>> {
    xc.foreign().map(dom, Prot::Read, &[Gfn(mfn)]).ok()
}

fn words(xc: &Xenctrl, dom: DomId, mfn: u64) -> Vec<u64> {
    page(xc, dom, mfn).map_or(vec![], |p| p.read_vec(0, PER_PAGE as usize))
}

/// Where the guest keeps its table of frames.
enum Table<'a> {
    /// As a tree of frames: lists of lists of pages.
    Tree(Vec<u64>),
    /// At an address of its own address space, whose root page table is in this frame.
    Virtual(Walker<'a>, u64),
}

/// Looks addresses of a PV guest up in its page tables.
struct Walker<'a> {
    xc: &'a Xenctrl,
    dom: DomId,
    root: u64,
    /// Page tables that were read, for each level the last one.
    last: [(u64, Vec<u64>); 4],
}

impl Walker<'_> {
    /// The frame at an address.
    fn frame(&mut self, address: u64) -> Option<u64> {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        let mut mfn = self.root;
        for (level, (at, entries)) in self.last.iter_mut().enumerate() {
            if *at != mfn || entries.is_empty() {
                (*at, *entries) = (mfn, words(self.xc, self.dom, mfn));
            }
            let index = (address >> (39 - 9 * level)) & (PER_PAGE - 1);
            let entry = *entries.get(index as usize)?;
            if entry & 1 == 0 {
                return None;
            }
            mfn = (entry & ADDRESS) / PAGE;
        }
        Some(mfn)
    }
}

impl Table<'_> {
    /// The frame that holds page `n` of the table.
    fn page(&mut self, xc: &Xenctrl, dom: DomId, n: u64) -> Option<u64> {
        match self {
            Table::Virtual(walker, start) => walker.frame(start.checked_add(n.checked_mul(PAGE)?)?),
            Table::Tree(top) => {
                let list = *top.get((n / PER_PAGE) as usize)?;
                words(xc, dom, list).get((n % PER_PAGE) as usize).copied()
            }
        }
    }
}

/// A guest's own table of its pages.
pub(crate) struct GuestP2m {
    /// Number of pfns that it describes.
    pub count: u64,
    /// The frames that hold the table, in their order; `None` where there is none.
    pub table: Vec<Option<u64>>,
    /// Pfns that have a frame of the guest's own, with their frames, in their order.
    pub pages: Vec<(u64, u64)>,
}

impl GuestP2m {
    /// Reads it. It cannot be longer than the domain's memory allows, nor name more pages than it has.
    pub fn read(xc: &Xenctrl, info: &DomainInfo, shared: &dyn SharedMem) -> Result<GuestP2m> {
        let dom = info.domid;
        let arch = shared.read_obj::<SharedInfo>(0).arch;
        // A table can have holes, but not be many times as long as what it describes.
        let owned = info.max_pages.min(u64::from(u32::MAX)).max(info.tot_pages);
        let most = owned.saturating_mul(4).saturating_add(1 << 20);
        let count = arch.max_pfn.min(most);
        let mut place = match arch.pfn_to_mfn_frame_list_list {
            _ if arch.p2m_cr3 != 0 => {
                let walker = Walker {
                    xc,
                    dom,
                    root: arch.p2m_cr3 / PAGE,
                    last: Default::default(),
                };
                Table::Virtual(walker, arch.p2m_vaddr)
            }
            0 | u64::MAX => {
                let why = "it has not said yet where its pages are";
                return Err(Error::new("finding the memory of", dom, why));
            }
            list => Table::Tree(words(xc, dom, list)),
        };
        let (mut table, mut pages) = (Vec::new(), Vec::new());
        for n in 0..count.div_ceil(PER_PAGE) {
            let frame = place.page(xc, dom, n);
            table.push(frame);
            let entries = frame.map_or(vec![], |mfn| words(xc, dom, mfn));
            let mine = |m: u64| m >> NOT_MINE == 0 && m != 0;
            pages.extend((n * PER_PAGE..count).zip(entries).filter(|(_, m)| mine(*m)));
        }
        // A table that names the same frames again and again makes no longer list.
        pages.truncate(usize::try_from(info.tot_pages).unwrap_or(usize::MAX));
        if pages.is_empty() {
            let why = "its table of pages cannot be read";
            return Err(Error::new("finding the memory of", dom, why));
        }
        Ok(GuestP2m {
            count,
            table,
            pages,
        })
    }
}
