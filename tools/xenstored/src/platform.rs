//! [`Platform`]: pages and bells of domains, and whether they live. [`Xen`] is the real one; [`NoDomains`]
//! serves local sockets only.
use crate::server::DomainState;
use std::error::Error;
use std::os::fd::{AsFd, BorrowedFd};
use xen_abi::{DomId, Gfn, GrantRef, Port};
use xenctrl::Xenctrl;
use xendev::{EvtChn, GntTab, Prot, SharedMem, UnmapNotify};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Grant reference under which every domain offers its XenStore page (`GNTTAB_RESERVED_XENSTORE`).
const RESERVED_XENSTORE: GrantRef = GrantRef(1);
/// Raised when a domain has shut down or gone (`VIRQ_DOM_EXC`).
const VIRQ_DOM_EXC: u32 = 3;

/// Something that wants attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bell {
    /// The domain behind this local port.
    Domain(u32),
    /// Some domain has shut down or gone.
    DomainException,
}

/// What the server needs of the machine.
pub trait Platform {
    /// Map a domain's page. For this very domain: the page its kernel set aside.
    fn map(&mut self, domid: u16, gfn: u64) -> Result<Box<dyn SharedMem>>;
    /// Connect to the port a domain left open; returns the local port.
    fn bind(&mut self, domid: u16, port: u32) -> Result<u32>;
    /// Close a local port.
    fn unbind(&mut self, local: u32);
    /// Ring the bell of the domain behind a local port.
    fn notify(&self, local: u32);
    /// The next bell that rang, armed again.
    fn next_bell(&mut self) -> Option<Bell>;
    /// Readable when a bell rang.
    fn bell_fd(&self) -> Option<BorrowedFd<'_>>;
    /// Is the domain alive?
    fn state(&self, domid: u16) -> DomainState;
    /// The port through which this domain's own kernel waits for a server.
    fn own_port(&self) -> Option<u32>;
}

/// No hypervisor: local sockets only.
pub struct NoDomains;

impl Platform for NoDomains {
    fn map(&mut self, _: u16, _: u64) -> Result<Box<dyn SharedMem>> {
        Err("no hypervisor".into())
    }
    fn bind(&mut self, _: u16, _: u32) -> Result<u32> {
        Err("no hypervisor".into())
    }
    fn unbind(&mut self, _: u32) {}
    fn notify(&self, _: u32) {}
    fn next_bell(&mut self) -> Option<Bell> {
        None
    }
    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn state(&self, _: u16) -> DomainState {
        DomainState::Gone
    }
    fn own_port(&self) -> Option<u32> {
        None
    }
}

/// The devices of a Xen domain 0.
pub struct Xen {
    evtchn: EvtChn,
    gnttab: Option<GntTab>,
    xenctrl: Xenctrl,
    dom_exc: Option<Port>,
}

impl Xen {
    /// Open the devices. Without `gntdev` pages are mapped by frame number.
    pub fn open() -> Result<Xen> {
        let evtchn = EvtChn::open()?;
        let dom_exc = evtchn
            .bind_virq(VIRQ_DOM_EXC)
            .inspect_err(|e| eprintln!("xenstored: {e}: ends of domains will go unnoticed"))
            .ok();
        let gnttab = GntTab::open()
            .inspect_err(|e| eprintln!("xenstored: {e}"))
            .ok();
        Ok(Xen {
            evtchn,
            gnttab,
            xenctrl: Xenctrl::open()?,
            dom_exc,
        })
    }
}

impl Platform for Xen {
    fn map(&mut self, domid: u16, gfn: u64) -> Result<Box<dyn SharedMem>> {
        if domid == 0 {
            return Ok(xendev::xenbus_page()?);
        }
        let dom = DomId(domid);
        if let Some(gnttab) = &self.gnttab {
            let none = UnmapNotify::default();
            if let Ok(page) = gnttab.map(dom, &[RESERVED_XENSTORE], Prot::ReadWrite, none) {
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
            eprintln!("xenstored: {e}");
        }
    }

    fn notify(&self, local: u32) {
        // The domain may have gone; then the exception tells.
        let _ = self.evtchn.notify(Port(local));
    }

    fn next_bell(&mut self) -> Option<Bell> {
        let port = self.evtchn.pending().ok()??;
        // Armed before it is answered, so that nothing rung meanwhile is lost.
        let _ = self.evtchn.unmask(port);
        let exception = self.dom_exc == Some(port);
        Some(if exception {
            Bell::DomainException
        } else {
            Bell::Domain(port.0)
        })
    }

    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.evtchn.as_fd())
    }

    fn state(&self, domid: u16) -> DomainState {
        match self.xenctrl.domain_info(DomId(domid)) {
            Ok(Some(d)) if d.state.dying => DomainState::Gone,
            Ok(Some(d)) if d.state.shutdown.is_some() => DomainState::Shutdown,
            Ok(Some(_)) => DomainState::Alive,
            Ok(None) => DomainState::Gone,
            // Not knowing is no reason to cut a domain off.
            Err(_) => DomainState::Alive,
        }
    }

    fn own_port(&self) -> Option<u32> {
        match xendev::xenbus_port() {
            Ok(port) => Some(port.0),
            Err(e) => {
                eprintln!("xenstored: {e}: this domain's kernel is not served");
                None
            }
        }
    }
}
