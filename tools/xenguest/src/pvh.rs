//! [`PvhImage::build`]: fills an empty PVH domain, step by step in the order of [`Builder::run`].
use crate::memory::{Content, GuestMemory};
use crate::pv::seed_grants;
use crate::{
    BuildResult, BuildTarget, Error, GREF_CONSOLE, GREF_XENSTORE, HvmBuildHost, PvhImage, Result,
    vcpu,
};
use loader::pvh::{ACPI_START, SPECIAL_START};
use std::fs::File;
use xen_abi::Mfn;
use xen_abi::hvm::{
    PARAM_CONSOLE_EVTCHN, PARAM_CONSOLE_PFN, PARAM_IDENT_PT, PARAM_STORE_EVTCHN, PARAM_STORE_PFN,
    PARAM_TRIPLE_FAULT_REASON,
};
use xen_abi::memory::E820Entry;
use xen_abi::sched::SHUTDOWN_CRASH;
use zerocopy::IntoBytes;

const PAGE: u64 = 4096;
/// Pages below [`loader::pvh::SPECIAL_END`] that the guest shares with others, besides those of its memory.
pub const NR_SPECIAL_PAGES: u64 = 3;
const STORE_PFN: u64 = SPECIAL_START / PAGE;
const CONSOLE_PFN: u64 = STORE_PFN + 1;
/// A page table that maps each address to itself, for processors that cannot run without paging.
const IDENT_PT_PFN: u64 = STORE_PFN + 2;

impl PvhImage {
    /// Fills the domain. On an error the domain is left half-built; the caller destroys it.
    pub fn build(mut self, host: &dyn HvmBuildHost, target: &BuildTarget) -> Result<BuildResult> {
        let ramdisk = self.ramdisk.take();
        let mut regions = self.layout.ram.clone();
        if !self.acpi.is_empty() {
            let first = ACPI_START / PAGE;
            regions.push(first..first + (self.acpi.len() as u64).div_ceil(PAGE));
        }
        regions.push(STORE_PFN..STORE_PFN + NR_SPECIAL_PAGES);
        let memory = GuestMemory::populate_regions(host, target.dom, &regions)?;
        Builder {
            image: &self,
            host,
            target,
            memory,
        }
        .run(ramdisk)
    }
}

struct Builder<'a> {
    image: &'a PvhImage,
    host: &'a dyn HvmBuildHost,
    target: &'a BuildTarget,
    memory: GuestMemory<'a>,
}

impl Builder<'_> {
    fn run(self, ramdisk: Option<File>) -> Result<BuildResult> {
        self.memory_map()?;
        self.kernel()?;
        if let Some(file) = ramdisk {
            self.ramdisk(&file)?;
        }
        let layout = &self.image.layout;
        self.memory.write(
            "writing the start info at",
            layout.start_info,
            &layout.block,
        )?;
        self.memory
            .write("writing the ACPI tables at", ACPI_START, &self.image.acpi)?;
        self.special_pages()?;
        self.parameters()?;
        let result = BuildResult {
            console_mfn: Mfn(CONSOLE_PFN),
            store_mfn: Mfn(STORE_PFN),
            console_gref: GREF_CONSOLE,
            store_gref: GREF_XENSTORE,
            nr_pages: self.memory.pages(),
        };
        seed_grants(self.host, self.target, &result)?;
        self.first_vcpu()?;
        Ok(result)
    }

    /// The same map that is in the start info, for those who ask the hypervisor.
    fn memory_map(&self) -> Result<()> {
        let map: Vec<E820Entry> = self
            .image
            .layout
            .memmap
            .iter()
            .map(|e| E820Entry {
                addr: e.addr,
                size: e.size,
                r#type: e.r#type,
            })
            .collect();
        self.host
            .set_e820(self.target.dom, &map)
            .map_err(|e| Error::new("setting the memory map of", self.target.dom, e))
    }

    fn kernel(&self) -> Result<()> {
        let step = "loading the kernel to";
        let kernel = &self.image.kernel.kernel;
        for (index, segment) in kernel.elf.segments.iter().enumerate() {
            let Some(data) = self.image.kernel.segment(index) else {
                let why = format!("segment {index} lies outside the file");
                return Err(Error::new(step, self.target.dom, why));
            };
            self.memory
                .fill(step, segment.paddr, segment.mem_size, data)?;
        }
        Ok(())
    }

    fn ramdisk(&self, file: &File) -> Result<()> {
        let (Some(place), Some(path)) = (&self.image.layout.initrd, &self.image.params.ramdisk)
        else {
            return Ok(());
        };
        let len = place.end - place.start;
        let content = Content::File {
            file,
            path,
            position: 0,
            len,
        };
        self.memory
            .fill("loading the initrd to", place.start, len, content)
    }

    /// Empty rings; the identity page table: 1024 entries of 4 MiB, present, writable, user, accessed, dirty, large.
    fn special_pages(&self) -> Result<()> {
        const FLAGS: u32 = 0xe7;
        let step = "writing the special page at";
        for pfn in [STORE_PFN, CONSOLE_PFN] {
            self.memory.write(step, pfn * PAGE, &[0; PAGE as usize])?;
        }
        let identity: Vec<u32> = (0..1024).map(|i| i << 22 | FLAGS).collect();
        self.memory
            .write(step, IDENT_PT_PFN * PAGE, identity.as_bytes())
    }

    fn parameters(&self) -> Result<()> {
        let target = self.target;
        for (index, value) in [
            (PARAM_STORE_PFN, STORE_PFN),
            (PARAM_STORE_EVTCHN, target.store_port.0.into()),
            (PARAM_CONSOLE_PFN, CONSOLE_PFN),
            (PARAM_CONSOLE_EVTCHN, target.console_port.0.into()),
            (PARAM_IDENT_PT, IDENT_PT_PFN * PAGE),
            // Nothing but an accident makes a PVH guest do that; let it not reboot for ever.
            (PARAM_TRIPLE_FAULT_REASON, SHUTDOWN_CRASH.into()),
        ] {
            self.host
                .set_hvm_param(target.dom, index, value)
                .map_err(|e| Error::new("setting a parameter of", target.dom, e))?;
        }
        Ok(())
    }

    fn first_vcpu(&self) -> Result<()> {
        let step = "setting the first registers of";
        let fail = |e: &dyn std::fmt::Display| Error::new(step, self.target.dom, e);
        let saved = self
            .host
            .hvm_context(self.target.dom)
            .map_err(|e| fail(&e))?;
        let records = vcpu::hvm_records(&self.image.layout, &saved, self.image.params.vcpus)
            .ok_or_else(|| fail(&"the hypervisor's state has no header"))?;
        self.host
            .set_hvm_context(self.target.dom, &records)
            .map_err(|e| fail(&e))
    }
}
