//! [`save_pv`]: a PV domain into a stream.
//!
//! A domain that is to be away for a short time only is copied while it runs. There is no need of the hypervisor's help to
//! find out what changed meanwhile: the digest of each page that was sent is kept, and a page is sent again when it differs.
//! Page tables are sent at the very end, when they are at rest.
use super::stream::{self, kind};
use super::{ABSENT, BATCH, PAGE, TYPE_SHIFT, contexts, has_data, level, tables};
use crate::p2m::{GuestP2m, page};
use crate::{Error, Result};
use std::collections::HashMap;
use std::io::Write;
use twox_hash::XxHash3_128;
use xen_abi::domctl::PFINFO_LTAB_SHIFT;
use xen_abi::{DomId, Errno, Gfn, VcpuId};
use xenctrl::{DomainInfo, Xenctrl};
use xendev::{Prot, SharedMem, SharedMemExt};
use zerocopy::IntoBytes;

/// Passes over the memory of a running domain, at most.
const ROUNDS: usize = 5;
/// So few changed pages are no reason for another pass.
const FEW: u64 = 64;
/// A record of pages begins with their number.
const LIST: usize = 8;

/// What was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Pages that the domain has.
    pub pages: u64,
    /// Pages that went into the stream while it ran.
    pub before: u64,
    /// Pages that went into the stream once it stood still.
    pub after: u64,
}

/// Writes a PV domain into `out`. `suspend` makes it stand still, at a point of its own choice from which it can go on on
/// another host; the error it returns is what is said. With `live`, most of it is written before.
pub fn save_pv(
    xc: &Xenctrl,
    dom: DomId,
    live: bool,
    suspend: &mut dyn FnMut() -> std::result::Result<(), String>,
    out: &mut dyn Write,
) -> Result<Saved> {
    let mut saver = Saver::new(xc, dom, out)?;
    saver.begin()?;
    if live {
        saver.while_it_runs()?;
    }
    suspend().map_err(|e| Error::new("suspending", dom, e))?;
    let before = saver.saved.after;
    saver.saved = Saved {
        before,
        after: 0,
        ..saver.saved
    };
    saver.refresh()?;
    saver.pages(true)?;
    saver.end()?;
    Ok(saver.saved)
}

struct Saver<'a> {
    xc: &'a Xenctrl,
    dom: DomId,
    out: &'a mut dyn Write,
    info: DomainInfo,
    shared: Box<dyn SharedMem>,
    p2m: GuestP2m,
    /// The other way round.
    m2p: HashMap<u64, u64>,
    /// Digests of the pages that were sent, by pfn; 0 is "not sent".
    sent: Vec<u128>,
    saved: Saved,
}

impl<'a> Saver<'a> {
    fn new(xc: &'a Xenctrl, dom: DomId, out: &'a mut dyn Write) -> Result<Self> {
        let info = info_of(xc, dom)?;
        let shared = page(xc, dom, info.shared_info.0)
            .ok_or_else(|| Error::new("mapping the shared information of", dom, "no such frame"))?;
        let p2m = GuestP2m::read(xc, &info, &*shared)?;
        let mut saver = Saver {
            xc,
            dom,
            out,
            info,
            shared,
            m2p: HashMap::new(),
            sent: vec![],
            saved: Saved::default(),
            p2m,
        };
        saver.index();
        Ok(saver)
    }

    fn index(&mut self) {
        self.m2p = self.p2m.pages.iter().map(|(p, m)| (*m, *p)).collect();
        let most = self.p2m.pages.last().map_or(0, |(p, _)| *p as usize + 1);
        self.sent.resize(most.max(self.sent.len()), 0);
        self.saved.pages = self.p2m.pages.len() as u64;
    }

    /// Looks again, now that nothing changes any more. What has gone since it was sent is taken back.
    fn refresh(&mut self) -> Result<()> {
        self.info = info_of(self.xc, self.dom)?;
        let old = self.p2m.table.clone();
        self.p2m = GuestP2m::read(self.xc, &self.info, &*self.shared)?;
        self.index();
        if old != self.p2m.table {
            self.place_of_p2m()?;
        }
        let mut there = vec![false; self.sent.len()];
        for (pfn, _) in &self.p2m.pages {
            there[*pfn as usize] = true;
        }
        let gone: Vec<u64> = (0..self.sent.len())
            .filter(|p| self.sent[*p] != 0 && !there[*p])
            .map(|p| numbered(p as u64, ABSENT))
            .collect();
        for chunk in gone.chunks(BATCH) {
            self.record_of_pages(chunk, &[])?;
        }
        Ok(())
    }

    fn write(&mut self, kind: u32, body: &[&[u8]]) -> Result<()> {
        stream::write(self.out, kind, body).map_err(|e| failed(self.dom, e))
    }

    fn begin(&mut self) -> Result<()> {
        let version = self.xc.version().map_or((4, 17), |v| (v.major, v.minor));
        stream::write_headers(self.out, version).map_err(|e| failed(self.dom, e))?;
        // 64 bits wide, four levels of page tables.
        self.write(kind::PV_INFO, &[&[8, 4, 0, 0, 0, 0, 0, 0]])?;
        self.write(kind::STATIC_DATA_END, &[])?;
        self.place_of_p2m()
    }

    /// Where its own table of pages is: whoever restores it writes the new frames there.
    fn place_of_p2m(&mut self) -> Result<()> {
        let mut body = 0u32.to_le_bytes().to_vec();
        body.extend((self.p2m.count.saturating_sub(1) as u32).to_le_bytes());
        for (n, mfn) in self.p2m.table.iter().enumerate() {
            let pfn = mfn.and_then(|m| self.m2p.get(&m)).ok_or_else(|| {
                let why = format!("page {n} of its table of pages is not its own");
                Error::new("saving", self.dom, why)
            })?;
            body.extend(pfn.to_le_bytes());
        }
        self.write(kind::P2M_FRAMES, &[&body])
    }

    /// Sends what there is, and again what has changed, until little is left.
    fn while_it_runs(&mut self) -> Result<()> {
        let mut last = u64::MAX;
        for _ in 0..ROUNDS {
            let before = self.saved.after;
            self.pages(false)?;
            let sent = self.saved.after - before;
            if sent <= FEW || sent > last / 2 {
                break;
            }
            last = sent;
        }
        Ok(())
    }

    /// Sends all pages that were not sent as they are now; page tables if it is `at_rest`.
    fn pages(&mut self, at_rest: bool) -> Result<()> {
        let list = std::mem::take(&mut self.p2m.pages);
        let result = list
            .chunks(BATCH)
            .try_for_each(|chunk| self.batch(chunk, at_rest));
        self.p2m.pages = list;
        result
    }

    fn batch(&mut self, chunk: &[(u64, u64)], at_rest: bool) -> Result<()> {
        let frames: Vec<u64> = chunk.iter().map(|(_, m)| *m).collect();
        let types = self
            .xc
            .page_types(self.dom, &frames)
            .map_err(|e| failed(self.dom, e))?;
        let mut wanted: Vec<(u64, u64, u8)> = chunk
            .iter()
            .zip(types)
            .map(|((pfn, mfn), t)| (*pfn, *mfn, (t >> PFINFO_LTAB_SHIFT) as u8))
            .collect();
        if !at_rest {
            wanted.retain(|(_, _, kind)| *kind == 0);
        }
        let (mut numbers, mut data) = (Vec::new(), Vec::new());
        let with_data: Vec<_> = wanted.iter().filter(|w| has_data(w.2)).copied().collect();
        let contents = self.contents(&with_data, at_rest)?;
        for ((pfn, mfn, kind), bytes) in with_data.iter().zip(contents.chunks(PAGE)) {
            let digest = XxHash3_128::oneshot_with_seed(u64::from(*kind), bytes).max(1);
            if self.sent[*pfn as usize] == digest {
                continue;
            }
            self.sent[*pfn as usize] = digest;
            numbers.push(numbered(*pfn, *kind));
            match level(*kind) {
                0 => data.extend_from_slice(bytes),
                level => data.extend(self.table(*mfn, level, bytes)?),
            }
        }
        self.saved.after += numbers.len() as u64;
        let absent = wanted.iter().filter(|w| !has_data(w.2));
        numbers.extend(absent.map(|w| numbered(w.0, w.2)));
        self.record_of_pages(&numbers, &data)
    }

    fn record_of_pages(&mut self, numbers: &[u64], data: &[u8]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut head = [0; LIST];
        head[..4].copy_from_slice(&(numbers.len() as u32).to_le_bytes());
        self.write(kind::PAGE_DATA, &[&head, numbers.as_bytes(), data])
    }

    /// The contents of pages. Of a running domain one may have gone: it counts as empty, and is looked at again.
    fn contents(&self, list: &[(u64, u64, u8)], at_rest: bool) -> Result<Vec<u8>> {
        let frames: Vec<Gfn> = list.iter().map(|w| Gfn(w.1)).collect();
        let mut bytes = vec![0; frames.len() * PAGE];
        if frames.is_empty() {
            return Ok(bytes);
        }
        match self.xc.foreign().map(self.dom, Prot::Read, &frames) {
            Ok(map) => map.read(0, &mut bytes),
            Err(e) if at_rest => {
                return Err(Error::new("mapping the pages of", self.dom, e));
            }
            Err(_) => {
                for (slot, frame) in bytes.chunks_mut(PAGE).zip(&frames) {
                    if let Some(p) = page(self.xc, self.dom, frame.0) {
                        p.read(0, slot);
                    }
                }
            }
        }
        Ok(bytes)
    }

    /// A page table with the guest's own numbers in it.
    fn table(&self, mfn: u64, level: u8, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut entries = [0u64; tables::ENTRIES];
        entries.as_mut_bytes().copy_from_slice(bytes);
        tables::translate(&mut entries, level, |m| self.m2p.get(&m).copied()).map_err(|f| {
            let why = format!(
                "entry {} of its level-{level} page table in frame {mfn:#x} names frame {:#x}, which is not its own",
                f.slot, f.frame
            );
            Error::new("saving", self.dom, why)
                .hint("a domain that maps devices or other domains' memory cannot be saved")
        })?;
        Ok(entries.as_bytes().to_vec())
    }

    /// What is not memory.
    fn end(&mut self) -> Result<()> {
        let dom = self.dom;
        let tsc = self.xc.tsc_info(dom).map_err(|e| failed(dom, e))?;
        let mut body = tsc.tsc_mode.to_le_bytes().to_vec();
        body.extend(tsc.gtsc_khz.to_le_bytes());
        body.extend(tsc.elapsed_nsec.to_le_bytes());
        body.extend(tsc.incarnation.to_le_bytes());
        body.extend([0; 4]);
        self.write(kind::TSC_INFO, &[&body])?;
        let shared: Vec<u8> = self.shared.read_vec(0, PAGE);
        self.write(kind::SHARED_INFO, &[&shared])?;
        for v in 0..self.info.max_vcpu_id.map_or(0, |m| m + 1) {
            self.vcpu(VcpuId(v))?;
        }
        self.write(kind::END, &[])?;
        self.out.flush().map_err(|e| failed(dom, e))
    }

    fn vcpu(&mut self, v: VcpuId) -> Result<()> {
        let (xc, dom) = (self.xc, self.dom);
        let mut ctx = match xc.vcpu_context(dom, v) {
            Ok(ctx) => ctx,
            // It was never started.
            Err(e) if e.errno == Errno::ENODATA && v.0 != 0 => return Ok(()),
            Err(e) => return Err(failed(dom, e)),
        };
        let pfn_of = |mfn: u64| self.m2p.get(&mfn).copied();
        contexts::leave(&mut ctx, pfn_of).map_err(|e| failed(dom, format!("{v}: {e}")))?;
        if v.0 == 0 {
            // What it gave the call that suspended it: the frame of its start info.
            ctx.user_regs.rdx = pfn_of(ctx.user_regs.rdx)
                .ok_or_else(|| failed(dom, "it did not say where its start info is"))?;
        }
        let extended = xc.extended_context(dom, v).map_err(|e| failed(dom, e))?;
        let state = xc.extended_state(dom, v).map_err(|e| failed(dom, e))?;
        let mut head = [0; 8];
        head[..4].copy_from_slice(&v.0.to_le_bytes());
        self.write(kind::VCPU_BASIC, &[&head, ctx.as_bytes()])?;
        // The room that the specification gives it.
        let mut room = [0; 128];
        room[..extended.as_bytes().len()].copy_from_slice(extended.as_bytes());
        self.write(kind::VCPU_EXTENDED, &[&head, &room])?;
        if !state.is_empty() {
            self.write(kind::VCPU_XSAVE, &[&head, &state])?;
        }
        Ok(())
    }
}

/// A pfn with its page's type, as a record of pages has it.
fn numbered(pfn: u64, kind: u8) -> u64 {
    u64::from(kind) << TYPE_SHIFT | pfn
}

fn failed(dom: DomId, why: impl std::fmt::Display) -> Error {
    Error::new("saving", dom, why)
}

fn info_of(xc: &Xenctrl, dom: DomId) -> Result<DomainInfo> {
    let info = xc.domain_info(dom).map_err(|e| failed(dom, e))?;
    info.ok_or_else(|| failed(dom, "there is no such domain"))
}
