//! `mmu_update` and `mmuext_op` on behalf of PV domains under construction.
use crate::{Error, Result, Xenctrl};
use xen_abi::mmu::*;
use xen_abi::{DomId, Errno, Mfn, Pfn, hypercall};
use xendev::SharedMemExt;

/// Updates per call.
const BATCH: usize = 16 * 1024;

impl Xenctrl {
    /// Sets machine-to-physical entries of pages that `dom` owns, in as few calls as possible.
    pub fn machphys_update(&self, dom: DomId, entries: &[(Mfn, Pfn)]) -> Result<()> {
        let fail = |e| {
            Error::new(
                format!(
                    "setting {} machine-to-physical entries of {dom}",
                    entries.len()
                ),
                e,
            )
        };
        let updates = self
            .alloc(entries.len().min(BATCH) * size_of::<MmuUpdate>())
            .map_err(fail)?;
        let done = self.alloc(4).map_err(fail)?;
        for chunk in entries.chunks(BATCH) {
            for (i, (mfn, pfn)) in chunk.iter().enumerate() {
                let u = MmuUpdate {
                    ptr: mfn.addr() | u64::from(MMU_MACHPHYS_UPDATE),
                    val: pfn.0,
                };
                updates.write_obj(i * size_of::<MmuUpdate>(), &u);
            }
            let args = [
                updates.addr(),
                chunk.len() as u64,
                done.addr(),
                dom.0.into(),
                0,
            ];
            self.raw()
                .hypercall(hypercall::MMU_UPDATE, args)
                .map_err(fail)?;
        }
        Ok(())
    }

    /// Pins a page table of `level` 1..=4 in `dom`.
    pub fn pin_table(&self, dom: DomId, level: u32, mfn: Mfn) -> Result<()> {
        let cmd = match level {
            1..=4 => Ok(MMUEXT_PIN_L1_TABLE + level - 1),
            _ => Err(Errno::EINVAL),
        };
        cmd.and_then(|cmd| self.mmuext(dom, cmd, mfn)).map_err(|e| {
            Error::new(
                format!("pinning the level-{level} page table at {mfn} of {dom}"),
                e,
            )
        })
    }

    /// Unpins a page table.
    pub fn unpin_table(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        self.mmuext(dom, MMUEXT_UNPIN_TABLE, mfn)
            .map_err(|e| Error::new(format!("unpinning the page table at {mfn} of {dom}"), e))
    }

    /// Zeroes a page of `dom` (`MMUEXT_CLEAR_PAGE`).
    pub fn clear_page(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        self.mmuext(dom, MMUEXT_CLEAR_PAGE, mfn)
            .map_err(|e| Error::new(format!("clearing {mfn} of {dom}"), e))
    }

    fn mmuext(&self, dom: DomId, cmd: u32, mfn: Mfn) -> Result<(), Errno> {
        let op = self.alloc(size_of::<MmuextOp>())?;
        op.write_obj(
            0,
            &MmuextOp {
                cmd,
                arg1: mfn.0,
                ..Default::default()
            },
        );
        self.raw()
            .hypercall(hypercall::MMUEXT_OP, [op.addr(), 1, 0, dom.0.into(), 0])
            .map(drop)
    }
}
