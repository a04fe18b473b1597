//! Making room for a new domain: what dom0 has too much is taken from it, and what is free is claimed.
use crate::{Error, Host, Result, nodes};
use std::time::{Duration, Instant};
use xen_abi::{DomId, Errno};

/// How often dom0 is asked; each time only for what is still missing.
const ATTEMPTS: u32 = 3;
/// How long it may take each time. Its balloon driver gives back some hundred MiB in a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the free memory is looked at.
const TICK: Duration = Duration::from_millis(100);
const PAGE_KIB: u64 = 4;

impl Host<'_> {
    /// Free pages that nobody has claimed.
    pub(crate) fn unclaimed(&self) -> Result<u64> {
        let phys = self.hv.physinfo()?;
        Ok(phys.free_pages.saturating_sub(phys.outstanding_pages))
    }

    /// Sees to it that `need` pages are free, with dom0's if it may give of them. On failure dom0 keeps what it had.
    pub(crate) fn make_room(&self, name: &str, need: u64) -> Result<()> {
        let before = self.unclaimed()?;
        if need <= before {
            return Ok(());
        }
        if !self.autoballoon {
            return Err(no_room(name, need, before)
                .hint("lower \"memory\", or free some with xl mem-set or xl destroy"));
        }
        let had = self.target(DomId::DOM0)?;
        match self.balloon(name, need) {
            Ok(()) => Ok(()),
            Err(e) => {
                // Asked back only; whether it gets it is its own affair.
                let _ = self.set_memory_target(DomId::DOM0, had);
                Err(e)
            }
        }
    }

    fn balloon(&self, name: &str, need: u64) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let free = self.unclaimed()?;
            if need <= free {
                return Ok(());
            }
            let target = self.target(DomId::DOM0)?;
            let wanted = target.saturating_sub((need - free) * PAGE_KIB);
            self.set_memory_target(DomId::DOM0, wanted).map_err(|e| {
                no_room(name, need, free)
                    .hint(format!("dom0 cannot give it: {e}; lower \"memory\""))
            })?;
            let end = Instant::now() + PATIENCE;
            while self.unclaimed()? < need && Instant::now() < end {
                std::thread::sleep(TICK);
            }
        }
        let free = self.unclaimed()?;
        if need <= free {
            return Ok(());
        }
        let what = "dom0 was asked to give memory back and did not give enough in time";
        Err(no_room(name, need, free).hint(format!(
            "{what}; see its kernel's messages, or set autoballoon = \"off\" in /etc/xen/xl.conf"
        )))
    }

    /// What a domain is to have, KiB: as its node says, or what it has.
    pub fn target(&self, dom: DomId) -> Result<u64> {
        let node = self
            .xs
            .read_opt(&format!("{}/memory/target", nodes::dom_path(dom)));
        match node.ok().flatten().and_then(|t| t.trim().parse().ok()) {
            Some(kib) => Ok(kib),
            None => Ok(self.info(dom)?.tot_pages * PAGE_KIB),
        }
    }

    /// Claims a domain's memory, so that nobody takes it while it is built; 0 drops the claim. A hypervisor without
    /// claims does without.
    pub(crate) fn claim(&self, dom: DomId, pages: u64) -> Result<()> {
        match self.hv.claim_pages(dom, pages) {
            Err(e) if e.errno == Errno::ENOSYS || e.errno == Errno::EOPNOTSUPP => Ok(()),
            other => Ok(other?),
        }
    }
}

fn no_room(name: &str, need: u64, free: u64) -> Error {
    let (need, free) = (need.div_ceil(256), free / 256);
    Error::new(format!(
        "not enough free memory for \"{name}\": it needs {need} MiB and {free} MiB are free"
    ))
}
