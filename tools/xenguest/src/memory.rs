//! [`GuestMemory`]: a PV domain's frames by pfn, and writing to them in windows.
use crate::{BuildHost, Error, Result};
use xen_abi::{DomId, Errno, Gfn, Mfn, Pfn};

/// Pages in a 2 MiB extent.
const SUPERPAGE_ORDER: u32 = 9;
const SUPERPAGE: u64 = 1 << SUPERPAGE_ORDER;
/// Extents per call: enough to make calls rare, few enough to be no burden.
const BATCH: usize = 1024;
/// Pages mapped at a time: 4 MiB.
pub(crate) const WINDOW: u64 = 1024;

const PAGE: u64 = 4096;

/// The memory of a domain under construction.
pub struct GuestMemory<'h> {
    host: &'h dyn BuildHost,
    dom: DomId,
    /// Machine frame by pfn.
    p2m: Vec<u64>,
}

impl<'h> GuestMemory<'h> {
    /// Populates `pages` pages from pfn 0 on, in 2 MiB extents as long as there are any.
    pub fn populate(host: &'h dyn BuildHost, dom: DomId, pages: u64) -> Result<Self> {
        let mut memory = GuestMemory {
            host,
            dom,
            p2m: Vec::with_capacity(pages as usize),
        };
        let step = "allocating memory of";
        let fail = |e: xenctrl::Error| {
            let short = e.errno == Errno::ENOMEM;
            let error = Error::new(step, format!("{} MiB for {dom}", (pages * PAGE) >> 20), e);
            if short { error.hint(NO_MEMORY) } else { error }
        };
        memory.populate_all(pages).map_err(fail)?;
        Ok(memory)
    }

    fn populate_all(&mut self, pages: u64) -> std::result::Result<(), xenctrl::Error> {
        let mut order = SUPERPAGE_ORDER;
        while (self.p2m.len() as u64) < pages {
            let left = pages - self.p2m.len() as u64;
            if left < SUPERPAGE {
                order = 0;
            }
            let count = (left >> order).min(BATCH as u64);
            let first = self.p2m.len() as u64;
            let mut extents: Vec<u64> = (0..count).map(|i| first + (i << order)).collect();
            let done = match self.host.populate(self.dom, order, &mut extents) {
                Ok(n) => n.min(extents.len()),
                Err(e) if order == 0 => return Err(e),
                Err(_) => 0,
            };
            self.p2m.extend(
                extents[..done]
                    .iter()
                    .flat_map(|mfn| *mfn..*mfn + (1 << order)),
            );
            // Less than asked for is tried again from there; nothing at all means there are no more of this size.
            if done == 0 {
                if order == 0 {
                    let what = format!("populating page {} of {}", self.p2m.len(), self.dom);
                    return Err(xenctrl::Error::new(what, Errno::ENOMEM));
                }
                order = 0;
            }
        }
        Ok(())
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.p2m.len() as u64
    }

    /// Machine frame of a pfn.
    pub fn mfn(&self, pfn: u64) -> Option<u64> {
        self.p2m.get(usize::try_from(pfn).ok()?).copied()
    }

    /// The same, as an error of `step` where there is none.
    pub(crate) fn need(&self, step: &'static str, pfn: u64) -> Result<Mfn> {
        self.mfn(pfn)
            .map(Mfn)
            .ok_or_else(|| Error::new(step, Pfn(pfn), "outside the domain's memory"))
    }

    /// Every pfn's machine frame.
    pub fn p2m(&self) -> &[u64] {
        &self.p2m
    }

    /// Writes `len` bytes from byte offset `offset` of the pseudo-physical memory on, a window at a time. `fill` is
    /// given the position in the data and a zeroed buffer.
    pub fn write_with(
        &self,
        step: &'static str,
        offset: u64,
        len: u64,
        mut fill: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < len {
            let start = offset + at;
            let window_end = (start / PAGE + WINDOW) * PAGE;
            let n = (len - at).min(window_end - start);
            buffer.clear();
            buffer.resize(n as usize, 0);
            fill(at, &mut buffer)?;
            let first = start / PAGE;
            let frames: Vec<Gfn> = (first..(start + n).div_ceil(PAGE))
                .map(|pfn| self.need(step, pfn).map(|m| Gfn(m.0)))
                .collect::<Result<_>>()?;
            let map = self
                .host
                .map(self.dom, &frames)
                .map_err(|e| Error::new(step, Pfn(first), e))?;
            map.write((start % PAGE) as usize, &buffer);
            at += n;
        }
        Ok(())
    }

    /// Writes `data` at byte offset `offset`.
    pub fn write(&self, step: &'static str, offset: u64, data: &[u8]) -> Result<()> {
        self.write_with(step, offset, data.len() as u64, |at, out| {
            let at = at as usize;
            out.copy_from_slice(&data[at..at + out.len()]);
            Ok(())
        })
    }
}

const NO_MEMORY: &str =
    "free memory with `xl list` and `xl mem-set`, or lower `memory`; `xl info` shows free_memory";
