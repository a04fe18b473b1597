//! [`restore_pv`]: a PV domain out of a stream, into an empty domain.
//!
//! Pages are populated as they come; what names frames (page tables, the guest's table of pages, contexts) is put right once
//! all have come. Nothing in the stream is believed: at worst the guest in it is one that the hypervisor refuses.
use super::stream::{self, Record, kind, u32_at, u64_at};
use super::{ABSENT, BATCH, PAGE, PFN, PINNED, TYPE_SHIFT, contexts, has_data, level, tables};
use crate::pv::seed_grants;
use crate::{BuildHost, BuildResult, BuildTarget, Error, GREF_CONSOLE, GREF_XENSTORE, Result};
use std::collections::BTreeMap;
use std::io::Read;
use xen_abi::arch_x86::VcpuGuestContext;
use xen_abi::domctl::{ExtVcpuContext, TscInfo};
use xen_abi::handle::Payload;
use xen_abi::shared::SharedInfo;
use xen_abi::start_info::{ConsoleDomU, StartInfo};
use xen_abi::{DomId, Gfn, Mfn, Pfn, VcpuId};
use xenctrl::Xenctrl;
use xendev::SharedMemExt;
use zerocopy::{FromBytes, IntoBytes};

/// No frame.
const NONE: u64 = u64::MAX;
/// Pfns that a stream may speak of: 4 TiB of memory.
const MOST_PFNS: u64 = 1 << 30;
/// Entries of the machine-to-physical table per call.
const M2P_BATCH: usize = 4096;

/// Fills an empty PV domain with what `input` holds. On an error it is left half-built; the caller destroys it.
pub fn restore_pv(xc: &Xenctrl, target: &BuildTarget, input: &mut dyn Read) -> Result<BuildResult> {
    let mut r = Restorer {
        xc,
        dom: target.dom,
        p2m: vec![],
        types: vec![],
        table: vec![],
        count: 0,
        shared: None,
        tsc: None,
        vcpus: BTreeMap::new(),
    };
    stream::read_headers(input).map_err(|e| r.bad(e))?;
    loop {
        let record = stream::read(input).map_err(|e| r.bad(e))?;
        if record.kind == kind::END {
            break;
        }
        r.take(record)?;
    }
    r.finish(target)
}

/// A vcpu's parts.
#[derive(Default)]
struct SavedVcpu {
    context: Option<Box<VcpuGuestContext>>,
    extended: Option<ExtVcpuContext>,
    state: Vec<u8>,
}

struct Restorer<'a> {
    xc: &'a Xenctrl,
    dom: DomId,
    /// Frames and types by pfn.
    p2m: Vec<u64>,
    types: Vec<u8>,
    /// The pfns that hold the guest's own table of pages, and how many pfns that describes.
    table: Vec<u64>,
    count: u64,
    shared: Option<Vec<u8>>,
    tsc: Option<TscInfo>,
    vcpus: BTreeMap<u32, SavedVcpu>,
}

impl Restorer<'_> {
    fn bad(&self, why: impl std::fmt::Display) -> Error {
        Error::new("restoring", self.dom, why)
    }

    fn take(&mut self, record: Record) -> Result<()> {
        let body = &record.body;
        match record.kind {
            kind::PAGE_DATA => self.pages(body),
            kind::PV_INFO if body.get(..2) != Some(&[8, 4]) => {
                Err(self.bad("it is not a 64-bit guest"))
            }
            kind::P2M_FRAMES => self.place_of_p2m(body),
            kind::SHARED_INFO if body.len() == PAGE => {
                self.shared = Some(record.body);
                Ok(())
            }
            kind::SHARED_INFO => Err(self.bad("its shared information is not a page")),
            kind::TSC_INFO => {
                self.tsc = Some(TscInfo {
                    tsc_mode: u32_at(body, 0),
                    gtsc_khz: u32_at(body, 4),
                    elapsed_nsec: u64_at(body, 8),
                    incarnation: u32_at(body, 16),
                    ..Default::default()
                });
                Ok(())
            }
            kind::VCPU_BASIC | kind::VCPU_EXTENDED | kind::VCPU_XSAVE => {
                self.vcpu(record.kind, body)
            }
            // What this hypervisor gives all its guests alike, and what is between the parts.
            kind::PV_INFO | kind::VCPU_MSRS | kind::STATIC_DATA_END => Ok(()),
            kind::CPUID_POLICY | kind::MSR_POLICY | kind::VERIFY | kind::CHECKPOINT => Ok(()),
            k if k & kind::OPTIONAL != 0 => Ok(()),
            k => Err(self.bad(format!(
                "there is a record of kind {k:#x}, which is not known"
            ))),
        }
    }

    fn vcpu(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        let bad = self.bad("a vcpu's record is damaged");
        let (id, content) = match body.split_at_checked(8) {
            Some((head, content)) => (u32_at(head, 0), content),
            None => return Err(bad),
        };
        // No hypervisor has more.
        if id >= 8192 {
            return Err(bad);
        }
        let vcpu = self.vcpus.entry(id).or_default();
        match kind {
            kind::VCPU_BASIC => {
                let (ctx, _) = VcpuGuestContext::read_from_prefix(content).map_err(|_| bad)?;
                vcpu.context = Some(Box::new(ctx));
            }
            kind::VCPU_EXTENDED => {
                let (ext, _) = ExtVcpuContext::read_from_prefix(content).map_err(|_| bad)?;
                vcpu.extended = Some(ext);
            }
            _ => vcpu.state = content.to_vec(),
        }
        Ok(())
    }

    fn place_of_p2m(&mut self, body: &[u8]) -> Result<()> {
        let (first, last) = (u32_at(body, 0), u32_at(body, 4));
        let list = body.get(8..).unwrap_or_default();
        let pages = (u64::from(last) + 1).div_ceil(tables::ENTRIES as u64);
        let there = (list.len() / 8) as u64;
        if first == 0 && there == pages {
            self.count = u64::from(last) + 1;
            self.table = list.chunks_exact(8).map(|c| u64_at(c, 0)).collect();
            return Ok(());
        }
        // Only what was added.
        let from = u64::from(first).div_ceil(tables::ENTRIES as u64);
        if from <= self.table.len() as u64 && from + there == pages {
            self.count = u64::from(last) + 1;
            self.table.truncate(from as usize);
            self.table
                .extend(list.chunks_exact(8).map(|c| u64_at(c, 0)));
            return Ok(());
        }
        Err(self.bad("the list of where its table of pages is, is damaged"))
    }

    fn pages(&mut self, body: &[u8]) -> Result<()> {
        let damaged = || self.bad("a record of pages is damaged");
        let count = u32_at(body, 0) as usize;
        let list = body
            .get(8..)
            .and_then(|b| b.get(..count.checked_mul(8)?))
            .ok_or_else(damaged)?;
        let numbers: Vec<(u64, u8)> = list
            .chunks_exact(8)
            .map(|c| u64_at(c, 0))
            .map(|n| (n & PFN, (n >> TYPE_SHIFT) as u8))
            .collect();
        let data = &body[8 + list.len()..];
        let with_data = numbers.iter().filter(|n| has_data(n.1)).count();
        if data.len() != with_data * PAGE || numbers.iter().any(|n| n.0 >= MOST_PFNS) {
            return Err(damaged());
        }
        let mut rest = data;
        for chunk in numbers.chunks(BATCH) {
            let n = chunk.iter().filter(|n| has_data(n.1)).count() * PAGE;
            let (these, behind) = rest.split_at(n);
            self.batch(chunk, these)?;
            rest = behind;
        }
        Ok(())
    }

    fn batch(&mut self, list: &[(u64, u8)], data: &[u8]) -> Result<()> {
        let most = list.iter().map(|n| n.0 as usize + 1).max().unwrap_or(0);
        let len = most.max(self.p2m.len());
        self.p2m.resize(len, NONE);
        self.types.resize(len, ABSENT);
        self.populate(list)?;
        let wanted: Vec<(u64, u8)> = list.iter().filter(|n| has_data(n.1)).copied().collect();
        for (pfn, kind) in list {
            self.types[*pfn as usize] = *kind;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let frames: Vec<Gfn> = wanted.iter().map(|n| Gfn(self.p2m[n.0 as usize])).collect();
        let map = BuildHost::map(self.xc, self.dom, &frames).map_err(|e| self.bad(e))?;
        map.write(0, data);
        Ok(())
    }

    /// Gives the domain those of the pages that it does not have yet.
    fn populate(&mut self, list: &[(u64, u8)]) -> Result<()> {
        let mut new: Vec<u64> = list
            .iter()
            .filter(|n| has_data(n.1) && self.p2m[n.0 as usize] == NONE)
            .map(|n| n.0)
            .collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        let mut frames = new.clone();
        self.xc
            .populate_physmap(self.dom, 0, &mut frames)
            .map_err(|e| self.bad(e).hint("`xl info` shows how much memory is free"))?;
        for (pfn, mfn) in new.into_iter().zip(frames) {
            self.p2m[pfn as usize] = mfn;
        }
        Ok(())
    }

    fn mfn(&self, pfn: u64) -> Option<u64> {
        let mfn = *self.p2m.get(usize::try_from(pfn).ok()?)?;
        (mfn != NONE).then_some(mfn)
    }

    fn need(&self, what: &str, pfn: u64) -> Result<Mfn> {
        self.mfn(pfn)
            .map(Mfn)
            .ok_or_else(|| self.bad(format!("{what} is at {}, which was not saved", Pfn(pfn))))
    }

    fn finish(mut self, target: &BuildTarget) -> Result<BuildResult> {
        self.give_back()?;
        self.machine_to_physical()?;
        self.page_tables()?;
        self.own_table()?;
        let result = self.start_info(target)?;
        self.shared_info()?;
        seed_grants(self.xc, target, &result)?;
        self.pin()?;
        if let Some(tsc) = self.tsc {
            self.xc
                .put_tsc_info(self.dom, tsc)
                .map_err(|e| self.bad(e))?;
        }
        let vcpus = std::mem::take(&mut self.vcpus);
        for (id, vcpu) in vcpus {
            self.start(VcpuId(id), vcpu)?;
        }
        Ok(result)
    }

    /// Pages that came, and that the guest had given away before it was suspended.
    fn give_back(&mut self) -> Result<()> {
        let gone: Vec<usize> = (0..self.p2m.len())
            .filter(|p| self.p2m[*p] != NONE && !has_data(self.types[*p]))
            .collect();
        let frames: Vec<u64> = gone.iter().map(|p| self.p2m[*p]).collect();
        self.xc
            .decrease_reservation(self.dom, &frames)
            .map_err(|e| self.bad(e))?;
        gone.iter().for_each(|p| self.p2m[*p] = NONE);
        Ok(())
    }

    fn machine_to_physical(&self) -> Result<()> {
        let entries: Vec<(Mfn, Pfn)> = self
            .p2m
            .iter()
            .zip(0..)
            .filter(|(m, _)| **m != NONE)
            .map(|(m, p)| (Mfn(*m), Pfn(p)))
            .collect();
        for batch in entries.chunks(M2P_BATCH) {
            self.xc
                .machphys_update(self.dom, batch)
                .map_err(|e| self.bad(e))?;
        }
        Ok(())
    }

    /// Puts frames into the page tables.
    fn page_tables(&self) -> Result<()> {
        let all: Vec<usize> = (0..self.types.len())
            .filter(|p| self.p2m[*p] != NONE && level(self.types[*p]) != 0)
            .collect();
        for chunk in all.chunks(BATCH) {
            let frames: Vec<Gfn> = chunk.iter().map(|p| Gfn(self.p2m[*p])).collect();
            let map = BuildHost::map(self.xc, self.dom, &frames).map_err(|e| self.bad(e))?;
            for (i, pfn) in chunk.iter().enumerate() {
                let mut table: Vec<u64> = map.read_vec(i * PAGE, tables::ENTRIES);
                let level = level(self.types[*pfn]);
                tables::translate(&mut table, level, |p| self.mfn(p)).map_err(|f| {
                    self.bad(format!(
                        "entry {} of the page table at {} names {}, which was not saved",
                        f.slot,
                        Pfn(*pfn as u64),
                        Pfn(f.frame)
                    ))
                })?;
                map.write_slice(i * PAGE, &table);
            }
        }
        Ok(())
    }

    /// Puts frames into the guest's own table of pages. Entries that say something else than a frame stay.
    fn own_table(&self) -> Result<()> {
        for (n, pfn) in self.table.iter().enumerate() {
            let frame = self.need("its table of pages", *pfn)?;
            let map =
                BuildHost::map(self.xc, self.dom, &[Gfn(frame.0)]).map_err(|e| self.bad(e))?;
            let mut entries: Vec<u64> = map.read_vec(0, tables::ENTRIES);
            let first = n * tables::ENTRIES;
            for (i, entry) in entries.iter_mut().enumerate() {
                match self.mfn((first + i) as u64) {
                    Some(mfn) if ((first + i) as u64) < self.count => *entry = mfn,
                    _ if *entry >> 62 == 0 => *entry = NONE,
                    _ => {}
                }
            }
            map.write_slice(0, &entries);
        }
        Ok(())
    }

    fn start_info(&mut self, target: &BuildTarget) -> Result<BuildResult> {
        let first = self.vcpus.get(&0).and_then(|v| v.context.as_ref());
        let Some(first) = first else {
            return Err(self.bad("its first vcpu was not saved"));
        };
        let frame = self.need("its start info", first.user_regs.rdx)?;
        let map = BuildHost::map(self.xc, self.dom, &[Gfn(frame.0)]).map_err(|e| self.bad(e))?;
        let mut info: StartInfo = map.read_obj(0);
        let (console, _) = ConsoleDomU::read_from_prefix(info.console.as_bytes())
            .map_err(|_| self.bad("its start info is damaged"))?;
        let result = BuildResult {
            console_mfn: self.need("its console", console.mfn.0)?,
            store_mfn: self.need("its xenstore ring", info.store_mfn.0)?,
            console_gref: GREF_CONSOLE,
            store_gref: GREF_XENSTORE,
            nr_pages: self.p2m.iter().filter(|m| **m != NONE).count() as u64,
        };
        let shared = BuildHost::shared_info(self.xc, self.dom).map_err(|e| self.bad(e))?;
        info.nr_pages = self.count;
        info.shared_info = shared.addr();
        info.flags = 0;
        info.store_mfn = result.store_mfn;
        info.store_evtchn = target.store_port;
        info.console = Payload::of(ConsoleDomU {
            mfn: result.console_mfn,
            evtchn: target.console_port,
            ..Default::default()
        });
        map.write_obj(0, &info);
        if let Some(ctx) = self.vcpus.get_mut(&0).and_then(|v| v.context.as_mut()) {
            ctx.user_regs.rdx = frame.0;
        }
        Ok(result)
    }

    /// The guest's part of the page that it shares with the hypervisor. All events are masked, and none waits.
    fn shared_info(&self) -> Result<()> {
        let Some(saved) = &self.shared else {
            return Err(self.bad("its shared information was not saved"));
        };
        let (saved, _) = SharedInfo::read_from_prefix(saved)
            .map_err(|_| self.bad("its shared information is damaged"))?;
        let frame = BuildHost::shared_info(self.xc, self.dom).map_err(|e| self.bad(e))?;
        let map = BuildHost::map(self.xc, self.dom, &[Gfn(frame.0)]).map_err(|e| self.bad(e))?;
        let mut info: SharedInfo = map.read_obj(0);
        info.vcpu_info = saved.vcpu_info;
        info.arch = saved.arch;
        info.arch.pfn_to_mfn_frame_list_list = 0;
        info.evtchn_pending = [0; 64];
        info.evtchn_mask = [u64::MAX; 64];
        info.vcpu_info
            .iter_mut()
            .for_each(|v| v.evtchn_pending_sel = 0);
        map.write_obj(0, &info);
        Ok(())
    }

    fn pin(&self) -> Result<()> {
        for (pfn, kind) in self.types.iter().enumerate() {
            let level = level(*kind);
            if kind & PINNED != 0 && level != 0 && self.p2m[pfn] != NONE {
                self.xc
                    .pin_table(self.dom, level.into(), Mfn(self.p2m[pfn]))
                    .map_err(|e| self.bad(e))?;
            }
        }
        Ok(())
    }

    fn start(&self, id: VcpuId, vcpu: SavedVcpu) -> Result<()> {
        let Some(mut ctx) = vcpu.context else {
            return Err(self.bad(format!("the registers of {id} were not saved")));
        };
        contexts::arrive(&mut ctx, |p| self.mfn(p)).map_err(|e| self.bad(e))?;
        let failed = |e: xenctrl::Error| self.bad(e);
        self.xc
            .set_vcpu_context(self.dom, id, &ctx)
            .map_err(failed)?;
        if let Some(mut ext) = vcpu.extended {
            ext.vcpu = id;
            ext.size = size_of::<ExtVcpuContext>() as u32;
            self.xc
                .set_extended_context(self.dom, ext)
                .map_err(failed)?;
        }
        match &vcpu.state[..] {
            [] => Ok(()),
            state => self
                .xc
                .set_extended_state(self.dom, id, state)
                .map_err(failed),
        }
    }
}
