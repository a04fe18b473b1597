//! [`GuestMemory`]: a domain's frames by pfn, and writing to them in windows.
use crate::{BuildHost, Error, Result};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use xen_abi::{DomId, Errno, Gfn, Mfn, Pfn};
use xendev::SharedMem;

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
    /// Machine frame by pfn. Empty where the guest is translated: then the frames are [`GuestMemory::regions`].
    p2m: Vec<u64>,
    regions: Vec<Range<u64>>,
}

impl<'h> GuestMemory<'h> {
    /// Populates `pages` pages from pfn 0 on, in 2 MiB extents as long as there are any.
    pub fn populate(host: &'h dyn BuildHost, dom: DomId, pages: u64) -> Result<Self> {
        let mut memory = GuestMemory {
            host,
            dom,
            p2m: Vec::with_capacity(pages as usize),
            regions: vec![],
        };
        memory
            .populate_all(pages)
            .map_err(|e| no_memory(dom, pages, e))?;
        Ok(memory)
    }

    /// Populates `regions` of a translated domain.
    pub fn populate_regions(
        host: &'h dyn BuildHost,
        dom: DomId,
        regions: &[Range<u64>],
    ) -> Result<Self> {
        let pages = regions.iter().map(|r| r.end - r.start).sum();
        for region in regions {
            populate_region(host, dom, region).map_err(|e| no_memory(dom, pages, e))?;
        }
        Ok(GuestMemory {
            host,
            dom,
            p2m: vec![],
            regions: regions.to_vec(),
        })
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
        self.p2m.len() as u64 + self.regions.iter().map(|r| r.end - r.start).sum::<u64>()
    }

    /// Frame of a pfn, as the hypervisor is to be told of it.
    pub fn mfn(&self, pfn: u64) -> Option<u64> {
        if self.regions.iter().any(|r| r.contains(&pfn)) {
            return Some(pfn);
        }
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

    /// Fills `len` bytes from byte offset `offset` of the pseudo-physical memory on, a window at a time: with `content`, then
    /// with zeros.
    pub fn fill(
        &self,
        step: &'static str,
        offset: u64,
        len: u64,
        content: Content<'_>,
    ) -> Result<()> {
        let mut at = 0;
        while at < len {
            let start = offset + at;
            let window_end = (start / PAGE + WINDOW) * PAGE;
            let n = (len - at).min(window_end - start);
            let first = start / PAGE;
            let frames: Vec<Gfn> = (first..(start + n).div_ceil(PAGE))
                .map(|pfn| self.need(step, pfn).map(|m| Gfn(m.0)))
                .collect::<Result<_>>()?;
            let map = self
                .host
                .map(self.dom, &frames)
                .map_err(|e| Error::new(step, Pfn(first), e))?;
            let inside = (start % PAGE) as usize;
            let given = content.len().saturating_sub(at).min(n);
            content.copy(at, given as usize, &*map, inside)?;
            for part in (given..n).step_by(ZEROS.len()) {
                let zeros = (n - part).min(ZEROS.len() as u64) as usize;
                map.write(inside + part as usize, &ZEROS[..zeros]);
            }
            at += n;
        }
        Ok(())
    }

    /// Writes `data` at byte offset `offset`.
    pub fn write(&self, step: &'static str, offset: u64, data: &[u8]) -> Result<()> {
        self.fill(step, offset, data.len() as u64, Content::Bytes(data))
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What goes into a domain's memory.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Memory of ours.
    Bytes(&'a [u8]),
    /// A part of a file, which goes there without a way round.
    File {
        /// The file.
        file: &'a File,
        /// Its name, for errors.
        path: &'a Path,
        /// First byte.
        position: u64,
        /// Number of bytes.
        len: u64,
    },
}

impl Content<'_> {
    fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { len, .. } => *len,
        }
    }

    /// Copies `n` bytes, of which there are as many, from byte `at` on to `offset` of `map`.
    fn copy(&self, at: u64, n: usize, map: &dyn SharedMem, offset: usize) -> Result<()> {
        match *self {
            _ if n == 0 => Ok(()),
            Content::Bytes(bytes) => {
                map.write(offset, &bytes[at as usize..at as usize + n]);
                Ok(())
            }
            Content::File {
                file,
                path,
                position,
                ..
            } => map.read_from(offset, n, file, position + at).map_err(|e| {
                Error::new("reading", path.display(), e)
                    .hint("the file may have changed while it was read")
            }),
        }
    }
}

fn no_memory(dom: DomId, pages: u64, e: xenctrl::Error) -> Error {
    let short = e.errno == Errno::ENOMEM;
    let what = format!("{} MiB for {dom}", (pages * PAGE) >> 20);
    let error = Error::new("allocating memory of", what, e);
    if short { error.hint(NO_MEMORY) } else { error }
}

/// Populates a region in 2 MiB extents where they fit and are to be had, in pages elsewhere.
fn populate_region(
    host: &dyn BuildHost,
    dom: DomId,
    region: &Range<u64>,
) -> std::result::Result<(), xenctrl::Error> {
    let (mut at, mut large) = (region.start, true);
    while at < region.end {
        let left = region.end - at;
        let fits = large && at.is_multiple_of(SUPERPAGE) && left >= SUPERPAGE;
        let order = if fits { SUPERPAGE_ORDER } else { 0 };
        let upto = if large && !fits {
            // Up to where a large one may begin.
            (SUPERPAGE - at % SUPERPAGE).min(left)
        } else {
            left
        };
        let count = (upto >> order).min(BATCH as u64);
        let mut extents: Vec<u64> = (0..count).map(|i| at + (i << order)).collect();
        let done = match host.populate(dom, order, &mut extents) {
            Ok(n) => n.min(extents.len()) as u64,
            Err(e) if order == 0 => return Err(e),
            Err(_) => 0,
        };
        if done == 0 {
            if order == 0 {
                let what = format!("populating frame {at:#x} of {dom}");
                return Err(xenctrl::Error::new(what, Errno::ENOMEM));
            }
            large = false;
        }
        at += done << order;
    }
    Ok(())
}

const NO_MEMORY: &str =
    "free memory with `xl list` and `xl mem-set`, or lower `memory`; `xl info` shows free_memory";
