//! [`Platform`]: pages and bells of domains, who lives, the hypervisor's own console. [`Xen`] is the real one.
use std::error::Error;
use std::os::fd::{AsFd, BorrowedFd};
use xen_abi::{DomId, Gfn, GrantRef, Port};
use xenctrl::Xenctrl;
use xendev::{EvtChn, GntTab, Prot, SharedMem, UnmapNotify};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Grant reference under which every domain offers its console page (`GNTTAB_RESERVED_CONSOLE`).
const RESERVED_CONSOLE: GrantRef = GrantRef(0);
/// Raised when the hypervisor's console ring has news (`VIRQ_CON_RING`).
const VIRQ_CON_RING: u32 = 8;

/// What the console daemon needs of the machine.
pub trait Platform {
    /// Map a domain's console page, known by its frame number.
    fn map(&mut self, domid: u16, gfn: u64) -> Result<Box<dyn SharedMem>>;
    /// Connect to the port a domain left open; returns the local port.
    fn bind(&mut self, domid: u16, port: u32) -> Result<u32>;
    /// Close a local port.
    fn unbind(&mut self, local: u32);
    /// Ring the bell of the domain behind a local port.
    fn notify(&self, local: u32);
    /// The next local port that rang; it stays silent until [`Platform::unmask`].
    fn next_bell(&mut self) -> Option<u32>;
    /// Let a port ring again.
    fn unmask(&self, local: u32);
    /// Readable when a port rang.
    fn bell_fd(&self) -> Option<BorrowedFd<'_>>;
    /// Domains that live, that is, exist and are not dying.
    fn domains(&self) -> Result<Vec<u16>>;
    /// Be told of news of the hypervisor's console; returns the local port.
    fn bind_hypervisor_console(&mut self) -> Result<u32>;
    /// News of the hypervisor's console since `index`.
    fn hypervisor_console(&self, index: &mut u32) -> Result<Vec<u8>>;
}

/// The devices of a Xen domain 0.
pub struct Xen {
    evtchn: EvtChn,
    gnttab: Option<GntTab>,
    xenctrl: Xenctrl,
}

impl Xen {
    /// Open the devices. Without `gntdev` pages are mapped by frame number.
    pub fn open() -> Result<Xen> {
        let gnttab = GntTab::open()
            .inspect_err(|e| eprintln!("xenconsoled: {e}"))
            .ok();
        Ok(Xen {
            evtchn: EvtChn::open()?,
            gnttab,
            xenctrl: Xenctrl::open()?,
        })
    }
}

impl Platform for Xen {
    fn map(&mut self, domid: u16, gfn: u64) -> Result<Box<dyn SharedMem>> {
        let dom = DomId(domid);
        if let Some(gnttab) = &self.gnttab {
            let none = UnmapNotify::default();
            if let Ok(page) = gnttab.map(dom, &[RESERVED_CONSOLE], Prot::ReadWrite, none) {
                return Ok(page);
            }
        }
        Ok(self
            .xenctrl
            .foreign()
            .map(dom, Prot::ReadWrite, &[Gfn(gfn)])?)
    }

    fn bind(&mut self, domid: u16, port: u32) -> Result<u32> {
        Ok(self.evtchn.bind_interdomain(DomId(domid), Port(port))?.0)
    }

    fn unbind(&mut self, local: u32) {
        if let Err(e) = self.evtchn.unbind(Port(local)) {
            eprintln!("xenconsoled: {e}");
        }
    }

    fn notify(&self, local: u32) {
        // The domain may have gone; then its release is on the way.
        let _ = self.evtchn.notify(Port(local));
    }

    fn next_bell(&mut self) -> Option<u32> {
        self.evtchn.pending().ok()?.map(|p| p.0)
    }

    fn unmask(&self, local: u32) {
        let _ = self.evtchn.unmask(Port(local));
    }

    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.evtchn.as_fd())
    }

    fn domains(&self) -> Result<Vec<u16>> {
        let all = self.xenctrl.domains()?;
        Ok(all
            .iter()
            .filter(|d| !d.state.dying)
            .map(|d| d.domid.0)
            .collect())
    }

    fn bind_hypervisor_console(&mut self) -> Result<u32> {
        Ok(self.evtchn.bind_virq(VIRQ_CON_RING)?.0)
    }

    fn hypervisor_console(&self, index: &mut u32) -> Result<Vec<u8>> {
        Ok(self.xenctrl.read_console_from(index)?)
    }
}
