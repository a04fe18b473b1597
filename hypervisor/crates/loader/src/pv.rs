//! [`PvLayout`]: where everything lies in a PV domain's first address space, as "Start-of-day memory layout" in
//! public/xen.h prescribes. Pure arithmetic: the caller supplies frames and writes memory; [`crate::pv_tables`] says
//! what goes into the page tables.
//!
//! ```text
//! v_start = VIRT_BASE, pfn 0                                                        v_end, 4 MiB aligned
//! | … | kernel | initrd? | p2m? | start_info | store, console (domU) | L4 L3 L2 L1 | stack | at least 512 KiB |
//! then, by pfn only: | p2m list | its L3 L2 L1 |  if INIT_P2M      | initrd |  if MOD_START_PFN
//! ```
use crate::kernel::Kernel;
use crate::{LoadError, PAGE_SHIFT, PAGE_SIZE, pages};
use core::ops::Range;

/// Which of the two kinds of builder asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvKind {
    /// The first domain: no ring pages.
    Dom0,
    /// Any other: a xenstore and a console ring page follow start_info.
    DomU,
}

/// What the layout depends on besides the kernel.
#[derive(Clone, Copy, Debug)]
pub struct PvRequest {
    /// Dom0 or domU.
    pub kind: PvKind,
    /// Pages the domain starts with.
    pub nr_pages: u64,
    /// Bytes of initrd, 0 for none.
    pub initrd_len: u64,
}

/// An initrd's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// First frame.
    pub pfn: u64,
    /// Length in bytes.
    pub len: u64,
    /// Virtual address, unless handed over unmapped.
    pub vaddr: Option<u64>,
}

/// The p2m list's place: one little-endian u64 machine frame number per pfn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct P2m {
    /// Virtual address of the list.
    pub vaddr: u64,
    /// First frame of the list.
    pub pfn: u64,
    /// Frames of the list.
    pub list_pages: u64,
    /// Frames of page tables right behind the list; 0 when it lies in the bootstrap region.
    pub table_pages: u64,
}

/// A run of same-level page tables: table `n` of it maps what lies at `(first + n) << shift(level)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRun {
    pub(crate) first: u64,
    /// How many tables.
    pub count: u64,
    /// Frame of the first.
    pub pfn: u64,
}

/// The layout. All addresses are virtual, all frames pseudo-physical, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvLayout {
    /// Start of the bootstrap region; pfn 0 is mapped here.
    pub v_start: u64,
    /// End of the region.
    pub v_end: u64,
    /// The kernel's first to last byte, rounded to pages.
    pub kernel: Range<u64>,
    /// Where the first vcpu starts.
    pub entry: u64,
    /// Page to fill with hypercall stubs.
    pub hypercall_page: Option<u64>,
    /// The initrd, if any.
    pub initrd: Option<Initrd>,
    /// The p2m list.
    pub p2m: P2m,
    /// The start_info page.
    pub start_info: u64,
    /// Xenstore ring page (domU).
    pub store: Option<u64>,
    /// Console ring page (domU).
    pub console: Option<u64>,
    /// First of the page-table pages, the L4.
    pub pt_base: u64,
    /// Page-table pages in the region.
    pub nr_pt: u64,
    /// The stack page; the initial stack pointer is its end.
    pub stack: u64,
    /// Pages the domain has.
    pub nr_pages: u64,
    /// Frames with contents: everything from this pfn on is free memory.
    pub used_pages: u64,
    /// Region tables, L1 first.
    pub(crate) region: [TableRun; 4],
    /// Tables of a p2m list outside the region: L1, L2, L3.
    pub(crate) p2m_tables: [TableRun; 3],
}

/// First address that is either non-canonical or the hypervisor's.
const HOLE_START: u64 = 0x0000_8000_0000_0000;
/// First address after both.
const HOLE_END: u64 = 0xffff_8800_0000_0000;
/// 16 TiB of pages: keeps every sum below far from overflow.
const MAX_PAGES: u64 = 1 << 32;
const BOOT_ALIGN: u64 = 4 << 20;
const BOOT_SLACK: u64 = 512 << 10;

impl PvRequest {
    /// What keeps the arithmetic of a layout far from overflow.
    fn check(&self) -> Result<(), LoadError> {
        if self.nr_pages == 0 || self.nr_pages > MAX_PAGES {
            return Err(LoadError::Unsupported(
                "a domain without memory, or with more than 16 TiB",
            ));
        }
        let initrd_pages = pages(self.initrd_len);
        if initrd_pages > self.nr_pages {
            return Err(LoadError::TooFewPages {
                need: initrd_pages,
                have: self.nr_pages,
            });
        }
        Ok(())
    }
}

impl PvLayout {
    /// Lays out `kernel` for `request`.
    ///
    /// Errors: no PV notes, addresses that contradict each other or reach into the hypervisor's part of the address
    /// space, too few pages.
    pub fn new(kernel: &Kernel<'_>, request: &PvRequest) -> Result<PvLayout, LoadError> {
        let notes = &kernel.notes;
        if !notes.is_pv() {
            return Err(LoadError::NoXenNotes);
        }
        request.check()?;
        let initrd_pages = pages(request.initrd_len);
        let list_pages = pages(request.nr_pages * 8);
        let (v_start, kernel_range) = kernel_addresses(kernel)?;
        let mut cursor = Cursor {
            v_start,
            at: kernel_range.end,
        };
        let mapped_initrd = (initrd_pages != 0 && !notes.mod_start_pfn)
            .then(|| cursor.take(initrd_pages))
            .transpose()?;
        let region_p2m = notes
            .init_p2m
            .is_none()
            .then(|| cursor.take(list_pages))
            .transpose()?;
        let start_info = cursor.take(1)?;
        let (store, console) = match request.kind {
            PvKind::Dom0 => (None, None),
            PvKind::DomU => (Some(cursor.take(1)?), Some(cursor.take(1)?)),
        };
        let pt_base = cursor.at;
        let (nr_pt, v_end) = fixed_point(v_start, pt_base)?;
        let mut layout = PvLayout {
            v_start,
            v_end,
            entry: entry(kernel, &kernel_range)?,
            hypercall_page: hypercall_page(kernel, &kernel_range)?,
            kernel: kernel_range,
            initrd: None,
            p2m: P2m {
                vaddr: 0,
                pfn: 0,
                list_pages,
                table_pages: 0,
            },
            start_info,
            store,
            console,
            pt_base,
            nr_pt,
            stack: pt_base + nr_pt * PAGE_SIZE,
            nr_pages: request.nr_pages,
            used_pages: (v_end - v_start) >> PAGE_SHIFT,
            region: region_runs(v_start, v_end, cursor.pfn(pt_base)),
            p2m_tables: Default::default(),
        };
        layout.place_p2m(region_p2m, notes.init_p2m)?;
        layout.place_initrd(request.initrd_len, mapped_initrd);
        if layout.used_pages > request.nr_pages {
            return Err(LoadError::TooFewPages {
                need: layout.used_pages,
                have: request.nr_pages,
            });
        }
        Ok(layout)
    }

    /// The p2m list: at `in_region`, or behind the region and mapped at the address the kernel asks for.
    fn place_p2m(
        &mut self,
        in_region: Option<u64>,
        init_p2m: Option<u64>,
    ) -> Result<(), LoadError> {
        if let Some(vaddr) = in_region {
            self.p2m.vaddr = vaddr;
            self.p2m.pfn = (vaddr - self.v_start) >> PAGE_SHIFT;
            return Ok(());
        }
        let (vaddr, list_pages) = (init_p2m.unwrap_or(0), self.p2m.list_pages);
        check_p2m(vaddr, list_pages, self.v_start..self.v_end)?;
        let pfn = self.used_pages;
        self.p2m_tables = p2m_runs(vaddr, list_pages, &self.region, pfn + list_pages);
        let table_pages = self.p2m_tables.iter().map(|r| r.count).sum();
        self.p2m = P2m {
            vaddr,
            pfn,
            list_pages,
            table_pages,
        };
        self.used_pages += list_pages + table_pages;
        Ok(())
    }

    fn place_initrd(&mut self, len: u64, mapped: Option<u64>) {
        if len == 0 {
            return;
        }
        let pfn = match mapped {
            Some(vaddr) => (vaddr - self.v_start) >> PAGE_SHIFT,
            None => self.used_pages,
        };
        if mapped.is_none() {
            self.used_pages += pages(len);
        }
        self.initrd = Some(Initrd {
            pfn,
            len,
            vaddr: mapped,
        });
    }

    /// Frame of a virtual address inside the bootstrap region.
    pub fn pfn_of(&self, vaddr: u64) -> Option<u64> {
        (self.v_start..self.v_end)
            .contains(&vaddr)
            .then(|| (vaddr - self.v_start) >> PAGE_SHIFT)
    }

    /// Initial stack pointer.
    pub fn stack_top(&self) -> u64 {
        self.stack + PAGE_SIZE
    }

    /// Pages in the bootstrap region.
    pub fn region_pages(&self) -> u64 {
        (self.v_end - self.v_start) >> PAGE_SHIFT
    }

    /// Where segment `index` of `kernel` goes, as a byte offset from pfn 0.
    ///
    /// The result and the segment's memory size lie inside the region for every segment of the kernel the layout was
    /// made from.
    pub fn segment_offset(&self, kernel: &Kernel<'_>, index: usize) -> Option<u64> {
        let s = kernel.elf.segments.get(index)?;
        // Relative to the lowest segment, which the layout has placed: no note needs to be looked at again.
        (self.first_byte(kernel)?).checked_add(s.paddr - kernel.elf.pstart)
    }

    fn first_byte(&self, kernel: &Kernel<'_>) -> Option<u64> {
        (self.kernel.start - self.v_start).checked_add(kernel.elf.pstart % PAGE_SIZE)
    }
}

/// Hands out pages upwards.
struct Cursor {
    v_start: u64,
    at: u64,
}

impl Cursor {
    fn take(&mut self, pages: u64) -> Result<u64, LoadError> {
        let at = self.at;
        self.at = pages
            .checked_mul(PAGE_SIZE)
            .and_then(|n| at.checked_add(n))
            .ok_or(TOO_HIGH)?;
        Ok(at)
    }

    fn pfn(&self, vaddr: u64) -> u64 {
        (vaddr - self.v_start) >> PAGE_SHIFT
    }
}

const TOO_HIGH: LoadError =
    LoadError::Corrupt("the kernel and what follows it do not fit below the top of memory");

/// `v_start` and the kernel's page-rounded virtual range.
fn kernel_addresses(kernel: &Kernel<'_>) -> Result<(u64, Range<u64>), LoadError> {
    let notes = &kernel.notes;
    let base = notes.virt_base.unwrap_or(0);
    let paddr_offset = notes
        .paddr_offset
        .unwrap_or(if notes.legacy { base } else { 0 });
    if !base.is_multiple_of(PAGE_SIZE) || !paddr_offset.is_multiple_of(PAGE_SIZE) {
        return Err(LoadError::Corrupt(
            "the notes VIRT_BASE and PADDR_OFFSET must be page aligned",
        ));
    }
    let place = |paddr: u64| {
        paddr
            .checked_sub(paddr_offset)
            .and_then(|p| p.checked_add(base))
    };
    let start = place(kernel.elf.pstart).ok_or(LoadError::Corrupt(
        "PADDR_OFFSET is above the kernel's address",
    ))?;
    let end = place(kernel.elf.pend)
        .and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
        .ok_or(TOO_HIGH)?;
    Ok((base, start & !(PAGE_SIZE - 1)..end))
}

fn entry(kernel: &Kernel<'_>, range: &Range<u64>) -> Result<u64, LoadError> {
    let entry = kernel.notes.entry.unwrap_or(kernel.elf.entry);
    if range.contains(&entry) {
        Ok(entry)
    } else {
        Err(LoadError::Corrupt(
            "the entry point lies outside the kernel",
        ))
    }
}

fn hypercall_page(kernel: &Kernel<'_>, range: &Range<u64>) -> Result<Option<u64>, LoadError> {
    match kernel.notes.hypercall_page {
        Some(page) if !page.is_multiple_of(PAGE_SIZE) || !range.contains(&page) => Err(
            LoadError::Corrupt("the note HYPERCALL_PAGE names no page of the kernel"),
        ),
        page => Ok(page),
    }
}

/// Page-table pages of a region whose tables start at `pt_base`, and its end: the tables map themselves.
fn fixed_point(v_start: u64, pt_base: u64) -> Result<(u64, u64), LoadError> {
    let mut nr_pt = 4;
    // The count only grows and converges at once: a table maps 512 pages. The bound is for the reader's peace.
    for _ in 0..64 {
        let end = pt_base
            .checked_add((nr_pt + 1) * PAGE_SIZE)
            .ok_or(TOO_HIGH)?;
        let v_end = end
            .checked_add(BOOT_SLACK)
            .and_then(|e| e.checked_next_multiple_of(BOOT_ALIGN))
            .ok_or(TOO_HIGH)?;
        if v_start < HOLE_END && v_end > HOLE_START {
            return Err(LoadError::Corrupt(
                "the kernel reaches into the part of the address space that Xen reserves",
            ));
        }
        if v_end - v_start > MAX_PAGES << PAGE_SHIFT {
            return Err(LoadError::Corrupt(
                "the kernel lies more than 16 TiB above its VIRT_BASE",
            ));
        }
        let need: u64 = region_runs(v_start, v_end, 0).iter().map(|r| r.count).sum();
        if need <= nr_pt {
            return Ok((nr_pt, v_end));
        }
        nr_pt = need;
    }
    Err(LoadError::Corrupt("the page tables do not converge"))
}

/// Address bits below what one table of `level` (1 to 4) spans.
pub(crate) const fn table_shift(level: usize) -> u32 {
    PAGE_SHIFT + 9 * level as u32
}

/// The tables for `[start, end)`, laid out L4, L3, L2, L1 from `pfn` on.
fn region_runs(start: u64, end: u64, mut pfn: u64) -> [TableRun; 4] {
    let mut runs = [TableRun::default(); 4];
    for level in (1..=4).rev() {
        let (first, count) = if level == 4 {
            (0, 1)
        } else {
            span(start, end, level)
        };
        runs[level - 1] = TableRun { first, count, pfn };
        pfn += count;
    }
    runs
}

fn span(start: u64, end: u64, level: usize) -> (u64, u64) {
    let first = start >> table_shift(level);
    (first, ((end - 1) >> table_shift(level)) - first + 1)
}

/// Tables for a p2m list at `vaddr` that the region's tables do not already provide: L3, L2, L1 from `pfn` on.
fn p2m_runs(vaddr: u64, list_pages: u64, region: &[TableRun; 4], mut pfn: u64) -> [TableRun; 3] {
    let mut runs = [TableRun::default(); 3];
    for level in (1..=3).rev() {
        let (mut first, mut count) = span(vaddr, vaddr + list_pages * PAGE_SIZE, level);
        let have = region[level - 1].first..region[level - 1].first + region[level - 1].count;
        // The two address ranges are disjoint, so they share at most the table at one end.
        if have.contains(&first) {
            first += 1;
            count -= 1;
        }
        if count != 0 && have.contains(&(first + count - 1)) {
            count -= 1;
        }
        runs[level - 1] = TableRun { first, count, pfn };
        pfn += count;
    }
    runs
}

fn check_p2m(vaddr: u64, list_pages: u64, region: Range<u64>) -> Result<(), LoadError> {
    let end = vaddr
        .checked_add(list_pages * PAGE_SIZE)
        .ok_or(LoadError::Corrupt("the note INIT_P2M is too high"))?;
    if !vaddr.is_multiple_of(PAGE_SIZE) {
        return Err(LoadError::Corrupt("the note INIT_P2M is not page aligned"));
    }
    if vaddr < HOLE_END && end > HOLE_START {
        return Err(LoadError::Corrupt(
            "the note INIT_P2M reaches into the part of the address space that Xen reserves",
        ));
    }
    if vaddr < region.end && end > region.start {
        return Err(LoadError::Corrupt(
            "the note INIT_P2M overlaps the kernel's own region",
        ));
    }
    Ok(())
}
