//! [`PvImage::build`]: fills an empty PV domain, step by step in the order of [`Builder::run`].
use crate::memory::{Content, GuestMemory};
use crate::{BuildHost, Error, PvImage, PvParams, Result, vcpu};
use loader::start_info::{Rings, start_info};
use std::fs::File;
use xen_abi::grant_table::{GTF_PERMIT_ACCESS, GrantEntryV1};
use xen_abi::shared::LEGACY_MAX_VCPUS;
use xen_abi::{DomId, Gfn, GrantRef, Mfn, Pfn, Port, VcpuId};
use xendev::SharedMemExt;
use zerocopy::IntoBytes;

/// Grant reserved for the console ring (`GNTTAB_RESERVED_CONSOLE`).
pub const GREF_CONSOLE: GrantRef = GrantRef(0);
/// Grant reserved for the xenstore ring (`GNTTAB_RESERVED_XENSTORE`).
pub const GREF_XENSTORE: GrantRef = GrantRef(1);

/// The domain to fill, and who serves its two rings.
#[derive(Clone, Copy, Debug)]
pub struct BuildTarget {
    /// The domain; created, empty, paused, its vcpus allocated.
    pub dom: DomId,
    /// Its port to xenstored.
    pub store_port: Port,
    /// Its port to xenconsoled.
    pub console_port: Port,
    /// Where xenstored runs.
    pub store_dom: DomId,
    /// Where xenconsoled runs.
    pub console_dom: DomId,
}

impl BuildTarget {
    /// Both daemons in dom0, the usual.
    pub fn new(dom: DomId, store_port: Port, console_port: Port) -> Self {
        BuildTarget {
            dom,
            store_port,
            console_port,
            store_dom: DomId::DOM0,
            console_dom: DomId::DOM0,
        }
    }
}

/// What the caller introduces to xenstored and writes to xenstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildResult {
    /// Frame of the console ring.
    pub console_mfn: Mfn,
    /// Frame of the xenstore ring.
    pub store_mfn: Mfn,
    /// Grant of the console ring; seeded.
    pub console_gref: GrantRef,
    /// Grant of the xenstore ring; seeded.
    pub store_gref: GrantRef,
    /// Pages populated.
    pub nr_pages: u64,
}

/// Loads `params` and builds it into `target`.
pub fn build_pv(
    host: &dyn BuildHost,
    params: &PvParams,
    target: &BuildTarget,
) -> Result<BuildResult> {
    PvImage::load(params)?.build(host, target)
}

impl PvImage {
    /// Fills the domain. On an error the domain is left half-built; the caller destroys it.
    pub fn build(mut self, host: &dyn BuildHost, target: &BuildTarget) -> Result<BuildResult> {
        let ramdisk = self.ramdisk.take();
        let memory = GuestMemory::populate(host, target.dom, self.layout.nr_pages)?;
        Builder {
            image: &self,
            host,
            target,
            memory,
        }
        .run(ramdisk)
    }
}

const PAGE: u64 = 4096;
/// Entries per `mmu_update` batch.
const M2P_BATCH: usize = 4096;

struct Builder<'a> {
    image: &'a PvImage,
    host: &'a dyn BuildHost,
    target: &'a BuildTarget,
    memory: GuestMemory<'a>,
}

impl Builder<'_> {
    fn run(self, ramdisk: Option<File>) -> Result<BuildResult> {
        self.machine_to_physical()?;
        self.kernel()?;
        if let Some(file) = ramdisk {
            self.ramdisk(&file)?;
        }
        self.p2m_list()?;
        let result = self.rings()?;
        self.start_info(&result)?;
        self.hypercall_page()?;
        let root = self.page_tables()?;
        self.shared_info()?;
        seed_grants(self.host, self.target, &result)?;
        self.first_vcpu(root)?;
        Ok(result)
    }

    /// Machine frame of a page of the bootstrap region.
    fn mfn_at(&self, step: &'static str, vaddr: u64) -> Result<Mfn> {
        self.memory.need(step, self.pfn_at(step, vaddr)?)
    }

    fn pfn_at(&self, step: &'static str, vaddr: u64) -> Result<u64> {
        let outside = || Error::new(step, format!("{vaddr:#x}"), "outside the boot region");
        self.image.layout.pfn_of(vaddr).ok_or_else(outside)
    }

    fn machine_to_physical(&self) -> Result<()> {
        let entries: Vec<(Mfn, Pfn)> = self
            .memory
            .p2m()
            .iter()
            .zip(0..)
            .map(|(mfn, pfn)| (Mfn(*mfn), Pfn(pfn)))
            .collect();
        for batch in entries.chunks(M2P_BATCH) {
            self.host
                .machphys_update(self.target.dom, batch)
                .map_err(|e| {
                    Error::new(
                        "setting the machine-to-physical table of",
                        self.target.dom,
                        e,
                    )
                })?;
        }
        Ok(())
    }

    fn kernel(&self) -> Result<()> {
        let step = "loading the kernel to";
        let kernel = &self.image.kernel.kernel;
        for (index, segment) in kernel.elf.segments.iter().enumerate() {
            let place = self.image.layout.segment_offset(kernel, index);
            let (Some(offset), Some(data)) = (place, self.image.kernel.segment(index)) else {
                return Err(Error::new(
                    step,
                    self.target.dom,
                    format!("segment {index} lies outside the file"),
                ));
            };
            self.memory.fill(step, offset, segment.mem_size, data)?;
        }
        Ok(())
    }

    fn ramdisk(&self, file: &File) -> Result<()> {
        let (Some(place), Some(path)) = (&self.image.layout.initrd, &self.image.params.ramdisk)
        else {
            return Ok(());
        };
        let content = Content::File {
            file,
            path,
            position: 0,
            len: place.len,
        };
        self.memory.fill(
            "loading the initrd to",
            place.pfn * PAGE,
            place.len,
            content,
        )
    }

    fn p2m_list(&self) -> Result<()> {
        let list = self.memory.p2m().as_bytes();
        self.memory.write(
            "writing the p2m list at",
            self.image.layout.p2m.pfn * PAGE,
            list,
        )
    }

    /// Clears the two ring pages.
    fn rings(&self) -> Result<BuildResult> {
        let step = "clearing the ring page at";
        let ring = |vaddr: Option<u64>| {
            let vaddr =
                vaddr.ok_or_else(|| Error::new(step, self.target.dom, "the layout has none"))?;
            self.memory
                .write(step, self.pfn_at(step, vaddr)? * PAGE, &[0; PAGE as usize])?;
            self.mfn_at(step, vaddr)
        };
        Ok(BuildResult {
            console_mfn: ring(self.image.layout.console)?,
            store_mfn: ring(self.image.layout.store)?,
            console_gref: GREF_CONSOLE,
            store_gref: GREF_XENSTORE,
            nr_pages: self.memory.pages(),
        })
    }

    fn start_info(&self, rings: &BuildResult) -> Result<()> {
        let step = "writing start_info of";
        let fail = |e: &dyn std::fmt::Display| Error::new(step, self.target.dom, e);
        let shared = self
            .host
            .shared_info(self.target.dom)
            .map_err(|e| fail(&e))?;
        let rings = Rings::DomU {
            store_mfn: rings.store_mfn,
            store_port: self.target.store_port,
            console_mfn: rings.console_mfn,
            console_port: self.target.console_port,
        };
        let layout = &self.image.layout;
        let cmdline = self.image.params.cmdline.as_bytes();
        let info = start_info(layout, shared.addr(), cmdline, rings).map_err(|e| fail(&e))?;
        let mut page = [0; PAGE as usize];
        page[..size_of_val(&info)].copy_from_slice(info.as_bytes());
        self.memory
            .write(step, self.pfn_at(step, layout.start_info)? * PAGE, &page)
    }

    fn hypercall_page(&self) -> Result<()> {
        let step = "writing the hypercall page of";
        match self.image.layout.hypercall_page {
            Some(vaddr) => self
                .host
                .hypercall_init(self.target.dom, self.mfn_at(step, vaddr)?)
                .map_err(|e| Error::new(step, self.target.dom, e)),
            None => Ok(()),
        }
    }

    /// Writes all tables and has the hypervisor validate them. Returns the root.
    fn page_tables(&self) -> Result<Mfn> {
        let step = "writing a page table at";
        let layout = &self.image.layout;
        for table in layout.tables() {
            let mut entries = [0u64; 512];
            layout
                .fill_table(table, &mut entries, |pfn| self.memory.mfn(pfn))
                .map_err(|pfn| {
                    Error::new(
                        step,
                        Pfn(table.pfn),
                        format!("{} is outside memory", Pfn(pfn)),
                    )
                })?;
            self.memory
                .write(step, table.pfn * PAGE, entries.as_bytes())?;
        }
        let step = "validating the page tables of";
        let root = self.mfn_at(step, layout.pt_base)?;
        self.host.pin_l4(self.target.dom, root).map_err(|e| {
            Error::new(step, self.target.dom, e).hint("`xl dmesg` may say which entry was refused")
        })?;
        Ok(root)
    }

    /// All events masked: the kernel unmasks them when it is ready.
    fn shared_info(&self) -> Result<()> {
        let fail = |e| Error::new("initialising the shared info page of", self.target.dom, e);
        let frame = self.host.shared_info(self.target.dom).map_err(fail)?;
        let page = self
            .host
            .map(self.target.dom, &[Gfn(frame.0)])
            .map_err(fail)?;
        for vcpu in 0..LEGACY_MAX_VCPUS {
            let mask = vcpu * size_of::<xen_abi::shared::VcpuInfo>() + 1;
            page.write(mask, &[1]);
        }
        Ok(())
    }

    fn first_vcpu(&self, root: Mfn) -> Result<()> {
        let context = vcpu::context(&self.image.layout, root);
        self.host
            .set_vcpu_context(self.target.dom, VcpuId(0), &context)
            .map_err(|e| Error::new("setting the first registers of", self.target.dom, e))
    }
}

/// Grants the rings, so that the daemons need no right to map the whole domain.
pub(crate) fn seed_grants<H: BuildHost + ?Sized>(
    host: &H,
    target: &BuildTarget,
    rings: &BuildResult,
) -> Result<()> {
    let step = "seeding the grant table of";
    let table = host
        .map_grant_table(target.dom)
        .map_err(|e| Error::new(step, target.dom, e))?;
    let entries = [
        (GREF_CONSOLE, target.console_dom, rings.console_mfn),
        (GREF_XENSTORE, target.store_dom, rings.store_mfn),
    ];
    for (gref, domid, mfn) in entries {
        let frame = u32::try_from(mfn.0).map_err(|_| {
            let why = format!("{mfn} does not fit a grant entry");
            Error::new(step, target.dom, why)
        })?;
        let entry = GrantEntryV1 {
            flags: GTF_PERMIT_ACCESS,
            domid,
            frame,
        };
        table.write_obj(gref.0 as usize * size_of::<GrantEntryV1>(), &entry);
    }
    Ok(())
}
